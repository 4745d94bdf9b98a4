"""The internal API's answers about invoices and documents: the same fields that the commands print with --json."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from intake.admin.models import AuditRow, Limit

Cents = Annotated[int, Field(description="Minor units of the currency beside it.")]


class InvoiceListing(BaseModel):
    """A page of invoices."""

    model_config = ConfigDict(extra="forbid")

    status: Annotated[str | None, Field(description="draft, open, paid, void or uncollectible.")] = None
    customer: Annotated[str | None, Field(description="cus_…, a partner's key prefix, or an address.")] = None
    since: str | None = None
    until: str | None = None
    limit: Limit = 50
    after: Annotated[int | None, Field(ge=0, lt=2**63)] = None


class DocumentListing(BaseModel):
    """A page of documents."""

    model_config = ConfigDict(extra="forbid")

    status: Annotated[str | None, Field(description="waiting, stored or dead.")] = None
    kind: Annotated[str | None, Field(description="invoice, credit_note or receipt.")] = None
    customer: str | None = None
    since: str | None = None
    until: str | None = None
    limit: Limit = 50
    after: Annotated[int | None, Field(ge=0, lt=2**63)] = None


class InvoiceRow(BaseModel):
    """An invoice: ours where it has a `kind`, else Stripe's."""

    id: int
    invoice_number: str | None
    stripe_invoice_id: str | None
    kind: str | None
    status: str | None
    stripe_customer_id: str | None
    api_key_prefix: str | None
    name: str | None
    email: str | None
    currency: str | None
    subtotal_cents: Cents
    discount_cents: Cents
    tax_cents: Cents
    total_cents: Cents
    amount_due_cents: Cents
    amount_paid_cents: Cents
    amount_remaining_cents: Cents
    dated_at: Annotated[datetime | None, Field(description="When it was finalized, else created.")]
    due_date: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    void_reason: str | None
    invoice_pdf_url: str | None
    hosted_invoice_url: str | None
    document_id: int | None
    document_status: Annotated[str | None, Field(description="waiting, stored or dead; null: none was written.")]
    document_reason: str | None


class InvoicePage(BaseModel):
    """Invoices, newest first; `next` is the `after` of the following page."""

    invoices: list[InvoiceRow]
    next: int | None


class InvoiceDetails(InvoiceRow):
    """An invoice with its lines."""

    line_items: list[dict[str, Any]] | None
    line_items_complete: bool | None
    notes: str | None
    description: str | None


class DocumentBase(BaseModel):
    """An invoice, a credit note or a receipt that was written, or a marked copy."""

    id: int
    key: str
    kind: str
    number: str
    status: str
    reason: str | None
    invoice_id: int | None
    stripe_invoice_id: str | None
    stripe_object_id: str | None
    locale: str
    currency: str
    total_cents: Cents
    stamp: str | None
    attempts: int
    job_id: int | None
    file: str
    sha256: Annotated[str | None, Field(description="Of the stored bytes.")]
    size_bytes: int | None
    copy_of: int | None
    issued_at: datetime
    created_at: datetime
    stored_at: datetime | None


class DocumentDetails(DocumentBase):
    """A document, and why it is plainer than its seller's others."""

    without_factur_x: Annotated[
        list[str],
        Field(description="Why it has no Factur-X though its seller's documents have: EN 16931 cannot say it."),
    ]


class DocumentRow(DocumentBase):
    """A document with its customer."""

    stripe_customer_id: str | None
    name: str | None
    email: str | None


class DocumentPage(BaseModel):
    """Documents, newest first; `next` is the `after` of the following page."""

    documents: list[DocumentRow]
    next: int | None


class ManualPayment(BaseModel):
    """Money that came past Stripe, in the invoice's currency."""

    id: int
    amount_cents: Cents
    method: str
    reference: str
    paid_at: datetime
    recorded_at: datetime
    recorded_by: str
    credit_id: Annotated[int | None, Field(description="The credit of what was paid too much.")]
    voided_at: Annotated[datetime | None, Field(description="When it was found to be a mistake: it counts no more.")]
    voided_by: str | None
    void_reason: str | None


class PaidByCredit(BaseModel):
    """What a credit paid, in the invoice's currency."""

    credit_id: int
    kind: str
    amount_cents: Cents
    reason: str


class NoteAbout(BaseModel):
    """A credit note, in the invoice's currency."""

    number: str
    total_cents: Cents
    paid_out_cents: Annotated[int, Field(description="What of it was sent back by hand.")]
    reason: str | None
    issued_at: datetime


class InvoiceStory(BaseModel):
    """An invoice, or a document without one, with all that was written about it, and what became of its amount."""

    ref: str
    invoice: InvoiceDetails | None
    payments: Annotated[list[ManualPayment], Field(description="Of our own invoices: what came past Stripe.")]
    credits: Annotated[list[PaidByCredit], Field(description="Of our own invoices: what credits paid.")]
    credit_notes: Annotated[list[NoteAbout], Field(description="Of our own invoices: what was taken back.")]
    document: DocumentDetails | None
    documents: list[DocumentDetails]
    audit: list[AuditRow]


class ExplainedLine(BaseModel):
    """A line and how it comes about."""

    kind: str
    amount: Cents
    arithmetic: str
    facts: dict[str, str]


class InvoiceExplained(BaseModel):
    """An invoice for usage, reckoned again from what was frozen with it. Amounts are minor units of `currency`."""

    number: str
    partner: str | None
    user_id: int | None
    period: str
    currency: str
    rounding: str
    input_sha256: str | None
    lines: list[ExplainedLine]
    late: Annotated[dict[str, list[str]], Field(description="By closed period: what usage that came late changed.")]
    sums: dict[str, int]
    arithmetic: Annotated[list[str], Field(description="From the lines to what is due, in words.")]
    same: Annotated[bool, Field(description="Whether it comes to the very amounts that were issued.")]
    differences: list[str]
    input: Annotated[dict[str, Any], Field(description="All that the amounts follow from.")]
