"""Each hour the books are held against their own invariants, and once a day as a whole; what breaks one is told."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from db.states import QueueName
from db.verify import runs
from db.verify.registry import INVARIANTS
from jobs.mail import contexts
from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.send_letter import OPERATORS
from jobs.verify.verifying import NAMES as ALL
from jobs.verify.verifying import Clocks, last_whole_at, verify
from worker.deps import Deps, Tx
from worker.registry import job, schedule
from worker.settings import Settings

log = structlog.get_logger()

KEEP = timedelta(days=90)
TIMEOUT = timedelta(hours=2)
"""Above all that a whole check of very large books may take: each question of it has an end of its own."""


@schedule("verify", "20 * * * *")
@job(queue=QueueName.BATCH, tries=3, timeout=TIMEOUT)
async def verify_books(d: Deps, period: datetime) -> None:  # noqa: ARG001 - an hour that was missed is in the next one's span
    """Check all invariants, of what changed since the last time; the first time after 03:00 UTC of all rows.

    Nothing is written but the run itself, so a crash costs nothing.
    """
    clocks = Clocks(d.business or d.clock, d.clock)
    began = clocks.business.now()
    async with d.engine.connect() as conn:
        before, known = await runs.last(conn, failed=True), await runs.last(conn, failed=False)
        done = await runs.whole_since(conn, last_whole_at(began))
    due = [name for name in ALL if name not in done]
    lately = [name for name in ALL if name in done]
    results = [*await verify(d.engine, clocks, names=due, whole=True), *await verify(d.engine, clocks, names=lately)]
    news = [one.name for one in results if one.broken and not _was_broken(known, one.name)]
    if news:
        log.error("the books broke invariants that held before: run `billing verify`", invariants=news)
    worse = [one for one in results if _is_worse(one, before.get(one.name), known.get(one.name))]
    async with d.last_tx() as tx:
        run = await runs.save(tx.conn, results, asked_by="schedule", started_at=began, finished_at=tx.now)
        await runs.forget_before(tx.conn, tx.now - KEEP)
        if worse:
            await _mail(tx, run, results, d.settings)


def _was_broken(before: dict[str, runs.Last], name: str) -> bool:
    return name in before and before[name].broken > 0


def _is_worse(one: runs.Result, before: runs.Last | None, known: runs.Last | None) -> bool:
    """Whether operators do not know it yet: more rows break it than before, or it cannot be checked any more.

    A check that did not come to its end tells nothing of the rows: they are held against the last that did (`known`).
    """
    if one.error is not None:
        return before is None or before.error is None
    return one.broken > (known.broken if known is not None else 0)


async def _mail(tx: Tx, run: int, results: Sequence[runs.Result], settings: Settings) -> None:
    """All that does not hold now, in one letter."""
    reasons = [
        f"{one.name} could not be checked: {one.error}"
        if one.error is not None
        else f"{one.name}, {one.broken:,} row{'' if one.broken == 1 else 's'}. {INVARIANTS[one.name].holds} "
        f"What to do: {INVARIANTS[one.name].mend.replace('`', '')}"
        for one in results
        if not one.holds
    ]
    base = settings.billing_admin_url
    context = contexts.BooksAlarm(
        about="invariants",
        reasons=reasons,
        command="billing verify",
        link=None if base is None else base.rstrip("/") + "/",
    )
    await stage_letter(tx, "books_alarm", context, key=f"verify/{run}", to=Recipient(OPERATORS), occurred_at=tx.now)
