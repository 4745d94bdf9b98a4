"""Credit notes of ours: numbered without gaps, frozen, never more than the invoice, and the money goes somewhere."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import numbering
from jobs.invoices.credit_note import Credited, PaidOut
from jobs.invoices.credit_note_parts import LinePart
from jobs.invoices.document import Document, Kind
from jobs.invoices.drafts import DraftDiscount, DraftLine, DraftTax
from jobs.invoices.facturx import obstacles
from jobs.invoices.issue import Issued
from jobs.invoices.void import void
from jobs.rules.documents import problems
from tests.conftest import MovedClock
from tests.invoices.office import GRACE, VAT, draft
from tests.partners.money_kit import Firm
from worker.errors import Refused

SENT = PaidOut("bank_transfer", "out 1")


@pytest.fixture
async def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    made = Firm(engine, clock, tmp_path)
    await made.contract()
    return made


async def notes(firm: Firm) -> list[dict[str, Any]]:
    return await firm.query("SELECT * FROM credit_notes ORDER BY id")


async def test_the_whole_invoice_is_given_back(firm: Firm) -> None:
    issued = await firm.bill(discounts=(DraftDiscount("Friends", percent=Decimal(10)),))
    made = await firm.credit(issued)
    assert (made.number, made.total, made.set_off, made.kept) == ("CN-2026-0001", 10_800, 10_800, 0)
    assert await firm.stands(issued) == ("paid", 0, 10_800, 0)
    (row,) = await notes(firm)
    assert {name: row[name] for name in ("number", "type", "total_cents", "tax_cents", "discount_cents", "memo")} == {
        "number": "CN-2026-0001",
        "type": "pre_payment",
        "total_cents": 10_800,
        "tax_cents": 1_800,
        "discount_cents": 1_000,
        "memo": "an outage",
    }
    stored = await firm.get(made.document_id)
    says = msgspec.convert(stored.content, Document)
    invoice = msgspec.convert((await firm.document(issued)).content, Document)
    assert (says.kind, says.reference and says.reference.number, says.due_minor) == (Kind.CREDIT_NOTE, issued.number, 0)
    assert (says.lines, says.taxes, says.discounts) == (invoice.lines, invoice.taxes, invoice.discounts)
    assert problems(says) == []
    with pytest.raises(Refused, match="all of it was credited before"):
        await firm.credit(issued)
    await firm.work()
    assert (await firm.get(made.document_id)).status == "stored"
    letters = {row["template"]: row for row in await firm.letters()}
    assert set(letters) == {"partner_invoice", "credit_note"}
    told = letters["credit_note"]
    assert (told["document_ids"], told["recipient"], told["status"]) == ([made.document_id], GRACE.email, "sent")
    context = told["context"]
    assert (context["number"], context["invoice"]) == ("CN-2026-0001", issued.number)
    assert (context["set_off"], context["kept"]) == ({"amount": 10_800, "currency": "gbp"}, None)


async def test_parts_take_off_what_is_due_then_come_back_as_credits(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 8_000)
    first = await firm.credit(issued, 3_000)
    assert (first.set_off, first.kept, await firm.stands(issued)) == (3_000, 0, ("open", 8_000, 3_000, 1_000))
    says = first.says
    assert [(line.description, line.amount_minor) for line in says.lines] == [
        ("Gutschrift zur Rechnung API-202603-0001", 2_500)
    ]
    assert (says.tax_minor, says.taxes[0].percent, says.total_minor) == (500, "20", 3_000)
    second = await firm.credit(issued, 4_000)
    assert (second.set_off, second.kept) == (1_000, 3_000)
    assert [(each.name, each.minor) for each in second.says.credits] == [
        ("Mit dem offenen Betrag verrechnet", 1_000),
        ("Ihrem Konto gutgeschrieben", 3_000),
    ]
    assert await firm.stands(issued) == ("paid", 8_000, 4_000, 0)
    assert await firm.credits() == [("refund", 3_000, 3_000)]
    assert [row["type"] for row in await notes(firm)] == ["pre_payment", "mixed"]
    with pytest.raises(Refused, match=r"50\.01 GBP is more than the 50\.00 GBP left"):
        await firm.credit(issued, 5_001)
    last = await firm.credit(issued, paid_out=SENT)
    assert (last.total, last.paid_out, last.kept) == (5_000, 5_000, 0)
    assert [(each.amount_minor, each.reference) for each in last.says.payments] == [(5_000, "out 1")]
    row = await firm.invoice_row(issued)
    assert (row["pre_payment_credit_cents"], row["post_payment_credit_cents"]) == (4_000, 8_000)
    assert sum(one["tax_cents"] for one in await notes(firm)) == 2_000, "all of the tax, to the cent"


async def test_notes_of_a_seller_with_factur_x_have_their_xml(firm: Firm) -> None:
    file = firm.folder / "sellers.toml"
    file.write_text(file.read_text().replace('terms = "net_15"', 'terms = "net_15"\nfactur_x = true'))
    lines = (DraftLine("API calls", amount_minor=10_003, taxes=(0,)), DraftLine("Books", amount_minor=99, taxes=(1,)))
    issued = await firm.bill(lines=lines, taxes=(VAT, DraftTax("Reduced", Decimal(7))))
    for amount in (4_001, 1, 3_333, None):
        says = (await firm.credit(issued, amount)).says
        assert (says.seller.factur_x, says.without_factur_x) == (True, ())
        assert obstacles(says) == []


async def test_what_credits_paid_goes_back_to_credits_of_their_kind_and_end(firm: Firm) -> None:
    await firm.grant(2_000, "promotional", days=30)
    await firm.grant(1_000, "goodwill")
    issued = await firm.bill()
    await firm.paid(issued, 9_000)
    with pytest.raises(Refused, match=r"more than the 120\.00 GBP"):
        await firm.credit(issued, 12_001)
    made = await firm.credit(issued, 9_500)
    assert (made.kept, len(made.credit_ids)) == (9_500, 2)
    assert (await firm.credits())[2:] == [("refund", 9_000, 9_000), ("goodwill", 500, 500)]
    await firm.credit(issued)
    assert (await firm.credits())[4:] == [("goodwill", 500, 500), ("promotional", 2_000, 2_000)]
    ends = await firm.query("SELECT DISTINCT expires_at FROM credits WHERE kind = 'promotional'")
    assert len(ends) == 1, "it ends when it would have"


async def test_lines_are_given_back_with_their_own_tax(firm: Firm) -> None:
    lines = (
        DraftLine("API calls", amount_minor=10_000, taxes=(0,)),
        DraftLine("Books", amount_minor=1_000, taxes=(1,)),
        DraftLine("Stamps", amount_minor=70, taxes=()),
    )
    issued = await firm.bill(lines=lines, taxes=(VAT, DraftTax("Reduced", Decimal(7))))
    made = await firm.credit(issued, lines=[LinePart(2), LinePart(1, 3_333)])
    shown = [(line.description, line.amount_minor) for line in made.says.lines]
    assert shown == [("Books", 1_000), ("API calls", 3_333)]
    assert [(tax.name, tax.taxable_minor, tax.amount_minor) for tax in made.says.taxes] == [
        ("VAT", 3_333, 667),
        ("Reduced", 1_000, 70),
    ]
    assert made.total == 3_333 + 667 + 1_070
    with pytest.raises(Refused, match=r"line 2: 0\.01 GBP is not above 0 and at most the 0\.00 GBP"):
        await firm.credit(issued, lines=[LinePart(2, 1)])
    with pytest.raises(Refused, match="line 4: is none: the invoice has 3"):
        await firm.credit(issued, lines=[LinePart(4)])
    with pytest.raises(Refused, match="line 1: comes twice"):
        await firm.credit(issued, lines=[LinePart(1, 5), LinePart(1, 5)])
    rest = await firm.credit(issued)
    assert made.total + rest.total == 12_000 + 1_070 + 70
    assert sum(row["tax_cents"] for row in await notes(firm)) == 2_070


async def test_what_cannot_be_credited_takes_no_number(firm: Firm) -> None:
    issued = await firm.bill()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"amount": 0}, "0.00 GBP is not above 0|comes to 0"),
        ({"amount": 5, "lines": [LinePart(1)]}, "not both"),
        ({"paid_out": SENT}, "no money came"),
    ]
    for wrong, said in refused:
        with pytest.raises(Refused, match=said):
            await firm.credit(issued, **wrong)
    async with firm.deps.tx() as tx:
        await void(tx, issued.invoice_id, reason="wrong")
    with pytest.raises(Refused, match="is void: there is nothing to credit"):
        await firm.credit(issued)
    nobodys = await firm.bill(api_key_prefix=None, kind="manual")
    await firm.paid(nobodys, 12_000)
    with pytest.raises(Refused, match="--paid-out"):
        await firm.credit(nobodys)
    assert await notes(firm) == []
    assert (await firm.credit(nobodys, paid_out=SENT)).number == "CN-2026-0001"


async def test_an_invoice_with_a_credit_note_is_not_voided(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.credit(issued, 100)
    with pytest.raises(Refused, match="CN-2026-0001: credit the rest"):
        async with firm.deps.tx() as tx:
            await void(tx, issued.invoice_id, reason="wrong")


async def test_many_at_once_leave_no_gap_and_never_give_back_more(firm: Firm) -> None:
    invoices = [await firm.bill() for _ in range(3)]

    async def one(issued: Issued) -> Credited | Refused:
        try:
            return await firm.credit(issued, 5_000)
        except Refused as refused:
            return refused

    done = await asyncio.gather(*(one(issued) for issued in invoices for _ in range(4)))
    numbers = sorted(each.number for each in done if isinstance(each, Credited))
    assert numbers == [f"CN-2026-{n:04}" for n in range(1, 7)], "two of each invoice's four fit"
    for issued in invoices:
        assert await firm.stands(issued) == ("open", 0, 10_000, 2_000)
    async with firm.engine.connect() as conn:
        assert await numbering.uneven(conn) == []


async def test_a_series_of_the_sellers_file(firm: Firm) -> None:
    file = firm.folder / "sellers.toml"
    file.write_text(f'{file.read_text()}\n[series.credit_note]\nformat = "GS-{{year}}-{{number:05}}"\n')
    assert (await firm.credit(await firm.bill())).number == "GS-2026-00001"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE credit_notes SET total_cents = 1", "neither changed nor removed"),
        ("UPDATE credit_notes SET number = 'X'", "neither changed nor removed"),
        ("DELETE FROM credit_notes", "neither changed nor removed"),
        ("TRUNCATE credit_notes", "not by TRUNCATE either"),
        ("UPDATE invoice_series SET next_number = 3 WHERE series = 'credit_note'", "2 numbers are counted"),
    ],
)
async def test_postgresql_itself_keeps_what_was_issued(firm: Firm, change: str, said: str) -> None:
    await firm.credit(await firm.bill(), 100)
    with pytest.raises(IntegrityError, match=said):
        await firm.execute(change)


async def test_a_note_beside_its_series_is_found(firm: Firm) -> None:
    await firm.credit(await firm.bill(), 100)
    await firm.execute(
        "INSERT INTO credit_notes (invoice_id, number, series, stripe_created_at)"
        " SELECT id, 'X', 'credit_note', finalized_at FROM invoices"
    )
    async with firm.engine.connect() as conn:
        (found,) = await numbering.uneven(conn)
    assert (found.series, found.taken, found.issued) == ("credit_note", 1, 2)


amounts = st.lists(st.integers(1, 9_000), max_size=5)
prices = st.lists(st.tuples(st.integers(1, 5_000), st.sampled_from([(0,), (1,), ()])), min_size=1, max_size=4)


@given(prices, amounts, st.integers(0, 12_000), st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_notes_add_up_whatever_is_credited(
    firm: Firm,
    lines: list[tuple[int, tuple[int, ...]]],
    wanted: list[int],
    paid: int,
    contained: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    rates = (DraftTax("VAT", Decimal(19), inclusive=contained), DraftTax("Low", Decimal(7), inclusive=contained))
    borne = {tax for _, taxes in lines for tax in taxes}
    used = [rates[tax] for tax in sorted(borne)]
    places = {tax: place for place, tax in enumerate(sorted(borne))}
    made = tuple(
        DraftLine(f"line {n}", amount_minor=minor, taxes=tuple(places[tax] for tax in taxes))
        for n, (minor, taxes) in enumerate(lines)
    )
    issued = await firm.issue(draft(api_key_prefix="hopper", lines=made, taxes=tuple(used)))
    whole = await firm.invoice_row(issued)
    total = whole["total_cents"]
    if paid:
        await firm.paid(issued, min(paid, total))
    given_back = tax = 0
    for amount in wanted:
        if amount > total - given_back:
            break
        try:
            note = await firm.credit(issued, amount)
        except Refused as refused:
            assert "too little" in refused.reason  # noqa: PT017 - whether it comes to that is up to the example
            continue
        assert (note.total, problems(note.says)) == (amount, [])
        given_back, tax = given_back + amount, tax + note.says.tax_minor
        await firm.stands(issued)
    if given_back < total:
        note = await firm.credit(issued)
        given_back, tax = given_back + note.total, tax + note.says.tax_minor
    assert (given_back, tax) == (total, whole["tax_cents"])
    assert (await firm.stands(issued))[3] == 0


async def test_lines_of_a_capped_invoice_are_refused_with_the_true_reason(firm: Firm) -> None:
    """Lines of 100.00 and 20.00, and a cap that takes 70.00 off them."""
    capped = (
        DraftLine("Requests", amount_minor=10_000),
        DraftLine("Deeds", amount_minor=2_000),
        DraftLine("Cap of £50.00", amount_minor=-7_000),
    )
    issued = await firm.bill(lines=capped)
    with pytest.raises(
        Refused, match=r"line 1: 100\.00 GBP is more than the 50\.00 GBP left: the invoice takes 70\.00"
    ):
        await firm.credit(issued, lines=[LinePart(1)])
    made = await firm.credit(issued, lines=[LinePart(2)])
    assert made.total == 2_400
    with pytest.raises(
        Refused, match=r"left: the invoice takes 70\.00 GBP \(Cap of £50\.00\) off its lines\. Credit an"
    ):
        await firm.credit(issued, lines=[LinePart(1, 3_001)])
    assert (await firm.credit(issued, lines=[LinePart(1, 3_000)])).total == 3_600
