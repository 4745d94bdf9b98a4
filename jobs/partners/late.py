"""Usage that came after its period was invoiced is charged with a later one; what was charged too much is credited."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import msgspec

from db import contracts, usage, usage_invoices
from db.credits import CreditRow, NewCredit
from db.operators.actions import Actor
from db.usage import Owner
from db.usage_invoices import UsageRow
from jobs.partners import credits as credit
from jobs.partners.charges import Charges, charges
from jobs.partners.freeze import Adjustment, Frozen, FrozenPart, Used, plain_units, read, reckoned
from jobs.partners.words import plain_money
from worker.deps import Tx
from worker.errors import Refused

CLOSED = 12
"""So many closed periods are looked at again, by each period that is invoiced."""

STANDS = frozenset({"issued", "empty"})
"""What a period is that was looked at, and is not void."""

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


Again = Callable[[Frozen, Sequence[FrozenPart]], Awaitable[Sequence[FrozenPart] | None]]
"""A closed period's parts by what became known later of what was agreed, with their usage; None: they are the same."""


async def find(tx: Tx, owner: Owner, frozen: Frozen, *, lock: bool, again: Again | None = None) -> Late:
    """Closed periods before `frozen` whose usage is not what was charged. With `lock` nobody else charges for them.

    `again` tells the terms of a period that became known later. They count where they are in the owner's favour: nobody
    pays more because we learned late what was agreed.
    """
    rows = await usage_invoices.closed_before(tx.conn, owner, frozen.start, limit=CLOSED, lock=lock)
    found: list[Adjustment] = []
    notes: list[str] = []
    stand: Charges | None = None
    for row in rows:
        closed = read(cast("Mapping[str, Any]", row.input))
        newest: Adjustment | None = None
        if again is not None:
            stand = stand or await charges(tx, owner)
            newest = stand.newest(row.id)
        one = await _changed(tx, owner, row, closed, newest=newest, again=again)
        if one is None:
            continue
        if closed.currency != frozen.currency:
            notes += _foreign(one, closed.currency, frozen.currency)
            continue
        stand = stand or await charges(tx, owner)
        before = stand.newest(row.id)
        one = msgspec.structs.replace(one, turn=before.turn + 1 if before is not None else 1)
        if one.amount < 0:
            one, kept = _credited(one, stand)
            if kept:
                notes.append(_kept(one, kept, closed.currency))
        found.append(one)
    return Late(tuple(found), tuple(notes))


async def _changed(
    tx: Tx, owner: Owner, row: UsageRow, closed: Frozen, *, newest: Adjustment | None, again: Again | None
) -> Adjustment | None:
    """What a closed period comes to by what is known now; None: nothing became known since it was charged."""
    by = newest.parts if newest is not None else closed.parts
    known = await used_in(tx, owner, by)
    found = None
    if [part.usage for part in known] != list(billed(row)):
        found = _adjusted(row, closed, known)
        if newest is not None:
            found = msgspec.structs.replace(found, replanned=newest.replanned)
    comes_to = found.now if found is not None else row.billed_cents or 0
    other = await again(closed, by) if again is not None and comes_to else None
    if other is None:
        return found
    replanned = msgspec.structs.replace(_adjusted(row, closed, other), replanned=True)
    return replanned if replanned.now < comes_to else found


def _foreign(one: Adjustment, currency: str, other: str) -> list[str]:
    """What cannot be settled with an invoice in another currency; nothing where it comes to the same amount."""
    late = (
        f"usage of {one.name} came late, and was in {currency.upper()}: it cannot stand on an invoice in"
        f" {other.upper()}; invoice it by hand (`billing invoices issue`)"
    )
    less = (
        f"{one.name} comes to {plain_money(-one.amount, currency)} less (before discounts and taxes) {_by_what(one)}:"
        f" an invoice in {other.upper()} cannot give it back; write a credit note (`billing invoices credit-note`)"
    )
    return [late] if one.amount > 0 else [less] if one.amount else []


def _by_what(one: Adjustment) -> str:
    return "by the plan that became known late" if one.replanned else "with the usage that came late"


def _kept(one: Adjustment, kept: int, currency: str) -> str:
    given = one.credit or 0
    return (
        f"{one.name} comes to {plain_money(given + kept, currency)} less {_by_what(one)};"
        f" {plain_money(given, currency)} of it is credited: the rest was given back before (credit notes, credits)"
    )


async def used_in(tx: Tx, owner: Owner, parts: Sequence[FrozenPart]) -> list[FrozenPart]:
    """The parts with the usage that is known now."""
    return [
        msgspec.structs.replace(
            part, usage=plain_units(await usage.billable_units(tx.conn, owner, part.start, part.end)), contract={}
        )
        for part in parts
    ]


def _adjusted(row: UsageRow, closed: Frozen, known: Sequence[FrozenPart]) -> Adjustment:
    made = Adjustment(
        usage_invoice=row.id,
        name=closed.name,
        start=closed.start,
        end=closed.end,
        months=closed.months,
        timezone=closed.timezone,
        parts=tuple(known),
        before=billed(row),
        charged=row.billed_cents or 0,
        now=0,
    )
    return msgspec.structs.replace(made, now=reckoned(made))


def _credited(one: Adjustment, stand: Charges) -> tuple[Adjustment, int]:
    """What was charged too much becomes a credit; and what of it does not, because it was given back before."""
    took, kept = stand.give_back(one.usage_invoice, -one.amount)
    return msgspec.structs.replace(one, took=took, credit=sum(each.gross for each in took) or None), kept


def brought(adjustments: Sequence[Adjustment], like: Frozen, now: Any) -> list[CreditRow]:
    """The credits that an invoice itself brings, as if they were given already; their ids are below zero."""
    owner = usage_invoices.owner_named(like.prefix)
    return [
        CreditRow(
            id=-number,
            api_key_prefix=owner.api_key_prefix,
            user_id=owner.user_id,
            kind="refund",
            currency=like.currency,
            amount_cents=each.credit,
            remaining_cents=each.credit,
            reason=reason_of(each, like.currency),
            expires_at=None,
            promo_code_id=None,
            created_at=now,
            created_by=OURSELVES.who,
            voided_at=None,
        )
        for number, each in enumerate(adjustments, 1)
        if each.credit
    ]


def reason_of(one: Adjustment, currency: str) -> str:
    """Why a closed period's credit is given: what it comes to, and what was charged."""
    now, before = plain_money(one.now, currency), plain_money(one.charged, currency)
    what = "by the plan that became known late" if one.replanned else "with the usage that was reported late"
    return f"{one.name} comes to {now} {what}, and {before} was charged"


async def settle(tx: Tx, frozen: Frozen) -> tuple[Frozen, dict[int, int]]:
    """The invoice is issued, or nothing was to be: from now on its late usage counts as charged.

    Returns what is frozen with the ids of the credits that were given, and these by the ids below zero that stood for
    them.
    """
    given: dict[int, int] = {}
    for number, one in enumerate(frozen.adjustments, 1):
        usage_now = billed_json([part.usage for part in one.parts])
        await usage_invoices.charged(tx.conn, one.usage_invoice, one.amount, usage_now, now=tx.now)
        if one.credit:
            new = NewCredit(
                owner=usage_invoices.owner_named(frozen.prefix),
                kind="refund",
                currency=frozen.currency,
                amount_cents=one.credit,
                reason=reason_of(one, frozen.currency),
            )
            given[-number] = await credit.grant(tx, new, OURSELVES)
    adjusted = tuple(
        msgspec.structs.replace(one, credit_id=given.get(-number)) for number, one in enumerate(frozen.adjustments, 1)
    )
    planned = tuple(msgspec.structs.replace(one, id=given.get(one.id, one.id)) for one in frozen.credits)
    return msgspec.structs.replace(frozen, adjustments=adjusted, credits=planned), given


async def free(tx: Tx, row: UsageRow) -> None:
    """A period is void: the late usage that it charged, or credited, is not any more.

    Raises Refused while a later invoice charges for usage of this period that came late, or gave back what this one
    charged: that one goes first, or usage would be charged twice when the period is invoiced anew. So it does when a
    credit that came with this period paid for another invoice.
    """
    later = await usage_invoices.charging_late(tx.conn, row.id)
    if later:
        raise Refused(
            f"{', '.join(later)} charges for usage of the same period that came late, or gave back some of it: void it"
            " first, or write a credit note instead"
        )
    if row.status in STANDS and row.input is not None:
        for one in read(row.input).adjustments:
            await _undo(tx, row, one)
    await usage_invoices.free(tx.conn, row.id, now=tx.now)


async def _undo(tx: Tx, row: UsageRow, one: Adjustment) -> None:
    if not one.amount:
        return
    if one.credit_id is not None:
        await credit.take_back(tx, one.credit_id, row.invoice_id, OURSELVES)
    closed = await usage_invoices.get(tx.conn, one.usage_invoice, lock=True)
    if closed is not None and closed.status in STANDS:
        await usage_invoices.charged(tx.conn, closed.id, -one.amount, billed_json(one.before), now=tx.now)


async def hold(tx: Tx, invoice_id: int) -> None:
    """Whoever invoices usage, or voids or credits such an invoice, holds its owner first, and only then locks rows.

    Else late usage and a credit note could give the same money back at once. Which owner an invoice belongs to never
    changes.
    """
    period = await usage_invoices.of_invoice(tx.conn, invoice_id)
    if period is not None:
        owner = period.api_key_prefix if period.api_key_prefix is not None else usage_invoices.customer(period.user_id)
        await contracts.hold(tx.conn, owner)


async def freed(tx: Tx, invoice_id: int) -> bool:
    """An invoice is being voided: the period of usage that it is for, if it is for one, is free. Raises Refused."""
    row = await usage_invoices.of_invoice(tx.conn, invoice_id, lock=True)
    if row is None or row.status == "void":
        return False
    await free(tx, row)
    return True
