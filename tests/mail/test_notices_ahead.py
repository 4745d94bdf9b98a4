"""What lies ahead: a trial that ends, a card that expires."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.mail.card_expiring import warn_of_expiring_cards
from tests.events.kit import NOW, T0, Json, apply, deps, event, rows
from tests.events.objects import coupon, customer, discount, invoice, item, price, subscription
from tests.mail.letters_kit import keys, letter, staged, written
from worker.registry import registry

DAY = 86_400
HERE = datetime.fromtimestamp(T0, UTC)
ENDS = T0 + 3 * DAY
KEY = f"trial_ending/sub_1/{ENDS}"


def trial(*items: Json, **changes: Any) -> Json:
    return subscription("sub_1", *items, status="trialing", trial_end=ENDS, default_payment_method="pm_1") | changes


def method(name: str = "pm_1", /, owner: str | None = "cus_1", year: int = 2026, month: int = 3) -> Json:
    card = {"brand": "visa", "last4": "4242", "exp_year": year, "exp_month": month}
    return {"id": name, "object": "payment_method", "customer": owner, "type": "card", "card": card, "created": T0}


def product(name: str = "Team") -> Json:
    return {"id": "prod_1", "object": "product", "name": name, "created": T0}


async def told(engine: AsyncEngine, shown: Json, *, now: datetime = HERE, kind: str = "trial_will_end") -> list[str]:
    await apply(engine, event(f"customer.subscription.{kind}", shown), now=now)
    return await keys(engine)


@pytest.fixture
async def known(engine: AsyncEngine) -> AsyncEngine:
    """A ledger that knows the customer, their card, the product and its price."""
    await apply(
        engine,
        event("customer.created", customer(preferred_locales=["fr"])),
        event("payment_method.attached", method()),
        event("product.created", product()),
        event("price.created", price()),
        now=HERE,
    )
    return engine


async def test_a_trial_ends_and_what_it_will_cost_is_told_once(known: AsyncEngine) -> None:
    assert await told(known, trial(item(of=price(amount=1500), quantity=3))) == [KEY]
    assert await told(known, trial(item(of=price(amount=1500), quantity=3))) == [KEY]
    found = await letter(known, KEY)
    assert found["context"] == {
        "name": "Ada",
        "product": "Team",
        "trial_end": "2026-02-05T02:40:00Z",
        "amount": {"amount": 4500, "currency": "usd"},
        "interval": "month",
        "interval_count": 1,
        "method": {"brand": "visa", "last4": "4242"},
        "link": None,
    }
    assert "45,00\xa0$US" in written(found).text
    assert len(await staged(known)) == 1


async def test_a_later_end_is_another_letter_in_its_own_time(known: AsyncEngine) -> None:
    await told(known, trial())
    later = trial(trial_end=ENDS + 10 * DAY)
    assert await told(known, later, kind="updated") == [KEY]
    # The event of the first end comes again, late: the new end is still far away.
    assert await told(known, trial(), now=HERE + timedelta(days=1)) == [KEY]
    shown = event("customer.subscription.trial_will_end", later, created=T0 + 10 * DAY)
    await apply(known, shown, now=HERE + timedelta(days=10))
    assert await keys(known) == sorted([KEY, f"trial_ending/sub_1/{ENDS + 10 * DAY}"])


@pytest.mark.parametrize(
    "shown",
    [
        trial(cancel_at_period_end=True),
        trial(cancel_at=ENDS),
        trial(status="canceled"),
        trial(status="active"),
        trial(collection_method="send_invoice"),
        trial(trial_end=T0 - 1),
    ],
    ids=["leaves at the end", "leaves that day", "has left", "pays already", "gets an invoice", "is over"],
)
async def test_who_has_nothing_to_decide_is_not_written_to(known: AsyncEngine, shown: Json) -> None:
    assert await told(known, shown) == []


async def test_without_a_method_the_letter_asks_for_one(known: AsyncEngine) -> None:
    await told(known, trial(default_payment_method=None))
    assert (await letter(known, KEY))["context"]["method"] is None


async def test_a_card_that_was_taken_away_cannot_be_charged(known: AsyncEngine) -> None:
    await apply(known, event("payment_method.detached", method(owner=None), created=T0 + 1))
    await told(known, trial())
    assert (await letter(known, KEY))["context"]["method"] is None


async def test_a_card_that_was_never_seen_is_still_one(known: AsyncEngine) -> None:
    await told(known, trial(default_payment_method="pm_unseen"))
    assert (await letter(known, KEY))["context"]["method"] == {"brand": "card", "last4": None}


async def test_a_discount_that_lasts_lowers_the_price(known: AsyncEngine) -> None:
    await apply(known, event("coupon.created", coupon()))
    await apply(known, event("customer.discount.created", discount()))
    await told(known, trial(item(of=price(amount=999)), discounts=["di_1"]))
    assert (await letter(known, KEY))["context"]["amount"]["amount"] == 500


async def test_items_of_another_rhythm_are_charged_on_another_day(known: AsyncEngine) -> None:
    yearly = price("price_2", 90_000, recurring={"interval": "year", "interval_count": 1, "usage_type": "licensed"})
    quarter = {"interval": "month", "interval_count": 3, "usage_type": "licensed"}
    items = [
        item(of=price(recurring=quarter)),
        item("si_2", of=yearly),
        item("si_3", of=price("price_3", 50, recurring=quarter)),
    ]
    await told(known, trial(*items))
    found = (await letter(known, KEY))["context"]
    assert (found["amount"]["amount"], found["interval"], found["interval_count"]) == (1050, "month", 3)


async def test_what_only_stripe_can_reckon_is_told_as_stripe_announced_it(known: AsyncEngine) -> None:
    tiered = item(of=price(billing_scheme="tiered", unit_amount=None, unit_amount_decimal=None))
    coming = invoice(subscription="sub_1", total=7_200, next_payment_attempt=ENDS + 3600) | {"id": None}
    await apply(known, event("invoice.upcoming", coming))
    await told(known, trial(tiered))
    assert (await letter(known, KEY))["context"]["amount"] == {"amount": 7_200, "currency": "usd"}


async def test_a_price_that_nobody_knows_is_not_guessed(known: AsyncEngine) -> None:
    metered = price(recurring={"interval": "month", "interval_count": 1, "usage_type": "metered"})
    await told(known, trial(item(of=metered)))
    found = await letter(known, KEY)
    assert found["status"] == "suppressed"
    assert found["reason"].startswith("what it will cost is not known")


async def test_a_trial_of_a_customer_yet_unknown_waits_for_them(engine: AsyncEngine) -> None:
    assert await told(engine, trial()) == []
    first = event("customer.created", customer())
    await apply(engine, first, now=HERE)
    assert await keys(engine) == [KEY]
    assert [by for _, _, by in await staged(engine)] == [first.id]


async def expire(engine: AsyncEngine, *, now: datetime = NOW) -> list[str]:
    """Run the month's job, and the pages that it stages."""
    calls = [{"period": now}]
    while calls:
        args = calls.pop()
        await registry.jobs["warn_of_expiring_cards"].run(deps(engine, now=now), args)
        calls += [one["args"] for one in await rows(engine, "jobs", name="warn_of_expiring_cards")]
        async with engine.begin() as conn:
            await conn.exec_driver_sql("DELETE FROM queue WHERE name = 'warn_of_expiring_cards'")
            await conn.exec_driver_sql("DELETE FROM jobs WHERE name = 'warn_of_expiring_cards'")
    return [key for key in await keys(engine) if key.startswith("card_expiring/")]


def running(name: str = "sub_1", /, **changes: Any) -> Json:
    return subscription(name, item(current_period_end=int(NOW.timestamp()) + 10 * DAY)) | changes


async def hold(engine: AsyncEngine, *shown: Json, card: Json | None = None, **changes: Any) -> None:
    owner = customer(invoice_settings={"default_payment_method": "pm_1"}, **changes)
    await apply(
        engine,
        event("customer.created", owner),
        event("payment_method.attached", card or method()),
        *(event("customer.subscription.created", one) for one in shown),
    )


@pytest.mark.parametrize(
    ("year", "month", "warned"),
    [(2026, 2, False), (2026, 3, True), (2026, 4, True), (2026, 5, False), (2027, 3, False)],
)
async def test_cards_of_this_month_and_the_next_are_told(
    engine: AsyncEngine, year: int, month: int, *, warned: bool
) -> None:
    await hold(engine, running(), card=method(year=year, month=month))
    assert await expire(engine) == ([f"card_expiring/pm_1/{year}-{month:02}"] if warned else [])


async def test_december_is_followed_by_january(engine: AsyncEngine) -> None:
    await hold(engine, running(), card=method(year=2027, month=1))
    assert await expire(engine, now=datetime(2026, 12, 1, 9, tzinfo=UTC)) == ["card_expiring/pm_1/2027-01"]


async def test_a_card_is_told_once_and_again_when_it_has_another_date(engine: AsyncEngine) -> None:
    await hold(engine, running(), running("sub_2"))
    assert await expire(engine) == ["card_expiring/pm_1/2026-03"]
    assert await expire(engine, now=NOW + timedelta(days=3)) == ["card_expiring/pm_1/2026-03"]
    await apply(engine, event("payment_method.automatically_updated", method(month=4), created=T0 + 9))
    assert await expire(engine) == ["card_expiring/pm_1/2026-03", "card_expiring/pm_1/2026-04"]


@pytest.mark.parametrize(
    ("shown", "changes"),
    [
        (running(status="canceled"), {}),
        (running(status="unpaid"), {}),
        (running(cancel_at_period_end=True), {}),
        (running(collection_method="send_invoice"), {}),
        (running(default_payment_method="pm_other"), {}),
        (running(), {"invoice_settings": {}}),
    ],
    ids=["has left", "is given up", "leaves", "gets an invoice", "pays by another card", "has no default"],
)
async def test_cards_that_are_charged_no_more_are_not_told(engine: AsyncEngine, shown: Json, changes: Json) -> None:
    await hold(engine, shown)
    if changes:
        await apply(engine, event("customer.updated", customer(**changes), created=T0 + 1))
    assert await expire(engine) == []


async def test_a_deleted_customer_is_left_in_peace(engine: AsyncEngine) -> None:
    await hold(engine, running())
    await apply(engine, event("customer.deleted", customer(), created=T0 + 5))
    assert await expire(engine) == []


async def test_the_next_payment_is_told_if_the_card_will_not_see_it(engine: AsyncEngine) -> None:
    await hold(engine, running())
    await expire(engine)
    found = (await letter(engine, "card_expiring/pm_1/2026-03"))["context"]
    assert (found["expires"], found["next_charge_at"], found["next_amount"]) == ("2026-03-01", None, None)
    after = running(items={"object": "list", "data": [item(quantity=2, current_period_end=T0 + 90 * DAY)]})
    await apply(engine, event("customer.subscription.updated", after, created=T0 + 9))
    await apply(engine, event("payment_method.automatically_updated", method(month=4), created=T0 + 9))
    await expire(engine)
    row = await letter(engine, "card_expiring/pm_1/2026-04")
    assert row["context"]["next_amount"] == {"amount": 2000, "currency": "usd"}
    assert row["context"]["next_charge_at"] == "2026-05-03T02:40:00Z"
    assert "May 3, 2026" in written(row).text


async def test_many_cards_are_told_page_by_page(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.mail.card_expiring.PAGE", 3)
    for number in range(8):
        whose = {"customer": f"cus_{number}", "default_payment_method": f"pm_{number}"}
        await apply(
            engine,
            event("customer.created", customer(f"cus_{number}")),
            event("payment_method.attached", method(f"pm_{number}", owner=f"cus_{number}")),
            event("customer.subscription.created", running(f"sub_{number}", **whose)),
        )
    assert await expire(engine) == [f"card_expiring/pm_{number}/2026-03" for number in range(8)]
    assert registry.schedules["card_expiring"].job is warn_of_expiring_cards
