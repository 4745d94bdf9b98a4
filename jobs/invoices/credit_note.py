"""A credit note takes back all or part of an invoice of ours: less is due, and what was paid comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from db import credit_notes, documents, manual_payments, numbering
from db import credits as credit_rows
from db.credit_notes import NewNote
from db.credits import CreditRow, NewCredit
from db.documents import NewDocument
from db.manual_payments import Standing
from db.operators.actions import Actor, write_audit
from jobs.invoices.credit_note_parts import Invoice, LinePart, Parts, document, settled
from jobs.invoices.document import Document, Payment
from jobs.invoices.facturx import obstacles
from jobs.invoices.pay import owner_of
from jobs.invoices.pay import settled as follow
from jobs.invoices.render_document import frozen, stage_rendering
from jobs.invoices.sellers import SellerProfile, Sellers
from jobs.partners import late as late_usage
from jobs.partners.credits import money
from jobs.rules.crediting import Part
from jobs.rules.documents import problems
from jobs.rules.numbering import Moment, moment, number
from worker.deps import Tx
from worker.errors import Refused
from worker.settings import ConfigurationError

CREDITABLE = frozenset({"open", "uncollectible", "paid"})
SERIES = "credit_note"
LONGEST = 500
"""Characters of a reason."""


class PaidOut(Struct, frozen=True):
    """What was paid is sent back by hand, and not kept as a credit."""

    method: str
    reference: str


@dataclass(frozen=True, slots=True)
class Credited:
    """A credit note that was written. Amounts are minor units."""

    id: int
    number: str
    document_id: int
    total: int
    currency: str
    set_off: int
    """What it took off what was due."""
    paid_out: int
    kept: int
    """What the customer has as credits now."""
    credit_ids: tuple[int, ...]
    says: Document


@dataclass(frozen=True, slots=True)
class _Money:
    """What becomes of a note's total."""

    set_off: int
    money: int
    credits: tuple[tuple[CreditRow, int], ...]
    """What goes back to credits that had paid, the last of them first."""

    @property
    def from_credits(self) -> int:
        return sum(amount for _, amount in self.credits)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A credit note that adds up, but for its number."""

    says: Document
    profile: SellerProfile
    series: str
    template: str
    at: Moment
    parts: Parts
    money: _Money


async def _invoice(tx: Tx, invoice_id: int) -> tuple[Standing, Document]:
    """The invoice, locked, and what it says. Raises Refused when there is nothing of ours to credit."""
    ours = await manual_payments.standing(tx.conn, invoice_id)
    if ours is None:
        raise Refused(f"invoice {invoice_id} is none of ours, or a draft: Stripe's are credited at Stripe")
    if ours.status not in CREDITABLE:
        raise Refused(f"{ours.number} is {ours.status}: there is nothing to credit")
    stored = await documents.of_key(tx.conn, f"invoice/{invoice_id}")
    if stored is None:
        raise Refused(f"{ours.number} has no document: bring back its row of `documents` from a backup")
    return ours, frozen(stored)


def _parts(
    whole: Invoice, left: int, amount: int | None, lines: Sequence[LinePart], *, untouched: bool
) -> tuple[list[Part], dict[int, int]]:
    """What is given back of each group, and of which lines."""
    if amount is not None and lines:
        raise Refused("give an amount or lines, not both")
    if lines:
        return whole.by_lines(lines)
    if left <= 0:
        raise Refused("all of it was credited before")
    if amount is not None and amount > left:
        currency = whole.says.currency
        raise Refused(f"amount: {money(amount, currency)} is more than the {money(left, currency)} left to credit")
    if amount in {None, left} and untouched and not any(part.price for part in whole.taken):
        return whole.whole, {}
    return whole.by_amount(left if amount is None else amount), {}


async def _money(tx: Tx, ours: Standing, earlier: Sequence[Parts], total: int) -> _Money:
    """First what is due becomes less; then money that was paid comes back; then credits that paid, the last first.

    What a promotion gave does not become money: it goes back as it was, with its kind and its end.
    """
    set_off = min(total, ours.remaining)
    money_ = min(total - set_off, ours.paid - sum(note.money for note in earlier))
    left, before = total - set_off - money_, sum(note.credits for note in earlier)
    found: list[tuple[CreditRow, int]] = []
    for one in reversed(await credit_rows.applied_to(tx.conn, ours.id)):
        had = min(before, one.amount_cents)
        before -= had
        share = min(left, one.amount_cents - had)
        if share:
            found.append((one.credit, share))
            left -= share
    return _Money(set_off, money_ + left, tuple(found))


async def _ready(
    tx: Tx, ours: Standing, says: Document, sellers: Sellers, *,
    amount: int | None, lines: Sequence[LinePart], reason: str, paid_out: PaidOut | None,
) -> _Ready:  # fmt: skip
    """Raises Refused with all that is wrong; nothing was written until then."""
    notes = await credit_notes.of_invoice(tx.conn, ours.id)
    earlier = [msgspec.convert(note.parts, Parts) for note in notes]
    whole = Invoice(says, earlier)
    late = await credit_rows.given_for_late(tx.conn, ours.id)
    left = ours.total - sum(note.total_cents for note in notes) - late
    parts, took = _parts(whole, left, amount, lines, untouched=not late)
    total = whole.total(parts)
    if not 0 < total <= left:
        comes, rest = money(total, ours.currency), money(left, ours.currency)
        raise Refused(f"the note comes to {comes}, and {rest} are left to credit")
    try:
        profile = sellers.profile(ours.seller)
        series = sellers.series(profile, SERIES)
    except ConfigurationError as error:
        raise Refused(str(error)) from error
    at = moment(tx.now, profile.timezone)
    template = sellers.formats[series]
    issued_on = tx.now.astimezone(ZoneInfo(profile.timezone)).date()
    made = document(whole, parts, took, profile, number=number(template, at, 1), issued_on=issued_on, reason=reason)
    moves = await _money(tx, ours, earlier, total)
    back = moves.money + moves.from_credits
    sent = moves.money if paid_out is not None else 0
    payment = None
    if paid_out is not None:
        if not sent:
            raise Refused(f"no money came for {ours.number}: there is nothing to pay out")
        payment = Payment(tx.now, sent, paid_out.method, paid_out.reference)
    made = settled(made, moves.set_off, back - sent, payment)
    wrong = problems(made)
    if wrong:
        raise Refused("; ".join(wrong))
    if made.seller.factur_x and (why := obstacles(made)):
        plain = msgspec.structs.replace(made.seller, factur_x=False)
        made = msgspec.structs.replace(made, seller=plain, without_factur_x=tuple(why))
    kept = Parts(
        tuple((part.price, part.taxes) for part in parts),
        {str(index): taken for index, taken in took.items()},
        moves.set_off,
        moves.money,
        moves.from_credits,
    )
    return _Ready(made, profile, series, template, at, kept, moves)


async def _give(tx: Tx, ours: Standing, ready: _Ready, by: str, *, paid_out: bool) -> list[int]:
    """The credits that the customer gets. Raises Refused when nobody is there to have them."""
    wanted = [] if paid_out or not ready.money.money else [("refund", ready.money.money, None)]
    wanted += [(credit.kind, amount, credit.expires_at) for credit, amount in ready.money.credits]
    owner = owner_of(ours)
    if wanted and owner is None:
        raise Refused(f"{ours.number} belongs to neither a partner nor a customer: pay it back (--paid-out)")
    found: list[int] = []
    for kind, amount, ends in wanted:
        assert owner is not None
        new = NewCredit(
            owner=owner,
            kind=kind,
            currency=ours.currency,
            amount_cents=amount,
            reason=f"credit note for {ours.number}",
            expires_at=ends,
        )
        found.append(await credit_rows.add(tx.conn, new, by=by, now=tx.now))
    return found


def _type(moves: _Money) -> str:
    """Stripe's word: https://docs.stripe.com/api/credit_notes/object#credit_note_object-type."""
    after = moves.money + moves.from_credits
    if moves.set_off and after:
        return "mixed"
    return "pre_payment" if moves.set_off else "post_payment"


async def _written(tx: Tx, ours: Standing, ready: _Ready, *, paid_out: bool) -> tuple[int, int, Document]:
    """The row and the document, under the next number. From here on, others who number the series wait."""
    place = (ready.series, ready.at.year)
    next_ = await numbering.take(tx.conn, {place: 1})
    says = msgspec.structs.replace(ready.says, number=number(ready.template, ready.at, next_[place]))
    new = NewNote(
        invoice_id=ours.id,
        number=says.number,
        series=ready.series,
        type=_type(ready.money),
        memo=says.reason or "",
        currency=says.currency,
        subtotal_cents=says.subtotal_minor,
        tax_cents=says.tax_minor,
        discount_cents=says.discount_minor,
        total_cents=says.total_minor,
        out_of_band_cents=ready.money.money if paid_out else 0,
        livemode=ours.livemode,
        parts=msgspec.to_builtins(ready.parts),
    )
    note = await credit_notes.add(tx.conn, new, now=tx.now)
    frozen_ = NewDocument(
        key=f"credit_note/{note}",
        kind=says.kind,
        number=says.number,
        locale=says.locale,
        currency=says.currency,
        total_cents=says.total_minor,
        content=msgspec.to_builtins(says),
        issued_at=tx.now,
        invoice_id=ours.id,
        user_id=ours.user_id,
        mailed=says.buyer.email is not None,
    )
    document_id = await documents.add(tx.conn, frozen_, now=tx.now)
    assert document_id is not None, "a credit note's id is new"
    await stage_rendering(tx, [document_id])
    return note, document_id, says


async def credit(
    tx: Tx,
    invoice_id: int,
    sellers: Sellers,
    *,
    reason: str,
    by: Actor,
    amount: int | None = None,
    lines: Sequence[LinePart] = (),
    paid_out: PaidOut | None = None,
) -> Credited:
    """Write a credit note about an invoice of ours: all that is left of it, `amount` (with tax), or `lines` of it.

    Amounts are minor units of the invoice's currency. It never comes to more than the invoice less earlier notes, and
    less what credits gave back of it because of usage that came late. What is due becomes less; of the rest, money
    becomes a credit of kind `refund` (or was `paid_out` by hand), and what credits had paid goes back to credits of
    their kind and end. The invoice itself stays as it is.

    Raises Refused with what is wrong: then no number is taken, and nothing is left.
    """
    reason = reason.strip()
    if not reason or len(reason) > LONGEST:
        raise Refused(f"reason: say in at most {LONGEST} characters why: the customer reads it")
    await late_usage.hold(tx, invoice_id)
    ours, says = await _invoice(tx, invoice_id)
    ready = await _ready(tx, ours, says, sellers, amount=amount, lines=lines, reason=reason, paid_out=paid_out)
    given = await _give(tx, ours, ready, by.who, paid_out=paid_out is not None)
    moves, back = ready.money, ready.money.money + ready.money.from_credits
    await manual_payments.stand(
        tx.conn,
        ours,
        paid=ours.paid,
        overpaid=ours.overpaid,
        credited=ours.credited + moves.set_off,
        paid_at=tx.now,
        now=tx.now,
        given_back=(await _given_back(tx, ours.id)) + back or None,
    )
    await follow(tx, ours.id)
    if ready.profile.logo is not None:
        logo = ready.profile.logo
        await documents.keep_assets(tx.conn, {logo.sha256: (logo.media_type, logo.content)}, now=tx.now)
    note, document_id, made = await _written(tx, ours, ready, paid_out=paid_out is not None)
    details = {"credit_note": made.number, "total_cents": made.total_minor, "currency": made.currency, "credits": given}
    await write_audit(tx.conn, by, "invoices.credit_note", ours.number, now=tx.now, details=details)
    sent = moves.money if paid_out is not None else 0
    return Credited(
        note,
        made.number,
        document_id,
        made.total_minor,
        made.currency,
        moves.set_off,
        sent,
        back - sent,
        (*given,),
        made,
    )


async def _given_back(tx: Tx, invoice_id: int) -> int:
    earlier = [msgspec.convert(note.parts, Parts) for note in await credit_notes.of_invoice(tx.conn, invoice_id)]
    return sum(note.money + note.credits for note in earlier)


def summary(done: Credited) -> str:
    """What a credit note did, in words."""
    parts = [f"{money(done.total, done.currency)} credited"]
    parts += [f"{money(done.set_off, done.currency)} of it set off against what was due"] if done.set_off else []
    parts += [f"{money(done.paid_out, done.currency)} paid out"] if done.paid_out else []
    parts += [f"{money(done.kept, done.currency)} kept as credits"] if done.kept else []
    return ", ".join(parts)
