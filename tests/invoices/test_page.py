"""A document's page says all that the document says, in each language and script, whatever strangers wrote into it."""

import logging
import re
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import ImageChops

from jobs.invoices import samples
from jobs.invoices.document import Address, Amount, Document, Kind, Line, Party, Stamp, Tax, TaxCategory, TaxId
from jobs.invoices.page import STYLES, build, request
from jobs.invoices.page_address import rows
from jobs.invoices.page_text import clean
from jobs.invoices.page_words import PageWords
from jobs.invoices.samples import SAMPLES, SCRIPTS
from jobs.invoices.samples_parts import ACME, ASSETS, LOVELACE, NORDLICHT, WEBER, added, document, line, rate
from tests.invoices.pages import fonts, glyphs, names_of, outlines, pdf_of, pictures, texts
from worker.adapters.pdf_page import Page
from worker.errors import Refused

ONE = (line("Plan", "1", "4900"),)


def page_of(made: Document, *, stamp: Stamp | None = None) -> Page:
    return build(request(made, ASSETS, stamp=stamp))


def said(made: Document, *, stamp: Stamp | None = None) -> str:
    """The page's words, without its markup."""
    body = page_of(made, stamp=stamp).html.partition("<body")[2]
    text = re.sub(r"<[^>]*>", " ", body.partition(">")[2])
    for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(entity, char)
    return " ".join(text.split())


def test_all_that_an_invoice_must_say_is_said() -> None:
    text = said(samples.german())
    for part in (
        "Rechnung",
        "Rechnungsnummer RE-2026-0042",
        "Ausgestellt am 1. April 2026",
        "Fällig am 1. Mai 2026",
        "Leistungszeitraum 1.\N{EN DASH}31. März 2026",
        "Ihre Referenz BE-2026/117",
        "Nordlicht Software GmbH Torstraße 119 10119 Berlin Deutschland USt-IdNr. DE136695976",
        "Weber & Söhne Maschinenbau GmbH Industriestraße 8 70565 Stuttgart Deutschland",
        "API-Anfragen Die ersten 100.000 sind im Tarif enthalten 1.204.500 Anfragen 0,0025 € 3.011,25 €",
        "Zwischensumme 4.339,05 €",
        "USt. 19 % auf 4.339,05 € 824,42 €",
        "Gesamtbetrag 5.163,47 €",
        "Offener Betrag 5.163,47 €",
        "Zahlbar innerhalb von 30 Tagen.",
        "IBAN: DE02 1203 0000 0000 2020 51",
        "Verwendungszweck: RE-2026-0042",
        "Vielen Dank für Ihren Auftrag!",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("made", "parts"),
    [
        (samples.reverse_charge, ["Autoliquidation : la TVA est due par le preneur", "1 717,00 €", "TVA 0 %"]),
        (
            samples.spanish,
            ["PRIMAVERA20 (20 %): -39,20 €", "incluido IVA 21 % sobre 129,59 € 27,21 €", "Saldo a favor -50,00 €"],
        ),
        (samples.japanese, ["￥461,918", "￥0.25", "消費税 10%", "登録番号 T1234567890123", "東京都渋谷区"]),
        (samples.kuwaiti, ["KWD 84.255 due on April 15, 2026", "KWD 0.0375", "40.125 GB"]),
        (samples.american, ["San Francisco, CA 94104", "California state tax 6.25%", "-$1,197.76", "EIN 94-3128471"]),
        (samples.credit_note, ["Rechnungskorrektur", "RE-2026-0042 vom 1. April 2026", "Erstattet am 9. April 2026"]),
        (samples.receipt, ["Reçu", "294,00 € payés le 1er avril 2026", "Montant payé 294,00 €"]),
        (samples.void, ["STORNIERT", "Diese Rechnung ist storniert"]),
        (samples.tiers, ["100,001 to 1,000,000: €0.0010 each", "€0.000375"]),
        (samples.scripts, ["Not subject to VAT: the place of supply lies outside the country of the seller."]),
    ],
)
def test_each_kind_says_its_own(made: Any, parts: list[str]) -> None:
    text = said(made()).replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{NO-BREAK SPACE}", " ")
    assert [part for part in parts if part not in text] == []


def test_what_is_void_is_not_to_be_paid() -> None:
    text = said(samples.void())
    assert "IBAN" not in text
    assert "Offener Betrag" not in text


@pytest.mark.parametrize(("stamp", "word"), [(Stamp.COPY, "COPY"), (Stamp.DRAFT, "DRAFT"), (Stamp.PAID, "PAID")])
def test_a_stamp_that_is_asked_for_takes_the_documents_place(stamp: Stamp, word: str) -> None:
    paid = samples.american()
    assert word in said(paid, stamp=stamp)
    assert "PAID" in said(paid)


@pytest.mark.parametrize(
    ("terms", "shown"),
    [
        ("due_on_receipt", "Payable on receipt."),
        ("net_1", "Payable within one day."),
        ("net_15", "Payable within 15 days."),
        ("end_of_month", "Payable by the end of the month."),
        ("2% if paid by Friday", "2% if paid by Friday"),
    ],
)
def test_terms_are_words(terms: str, shown: str) -> None:
    assert shown in said(replace(samples.invoice(), terms=terms))


def test_nothing_left_to_pay_is_said() -> None:
    settled = added(replace(samples.invoice(), credits=(Amount("", samples.invoice().total_minor),)))
    assert "Nothing is left to be paid" in said(settled)
    assert "Credit -€5,753.71" in said(settled)
    assert "€5,753.71 due" in said(replace(samples.invoice(), due_on=None))


def test_an_exemption_that_names_no_reason_is_told_as_one() -> None:
    made = document(Kind.INVOICE, NORDLICHT, WEBER, ONE, taxes=(Tax("VAT", 4900, 0, category=TaxCategory.EXEMPT),))
    assert "Exempt from VAT." in said(made)
    assert "Exempt from VAT." not in said(replace(made, legal=("Exempt by § 4 No. 21 UStG.",)))


@pytest.mark.parametrize(
    ("kind", "label"), [("gb_vat", "VAT ID"), ("in_gst", "GSTIN"), ("zz_none", "Tax ID"), ("jp_trn", "登録番号")]
)
def test_tax_ids_have_their_names(kind: str, label: str) -> None:
    made = replace(samples.invoice(), buyer=replace(LOVELACE, tax_ids=(TaxId(kind, "X1"),)))
    assert f"{label} X1" in said(made)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (WEBER.address, ("Industriestraße 8", "70565 Stuttgart")),
        (LOVELACE.address, ("12 St James's Square", "London", "SW1Y 4LB")),
        (ACME.party.address, ("548 Market Street", "Suite 1200", "San Francisco, CA 94104")),
        (
            samples.SAKURA.address,
            ("〒100-6701", "東京都千代田区", "丸の内1丁目9番2号", "グラントウキョウサウスタワー 12階"),
        ),
        (
            Address(line1="1-9-2 Marunouchi", city="Chiyoda-ku", state="Tokyo", postal_code="100-6701", country="JP"),
            ("1-9-2 Marunouchi", "Chiyoda-ku, Tokyo 100-6701"),
        ),
        (
            Address(line1="中关村大街1号", city="北京市", postal_code="100080", country="CN"),
            ("100080", "北京市", "中关村大街1号"),
        ),
        (
            Address(line1="Váci út 1", city="Budapest", postal_code="1062", country="HU"),
            ("Budapest", "Váci út 1", "1062"),
        ),
        (
            Address(line1="Sheikh Zayed Rd 5", city="Dubai", postal_code="00000", country="AE"),
            ("Sheikh Zayed Rd 5", "00000", "Dubai"),
        ),
        (
            Address(line1="Somewhere 1", city="Town", state="West", postal_code="1", country="XX"),
            ("Somewhere 1", "1 Town", "West"),
        ),
        (Address(city="Town"), ("Town",)),
        (Address(), ()),
    ],
)
def test_an_address_is_written_as_its_country_writes_it(address: Address, told: tuple[str, ...]) -> None:
    assert rows(address) == told


def test_stripes_digits_are_written_and_nobodys_zeros() -> None:
    crowns = document(Kind.INVOICE, NORDLICHT, WEBER, (Line("Plan", 120_000),), currency="isk")
    assert PageWords(crowns).money(120_000) == "ISK\N{NO-BREAK SPACE}1,200"
    assert PageWords(replace(crowns, total_minor=120_050)).money(120_050) == "ISK\N{NO-BREAK SPACE}1,200.50"
    assert PageWords(replace(crowns, currency="huf", locale="de")).money(120_000) == "1.200,00\N{NO-BREAK SPACE}HUF"


def test_an_unknown_language_is_english() -> None:
    assert "Invoice number" in said(replace(samples.invoice(), locale="xx"))
    assert page_of(replace(samples.invoice(), locale="de-AT")).language == "de-AT"


def test_paper_is_the_sellers() -> None:
    assert page_of(samples.american()).stylesheet is STYLES["letter"]
    assert page_of(samples.german()).stylesheet is STYLES["A4"]


def test_the_same_document_gives_the_same_bytes() -> None:
    made = samples.german()
    assert request(made, ASSETS) == request(made, {**ASSETS, "other": b""})
    assert pdf_of(made) == pdf_of(made)


def test_a_logo_is_needed_and_shown() -> None:
    with pytest.raises(Refused, match="is not kept"):
        request(samples.german(), {})
    assert "data:image/png;base64," in page_of(samples.german()).html
    (name,) = ASSETS
    with pytest.raises(Refused, match="neither PNG nor JPEG nor GIF"):
        build(request(samples.german(), {name: b"<svg/>"}))


def test_what_is_no_document_is_refused() -> None:
    with pytest.raises(Refused, match="this is no document: Object missing required field `document`"):
        build(b"{}")


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in {"hostile", "long"}])
def test_a_page_is_read_back_as_it_was_meant(name: str, caplog: pytest.LogCaptureFixture) -> None:
    made = SAMPLES[name]()
    with heard(caplog):
        pdf = pdf_of(made)
    text = " ".join(texts(pdf))
    words = PageWords(made)
    for part in (made.number, words.money(made.total_minor), *(words.money(each.amount_minor) for each in made.lines)):
        assert " ".join(part.split()) in text
    assert ".notdef" not in caplog.text
    assert 0 not in glyphs(pdf)
    assert len(texts(pdf)) == 1


class heard:  # noqa: N801 - it reads as a sentence
    """What WeasyPrint says of glyphs, which the renderer keeps to itself."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self.logger = logging.getLogger("weasyprint")

    def __enter__(self) -> None:
        pdf_of(samples.receipt())  # the renderer sets the logger up
        self.logger.addHandler(self.caplog.handler)

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self.caplog.handler)


def test_a_missing_glyph_would_be_heard(caplog: pytest.LogCaptureFixture) -> None:
    with heard(caplog):
        pdf_of(replace(samples.receipt(), notes=("\N{PARTY POPPER} \U00016f00",)))
    assert ".notdef glyph rendered" in caplog.text


@pytest.mark.parametrize(("script", "name", "country"), SCRIPTS)
def test_names_of_all_scripts_are_written(
    script: str, name: str, country: str, caplog: pytest.LogCaptureFixture
) -> None:
    buyer = Party(name=name, address=Address(line1=name, city=name, country=country))
    made = replace(samples.receipt(), buyer=buyer, lines=(replace(samples.receipt().lines[0], description=name),))
    with heard(caplog):
        pdf = pdf_of(made)
    assert ".notdef" not in caplog.text
    assert 0 not in glyphs(pdf)
    assert all(name.startswith("Noto-Sans") for name in names_of(fonts(pdf)))
    if script in {"Latin", "Greek", "Cyrillic", "Chinese (simplified)", "Korean"}:
        assert " ".join(name.split()) in " ".join(texts(pdf))


def test_han_has_the_shapes_of_its_country() -> None:
    faces = {
        country: names_of(fonts(pdf_of(replace(samples.receipt(), buyer=Party("骨直", Address(country=country))))))
        for country in ("CN", "TW", "HK", "KR", "JP", "FR")
    }
    assert {country: {name for name in names if "CJK" in name} for country, names in faces.items()} == {
        "CN": {"Noto-Sans-CJK-SC-Bold"},
        "TW": {"Noto-Sans-CJK-TC-Bold"},
        "HK": {"Noto-Sans-CJK-HK-Bold"},
        "KR": {"Noto-Sans-CJK-KR-Bold"},
        "JP": {"Noto-Sans-CJK-JP-Bold"},
        "FR": {"Noto-Sans-CJK-JP-Bold"},
    }


def test_a_latin_page_embeds_two_fonts_and_only_what_it_shows() -> None:
    found = fonts(pdf_of(samples.invoice()))
    assert names_of(found) == {"Noto-Sans", "Noto-Sans-Bold"}
    assert all(len(font) < 40_000 and outlines(font) > 10 for font in found.values())


def test_large_amounts_stay_whole() -> None:
    lines = (line("Licence", "1", "98765432123"), line("Support", "12.5", "123456789.125"))
    made = document(
        Kind.INVOICE, NORDLICHT, WEBER, lines, currency="kwd", locale="de", taxes=(rate("USt.", "19", lines),)
    )
    text = " ".join(texts(pdf_of(made)))
    for amount in ("98.765.432,123 KWD", "123.456,789125 KWD", "1.543.209,864 KWD", "119.367.283,965 KWD"):
        assert text.count(amount) >= 1 + (amount == "98.765.432,123 KWD")
    assert text.count("KWD") == text.count(" KWD")


DARK = 60
"""Darker than a watermark."""


def margins(pdf: bytes) -> list[tuple[int, int]]:
    """The ink within 12 mm of the left and of the right edge of each page, in pixels."""
    found: list[tuple[int, int]] = []
    for picture in pictures(pdf):
        ink = ImageChops.invert(picture)
        width = round(12 / 25.4 * 36)
        sides = (ink.crop((0, 0, width, ink.height)), ink.crop((ink.width - width, 0, ink.width, ink.height)))
        left, right = (sum(side.histogram()[DARK:]) for side in sides)
        found.append((left, right))
    return found


def test_hostile_text_is_shown_and_stays_within_the_page(caplog: pytest.LogCaptureFixture) -> None:
    made = samples.hostile()
    page = page_of(made)
    assert "<img src=" not in page.html.replace('<img class="logo" src="data:', "").replace('<img src="data:', "")
    assert "{{ 7*7 }}" in page.html
    assert clean(page.html) == page.html
    with heard(caplog):
        pdf = pdf_of(made)
    assert ".notdef" not in caplog.text
    assert set(margins(pdf)) == {(0, 0)}
    text = " ".join(texts(pdf))
    assert text.count("long text") > 900
    assert "COPY" in text


LETTERS = st.text(st.characters(codec="utf-8"), max_size=60)


@given(LETTERS, LETTERS, LETTERS)
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_makes_a_page(name: str, description: str, note: str) -> None:
    made = replace(
        samples.receipt(),
        buyer=Party(name=name, address=Address(line1=note, city=description, country="JP")),
        lines=(replace(samples.receipt().lines[0], description=description, details=(note,)),),
        notes=(note,),
        number=name,
    )
    assert pdf_of(made).startswith(b"%PDF")


def test_hundreds_of_lines_repeat_the_head_and_count_pages() -> None:
    pages = texts(pdf_of(samples.long(210)))
    assert len(pages) > 4
    for number, text in enumerate(pages, start=1):
        assert f"Page {number} of {len(pages)}" in text
        assert "Description Quantity Unit price Amount" in text
        assert ("Invoice RE-2026-0046" in text) is (number > 1)
    assert "Device 0210" in pages[-1]


def test_the_sums_never_stand_without_the_last_line() -> None:
    """Whatever number of lines fills the page, the last stands with the sums."""
    split = 0
    for count in range(14, 30):
        lines = tuple(line(f"Line {number:02}", "1", "1000") for number in range(count))
        pages = texts(pdf_of(document(Kind.INVOICE, NORDLICHT, WEBER, lines, taxes=(rate("VAT", "19", lines),))))
        (last,) = [text for text in pages if "Amount due" in text]
        assert f"Line {count - 1:02}" in last
        assert "Subtotal" in last
        split += len(pages) - 1
    assert split > 0


def test_a_page_is_dated_by_the_document() -> None:
    page = page_of(replace(samples.german(), issued_on=date(2026, 4, 1)))
    assert page.created.isoformat() == "2026-04-01T00:00:00+02:00"
    assert page.title == "Rechnung RE-2026-0042"
    assert page.author == "Nordlicht Software GmbH"
