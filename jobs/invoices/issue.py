"""Invoices of ours are issued: checked, written, numbered last, and their PDFs staged, all of it or nothing."""

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from db import documents, issuing, numbering
from db import issued as issued_
from db.documents import NewDocument
from db.issuing import NewInvoice
from jobs.derive.books import number_lock
from jobs.invoices.document import Document
from jobs.invoices.drafts import Draft, checked, document
from jobs.invoices.facturx import obstacles
from jobs.invoices.mailable import unmailable
from jobs.invoices.render_document import stage_rendering
from jobs.invoices.sellers import SellerProfile, Sellers
from jobs.partners.credits import money
from jobs.rules.documents import problems
from jobs.rules.numbering import Moment, moment, number
from worker.deps import Tx
from worker.errors import Refused
from worker.settings import ConfigurationError, Settings, StripeMode


@dataclass(frozen=True, slots=True)
class Issued:
    """An invoice with its number and its document; `new` is False when the same thing was invoiced before."""

    invoice_id: int
    document_id: int | None
    number: str
    new: bool = True


@dataclass(frozen=True, slots=True)
class _Ready:
    """A draft that adds up, but for its number."""

    key: str
    draft: Draft
    profile: SellerProfile
    series: str
    template: str
    at: Moment
    says: Document


def livemode(settings: Settings) -> bool:
    """Whether invoices of ours are of the live mode: those of a machine that serves Stripe's live mode are."""
    return settings.stripe_mode is StripeMode.LIVE


def preview(draft: Draft, sellers: Sellers, *, now: datetime) -> Document:
    """What an invoice would say if it were issued now, under the first number of its series. Raises Refused."""
    return _ready(draft, sellers, now).says


def _ready(draft: Draft, sellers: Sellers, now: datetime) -> _Ready:
    """Raises Refused with all that is wrong, whatever it is: one draft that cannot be read breaks no other."""
    try:
        return _read(checked(draft), sellers, now)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise Refused(f"the draft cannot be read: {error}") from error


def _read(draft: Draft, sellers: Sellers, now: datetime) -> _Ready:
    try:
        profile = sellers.profile(draft.seller)
        series = sellers.series(profile, draft.kind, draft.series)
    except ConfigurationError as error:
        raise Refused(str(error)) from error
    at = moment(now, profile.timezone)
    template = sellers.formats[series]
    says = document(draft, profile, number=number(template, at, 1), now=now)
    wrong = problems(says) + (obstacles(says) if says.seller.factur_x else [])
    if draft.mail and draft.buyer.email is not None:
        why = unmailable(draft.buyer.email)
        wrong += [f"buyer.email: {why}"] if why else []
    if wrong:
        raise Refused("; ".join(wrong))
    return _Ready(draft.key or f"{draft.kind}/{secrets.token_hex(12)}", draft, profile, series, template, at, says)


def _line_items(says: Document) -> list[dict[str, Any]]:
    """The lines, shaped as those of Stripe's invoices are in the ledger."""
    return [
        {
            "description": line.description,
            "amount_cents": line.amount_minor,
            "currency": says.currency,
            "quantity": line.quantity,
            "unit_amount_decimal": line.unit_price_minor,
            "period_start": line.period and line.period.start,
            "period_end": line.period and line.period.end,
            "proration": line.proration,
            "discount_cents": sum(each.minor for each in line.discounts),
        }
        for line in says.lines
    ]


def _invoice(ready: _Ready) -> NewInvoice:
    draft, says = ready.draft, ready.says
    due = None
    if says.due_on is not None:
        due = datetime.combine(says.due_on, time(23, 59, 59), ZoneInfo(says.timezone)).astimezone(UTC)
    return NewInvoice(
        own_key=ready.key,
        kind=draft.kind,
        seller=ready.profile.name,
        series=ready.series,
        user_id=draft.user_id,
        api_key_prefix=draft.api_key_prefix,
        currency=says.currency,
        subtotal_cents=says.subtotal_minor,
        tax_cents=says.tax_minor,
        discount_cents=says.discount_minor,
        total_cents=says.total_minor,
        amount_due_cents=says.due_minor,
        billing_period_start=draft.period and draft.period.start,
        billing_period_end=draft.period and draft.period.end,
        due_date=due,
        customer_email=draft.buyer.email,
        customer_name=draft.buyer.name,
        line_items=_line_items(says),
        notes=draft.memo,
    )


def _document(ready: _Ready, invoice_id: int, number_: str, now: datetime) -> NewDocument:
    says = msgspec.structs.replace(ready.says, number=number_)
    return NewDocument(
        key=f"invoice/{invoice_id}",
        kind=says.kind,
        number=number_,
        locale=says.locale,
        currency=says.currency,
        total_cents=says.total_minor,
        content=msgspec.to_builtins(says),
        issued_at=now,
        invoice_id=invoice_id,
        user_id=ready.draft.user_id,
        mailed=ready.draft.mail and ready.draft.buyer.email is not None,
    )


async def _numbered(tx: Tx, ready: Sequence[_Ready], ids: Mapping[str, int], *, live: bool) -> dict[str, str]:
    """The numbers by key. From here on, others who number the same series wait."""
    new = [each for each in ready if each.key in ids]
    next_ = await numbering.take(tx.conn, Counter((each.series, each.at.year) for each in new))
    numbers: dict[str, str] = {}
    for each in new:
        place = (each.series, each.at.year)
        numbers[each.key] = number(each.template, each.at, next_[place])
        next_[place] += 1
    await _free(tx, numbers, new, live=live)
    locks = [number_lock("", one, livemode=live) for one in numbers.values()]
    await numbering.claim(tx.conn, numbers.values(), locks=locks, livemode=live)
    return numbers


async def _free(tx: Tx, numbers: Mapping[str, str], new: Sequence[_Ready], *, live: bool) -> None:
    """Raises Refused where another series gave out a number of these: their formats met since."""
    taken = await issued_.taken(tx.conn, list(numbers.values()), livemode=live)
    met = sorted(
        f"{numbers[each.key]} of series {each.series} was given out in series {taken[numbers[each.key]]}"
        for each in new
        if numbers[each.key] in taken
    )
    if met:
        raise Refused(f"{'; '.join(met)}: change the format of one of them in the sellers file")


async def issue_many(tx: Tx, drafts: Sequence[Draft], sellers: Sellers, *, livemode: bool) -> list[Issued | Refused]:
    """Issue invoices, in a few statements for all of them. The answers are in the order of `drafts`.

    A draft that does not add up, or names what there is not, is Refused with all that is wrong, takes no number, and
    leaves nothing; the others are issued. What was issued under the same `key` before is told as it is.
    """
    answers = await _answers(tx, drafts, sellers)
    ready = list({each.key: each for each in reversed(answers) if isinstance(each, _Ready)}.values())[::-1]
    issued: dict[str, Issued] = {}
    if ready:
        logos = {each.profile.logo.sha256: each.profile.logo for each in ready if each.profile.logo is not None}
        kept = {sha256: (logo.media_type, logo.content) for sha256, logo in logos.items()}
        await documents.keep_assets(tx.conn, kept, now=tx.now)
        ids = await issuing.draft(tx.conn, [_invoice(each) for each in ready], livemode=livemode, now=tx.now)
        before = await issuing.of_keys(tx.conn, [each.key for each in ready if each.key not in ids])
        totals = await issued_.totals(tx.conn, [one.id for one in before.values()])
        issued = {key: Issued(one.id, one.document_id, one.number, new=False) for key, one in before.items()}
        if ids:
            issued |= await _finalized(tx, ready, ids, live=livemode)
        says = {each.key: (each.says.total_minor, each.says.currency) for each in ready}
        says |= {key: totals[one.id] for key, one in before.items()}
        return [_same(each, issued[each.key], says[each.key]) if isinstance(each, _Ready) else each for each in answers]
    return [each for each in answers if not isinstance(each, _Ready)]


async def _answers(tx: Tx, drafts: Sequence[Draft], sellers: Sellers) -> list[_Ready | Refused]:
    answers: list[_Ready | Refused] = []
    for draft in drafts:
        try:
            answers.append(_ready(draft, sellers, tx.now))
        except Refused as refused:
            answers.append(refused)
    wanted = {each.draft.user_id for each in answers if isinstance(each, _Ready)} - {None}
    known = {None, *await issued_.users(tx.conn, [one for one in wanted if one is not None])}
    return [
        Refused(f"user_id: there is no customer {each.draft.user_id}")
        if isinstance(each, _Ready) and each.draft.user_id not in known
        else each
        for each in answers
    ]


def _same(ready: _Ready, issued: Issued, said: tuple[int, str]) -> Issued | Refused:
    """What was issued under the key of `ready` is told only if it comes to the same."""
    total, currency = ready.says.total_minor, ready.says.currency
    if said == (total, currency):
        return issued
    return Refused(
        f"key: {ready.key!r} was invoiced as {issued.number} over {money(*said)}, and not over"
        f" {money(total, currency)}: void that one first, or name another key"
    )


async def _finalized(tx: Tx, ready: Sequence[_Ready], ids: Mapping[str, int], *, live: bool) -> dict[str, Issued]:
    numbers = await _numbered(tx, ready, ids, live=live)
    await issuing.finalize(tx.conn, {ids[key]: one for key, one in numbers.items()}, now=tx.now)
    new = [_document(each, ids[each.key], numbers[each.key], tx.now) for each in ready if each.key in ids]
    made = await documents.add_many(tx.conn, new, now=tx.now)
    await stage_rendering(tx, list(made.values()))
    return {key: Issued(id_, made[f"invoice/{id_}"], numbers[key]) for key, id_ in ids.items()}


async def issue(tx: Tx, draft: Draft, sellers: Sellers, *, livemode: bool) -> Issued:
    """Issue one invoice. Raises Refused with all that is wrong: then it takes no number, and leaves nothing."""
    (answer,) = await issue_many(tx, [draft], sellers, livemode=livemode)
    if isinstance(answer, Refused):
        raise answer
    return answer
