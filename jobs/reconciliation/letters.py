"""Operators hear by mail what a comparison with Stripe came to, or that none was made: once, until that changes."""

import hashlib
from collections.abc import Iterator
from datetime import datetime

import msgspec

from db import earlier_runs
from jobs.mail import contexts
from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.send_letter import OPERATORS
from jobs.reconciliation.report import Report, by_currency
from worker.deps import Tx
from worker.settings import Settings
from worker.telemetry import redact

__all__ = ["mail", "overdue", "uncompared", "wrong"]

NAMED = 5
"""Objects that a letter names; the page has them all."""


def wrong(report: Report) -> str:
    """What remains to be done, as a short text that changes when it does; empty when nothing remains."""
    left = sorted(
        (one.class_, one.kind, one.object_id, one.field, one.here, one.there)
        for one in report.differences
        if not one.mended
    )
    counts = sorted((name, one.found - one.mended) for name, one in report.classes.items() if one.found > one.mended)
    late = sorted((one.kind, one.object_id) for one in report.waits[: report.overdue])
    skips = sorted((one.kind, one.object_id) for one in report.skips)
    missed = report.events.oldest if report.events.lost and not report.events.put else None
    told = (left, counts, late, skips, missed, report.events.unread)
    if told == ([], [], [], [], None, 0):
        return ""
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:32]


async def mail(tx: Tx, report: Report, settings: Settings) -> None:
    """Operators hear what a run found, mended or fetched; of what remains as it was after the run before, no more."""
    if report.finished_at is None:
        return
    before = await earlier_runs.wrong_before(tx.conn, report.run, report.account, livemode=report.livemode)
    news = report.mended > 0 or (report.events.lost and report.events.put > 0)
    if not news and (not report.wrong or report.wrong == before):
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
        settled=not report.wrong,
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


async def overdue(tx: Tx, since: datetime, settings: Settings) -> None:
    """Operators hear that no daily comparison has come to its end since then, once."""
    key = f"reconciliation/overdue/{since.isoformat()}"
    error = await earlier_runs.last_error(tx.conn, since)
    reasons = [f"The daily comparison has not come to its end since {since:%Y-%m-%d %H:%M} UTC"]
    await _alarm(tx, key, reasons if error is None else [*reasons, f"The last one ended with: {error}"], settings)


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
