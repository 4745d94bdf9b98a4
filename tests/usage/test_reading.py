"""What was used, by type and day, its limits, and its cost so far; by contract versions, plans and time zones."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from db.usage import Owner
from jobs.usage import reading
from jobs.usage.reading import BadPeriod, UnknownOwner
from tests.usage.books import DAY, Books
from worker.errors import Refused

PARTNER = Owner(api_key_prefix="nw_live")


async def partner(books: Books, period: str | None = None, prefix: str = "nw_live") -> dict[str, Any]:
    async with books.engine.connect() as conn:
        told = await reading.of_partner(conn, prefix, period, books.clock.now())
    return json.loads(reading.encode(told), parse_float=Decimal)


async def customer(books: Books, user_id: int, period: str | None = None) -> dict[str, Any]:
    async with books.engine.connect() as conn:
        told = await reading.of_user(conn, user_id, period, books.clock.now(), "UTC")
    return json.loads(reading.encode(told), parse_float=Decimal)


async def partner_quote(books: Books) -> dict[str, Any]:
    async with books.engine.connect() as conn:
        told = await reading.quote_of_partner(conn, "nw_live", books.clock.now())
    return json.loads(reading.encode(told), parse_float=Decimal)


async def customer_quote(books: Books, user_id: int) -> dict[str, Any]:
    async with books.engine.connect() as conn:
        told = await reading.quote_of_user(conn, user_id, books.clock.now(), "UTC")
    return json.loads(reading.encode(told), parse_float=Decimal)


async def test_a_partners_month(books: Books) -> None:
    await books.contract(monthly_request_limit=5000, rate_limit_per_minute=60)
    at = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
    await books.use_many(PARTNER, [(1000, at), ("500.25", at + timedelta(hours=1)), (499, at + DAY)])
    await books.use(PARTNER, 7, at, billable=False)
    await books.use(PARTNER, 2, at, type_="deed.lookup")
    told = await partner(books)
    assert (told["api_key_prefix"], told["company"]) == ("nw_live", "Northwind Analytics Ltd")
    assert told["period"] == {
        "name": "2026-11",
        "start": "2026-11-01T00:00:00Z",
        "end": "2026-12-01T00:00:00Z",
        "timezone": "UTC",
        "complete": False,
    }
    assert told["usage"] == {
        "events": 5,
        "units": Decimal("2008.25"),
        "billable_units": Decimal("2001.25"),
        "by_type": [
            {"event_type": "api.call", "billable": False, "events": 1, "units": 7},
            {"event_type": "api.call", "billable": True, "events": 3, "units": Decimal("1999.25")},
            {"event_type": "deed.lookup", "billable": True, "events": 1, "units": 2},
        ],
        "other_types": None,
        "by_day": [
            {"day": "2026-11-03", "events": 4, "units": Decimal("1509.25"), "billable_units": Decimal("1502.25")},
            {"day": "2026-11-04", "events": 1, "units": 499, "billable_units": 499},
        ],
    }
    assert told["limits"] == {
        "monthly_request_limit": 5000,
        "used": Decimal("2001.25"),
        "remaining": Decimal("2998.75"),
        "percent": 40,
        "rate_limit_per_minute": 60,
    }
    cost = told["cost"]
    assert (cost["amount_cents"], cost["currency"]) == (400, "eur")  # 2001.25 at 2.00 EUR for 1,000
    assert [line["amount_cents"] for line in cost["lines"]] == [400]
    assert cost["lines"][0]["explanation"].endswith("= 4.00 EUR")


@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [
        ("Asia/Kolkata", "2026-10-31T18:30Z", 24),
        ("America/New_York", "2026-11-01T04:00Z", 25),  # clocks go back on that day
        ("Asia/Kathmandu", "2026-10-31T18:15Z", 24),
    ],
)
async def test_days_are_the_contracts_own_to_the_event(books: Books, zone: str, first: str, hours: int) -> None:
    await books.contract(timezone=zone)
    begin = datetime.fromisoformat(first)
    second = begin + timedelta(hours=hours)
    moments = [begin - timedelta.resolution, begin, second - timedelta.resolution, second]
    await books.use_many(PARTNER, [(1, moments[0]), (10, moments[1]), (100, moments[2]), (1000, moments[3])])
    told = await partner(books)
    assert [(day["day"], day["units"]) for day in told["usage"]["by_day"]] == [
        ("2026-11-01", 110),
        ("2026-11-02", 1000),
    ]
    assert (await partner(books, "2026-10"))["usage"]["units"] == 1


async def test_a_new_price_counts_from_its_day(books: Books) -> None:
    await books.contract()
    await books.contract(per_1000_requests_cents=400, valid_from=date(2026, 11, 6), version=2)
    await books.use_many(
        PARTNER, [(1000, datetime(2026, 11, 5, 23, 59, tzinfo=UTC)), (1000, datetime(2026, 11, 6, tzinfo=UTC))]
    )
    told = await partner(books)
    assert [line["amount_cents"] for line in told["cost"]["lines"]] == [200, 400]


async def test_a_quarters_cost_is_of_the_quarter_and_its_limits_of_the_month(books: Books) -> None:
    await books.contract(
        billing_cycle="quarterly",
        monthly_flat_fee_cents=1000,
        pricing_model="flat",
        per_1000_requests_cents=0,
        monthly_request_limit=100,
    )
    await books.use_many(PARTNER, [(50, datetime(2026, 10, 5, tzinfo=UTC)), (70, books.clock.now())])
    told = await partner(books)
    assert told["limits"]["used"] == 70
    assert (told["cost"]["period"]["name"], told["cost"]["amount_cents"]) == ("2026-10", 3000)


async def test_nobody_knows_who_has_neither_contract_nor_usage(books: Books) -> None:
    with pytest.raises(UnknownOwner, match="nw_live"):
        await partner(books)
    await books.use(PARTNER, 3)
    told = await partner(books)
    assert (told["usage"]["units"], told["cost"], told["limits"]["monthly_request_limit"]) == (3, None, None)
    with pytest.raises(UnknownOwner):
        await customer(books, 99)
    with pytest.raises(UnknownOwner):
        await customer(books, 2**63)


@pytest.mark.parametrize("period", ["2026-13", "now", "", "1900-01"])
async def test_a_period_that_is_none_is_told(books: Books, period: str) -> None:
    await books.contract()
    with pytest.raises(BadPeriod):
        await partner(books, period)


async def test_a_contract_that_cannot_be_read_says_what_to_mend(books: Books) -> None:
    await books.contract(timezone="Middle/Earth")
    with pytest.raises(Refused, match="Middle/Earth"):
        await partner(books)


async def test_usage_and_limits_are_told_though_the_prices_make_no_sense(books: Books) -> None:
    await books.contract(pricing_model="tiered", monthly_request_limit=10)
    await books.use(PARTNER, 3)
    told = await partner(books)
    assert (told["limits"]["used"], told["cost"]) == (3, None)
    assert "tiers" in told["note"]


async def test_a_subscribers_month(books: Books) -> None:
    await books.plan(included_units=1000, package_size=100, package_price_cents=50)
    user = await books.subscriber()
    await books.use(Owner(user_id=user), 1250, datetime(2026, 10, 31, 23, 0, tzinfo=UTC))  # Berlin's November begins
    await books.use(Owner(user_id=user), 1, datetime(2026, 10, 31, 22, 59, tzinfo=UTC))
    told = await customer(books, user)
    assert told["period"]["start"] == "2026-10-31T23:00:00Z"
    assert told["limits"] == {
        "monthly_request_limit": 1000,
        "used": 1250,
        "remaining": 0,
        "percent": 125,
        "rate_limit_per_minute": None,
    }
    assert (told["cost"]["amount_cents"], told["cost"]["currency"]) == (125, "eur")


async def test_without_a_plan_nothing_is_charged(books: Books) -> None:
    user = await books.subscriber()
    await books.use(Owner(user_id=user), 10**6)
    told = await customer(books, user)
    assert (told["cost"], told["limits"]["monthly_request_limit"]) == (None, None)
    quote = await customer_quote(books, user)
    assert (quote["included_units"], quote["cost_cents"], quote["price"]) == (None, None, None)
    assert "nothing is charged" in quote["meaning"]


async def test_a_quote_tells_what_it_costs_now_and_at_the_end(books: Books) -> None:
    await books.plan(included_units=1000, package_size=100, package_price_cents=50, package_rounding="up")
    user = await books.subscriber(timezone="UTC")
    books.clock.time = datetime(2026, 11, 11, tzinfo=UTC)  # a third of the month
    await books.use(Owner(user_id=user), 1201, datetime(2026, 11, 2, tzinfo=UTC))
    quote = await customer_quote(books, user)
    assert (quote["included_units"], quote["used_units"], quote["over_units"]) == (1000, 1201, 201)
    assert quote["price"] == {"amount_cents": 50, "currency": "eur", "per_units": 100, "rounding": "up"}
    assert quote["cost_cents"] == 150
    assert quote["projection"] == {
        "method": reading.LINEAR,
        "used_units": 3603,
        "over_units": 2603,
        "cost_cents": 27 * 50,
        "currency": "eur",
    }


async def test_a_partners_quote(books: Books) -> None:
    await books.contract(
        included_units=1000, monthly_flat_fee_cents=9900, pricing_model="hybrid", per_deed_price_cents=30
    )
    books.clock.time = datetime(2026, 11, 16, tzinfo=UTC)  # half of it
    await books.use(PARTNER, 1500)
    quote = await partner_quote(books)
    assert (quote["included_units"], quote["used_units"], quote["over_units"]) == (1000, 1500, 500)
    assert quote["cost_cents"] == 9900 + 100
    assert quote["projection"]["cost_cents"] == 9900 + 400
    assert quote["price"] == {"amount_cents": 200, "currency": "eur", "per_units": 1000, "rounding": "exact"}
