"""Quota letters over months: 80 %, 100 %, once each, in the owner's own month, and never stale."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from db.usage import Owner
from jobs.usage.quota import warn_of_quotas
from tests.mail.post import Post
from tests.usage.books import DAY, Books

PARTNER = Owner(api_key_prefix="nw_live")
LETTERS = "SELECT key, template, recipient, locale, context, status, reason FROM emails ORDER BY id"


async def look(books: Books) -> list[str]:
    """Run the schedule. Returns the keys of all letters so far."""
    await books.work(warn_of_quotas, period=books.clock.now())
    return [row["key"] for row in await books.rows(LETTERS)]


async def letters(books: Books) -> list[dict[str, Any]]:
    return await books.rows(LETTERS)


async def deliver(books: Books) -> None:
    """The mail workers at work."""
    await Post(books.engine, books.clock, books.mailer).work()


async def test_two_letters_in_a_month_and_two_in_the_next(books: Books) -> None:
    await books.contract(monthly_request_limit=100)
    assert await look(books) == []
    await books.use(PARTNER, 79)
    assert await look(books) == []
    await books.use(PARTNER, 1)
    assert await look(books) == ["quota/nw_live/2026-11/80"]
    await books.use(PARTNER, "19.999999")
    assert await look(books) == ["quota/nw_live/2026-11/80"]
    await books.use(PARTNER, "0.000001")
    both = ["quota/nw_live/2026-11/80", "quota/nw_live/2026-11/100"]
    assert await look(books) == both
    await books.use(PARTNER, 500)
    assert await look(books) == both
    books.clock.time = datetime(2026, 12, 2, tzinfo=UTC)
    assert await look(books) == both
    await books.use(PARTNER, 200)
    assert await look(books) == [*both, "quota/nw_live/2026-12/100"]


async def test_what_the_letter_says(books: Books) -> None:
    await books.contract(monthly_request_limit=100, included_units=0)
    await books.use(PARTNER, "84.7")
    await look(books)
    (letter,) = await letters(books)
    assert (letter["template"], letter["recipient"], letter["locale"]) == ("usage_80", "ap@northwind.example", "de")
    says = letter["context"]
    assert (says["name"], says["used"], says["limit"]) == ("Grace Hopper", 84, 100)
    assert says["period"] == {"first": "2026-11-01T00:00:00Z", "last": "2026-12-01T00:00:00Z"}
    assert says["overage"] == {"amount": "200", "currency": "eur", "per": 1000}


async def test_what_is_not_billable_does_not_count(books: Books) -> None:
    await books.contract(monthly_request_limit=10)
    await books.use(PARTNER, 50, billable=False)
    assert await look(books) == []


async def test_the_month_is_the_contracts_own(books: Books) -> None:
    """In Kolkata November begins at 18:30 UTC on 31 October: what was used before belongs to October."""
    await books.contract(monthly_request_limit=100, timezone="Asia/Kolkata")
    begin = datetime(2026, 10, 31, 18, 30, tzinfo=UTC)
    books.clock.time = begin + timedelta(hours=2)
    await books.use_many(PARTNER, [(60, begin - timedelta(microseconds=1)), (60, begin)])
    assert await look(books) == []
    await books.use(PARTNER, 20, begin + timedelta(hours=1))
    assert await look(books) == ["quota/nw_live/2026-11/80"]


async def test_a_limit_that_was_raised_takes_back_what_was_not_sent(books: Books) -> None:
    contract = await books.contract(monthly_request_limit=100)
    await books.use(PARTNER, 85)
    await look(books)
    await books.run("UPDATE api_partner_contracts SET monthly_request_limit = 1000 WHERE id = :id", id=contract)
    await deliver(books)
    (letter,) = await letters(books)
    assert letter["status"] == "suppressed"
    assert letter["reason"] == "the limit was changed meanwhile: it is 1000 now, of which less than 80 % is used"
    assert books.mailer.letters() == []


async def test_a_letter_that_is_overtaken_is_not_sent(books: Books) -> None:
    await books.contract(monthly_request_limit=100)
    await books.use(PARTNER, 85)
    await look(books)
    await books.use(PARTNER, 20)
    await look(books)
    await deliver(books)
    assert [(row["template"], row["status"]) for row in await letters(books)] == [
        ("usage_80", "suppressed"),
        ("usage_100", "sent"),
    ]


async def test_a_month_that_is_over_is_not_told_of(books: Books) -> None:
    await books.contract(monthly_request_limit=100)
    books.clock.time = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    await books.use(PARTNER, 85)
    await look(books)
    books.clock.move(timedelta(minutes=2))
    await deliver(books)
    assert [row["reason"] for row in await letters(books)] == ["the month 2026-11 is over"]


async def test_versions_states_and_dates_of_contracts_are_held(books: Books) -> None:
    await books.contract("old", monthly_request_limit=10, contract_end_date=date(2026, 11, 9))
    await books.contract("paused", monthly_request_limit=10, status="paused")
    await books.contract("later", monthly_request_limit=10, contract_start_date=date(2026, 12, 1))
    await books.contract("raised", monthly_request_limit=10)
    await books.contract("raised", monthly_request_limit=None, valid_from=date(2026, 11, 10), version=2)
    await books.contract("lowered", monthly_request_limit=1000)
    await books.contract("lowered", monthly_request_limit=10, valid_from=date(2026, 11, 10), version=2)
    await books.contract("broken", monthly_request_limit=10, timezone="Middle/Earth")
    for prefix in ("old", "paused", "later", "raised", "lowered", "broken", "stranger"):
        await books.use(Owner(api_key_prefix=prefix), 10)
    assert await look(books) == ["quota/lowered/2026-11/100"]


async def test_without_an_address_the_letter_is_only_written_down(books: Books) -> None:
    await books.contract(monthly_request_limit=10, billing_email=None)
    await books.use(PARTNER, 10)
    await look(books)
    (letter,) = await letters(books)
    assert (letter["status"], letter["reason"]) == (
        "suppressed",
        "nobody is named to write to: set the contract's billing_email",
    )


async def test_where_no_single_price_holds_nothing_is_said_of_further_calls(books: Books) -> None:
    await books.contract(
        monthly_request_limit=10, pricing_model="flat", monthly_flat_fee_cents=5000, per_1000_requests_cents=0
    )
    await books.use(PARTNER, 10)
    await look(books)
    (letter,) = await letters(books)
    assert (letter["context"]["overage"], letter["context"]["refused"]) == (None, False)
    await deliver(books)
    (sent,) = books.mailer.letters()
    assert "abgelehnt" not in str(sent)


async def test_a_subscriber_hears_of_the_plans_allowance(books: Books) -> None:
    await books.plan(included_units=1000, package_size=100, package_price_cents=50)
    user = await books.subscriber()
    await books.use(Owner(user_id=user), 800, datetime(2026, 10, 31, 23, 30, tzinfo=UTC))  # in Berlin it is November
    assert await look(books) == [f"quota/user:{user}/2026-11/80"]
    (letter,) = await letters(books)
    assert letter["recipient"] == "ada1@example.com"
    assert letter["context"]["overage"] == {"amount": "50", "currency": "eur", "per": 100}
    assert letter["context"]["period"]["first"] == "2026-10-31T23:00:00Z"


async def test_a_plan_that_began_within_the_month_includes_its_share(books: Books) -> None:
    await books.plan(included_units=3000)
    user = await books.subscriber(timezone="UTC")
    begin = datetime(2026, 11, 21, tzinfo=UTC)
    await books.became(begin, "price_small")
    books.clock.time = begin + DAY
    await books.use(Owner(user_id=user), 5000, begin - DAY)  # before: nobody's allowance
    await books.use(Owner(user_id=user), 799)
    assert await look(books) == []
    await books.use(Owner(user_id=user), 1)
    assert await look(books) == [f"quota/user:{user}/2026-11/80"]


async def test_customers_without_a_plan_are_left_alone(books: Books) -> None:
    user = await books.subscriber(price="price_other")
    await books.use(Owner(user_id=user), 10**6)
    assert await look(books) == []
    await books.plan()
    assert await look(books) == []
