"""Soon after a charge its payment learns what Stripe kept of it, and what is left."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import msgspec
import structlog

from db import balance_kept, balance_transactions
from db.balance_transactions import Fee, Unlisted, staging
from db.ledger import Fact
from db.states import QueueName
from jobs.derive.books import Entry, enter, hold
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.lists import newest, on_behalf
from jobs.reconciliation.money import BalanceTransactionRow, stage_transactions
from worker.deps import Deps
from worker.errors import Refused, TryLater, Unconfigured
from worker.registry import job, schedule

log = structlog.get_logger()

RIPE = timedelta(minutes=1)
"""How old a charge is before its fee is asked for: Stripe books a payment within seconds."""

YOUNG = timedelta(days=7)
"""Older charges are left to the daily comparison, which reads all of Stripe's balance anyway."""

MOST = 10_000
"""Charges that one run asks for; the next is there in ten minutes."""

PAGE = 100
"""Charges that are entered into the books at once."""

NEAR = timedelta(minutes=2)
"""How far from a charge's own time, or from the moment of its capture, its balance transaction is looked for."""

APART = timedelta(minutes=10)
"""Spans that are nearer to each other than this are listed as one."""

BY_ID = 20
"""Charges of a run that are asked for one by one, because no list had them."""

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)


@schedule("stripe-fees", "*/10 * * * *")
@job(queue=QueueName.BATCH, tries=3, timeout=timedelta(minutes=9))
async def fill_stripe_fees(d: Deps, period: datetime) -> None:  # noqa: ARG001 - what is due is found in the books
    """Fees and nets from balance transactions, in pages. When no charge lacks its fee, Stripe is not asked anything.

    What Stripe refuses or cannot answer now is asked for again by the next run, ten minutes later: a parked job for
    each of them would tell operators nothing that the log does not.
    """
    async with d.tx() as tx:
        until = tx.now - RIPE
        since = until - YOUNG
        accounts = await balance_transactions.accounts_without_fees(tx.conn, since, until)
    for account in accounts:
        try:
            await _account(d, account, since, until)
        except Unconfigured as error:
            say_once(error.reason)
            return
        except TryLater as error:
            log.warning("fees are asked for again in ten minutes", account=account, reason=error.reason)
        except Refused as error:
            log.warning("Stripe does not tell us its fees", account=account, reason=error.reason)


@cache
def say_once(reason: str) -> None:
    """Tell operators, once in the life of the process."""
    log.info("payments stay without Stripe's fees", reason=reason)


async def _account(d: Deps, account: str, since: datetime, until: datetime) -> None:
    stripe = await newest(d, account)
    filled = await fill(d, stripe, since=since)
    lacking = await _unlisted(d, stripe, since, until, MOST)
    if not lacking:
        return
    async with staging(d.engine) as stage:
        for begin, end in spans(lacking):
            await stage_transactions(d, stage, account, begin, end)
        now = (d.business or d.clock).now()
        await balance_kept.keep(stage, account=account, livemode=stripe.livemode, now=now)
    if rest := await _unlisted(d, stripe, since, until, BY_ID):
        await _one_by_one(d, stripe, rest)
    filled += await fill(d, stripe, since=since)
    log.info("payments have their fees", account=account, asked=len(lacking), filled=filled)


async def _unlisted(d: Deps, stripe: Stripe, since: datetime, until: datetime, limit: int) -> list[Unlisted]:
    async with d.tx() as tx:
        return await balance_transactions.unlisted(
            tx.conn, stripe.account, livemode=stripe.livemode, since=since, until=until, limit=limit
        )


def spans(lacking: Sequence[Unlisted]) -> Iterator[tuple[datetime, datetime]]:
    """The times of which balance transactions are listed.

    Money is booked when it is charged or when it is captured, so these two moments of each charge are looked around,
    and not all the days between them.
    """
    times = sorted({moment for one in lacking for moment in (one.created_at, one.shown_at)})
    begin = end = None
    for moment in times:
        if begin is not None and end is not None and moment - NEAR > end + APART:
            yield begin, end
            begin = None
        begin = moment - NEAR if begin is None else begin
        end = moment + NEAR
    if begin is not None and end is not None:
        yield begin, end


async def _one_by_one(d: Deps, stripe: Stripe, lacking: Sequence[Unlisted]) -> None:
    """What no list had: a payment that was captured days ago, of which we were told more since."""
    rows: list[BalanceTransactionRow] = []
    for one in lacking:
        path = f"balance_transactions/{one.balance_transaction}"
        try:
            found = await d.stripe.read(path, **on_behalf(stripe.account))
        except Refused as error:
            log.warning("a balance transaction cannot be read", id=one.balance_transaction, reason=error.reason)
        else:
            rows.append(msgspec.json.decode(found, type=BalanceTransactionRow))
    async with staging(d.engine) as stage:
        await stage.add([msgspec.structs.astuple(row) for row in rows])
        await stage.flush()
        now = (d.business or d.clock).now()
        await balance_kept.keep(stage, account=stripe.account, livemode=stripe.livemode, now=now)


async def fill(d: Deps, stripe: Stripe, *, since: datetime = BEGIN) -> int:
    """Give charges of `since` and later their fee, where a kept balance transaction tells it. Returns how many got it.

    Stripe is not asked. Charges that others are at work on are left for the next time.
    """
    filled = 0
    after: balance_transactions.Place | None = (since, "")
    while after is not None:
        async with d.tx() as tx:
            found, after = await balance_transactions.fees(
                tx.conn, stripe.account, livemode=stripe.livemode, after=after, limit=PAGE
            )
            free = await hold(tx.conn, [_entry(stripe, fee) for fee in found]) if found else []
            if free:
                await enter(tx, free)
        filled += len(free)
    return filled


def _entry(stripe: Stripe, fee: Fee) -> Entry:
    sticky = {
        "livemode": stripe.livemode,
        "stripe_account": stripe.account,
        "stripe_fee_cents": fee.fee,
        "net_amount_cents": fee.net,
        "settlement_currency": fee.currency,
    }
    return Entry(f"fee:{fee.charge}", [Fact("charges", (fee.charge,), sticky=sticky)])
