"""After an outage of the workers, or of the door to Stripe's webhooks, the books are compared at once."""

from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from db import outages
from db import reconciliation as rows
from db.states import QueueName
from jobs.events.apply import READERS
from jobs.reconciliation import letters
from jobs.reconciliation.daily import LATELY, reconcile_books
from jobs.reconciliation.lists import by_stripe
from jobs.stripe_objects import Malformed, parse
from worker.deps import Deps, Tx
from worker.errors import Refused, TryLater, Unconfigured
from worker.registry import job, schedule
from worker.settings import StripeMode

log = structlog.get_logger()

NAME, DAILY = "outages", "reconcile"
"""Schedules: this one, and the one by which the books are compared each morning."""

EVERY = timedelta(minutes=10)
"""How often it runs. A period of it that nobody took means that no worker lived, or that none reached PostgreSQL."""

MISSED = timedelta(hours=1)
"""An event that did not come for so long is no straggler: Stripe tries the second time after minutes.

https://docs.stripe.com/webhooks#retries
"""

TRIED = timedelta(days=3)
"""For so long Stripe tries; what is older is found by the comparison itself."""

OVERDUE = timedelta(days=2)
"""When no comparison without a gap has come to its end for so long, operators hear of it."""

PAGE = 100
"""Events that are looked at: as long as an outage goes on, the newest of them show it."""


class _Event(msgspec.Struct):
    """https://docs.stripe.com/api/events/object."""

    id: str
    type: str
    created: int
    livemode: bool
    """The mode of the key that asks: all events of one list have the same."""


class _Page(msgspec.Struct):
    data: list[_Event]


@schedule(NAME, "*/10 * * * *")
@job(queue=QueueName.BATCH, tries=3, timeout=timedelta(minutes=2))
async def notice_outages(d: Deps, period: datetime) -> None:
    """Stage a comparison after an outage, once for each; tell operators when none came to its end for two days.

    What Stripe refuses or cannot answer now is asked for again ten minutes later.
    """
    async with d.tx() as tx:
        await _stood_still(tx, period)
        await _overdue(d, tx)
    try:
        undelivered = await _undelivered(d)
    except Unconfigured:
        return
    except (TryLater, Refused) as error:
        log.warning("Stripe does not tell which events it could not deliver", reason=error.reason)
    else:
        if undelivered:
            async with d.tx() as tx:
                await _never_came(tx, undelivered, period)


async def _stood_still(tx: Tx, period: datetime) -> None:
    before = await outages.period_before(tx.conn, NAME, period)
    if before is None or period - before <= EVERY:
        return
    if await _stage(tx, f"reconcile/outage/{before.isoformat()}", period):
        log.warning("no worker was at work: the books are compared with Stripe", since=before.isoformat())


async def _overdue(d: Deps, tx: Tx) -> None:
    """What somebody has compared by hand since, or an outage, is not overdue; accounts are compared one by one."""
    done = await outages.last_done(tx.conn, DAILY)
    if done is None or tx.wall - done <= OVERDUE or d.settings.stripe_secret_key is None:
        return
    mode = d.settings.stripe_mode
    livemode = None if mode is StripeMode.ANY else mode is StripeMode.LIVE
    since = await outages.compared_since(tx.conn, done, livemode=livemode)
    accounts = ["", *await rows.connected(tx.conn, tx.now - LATELY)]
    late = {one: at for one in accounts if tx.wall - (at := since.get(one, done)) > OVERDUE}
    if late:
        await letters.overdue(tx, late, d.settings, all_=len(late) == len(accounts))


async def _undelivered(d: Deps) -> list[_Event]:
    """Events of the last days, of types that are applied here, that Stripe has tried to deliver for an hour or longer.

    Of our own account. Those that were delivered here, and not at another address of the same account, are among them.
    """
    now = by_stripe(d)
    created = {"gte": int((now - TRIED).timestamp()), "lt": int((now - MISSED).timestamp())}
    body = await d.stripe.read("events", delivery_success=False, created=created, limit=PAGE)
    return [event for event in _page(body).data if event.type in READERS]


def _page(body: bytes) -> _Page:
    """The list; the payloads in it may hold what only `parse` can read. Raises TryLater for what is no list."""
    try:
        return msgspec.json.decode(body, type=_Page)
    except msgspec.DecodeError:
        try:
            return msgspec.convert(parse(body), _Page)
        except (Malformed, msgspec.ValidationError) as error:
            raise TryLater(f"what answered GET /v1/events is no list of events: {body[:80]!r}") from error


async def _never_came(tx: Tx, undelivered: list[_Event], period: datetime) -> None:
    """Compare, unless a comparison has seen them already: it tells of them, or has fetched them.

    The last webhook that came before them names the outage. Where only some come through, one is staged an hour.
    """
    lacking = await outages.lacking(tx.conn, [event.id for event in undelivered])
    compared = await outages.compared_until(tx.conn, livemode=undelivered[0].livemode)
    times = [datetime.fromtimestamp(event.created, UTC) for event in undelivered if event.id in lacking]
    new = [at for at in times if compared is None or at > compared]
    if not new:
        return
    came = await outages.last_webhook(tx.conn, min(new))
    hour = "never" if came is None else f"{came.astimezone(UTC):%Y-%m-%dT%H}"
    if await _stage(tx, f"reconcile/undelivered/{hour}", period):
        log.warning("webhooks did not come: the books are compared with Stripe", events=len(new), since=min(new))


async def _stage(tx: Tx, key: str, period: datetime) -> bool:
    return await tx.stage(reconcile_books.call(period=period), unique_key=key) is not None
