"""The internal API's answers about credits, codes and payments: the fields that the commands print with --json."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from intake.admin.models import Limit, Reasoned

Cents = Annotated[int, Field(description="Minor units of the currency beside it.")]
Above = Annotated[int, Field(gt=0, le=10**15, description="Minor units, above 0.")]


def _currency(typed: str) -> str:
    if not re.fullmatch(r"[a-z]{3}", typed):
        raise ValueError("is three small letters, as Stripe writes it: eur")
    return typed


def _percent(typed: str) -> str:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,4})?", typed):
        raise ValueError("is no percentage: write 20 or 12.5, as text")
    return typed


Currency = Annotated[str, AfterValidator(_currency), Field(description="Lower case, as Stripe writes it.")]
Prefix = Annotated[str | None, Field(max_length=64, description="A partner's key prefix.")]
UserId = Annotated[int | None, Field(ge=1, lt=2**63, description="A customer, by our id.")]


class CreditListing(BaseModel):
    """A page of credits: by default those that can still pay."""

    model_config = ConfigDict(extra="forbid")

    partner: Prefix = None
    user: UserId = None
    kind: str | None = None
    all: bool = False
    limit: Limit = 50
    after: Annotated[int | None, Field(ge=0, lt=2**63)] = None


class CreditRow(BaseModel):
    """Money that somebody need not pay."""

    id: int
    api_key_prefix: str | None
    user_id: int | None
    kind: str
    currency: str
    amount_cents: Cents
    remaining_cents: Cents
    reason: str
    state: Annotated[str, Field(description="open, used, expired or void.")]
    expires_at: datetime | None
    promo_code_id: int | None
    created_at: datetime
    created_by: str
    voided_at: datetime | None


class CreditPage(BaseModel):
    """Credits, newest first; `next` is the `after` of the following page."""

    credits: list[CreditRow]
    next: int | None


class Application(BaseModel):
    """What a credit paid of an invoice."""

    invoice_id: int
    invoice_number: str | None
    invoice_status: str | None
    amount_cents: Cents
    created_at: datetime
    reversed_at: datetime | None


class CreditStory(CreditRow):
    """A credit, with all that it paid for."""

    applications: list[Application]
    dry_run: bool = False


class GrantCredit(Reasoned):
    """A credit that is to be given; `why` is told to the customer."""

    partner: Prefix = None
    user: UserId = None
    kind: str = "goodwill"
    currency: Currency
    amount_cents: Above
    expires_at: datetime | None = None


class CodeListing(BaseModel):
    """A page of promotion codes."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500)] = 50


class Code(BaseModel):
    """A promotion code."""

    id: int
    code: str
    gives: str
    amount_cents: Cents | None
    currency: str | None
    percent: str | None
    months: int | None
    credit_days: int | None
    max_redemptions: int | None
    redeemed: int
    expires_at: datetime | None
    created_at: datetime
    created_by: str


class CodePage(BaseModel):
    """Codes, newest first."""

    codes: list[Code]


class AddCode(Reasoned):
    """A code that is to be made: an amount as a credit, or so many percent off for some months."""

    code: str
    amount_cents: Above | None = None
    currency: Currency | None = None
    percent: Annotated[str, AfterValidator(_percent), Field(description="A decimal: 12.5.")] | None = None
    months: int | None = None
    credit_days: int | None = None
    max_redemptions: int | None = None
    expires_at: datetime | None = None


class RedeemCode(Reasoned):
    """Who uses a code."""

    partner: Prefix = None
    user: UserId = None


class Gives(BaseModel):
    """What a code gives."""

    code: str
    gives: str
    dry_run: bool


class RecordPayment(Reasoned):
    """Money that came past Stripe. Without an amount it is all that is due."""

    amount_cents: Above | None = None
    method: Annotated[str, Field(max_length=200)] = "bank_transfer"
    reference: Annotated[str, Field(max_length=200, description="Recorded once for each invoice.")]
    paid_at: datetime | None = None
    over_as_credit: bool = False


class Stands(BaseModel):
    """How an invoice of ours stands."""

    id: int
    number: str
    status: str
    currency: str
    amount_due_cents: Cents
    amount_paid_cents: Cents
    credited_cents: Cents
    amount_remaining_cents: Cents


class Recorded(BaseModel):
    """A payment that was recorded; `new` is false when it was before."""

    payment_id: int
    new: bool
    over_cents: Cents
    credit_id: int | None
    receipt_document_id: Annotated[int | None, Field(description="The document that confirms it.")]
    invoice: Stands
    dry_run: bool


class VoidPayment(Reasoned):
    """A payment that was recorded by mistake, by its reference; `why` is needed."""

    reference: Annotated[str, Field(max_length=200)]


class PaymentVoided(BaseModel):
    """A payment that was voided; `new` is false when it was before."""

    payment_id: int
    reference: str
    amount_cents: Cents
    new: bool
    credit_id: Annotated[int | None, Field(description="The credit of its surplus, which is void as well.")]
    receipt_document_id: Annotated[int | None, Field(description="The copy of its receipt that says so.")]
    invoice: Stands
    dry_run: bool


class LineOfNote(BaseModel):
    """A line of the invoice, counted from 1; without an amount all that is left of it."""

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(ge=1, le=5000)]
    amount_cents: Above | None = None


class PaidOut(BaseModel):
    """Money was sent back by hand."""

    model_config = ConfigDict(extra="forbid")

    method: Annotated[str, Field(min_length=1, max_length=200)]
    reference: Annotated[str, Field(min_length=1, max_length=200)]


class WriteNote(Reasoned):
    """A credit note: of all that is left, of an amount with tax, or of lines; `why` is told to the customer."""

    amount_cents: Above | None = None
    lines: Annotated[tuple[LineOfNote, ...], Field(max_length=5000)] = ()
    paid_out: PaidOut | None = None


class NoteLine(BaseModel):
    """A line of a credit note."""

    description: str
    amount_cents: Cents
    details: list[str]


class Note(BaseModel):
    """A credit note that was written, and what became of the money."""

    id: int
    number: str
    document_id: int
    currency: str
    total_cents: Cents
    tax_cents: Cents
    set_off_cents: Annotated[Cents, Field(description="Less is due.")]
    paid_out_cents: Annotated[Cents, Field(description="Sent back by hand.")]
    kept_cents: Annotated[Cents, Field(description="Kept as credits.")]
    credit_ids: list[int]
    lines: list[NoteLine]
    dry_run: bool


class Pushed(BaseModel):
    """An invoice that is being collected at Stripe."""

    number: str
    amount_remaining_cents: Cents
    dry_run: bool
