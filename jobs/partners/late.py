"""Usage that came after its period was invoiced is charged with a later one; what was charged too much is credited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import msgspec

from db import usage, usage_invoices
from db.credits import CreditRow, NewCredit
from db.money import rounded
from db.operators.actions import Actor
from db.usage import Owner
from db.usage_invoices import UsageRow
from jobs.partners import credits as credit
from jobs.partners.freeze import Adjustment, Frozen, FrozenPart, Used, plain_units, read, reckoned
from worker.deps import Tx
from worker.errors import Refused

CLOSED = 12
"""So many closed periods are looked at again, by each period that is invoiced."""

OURSELVES = Actor("billing", "usage that came late")
"""Who gives back what was charged too much."""


@dataclass(frozen=True, slots=True)
class Late:
    """What closed periods bring to an invoice, and what cannot stand on it, in words."""

    adjustments: tuple[Adjustment, ...] = ()
    notes: tuple[str, ...] = ()


def billed(row: UsageRow) -> tuple[Used, ...]:
    """The usage that was charged for a closed period so far, by part."""
    stored = cast("Mapping[str, Sequence[Mapping[str, str]]]", row.billed_usage or {})
    return tuple({name: Decimal(units) for name, units in part.items()} for part in stored.get("parts", ()))


def billed_json(parts: Sequence[Used]) -> dict[str, Any]:
    """The same, to be stored."""
    return {"parts": msgspec.to_builtins(list(parts))}


def gross(closed: Frozen, net: int) -> int:
    """What `net` (minor units, before discounts and taxes) came to on the invoice of a closed period, rounded once."""
    factor = Fraction(1)
    for discount in closed.discounts:
        factor *= 1 - Fraction(discount.percent or 0) / 100
    for tax in closed.taxes:
        factor *= 1 + Fraction(tax.percent) / 100
    return rounded(net * factor)


async def find(tx: Tx, prefix: str, frozen: Frozen, *, lock: bool) -> Late:
    """Closed periods before `frozen` whose usage is not what was charged. With `lock` nobody else charges for them."""
    rows = await usage_invoices.closed_before(tx.conn, prefix, frozen.start, limit=CLOSED, lock=lock)
    found: list[Adjustment] = []
    notes: list[str] = []
    for row in rows:
        closed = read(cast("Mapping[str, Any]", row.input))
        known = [await _known(tx, prefix, part) for part in closed.parts]
        if known == list(billed(row)):
            continue
        if closed.currency != frozen.currency:
            notes.append(
                f"usage of {closed.name} came late, and was in {closed.currency.upper()}: it cannot stand on an invoice"
                f" in {frozen.currency.upper()}; invoice it by hand (`billing invoices issue`)"
            )
            continue
        found.append(_adjusted(row, closed, known))
    return Late(tuple(found), tuple(notes))


async def _known(tx: Tx, prefix: str, part: FrozenPart) -> Used:
    return plain_units(await usage.billable_units(tx.conn, Owner(api_key_prefix=prefix), part.start, part.end))


def _adjusted(row: UsageRow, closed: Frozen, known: Sequence[Used]) -> Adjustment:
    parts = tuple(
        msgspec.structs.replace(part, usage=used, contract={}) for part, used in zip(closed.parts, known, strict=True)
    )
    made = Adjustment(
        usage_invoice=row.id,
        name=closed.name,
        start=closed.start,
        end=closed.end,
        months=closed.months,
        timezone=closed.timezone,
        parts=parts,
        before=billed(row),
        charged=row.billed_cents or 0,
        now=0,
    )
    made = msgspec.structs.replace(made, now=reckoned(made))
    back = gross(closed, -made.amount) if made.amount < 0 else 0
    return msgspec.structs.replace(made, credit=back or None)


def brought(adjustments: Sequence[Adjustment], like: Frozen, now: Any) -> list[CreditRow]:
    """The credits that an invoice itself brings, as if they were given already; their ids are below zero."""
    return [
        CreditRow(
            id=-number,
            api_key_prefix=like.prefix,
            user_id=None,
            kind="refund",
            currency=like.currency,
            amount_cents=each.credit,
            remaining_cents=each.credit,
            reason=_reason(each),
            expires_at=None,
            promo_code_id=None,
            created_at=now,
            created_by=OURSELVES.who,
            voided_at=None,
        )
        for number, each in enumerate(adjustments, 1)
        if each.credit
    ]


def _reason(one: Adjustment) -> str:
    return f"{one.name} comes to less with the usage that was reported late"


async def settle(tx: Tx, frozen: Frozen) -> dict[int, int]:
    """The invoice is issued, or nothing was to be: from now on its late usage counts as charged.

    Returns the ids of the credits that were given, by the ids below zero that stood for them.
    """
    given: dict[int, int] = {}
    for number, one in enumerate(frozen.adjustments, 1):
        usage_now = billed_json([part.usage for part in one.parts])
        await usage_invoices.charged(tx.conn, one.usage_invoice, one.amount, usage_now, now=tx.now)
        if one.credit:
            owner = Owner(api_key_prefix=frozen.prefix)
            new = NewCredit(
                owner=owner, kind="refund", currency=frozen.currency, amount_cents=one.credit, reason=_reason(one)
            )
            given[-number] = await credit.grant(tx, new, OURSELVES)
    return given


async def free(tx: Tx, row: UsageRow) -> None:
    """A period is void: the late usage that its invoice charged is not charged any more; credits stay given.

    Raises Refused while a later invoice charges for usage of this period that came late: that one goes first, or usage
    would be charged twice when the period is invoiced anew.
    """
    later = await usage_invoices.charging_late(tx.conn, row.id)
    if later:
        raise Refused(
            f"{', '.join(later)} charges for usage of the same period that came late: void it first, or write a"
            " credit note instead"
        )
    if row.status == "issued" and row.input is not None:
        for one in read(row.input).adjustments:
            if one.amount > 0:
                before = billed_json(one.before)
                await usage_invoices.charged(tx.conn, one.usage_invoice, -one.amount, before, now=tx.now)
    await usage_invoices.free(tx.conn, row.id, now=tx.now)


async def freed(tx: Tx, invoice_id: int) -> bool:
    """An invoice is being voided: the period of usage that it is for, if it is for one, is free. Raises Refused."""
    row = await usage_invoices.of_invoice(tx.conn, invoice_id, lock=True)
    if row is None or row.status == "void":
        return False
    await free(tx, row)
    return True
