"""Money for invoices of ours that came past Stripe, and how such an invoice stands with all money that came for it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Standing:
    """An invoice of ours, locked. Amounts are minor units of `currency` (lower case).

    `paid` + `credited` + `remaining` is `due`. What came beyond is in `overpaid`.
    """

    id: int
    number: str
    kind: str
    status: str
    currency: str
    total: int
    due: int
    paid: int
    overpaid: int
    credited: int
    """What credit notes took off what was due."""
    remaining: int
    api_key_prefix: str | None
    user_id: int | None
    seller: str | None
    livemode: bool
    paid_at: datetime | None
    hosted_invoice_url: str | None


_STANDING = """
    SELECT id, invoice_number, kind, status, currency, total_cents, amount_due_cents, amount_paid_cents,
           coalesce(amount_overpaid_cents, 0), coalesce(pre_payment_credit_cents, 0), amount_remaining_cents,
           api_key_prefix, user_id, seller, livemode, paid_at, hosted_invoice_url
    FROM invoices WHERE id = :id AND kind IS NOT NULL AND invoice_number IS NOT NULL
"""
_LOCKED = text(f"{_STANDING} FOR UPDATE")
_SEEN = text(_STANDING)


async def standing(conn: AsyncConnection, invoice_id: int, *, lock: bool = True) -> Standing | None:
    """How an invoice of ours stands; with `lock` nobody else changes it until this transaction ends.

    None when it is not ours, or a draft.
    """
    row = (await conn.execute(_LOCKED if lock else _SEEN, {"id": invoice_id})).first()
    return Standing(*row) if row is not None else None


@dataclass(frozen=True, slots=True)
class ManualPayment:
    """A payment as its row tells."""

    id: int
    amount_cents: int
    method: str
    reference: str
    paid_at: datetime
    recorded_at: datetime
    recorded_by: str
    credit_id: int | None = None
    """The credit that was given for what came beyond what was due."""
    voided_at: datetime | None = None
    """When it was found to have been recorded by mistake: it counts for nothing since."""
    voided_by: str | None = None
    void_reason: str | None = None

    @property
    def counts(self) -> bool:
        """Whether the money came, as far as anybody knows."""
        return self.voided_at is None


_COLUMNS = ", ".join(ManualPayment.__dataclass_fields__)


async def of_invoice(conn: AsyncConnection, invoice_id: int) -> list[ManualPayment]:
    """The payments of an invoice in the order in which they were recorded, those that were voided too."""
    rows = await conn.execute(
        text(f"SELECT {_COLUMNS} FROM manual_payments WHERE invoice_id = :id ORDER BY id"),  # noqa: S608 - names of our own
        {"id": invoice_id},
    )
    return [ManualPayment(*row) for row in rows]


_ADD = text(
    """
    INSERT INTO manual_payments (invoice_id, amount_cents, currency, method, reference, paid_at, recorded_at,
                                 recorded_by, credit_id)
    VALUES (:invoice, :amount, :currency, :method, :reference, :paid_at, :now, :by, :credit) RETURNING id
    """
)
_VOID = text(
    "UPDATE manual_payments SET voided_at = :now, voided_by = :by, void_reason = :why"
    " WHERE id = :id AND voided_at IS NULL"
)


async def add(
    conn: AsyncConnection,
    invoice: Standing,
    amount: int,
    *,
    method: str,
    reference: str,
    paid_at: datetime,
    by: str,
    now: datetime,
    credit_id: int | None = None,
) -> int:
    """Write down a payment of an invoice that is locked, and the credit that what was too much became."""
    values = {
        "invoice": invoice.id,
        "amount": amount,
        "currency": invoice.currency,
        "method": method,
        "reference": reference,
        "paid_at": paid_at,
        "now": now,
        "by": by,
        "credit": credit_id,
    }
    return (await conn.execute(_ADD, values)).scalar_one()


async def void(conn: AsyncConnection, payment_id: int, *, why: str, by: str, now: datetime) -> None:
    """A payment was recorded by mistake. The caller has locked its invoice, and writes down how that stands then."""
    await conn.execute(_VOID, {"id": payment_id, "why": why, "by": by, "now": now})


async def voided(conn: AsyncConnection, payment_id: int) -> bool:
    """Whether a payment was recorded by mistake."""
    found = await conn.execute(
        text("SELECT voided_at IS NOT NULL FROM manual_payments WHERE id = :id"), {"id": payment_id}
    )
    return bool(found.scalar())


_STAND = text(
    """
    UPDATE invoices SET amount_paid_cents = :paid, amount_overpaid_cents = nullif(:overpaid, 0),
        pre_payment_credit_cents = nullif(:credited, 0), amount_remaining_cents = :remaining, status = :status,
        paid_at = :paid_at, post_payment_credit_cents = coalesce(:given_back, post_payment_credit_cents),
        updated_at = :now
    WHERE id = :id
    """
)


async def stand(
    conn: AsyncConnection,
    invoice: Standing,
    *,
    paid: int,
    overpaid: int,
    credited: int,
    paid_at: datetime,
    now: datetime,
    given_back: int | None = None,
) -> Standing:
    """Write down how a locked invoice stands now: paid, when nothing remains of what was due; else open again.

    `paid_at` is when it was, if it is paid by this. `given_back` is all that credit notes gave back of money and
    credits that had paid; None leaves it as it is.
    """
    remaining = invoice.due - paid - credited
    done = remaining == 0
    values = {
        "paid": paid,
        "overpaid": overpaid,
        "credited": credited,
        "remaining": remaining,
        "status": "paid" if done else "open" if invoice.status == "paid" else invoice.status,
        "paid_at": (invoice.paid_at or paid_at) if done else None,
        "given_back": given_back,
        "now": now,
        "id": invoice.id,
    }
    await conn.execute(_STAND, values)
    found = await standing(conn, invoice.id)
    assert found is not None, "what was issued is never removed"
    return found


async def came_for_void(conn: AsyncConnection, invoice_id: int, overpaid: int, *, now: datetime) -> None:
    """Money came for an invoice that is void: all of it is too much."""
    await conn.execute(
        text("UPDATE invoices SET amount_overpaid_cents = :overpaid, updated_at = :now WHERE id = :id"),
        {"overpaid": overpaid, "now": now, "id": invoice_id},
    )
