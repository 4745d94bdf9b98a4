"""Where it is switched on, Stripe's invoices, credit notes and payments are each written once, whatever comes twice."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from intake.invoices import story
from tests.conftest import MovedClock
from tests.invoices.stripe_desk import StripeDesk
from tests.invoices.stripes import AT, a_charge, a_line, a_rate, a_tax, an_invoice
from tests.invoices.test_from_stripe_other import a_note
from worker.adapters.storage import storage

PAID = {
    "status": "paid",
    "amount_paid": 10_000,
    "amount_remaining": 0,
    "status_transitions": {"finalized_at": AT, "paid_at": AT + 60},
}


@pytest.fixture
def desk(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> StripeDesk:
    return StripeDesk(engine, clock, tmp_path)


def keys(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["key"], one["status"]) for one in found]


async def test_a_finalized_invoice_is_written_and_stored_once(desk: StripeDesk) -> None:
    desk.stripe.holds["invoices/in_1"] = an_invoice()
    await desk.tell("invoice.finalized", an_invoice(), event_id="evt_1")
    await desk.tell("invoice.finalized", an_invoice(), event_id="evt_2")
    assert await desk.query("SELECT name, staged_by FROM jobs") == [
        {"name": "write_stripe_document", "staged_by": "evt_1"}
    ]
    await desk.work()
    (row,) = await desk.documents()
    assert keys([row]) == [("invoice/in_1", "stored")]
    named = ("number", "kind", "currency", "total_cents", "stripe_invoice_id", "stripe_object_id", "locale")
    assert [row[name] for name in named] == ["A-0001", "invoice", "eur", 10_000, "in_1", "in_1", "en"]
    assert (await storage(None, desk.home).read(row["file"])).startswith(b"%PDF")
    assert row["content"]["seller"]["party"]["name"] == "Acme"
    await desk.tell("invoice.finalized", an_invoice(), event_id="evt_3")
    await desk.work()
    assert len(desk.pdf.rendered) == 1


async def test_what_factur_x_cannot_say_is_written_without_it(desk: StripeDesk) -> None:
    file = desk.home / "sellers.toml"
    file.write_text(
        '[sellers.acme]\nname = "Acme"\naddress = { line1 = "Torstraße 1", city = "Berlin", country = "DE" }\n'
        'tax_ids = [{ type = "eu_vat", value = "DE123456789" }]\nfactur_x = true\n'
    )
    desk.brand = {"billing_sellers_file": file}
    desk.stripe.holds["invoices/in_1"] = an_invoice()  # its lines name no tax, which EN 16931 wants
    await desk.tell("invoice.finalized", an_invoice())
    await desk.work()
    (row,) = await desk.documents()
    assert row["status"] == "stored"
    assert "factur_x" not in row["content"]["seller"]
    assert row["content"]["without_factur_x"][-1] == "lines[0]: has 0 taxes, and needs one (BR-CO-4)"
    async with desk.engine.connect() as conn:
        told = await story(conn, "invoice/in_1")
    assert told["document"]["without_factur_x"] == row["content"]["without_factur_x"]


async def test_it_is_the_document_as_finalized_though_it_is_paid_by_now(desk: StripeDesk) -> None:
    desk.stripe.holds["invoices/in_1"] = an_invoice(**PAID)
    await desk.tell("invoice.finalized", an_invoice())
    await desk.work()
    (row,) = await desk.documents()
    assert row["content"]["due_minor"] == 10_000
    assert "stamp" not in row["content"]


async def test_all_lines_and_the_names_of_rates_and_coupons_are_asked_for(desk: StripeDesk) -> None:
    lines = [a_line(100, id=f"il_{number}", taxes=[a_tax(19, 100)]) for number in range(5)]
    whole = an_invoice(*lines, total=595, total_taxes=[a_tax(95, 500)])
    shown = {**whole, "lines": {"data": lines[:2], "has_more": True}}
    desk.stripe.holds |= {
        "invoices/in_1": shown,
        "invoices/in_1/lines": [
            {"after": "il_1", "data": lines[2:4], "has_more": True},
            {"after": "il_3", "data": lines[4:], "has_more": False},
        ],
        "tax_rates/txr_1": a_rate(19.0),
    }
    await desk.tell("invoice.finalized", shown)
    await desk.work()
    (row,) = await desk.documents()
    assert len(row["content"]["lines"]) == 5
    assert row["content"]["taxes"][0]["name"] == "MwSt."


async def test_the_customers_language_and_the_sellers_day(desk: StripeDesk) -> None:
    desk.brand = {"billing_brand_name": "Acme", "billing_default_timezone": "Asia/Tokyo"}
    async with desk.engine.begin() as conn:
        await conn.exec_driver_sql(
            "INSERT INTO users (stripe_customer_id, locale, timezone) VALUES ('cus_1', 'de-AT', 'America/New_York')"
        )
    late = AT + 4 * 3600  # 16:00 UTC is tomorrow in Tokyo
    desk.stripe.holds["invoices/in_1"] = an_invoice(status_transitions={"finalized_at": late})
    await desk.tell("invoice.finalized", an_invoice())
    await desk.work()
    (row,) = await desk.documents()
    assert (row["locale"], row["content"]["issued_on"], row["content"]["timezone"]) == (
        "de-AT",
        "2026-03-02",
        "Asia/Tokyo",
    )
    assert row["user_id"] is not None


async def test_a_credit_note_tells_its_invoice(desk: StripeDesk) -> None:
    desk.stripe.holds |= {"credit_notes/cn_1": a_note(), "invoices/in_1": an_invoice()}
    await desk.tell("credit_note.created", a_note())
    await desk.work()
    (row,) = await desk.documents()
    assert keys([row]) == [("credit_note/cn_1", "stored")]
    assert (row["kind"], row["stripe_invoice_id"], row["number"]) == ("credit_note", "in_1", "A-0001-CN-01")
    assert row["content"]["reference"]["number"] == "A-0001"


async def test_each_payment_has_one_receipt(desk: StripeDesk) -> None:
    """Two charges paid the invoice in parts; events come twice; `invoice.paid` tells of nothing out of band."""
    parts = [
        {"status": "paid", "amount_paid": one, "payment": {"type": "payment_intent", "payment_intent": intent}}
        for one, intent in ((4_000, "pi_1"), (6_000, "pi_2"))
    ]
    invoice = an_invoice(**PAID, payments={"data": parts, "has_more": False})
    first, second = a_charge(4_000, payment_intent="pi_1"), a_charge(6_000, id="ch_2", payment_intent="pi_2")
    desk.stripe.holds |= {
        "invoices/in_1": invoice,
        "charges/ch_1": first,
        "charges/ch_2": second,
        "invoice_payments": {"data": [{"invoice": "in_1"}]},
    }
    desk.switched_on = frozenset({"receipt"})
    for charge in (first, second, first):
        await desk.tell("charge.succeeded", charge)
    await desk.tell("charge.captured", first)
    await desk.tell("invoice.paid", an_invoice(**PAID))
    await desk.tell("invoice.finalized", an_invoice())
    await desk.work()
    found = await desk.documents()
    assert sorted(keys(found)) == [("receipt/ch_1", "stored"), ("receipt/ch_2", "stored")]
    assert {one["total_cents"] for one in found} == {4_000, 6_000}
    assert await desk.dead() == []


async def test_what_was_paid_out_of_band_has_a_receipt_too(desk: StripeDesk) -> None:
    desk.stripe.holds["invoices/in_1"] = an_invoice(**PAID, payments={"data": [], "has_more": False})
    await desk.tell("invoice.paid", an_invoice(**PAID))
    await desk.work()
    assert keys(await desk.documents()) == [("receipt/in_1", "stored")]


async def test_a_charge_that_only_holds_money_has_its_receipt_when_it_is_captured(desk: StripeDesk) -> None:
    held, taken = a_charge(captured=False, amount_captured=0), a_charge(amount_captured=7_000)
    desk.stripe.holds |= {"charges/ch_1": taken, "invoice_payments": {"data": []}}
    await desk.tell("charge.succeeded", held)
    assert await desk.query("SELECT 1 FROM jobs") == []
    await desk.tell("charge.captured", taken)
    await desk.work()
    assert [(one["key"], one["total_cents"]) for one in await desk.documents()] == [("receipt/ch_1", 7_000)]


async def test_nothing_is_written_that_is_not_switched_on_nor_for_connected_accounts(desk: StripeDesk) -> None:
    desk.switched_on = frozenset({"credit_note"})
    await desk.tell("invoice.finalized", an_invoice())
    await desk.tell("charge.succeeded", a_charge())
    await desk.tell("credit_note.created", a_note(), account="acct_1")
    assert await desk.query("SELECT 1 FROM jobs") == []
    await desk.tell("credit_note.created", a_note())
    desk.switched_on = frozenset()  # switched off before the job runs
    await desk.work()
    assert (await desk.documents(), desk.stripe.asked) == ([], [])


async def test_a_document_that_does_not_add_up_is_parked_with_why_and_nothing_is_frozen(desk: StripeDesk) -> None:
    desk.stripe.holds["invoices/in_1"] = an_invoice() | {"subtotal": 9_999}
    await desk.tell("invoice.finalized", an_invoice())
    await desk.work()
    assert await desk.documents() == []
    (why,) = await desk.dead()
    assert "the document of in_1 does not add up: subtotal_minor is 9999, but its lines come to 10000" in why


async def test_without_an_api_key_the_inbox_is_read(desk: StripeDesk) -> None:
    desk.key = False
    async with desk.engine.begin() as conn:
        await conn.exec_driver_sql(
            "INSERT INTO invoice_payments (stripe_invoice_id, payment_id) VALUES ('in_1', 'pi_1')"
        )
    await desk.tell("invoice.finalized", an_invoice())
    await desk.tell("credit_note.created", a_note(customer="cus_1"))
    await desk.tell("charge.succeeded", a_charge(payment_intent="pi_1"))
    await desk.work()
    assert sorted(keys(await desk.documents())) == [
        ("credit_note/cn_1", "stored"),
        ("invoice/in_1", "stored"),
        ("receipt/ch_1", "stored"),
    ]
    told = {one["key"]: one["content"] for one in await desk.documents()}
    assert told["receipt/ch_1"]["reference"]["number"] == "A-0001"


async def test_without_a_key_a_charge_waits_for_the_word_of_what_it_paid(desk: StripeDesk) -> None:
    desk.key = False
    await desk.tell("charge.succeeded", a_charge(payment_intent="pi_1"))
    await desk.work()
    assert await desk.documents() == []
    for _ in range(6):
        (due,) = await desk.query("SELECT due_at FROM queue")
        desk.clock.time = max(due["due_at"], desk.clock.time)
        await desk.work()
        if await desk.documents():
            break
    (row,) = await desk.documents()
    assert row["content"]["lines"][0]["description"] == "Subscription creation"
    assert "reference" not in row["content"]


async def test_what_lies_neither_at_stripe_nor_in_the_inbox_is_parked(desk: StripeDesk) -> None:
    desk.key = False
    await desk.tell("credit_note.created", a_note(customer="cus_1"))
    await desk.work()
    (why,) = await desk.dead()
    assert "in_1 is not in the inbox: set STRIPE_SECRET_KEY" in why
