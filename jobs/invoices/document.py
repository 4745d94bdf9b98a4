"""What an invoice, a credit note or a receipt says, frozen when it is issued: its PDF shows this, and nothing else."""

from datetime import date, datetime
from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """What the document is."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    RECEIPT = "receipt"


class TaxCategory(StrEnum):
    """Why a tax is as it is; the codes are UNTDID 5305's, as EN 16931 uses them."""

    STANDARD = "S"
    ZERO = "Z"
    EXEMPT = "E"
    REVERSE_CHARGE = "AE"
    EXPORT = "G"
    OUTSIDE = "O"


class Stamp(StrEnum):
    """What is stamped on the first page; all but PAID stand large and pale behind the text of every page as well."""

    PAID = "paid"
    VOID = "void"
    DRAFT = "draft"
    COPY = "copy"


class Address(Struct, frozen=True, omit_defaults=True):
    """A postal address, in the parts that Stripe has; `country` is ISO 3166-1 alpha-2."""

    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    postal_code: str | None = None
    state: str | None = None
    country: str | None = None


class TaxId(Struct, frozen=True):
    """A number by which tax offices know a party; `type` is Stripe's (`eu_vat`, `gb_vat`, `ch_uid` …)."""

    type: str
    value: str


class Party(Struct, frozen=True, omit_defaults=True):
    """Somebody an invoice is from, or goes to."""

    name: str
    address: Address = Address()
    email: str | None = None
    phone: str | None = None
    tax_ids: tuple[TaxId, ...] = ()
    registration: str | None = None
    """The company's register and number, as its letters must show it: `HRB 12345, Amtsgericht Berlin`."""
    website: str | None = None


class Bank(Struct, frozen=True, omit_defaults=True):
    """Where money can be sent to."""

    holder: str
    iban: str | None = None
    bic: str | None = None
    name: str | None = None
    account: str | None = None
    """For accounts without an IBAN: number and routing, in words."""


class Seller(Struct, frozen=True, omit_defaults=True):
    """Who writes the document, and how it looks."""

    party: Party
    color: str = "#3552d1"
    logo: str | None = None
    """The SHA-256 of the picture, by which it is kept (`document_assets`)."""
    bank: Bank | None = None
    footer: tuple[str, ...] = ()
    factur_x: bool = False
    """Whether EN 16931 XML is embedded, in a PDF/A-3."""


class Period(Struct, frozen=True):
    """`[start, end)`, in UTC; shown as days of the document's time zone, the last of them included."""

    start: datetime
    end: datetime


class Amount(Struct, frozen=True):
    """A discount or a credit with its name; `minor` is what it takes off.

    Below zero it adds: a discount of something that is given back, or what was still owed from before.
    """

    name: str
    minor: int


class Tax(Struct, frozen=True, omit_defaults=True):
    """One rate of tax over the whole document."""

    name: str
    """As the customer knows it: `VAT`, `MwSt.`, `Sales tax`."""
    taxable_minor: int
    """What it is a percentage of: without the tax itself, and without others that the prices contain."""
    amount_minor: int
    percent: str | None = None
    """`19`, `7.7`; None where nothing but the amount is known."""
    inclusive: bool = False
    """Whether the prices contain it already."""
    category: TaxCategory = TaxCategory.STANDARD
    jurisdiction: str | None = None


class Line(Struct, frozen=True, omit_defaults=True):
    """One thing that is charged, before discounts of the whole document. Amounts are minor units."""

    description: str
    amount_minor: int
    """Quantity times unit price, rounded once; before discounts; below zero for what is given back."""
    quantity: str | None = None
    """A decimal: `3`, `1204.5`."""
    unit: str | None = None
    """What is counted: `seats`, `1,000 requests`."""
    unit_price_minor: str | None = None
    """A decimal of minor units: `4900`, `0.25`."""
    details: tuple[str, ...] = ()
    """Further rows under the description, such as a tier's edges."""
    period: Period | None = None
    discounts: tuple[Amount, ...] = ()
    """This line's share of `Document.discounts`; they are told, and not taken off twice."""
    taxes: tuple[int, ...] = ()
    """Which of `Document.taxes` apply, by their index. When no line names any, all apply to each line."""
    proration: bool = False


class Reference(Struct, frozen=True, omit_defaults=True):
    """Another document that this one is about."""

    number: str
    issued_on: date | None = None


class Payment(Struct, frozen=True, omit_defaults=True):
    """Money that came for the document."""

    paid_at: datetime
    amount_minor: int
    method: str | None = None
    """`Visa •••• 4242`, `SEPA •••• 3000`; None where it is not known."""
    reference: str | None = None


class Document(Struct, frozen=True, omit_defaults=True):
    """All that a PDF shows. Amounts are whole minor units of `currency` (lower case).

    `subtotal` is the sum of the lines; minus `discount`, plus the taxes that prices do not contain, it is `total`;
    minus credits and payments it is `due`, or zero when they are more. Stripe's documents carry Stripe's own sums
    (https://docs.stripe.com/api/invoices/object). `jobs.rules.documents.problems` tells whether it adds up.

    A credit note's amounts are above zero too, and tell what is given back: its payments are refunds, its credits what
    was set off or went to a balance, and `due` is what the customer still gets. A receipt's payments are the one that
    it is about; its number is its own, and `reference` the invoice's.
    """

    kind: Kind
    number: str
    currency: str
    locale: str
    timezone: str
    issued_on: date
    seller: Seller
    buyer: Party
    lines: tuple[Line, ...]
    subtotal_minor: int
    total_minor: int
    due_minor: int
    discount_minor: int = 0
    tax_minor: int = 0
    """All taxes, contained in the prices or not."""
    discounts: tuple[Amount, ...] = ()
    taxes: tuple[Tax, ...] = ()
    credits: tuple[Amount, ...] = ()
    """What a balance or credits paid of it."""
    payments: tuple[Payment, ...] = ()
    due_on: date | None = None
    period: Period | None = None
    """What it is for as a whole; also the time of supply."""
    reference: Reference | None = None
    """The invoice that a credit note or a receipt is about."""
    buyer_reference: str | None = None
    """The customer's own purchase order or cost centre."""
    terms: str | None = None
    """`due_on_receipt`, `net_15` (any number of days), `end_of_month`; else the words that are to be shown."""
    pay_url: str | None = None
    """Where it can be paid: a link and a QR code."""
    notes: tuple[str, ...] = ()
    """For the customer to read, above the foot."""
    legal: tuple[str, ...] = ()
    """What a law wants to be said, beyond what a tax's category says by itself (reverse charge, export …).

    Where a tax's category is EXEMPT this must name the reason: an exemption has many, and only the seller knows which.
    """
    stamp: Stamp | None = None
    reason: str | None = None
    """Why a credit note was issued."""
    without_factur_x: tuple[str, ...] = ()
    """Why it has no XML though its seller's documents have: what EN 16931 cannot say of it. No page shows this."""
