"""What does not add up is named, with both numbers; what adds up is let pass."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from jobs.invoices.document import (
    Amount,
    Document,
    Kind,
    Line,
    Party,
    Payment,
    Period,
    Reference,
    Seller,
    Tax,
    TaxCategory,
)
from jobs.invoices.samples import SAMPLES
from jobs.invoices.samples_parts import added, document, line, rate
from jobs.rules.documents import out_of_bounds, problems

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
SELLER = Seller(party=Party(name="Seller"))
BUYER = Party(name="Buyer")
ONE = (line("Plan", "3", "1050"),)


def plain(*lines: Line, **more: Any) -> Document:
    return document(Kind.INVOICE, SELLER, BUYER, lines or ONE, **more)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_add_up(name: str) -> None:
    assert problems(SAMPLES[name]()) == []
    assert problems(SAMPLES[name](), by_stripe=True) == []


minors = st.integers(-(10**9), 10**9)
percents = st.decimals(0, 40, places=3).map(str)


@st.composite
def lines_of(draw: Any) -> tuple[Line, ...]:
    made: list[Line] = []
    for index in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            quantity = str(draw(st.decimals(1, 10**4, places=2)))
            made.append(line(f"line {index}", quantity, str(draw(st.decimals(1, 10**5, places=4)))))
        else:
            made.append(Line(f"line {index}", draw(minors)))
    return tuple(made)


@st.composite
def documents(draw: Any) -> Document:
    """A document that adds up: discounts told by line or not, one to three taxes, credits and payments."""
    lines = draw(lines_of())
    subtotal = sum(each.amount_minor for each in lines)
    off = draw(st.integers(0, max(0, subtotal)))
    discounts = (Amount("spring", off),) if off else ()
    if off and draw(st.booleans()):
        shares = [0] * (len(lines) - 1) + [off]
        lines = tuple(
            replace(each, discounts=(Amount("spring", share),)) for each, share in zip(lines, shares, strict=True)
        )
    if draw(st.booleans()):
        taxes = (rate("VAT", draw(percents), lines, off=off, inclusive=True),)
    else:
        taxes = tuple(rate(f"tax {n}", draw(percents), lines, off=off) for n in range(draw(st.integers(0, 3))))
    made = plain(*lines, discounts=discounts, taxes=taxes)
    credit = draw(st.integers(0, max(0, made.total_minor)))
    paid = draw(st.integers(0, max(0, made.total_minor - credit)))
    return added(
        replace(
            made,
            credits=(Amount("balance", credit),) if credit else (),
            payments=(Payment(NOON, paid),) if paid else (),
        )
    )


@given(documents())
def test_what_was_built_to_add_up_adds_up(made: Document) -> None:
    assert problems(made) == []
    assert problems(made, by_stripe=True) == []


def amounts(made: Document) -> list[tuple[str, Callable[[int], Document]]]:
    """Each amount of a document, and how to change it."""
    found: list[tuple[str, Callable[[int], Document]]] = [
        (name, lambda by, name=name: replace(made, **{name: getattr(made, name) + by}))
        for name in ("subtotal_minor", "discount_minor", "tax_minor", "total_minor")
    ]
    if made.total_minor > 0:
        found.append(("due_minor", lambda by: replace(made, due_minor=made.due_minor + by)))

    def within(field: str, index: int, inner: str) -> Callable[[int], Document]:
        def change(by: int) -> Document:
            parts = list(getattr(made, field))
            parts[index] = replace(parts[index], **{inner: getattr(parts[index], inner) + by})
            return replace(made, **{field: tuple(parts)})

        return change

    for field, inner in (
        ("lines", "amount_minor"),
        ("discounts", "minor"),
        ("taxes", "amount_minor"),
        ("taxes", "taxable_minor"),
    ):
        found += [(f"{field}.{inner}", within(field, index, inner)) for index in range(len(getattr(made, field)))]
    if made.due_minor > 1:  # else what is over is the customer's balance
        for field, inner in (("credits", "minor"), ("payments", "amount_minor")):
            found += [(f"{field}.{inner}", within(field, index, inner)) for index in range(len(getattr(made, field)))]
    return found


@given(documents(), st.data(), st.sampled_from([1, -1]))
def test_any_one_amount_that_is_off_by_one_is_named(made: Document, data: Any, by: int) -> None:
    name, change = data.draw(st.sampled_from(amounts(made)), label="amount")
    told = problems(change(by))
    assert told, name
    assert all(any(char.isdigit() for char in each) for each in told)


def test_all_that_is_wrong_is_told_at_once_with_both_numbers() -> None:
    made = plain(
        line("Plan", "3", "1050"),
        discounts=(Amount("spring", 50),),
        taxes=(Tax("VAT", 3100, 589, percent="19"),),
    )
    wrong = replace(
        made,
        lines=(replace(made.lines[0], amount_minor=3151),),
        discount_minor=51,
        taxes=(replace(made.taxes[0], amount_minor=588),),
        tax_minor=590,
        total_minor=3000,
        due_minor=1,
    )
    assert problems(wrong) == [
        "subtotal_minor is 3150, but its lines come to 3151",
        "discount_minor is 51, but its discounts come to 50",
        "tax_minor is 590, but its taxes come to 588",
        "total_minor is 3000, but subtotal 3150 minus discount 51 plus tax 588 is 3687",
        "due_minor is 1, but total 3000 minus credits 0 minus payments 0 leaves 3000",
        "lines[0].amount_minor is 3151, but 3 times 1050 is 3150",
        "taxes[0].amount_minor is 588, but 19 % of 3100 is 589",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"number": " "}, "number is empty"),
        ({"seller": Seller(party=Party(name=""))}, "seller.party.name is empty"),
        ({"buyer": Party(name="\t")}, "buyer.name is empty"),
        ({"buyer": Party(name="\u200b ")}, "buyer.name is empty"),
        (
            {"seller": Seller(party=Party(name="Seller"), color="red; x:y")},
            "seller.color is 'red; x:y', which is no colour: #3552d1",
        ),
        ({"currency": "eru"}, "currency is 'eru', which is no ISO 4217 code in lower case"),
        ({"currency": "EUR"}, "currency is 'EUR', which is no ISO 4217 code in lower case"),
        ({"timezone": "Europe/Bern"}, "timezone is 'Europe/Bern', which is no IANA time zone"),
        ({"timezone": "../etc"}, "timezone is '../etc', which is no IANA time zone"),
        ({"due_on": date(2026, 3, 31)}, "due_on is 2026-03-31, before issued_on 2026-04-01"),
        (
            {"reference": Reference("RE-1", date(2026, 4, 2))},
            "issued_on is 2026-04-01, before reference.issued_on 2026-04-02",
        ),
        (
            {"period": Period(NOON, NOON)},
            "period: its end 2026-03-05T12:00:00+00:00 is not after its start 2026-03-05T12:00:00+00:00",
        ),
        ({"pay_url": "https://["}, "pay_url is 'https://[', which is no address of a page"),
        ({"pay_url": "javascript:alert(1)"}, "pay_url is 'javascript:alert(1)', which is no address of a page"),
    ],
)
def test_what_is_missing_or_out_of_order_is_named(change: dict[str, Any], told: str) -> None:
    assert problems(replace(plain(), **change)) == [told]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"quantity": "three"}, "lines[0].quantity is 'three', which is no decimal"),
        ({"unit_price_minor": "NaN"}, "lines[0].unit_price_minor is 'NaN', which is no decimal"),
        ({"quantity": "1e99999999"}, "lines[0].quantity is '1e99999999', which is no decimal"),
        ({"quantity": "1e-99999999"}, "lines[0].quantity is '1e-99999999', which is no decimal"),
        (
            {"period": Period(NOON, NOON - timedelta(days=1))},
            "lines[0].period: its end 2026-03-04T12:00:00+00:00 is not after its start 2026-03-05T12:00:00+00:00",
        ),
        ({"taxes": (1,)}, "lines: one names a tax of an index that there is not: taxes has 0"),
        ({"taxes": (-1,)}, "lines: one names a tax of an index that there is not: taxes has 0"),
    ],
)
def test_a_line_that_cannot_be_is_named(change: dict[str, Any], told: str) -> None:
    assert problems(plain(replace(ONE[0], **change))) == [told]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("1e15", None),
        ("-1e15", None),
        ("0.000000000001", None),
        ("0e12", None),
        ("1000000000000001", "is beyond 1000000000000000"),
        ("1e99999999", "is beyond 1000000000000000"),
        ("0e99999999", "is beyond 1000000000000000"),
        ("1e-13", "has more than 12 decimal places"),
        ("1e-99999999", "has more than 12 decimal places"),
        ("NaN", "is no number"),
        ("sNaN", "is no number"),
        ("-Infinity", "is no number"),
    ],
)
def test_a_number_is_one_that_can_be_reckoned_with(value: str, told: str | None) -> None:
    assert out_of_bounds(Decimal(value)) == told


def test_a_quantity_or_a_price_alone_says_nothing_of_the_amount() -> None:
    assert problems(plain(Line("tiers", 1234, quantity="5"), Line("flat", 5, unit_price_minor="7"))) == []


def test_an_invoice_without_lines_is_stripes_only() -> None:
    empty = replace(plain(), lines=(), subtotal_minor=0, total_minor=0, due_minor=0)
    assert problems(empty) == ["lines: there are none"]
    assert problems(empty, by_stripe=True) == []


def test_credits_are_not_more_than_the_total() -> None:
    made = added(replace(plain(), credits=(Amount("balance", 3151),)))
    assert problems(made) == ["credits come to 3151, which is more than the total of 3150"]


def test_what_was_paid_too_much_leaves_nothing_due() -> None:
    assert problems(added(replace(plain(), payments=(Payment(NOON, 4000),)))) == []


def test_an_old_debt_is_added() -> None:
    made = added(replace(plain(), credits=(Amount("still owed", -100),)))
    assert (made.due_minor, problems(made)) == (3250, [])


def test_shares_of_discounts_are_all_of_them() -> None:
    part = replace(ONE[0], discounts=(Amount("spring", 40),))
    made = plain(part, discounts=(Amount("spring", 50),))
    assert problems(made) == ["discount_minor is 50, but its lines' shares of it come to 40"]


@pytest.mark.parametrize("category", [each for each in TaxCategory if each is not TaxCategory.STANDARD])
def test_only_a_standard_rate_takes_tax(category: TaxCategory) -> None:
    made = plain(taxes=(Tax("VAT", 3150, 1, category=category),))
    assert problems(made) == [f"taxes[0].amount_minor is 1, but in category {category} tax is 0"]


def test_a_tax_without_a_percent_is_taken_as_it_is() -> None:
    assert problems(plain(taxes=(Tax("Sales tax", 3150, 123),))) == []


def test_a_percent_is_a_decimal() -> None:
    made = plain(taxes=(Tax("VAT", 3150, 599, percent="19 %"),))
    assert problems(made) == ["taxes[0].percent is '19 %', which is no decimal"]


def test_a_tax_is_borne_by_some_line() -> None:
    first, second = replace(ONE[0], taxes=(0,)), replace(ONE[0], taxes=(0,))
    made = plain(first, second, taxes=(rate("VAT", "10", (first, second)), Tax("City", 0, 0, percent="3")))
    assert problems(made) == ["taxes[1] (City) applies to none of the lines, but is 0"]


def test_a_tax_is_reckoned_on_its_own_lines() -> None:
    first, second = replace(ONE[0], taxes=(0,)), replace(ONE[0], taxes=(1,))
    made = plain(first, second, taxes=(rate("VAT", "19", (first,)), rate("VAT", "7", (first, second))))
    assert problems(made) == ["taxes[1].taxable_minor is 6300, but its lines come to 3150"]


def test_a_base_is_not_guessed() -> None:
    """A discount whose lines are not told, and a tax within the prices of other lines as well."""
    first, second = replace(ONE[0], taxes=(0,)), replace(ONE[0], taxes=(1,))
    off = Amount("spring", 100)
    apart = (Tax("VAT", 3100, 589, percent="19"), Tax("VAT", 3100, 217, percent="7"))
    assert problems(plain(first, second, discounts=(off,), taxes=apart)) == []
    both = replace(second, taxes=(0, 1))
    contained = (rate("GST", "5", (first, both), inclusive=True), Tax("PST", 3000, 210, percent="7"))
    assert problems(plain(first, both, taxes=contained)) == []


def test_a_contained_tax_is_not_part_of_its_base() -> None:
    made = plain(taxes=(rate("VAT", "19", ONE, inclusive=True),))
    (tax,) = made.taxes
    assert (tax.taxable_minor, tax.amount_minor) == (2647, 503)
    off = replace(made, taxes=(replace(tax, taxable_minor=3150),))
    assert problems(off) == [
        "taxes[0].amount_minor is 503, but 19 % of 3150 is 599",
        "taxes[0].taxable_minor is 3150, but its lines come to 2647",
    ]


def test_stripe_may_round_on_each_line() -> None:
    lines = tuple(Line(f"line {n}", 55) for n in range(4))
    made = plain(*lines, taxes=(Tax("VAT", 220, 40, percent="19"),))
    assert problems(made) == ["taxes[0].amount_minor is 40, but 19 % of 220 is 42"]
    assert problems(made, by_stripe=True) == []
    more = plain(*lines, taxes=(Tax("VAT", 220, 44, percent="19"),))
    assert problems(more, by_stripe=True) == ["taxes[0].amount_minor is 44, but 19 % of 220 is 42"]


def test_stripe_prorates_lines_and_taxes_parts() -> None:
    part = Line("Unused time", -777, quantity="1", unit_price_minor="2000", proration=True)
    made = plain(ONE[0], part, taxes=(Tax("VAT", 2000, 380, percent="19"),))
    assert problems(made, by_stripe=True) == []
    assert problems(made) == [
        "lines[1].amount_minor is -777, but 1 times 2000 is 2000",
        "taxes[0].taxable_minor is 2000, but its lines come to 2373",
    ]
