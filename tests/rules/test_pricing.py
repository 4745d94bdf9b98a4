"""What a period costs adds up, agrees with a naive reckoning unit by unit, and does not hang on how it is cut."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from db.money import rounded
from jobs.rules.pricing import Part, Rated, Terms, Tier, cliffs, is_deed, problems, quote, rate
from jobs.rules.pricing_cliffs import cheaper, cost

START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
SECONDS = 31 * 86_400
BY_REQUEST = Terms(model="per_request", currency="usd", per_1000_requests=Decimal(10), package_size=1)
DEEDS, OTHERS = ("deed.created", "a deed"), ("search", "valuation")


def priced(terms: Terms, *units: object, months: int = 1) -> Rated:
    """A whole period with so many deeds and so many requests."""
    names = ("deed.created", "search")
    return quote(terms, {n: Decimal(str(u)) for n, u in zip(names, units, strict=False)}, START, END, months)


def tiered(*tiers: tuple[int | None, str, int], **more: Any) -> Terms:
    made = tuple(Tier(up_to=up_to, unit_price=Decimal(price), flat_fee=fee) for up_to, price, fee in tiers)
    return Terms(model=more.pop("model", "tiered"), currency="usd", tiers=made, **more)


minors = st.integers(0, 50_000)
prices = st.decimals(0, 900, places=3)
counts = st.integers(0, 90)
units_of = st.decimals(0, 500, places=6)
usages = st.dictionaries(st.sampled_from(DEEDS + OTHERS), units_of)


@st.composite
def some_tiers(draw: Any, *, fees: bool = True) -> tuple[Tier, ...]:
    edges: list[int] = sorted(draw(st.sets(st.integers(1, 60), max_size=4)))
    return tuple(
        Tier(up_to=edge, unit_price=draw(prices), flat_fee=draw(minors) if fees else 0) for edge in (*edges, None)
    )


@st.composite
def some_terms(draw: Any) -> Terms:
    """Any price list, with a cap or not."""
    minimum = draw(st.integers(0, 30_000))
    return Terms(
        model=(model := draw(st.sampled_from(["flat", "per_deed", "per_request", "hybrid", "tiered"]))),
        currency=draw(st.sampled_from(["usd", "jpy", "kwd"])),
        monthly_flat_fee=draw(minors),
        per_deed_price=draw(prices),
        per_1000_requests=draw(prices),
        tiers=draw(some_tiers()) if model == "tiered" or draw(st.booleans()) else (),
        tier_mode=draw(st.sampled_from(["graduated", "volume"])),
        package_size=draw(st.integers(1, 30)),
        package_rounding=draw(st.sampled_from(["exact", "up", "down"])),
        included_units=draw(st.integers(0, 40)),
        minimum_commitment=minimum,
        cap=draw(st.none() | st.integers(minimum, 60_000)),
    )


def away(value: Fraction) -> int:
    """A rounding of its own: by decimals, which price and units have an end in."""
    with localcontext() as context:
        context.prec = 200
        return int((Decimal(value.numerator) / Decimal(value.denominator)).to_integral_value(ROUND_HALF_UP))


def naive_tiers(terms: Terms, units: int) -> int:
    """Unit by unit: which tier does it lie in, which tiers are reached."""
    by_tier: dict[int, Fraction] = {0: Fraction(0)}
    for unit in range(1, units + 1):
        number = 0
        while True:
            edge = terms.tiers[number].up_to
            if edge is None or unit <= edge:
                break
            number += 1
        if terms.tier_mode == "volume":
            by_tier = {number: Fraction(terms.tiers[number].unit_price) * unit}
        else:
            by_tier[number] = by_tier.get(number, Fraction(0)) + Fraction(terms.tiers[number].unit_price)
    return sum(away(exact) + terms.tiers[number].flat_fee for number, exact in by_tier.items())


def naive(terms: Terms, deeds: int, others: int) -> int:
    """The whole charge, reckoned by hand and loops."""
    everything = deeds + others
    free = terms.included_units
    total = terms.monthly_flat_fee
    if terms.model == "per_deed":
        total += away(sum((Fraction(terms.per_deed_price) for _ in range(free, deeds)), Fraction(0)))
    if terms.model == "hybrid":
        total += away(sum((Fraction(terms.per_deed_price) for _ in range(deeds)), Fraction(0)))
    requests = {"flat": 0, "per_deed": 0, "hybrid": others}.get(terms.model, everything)
    charged = len(range(free, requests))
    if terms.model == "tiered" or (terms.model == "hybrid" and terms.tiers):
        total += naive_tiers(terms, charged)
    elif terms.package_rounding == "exact":
        total += away(Fraction(terms.per_1000_requests) * charged / terms.package_size)
    else:
        packages = 0
        while charged >= terms.package_size:
            charged, packages = charged - terms.package_size, packages + 1
        packages += 1 if charged and terms.package_rounding == "up" else 0
        total += away(Fraction(terms.per_1000_requests) * packages)
    total = max(total, terms.minimum_commitment)
    return total if terms.cap is None else min(total, terms.cap)


@given(some_terms(), counts, counts)
def test_a_naive_reckoning_agrees(terms: Terms, deeds: int, others: int) -> None:
    assert priced(terms, deeds, others).subtotal == naive(terms, deeds, others)


@given(some_terms(), usages, st.integers(1, 12))
def test_lines_add_up_and_each_is_its_quantity_times_its_price(
    terms: Terms, usage: dict[str, Decimal], months: int
) -> None:
    rated = quote(terms, usage, START, END, months)
    assert rated.subtotal == sum(line.amount for line in rated.lines)
    for line in rated.lines:
        assert (line.start, line.end, line.part) == (START, END, 0)
        if line.quantity is not None and line.unit_price is not None:
            assert line.amount == rounded(Fraction(line.quantity) * Fraction(line.unit_price))
        assert all(isinstance(each, str) for each in line.facts.values())
    if terms.cap is not None:
        assert rated.subtotal <= terms.cap * months
    assert rated.subtotal >= terms.minimum_commitment * months


@given(some_terms(), usages, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter_nor_does_the_decimal_context(
    terms: Terms, usage: dict[str, Decimal], random: Any
) -> None:
    names = list(usage)
    random.shuffle(names)
    with localcontext() as context:
        context.prec = 3
        assert quote(terms, {n: usage[n] for n in names}, START, END) == quote(terms, usage, START, END)


def everything(units: Decimal) -> Decimal:
    return units


def cut(
    terms: Terms, usage: Mapping[str, Decimal], at: list[int], shares: Callable[[Decimal], Decimal] = everything
) -> list[Part]:
    """The period in pieces, each with a piece of the usage; the last has what is left."""
    instants = [START, *(START + timedelta(seconds=second) for second in sorted(set(at))), END]
    left, parts = dict(usage), list[Part]()
    for number, (start, end) in enumerate(pairwise(instants), start=2):
        last = number == len(instants)
        here = {name: units if last else min(units, shares(units)) for name, units in left.items()}
        left = {name: units - here[name] for name, units in left.items()}
        parts.append(Part(terms=terms, start=start, end=end, usage=here))
    return parts


seconds_within = st.lists(st.integers(1, SECONDS - 1), max_size=4)


@given(some_terms(), usages, seconds_within, st.data(), st.integers(1, 3))
def test_versions_of_equal_prices_come_to_what_one_would(
    terms: Terms, usage: dict[str, Decimal], at: list[int], data: Any, months: int
) -> None:
    def some(units: Decimal) -> Decimal:
        return data.draw(st.decimals(0, units, places=6))

    parts = cut(terms, usage, at, some)
    others = [replace(part, terms=replace(terms, discount_percent=Decimal(n))) for n, part in enumerate(parts)]
    assert (
        rate(START, END, months, others) == rate(START, END, months, parts) == quote(terms, usage, START, END, months)
    )


@given(minors, seconds_within, st.integers(1, 12))
def test_a_fee_that_stays_is_divided_without_losing_a_cent(fee: int, at: list[int], months: int) -> None:
    """Even where the minimum changes each time, so that nothing else is reckoned together."""
    base = Terms(model="flat", currency="usd", monthly_flat_fee=fee)
    parts = [replace(part, terms=replace(base, cap=10**9 + number)) for number, part in enumerate(cut(base, {}, at))]
    rated = rate(START, END, months, parts)
    assert sum(line.amount for line in rated.lines) == rated.subtotal == fee * months
    assert len(rated.lines) == (len(parts) if fee else 0)


@given(st.integers(0, 10_000), seconds_within)
def test_included_units_are_whole_and_no_fewer_than_agreed(included: int, at: list[int]) -> None:
    base = Terms(model="per_deed", currency="usd", included_units=included)
    many = {"deed": Decimal(10_001)}
    parts = [
        replace(part, usage=many, terms=replace(base, per_deed_price=Decimal(n)))
        for n, part in enumerate(cut(base, {}, at))
    ]
    given_away = [int(line.facts["included"]) for line in rate(START, END, 1, parts).lines if line.kind == "included"]
    assert included <= sum(given_away) < included + len(parts)


@given(some_tiers(), units_of, units_of)
def test_graduated_tiers_never_cost_less_for_more(tiers: tuple[Tier, ...], one: Decimal, other: Decimal) -> None:
    terms = Terms(model="tiered", currency="usd", tiers=tiers)
    assert priced(terms, min(one, other)).subtotal <= priced(terms, max(one, other)).subtotal
    assert priced(terms, one).flags == ()


@given(some_tiers(fees=False))
def test_graduated_tiers_do_not_jump_at_an_edge(tiers: tuple[Tier, ...]) -> None:
    terms = Terms(model="tiered", currency="usd", tiers=tiers)
    for edge in (tier.up_to for tier in tiers if tier.up_to is not None):
        assert priced(terms, edge).subtotal == priced(terms, f"{edge}.000001").subtotal


@given(some_tiers(), units_of)
def test_volume_tiers_price_all_units_alike(tiers: tuple[Tier, ...], units: Decimal) -> None:
    terms = Terms(model="tiered", currency="usd", tiers=tiers, tier_mode="volume")
    tier = next(tier for tier in tiers if tier.up_to is None or units <= tier.up_to)
    assert priced(terms, units).subtotal == rounded(Fraction(tier.unit_price) * Fraction(units)) + tier.flat_fee


@given(some_tiers(), counts, st.booleans())
def test_a_cliff_is_flagged_if_and_only_if_more_costs_less(tiers: tuple[Tier, ...], units: int, hybrid: bool) -> None:  # noqa: FBT001 - hypothesis hands it over
    model = "hybrid" if hybrid else "tiered"
    terms = Terms(model=model, currency="usd", tiers=tiers, tier_mode="volume")
    grid = sorted({Fraction(n) + tail for n in range(100) for tail in (Fraction(0), Fraction(1, 10**6))})
    by_grid = [cost(terms, each) for each in grid]
    falls = any(later < earlier for earlier, later in pairwise(by_grid))
    assert bool(cliffs(terms)) is falls
    for each in cliffs(terms):
        assert each.more > each.units
        assert cost(terms, each.more) == each.less < each.cost == cost(terms, each.units)
    mine = cost(terms, Fraction(units))
    less = any(price < mine for each, price in zip(grid, by_grid, strict=True) if each > units)
    assert (cheaper(terms, Fraction(units)) is not None) is less
    told = priced(terms, 0, units).flags
    assert len(told) == len(cliffs(terms)) + less
    assert all(flag.startswith("volume_cliff") for flag in told)


def test_a_cliff_names_whole_counts_where_they_tell_it_and_the_cheapest_of_all() -> None:
    terms = tiered((1, "10", 0), (100, "6", 0), (200, "0.05", 0), (None, "0.01", 0), tier_mode="volume")
    assert priced(terms, 0, 1).flags == (
        "volume_cliff_here: 1 units cost 0.10 USD, 201 cost 0.02 USD",
        "volume_cliff: 1 units cost 0.10 USD, 1.000001 cost 0.06 USD",
        "volume_cliff: 100 units cost 6.00 USD, 101 cost 0.05 USD",
        "volume_cliff: 200 units cost 0.10 USD, 201 cost 0.02 USD",
    )
    assert cheaper(terms, Fraction(201)) is None


def test_of_several_cheaper_counts_the_cheapest_is_told() -> None:
    terms = tiered((100, "10", 0), (200, "1", 0), (None, "3", 0), tier_mode="volume")
    assert priced(terms, 0, 90).flags[0] == "volume_cliff_here: 90 units cost 9.00 USD, 101 cost 1.01 USD"


def test_a_cliff_is_told_of_the_units_that_are_charged() -> None:
    terms = tiered((10, "10", 100), (None, "1", 0), tier_mode="volume", included_units=50)
    for used in (0, 20, 50):
        assert priced(terms, 0, used).flags[0] == "volume_cliff_here: 0 units cost 1.00 USD, 11 cost 0.11 USD"
    assert priced(terms, 0, 55).flags[0] == "volume_cliff_here: 5 units cost 1.50 USD, 11 cost 0.11 USD"


def test_quantities_are_written_without_zeros_that_say_nothing() -> None:
    lines = [priced(BY_REQUEST, 0, units).lines[0] for units in ("0.500000", "1E+3", "1200", "2.000001")]
    assert [str(line.quantity) for line in lines] == ["0.5", "1000", "1200", "2.000001"]


@given(some_terms(), usages)
def test_what_was_frozen_is_rated_again_to_the_same_lines(terms: Terms, usage: dict[str, Decimal]) -> None:
    part = Part(terms=terms, start=START, end=END, usage=usage)
    again = msgspec.json.decode(msgspec.json.encode(part), type=Part)
    assert rate(START, END, 1, [again]) == rate(START, END, 1, [part])


@given(some_terms())
def test_without_usage_there_are_fees_and_the_minimum(terms: Terms) -> None:
    rated = priced(terms)
    assert {line.kind for line in rated.lines} <= {"flat_fee", "tier", "minimum", "cap"}
    assert [line.facts["tier"] for line in rated.lines if line.kind == "tier"] in (["1"], [])


def test_deeds_are_told_by_patterns() -> None:
    terms = Terms(model="hybrid", currency="usd", deed_events=("title.*", "deed.?"))
    assert [is_deed(terms, name) for name in ("title.search", "deed.1", "deed.10", "Title.x")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_line_is_rounded_once_and_not_on_the_way() -> None:
    """5 times 2.1, halved, is 5.25; a rounding on the way, half of 11, would make 6 of it."""
    terms = Terms(model="per_request", currency="usd", per_1000_requests=Decimal("2.1"), package_size=2)
    assert priced(terms, 0, 5).subtotal == 5


def test_the_price_of_a_package_without_an_end_is_told_in_the_facts_alone() -> None:
    terms = Terms(model="per_request", currency="usd", per_1000_requests=Decimal(100), package_size=300)
    assert problems(terms) == []
    (line,) = priced(terms, 0, 100).lines
    assert (line.amount, line.quantity, line.unit_price) == (33, Decimal(100), None)
    assert (line.facts["price"], line.facts["package"]) == ("100", "300")
