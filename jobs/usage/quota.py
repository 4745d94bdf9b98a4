"""Partners and subscribers hear when most of a month's allowance is used, and when all of it is."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from db import quotas
from db.emails import StoredEmail
from db.states import QueueName
from jobs.mail.contexts import Span, Usage80, Usage100
from jobs.mail.guards import guards
from jobs.mail.notice_staging import Notice, stage_notices
from jobs.rules.quotas import STEPS, letter_due, reached, whole
from jobs.usage import allowances
from jobs.usage.allowances import Allowance
from worker.deps import Deps, Tx
from worker.registry import job, schedule

LETTERS = {80: ("usage_80", Usage80), 100: ("usage_100", Usage100)}

NO_ADDRESS = "nobody is named to write to: set the contract's billing_email"


@schedule("usage-quotas", "*/10 * * * *")
@job(queue=QueueName.BATCH, timeout=timedelta(minutes=2))
async def warn_of_quotas(d: Deps, period: datetime) -> None:  # noqa: ARG001 - a run that comes late tells what is true now
    """Look at everybody who has an allowance, and stage the letters that are due: one for each step and month."""
    async with d.tx() as tx:
        found = await allowances.of_partners(tx.conn, tx.now)
        found += await allowances.of_users(tx.conn, tx.now, d.settings.billing_default_timezone)
        near = await _near(tx, found)
        told = await quotas.told(tx.conn, [one.key(step) for one in near for step in STEPS])
        await stage_notices(tx, await _due(tx, near, told))


async def _near(tx: Tx, found: Iterable[Allowance]) -> list[Allowance]:
    """Those who may have reached a step."""
    limits = list(found)
    units = await allowances.at_most(tx.conn, limits)
    return [one for one in limits if reached(units.get(one.name, Decimal(0)), one.limit) is not None]


async def _due(tx: Tx, near: Iterable[Allowance], told: set[str]) -> list[Notice]:
    letters: list[Notice] = []
    for one in near:
        before = {step for step in STEPS if one.key(step) in told}
        if before == set(STEPS):
            continue
        used = await allowances.used(tx.conn, one)
        step = letter_due(used, one.limit, before)
        if step is not None:
            letters.append(_letter(one, step, used, tx.now))
    return letters


def _letter(one: Allowance, step: int, used: Decimal, now: datetime) -> Notice:
    name, context = LETTERS[step]
    says = context(
        name=one.to.name,
        used=whole(used),
        limit=one.limit,
        period=Span(first=one.month.start, last=one.month.end),
        overage=one.price,
        refused=False,
    )
    partner = one.owner.api_key_prefix is not None
    suppressed = NO_ADDRESS if partner and not one.to.address else None
    return Notice(one.key(step), name, says, one.to, occurred_at=now, suppressed=suppressed)


@guards("quota")
async def still_true(d: Deps, letter: StoredEmail) -> str | None:
    """A letter that waited for its carrier is not sent when the limit was raised, or the month is over."""
    _, owner, month, step = letter.key.split("/")
    async with d.tx() as tx:
        if owner.startswith("user:"):
            one = await allowances.of_user(
                tx.conn, int(owner.removeprefix("user:")), tx.now, d.settings.billing_default_timezone
            )
        else:
            one = await allowances.of_partner(tx.conn, owner, tx.now)
        if one is None:
            return "there is no allowance any more"
        if one.month.name != month:
            return f"the month {month} is over"
        now_at = reached(await allowances.used(tx.conn, one), one.limit)
    if now_at is None or now_at < int(step):
        return f"the limit was changed meanwhile: it is {one.limit} now, of which less than {step} % is used"
    return "all of it is used by now, which another letter tells" if now_at > int(step) else None
