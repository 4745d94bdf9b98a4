"""Each day a piece of the past is compared once more, further back each time, so that old damage is found as well.

A row that somebody spoils years after it was written is in no open set, and no event tells of it.
"""

from datetime import datetime, timedelta

from db import earlier_runs
from db import reconciliation as rows
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.money import Compared, compare_money
from jobs.reconciliation.report import Piece
from worker.deps import Deps

ROUND = 90
"""Comparisons in which all of the past is compared once more; daily ones, so days."""

LEAST = timedelta(days=7)
"""The shortest piece: a past of a month is through in a few days."""


def next_piece(oldest: datetime | None, since: datetime, last: Piece | None) -> Piece | None:
    """The piece before `last`, the newest one after the oldest. None: nothing is older than `since`.

    What is older than `since` is walked through backwards. It grows by a day each day, and so does the last piece.
    """
    if oldest is None or oldest >= since:
        return None
    until = since if last is None or not oldest < last.since < since else last.since
    return Piece(max(oldest, until - max(LEAST, (since - oldest) / ROUND)), until)


async def piece(d: Deps, stripe: Stripe, since: datetime) -> Piece | None:
    """What is compared once more by a run that begins at `since`: by the piece of the run before it that had one."""
    async with d.tx() as tx:
        oldest = await rows.oldest(tx.conn, stripe.account, livemode=stripe.livemode)
        last = await earlier_runs.looked_back(tx.conn, stripe.account, livemode=stripe.livemode)
    return next_piece(oldest, since, None if last is None else Piece(*last))


async def compare_again(d: Deps, stripe: Stripe, older: Piece, found: Compared) -> int:
    """Lay the money of the piece beside ours, and add what does not fit to what was found. Raises as `each_page`.

    Sums are not added: they are those of the run's own time. Returns how many balance transactions Stripe showed.
    """
    more = await compare_money(d, stripe, older.since, older.until)
    found.suspects |= more.suspects
    found.duplicates += more.duplicates
    found.overpaid += more.overpaid
    return more.counted["listed"]
