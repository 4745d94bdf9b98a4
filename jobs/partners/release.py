"""Somebody who knows better lets a parked invoice go, drops it, or has a period invoiced now."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from db import contracts, usage_invoices
from db.operators.actions import Actor, write_audit
from db.usage_invoices import NewPeriod, UsageRow
from jobs.invoices.issue import livemode
from jobs.invoices.sellers import sellers_from
from jobs.invoices.void import void as void_invoice
from jobs.partners import freeze, late, seen
from jobs.partners.invoice_partner import Settled, look_at, settle, stage_next
from jobs.partners.preview import period_of
from jobs.rules.billing_periods import Period, local_day, month_named
from worker.deps import Tx
from worker.errors import Refused
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a period, and what it was when it was parked."""

    name: str
    settled: Settled
    before: UsageRow | None = None

    @property
    def differs(self) -> bool:
        """Whether it comes to something else than when it was parked."""
        if self.before is None or self.before.input_sha256 is None:
            return False
        return self.before.total_cents != self.settled.prepared.total


async def _row(tx: Tx, prefix: str, period: Period) -> UsageRow | None:
    return await usage_invoices.of_period(tx.conn, prefix, period.start, lock=True)


async def invoice_now(tx: Tx, prefix: str, wanted: str, settings: Settings, by: Actor) -> Done:
    """Invoice a period that has ended, without waiting for the schedule. Raises Refused with why it cannot be."""
    await contracts.hold(tx.conn, prefix)
    found = await freeze.book_of(tx, prefix)
    period = period_of(found, wanted, tx)
    if period.end > tx.now:
        raise Refused(
            f"{period.name} of {prefix} ends on {period.end:%Y-%m-%dT%H:%MZ}: see `billing partners preview {prefix}`"
        )
    row = await _row(tx, prefix, period)
    if row is None:
        new = NewPeriod(prefix, period.start, period.end, period.timezone)
        await usage_invoices.add(tx.conn, [new], now=tx.now)
        row = await _row(tx, prefix, period)
    if row is None or row.status != "pending":
        raise Refused(_stands(prefix, period.name, row))
    done = Done(period.name, await _settled(tx, row, settings, released=frozenset()))
    await _audit(tx, by, "partners.invoice", prefix, done)
    return done


def _stands(prefix: str, name: str, row: UsageRow | None) -> str:
    match row.status if row is not None else "":
        case "issued":
            return f"{name} of {prefix} is invoiced already: `billing partners void` it first, to invoice it anew"
        case "parked":
            return f"{name} of {prefix} is parked: `billing partners release {prefix} --period {name} --why …`"
        case "empty":
            return f"nothing was to be charged for {name} of {prefix}; `billing partners void` it to look again"
        case other:
            return f"{name} of {prefix} is {other or 'taken by somebody else'}: try again"


async def _settled(tx: Tx, row: UsageRow, settings: Settings, *, released: AbstractSet[str]) -> Settled:
    sellers = sellers_from(settings)
    prepared = await look_at(tx, row, sellers, by_hand=True)
    done = await settle(tx, row, prepared, sellers, live=livemode(settings), released=released)
    await stage_next(tx, row.api_key_prefix)
    return done


async def _audit(tx: Tx, by: Actor, action: str, prefix: str, done: Done) -> None:
    settled = done.settled
    details = {
        "period": done.name,
        "status": settled.status,
        "number": settled.issued.number if settled.issued is not None else None,
        "total_cents": settled.prepared.total,
    }
    await write_audit(tx.conn, by, action, prefix, now=tx.now, details=details)


async def _named(tx: Tx, prefix: str, wanted: str) -> tuple[UsageRow, str]:
    """The row of a period that is not void, by a month of it. Raises Refused when there is none.

    Rows are looked at, and not the contract: what is parked may be so because the contract makes no sense.
    """
    try:
        month = month_named(wanted)
    except ValueError as error:
        raise Refused(str(error)) from error
    for row in await usage_invoices.of_partner(tx.conn, prefix):
        first, after = local_day(row.period_start, row.timezone), local_day(row.period_end, row.timezone)
        if first.replace(day=1) <= month < after:
            locked = await usage_invoices.of_period(tx.conn, prefix, row.period_start, lock=True)
            if locked is not None:
                return locked, f"{first:%Y-%m}"
    raise Refused(f"nothing was done yet for {wanted} of {prefix}: see `billing partners preview {prefix}`")


async def parked(tx: Tx, prefix: str, wanted: str) -> tuple[UsageRow, str]:
    """A parked period, by a month of it, and its name. Raises Refused when it is not parked."""
    row, name = await _named(tx, prefix, wanted)
    if row.status != "parked":
        raise Refused(f"{name} of {prefix} is {row.status}, and not parked: there is nothing to release")
    return row, name


async def release(tx: Tx, prefix: str, wanted: str, settings: Settings, by: Actor, *, shown: str | None = None) -> Done:
    """Let a parked period be invoiced. It is frozen anew, with the usage, credits and contract of now.

    What cannot be an invoice at all (`final`) stays parked, and so does what is odd for another reason by now. Raises
    Refused when the period is not parked, or is no more what was `shown` (`seen.mark_of`; None: whatever it is).
    """
    await contracts.hold(tx.conn, prefix)
    row, name = await parked(tx, prefix, wanted)
    seen.unchanged(row, f"{name} of {prefix}", shown)
    await usage_invoices.release(tx.conn, row.id, by.who, now=tx.now)
    done = Done(name, await _settled(tx, row, settings, released=seen.guards(row)), row)
    await _audit(tx, by, "partners.release", prefix, done)
    return done


async def void(
    tx: Tx, prefix: str, wanted: str, by: Actor, *, only: str | None = None, shown: str | None = None
) -> tuple[str, str]:
    """Drop a period: one that waits, or an issued invoice that nobody has paid. Returns its name, and what it was.

    `only` is what it must be, and `shown` as `release` has it, for whoever saw it so a while ago.
    No schedule invoices it by itself any more; `billing partners invoice` does. Raises Refused as voiding an
    invoice does.
    """
    await contracts.hold(tx.conn, prefix)
    row, name = await _named(tx, prefix, wanted)
    if not (by.why or "").strip():
        raise Refused("say why it is voided: auditors will ask")
    if only not in {None, row.status}:
        raise Refused(f"{name} of {prefix} is {row.status}, and not {only} any more: nothing was changed")
    seen.unchanged(row, f"{name} of {prefix}", shown)
    if row.status == "issued" and row.invoice_id is not None:
        await void_invoice(tx, row.invoice_id, reason=by.why or "")
    else:
        await late.free(tx, row)
    details = {"period": name, "was": row.status, "invoice_id": row.invoice_id}
    await write_audit(tx.conn, by, "partners.void", prefix, now=tx.now, details=details)
    await stage_next(tx, prefix)
    return name, row.status
