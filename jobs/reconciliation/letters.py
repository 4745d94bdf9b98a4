"""Operators hear by mail what a comparison with Stripe came to, or that none was made: once, until that changes."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from db import earlier_runs
from jobs.mail import contexts
from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.send_letter import OPERATORS
from jobs.reconciliation.news import left, untold
from jobs.reconciliation.report import Report, by_currency
from worker.deps import Tx
from worker.settings import Settings
from worker.telemetry import redact

__all__ = ["mail", "overdue", "uncompared"]

NAMED = 5
"""Objects that a letter names; the page has them all."""


async def mail(tx: Tx, report: Report, settings: Settings) -> None:
    """Operators hear what a run found, mended or fetched; of what remains and was told before, no more."""
    if report.finished_at is None:
        return
    done = report.mended > 0 or report.fell_due > 0 or (report.events.lost and report.events.put > 0)
    if not done and not await untold(tx, report):
        return
    context = contexts.ReconciliationReport(
        run=report.run,
        mode="live" if report.livemode else "test",
        account=report.account or report.stripe_id,
        since=report.since,
        until=report.until,
        finished_at=report.finished_at,
        run_seconds=report.milliseconds // 1000,
        compared=sum(report.compared.values()),
        totals=[
            contexts.Totals(here=contexts.Amount(here, currency), there=contexts.Amount(there, currency))
            for currency, here, there in by_currency(report.totals)
        ],
        differences=[
            contexts.Difference(name=name, count=one.found, repaired=one.mended)
            for name, one in report.classes.items()
            if one.found
        ],
        notes=list(_notes(report)),
        settled=not left(report),
        link=page(settings, f"/reconciliation/{report.run}"),
    )
    await _stage(tx, "reconciliation_report", context, f"reconciliation/{report.run}")


def _notes(report: Report) -> Iterator[str]:
    """What is wrong beside the differences."""
    events = report.events
    if events.lost and events.put:
        yield f"{_many(events.put, 'event')} of Stripe's had never come; fetched from its list of events and applied"
    elif events.lost:
        since = f" since {events.oldest:%Y-%m-%d %H:%M} UTC" if events.oldest is not None else ""
        yield (
            f"{_many(events.missed, 'event')} of Stripe's did not come{since}: is the door open, and its address right "
            "at Stripe? `billing reconcile --repair` fetches them"
        )
    if events.unread:
        yield f"{_many(events.unread, 'event')} of Stripe's could not be read: a worker's log names them"
    if report.fell_due:
        yield f"{_many(report.fell_due, 'invoice')} became overdue while no event came: dunning began"
    for one in report.waits[: min(report.overdue, NAMED)]:
        yield f"{one.kind} {one.object_id} could not be compared for a day: {one.why}"
    if report.overdue > NAMED:
        yield f"and {_many(report.overdue - NAMED, 'other object')} not for a day"
    for one in report.skips[:NAMED]:
        yield f"{one.kind} {one.object_id} could not be compared: {one.why}"
    if report.skipped > NAMED:
        yield f"and {_many(report.skipped - NAMED, 'other object')} not"


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


async def uncompared(tx: Tx, account: str, why: str, settings: Settings) -> None:
    """Operators hear that nothing was compared, once for each reason since the last comparison that was made."""
    last = await earlier_runs.last_done(tx.conn, account)
    reason = hashlib.sha256(why.encode(errors="replace")).hexdigest()[:16]
    key = f"reconciliation/uncompared/{account}/{last or 0}/{reason}"
    await _alarm(tx, key, [why], settings, account=account)


async def overdue(tx: Tx, late: Mapping[str, datetime], settings: Settings, *, all_: bool) -> None:
    """Operators hear which accounts were not compared, each since when, once; `all_`: none of them was."""
    since = min(late.values())
    key = f"reconciliation/overdue/{since.isoformat()}"
    error = await earlier_runs.last_error(tx.conn, since)
    whose = "with Stripe"
    if not all_:
        told = ",".join(f"{account}@{at.isoformat()}" for account, at in sorted(late.items()))
        key += f"/{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        whose = f"of {_accounts(sorted(late))}"
    reasons = [f"No comparison {whose} has come to its end since {since:%Y-%m-%d %H:%M} UTC"]
    if error is not None:
        reasons.append(f"The last one ended with: {error}")
    await _alarm(tx, key, reasons, settings)


def _accounts(names: Sequence[str]) -> str:
    named = [name or "our own account" for name in names[:NAMED]]
    more = len(names) - len(named)
    return ", ".join(named) + (f" and {_many(more, 'other account')}" if more else "")


async def _alarm(tx: Tx, key: str, reasons: list[str], settings: Settings, *, account: str = "") -> None:
    context = contexts.BooksAlarm(
        about="comparison",
        reasons=[redact(one) for one in reasons],
        command="billing reconcile list",
        account=account or None,
        link=page(settings, "/reconciliation"),
    )
    await _stage(tx, "books_alarm", context, key)


async def _stage(tx: Tx, name: str, context: contexts.Context, key: str) -> None:
    await stage_letter(tx, name, context, key=key, to=Recipient(OPERATORS), occurred_at=tx.now)


def page(settings: Settings, path: str) -> str | None:
    """A page of the dashboard; None where nobody has said under which address it is reached."""
    return None if settings.billing_admin_url is None else settings.billing_admin_url.rstrip("/") + path
