"""The XML within a document says what the document says, by the rules of EN 16931."""

import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jobs.invoices import facturx, samples
from jobs.invoices.document import Address, Amount, Document, Kind, Line, Payment, Stamp, Tax, TaxCategory, TaxId
from jobs.invoices.page import build, request
from jobs.invoices.samples_parts import ACME, ASSETS, NORDLICHT, WEBER, added, document, line, rate
from jobs.rules.documents import problems
from tests.invoices.pages import renderer
from worker.errors import Refused

etree: Any = import_module("lxml.etree")
saxonche: Any = import_module("saxonche")
RAM = "{urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100}"
SVRL = "{http://purl.oclc.org/dsdl/svrl}"


def plain(sentence: str) -> str:
    return sentence


def asked(made: Document) -> Document:
    return replace(made, seller=replace(made.seller, factur_x=True))


def root(written: bytes) -> Any:
    return etree.fromstring(written)


def value(tree: Any, *path: str) -> str | None:
    return tree.findtext(".//" + "/".join(RAM + each for each in path))


class Rules:
    """The Schematron of the profile, which is XSLT 2: it knows the rules that an XSD cannot."""

    def __init__(self) -> None:
        self.processor = saxonche.PySaxonProcessor(license=False)
        folder = files("facturx") / "xsd_and_schematron" / "facturx-en16931"
        self.rules = self.processor.new_xslt30_processor().compile_stylesheet(
            stylesheet_file=str(folder / "FACTUR-X_EN16931.xslt")
        )

    def broken(self, written: bytes, folder: Path) -> list[str]:
        """Each rule that `written` breaks, with what it breaks it by."""
        file = folder / "facturx.xml"
        file.write_bytes(written)
        told = etree.fromstring(self.rules.transform_to_string(source_file=str(file)).encode())
        found = [" ".join("".join(each.itertext()).split()) for each in told.iter(f"{SVRL}failed-assert")]
        return [each for each in found if "PEPPOL-EN16931-R008" not in each]  # a warning about an element that must be


@pytest.fixture(scope="module")
def rules() -> Iterator[Rules]:
    made = Rules()
    yield made
    del made.rules


ONE = (line("Plan", "3", "1050"),)
RATES = replace(line("Plan", "3", "1050"), taxes=(0,)), replace(line("Book", "2", "995.5"), taxes=(1,))


def discounted() -> Document:
    return document(
        Kind.INVOICE,
        NORDLICHT,
        WEBER,
        RATES,
        discounts=(Amount("Spring", 300),),
        taxes=(Tax("VAT", 3000, 570, percent="19"), Tax("VAT", 1841, 129, percent="7")),
        due_on=date(2026, 5, 1),
    )


def given_back() -> Document:
    lines = (line("Plan", "1", "4900"), Line("Unused time", -1234, proration=True), line("Correction", "1", "-100"))
    return document(Kind.INVOICE, NORDLICHT, WEBER, lines, taxes=(rate("VAT", "19", lines),), terms="net_15")


def categories(category: TaxCategory, **more: Any) -> Document:
    return document(
        Kind.INVOICE,
        NORDLICHT,
        replace(WEBER, tax_ids=(TaxId("eu_vat", "FR40303265045"),)),
        ONE,
        taxes=(Tax("VAT", 3150, 0, percent="0", category=category),),
        **more,
    )


def yen() -> Document:
    lines = (line("Plan", "2", "4900"),)
    return document(Kind.INVOICE, NORDLICHT, WEBER, lines, currency="jpy", taxes=(rate("VAT", "19", lines),))


SAYABLE = {
    "invoice": samples.invoice,
    "german": samples.german,
    "reverse_charge": samples.reverse_charge,
    "spanish": samples.spanish,
    "credit_note": samples.credit_note,
    "scripts": samples.scripts,
    "tiers": samples.tiers,
    "void": samples.void,
    "discounted": discounted,
    "given_back": given_back,
    "zero": lambda: categories(TaxCategory.ZERO),
    "exempt": lambda: categories(TaxCategory.EXEMPT, legal=("Exempt by § 4 No. 21 UStG.",)),
    "export": lambda: categories(TaxCategory.EXPORT),
    "outside": lambda: categories(TaxCategory.OUTSIDE),
    "yen": yen,
    "open credit note": lambda: replace(samples.credit_note(), payments=(), due_minor=29750),
}


@pytest.mark.parametrize("name", SAYABLE)
def test_a_document_is_said_by_the_xsd_and_by_the_rules_of_en_16931(name: str, rules: Rules, tmp_path: Path) -> None:
    made = SAYABLE[name]()
    assert problems(made) == []
    assert facturx.obstacles(made) == []
    assert rules.broken(facturx.xml(made, plain), tmp_path) == []


def test_the_rules_are_asked_in_earnest(rules: Rules, tmp_path: Path) -> None:
    written = facturx.xml(samples.german(), plain)
    wrong = written.replace(b"<ram:DuePayableAmount>5163.47", b"<ram:DuePayableAmount>5163.48")
    assert wrong != written
    assert [told for told in rules.broken(wrong, tmp_path) if "BR-CO-16" in told] != []


def test_amounts_are_exact() -> None:
    tree = root(facturx.xml(samples.invoice(), plain))
    prices = [each.text for each in tree.iter(f"{RAM}ChargeAmount")]
    assert prices[2] == "0.0025"
    assert value(tree, "SpecifiedTradeSettlementHeaderMonetarySummation", "GrandTotalAmount") == "5753.71"
    assert value(tree, "SpecifiedTradeSettlementHeaderMonetarySummation", "DuePayableAmount") == "5753.71"
    assert value(root(facturx.xml(yen(), plain)), "GrandTotalAmount") == "11662"


def test_what_prices_contain_is_taken_out_to_the_cent() -> None:
    tree = root(facturx.xml(samples.spanish(), plain))
    nets = [Decimal(each.text) for each in tree.iter(f"{RAM}LineTotalAmount")]
    assert nets[:2] == [Decimal("161.99"), Decimal("75.00")]
    assert value(tree, "AllowanceTotalAmount") == "32.40"
    assert value(tree, "TaxBasisTotalAmount") == "204.59"
    assert value(tree, "TotalPrepaidAmount") == "90.00"


def test_a_credit_note_names_its_invoice() -> None:
    tree = root(facturx.xml(samples.credit_note(), plain))
    assert value(tree, "TypeCode") == "381"
    assert value(tree, "InvoiceReferencedDocument", "IssuerAssignedID") == "RE-2026-0042"


def test_reverse_charge_tells_why() -> None:
    tree = root(facturx.xml(samples.reverse_charge(), plain))
    assert value(tree, "ApplicableTradeTax", "ExemptionReasonCode") == "VATEX-EU-AE"
    assert "Article 196" in (value(tree, "ApplicableTradeTax", "ExemptionReason") or "")


def test_how_to_pay_is_told() -> None:
    tree = root(facturx.xml(samples.german(), plain))
    assert value(tree, "SpecifiedTradeSettlementPaymentMeans", "TypeCode") == "58"
    assert value(tree, "IBANID") == "DE02120300000000202051"
    assert value(tree, "PaymentReference") == "RE-2026-0042"
    unbanked = samples.german()
    unbanked = replace(unbanked, seller=replace(unbanked.seller, bank=None))
    assert value(root(facturx.xml(unbanked, plain)), "SpecifiedTradeSettlementPaymentMeans", "TypeCode") == "68"


BARE = replace(WEBER, tax_ids=())


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (samples.receipt, "kind: a receipt is no invoice"),
        (samples.kuwaiti, "currency: KWD has three decimals, EN 16931 has two (BR-DEC-09)"),
        (samples.american, "lines[0]: has 2 taxes, and needs one (BR-CO-4)"),
        (lambda: document(Kind.INVOICE, NORDLICHT, WEBER, ONE), "lines[0]: has 0 taxes, and needs one (BR-CO-4)"),
        (
            lambda: document(Kind.INVOICE, ACME, WEBER, ONE, taxes=(rate("VAT", "19", ONE),)),
            None,
        ),
        (
            lambda: document(
                Kind.INVOICE,
                replace(ACME, party=replace(ACME.party, tax_ids=())),
                WEBER,
                ONE,
                taxes=(rate("VAT", "19", ONE),),
            ),
            "seller: has no VAT number that begins with a country (BR-CO-26, BR-S-2)",
        ),
        (
            lambda: replace(samples.german(), buyer=replace(WEBER, address=Address())),
            "buyer: the address has no country (BR-9, BR-11)",
        ),
        (
            lambda: replace(samples.reverse_charge(), buyer=BARE),
            "buyer: has no VAT number, without which there is no reverse charge (BR-AE-2)",
        ),
        (
            lambda: categories(TaxCategory.EXEMPT),
            "legal: does not tell why it is exempt from VAT (BR-E-10)",
        ),
        (
            lambda: document(Kind.INVOICE, NORDLICHT, WEBER, ONE, taxes=(Tax("VAT", 3150, 600),)),
            "taxes[0]: has no percent (BR-S-5)",
        ),
        (
            lambda: document(
                Kind.INVOICE,
                NORDLICHT,
                WEBER,
                (*ONE, Line("Back", -100)),
                taxes=(rate("VAT", "19", (*ONE, Line("Back", -100)), inclusive=True),),
            ),
            "taxes[0]: is contained in prices, of which some are given back",
        ),
        (
            lambda: document(Kind.INVOICE, NORDLICHT, WEBER, (Line("Back", -100),), taxes=(Tax("VAT", -100, -19),)),
            "total_minor: is below zero: a credit note says that",
        ),
        (
            lambda: replace(categories(TaxCategory.OUTSIDE), seller=ACME),
            "seller: has no registration, and its VAT number may not be told (BR-CO-26, BR-O-2)",
        ),
    ],
)
def test_what_en_16931_cannot_say_is_refused_with_why(made: Any, why: str | None) -> None:
    found = facturx.obstacles(made())
    if why is None:
        assert found == []
        return
    assert why in found
    with pytest.raises(Refused, match="EN 16931 cannot say this document: "):
        facturx.xml(made(), plain)


@st.composite
def documents(draw: Any) -> Document:
    """Invoices of two rates, with discounts by line, some of whose prices contain the tax."""
    lines: list[Line] = []
    for index in range(draw(st.integers(2, 6))):
        quantity, price = draw(st.integers(1, 500)), draw(st.decimals(1, 10**5, places=3))
        lines.append(replace(line(f"line {index}", str(quantity), str(price)), taxes=(index % 2,)))
    off = [draw(st.integers(0, each.amount_minor)) if draw(st.booleans()) else 0 for each in lines]
    told = tuple(
        replace(each, discounts=(Amount("spring", cut),) if cut else ()) for each, cut in zip(lines, off, strict=True)
    )
    taxes = tuple(
        rate("VAT", percent, told[index::2], off=sum(off[index::2]), inclusive=draw(st.booleans()))
        for index, percent in enumerate(("19", "7"))
    )
    discounts = (Amount("spring", sum(off)),) if sum(off) else ()
    made = document(Kind.INVOICE, NORDLICHT, WEBER, told, discounts=discounts, taxes=taxes)
    paid = draw(st.integers(0, made.total_minor))
    return added(replace(made, payments=(Payment(datetime(2026, 4, 2, tzinfo=UTC), paid),) if paid else ()))


@given(documents())
@settings(max_examples=40, deadline=None)
def test_whatever_adds_up_is_said_by_the_rules(rules: Rules, tmp_path_factory: Any, made: Document) -> None:
    assert problems(made) == []
    if any(tax.inclusive and tax.taxable_minor <= 0 for tax in made.taxes):
        return
    assert rules.broken(facturx.xml(made, plain), tmp_path_factory.getbasetemp()) == []


def test_hostile_text_stays_text(rules: Rules, tmp_path: Path) -> None:
    made = replace(samples.hostile(), reason=None)
    written = facturx.xml(made, plain)
    assert b"<img" not in written
    assert b"\x00" not in written
    assert rules.broken(written, tmp_path) == []


@pytest.mark.filterwarnings("ignore:.*sRGB2014.icc")  # WeasyPrint leaves the closing of it to the collector
def test_the_pdf_is_a_pdf_a_3_with_the_xml_within() -> None:
    pdf = renderer().render(build(request(asked(samples.german()), ASSETS)))
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    (written,) = reader.attachments["factur-x.xml"]
    assert written == facturx.xml(samples.german(), build_words("de"))
    catalog: Any = reader.trailer["/Root"]
    attached, *_ = catalog["/AF"]  # WeasyPrint 70 names it twice
    assert attached.get_object()["/AFRelationship"] == "/Alternative"
    packet = etree.fromstring(catalog["/Metadata"].get_object().get_data())
    told = {etree.QName(each).localname: each.text for each in packet.iter() if isinstance(each.tag, str)}
    known = [value for each in packet.iter() for name, value in each.attrib.items() if "/pdfa/ns/id/" in name]
    assert known == ["3", "B"]
    assert told["DocumentFileName"] == "factur-x.xml"
    assert told["ConformanceLevel"] == "EN 16931"
    assert told["namespaceURI"] == facturx.NAMESPACE


def build_words(language: str) -> Any:
    return import_module("jobs.invoices.page_words").catalog(language).ugettext


@pytest.mark.parametrize("made", [samples.receipt, samples.draft])
def test_what_is_no_invoice_carries_none(made: Any) -> None:
    page = build(request(asked(made()), ASSETS))
    assert (page.variant, page.attachments) == (None, ())


def test_a_copy_carries_it_too() -> None:
    page = build(request(asked(samples.german()), ASSETS, stamp=Stamp.COPY))
    assert [each.name for each in page.attachments] == ["factur-x.xml"]
