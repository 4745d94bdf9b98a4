"""An invoice's lines, discounts, taxes and balances always add up, to the cent."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo.simulator.invoicing.totals import Discount, Line, Rate, add_up
from tests.simulator.invoices_kit import Seller
from tests.simulator.kit import Json

amounts = st.integers(-(10**7), 10**8)
percents = st.decimals("0.01", "100", places=2)


@st.composite
def discounts(draw: st.DrawFn, prefix: str) -> tuple[Discount, ...]:
    """Some discounts in a row."""
    found: list[Discount] = []
    for i in range(draw(st.integers(0, 2))):
        if draw(st.booleans()):
            found.append(Discount(f"{prefix}{i}", percent_off=draw(percents)))
        else:
            limits = draw(st.sampled_from([None, frozenset({"a"})]))
            found.append(Discount(f"{prefix}{i}", amount_off=draw(st.integers(1, 10**7)), products=limits))
    return tuple(found)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """A line with discounts and tax rates of its own."""
    rates = [Rate(f"rate{i}", draw(percents), draw(st.booleans())) for i in range(draw(st.integers(0, 3)))]
    return Line(
        draw(amounts),
        discountable=draw(st.booleans()),
        product=draw(st.sampled_from(["a", "b", None])),
        own=draw(discounts("own")),
        rates=tuple(rates),
    )


@given(found=st.lists(lines(), max_size=6), off=discounts("all"), exempt=st.sampled_from([None, "reverse_charge"]))
def test_no_cent_is_lost_or_made(found: list[Line], off: tuple[Discount, ...], exempt: str | None) -> None:
    totals = add_up(found, off, exempt)
    given_off = sum(totals.discounts.values())
    exclusive = sum(tax.amount for tax in totals.taxes if not tax.rate.inclusive)
    inclusive = sum(tax.amount for tax in totals.taxes if tax.rate.inclusive)
    assert totals.total == sum(line.amount for line in found) - given_off + exclusive
    assert totals.total_excluding_tax == totals.total - exclusive - inclusive
    own = sum(amount for line in found for id_, amount in line.discounts if id_.startswith("own"))
    assert totals.subtotal == sum(line.amount for line in found) - own
    assert given_off == sum(amount for line in found for _, amount in line.discounts)
    for line in found:
        assert all(amount >= 0 for _, amount in line.discounts)
        assert line.net >= 0 or line.amount < 0
    if exempt:
        assert exclusive == inclusive == 0


@given(amount=amounts, rate=percents)
def test_an_inclusive_tax_and_what_is_left_are_the_price(amount: int, rate: Decimal) -> None:
    totals = add_up([Line(amount, rates=(Rate("vat", rate, inclusive=True),))], [], None)
    tax = totals.taxes[0]
    assert tax.amount + tax.taxable == amount == totals.total
    assert abs(tax.amount - amount * rate / (100 + rate)) <= Decimal("0.5")


def test_twenty_per_cent_within_a_price() -> None:
    totals = add_up([Line(1200, rates=(Rate("vat", Decimal(20), inclusive=True),))], [], None)
    assert (totals.taxes[0].amount, totals.total_excluding_tax, totals.subtotal_excluding_tax) == (200, 1000, 1000)


def test_money_off_is_spread_over_the_lines_by_the_largest_remainder() -> None:
    found = [Line(100), Line(100), Line(100), Line(500, discountable=False)]
    assert add_up(found, [Discount("off", amount_off=200)], None).total == 600
    assert [line.net for line in found] == [33, 33, 34, 500]


def test_money_off_never_exceeds_what_it_is_off() -> None:
    assert add_up([Line(100), Line(-40, discountable=False)], [Discount("off", amount_off=999)], None).total == -40


def test_several_discounts_apply_in_their_order() -> None:
    half, ten = Discount("half", percent_off=Decimal(50)), Discount("ten", amount_off=1000)
    assert add_up([Line(4000)], [half, ten], None).total == 1000
    assert add_up([Line(4000)], [ten, half], None).total == 1500


@settings(max_examples=25, deadline=None)
@given(
    charged=st.lists(st.integers(-5000, 20_000), min_size=1, max_size=4),
    balance=st.integers(-10_000, 10_000),
    rate=st.sampled_from([None, "7.7", "19"]),
    off=st.sampled_from([None, 15]),
)
def test_what_is_due_and_the_balance_are_the_total(
    charged: list[int], balance: int, rate: str | None, off: int | None
) -> None:
    seller = Seller()
    customer = seller.customer()
    if balance:
        path = f"/v1/customers/{customer['id']}/balance_transactions"
        seller.post(path, amount=balance, currency="usd")
    params: Json = {}
    if rate is not None:
        tax = seller.post("/v1/tax_rates", display_name="VAT", inclusive=False, percentage=rate)
        params["default_tax_rates"] = [tax["id"]]
    if off is not None:
        params["discounts"] = [{"coupon": seller.post("/v1/coupons", percent_off=off, duration="once")["id"]}]
    draft = seller.invoice(customer, *charged, **params)
    final = seller.post(f"/v1/invoices/{draft['id']}/finalize")
    assert final["starting_balance"] == balance
    assert final["total"] + balance == final["amount_due"] + final["ending_balance"]
    assert final["amount_due"] == 0 or final["amount_due"] >= 50
    assert seller.get(f"/v1/customers/{customer['id']}")["balance"] == final["ending_balance"]
    moved = seller.get(f"/v1/customers/{customer['id']}/balance_transactions")["data"]
    assert sum(row["amount"] for row in moved) == final["ending_balance"]
    taxed = sum(tax["amount"] for tax in final["total_taxes"])
    taken = sum(one["amount"] for one in final["total_discount_amounts"])
    assert final["total"] == final["subtotal"] - taken + taxed
