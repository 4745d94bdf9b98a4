"""Stripe's invoices, of all shapes, become documents that add up and carry Stripe's own amounts."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.invoices.document import Amount, Document, Stamp, Tax, TaxCategory, TaxId
from jobs.invoices.from_stripe import invoice_document
from jobs.invoices.from_stripe_parts import Known, rate_ids
from jobs.invoices.from_stripe_words import Word, word
from jobs.rules.documents import problems
from jobs.stripe_objects import Obj
from tests.invoices.stripes import AT, DAY, KNOWN, a_line, a_rate, a_tax, an_invoice, recorded
from worker.errors import Refused

RECORDED = recorded("invoice")


def mapped(json: dict[str, Any], known: Known = KNOWN, *, as_finalized: bool = True) -> Document:
    """The document, which adds up."""
    made = invoice_document(json, known, as_finalized=as_finalized)
    assert problems(made, by_stripe=True) == []
    return made


@pytest.mark.skipif(not RECORDED, reason="the recorded payloads are not here")
@pytest.mark.parametrize("as_finalized", [True, False])
@pytest.mark.parametrize("name", RECORDED)
def test_each_recorded_invoice(name: str, *, as_finalized: bool) -> None:
    json = RECORDED[name]
    if json.get("number") is None or json.get("status") in {None, "draft"}:
        with pytest.raises(Refused, match="not finalized"):
            invoice_document({"id": "in_x", **json}, KNOWN, as_finalized=as_finalized)
        return
    document = mapped(json, as_finalized=as_finalized)
    assert (document.number, document.currency) == (json["number"], json["currency"])
    assert (document.subtotal_minor, document.total_minor) == (json["subtotal"], json["total"])
    assert document.due_minor == (json["amount_due"] if as_finalized else json["amount_remaining"])
    assert (document.stamp is Stamp.PAID) == (json["status"] == "paid" and not as_finalized)
    assert len(document.lines) >= len(json["lines"]["data"])


@pytest.mark.skipif(not RECORDED, reason="the recorded payloads are not here")
def test_a_recorded_invoice_with_two_kinds_of_discount_and_a_tax() -> None:
    json = next(one for name, one in RECORDED.items() if name.startswith("event-data/object.invoice"))
    assert rate_ids(Obj(json, "invoice")) == {"txr_1REBcPKXBGcbgpbZad52Yd7V"}
    rate = a_rate(7.95, "Sales Tax", jurisdiction="Missouri")
    document = mapped(json, replace(KNOWN, tax_rates={"txr_1REBcPKXBGcbgpbZad52Yd7V": rate}))
    assert document.discounts == (Amount("10% Off", 2523),)
    assert document.taxes == (Tax("Sales Tax", 22707, 1805, "7.95", jurisdiction="Missouri"),)
    assert [(row.description, row.amount_minor) for row in document.lines] == [
        ("T-Shirt", 17400),
        ("T-Shirt", 8700),
        ("10% Off", -870),
    ]
    assert [row.discounts for row in document.lines] == [(Amount("10% Off", 1740),), (Amount("10% Off", 783),), ()]
    assert document.buyer.address.city is None
    assert document.issued_on == date(2025, 4, 18)


def test_tax_that_prices_contain_and_tax_on_top() -> None:
    inside = an_invoice(
        a_line(11_900, taxes=[a_tax(1900, 10_000, inclusive=True)]),
        total_taxes=[a_tax(1900, 10_000, inclusive=True)],
    )
    known = replace(KNOWN, tax_rates={"txr_1": a_rate(19.0)})
    document = mapped(inside, known)
    assert document.taxes == (Tax("MwSt.", 10_000, 1900, "19", inclusive=True, jurisdiction="DE"),)
    assert (document.total_minor, document.lines[0].taxes) == (11_900, (0,))
    on_top = an_invoice(a_line(taxes=[a_tax(1900, 10_000)]), total_taxes=[a_tax(1900, 10_000)], total=11_900)
    assert mapped(on_top, known).total_minor == 11_900
    assert mapped(on_top).taxes[0].name == "Tax"


def test_taxes_of_old_shapes_show_their_rate() -> None:
    taxed = {"amount": 1900, "inclusive": False, "tax_rate": "txr_1"}
    old = an_invoice(a_line(tax_amounts=[taxed], taxes=None, tax_rates=[a_rate(19.0)]), total=11_900)
    del old["total_taxes"]
    old["total_tax_amounts"] = [taxed]
    assert rate_ids(Obj(old, "invoice")) == set()
    assert mapped(old).taxes == (Tax("MwSt.", 10_000, 1900, "19", jurisdiction="DE"),)


@pytest.mark.parametrize(
    ("more", "category", "percent"),
    [
        ({"customer_tax_exempt": "reverse"}, TaxCategory.REVERSE_CHARGE, "0"),
        ({"total_taxes": [a_tax(0, 10_000, reason="reverse_charge")]}, TaxCategory.REVERSE_CHARGE, "0"),
        ({"total_taxes": [a_tax(0, 10_000, reason="customer_exempt")]}, TaxCategory.EXEMPT, "0"),
        ({"total_taxes": [a_tax(0, 10_000, reason="zero_rated")]}, TaxCategory.ZERO, "0"),
        ({"total_taxes": [a_tax(0, 10_000, reason="not_subject_to_tax")]}, TaxCategory.OUTSIDE, "0"),
    ],
)
def test_why_there_is_no_tax(more: dict[str, Any], category: TaxCategory, percent: str) -> None:
    ids = [{"type": "eu_vat", "value": "FRAB123456789"}]
    document = mapped(an_invoice(customer_tax_ids=ids, **more), replace(KNOWN, tax_rates={"txr_1": a_rate(19.0)}))
    assert [(tax.category, tax.percent, tax.taxable_minor) for tax in document.taxes] == [(category, percent, 10_000)]
    assert document.buyer.tax_ids == (TaxId("eu_vat", "FRAB123456789"),)


def test_a_tax_that_is_not_collected_is_not_shown() -> None:
    assert mapped(an_invoice(total_taxes=[a_tax(0, 0, reason="not_collecting")])).taxes == ()


def test_what_stripe_tax_really_took_is_shown() -> None:
    rate = a_rate(20.0, effective_percentage=5.0)
    taxed = an_invoice(total_taxes=[a_tax(500, 10_000)], total=10_500)
    assert mapped(taxed, replace(KNOWN, tax_rates={"txr_1": rate})).taxes[0].percent == "5"
    flat = a_rate(0.0, rate_type="flat_amount")
    assert mapped(taxed, replace(KNOWN, tax_rates={"txr_1": flat})).taxes[0].percent is None


@pytest.mark.parametrize(
    ("total", "due", "start", "credit"),
    [
        (10_000, 4_000, -6_000, Amount("Account balance", 6_000)),
        (10_000, 10_300, 300, Amount("Earlier balance", -300)),
        (20, 0, 0, Amount("Carried to your account balance", 20)),
        (-500, 0, 0, Amount("Credited to your account balance", -500)),
    ],
)
def test_the_customers_balance(total: int, due: int, start: int, credit: Amount) -> None:
    json = an_invoice(a_line(total), amount_due=due, amount_remaining=due, starting_balance=start)
    document = mapped(json)
    assert (document.credits, document.due_minor) == ((credit,), due)


def test_as_finalized_is_the_same_whatever_became_of_it() -> None:
    """The document may be made minutes or years later: before and after it was credited, paid or voided."""
    fresh = an_invoice()
    paid = fresh | {
        "status": "paid",
        "amount_due": 8_000,
        "amount_paid": 8_000,
        "amount_remaining": 0,
        "pre_payment_credit_notes_amount": 2_000,
        "status_transitions": {"finalized_at": AT, "paid_at": AT + DAY},
    }
    assert mapped(fresh) == mapped(paid) == mapped(fresh | {"status": "void"})
    now = mapped(paid, as_finalized=False)
    assert (now.stamp, now.due_minor, now.pay_url) == (Stamp.PAID, 0, None)
    assert [one.amount_minor for one in now.payments] == [8_000]
    assert now.credits == (Amount("Credit notes", 2_000),)
    assert mapped(fresh | {"status": "void"}, as_finalized=False).stamp is Stamp.VOID
    assert mapped(fresh, as_finalized=False).pay_url == fresh["hosted_invoice_url"]


def test_payments_that_stripe_shows_one_by_one() -> None:
    shown: list[dict[str, Any]] = [
        {"status": "paid", "amount_paid": 3_000, "status_transitions": {"paid_at": AT + 60}},
        {"status": "open", "amount_paid": 0, "status_transitions": {}},
        {"status": "paid", "amount_paid": 7_000, "status_transitions": {"paid_at": AT + 120}},
    ]
    json = an_invoice(status="paid", amount_paid=10_000, amount_remaining=0, payments={"data": shown})
    assert [one.amount_minor for one in mapped(json, as_finalized=False).payments] == [3_000, 7_000]


def test_days_are_the_customers_and_terms_are_named() -> None:
    late = AT + 11 * 3600 + 1800  # 23:30 UTC is tomorrow in Berlin
    json = an_invoice(status_transitions={"finalized_at": late}, due_date=late + 30 * DAY)
    document = mapped(json)
    assert (document.issued_on, document.due_on, document.terms) == (date(2026, 3, 2), date(2026, 4, 1), "net_30")
    assert mapped(json | {"due_date": late + 7 * DAY}).terms is None
    assert mapped(json | {"due_date": late}).terms == "due_on_receipt"
    assert mapped(json | {"effective_at": AT - 40 * DAY}).issued_on == date(2026, 1, 20)


def test_what_the_merchant_wrote() -> None:
    fields = [{"name": "PO number", "value": "4711"}, {"name": "Project", "value": "Apollo"}]
    document = mapped(an_invoice(description="Thank you!", custom_fields=fields, footer="Acme GmbH, Berlin"))
    assert document.buyer_reference == "4711"
    assert document.notes == ("Thank you!", "Project: Apollo", "Acme GmbH, Berlin")


def test_unit_prices_are_shown_only_where_they_make_the_amount() -> None:
    tiny = a_line(9_184, quantity=24_104_515, pricing={"unit_amount_decimal": "0.000381"})
    tiers = a_line(5_000, quantity=12, pricing={"unit_amount_decimal": "900"})
    unnamed = a_line(-2_500, description=None, pricing=None, price={"nickname": "Small", "unit_amount_decimal": "2500"})
    rows = mapped(an_invoice(tiny, tiers, unnamed)).lines
    assert [(row.quantity, row.unit_price_minor) for row in rows] == [
        ("24104515", "0.000381"),
        ("12", None),
        ("1", None),
    ]
    assert rows[2].description == "Small"


def test_shipping_is_a_line() -> None:
    cost = {"amount_subtotal": 500, "amount_tax": 0, "amount_total": 500}
    document = mapped(an_invoice(amount_shipping=500, shipping_cost=cost, total=10_500))
    assert [row.description for row in document.lines] == ["Pro plan", "Shipping"]
    assert document.subtotal_minor == 10_500


def test_lines_that_are_not_all_there_are_refused() -> None:
    with pytest.raises(Refused, match="first of its lines"):
        mapped(an_invoice(lines={"data": [a_line()], "has_more": True}))


def test_coupons_are_named_by_what_is_known() -> None:
    entry = {"amount": 1_000, "discount": {"id": "di_1", "source": {"type": "coupon", "coupon": "SPRING"}}}
    json = an_invoice(
        a_line(discount_amounts=[{"amount": 1_000, "discount": "di_1"}]),
        total=9_000,
        discounts=["di_1"],
        total_discount_amounts=[entry],
    )
    assert mapped(json).discounts == (Amount("Discount", 1_000),)
    document = mapped(json, replace(KNOWN, coupons={"SPRING": "Spring offer"}))
    assert document.discounts == document.lines[0].discounts == (Amount("Spring offer", 1_000),)


@pytest.mark.parametrize("locale", ["en", "de-AT", "fr_CA", "es", "ja"])
def test_words_are_there_in_each_language(locale: str) -> None:
    told = {which: word(which, locale, number="A-1") for which in Word}
    assert all(told.values())
    assert "A-1" in told[Word.PAYMENT_FOR]
    assert (told[Word.DISCOUNT] == "Discount") == (locale == "en")


@given(
    st.lists(st.tuples(st.integers(1, 10**8), st.integers(0, 100)), min_size=1, max_size=8),
    st.integers(0, 100),
    st.integers(-(10**6), 10**6),
)
def test_any_invoice_that_stripe_would_add_up_does(rows: list[tuple[int, int]], share: int, balance: int) -> None:
    """Own discounts of lines, a discount of the whole, and a balance, added up as Stripe documents it."""
    lines: list[dict[str, Any]] = []
    totals: list[dict[str, Any]] = []
    subtotal = off_all = 0
    for number, (amount, percent) in enumerate(rows):
        own = amount * percent // 100
        whole = (amount - own) * share // 100
        subtotal, off_all = subtotal + amount - own, off_all + whole
        off = [{"amount": own, "discount": f"di_{number}"}, {"amount": whole, "discount": "di_all"}]
        lines.append(a_line(amount, discounts=[f"di_{number}"], discount_amounts=off))
        totals.append(off[0])
    totals.append({"amount": off_all, "discount": "di_all"})
    total = subtotal - off_all
    due = max(total + balance, 0)
    json = an_invoice(*lines, discounts=["di_all"], total_discount_amounts=totals, starting_balance=balance)
    document = mapped(json | {"subtotal": subtotal, "total": total, "amount_due": due, "amount_remaining": due})
    assert (document.subtotal_minor, document.discount_minor, document.due_minor) == (subtotal, off_all, due)
