"""A partner's closed month becomes an invoice: looked up, frozen, reckoned, looked over, and issued, all at once."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import cast

import msgspec

from db import usage, usage_invoices
from db.states import QueueName
from db.usage import Owner
from db.usage_invoices import Outcome, UsageRow
from jobs.invoices import issue as issuing
from jobs.invoices.document import Document
from jobs.invoices.drafts import Draft, DraftDiscount
from jobs.invoices.issue import Issued
from jobs.invoices.sellers import Sellers, sellers_from
from jobs.mail.contexts import Amount, InvoiceParked
from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.send_letter import OPERATORS
from jobs.partners import credits as credit
from jobs.partners import freeze, late, promotions
from jobs.partners.draft import credit_name, draft
from jobs.partners.freeze import Book, Frozen, PlannedCredit
from jobs.partners.guards import AVERAGE_OF, HISTORY, Concern, Facts, concerns, unusable
from jobs.partners.push_to_stripe import stage_push
from jobs.partners.words import LineWords
from jobs.rules import billing_periods
from jobs.rules.billing_periods import DAY, Period
from worker.deps import Deps, Tx
from worker.errors import Held, Refused
from worker.registry import job
from worker.settings import ConfigurationError

BUSY = timedelta(seconds=1)
"""After so long a period is looked at again whose partner somebody else is at."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A period as it would be invoiced now. Without `draft` nothing is to be charged; without `frozen` it cannot be."""

    frozen: Frozen | None
    draft: Draft | None = None
    says: Document | None = None
    concerns: tuple[Concern, ...] = ()
    credit_plan: credit.Plan = ()
    contract_ids: tuple[int, ...] = ()

    @property
    def stops(self) -> list[Concern]:
        """Why it must wait for somebody."""
        return [one for one in self.concerns if one.stops]

    @property
    def total(self) -> int:
        """Minor units."""
        return self.says.total_minor if self.says is not None else 0


def unreadable(reason: str) -> list[Concern]:
    """A contract's mistakes, one concern each."""
    lines_ = [line for line in reason.splitlines() if line.strip()]
    return [unusable("currency" if line.startswith("currency:") else "contract", line) for line in lines_]


def at(frozen: Frozen, now: datetime) -> datetime:
    """When promotions must hold to count for the period: at its last moment; while it runs, now."""
    return max(frozen.start, min(now, frozen.end - timedelta(seconds=1)))


def _discounts(percent: Decimal | None, words: LineWords) -> tuple[DraftDiscount, ...]:
    return (DraftDiscount(words.discount(percent), percent=percent),) if percent else ()


async def prepare(
    tx: Tx, found: Book, period: Period, sellers: Sellers, *, by_hand: bool = False, lock: bool = True
) -> Prepared:
    """What the invoice for a period would be if it were issued now. Nothing is written.

    With `lock` nobody else spends the partner's credits, or charges for its late usage, until the transaction ends.
    """
    try:
        frozen, version = await freeze.frozen_period(tx, found, period, sellers)
    except (Refused, ConfigurationError) as error:
        return Prepared(None, concerns=(unusable("contract", str(error)),))
    ids = tuple(sorted({cast("int", part.contract["id"]) for part in frozen.parts}))
    words = LineWords(frozen.locale, frozen.currency)
    owner = Owner(api_key_prefix=found.prefix)
    promoted = await promotions.discounts(tx, owner, at(frozen, tx.now))
    lately = await late.find(tx, owner, frozen, lock=lock)
    frozen = msgspec.structs.replace(
        frozen,
        discounts=(*_discounts(version.discount_percent, words), *promoted),
        adjustments=lately.adjustments,
    )
    try:
        flags = freeze.rated(frozen).flags
        made = draft(frozen)
    except ValueError as error:
        return Prepared(frozen, concerns=(unusable("terms", str(error)),), contract_ids=ids)
    if made is None:
        told = tuple(Concern("late_usage", note, stops=False) for note in lately.notes)
        return Prepared(frozen, concerns=told, contract_ids=ids)
    try:
        total = issuing.preview(made, sellers, now=tx.now).total_minor
        rows = await credit.available(tx, owner, frozen.currency, lock=lock)
        plan = credit.plan([*rows, *late.brought(lately.adjustments, frozen, tx.now)], total)
        frozen = msgspec.structs.replace(
            frozen,
            credits=tuple(
                PlannedCredit(id=row.id, name=credit_name(row, frozen, words), minor=off) for row, off in plan
            ),
        )
        made = cast("Draft", draft(frozen))
        says = issuing.preview(made, sellers, now=tx.now)
    except Refused as refused:
        return Prepared(frozen, made, concerns=(unusable("draft", refused.reason),), contract_ids=ids)
    needs = version.reverse_charge or says.seller.factur_x
    facts = await _facts(
        tx, found, period, frozen, says, flags=flags, notes=lately.notes, by_hand=by_hand, address_needed=needs,
        alarm_factor=version.alarm_factor,
    )  # fmt: skip
    return Prepared(frozen, made, says, tuple(concerns(facts)), plan, ids)


def _days(first: date, after: date) -> list[date]:
    return [first + DAY * number for number in range((after - first).days)]


async def _facts(
    tx: Tx,
    found: Book,
    period: Period,
    frozen: Frozen,
    says: Document,
    *,
    flags: Sequence[str],
    notes: Sequence[str],
    by_hand: bool,
    address_needed: bool,
    alarm_factor: int,
) -> Facts:
    """What the guards look at."""
    prefix, zone = found.prefix, period.timezone
    today = billing_periods.local_day(tx.now, zone)
    earliest = max(found.begins, frozen.billed_from - HISTORY * DAY)
    known = await usage.days_with_usage(
        tx.conn,
        Owner(api_key_prefix=prefix),
        billing_periods.midnight(earliest, zone),
        frozen.parts[-1].end,
        zone,
    )
    address = frozen.buyer.address
    return Facts(
        prefix=prefix,
        name=period.name,
        currency=frozen.currency,
        total=says.total_minor,
        due=says.due_minor,
        used=frozen.used,
        months=period.months,
        ended_at=period.end,
        entered_at=found.versions[0].created_at,
        by_hand=by_hand,
        at_stripe=frozen.at_stripe,
        alarm_factor=alarm_factor,
        earlier=await usage_invoices.totals_before(tx.conn, prefix, period.start, limit=AVERAGE_OF),
        overlapping=await usage_invoices.overlapping(tx.conn, prefix, period.start, period.end),
        days=_days(frozen.billed_from, min(frozen.billed_to, today)),
        before=_days(earliest, frozen.billed_from),
        used_days=known,
        flags=flags,
        email=frozen.buyer.email,
        has_address=bool(address.line1 or address.city or address.country),
        address_needed=address_needed,
        outside=bool(frozen.outside),
        late=notes,
    )


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a period: `issued`, `empty`, or `parked` for the reasons in `prepared`."""

    status: str
    prepared: Prepared
    issued: Issued | None = None


async def settle(
    tx: Tx, row: UsageRow, prepared: Prepared, sellers: Sellers, *, live: bool, released: AbstractSet[str]
) -> Settled:
    """Issue what was prepared; park it when something is odd about it: a guard that nobody has `released`."""
    stops = [one for one in prepared.stops if one.final or one.guard not in released]
    if stops or prepared.frozen is None:
        await _record(tx, row, prepared, "parked")
        await _tell(tx, row, prepared, stops)
        return Settled("parked", prepared)
    if prepared.draft is None:
        stored, _ = await late.settle(tx, prepared.frozen)
        await _record(tx, row, replace(prepared, frozen=stored), "empty")
        return Settled("empty", prepared)
    issued = await issuing.issue(tx, prepared.draft, sellers, livemode=live)
    if not issued.new:
        raise Refused(f"{prepared.draft.key} was invoiced by hand, as {issued.number}: void that one, or this period")
    stored, given = await late.settle(tx, prepared.frozen)
    plan = [(replace(row_, id=given.get(row_.id, row_.id)), off) for row_, off in prepared.credit_plan]
    await credit.record(tx, issued.invoice_id, plan)
    await _record(tx, row, replace(prepared, frozen=stored), "issued", issued.invoice_id)
    if prepared.frozen.at_stripe and prepared.says is not None and prepared.says.due_minor:
        await stage_push(tx, issued.invoice_id)
    return Settled("issued", prepared, issued)


async def _record(tx: Tx, row: UsageRow, prepared: Prepared, status: str, invoice_id: int | None = None) -> None:
    frozen = prepared.frozen
    stored = freeze.as_json(frozen) if frozen is not None else None
    charged = status != "parked" and frozen is not None
    outcome = Outcome(
        status=status,
        contract_ids=prepared.contract_ids,
        input=stored,
        input_sha256=freeze.sha256(stored) if stored is not None else None,
        currency=frozen.currency if frozen is not None else None,
        total_cents=prepared.total,
        billed_usage=late.billed_json([part.usage for part in frozen.parts])
        if frozen is not None and charged
        else None,
        billed_cents=freeze.rated(frozen).subtotal if frozen is not None and charged else None,
        invoice_id=invoice_id,
        reasons=[one.json() for one in prepared.concerns] or None,
    )
    await usage_invoices.record(tx.conn, row.id, outcome, now=tx.now)


async def _tell(tx: Tx, row: UsageRow, prepared: Prepared, stops: Sequence[Concern]) -> None:
    """Operators hear of a parked invoice once."""
    frozen = prepared.frozen
    name = frozen.name if frozen is not None else f"{billing_periods.local_day(row.period_start, row.timezone):%Y-%m}"
    says = prepared.says
    await stage_letter(
        tx,
        "invoice_parked",
        InvoiceParked(
            partner=row.api_key_prefix or "",
            company=frozen.buyer.name if frozen is not None else None,
            month=name,
            amount=Amount(says.total_minor, says.currency) if says is not None else None,
            reasons=[one.why for one in stops],
        ),
        key=f"parked/{row.id}",
        to=Recipient(OPERATORS),
        occurred_at=tx.now,
    )


async def stage_next(tx: Tx, prefix: str | None = None) -> int:
    """Stage each partner's oldest period that waits; the next one follows when that is done. Returns how many."""
    jobs: dict[int, int] = {}
    for row_id, owner, start in await usage_invoices.next_pending(tx.conn, prefix):
        staged = await tx.stage(invoice_partner.call(prefix=owner, period=start), unique_key=f"usage_invoice/{row_id}")
        if staged is not None:
            jobs[row_id] = staged
    await usage_invoices.staged(tx.conn, jobs)
    return len(jobs)


async def look_at(tx: Tx, row: UsageRow, sellers: Sellers, *, by_hand: bool = False) -> Prepared:
    """What the period of a row would be invoiced as; the caller holds the owner."""
    try:
        found = await freeze.book_of(tx, row.api_key_prefix or "")
    except Refused as refused:
        return Prepared(None, concerns=tuple(unreadable(refused.reason)))
    period = next(
        (one for one in found.periods(row.period_end) if (one.start, one.end) == (row.period_start, row.period_end)),
        None,
    )
    if period is None:
        first, last = (f"{at:%Y-%m-%dT%H:%MZ}" for at in (row.period_start, row.period_end))
        why = f"the contract has no period from {first} to {last} any more: void this one"
        return Prepared(None, concerns=(unusable("period", why),))
    return await prepare(tx, found, period, sellers, by_hand=by_hand)


@job(queue=QueueName.BATCH, tries=10, timeout=timedelta(minutes=2))
async def invoice_partner(d: Deps, prefix: str, period: datetime) -> None:
    """Invoice the period of a partner that begins at `period`, if it still waits; then its next one follows.

    All of it is one transaction, with the number last: a crash leaves nothing, and a twin finds it done.
    """
    sellers = sellers_from(d.settings)
    async with d.last_tx() as tx:
        if not await usage_invoices.hold_owner(tx.conn, prefix):
            raise Held(f"somebody else is at {prefix}", after=BUSY)
        row = await usage_invoices.of_period(tx.conn, prefix, period, lock=True)
        if row is not None and row.status == "pending":
            prepared = await look_at(tx, row, sellers)
            await settle(tx, row, prepared, sellers, live=issuing.livemode(d.settings), released=frozenset())
        await stage_next(tx, prefix)
