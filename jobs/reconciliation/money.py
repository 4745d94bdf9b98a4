"""Stripe's balance tells what money moved: each of its transactions is laid beside our rows, and our rows beside it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from db import balance_comparison, balance_kept, balance_lone
from db.balance_comparison import Part, Span
from db.balance_kept import Changed
from db.balance_lone import Overpaid
from db.balance_transactions import Session, Staging, both, session, staging
from db.states import DifferenceClass
from jobs.reconciliation.found import Difference, Stripe, Suspect
from jobs.reconciliation.lists import each_page
from worker.deps import Deps

WAITS = timedelta(minutes=10)
"""Younger money waits: its webhooks may be on their way."""

MONEY = {"charge": "charges", "refund": "refunds", "dispute": "disputes", "payout": "payouts"}
"""How the sums of a kind are named in a report. The fees of payments are summed as `fees`."""

OTHER_FEES = "other_fees"
"""What Stripe kept of disputes, refunds, debits that failed later and of nobody's money: no row of ours but its own."""


class BalanceTransactionRow(msgspec.Struct, frozen=True, gc=False):
    """What is used of a balance transaction, in the order of `db.balance_transactions.COLUMNS`.

    https://docs.stripe.com/api/balance_transactions/object: amounts in minor units, times in seconds.
    """

    id: str
    type: str
    reporting_category: str
    source: str | None
    currency: str
    amount: int
    fee: int
    net: int
    exchange_rate: Decimal | None
    available_on: int
    created: int


Totals = dict[str, dict[str, dict[str, int]]]
"""By currency and money (`charges`, `refunds`, `disputes`, `payouts`, `fees`, `other_fees`): signed minor units."""


@dataclass(slots=True)
class Compared:
    """What a comparison of the money found. Nothing in it has been looked at afresh."""

    suspects: set[Suspect] = field(default_factory=set[Suspect])
    totals: Totals = field(default_factory=Totals)
    duplicates: list[Difference] = field(default_factory=list[Difference])
    """What no fresh look at one object settles: money that moved twice, and balance transactions that changed."""
    overpaid: list[Overpaid] = field(default_factory=list[Overpaid])
    """Invoices that seem to be paid twice, before any look: `paid_twice` tells afterwards."""
    counted: Counter[str] = field(default_factory=Counter[str])
    """Balance transactions (`listed`, `kept` for the first time, `waiting`, `converted`), objects of each kind of money
    and of none (`other`), and charges that do not know their fee yet (`without_fee`)."""


async def compare_money(
    d: Deps, stripe: Stripe, since: datetime, until: datetime, *, dry_run: bool = False
) -> Compared:
    """All money that Stripe booked in [since, until) beside ours, and ours of that time beside Stripe's.

    The span is looked at from WAITS earlier and up to WAITS before Stripe's present, so that spans that follow one
    another leave nothing out. Stripe's rows are kept, whatever is found: they are facts, and tell charges their fees
    (`jobs.reconciliation.fees.fill`). A dry run only counts them. Nothing else is written. Raises as `each_page`.
    """
    span = Span(stripe.account, stripe.livemode, since - WAITS, min(until, stripe.as_of) - WAITS)
    found = Compared()
    async with staging(d.engine, shared=True) as stage:
        await stage_transactions(d, stage, stripe.account, span.since, until)
        await stage.analyze()
        async with session(d.engine) as second:
            aside = await stage.share(second)
            if aside is stage:
                await _kept(d, aside, span, found, dry_run=dry_run)
                twice = await _compared(stage, span, found)
            else:
                _, twice = await both(_kept(d, aside, span, found, dry_run=dry_run), _compared(stage, span, found))
    if twice:
        async with d.tx() as tx:
            found.overpaid = await balance_lone.overpaid(tx.conn, twice)
        found.suspects |= {suspect for one in found.overpaid for suspect in _about(one)}
    return found


async def _kept(d: Deps, aside: Session, span: Span, found: Compared, *, dry_run: bool) -> None:
    """What Stripe tells is laid beside what it told before, and kept."""
    prepared = await balance_kept.prepare(aside, span)
    found.counted["listed"], found.counted["waiting"] = prepared.listed, prepared.waiting
    found.duplicates += [each for one in prepared.changed for each in _changed(one)]
    now = (d.business or d.clock).now()
    if dry_run:
        found.counted["kept"] = await balance_kept.unkept(aside)
    else:
        found.counted["kept"] = await balance_kept.keep(
            aside, account=span.account, livemode=span.livemode, now=now, rows="new", fresh=True
        )


async def _compared(stage: Staging, span: Span, found: Compared) -> list[str]:
    """What Stripe tells is laid beside our charges, refunds, disputes and payouts. Returns invoices paid twice."""
    charges = await _beside(stage, span, found)
    for one in await balance_lone.lone(stage, span, charges):
        found.suspects.add(Suspect(one.kind, one.id))
        _add(found.totals, one.currency, MONEY[one.kind], there=0, here=one.amount)
    return await balance_lone.paid_twice(stage, span)


async def stage_transactions(d: Deps, stage: Staging, account: str, since: datetime, until: datetime) -> None:
    """Bring Stripe's balance transactions of [since, until) beside our rows, page by page as they come."""
    pages = each_page(d, "balance_transactions", BalanceTransactionRow, account=account, since=since, until=until)
    async with aclosing(pages):
        async for page in pages:
            await stage.add([msgspec.structs.astuple(row) for row in page])
    await stage.flush()


def _add(totals: Totals, currency: str, money: str, *, there: int, here: int) -> None:
    sums = totals.setdefault(currency, {}).setdefault(money, {"there": 0, "here": 0})
    sums["there"] += there
    sums["here"] += here


async def _beside(stage: Staging, span: Span, found: Compared) -> list[str]:
    """Returns the charges that may have no money at Stripe."""
    parts, lone = await balance_comparison.compare(stage, span)
    for part in parts:
        found.suspects |= {Suspect(part.kind, name) for name in part.off}
        found.suspects |= {Suspect("charge", name) for name in part.besides}
        found.duplicates += _twice(part)
        if not part.count:
            continue
        found.counted[MONEY[part.kind]] += part.count
        found.counted["without_fee"] += part.without_fee
        if part.kind == "charge":
            _add(found.totals, part.currency, "fees", there=part.fees_there, here=part.fees_here)
        if part.other_fees:
            _add(found.totals, part.currency, OTHER_FEES, there=part.other_fees, here=part.other_fees)
        if part.converted:
            found.counted["converted"] += part.count
        else:
            _add(found.totals, part.currency, MONEY[part.kind], there=part.there, here=part.here)
    for currency, count, fees in await balance_comparison.others(stage, span):
        found.counted["other"] += count
        if fees:
            _add(found.totals, currency, OTHER_FEES, there=fees, here=fees)
    return lone


def _twice(part: Part) -> Iterator[Difference]:
    for name, here, there in part.twice:
        yield Difference(
            part.kind, name, DifferenceClass.DUPLICATE, "balance_transaction_id", str(here), str(there), part.currency
        )


_FIELDS = (
    ("amount_cents", DifferenceClass.AMOUNT),
    ("fee_cents", DifferenceClass.FEE),
    ("net_cents", DifferenceClass.AMOUNT),
)


def _changed(one: Changed) -> Iterator[Difference]:
    kind = "balance_transaction"
    if one.there is None:
        yield Difference(kind, one.id, DifferenceClass.MISSING_THERE, "", _amount(one.here), None, one.currency)
    elif one.here is None:  # amount, fee and net do not add up, so it is not kept
        yield Difference(kind, one.id, DifferenceClass.AMOUNT, "net_cents", None, str(one.there[2]), one.currency)
    else:
        for (name, class_), here, there in zip(_FIELDS, one.here, one.there, strict=True):
            if here != there:
                yield Difference(kind, one.id, class_, name, str(here), str(there), one.currency)


def _amount(sums: Sequence[int] | None) -> str | None:
    return None if sums is None else str(sums[0])


async def paid_twice(
    d: Deps, found: Compared, *, decided: AbstractSet[Suspect], unsettled: AbstractSet[str], before: AbstractSet[str]
) -> list[Difference]:
    """Invoices that are still paid too often after all that `compare_money` named was looked at afresh.

    That a payment is for another invoice, or that the invoice has heard of all of them, is what a look finds and mends.
    So nothing is said of an invoice of which, or of whose charges, not everything is known (`decided`), or something is
    to be mended yet (`unsettled`: the objects), unless it was said `before`: the invoices.
    """
    if not found.overpaid:
        return []
    async with d.tx() as tx:
        still = await balance_lone.overpaid(tx.conn, [one.invoice for one in found.overpaid])
    told: list[Difference] = []
    for one in still:
        about = _about(one)
        sure = about <= decided and unsettled.isdisjoint({suspect.object_id for suspect in about})
        if sure or one.invoice in before:
            sides = (str(one.paid), str(one.told), one.currency)
            told.append(Difference("invoice", one.invoice, DifferenceClass.DUPLICATE, "amount_paid_cents", *sides))
    return told


def _about(one: Overpaid) -> set[Suspect]:
    return {Suspect("invoice", one.invoice)} | {Suspect("charge", name) for name in one.charges}
