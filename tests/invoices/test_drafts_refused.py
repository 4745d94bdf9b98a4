"""A draft that could never be rendered, stored or mailed takes no number, and keeps no other from being issued."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from jobs.invoices.document import Address, Amount, Document, Party, Period, TaxCategory, TaxId
from jobs.invoices.drafts import Draft, DraftDiscount, DraftLine, DraftTax, read_draft
from jobs.invoices.issue import Issued
from jobs.invoices.mailable import unmailable
from jobs.invoices.page import build, request
from jobs.invoices.void import void
from tests.conftest import MovedClock
from tests.invoices.office import GRACE, Office, draft
from tests.invoices.pages import renderer
from worker.errors import Refused

UK = Address("1 High St", city="Leeds", country="GB")
NAIVE = datetime(2026, 11, 1)  # noqa: DTZ001 - what is to be refused


@pytest.fixture
def office(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Office:
    return Office(engine, clock, tmp_path)


def line(**changes: Any) -> DraftLine:
    return msgspec.structs.replace(DraftLine("thing", amount_minor=100), **changes)


def priced(quantity: object, price: object = 1) -> Draft:
    return draft(
        lines=(line(amount_minor=None, quantity=Decimal(str(quantity)), unit_price_minor=Decimal(str(price))),)
    )


def with_factur_x(office: Office) -> None:
    file = office.folder / "sellers.toml"
    file.write_text(file.read_text().replace('terms = "net_15"', 'terms = "net_15"\nfactur_x = true'))


BAD: dict[str, tuple[Draft, str]] = {
    "U+0000": (draft(lines=(line(description="a\0b"),)), r"lines\[0\]\.description: holds a character"),
    "a surrogate": (draft(memo="a\ud800b"), "memo: holds a character"),
    "a surrogate deep within": (
        draft(buyer=Party("A", tax_ids=(TaxId("eu_vat", "DE\udc00"),))),
        r"buyer\.tax_ids\[0\]\.value: holds a character",
    ),
    "a product": (priced(10**15, 10**15), r"lines\[0\] comes to 10{30}, which is beyond"),
    "a sum": (draft(lines=(line(amount_minor=10**15),) * 2), "subtotal comes to 20{15}, which is beyond"),
    "a total": (draft(lines=(line(amount_minor=10**15),)), "total comes to 120{14}, which is beyond"),
    "a credit": (draft(credits=(Amount("c", -(10**30)),)), r"credits\[0\]\.minor: "),
    "credits": (draft(credits=(Amount("c", -(10**15)),) * 2), "credits comes to -20{15}, which is beyond"),
    "nobody": (draft(user_id=4711), "user_id: there is no customer 4711"),
    "a user beyond all": (draft(user_id=2**63), "user_id: "),
    "naive and aware": (draft(period=Period(NAIVE, datetime(2026, 12, 1, tzinfo=UTC))), r"period\.start: .*timezone"),
    "naive": (draft(period=Period(NAIVE, NAIVE + timedelta(days=30))), r"period\.start: .*timezone"),
    "naive in a line": (
        draft(lines=(line(period=Period(NAIVE, NAIVE + timedelta(days=1))),)),
        r"lines\[0\]\.period\.start: .*timezone",
    ),
    "an early period": (
        draft(period=Period(datetime(1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))),
        "period: lies outside of the years 2000 to 2200",
    ),
    "a late period": (
        draft(lines=(line(period=Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))),)),
        r"lines\[0\]\.period: lies outside",
    ),
    "a link": (draft(pay_url="https://["), "pay_url is 'https://"),
    "a link that ends its line": (draft(pay_url="https://pay.example/x\n"), "pay_url: "),
    "a discount that is no number": (
        draft(discounts=(DraftDiscount("x", percent=Decimal("NaN")),)),
        r"discounts\[0\]\.percent is no number",
    ),
    "a tax that is no number": (draft(taxes=(DraftTax("x", Decimal("sNaN")),)), r"taxes\[0\]\.percent is no number"),
    "a bomb": (priced("1e99999999"), r"lines\[0\]\.quantity is beyond"),
    "a small bomb": (priced(1, "1e-99999999"), r"unit_price_minor has more than 12 decimal places"),
    "a bomb beside an amount": (draft(lines=(line(quantity=Decimal("1e99999999")),)), "quantity is beyond"),
    "a bomb of a rate": (draft(taxes=(DraftTax("x", Decimal("1e-99999999")),)), "percent has more than 12"),
    "a long description": (draft(lines=(line(description="x" * 2_001),)), r"lines\[0\]\.description: "),
    "a long name": (draft(buyer=Party("x" * 201)), r"buyer\.name: "),
    "a long note": (draft(notes=("x" * 5_001,)), r"notes\[0\]: "),
    "many lines": (draft(lines=(line(),) * 5_001), "lines: "),
    "a name of nothing": (draft(buyer=Party("\u200b")), r"buyer\.name is empty"),
    "a description of nothing": (draft(lines=(line(description="\u200b "),)), r"lines\[0\]\.description is empty"),
    "a currency that Stripe has not": (draft(currency="xau"), "currency: 'xau' is none that Stripe can be paid in"),
    "a currency that ends its line": (draft(currency="eur\n"), "currency: "),
    "a text that is none": (draft(memo=7), "memo: expected `str"),
    "no type of ours": (draft(memo=object()), "the draft cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
async def test_one_bad_draft_is_refused_and_the_others_are_issued(office: Office, name: str) -> None:
    bad, said = BAD[name]
    one, refused, two = await office.issue_many([draft(), bad, draft()])
    assert isinstance(refused, Refused)
    with pytest.raises(Refused, match=said):
        raise refused
    assert isinstance(one, Issued)
    assert isinstance(two, Issued)
    assert [one.number, two.number] == ["API-202603-0001", "API-202603-0002"]


@pytest.mark.parametrize("value", [{"quantity": "1e99999999", "unit_price_minor": "1"}, {"quantity": "1e99999999"}])
def test_a_number_bomb_is_refused_at_once(value: dict[str, str]) -> None:
    raw = {"kind": "manual", "currency": "eur", "buyer": {"name": "A"}, "lines": [{"description": "x", **value}]}
    code = (
        "import sys, datetime, resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from jobs.invoices.issue import preview; from jobs.invoices.drafts import read_draft\n"
        "from jobs.invoices.sellers import sellers_from\n"
        "from worker.errors import Refused; from worker.settings import Settings\n"
        "now = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)\n"
        "try: preview(read_draft(sys.argv[1].encode()), sellers_from(Settings()), now=now)\n"
        "except Refused as refused: print(refused.reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(raw)], capture_output=True, timeout=60, check=True)
    assert b"lines[0].quantity is beyond 1000000000000000" in done.stdout


# --- what took a number can be rendered ---


async def renders(office: Office, issued: Issued) -> bytes:
    """The XML or the PDF, as the child process makes it. Raises Refused where a number was spent on nothing."""
    stored = await office.document(issued)
    async with office.engine.connect() as conn:
        pictures = await documents.assets(conn, [])
    page = build(request(msgspec.convert(stored.content, Document), pictures))
    return page.attachments[0].data if page.attachments else renderer().render(page)


SENDABLE = Party("A", UK)


@pytest.mark.parametrize("x", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"buyer": Party("A", Address(country="Germany"))},
        {"buyer": Party("A", Address(country=" "))},
        {"buyer": Party("A", Address(country="\u200b"))},
        {"buyer": Party("A", Address(country="D\u0007"))},
        {"buyer": Party("A", Address(country="ZZ"))},
        {"buyer": Party("A", Address(country="\u200bgb "))},
        {"buyer": Party("A", UK, email="a@b.c\x07")},
        {"buyer": Party("A", UK, email="\u200b"), "mail": False},
        {"buyer": Party("A", UK, tax_ids=(TaxId("eu_vat", "DE\x07123"),))},
        {"buyer": Party("A", UK, tax_ids=(TaxId("eu_vat", "\u200b"),))},
        {"buyer": Party("A", UK, tax_ids=(TaxId("eu_vat", "XX123"),)), "taxes": (DraftTax("VAT", Decimal(0)),)},
        {"lines": (line(amount_minor=None, quantity=Decimal(0), unit_price_minor=Decimal(100)), line())},
        {"lines": (line(amount_minor=-50), line())},
        {"lines": (line(amount_minor=None, quantity=Decimal("1e-12"), unit_price_minor=Decimal("1e15")),)},
        {"period": Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 12, 31, 23, 59, tzinfo=UTC))},
    ],
)
async def test_what_took_a_number_can_be_rendered(office: Office, changes: dict[str, Any], *, x: bool) -> None:
    if x:
        with_factur_x(office)
    (answer,) = await office.issue_many([msgspec.structs.replace(draft(buyer=SENDABLE), **changes)])
    if isinstance(answer, Issued):
        assert await renders(office, answer)
    else:
        assert await office.query("SELECT 1 FROM invoice_series") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"buyer": Party("A", Address(country="Germany"))}, "buyer: 'GERMANY' is no country"),
        ({"buyer": Party("A", Address(country="ZZ"))}, "buyer: 'ZZ' is no country"),
        ({"buyer": Party("A", Address(country="\u200b"))}, "buyer: the address has no country"),
        (
            {
                "buyer": Party("A", UK, tax_ids=(TaxId("eu_vat", "XX123"),)),
                "taxes": (DraftTax("VAT", Decimal(0), category=TaxCategory.REVERSE_CHARGE),),
            },
            "BR-AE-2",
        ),
        (
            {
                "taxes": (DraftTax("A", Decimal(19)), DraftTax("B", Decimal("19.0"))),
                "lines": (line(taxes=(0,)), line(taxes=(1,))),
            },
            r"taxes\[1\]: has the category and the rate of another.*BR-S-8",
        ),
    ],
)
async def test_what_breaks_en_16931_takes_no_number(office: Office, changes: dict[str, Any], said: str) -> None:
    with_factur_x(office)
    with pytest.raises(Refused, match=said):
        await office.issue(draft(**changes))
    assert await office.query("SELECT 1 FROM invoice_series") == []


async def test_a_standard_rate_of_nothing_is_category_z(office: Office) -> None:
    with_factur_x(office)
    issued = await office.issue(draft(taxes=(DraftTax("VAT", Decimal(0)),)))
    tree: Any = import_module("lxml.etree").fromstring(await renders(office, issued))
    found = {each.text for each in tree.iter("{*}CategoryCode")}
    assert found == {"Z"}


@pytest.mark.parametrize(
    "email",
    [
        "",
        "nobody",
        "@b.c",
        "a@",
        "a@b.c\nBcc: x@y.z",
        "a@b.c, d@e.f",
        "gr@ce@h.e",
        "x" * 65 + "@h.e",
        "a b@c.d",
        "a@b..c",
    ],
)
async def test_an_address_that_no_letter_can_go_to_takes_no_number(office: Office, email: str) -> None:
    with pytest.raises(Refused, match=r"buyer\.email: "):
        await office.issue(draft(buyer=Party("A", UK, email=email)))
    assert await office.query("SELECT 1 FROM invoice_series") == []
    unsent = draft(buyer=Party("A", UK, email=email), mail=False)
    assert (await office.issue(unsent)).number == "API-202603-0001", "nobody is to have a letter"


@pytest.mark.parametrize("email", ["grace@hopper.example", "Grace.Hopper+x@bücher.example"])
def test_an_address_that_letters_reach(email: str) -> None:
    assert unmailable(email) is None


# --- the same key ---


async def test_the_same_key_over_another_total_is_refused_with_both(office: Office) -> None:
    first = await office.issue(draft("partner/a"))
    other = draft("partner/a", lines=(line(amount_minor=99_900),))
    with pytest.raises(Refused, match=rf"was invoiced as {first.number} over 120\.00 GBP, and not over 1,198\.80 GBP"):
        await office.issue(other)
    with pytest.raises(Refused, match=r"over 120\.00 GBP, and not over 120\.00 EUR"):
        await office.issue(draft("partner/a", currency="eur"))
    one, two, same = await office.issue_many(
        [draft("partner/b"), msgspec.structs.replace(other, key="partner/b"), draft("partner/b")]
    )
    assert isinstance(one, Issued)
    assert isinstance(two, Refused)
    assert same == one
    assert (await office.document(one)).total_cents == 12_000, "the first of a batch is what was asked for"


async def test_what_was_voided_can_be_invoiced_anew(office: Office) -> None:
    first = await office.issue(draft("partner/a/2026-02"))
    async with office.deps.tx() as tx:
        await void(tx, first.invoice_id, reason="wrong price")
    again = await office.issue(draft("partner/a/2026-02", lines=(line(amount_minor=5_000),)))
    assert again.new
    assert (again.number, (await office.document(again)).total_cents) == ("API-202603-0002", 6_000)


async def test_series_that_met_since_are_named(office: Office) -> None:
    """The sellers file is sound at each time: it was changed between."""
    file = office.folder / "sellers.toml"
    whole = file.read_text()
    file.write_text(f'{whole}\n[series.a]\nformat = "R-{{year}}-{{number}}"\n')
    await office.issue(draft(series="a"))
    file.write_text(f'{whole}\n[series.b]\nformat = "R-{{year}}-{{number}}"\n')
    with pytest.raises(Refused, match="R-2026-1 of series b was given out in series a: change the format"):
        await office.issue(draft(series="b"))


async def test_a_customer_is_known(office: Office) -> None:
    await office.execute("INSERT INTO users (stripe_customer_id) VALUES ('cus_1')")
    (user,) = await office.query("SELECT id FROM users")
    issued = await office.issue(draft(user_id=user["id"], buyer=GRACE))
    assert (await office.document(issued)).user_id == user["id"]


def test_a_file_is_held_to_the_same_limits() -> None:
    raw = {"kind": "manual", "currency": "eur", "buyer": {"name": "A"}, "lines": [{"description": "x" * 2_001}]}
    with pytest.raises(Refused, match=r"lines\[0\]\.description: expected `str` of length <= 2000"):
        read_draft(json.dumps(raw).encode())
