"""What stands on a document, in the order in which it is read: sides, facts, lines, sums, ways to pay, and notes."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from jobs.invoices.document import Document, Kind, Line, Party, Stamp, TaxCategory
from jobs.invoices.page_address import HAN, right_to_left, rows
from jobs.invoices.page_codes import code, transfer
from jobs.invoices.page_sums import sums
from jobs.invoices.page_tax import reasons, tax_id_label
from jobs.invoices.page_words import PageWords
from jobs.mail.brand import SURFACE, TEXT, WHITE, apart

Say = Callable[[str], str]
WIDE = 15
"""Characters of an amount; where one is longer, the columns of amounts are wider."""

RUNNER = 60
"""Characters of the seller's name and of the number in the head of further pages."""

SHOWN_LINK = 44
"""Characters of a link that are written out; the rest is in the code and behind the link."""


@dataclass(frozen=True, slots=True)
class Side:
    """A party as it is shown; `han` chooses the shapes of Han characters."""

    name: str
    han: str
    blocks: list[tuple[bool, str]]
    """Rows under one another, by whether they run from right to left: one text is laid out faster than many."""
    tax_ids: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line as it is shown."""

    description: str
    rtl: bool
    small: list[str]
    quantity: str
    unit: str | None
    price: str
    tax: str
    amount: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns the lines need besides description and amount."""

    quantity: bool
    price: bool
    tax: bool


@dataclass(frozen=True, slots=True)
class Way:
    """A way to pay."""

    name: str
    rows: tuple[str, ...]
    code: str | None = None
    alt: str = ""
    link: str | None = None
    shown: str = ""


def heading(kind: Kind, _: Say) -> str:
    """What the document calls itself."""
    match kind:
        case Kind.INVOICE:
            return _("Invoice")
        case Kind.CREDIT_NOTE:
            return _("Credit note")
        case Kind.RECEIPT:
            return _("Receipt")


def _side(party: Party, words: PageWords, _: Say, *, contact: bool) -> Side:
    country = (party.address.country or "").upper()
    further = (words.country(country) if country else "", *((party.email, party.phone) if contact else ()))
    told = [*rows(party.address), *(each for each in further if each)]
    return Side(
        name=party.name,
        han=HAN.get(country, ""),
        blocks=[(rtl, "\n".join(block)) for rtl, block in groupby(told, right_to_left)],
        tax_ids=tuple((tax_id_label(each.type, _), each.value) for each in party.tax_ids),
    )


def _facts(d: Document, words: PageWords, _: Say) -> list[tuple[str, str]]:
    number = {
        Kind.INVOICE: _("Invoice number"),
        Kind.CREDIT_NOTE: _("Credit note number"),
        Kind.RECEIPT: _("Receipt number"),
    }[d.kind]
    facts = [(number, d.number), (_("Date of issue"), words.day(d.issued_on))]
    if d.due_on is not None and d.kind is Kind.INVOICE:
        facts.append((_("Due date"), words.day(d.due_on)))
    if d.period is not None:
        facts.append((_("Period"), words.span(d.period)))
    if d.reference is not None:
        facts.append((_("For invoice"), d.reference.number))
        if d.reference.issued_on is not None:
            facts[-1] = (
                facts[-1][0],
                _("%(number)s of %(day)s") % {"number": d.reference.number, "day": words.day(d.reference.issued_on)},
            )
    if d.buyer_reference:
        facts.append((_("Your reference"), d.buyer_reference))
    return facts


def _headline(d: Document, words: PageWords, _: Say, stamp: Stamp | None) -> str:
    paid = d.payments[-1].paid_at if d.payments else None
    match d.kind:
        case Kind.CREDIT_NOTE:
            said, amount, day = _("%(amount)s credited on %(day)s"), d.total_minor, words.day(d.issued_on)
        case Kind.RECEIPT if stamp is Stamp.VOID:
            return _("This receipt is void: the payment has not arrived")
        case Kind.RECEIPT:
            amount = sum(payment.amount_minor for payment in d.payments) or d.total_minor
            said, day = _("%(amount)s paid on %(day)s"), words.day(paid or d.issued_on)
        case Kind.INVOICE if stamp is Stamp.VOID:
            return _("This invoice is void: nothing is to be paid")
        case Kind.INVOICE if d.due_minor and d.due_on:
            said, amount, day = _("%(amount)s due on %(day)s"), d.due_minor, words.day(d.due_on)
        case Kind.INVOICE if d.due_minor:
            said, amount, day = _("%(amount)s due"), d.due_minor, ""
        case Kind.INVOICE if paid:
            said, amount, day = _("%(amount)s paid on %(day)s"), d.total_minor, words.day(paid)
        case Kind.INVOICE:
            return _("Nothing is left to be paid")
    return said % {"amount": words.money(amount), "day": day}


def terms(text: str | None, _: Say) -> str | None:
    """When it is to be paid, in words."""
    if text == "due_on_receipt":
        return _("Payable on receipt.")
    if text == "end_of_month":
        return _("Payable by the end of the month.")
    days = (text or "").removeprefix("net_")
    if text == "net_1":
        return _("Payable within one day.")
    if text and text.startswith("net_") and days.isdecimal():
        return _("Payable within %(days)s days.") % {"days": int(days)}
    return text


def _tax_of(line: Line, d: Document, words: PageWords) -> str:
    taxes = [d.taxes[index] for index in line.taxes]
    return ", ".join(words.percent(tax.percent) if tax.percent else tax.name for tax in taxes) or "\N{EN DASH}"


def _row(line: Line, d: Document, words: PageWords, _: Say, columns: Columns) -> Row:
    small = list(line.details)
    if line.period is not None and line.period != d.period:
        small.append(words.span(line.period))
    small += [f"{share.name or _('Discount')}: {words.money(-share.minor)}" for share in line.discounts]
    return Row(
        description=line.description,
        rtl=right_to_left(line.description),
        small=small,
        quantity=words.number(line.quantity) if line.quantity else "",
        unit=line.unit,
        price=words.price(line.unit_price_minor) if line.unit_price_minor else "",
        tax=_tax_of(line, d, words) if columns.tax else "",
        amount=words.money(line.amount_minor),
    )


def _ways(d: Document, _: Say, stamp: Stamp | None) -> list[Way]:
    ways: list[Way] = []
    if d.kind is not Kind.INVOICE or d.due_minor <= 0 or stamp in {Stamp.VOID, Stamp.PAID, Stamp.DRAFT}:
        return ways
    url = d.pay_url
    if url and urlsplit(url).scheme in {"https", "http"}:
        shown = url.partition("://")[2]
        ways.append(
            Way(
                name=_("Pay online"),
                rows=(_("Scan the code or open the link:"),),
                code=code(url),
                alt=_("Code that opens the payment page"),
                link=url,
                shown=shown if len(shown) <= SHOWN_LINK else f"{shown[: SHOWN_LINK - 1]}\N{HORIZONTAL ELLIPSIS}",
            )
        )
    bank = d.seller.bank
    if bank is not None:
        order = transfer(d)
        iban = (bank.iban or "").replace(" ", "")
        grouped = "\N{NO-BREAK SPACE}".join(iban[at : at + 4] for at in range(0, len(iban), 4))
        facts = (
            (_("Account holder"), bank.holder),
            ("IBAN", grouped),
            ("BIC", bank.bic),
            (_("Account"), bank.account),
            (_("Bank"), bank.name),
            (_("Payment reference"), d.number),
        )
        ways.append(
            Way(
                name=_("Bank transfer"),
                rows=tuple(f"{label}: {value}" for label, value in facts if value),
                code=code(order) if order else None,
                alt=_("Code that fills in the transfer in a banking app"),
            )
        )
    return ways


def _foot(d: Document) -> Markup:
    party = d.seller.party
    first, second = (party.name, party.registration), (party.website, party.email, party.phone)
    told = [*(" · ".join(each for each in row if each) for row in (first, second)), *d.seller.footer]
    # An attribute's line breaks are read as blanks unless they are written as references.
    return Markup("&#10;").join(escape(row) for row in told if row)


def _stamp_words(_: Say) -> dict[Stamp, str]:
    return {
        Stamp.PAID: _("PAID"),
        Stamp.VOID: _("VOID"),
        Stamp.DRAFT: _("DRAFT"),
        Stamp.COPY: _("COPY"),
    }


def content(d: Document, words: PageWords, _: Say, stamp: Stamp | None) -> dict[str, Any]:
    """All that the template shows, in words."""
    title = heading(d.kind, _)
    named = [line.taxes for line in d.lines]
    columns = Columns(
        quantity=any(line.quantity for line in d.lines),
        price=any(line.unit_price_minor for line in d.lines),
        tax=any(named) and any(each != named[0] for each in named),
    )
    page = _("Page %(page)s of %(pages)s") % {"page": "\t", "pages": "\t"}
    stamped = _stamp_words(_)[stamp] if stamp else None
    lines = [_row(line, d, words, _, columns) for line in d.lines]
    under = sums(d, words, _, void=stamp is Stamp.VOID)
    longest = max(len(each) for each in ("", *(row.price for row in lines), *(row.amount for row in (*lines, *under))))
    ways = _ways(d, _, stamp)
    exempt = any(tax.category is TaxCategory.EXEMPT for tax in d.taxes)
    return {
        "title": f"{title} {d.number}",
        "heading": title,
        "runner": f"{d.seller.party.name[:RUNNER]} · {title} {d.number[:RUNNER]}",
        "foot": _foot(d),
        "count": page.split("\t"),
        "mark": stamped if stamp is not Stamp.PAID else None,
        "stamp": {"word": stamped, "class": stamp.value} if stamp else None,
        "color": d.seller.color,
        "ink": apart(d.seller.color, WHITE, TEXT),
        "edge": apart(d.seller.color, WHITE, SURFACE),
        "facts": _facts(d, words, _),
        "seller": _side(d.seller.party, words, _, contact=False),
        "buyer": _side(d.buyer, words, _, contact=True),
        "seller_label": _("From"),
        "buyer_label": _("Bill to"),
        "headline": _headline(d, words, _, stamp),
        "terms": terms(d.terms, _) if d.kind is Kind.INVOICE and d.due_minor and stamp is not Stamp.VOID else None,
        "reason": _("Reason: %(reason)s") % {"reason": d.reason} if d.reason else None,
        "columns": columns,
        "lines": lines,
        "sums": under,
        "wide": " w" if longest > WIDE else "",
        "ways": ways,
        "coded": any(way.code for way in ways),
        "notes": d.notes,
        "legal": [*reasons(d.taxes, _), *([_("Exempt from VAT.")] if exempt and not d.legal else []), *d.legal],
    }
