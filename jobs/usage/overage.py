"""A subscriber who used more than the plan includes gets an invoice for the rest, after the month is over."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import structlog

from db import overage, usage_invoices
from db.states import QueueName
from db.usage import Owner
from db.usage_invoices import Outcome, UsageRow
from jobs.invoices import issue as issuing
from jobs.invoices.document import Document
from jobs.invoices.drafts import Draft
from jobs.invoices.issue import Issued
from jobs.invoices.sellers import Sellers, sellers_from
from jobs.mail.contexts import Amount, InvoiceParked, OverageCredited
from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.send_letter import OPERATORS
from jobs.partners import credits as credit
from jobs.partners import freeze, late, promotions
from jobs.partners.draft import credit_name
from jobs.partners.freeze import Frozen, PlannedCredit
from jobs.partners.guards import AVERAGE_OF, Concern, Facts, concerns, unusable
from jobs.partners.late import Late
from jobs.partners.words import LineWords
from jobs.rules.billing_periods import Period
from jobs.rules.months import month_of
from jobs.rules.plan_spans import SeveralCurrencies
from jobs.usage import months_of_users
from jobs.usage.months_of_users import closed_months
from jobs.usage.overage_draft import draft, frozen_month, name_of, plans_known_now, unplanned_month
from jobs.usage.plans import plans, spans_of, zone_of
from worker.deps import Deps, Tx
from worker.errors import Held, Refused
from worker.registry import job, schedule
from worker.settings import ConfigurationError

log = structlog.get_logger()
Row = Mapping[str, Any]

CATCH_UP = timedelta(days=100)
"""What ended longer ago is invoiced by hand only."""

MIDDLE = timedelta(days=14)
BUSY = timedelta(seconds=1)
ALARM = 5
"""An invoice over so many times the average of the last ones waits for an operator, as partners' do by default."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A month as it would be invoiced now. Without `draft` nothing is due, without `frozen` nothing is agreed."""

    frozen: Frozen | None = None
    draft: Draft | None = None
    says: Document | None = None
    concerns: tuple[Concern, ...] = ()
    credit_plan: credit.Plan = ()

    @property
    def total(self) -> int:
        """Minor units."""
        return self.says.total_minor if self.says is not None else 0


async def subject(tx: Tx, user_id: int) -> Row:
    """The customer. Raises Refused when there is none."""
    user = await overage.user(tx.conn, user_id)
    if user is None:
        raise Refused(f"there is no customer {user_id}")
    return user


async def _frozen(tx: Tx, user: Row, month: Period, sellers: Sellers, *, lock: bool) -> tuple[Frozen | None, Late]:
    """All that a month's amounts follow from, but the credits; None: nothing is agreed, and nothing came late.

    Raises SeveralCurrencies, ConfigurationError.
    """
    held = await spans_of(tx.conn, user["id"], month.start, month.end, month.timezone)
    profile = sellers.profile()
    frozen = await (frozen_month(tx, user, month, held, profile) if held else unplanned_month(tx, user, month))
    if frozen is None:
        return None, Late()
    owner = Owner(user_id=user["id"])
    at = max(month.start, min(tx.now, month.end - timedelta(seconds=1)))
    lately = await late.find(tx, owner, frozen, lock=lock, again=plans_known_now(tx, user["id"]))
    if not held and not lately.adjustments:
        return None, lately
    discounts = tuple(await promotions.discounts(tx, owner, at))
    return msgspec.structs.replace(frozen, discounts=discounts, adjustments=lately.adjustments), lately


async def prepare(tx: Tx, user: Row, month: Period, sellers: Sellers, *, lock: bool = True) -> Prepared:
    """What the invoice for a month would be if it were issued now. Nothing is written."""
    try:
        frozen, lately = await _frozen(tx, user, month, sellers, lock=lock)
    except (SeveralCurrencies, ConfigurationError) as error:
        return Prepared(concerns=(unusable("plans", str(error)),))
    if frozen is None:
        return Prepared()
    owner = Owner(user_id=user["id"])
    try:
        made = draft(frozen, user["id"])
        if made is None:
            return Prepared(frozen, concerns=tuple(Concern("late_usage", one, stops=False) for one in lately.notes))
        total = issuing.preview(made, sellers, now=tx.now).total_minor
        rows = await credit.available(tx, owner, frozen.currency, lock=lock)
        plan = credit.plan([*rows, *late.brought(frozen.adjustments, frozen, tx.now)], total)
        words = LineWords(frozen.locale, frozen.currency)
        frozen = msgspec.structs.replace(
            frozen,
            credits=tuple(
                PlannedCredit(id=row.id, name=credit_name(row, frozen, words), minor=off) for row, off in plan
            ),
        )
        made = cast("Draft", draft(frozen, user["id"]))
        says = issuing.preview(made, sellers, now=tx.now)
    except ValueError as error:
        return Prepared(frozen, concerns=(unusable("plans", str(error)),))
    except Refused as refused:
        return Prepared(frozen, concerns=(unusable("draft", refused.reason),))
    return Prepared(frozen, made, says, tuple(await _concerns(tx, user, month, frozen, says, notes=lately.notes)), plan)


async def _concerns(
    tx: Tx, user: Row, month: Period, frozen: Frozen, says: Document, *, notes: Sequence[str]
) -> list[Concern]:
    facts = Facts(
        prefix=frozen.prefix,
        name=month.name,
        currency=frozen.currency,
        total=says.total_minor,
        due=says.due_minor,
        used=frozen.used,
        months=1,
        ended_at=month.end,
        alarm_factor=ALARM,
        earlier=await overage.totals_before(tx.conn, user["id"], month.start, limit=AVERAGE_OF),
        email=frozen.buyer.email or "",
        late=notes,
    )
    found = concerns(facts)
    if user["deleted_at"] is not None:
        why = "the customer was deleted at Stripe: release it if it is still to be charged, or void it"
        found.append(Concern("deleted", why))
    if frozen.buyer.email is None:
        why = "the customer has no e-mail address at Stripe: the invoice is not mailed"
        found.append(Concern("no_email", why, stops=False))
    return found


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a month: `issued`, `empty`, or `parked` for the reasons in `prepared`."""

    status: str
    prepared: Prepared
    issued: Issued | None = None


async def settle(
    tx: Tx, row: UsageRow, prepared: Prepared, sellers: Sellers, *, live: bool, released: AbstractSet[str]
) -> Settled:
    """Issue what was prepared; park it when something is odd about it: a guard that nobody has `released`."""
    frozen = prepared.frozen
    stops = [one for one in prepared.concerns if one.stops and (one.final or one.guard not in released)]
    if stops:
        await _record(tx, row, prepared, "parked")
        await _tell(tx, row, prepared, stops)
        return Settled("parked", prepared)
    issued: Issued | None = None
    if prepared.draft is not None:
        issued = await issuing.issue(tx, prepared.draft, sellers, livemode=live)
        if not issued.new:
            raise Refused(
                f"{prepared.draft.key} was invoiced by hand, as {issued.number}: void that one, or this month"
            )
    given: dict[int, int] = {}
    if frozen is not None:
        frozen, given = await late.settle(tx, frozen)
        await _tell_credits(tx, row, frozen)
    if issued is not None:
        plan = [(replace(one, id=given.get(one.id, one.id)), off) for one, off in prepared.credit_plan]
        await credit.record(tx, issued.invoice_id, plan)
    status = "issued" if issued is not None else "empty"
    await _record(tx, row, replace(prepared, frozen=frozen), status, issued.invoice_id if issued is not None else None)
    return Settled(status, prepared, issued)


async def _record(tx: Tx, row: UsageRow, prepared: Prepared, status: str, invoice_id: int | None = None) -> None:
    frozen = prepared.frozen
    stored = freeze.as_json(frozen) if frozen is not None else None
    outcome = Outcome(
        status=status,
        input=stored,
        input_sha256=freeze.sha256(stored) if stored is not None else None,
        currency=frozen.currency if frozen is not None else None,
        total_cents=prepared.total,
        invoice_id=invoice_id,
        reasons=[one.json() for one in prepared.concerns] or None,
    )
    if frozen is not None and status != "parked":
        billed = late.billed_json([part.usage for part in frozen.parts])
        outcome = replace(outcome, billed_usage=billed, billed_cents=freeze.rated(frozen).subtotal)
    await usage_invoices.record(tx.conn, row.id, outcome, now=tx.now)


async def _tell(tx: Tx, row: UsageRow, prepared: Prepared, stops: list[Concern]) -> None:
    """Operators hear of a parked invoice once."""
    says, frozen = prepared.says, prepared.frozen
    await stage_letter(
        tx,
        "invoice_parked",
        InvoiceParked(
            partner=name_of(row.user_id or 0),
            company=frozen.buyer.name if frozen is not None else None,
            month=frozen.name if frozen is not None else month_of(row.period_start + MIDDLE, row.timezone).name,
            amount=Amount(says.total_minor, says.currency) if says is not None else None,
            reasons=[one.why for one in stops],
        ),
        key=f"parked/{row.id}",
        to=Recipient(OPERATORS),
        occurred_at=tx.now,
    )


async def _tell_credits(tx: Tx, row: UsageRow, frozen: Frozen) -> None:
    """Operators hear once of each credit that nobody asked for."""
    for one in frozen.adjustments:
        if one.credit_id is None or not one.credit:
            continue
        await stage_letter(
            tx,
            "overage_credited",
            OverageCredited(
                customer=row.user_id or 0,
                company=frozen.buyer.name,
                month=one.name,
                amount=Amount(one.credit, frozen.currency),
                credit=one.credit_id,
                reason=f"{late.reason_of(one, frozen.currency)} (before discounts and taxes)",
            ),
            key=f"overage_credited/{one.credit_id}",
            to=Recipient(OPERATORS),
            occurred_at=tx.now,
        )


async def held(tx: Tx, user_id: int) -> None:
    """Be the only one who invoices this customer. Raises Held when somebody else is at it."""
    if not await usage_invoices.hold_owner(tx.conn, name_of(user_id)):
        raise Held(f"somebody else is at customer {user_id}", after=BUSY)


@job(queue=QueueName.BATCH, tries=10, timeout=timedelta(minutes=2))
async def invoice_overage(d: Deps, user_id: int, period: str) -> None:
    """Invoice what a customer used beyond the plan in a month (`2026-10`), once.

    All of it is one transaction, with the number last: a crash leaves nothing, and a twin finds it done.
    """
    sellers = sellers_from(d.settings)
    async with d.tx() as tx:
        await held(tx, user_id)
        user = await subject(tx, user_id)
        zone = zone_of(user["timezone"], d.settings.billing_default_timezone)
        month = await months_of_users.typed(tx.conn, user_id, period, zone)
        row = await overage.period(tx.conn, user_id, month.start, month.end, month.timezone, now=tx.now)
        if row.status == "pending":
            prepared = await prepare(tx, user, month, sellers)
            await settle(tx, row, prepared, sellers, live=issuing.livemode(d.settings), released=frozenset())


@schedule("overage-invoices", "35 * * * *")
@job(queue=QueueName.BATCH, timeout=timedelta(minutes=5))
async def overage_invoices(d: Deps, period: datetime) -> None:
    """Look each hour whose month has ended: the 1st begins at another hour in each time zone."""
    grace = timedelta(hours=d.settings.billing_partner_grace_hours)
    async with d.tx() as tx:
        known = await plans(tx.conn)
        if not known:
            return
        since = max(tx.now - CATCH_UP, datetime.combine(min(one.valid_from for one in known), datetime.min.time(), UTC))
        rows = await overage.used(tx.conn, since - timedelta(days=1), tx.now)
        rows += await overage.billed(tx.conn, since, tx.now)
        users = sorted({row["user_id"] for row in rows})
        subscribed = await overage.planned(tx.conn, users, [one.stripe_price_id for one in known])
        done = await overage.looked_at(tx.conn, users, since - timedelta(days=62))
        staged = 0
        for row in rows:
            if row["user_id"] not in subscribed:
                continue
            zone = zone_of(row["timezone"], d.settings.billing_default_timezone)
            known_months = done.get(row["user_id"], [])
            for month in closed_months(row["first"], row["last"], zone, known_months, tx.now - grace):
                call = invoice_overage.call(user_id=row["user_id"], period=month.name)
                key = f"overage/{row['user_id']}/{month.name}"
                staged += await tx.stage(call, unique_key=key) is not None
    log.info("customers' months looked for", hour=period.isoformat(), staged=staged)
