"""Credit notes and receipts made of Stripe's add up, and tell what they are about."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from jobs.invoices.document import Amount, Document, Kind, Payment, Reference, Stamp
from jobs.invoices.from_stripe_other import credit_note_document, outside_receipt, receipt_document
from jobs.rules.documents import problems
from tests.invoices.stripes import AT, DAY, KNOWN, a_charge, a_line, a_rate, a_tax, an_invoice, recorded
from worker.errors import Refused

RECORDED = recorded("credit_note")


def sound(document: Document) -> Document:
    """The document, which adds up."""
    assert problems(document, by_stripe=True) == []
    return document


def a_note(total: int = 500, **more: Any) -> dict[str, Any]:
    """A credit note with one line."""
    line: dict[str, Any] = {
        "object": "credit_note_line_item",
        "amount": total,
        "description": "Refund",
        "quantity": 1,
        "taxes": [],
    }
    return {
        "id": "cn_1",
        "object": "credit_note",
        "number": "A-0001-CN-01",
        "invoice": "in_1",
        "currency": "eur",
        "created": AT + DAY,
        "effective_at": AT + DAY,
        "status": "issued",
        "type": "post_payment",
        "reason": "order_change",
        "subtotal": total,
        "total": total,
        "lines": {"object": "list", "data": [line | {"unit_amount_decimal": str(total)}], "has_more": False},
        **more,
    }


@pytest.mark.skipif(not RECORDED, reason="the recorded payloads are not here")
@pytest.mark.parametrize("name", RECORDED)
def test_each_recorded_credit_note(name: str) -> None:
    json = RECORDED[name]
    document = sound(credit_note_document(json, an_invoice(), KNOWN))
    assert (document.kind, document.number) == (Kind.CREDIT_NOTE, json["number"])
    assert (document.subtotal_minor, document.total_minor, document.due_minor) == (json["subtotal"], json["total"], 0)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"type": "pre_payment"}, [("Taken off the invoice", 500)]),
        ({"pre_payment_amount": 200, "refunds": [{"refund": "re_1", "amount_refunded": 300}]},
         [("Taken off the invoice", 200), ("Refunded", 300)]),
        ({"refund": "re_1"}, [("Refunded", 500)]),
        ({"customer_balance_transaction": "cbtxn_1"}, [("Credited to your account balance", 500)]),
        ({"out_of_band_amount": 500}, [("Settled otherwise", 500)]),
        ({"refund": "re_1", "out_of_band_amount": 100}, [("Refunded", 400), ("Settled otherwise", 100)]),
        ({}, [("Settled otherwise", 500)]),
    ],
)  # fmt: skip
def test_how_the_customer_got_it(more: dict[str, Any], told: list[tuple[str, int]]) -> None:
    document = sound(credit_note_document(a_note(**more), an_invoice(), KNOWN))
    assert sorted((one.name, one.minor) for one in document.credits) == sorted(told)
    assert document.reference == Reference("A-0001", date(2026, 3, 1))
    assert (document.reason, document.issued_on, document.buyer.name) == (
        "The order was changed",
        date(2026, 3, 2),
        "Jane Roe",
    )


def test_a_credit_note_with_tax_and_discounts() -> None:
    """The line's own discount is in Stripe's subtotal; the invoice's discount is between subtotal and total."""
    line = {
        "amount": 1000,
        "description": "Pro",
        "quantity": 1,
        "taxes": [a_tax(143, 750)],
        "tax_rates": [a_rate(19.0)],
    }
    note = a_note(subtotal=800, total=893, discount_amount=50, total_taxes=[a_tax(143, 750)])
    note["lines"]["data"] = [line]
    note["discount_amounts"] = [{"amount": 50, "discount": "di_1"}]
    document = sound(credit_note_document(note, an_invoice(), replace(KNOWN, coupons={"di_1": "Spring"})))
    assert [row.amount_minor for row in document.lines] == [1000, -200]
    assert document.discounts == (Amount("Spring", 50),)
    assert (document.tax_minor, document.taxes[0].percent) == (143, "19")


def test_a_receipt_for_the_whole_invoice_repeats_its_lines() -> None:
    invoice = an_invoice(a_line(), a_line(5_000), due_date=AT + DAY, number="A-0007")
    document = sound(receipt_document(a_charge(15_000), invoice, KNOWN))
    assert (document.kind, document.stamp, document.due_minor) == (Kind.RECEIPT, Stamp.PAID, 0)
    assert [row.amount_minor for row in document.lines] == [10_000, 5_000]
    assert (document.reference, document.number) == (Reference("A-0007", date(2026, 3, 1)), "ch_1")
    assert (document.due_on, document.pay_url, document.terms) == (None, None, None)
    (payment,) = document.payments
    assert isinstance(payment, Payment)
    assert (payment.method, payment.reference, payment.amount_minor) == ("Visa •••• 4242", "ch_1", 15_000)


def test_a_receipt_for_a_part_of_it_has_one_line() -> None:
    known = replace(KNOWN, locale="de")
    document = sound(receipt_document(a_charge(4_000, receipt_number="1234-5678"), an_invoice(), known))
    assert [(row.description, row.amount_minor) for row in document.lines] == [("Zahlung zu Rechnung A-0001", 4_000)]
    assert (document.number, document.total_minor) == ("1234-5678", 4_000)


def test_a_receipt_without_an_invoice_tells_what_was_paid_for() -> None:
    document = sound(receipt_document(a_charge(description="A T-shirt"), None, KNOWN))
    assert (document.lines[0].description, document.buyer.name, document.reference) == ("A T-shirt", "Jane Roe", None)
    bare = a_charge(description=None, billing_details={}, payment_method_details=None)
    assert sound(receipt_document(bare, None, KNOWN)).buyer.name == "cus_1"


def test_a_receipt_is_of_what_was_captured() -> None:
    charge = a_charge(amount_captured=7_000)
    assert sound(receipt_document(charge, an_invoice(), KNOWN)).total_minor == 7_000
    for none in ({"captured": False}, {"status": "failed"}, {"amount_captured": 0}):
        with pytest.raises(Refused, match="brought no money"):
            receipt_document(a_charge() | none, None, KNOWN)


def test_an_invoice_that_is_dated_ahead_is_named_without_its_date() -> None:
    document = sound(receipt_document(a_charge(), an_invoice(effective_at=AT + 5 * DAY), KNOWN))
    assert document.reference == Reference("A-0001")


def test_a_receipt_of_what_was_paid_out_of_band() -> None:
    moments = {"finalized_at": AT, "paid_at": AT + DAY}
    paid = an_invoice(status="paid", amount_paid=10_000, amount_remaining=0, status_transitions=moments)
    document = sound(outside_receipt(paid | {"paid_out_of_band": True}, KNOWN))
    assert (document.number, document.issued_on, document.due_minor) == ("A-0001", date(2026, 3, 2), 0)
    assert [row.amount_minor for row in document.lines] == [10_000]
    by_charge = {
        "status": "paid",
        "amount_paid": 6_000,
        "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
    }
    otherwise = {"status": "paid", "amount_paid": 4_000, "payment": {"type": "payment_record"}}
    document = sound(outside_receipt(paid | {"payments": {"data": [by_charge, otherwise]}}, KNOWN))
    assert [(row.description, row.amount_minor) for row in document.lines] == [("Payment for invoice A-0001", 4_000)]


@pytest.mark.parametrize(
    "more",
    [
        {"status": "open"},
        {"paid_out_of_band": False},
        {},
        {"payments": {"data": [], "has_more": True}},
        {"payments": {"data": [{"status": "paid", "amount_paid": 10_000, "payment": {"charge": "ch_1"}}]}},
    ],
)
def test_what_charges_brought_or_may_have_brought_is_not_out_of_band(more: dict[str, Any]) -> None:
    moments = {"finalized_at": AT, "paid_at": AT + DAY}
    with pytest.raises(Refused, match="not paid out of band"):
        outside_receipt(
            an_invoice(status="paid", amount_paid=10_000, amount_remaining=0, status_transitions=moments) | more, KNOWN
        )


def test_lines_that_are_not_all_there_are_refused() -> None:
    with pytest.raises(Refused, match="first of its lines"):
        credit_note_document(a_note(lines={"data": [], "has_more": True}), an_invoice(), KNOWN)
