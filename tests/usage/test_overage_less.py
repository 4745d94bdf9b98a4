"""A plan that became known after a month was invoiced gives back what was charged too much, once, and never charges."""

from datetime import UTC, datetime, timedelta

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from db.operators.actions import Actor
from db.usage import Owner
from jobs.invoices import credit_note
from jobs.invoices.sellers import sellers_from
from jobs.partners.explain import Explained, explained
from jobs.usage.overage_release import invoice, look, void
from tests.usage.books import NOVEMBER, Books
from tests.usage.overage_kit import equipped, run_month
from worker.errors import Refused

DECEMBER = datetime(2026, 12, 1, 7, tzinfo=UTC)
JANUARY = datetime(2027, 1, 1, 7, tzinfo=UTC)
FEBRUARY = datetime(2027, 2, 1, 7, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, tzinfo=UTC)
ADA = Actor("ada", "a test")


@pytest.fixture
def books(books: Books) -> Books:
    return equipped(books)


async def november(books: Books) -> int:
    """3,000 calls on the 20th, 2,000 beyond the small plan: 10.00 and tax. Returns the customer."""
    await books.plan(tax_percent=19)
    await books.plan("price_large", included_units=6000, package_price_cents=20, tax_percent=19)
    user = await books.subscriber(timezone="UTC")
    await books.became(SUMMER, "price_small")
    await books.use(Owner(user_id=user), 3000, NOVEMBER + timedelta(days=19))
    books.clock.time = DECEMBER
    (found,) = await run_month(books)
    assert (found["total_cents"], found["status"]) == (1190, "open")
    return user


async def upgraded(books: Books) -> None:
    """Stripe tells late that the larger plan held since the 10th."""
    await books.became(datetime(2026, 11, 10, tzinfo=UTC), "price_large")


async def given(books: Books) -> list[tuple[int, int]]:
    """Given and left, of those that are not void."""
    rows = await books.rows("SELECT amount_cents, remaining_cents FROM credits WHERE voided_at IS NULL ORDER BY id")
    return [(row["amount_cents"], row["remaining_cents"]) for row in rows]


async def billed(books: Books) -> list[tuple[str, int | None]]:
    rows = await books.rows("SELECT status, billed_cents FROM usage_invoices ORDER BY period_start, id")
    return [(row["status"], row["billed_cents"]) for row in rows]


async def told(books: Books, number: str) -> Explained:
    (row,) = await books.rows("SELECT id FROM invoices WHERE invoice_number = :number", number=number)
    async with books.deps.tx() as tx:
        return await explained(tx, row["id"])


async def test_the_difference_pays_for_the_next_invoice_and_is_explained(books: Books) -> None:
    user = await november(books)
    await upgraded(books)
    await books.use(Owner(user_id=user), 7500, DECEMBER)
    books.clock.time = JANUARY
    async with books.deps.tx() as tx:
        _, seen = await look(tx, user, "2026-12", books.settings)
    (_, found) = await run_month(books)
    assert (found["subtotal_cents"], found["total_cents"], found["status"]) == (300, 357, "paid")
    assert await given(books) == [(1190, 1190 - 357)]
    assert await billed(books) == [("issued", 0), ("issued", 300)]
    assert seen.says is not None
    assert (seen.says.due_minor, seen.says.credits[0].minor) == (0, 357), "the preview is the very invoice"
    (document,) = await books.rows(
        "SELECT content FROM documents WHERE number = :number", number=found["invoice_number"]
    )
    assert document["content"]["credits"][0]["name"] == (
        "Guthaben: Tarif für November 2026, der erst später bekannt wurde"
    )
    (note,) = document["content"]["notes"]
    assert note.replace("\N{NO-BREAK SPACE}", " ") == (
        "Tarif für November 2026, der erst später bekannt wurde. Mit aller nun bekannten Nutzung: 0,00 €; bisher"
        " berechnet: 10,00 €. Guthaben: 11,90 €"
    )
    told_ = await told(books, found["invoice_number"])
    assert told_.differences == []
    lines = told_.late["2026-11"]
    assert lines[0] == "by the plans that became known after it was invoiced:"
    assert lines[-3] == "0.00 EUR with all that is known now - 10.00 EUR before = -10.00 EUR"
    assert lines[-2].startswith("10.00 EUR of it was charged by OVR-202612-0001: 11.90 EUR")
    assert lines[-1] == "given back as credit 1: 11.90 EUR"


async def test_it_is_given_back_once_however_many_months_follow(books: Books) -> None:
    user = await november(books)
    await upgraded(books)
    for month in (JANUARY, FEBRUARY, datetime(2027, 3, 1, 7, tzinfo=UTC)):
        await books.use(Owner(user_id=user), 10, month - timedelta(days=3))
        books.clock.time = month
        await run_month(books)
    assert await given(books) == [(1190, 1190)]
    assert (await billed(books))[0] == ("issued", 0)


async def test_operators_are_told_of_each_credit_once(books: Books) -> None:
    user = await november(books)
    await upgraded(books)
    for month in (JANUARY, FEBRUARY):
        books.clock.time = month
        await run_month(books)
    (letter,) = await books.rows("SELECT * FROM emails WHERE template = 'overage_credited'")
    assert (letter["key"], letter["recipient"], letter["occurred_at"]) == ("overage_credited/1", "operators", JANUARY)
    assert letter["context"] == {
        "customer": user,
        "company": "Ada Lovelace",
        "month": "2026-11",
        "amount": {"amount": 1190, "currency": "eur"},
        "credit": 1,
        "reason": "2026-11 comes to 0.00 EUR by the plan that became known late, and 10.00 EUR was charged (before"
        " discounts and taxes)",
        "link": None,
    }


async def test_also_when_nothing_was_used_since(books: Books) -> None:
    await november(books)
    await upgraded(books)
    books.clock.time = JANUARY
    assert len(await run_month(books)) == 1, "no second invoice"
    assert await billed(books) == [("issued", 0), ("empty", 0)]
    assert await given(books) == [(1190, 1190)]


async def test_what_is_reported_late_of_a_quiet_month_is_charged_though_nothing_follows(books: Books) -> None:
    user = await november(books)
    for month in (JANUARY, FEBRUARY, datetime(2027, 3, 1, 7, tzinfo=UTC)):
        books.clock.time = month
        await run_month(books)
    assert await billed(books) == [("issued", 1000), ("empty", 0), ("empty", 0), ("empty", 0)]
    books.clock.time = datetime(2027, 3, 6, 7, tzinfo=UTC)
    await books.use(Owner(user_id=user), 5000, datetime(2027, 2, 20, tzinfo=UTC))
    for month in range(4, 11):
        books.clock.time = datetime(2027, month, 1, 7, tzinfo=UTC)
        await run_month(books)
    assert [one for _, one in await billed(books)][:4] == [1000, 0, 0, 2000]
    assert len(await billed(books)) == 8, "March, which brings it, is watched for 100 days; then it is quiet for good"


async def test_also_when_the_subscription_turns_out_to_have_ended(books: Books) -> None:
    await november(books)
    await books.became(datetime(2026, 11, 16, tzinfo=UTC), "price_small", "canceled")
    books.clock.time = JANUARY
    await run_month(books)
    assert await given(books) == [(1190, 1190)], "what was used on the 20th was used without a plan"
    assert await billed(books) == [("issued", 0), ("empty", 0)]


async def test_late_usage_is_charged_by_the_plan_that_became_known(books: Books) -> None:
    user = await november(books)
    await upgraded(books)
    await books.use(Owner(user_id=user), 2200, NOVEMBER + timedelta(days=20))  # 5,200 of 4,200
    books.clock.time = JANUARY
    await run_month(books)
    assert await billed(books) == [("issued", 200), ("empty", 0)]
    await books.use(Owner(user_id=user), 100, NOVEMBER + timedelta(days=21))
    books.clock.time = FEBRUARY
    (_, found) = await run_month(books)
    assert [line["amount_cents"] for line in found["line_items"]] == [20], "a package of the large plan"
    assert (await billed(books))[0] == ("issued", 220)


async def test_nobody_pays_more_because_we_learned_late_of_a_smaller_plan(books: Books) -> None:
    await november(books)
    await books.plan("price_tiny", included_units=10, package_price_cents=500)
    await books.became(datetime(2026, 11, 10, tzinfo=UTC), "price_tiny")
    books.clock.time = JANUARY
    await run_month(books)
    assert (await given(books), (await billed(books))[0]) == ([], ("issued", 1000))


async def test_what_nobody_told_is_no_reason_to_give_back(books: Books) -> None:
    """A subscription that was loaded: its first event tells of a change in December, and nothing of November."""
    await books.plan(tax_percent=19)
    await books.plan("price_large", included_units=6000, package_price_cents=20, tax_percent=19)
    user = await books.subscriber(timezone="UTC")
    await books.use(Owner(user_id=user), 3000, NOVEMBER + timedelta(days=19))
    books.clock.time = DECEMBER
    await run_month(books)
    await books.became(datetime(2026, 12, 10, tzinfo=UTC), "price_large")
    await books.use(Owner(user_id=user), 10, DECEMBER)
    books.clock.time = JANUARY
    await run_month(books)
    assert (await given(books), (await billed(books))[0]) == ([], ("issued", 1000))


async def test_a_plan_in_another_currency_changes_nothing(books: Books) -> None:
    await november(books)
    await books.plan("price_usd", included_units=9000, package_price_cents=20, currency="usd")
    await books.became(datetime(2026, 11, 1, tzinfo=UTC), "price_usd")
    await books.became(datetime(2026, 12, 1, tzinfo=UTC), "price_small")
    books.clock.time = JANUARY
    await run_month(books)
    assert (await given(books), (await billed(books))[0]) == ([], ("issued", 1000))


async def test_a_plan_that_is_told_late_is_no_late_usage_in_another_currency_either(books: Books) -> None:
    user = await november(books)
    await books.plan("price_usd", included_units=1000, package_price_cents=20, currency="usd")
    await upgraded(books)
    await books.became(datetime(2026, 12, 1, tzinfo=UTC), "price_usd")
    await books.use(Owner(user_id=user), 2000, DECEMBER)
    books.clock.time = JANUARY
    (_, found) = await run_month(books)
    assert (found["currency"], await given(books)) == ("usd", [])
    (row,) = await books.rows("SELECT reasons FROM usage_invoices WHERE currency = 'usd'")
    (why,) = (one["why"] for one in row["reasons"])
    assert why == (
        "2026-11 comes to 10.00 EUR less (before discounts and taxes) by the plan that became known late: an invoice in"
        " USD cannot give it back; write a credit note (`billing invoices credit-note`)"
    )


async def test_a_month_that_is_released_late_has_set_others_right_last(books: Books) -> None:
    """December waits while January gives back for November; released, it gives back more. February must know that."""
    await books.plan("price_mid", included_units=2000)
    user = await november(books)
    await books.run("UPDATE users SET deleted_at = :at", at=JANUARY)
    await books.use(Owner(user_id=user), 8000, DECEMBER)
    books.clock.time = JANUARY
    await run_month(books)
    await books.run("UPDATE users SET deleted_at = NULL")
    await books.became(datetime(2026, 11, 10, tzinfo=UTC), "price_mid")
    books.clock.time = FEBRUARY
    await run_month(books)
    assert await billed(books) == [("issued", 800), ("parked", None), ("empty", 0)]
    await books.became(datetime(2026, 11, 15, tzinfo=UTC), "price_large")
    async with books.deps.tx() as tx:
        assert (await invoice(tx, user, "2026-12", books.settings, ADA, release=True)).status == "issued"
    assert (await billed(books))[0] == ("issued", 0)
    await books.became(datetime(2026, 11, 25, tzinfo=UTC), "price_usd")  # of two currencies: November stays as it is
    await books.became(datetime(2026, 11, 28, tzinfo=UTC), "price_large")
    await books.plan("price_usd", included_units=1, package_price_cents=20, currency="usd")
    books.clock.time = datetime(2027, 3, 1, 7, tzinfo=UTC)
    await run_month(books)
    assert await billed(books) == [("issued", 0), ("issued", 400), ("empty", 0), ("empty", 0)]


async def test_void_takes_the_credit_back_that_came_with_it(books: Books) -> None:
    user = await november(books)
    await upgraded(books)
    await books.use(Owner(user_id=user), 7500, DECEMBER)
    books.clock.time = JANUARY
    await run_month(books)
    async with books.deps.tx() as tx:
        with pytest.raises(Refused, match="gave back some of it"):
            await void(tx, user, "2026-11", books.settings, ADA)
    async with books.deps.tx() as tx:
        await void(tx, user, "2026-12", books.settings, ADA)
    assert (await given(books), (await billed(books))[0]) == ([], ("issued", 1000))
    async with books.deps.tx() as tx:
        await void(tx, user, "2026-11", books.settings, ADA)
    totals = list[int]()
    for month in ("2026-11", "2026-12"):
        async with books.deps.tx() as tx:
            totals.append((await invoice(tx, user, month, books.settings, ADA, release=False)).prepared.total)
    assert (totals, await given(books)) == ([0, 357], [])


async def test_no_more_comes_back_than_a_credit_note_left(books: Books) -> None:
    await november(books)
    (row,) = await books.rows("SELECT id FROM invoices")
    async with books.deps.tx() as tx:
        sellers = sellers_from(books.settings)
        await credit_note.credit(tx, row["id"], sellers, reason="an outage", by=ADA, amount=1_000)
    await upgraded(books)
    books.clock.time = JANUARY
    await run_month(books)
    assert await given(books) == [(190, 190)]
    (_, empty) = await books.rows("SELECT reasons FROM usage_invoices ORDER BY period_start")
    assert "10.00 EUR less" not in empty["reasons"][0]["why"]
    assert "1.90 EUR of it is credited: the rest was given back before" in empty["reasons"][0]["why"]
    async with books.deps.tx() as tx:
        with pytest.raises(Refused, match="all of it was credited before"):
            await credit_note.credit(tx, row["id"], sellers_from(books.settings), reason="again", by=ADA)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@hypothesis.given(
    told_on=st.lists(st.tuples(st.integers(1, 29), st.booleans()), max_size=3, unique_by=lambda one: one[0]),
    used=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 4000)), max_size=4),
    late=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 4000)), max_size=2),
)
async def test_what_remains_charged_is_the_least_of_what_was_known(
    books: Books, told_on: list[tuple[int, bool]], used: list[tuple[int, int]], late: list[tuple[int, int]]
) -> None:
    """In whatever order plans and usage become known: what is charged never exceeds the first invoice's own plan."""
    small = sum(units for _, units in used)
    hypothesis.assume(small)  # else the month is looked at for the first time when all is known
    tag = str(await _next(books))
    if tag == "1":
        await books.plan()
        await books.plan("price_large", included_units=6000, package_price_cents=20)
    books.clock.time = NOVEMBER
    user = await books.subscriber(tag, timezone="UTC")
    await books.became(SUMMER, "price_small", tag=tag)
    owner = Owner(user_id=user)
    await books.use_many(owner, [(units, NOVEMBER + timedelta(days=day)) for day, units in used])
    books.clock.time = DECEMBER
    await run_month(books)
    for day, large in told_on:
        price = "price_large" if large else "price_small"
        await books.became(NOVEMBER + timedelta(days=day), price, tag=tag)
    await books.use_many(owner, [(units, NOVEMBER + timedelta(days=day)) for day, units in late])
    await books.use(owner, 1, DECEMBER)
    books.clock.time = JANUARY
    await run_month(books)
    rows = await books.rows(
        "SELECT billed_cents FROM usage_invoices WHERE user_id = :user ORDER BY period_start", user=user
    )
    whole = small + sum(units for _, units in late)
    most = max(0, whole - 1000) // 2 + 1
    assert 0 <= (rows[0]["billed_cents"] if rows else 0) <= most
    given_back = await books.rows(
        "SELECT coalesce(sum(amount_cents), 0)::int AS n FROM credits WHERE user_id = :u", u=user
    )
    assert given_back[0]["n"] <= max(0, small - 1000) // 2 + 1


async def _next(books: Books) -> int:
    (row,) = await books.rows("SELECT count(*)::int + 1 AS n FROM users")
    found: int = row["n"]
    return found
