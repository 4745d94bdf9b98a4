"""A subscriber's closed month is frozen by the plans that held in it, and becomes a draft of an invoice."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import msgspec

from db import overage, usage, usage_invoices
from db.usage import Owner
from jobs.invoices.document import Address, Party, TaxCategory, TaxId
from jobs.invoices.drafts import Draft, DraftTax
from jobs.invoices.sellers import SellerProfile
from jobs.partners import draft as drafting
from jobs.partners import freeze, late
from jobs.partners.freeze import Adjustment, Frozen, FrozenPart, Used, plain_units
from jobs.rules import pricing
from jobs.rules.billing_periods import Period, local_day
from jobs.rules.plan_spans import Plan, Span
from jobs.usage import plans
from worker.deps import Tx

Row = Mapping[str, Any]
SECOND = timedelta(seconds=1)


def name_of(user_id: int) -> str:
    """The customer where partners have their prefix; no prefix holds a colon."""
    return usage_invoices.customer(user_id)


def key(user_id: int, period: str) -> str:
    """What names a customer's month among all things that are invoiced."""
    return f"overage/{user_id}/{period}"


async def buyer(tx: Tx, user: Row) -> Party:
    """Whom the invoice goes to, as Stripe told us."""
    known: Row = user["address"] or {}
    address = {name: known.get(name) for name in Address.__struct_fields__}
    ids = await overage.tax_ids(tx.conn, user["stripe_customer_id"])
    return Party(
        name=user["company"] or user["name"] or user["email"] or f"Customer {user['id']}",
        address=msgspec.convert(address, Address),
        email=user["email"] or None,
        tax_ids=tuple(TaxId(type=kind, value=value) for kind, value in ids),
    )


def taxes(plan: Plan, exempt: str | None) -> tuple[DraftTax, ...]:
    """The plan's tax; none of who is exempt, and reverse charge of whom Stripe has so (`tax_exempt`).

    https://docs.stripe.com/api/customers/object#customer_object-tax_exempt
    """
    if plan.tax_percent is None or exempt == "exempt":
        return ()
    if exempt == "reverse":
        return (DraftTax(name=plan.tax_name, percent=Decimal(0), category=TaxCategory.REVERSE_CHARGE),)
    return (DraftTax(name=plan.tax_name, percent=plan.tax_percent),)


async def _used(tx: Tx, user_id: int, span: Span | FrozenPart) -> Used:
    return plain_units(await usage.billable_units(tx.conn, Owner(user_id=user_id), span.start, span.end))


async def frozen_month(tx: Tx, user: Row, month: Period, held: Sequence[Span], profile: SellerProfile) -> Frozen:
    """A month's own usage within the plans that held, without what other months, promotions and credits bring."""
    parts = [
        FrozenPart(
            terms=plans.terms(span.plan),
            start=span.start,
            end=span.end,
            usage=await _used(tx, user["id"], span),
            contract={"plan": msgspec.to_builtins(span.plan)},
        )
        for span in held
    ]
    last = held[-1].plan
    return Frozen(
        rounding=pricing.ROUNDING,
        prefix=name_of(user["id"]),
        name=month.name,
        first=month.first,
        after=month.after,
        months=1,
        start=month.start,
        end=month.end,
        timezone=month.timezone,
        billed_from=local_day(held[0].start, month.timezone),
        billed_to=local_day(held[-1].end - SECOND, month.timezone) + timedelta(days=1),
        currency=last.currency,
        parts=tuple(parts),
        buyer=await buyer(tx, user),
        seller=profile.name,
        locale=user["locale"] or profile.locale,
        seller_timezone=profile.timezone,
        payment=profile.terms,
        buyer_reference=None,
        taxes=taxes(last, user["tax_exempt"]),
        discounts=(),
    )


async def late_usage(tx: Tx, user_id: int, frozen: Frozen, *, lock: bool) -> tuple[Adjustment, ...]:
    """Closed months whose usage is more than what was charged. With `lock` nobody else charges for them."""
    rows = await overage.closed_before(tx.conn, user_id, frozen.start, limit=late.CLOSED, lock=lock)
    found: list[Adjustment] = []
    for row in rows:
        closed = freeze.read(cast("Row", row.input))
        known = [await _used(tx, user_id, part) for part in closed.parts]
        if known == list(late.billed(row)) or closed.currency != frozen.currency:
            continue
        made = Adjustment(
            usage_invoice=row.id,
            name=closed.name,
            start=closed.start,
            end=closed.end,
            months=1,
            timezone=closed.timezone,
            parts=tuple(
                msgspec.structs.replace(part, usage=used, contract={})
                for part, used in zip(closed.parts, known, strict=True)
            ),
            before=late.billed(row),
            charged=row.billed_cents or 0,
            now=0,
        )
        made = msgspec.structs.replace(made, now=freeze.reckoned(made))
        if made.amount >= 0:  # usage only grows, and more of it never costs less than before
            found.append(made)
    return tuple(found)


def nothing_due(frozen: Frozen) -> bool:
    """Whether the plans pay for everything."""
    return not freeze.rated(frozen).subtotal and not drafting.charged_late(frozen)


def draft(frozen: Frozen, user_id: int) -> Draft | None:
    """The invoice of what was frozen; None: the plans pay for everything."""
    if nothing_due(frozen):
        return None
    made = drafting.draft(frozen)
    if made is None:
        return None
    return msgspec.structs.replace(
        made,
        kind="overage",
        key=key(user_id, frozen.name),
        api_key_prefix=None,
        user_id=user_id,
        memo=f"usage of customer {user_id} beyond the plan, {frozen.name}",
    )
