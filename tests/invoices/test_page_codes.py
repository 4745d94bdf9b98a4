"""Codes are read from the printed page, and say what is to be paid."""

import base64
import io
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image, ImageOps

from jobs.invoices import samples
from jobs.invoices.document import Bank, Document
from jobs.invoices.page_codes import code, transfer
from jobs.invoices.samples_parts import NORDLICHT, PAY
from tests.invoices.pages import pdf_of, pictures

zxing: Any = import_module("zxingcpp")


def read(picture: Image.Image) -> list[str]:
    """What the codes of a picture say, from top to bottom."""
    found = sorted(zxing.read_barcodes(picture), key=lambda each: each.position.top_left.y)
    return [each.text for each in found]


def test_a_camera_reads_both_codes_from_the_page() -> None:
    (picture,) = pictures(pdf_of(samples.german()), scale=1.5)
    link, order = read(picture)
    assert link == PAY
    assert order.split("\n") == [
        "BCD",
        "002",
        "1",
        "SCT",
        "BYLADEM1001",
        "Nordlicht Software GmbH",
        "DE02120300000000202051",
        "EUR5163.47",
        "",
        "",
        "RE-2026-0042",
    ]


def banked(bank: Bank | None, **changes: Any) -> Document:
    return replace(samples.german(), seller=replace(NORDLICHT, bank=bank), **changes)


IBAN = "DE02 1203 0000 0000 2020 51"


def test_a_transfer_keeps_to_its_lines_and_lengths() -> None:
    order = transfer(banked(Bank(holder="N" * 99 + "\nEUR1.00", iban=IBAN), number="1\n" + "2" * 200, due_minor=7))
    assert order is not None
    fields = order.split("\n")
    assert len(fields) == 11
    assert fields[4:8] == ["", "N" * 70, "DE02120300000000202051", "EUR0.07"]
    assert len(fields[10]) == 140


@pytest.mark.parametrize(
    "made",
    [
        banked(None),
        banked(Bank(holder="N", account="1")),
        banked(Bank(holder="N", iban=IBAN), currency="usd"),
        banked(Bank(holder="N", iban=IBAN), due_minor=0),
        banked(Bank(holder="N", iban=IBAN), due_minor=10**11),
    ],
)
def test_what_sepa_cannot_carry_has_no_code(made: Document) -> None:
    assert transfer(made) is None


def test_what_is_too_long_for_a_camera_has_no_code() -> None:
    assert code("https://example.com/" + "x" * 500) is None
    long = replace(samples.german(), pay_url="https://example.com/" + "x" * 500)
    (picture,) = pictures(pdf_of(long), scale=1.5)
    assert len(read(picture)) == 1


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=400))
@settings(max_examples=50, deadline=None)
def test_whatever_the_mask_a_code_is_read(path: str) -> None:
    url = f"https://pay.example/{path}"
    written = code(url)
    assert written is not None
    picture = Image.open(io.BytesIO(base64.b64decode(written.partition(",")[2]))).convert("L")
    assert read(ImageOps.expand(picture, 24, 255)) == [url]
