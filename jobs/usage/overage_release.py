"""Somebody who knows better looks at a subscriber's month, has it invoiced now, lets a parked one go, or drops it."""

from db import overage
from db.operators.actions import Actor, write_audit
from db.usage_invoices import UsageRow
from jobs.invoices.issue import livemode
from jobs.invoices.sellers import sellers_from
from jobs.invoices.void import void as void_invoice
from jobs.partners import late, seen
from jobs.rules.billing_periods import Period
from jobs.usage import months_of_users
from jobs.usage.overage import Prepared, Row, Settled, held, prepare, settle, subject
from jobs.usage.plans import zone_of
from worker.deps import Tx
from worker.errors import Refused
from worker.settings import Settings


async def _named(tx: Tx, user_id: int, wanted: str | None, settings: Settings) -> tuple[Row, Period]:
    user = await subject(tx, user_id)
    zone = zone_of(user["timezone"], settings.billing_default_timezone)
    try:
        if wanted is None:
            return user, await months_of_users.running(tx.conn, user_id, tx.now, zone)
        return user, await months_of_users.typed(tx.conn, user_id, wanted, zone)
    except ValueError as error:
        raise Refused(str(error)) from error


async def look(tx: Tx, user_id: int, wanted: str | None, settings: Settings) -> tuple[Period, Prepared]:
    """A month as it would be invoiced now, the running one too; nothing is written. Raises Refused."""
    user, month = await _named(tx, user_id, wanted, settings)
    return month, await prepare(tx, user, month, sellers_from(settings), lock=False)


async def parked(tx: Tx, user_id: int, wanted: str, settings: Settings) -> UsageRow:
    """A customer's month that is parked. Raises Refused when it is not."""
    _, month = await _named(tx, user_id, wanted, settings)
    row = await overage.looked_at_one(tx.conn, user_id, month.start)
    if row is None or row.status != "parked":
        raise Refused(f"{month.name} of customer {user_id} is {_stands(row)}")
    return row


async def invoice(
    tx: Tx, user_id: int, wanted: str, settings: Settings, by: Actor, *, release: bool, shown: str | None = None
) -> Settled:
    """Invoice a month that is over, now; with `release` one that is parked, by what is known now.

    What is odd for another reason by now stays parked. Raises Refused, also when it is no more what was `shown`
    (`seen.mark_of`; None: whatever it is).
    """
    await held(tx, user_id)
    user, month = await _named(tx, user_id, wanted, settings)
    if month.end > tx.now:
        raise Refused(f"{month.name} ends on {month.end:%Y-%m-%dT%H:%MZ}: until then there is a preview")
    row = await overage.looked_at_one(tx.conn, user_id, month.start, lock=True)
    if row is None and not release:
        row = await overage.period(tx.conn, user_id, month.start, month.end, month.timezone, now=tx.now)
    wants = "parked" if release else "pending"
    if row is None or row.status != wants:
        raise Refused(f"{month.name} of customer {user_id} is {_stands(row)}")
    seen.unchanged(row, f"{month.name} of customer {user_id}", shown)
    sellers = sellers_from(settings)
    prepared = await prepare(tx, user, month, sellers)
    released = seen.guards(row) if release else frozenset[str]()
    done = await settle(tx, row, prepared, sellers, live=livemode(settings), released=released)
    number = done.issued.number if done.issued is not None else None
    details = {"period": month.name, "status": done.status, "number": number, "total_cents": done.prepared.total}
    action = "overage.release" if release else "overage.invoice"
    await write_audit(tx.conn, by, action, f"user:{user_id}", now=tx.now, details=details)
    return done


def _stands(row: UsageRow | None) -> str:
    match row.status if row is not None else None:
        case None:
            return "not looked at yet"
        case "issued":
            return "invoiced already: void that first, to invoice it anew"
        case "parked":
            return "parked: release it, or void it"
        case "empty":
            return "looked at, and nothing was to be charged: void it to look again"
        case other:
            return f"{other}: try again"


async def void(
    tx: Tx,
    user_id: int,
    wanted: str,
    settings: Settings,
    by: Actor,
    *,
    only: str | None = None,
    shown: str | None = None,
) -> str:
    """Drop a month: one that waits, or an issued invoice that nobody has paid. Returns what it was. Raises Refused.

    `only` is what it must be, and `shown` as `invoice` has it, for whoever saw it so a while ago.
    No schedule invoices it by itself any more.
    """
    await held(tx, user_id)
    _, month = await _named(tx, user_id, wanted, settings)
    row = await overage.looked_at_one(tx.conn, user_id, month.start, lock=False)
    if row is None:
        raise Refused(f"{month.name} of customer {user_id} is {_stands(None)}")
    if only not in {None, row.status}:
        raise Refused(
            f"{month.name} of customer {user_id} is {row.status}, and not {only} any more: nothing was changed"
        )
    seen.unchanged(row, f"{month.name} of customer {user_id}", shown)
    if row.status == "issued" and row.invoice_id is not None:
        await void_invoice(tx, row.invoice_id, reason=by.why or "")
    else:
        await late.free(tx, row)
    details = {"period": month.name, "was": row.status, "invoice_id": row.invoice_id}
    await write_audit(tx.conn, by, "overage.void", f"user:{user_id}", now=tx.now, details=details)
    return row.status
