"""Money that came past Stripe for an invoice of ours is confirmed by a receipt, as a card's payment is, once."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from db import documents
from db.documents import NewDocument
from db.dunning import was_dunned
from db.dunning_own import own_name
from db.manual_payments import Standing
from jobs.invoices.document import Kind, Payment, Stamp
from jobs.invoices.from_stripe_words import METHODS, Word, word
from jobs.invoices.receipts import confirmed, key_of
from jobs.invoices.render_document import frozen, stage_rendering
from jobs.invoices.rerender import rerender
from jobs.rules.documents import problems
from worker.deps import Tx
from worker.errors import Refused


@dataclass(frozen=True, slots=True)
class Came:
    """Money that was recorded: `amount` in minor units of the invoice's currency, the `place`-th payment of it.

    `mistakes`: the earlier payments of the invoice that were voided.
    """

    payment_id: int
    place: int
    amount: int
    method: str
    reference: str
    paid_at: datetime
    mistakes: tuple[int, ...] = ()


def _method(typed: str, locale: str) -> str:
    """`bank_transfer` in the reader's language; what is none of our words stands as it was typed."""
    return word(Word(typed), locale) if typed in METHODS else typed.replace("_", " ")


async def write_receipt(tx: Tx, invoice: Standing, came: Came) -> int | None:
    """Write the receipt of a payment that was recorded in this transaction, numbered `API-202611-0001-R1`.

    Its letter takes it to the customer. Who was dunned and has paid all is thanked by dunning instead, which does so
    once: of a mistake it may have done so already. Returns the document's id; None: the invoice has no document that
    says whom it is from. Raises Refused when that was changed since it was issued.
    """
    stored = await documents.of_key(tx.conn, f"invoice/{invoice.id}")
    if stored is None:
        return None
    says = frozen(stored)
    payment = Payment(came.paid_at, came.amount, _method(came.method, says.locale), came.reference)
    on = tx.now.astimezone(ZoneInfo(says.timezone)).date()
    made = confirmed(says, payment, number=f"{invoice.number}-R{came.place}", on=on)
    if wrong := problems(made):
        raise Refused("; ".join(wrong))
    thanked = invoice.status == "paid" and bool(await was_dunned(tx.conn, [own_name(invoice.id)]))
    thanked = thanked and not await _spent(tx, came.mistakes)
    new = NewDocument(
        key=key_of(came.payment_id),
        kind=Kind.RECEIPT.value,
        number=made.number,
        locale=made.locale,
        currency=made.currency,
        total_cents=made.total_minor,
        content=msgspec.to_builtins(made),
        issued_at=tx.now,
        invoice_id=invoice.id,
        user_id=invoice.user_id,
        mailed=made.buyer.email is not None and not thanked,
    )
    document_id = await documents.add(tx.conn, new, now=tx.now)
    assert document_id is not None, "a payment's id is new"
    await stage_rendering(tx, [document_id])
    return document_id


async def _spent(tx: Tx, mistakes: tuple[int, ...]) -> bool:
    """Whether dunning thanked for one of these already: then its receipt had no letter."""
    receipts = [await documents.of_key(tx.conn, key_of(payment_id)) for payment_id in mistakes]
    return any(one is not None and not one.mailed for one in receipts)


async def void_receipt(tx: Tx, payment_id: int) -> int | None:
    """The payment was recorded by mistake: stage a copy of its receipt that is marked so.

    A letter that waits is not sent. Returns the copy's id; None: there is no receipt.
    """
    stored = await documents.of_key(tx.conn, key_of(payment_id))
    if stored is None:
        return None
    return await rerender(tx, stored, stamp=Stamp.VOID, key=f"void/{stored.key}")
