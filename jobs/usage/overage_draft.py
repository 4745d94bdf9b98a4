"""A subscriber's closed month is frozen by the plans that held in it, and becomes a draft of an invoice."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import msgspec

from db import overage, usage_invoices
from db.usage import Owner
from jobs.invoices.document import Address, Party, TaxCategory, TaxId
from jobs.invoices.drafts import Draft, DraftTax
from jobs.invoices.sellers import SellerProfile
from jobs.partners import draft as drafting
from jobs.partners import freeze, late
from jobs.partners.freeze import Frozen, FrozenPart
from jobs.rules import pricing
from jobs.rules.billing_periods import Period, local_day
from jobs.rules.plan_spans import Plan, SeveralCurrencies, Span
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


def _parts(held: Sequence[Span]) -> list[FrozenPart]:
    """The parts by these plans, without what was used in them."""
    return [FrozenPart(terms=plans.terms(span.plan), start=span.start, end=span.end, usage={}) for span in held]


async def frozen_month(tx: Tx, user: Row, month: Period, held: Sequence[Span], profile: SellerProfile) -> Frozen:
    """A month's own usage within the plans that held, without what other months, promotions and credits bring."""
    used = await late.used_in(tx, Owner(user_id=user["id"]), _parts(held))
    parts = [
        msgspec.structs.replace(part, contract={"plan": msgspec.to_builtins(span.plan)})
        for part, span in zip(used, held, strict=True)
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


async def unplanned_month(tx: Tx, user: Row, month: Period) -> Frozen | None:
    """A month in which no plan holds, and nothing is charged: what came late of those before is settled with it.

    Currency and tax are those of the last of them; None: there is none.
    """
    before = await usage_invoices.closed_before(tx.conn, Owner(user_id=user["id"]), month.start, limit=1, lock=False)
    if not before:
        return None
    return msgspec.structs.replace(
        freeze.read(cast("Row", before[-1].input)),
        name=month.name,
        first=month.first,
        after=month.after,
        start=month.start,
        end=month.end,
        timezone=month.timezone,
        billed_from=month.first,
        billed_to=month.after,
        parts=(),
        buyer=await buyer(tx, user),
        adjustments=(),
        credits=(),
    )


def plans_known_now(tx: Tx, user_id: int) -> late.Again:
    """Reckon a closed month by the plans that are known now: Stripe may have told late which held.

    Only where events told all that the customer's subscriptions were in it: what is not known is no reason to think
    that another plan held.
    """

    async def again(closed: Frozen, by: Sequence[FrozenPart]) -> Sequence[FrozenPart] | None:
        if not await overage.told_since(tx.conn, user_id, closed.start):
            return None
        try:
            held = _parts(await plans.spans_of(tx.conn, user_id, closed.start, closed.end, closed.timezone))
        except SeveralCurrencies:
            return None
        if any(part.terms.currency != closed.currency for part in held) or _agreed(held) == _agreed(by):
            return None
        return await late.used_in(tx, Owner(user_id=user_id), held)

    return again


def _agreed(parts: Sequence[FrozenPart]) -> list[tuple[object, ...]]:
    return [(part.terms, part.start, part.end) for part in parts]


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
