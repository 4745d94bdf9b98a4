"""A subscription's worth is mended when coupons and discounts become known, change, or run out."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import StoredEvent
from db.ledger import try_lock
from db.states import QueueName
from jobs.derive.books import Entry, hold
from jobs.events.apply import apply_events, facts_of, read
from jobs.mrr import mend
from jobs.mrr.mend import fetch_coupon, fetch_discounts, measure_coupon, measure_subscription
from tests.events.kit import NOW, T0, Answers, Json, apply, deps, event, outcomes, row, rows
from tests.events.objects import coupon, customer, discount, item, price, subscription
from worker.errors import TryLater
from worker.registry import Applied, Busy

SUBSCRIBED = event("customer.subscription.updated", subscription(discounts=["di_1"]))
DISCOUNTED = event("customer.discount.created", discount())


async def _worth(engine: AsyncEngine, name: str = "sub_1") -> tuple[int, bool]:
    found = await row(engine, "subscriptions", stripe_subscription_id=name)
    return found["mrr_cents"], found["mrr_incomplete"]


async def _jobs(engine: AsyncEngine) -> list[tuple[str, Json]]:
    return [(job["name"], job["args"]) for job in await rows(engine, "jobs")]


async def test_an_unknown_discount_is_said_and_asked_for(engine: AsyncEngine) -> None:
    (applied,) = await apply(engine, SUBSCRIBED)
    assert await _worth(engine) == (1000, True)
    args = {"subscription": "sub_1", "account": "", "livemode": False}
    assert await _jobs(engine) == [("fetch_discounts", args)]
    (staged,) = applied.effects["staged"]
    assert (staged["name"], staged["args"]) == ("fetch_discounts", args)
    (job,) = await rows(engine, "jobs")
    assert (job["id"], job["staged_by"]) == (staged["job"], SUBSCRIBED.id)


async def test_a_discount_whose_coupon_is_unknown_asks_for_the_coupon_once(engine: AsyncEngine) -> None:
    await apply(engine, DISCOUNTED, SUBSCRIBED)
    await apply(engine, event("customer.subscription.updated", subscription(discounts=["di_1"]), created=T0 + 5))
    assert await _worth(engine) == (1000, True)
    assert await _jobs(engine) == [("fetch_coupon", {"coupon": "HALF", "account": "", "livemode": False})]


async def test_the_discounts_event_lowers_the_worth_now_and_in_the_past(engine: AsyncEngine) -> None:
    await apply(engine, event("coupon.created", coupon()), SUBSCRIBED)
    await apply(engine, DISCOUNTED)
    assert await _worth(engine) == (500, False)
    state = await row(engine, "subscription_history")
    assert (state["mrr_cents"], state["mrr_incomplete"]) == (500, False)


async def test_a_fetched_coupon_mends_all_that_it_lowers(engine: AsyncEngine) -> None:
    await apply(engine, DISCOUNTED, SUBSCRIBED)
    stripe = Answers({"coupons/HALF": coupon()})
    await fetch_coupon.run(deps(engine, stripe=stripe), {"coupon": "HALF", "account": "acct_1", "livemode": False})
    assert stripe.asked == [("coupons/HALF", {"stripe_account": "acct_1"})]
    await fetch_coupon.run(deps(engine, stripe=stripe), {"coupon": "HALF", "account": "", "livemode": False})
    assert (await _jobs(engine))[-1] == ("measure_coupon", {"coupon": "HALF", "account": "", "livemode": False})
    await measure_coupon.run(deps(engine), {"coupon": "HALF", "account": "", "livemode": False})
    assert await _worth(engine) == (500, False)
    assert (await row(engine, "subscription_history"))["mrr_cents"] == 500


async def test_a_fetched_discount_mends_its_subscription(engine: AsyncEngine) -> None:
    await apply(engine, SUBSCRIBED)
    whole = discount(source={"type": "coupon", "coupon": coupon()})
    stripe = Answers({"subscriptions/sub_1": subscription(discounts=[whole])})
    await fetch_discounts.run(deps(engine, stripe=stripe), {"subscription": "sub_1", "account": "", "livemode": False})
    assert [path for path, _ in stripe.asked] == ["subscriptions/sub_1"]
    assert await _worth(engine) == (500, False)


async def test_a_coupon_that_comes_by_its_own_event_concerns_others_too(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mend, "PAGE", 2)
    for number in range(5):
        name, who = f"sub_{number}", f"cus_{number}"
        held = discount(f"di_{number}", subscription=name, customer=who)
        obj = subscription(name, customer=who, discounts=[held])
        await apply(engine, event("customer.subscription.updated", obj))
    await apply(engine, event("coupon.created", coupon()))
    job = (await _jobs(engine))[-1]
    while job[0] == "measure_coupon":
        await measure_coupon.run(deps(engine), job[1])
        later = (await _jobs(engine))[-1]
        if later == job:
            break
        job = later
    assert [await _worth(engine, f"sub_{number}") for number in range(5)] == [(500, False)] * 5


async def test_a_coupon_that_nobody_uses_stages_nothing(engine: AsyncEngine) -> None:
    await apply(engine, event("coupon.created", coupon()))
    assert await _jobs(engine) == []


async def test_a_repeating_discount_runs_out(engine: AsyncEngine) -> None:
    end = NOW + timedelta(days=30)
    held = discount(end=int(end.timestamp()))
    await apply(
        engine,
        event("coupon.created", coupon(duration="repeating", duration_in_months=3)),
        event("customer.subscription.updated", subscription(discounts=[held])),
    )
    assert await _worth(engine) == (500, False)
    (job,) = await rows(engine, "jobs")
    assert job["name"] == "measure_subscription"
    (due,) = await rows(engine, "queue")
    assert due["due_at"] == end.isoformat()
    await measure_subscription.run(deps(engine, now=end), job["args"])
    assert await _worth(engine) == (1000, False)
    assert (await row(engine, "subscription_history"))["mrr_cents"] == 500


async def test_a_deleted_discount_lowers_nothing_any_more(engine: AsyncEngine) -> None:
    await apply(engine, event("coupon.created", coupon()), DISCOUNTED, SUBSCRIBED)
    await apply(engine, event("customer.discount.deleted", discount(), created=T0 + 9))
    assert await _worth(engine) == (1000, False)
    assert (await row(engine, "subscription_history"))["mrr_cents"] == 500


@pytest.mark.parametrize("customer_first", [True, False])
async def test_a_discount_for_the_whole_customer(engine: AsyncEngine, *, customer_first: bool) -> None:
    held = discount(subscription=None)
    events = [
        event("customer.updated", customer(discount=held)),
        event("customer.subscription.created", subscription()),
        event("coupon.created", coupon()),
    ]
    for one in events if customer_first else events[::-1]:
        await apply(engine, one)
    for name, args in await _jobs(engine):
        if name == "measure_coupon":
            await measure_coupon.run(deps(engine), args)
    assert await _worth(engine) == (500, False)
    await apply(engine, event("customer.updated", customer(discount=None), created=T0 + 9))
    assert await _worth(engine) == (1000, False)


async def test_a_newer_discount_for_the_customer_replaces_the_older(engine: AsyncEngine) -> None:
    await apply(
        engine,
        event("coupon.created", coupon()),
        event("coupon.created", coupon("TENTH", percent_off=10)),
        event("customer.subscription.created", subscription()),
        event("customer.discount.created", discount("di_1", subscription=None)),
        event(
            "customer.discount.created",
            discount("di_2", subscription=None, start=T0 + 5, source={"coupon": "TENTH"}),
            created=T0 + 5,
        ),
    )
    assert await _worth(engine) == (900, False)


async def test_an_items_discount_counts(engine: AsyncEngine) -> None:
    held = discount(subscription=None, subscription_item="si_1")
    items = [item("si_1", discounts=[held]), item("si_2", of=price("price_2", 400))]
    await apply(
        engine,
        event("coupon.created", coupon()),
        event("customer.subscription.updated", subscription("sub_1", *items)),
    )
    assert await _worth(engine) == (900, False)


async def test_a_job_that_finds_the_customer_held_tries_later(engine: AsyncEngine) -> None:
    await apply(engine, DISCOUNTED, SUBSCRIBED)
    stripe = Answers({"subscriptions/sub_1": subscription(discounts=[discount()])})
    calls: list[tuple[Any, Json]] = [
        (measure_subscription, {"subscription": "sub_1"}),
        (measure_coupon, {"coupon": "HALF", "account": "", "livemode": False}),
        (fetch_discounts, {"subscription": "sub_1", "account": "", "livemode": False}),
    ]
    async with deps(engine).engine.begin() as conn:
        assert await try_lock(conn, ["cus_1"])
        for job, args in calls:
            with pytest.raises(TryLater, match="another worker"):
                await job.run(deps(engine, stripe=stripe), args)


async def test_a_late_snapshot_adds_to_the_history_only(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.subscription.updated", subscription(status="past_due"), created=T0 + 9))
    async with deps(engine).tx() as tx:
        await apply_events(tx, [event("customer.subscription.created", subscription(), created=T0)])
    assert [one["status"] for one in await rows(engine, "subscription_history")] == ["past_due", "active"]
    assert (await row(engine, "subscriptions"))["status"] == "past_due"


async def test_accounts_share_no_coupon_though_both_gave_it_one_id(engine: AsyncEngine) -> None:
    told: list[StoredEvent] = []
    for name, percent, livemode in (("a", 10, False), ("b", 90, False), ("b", 30, True)):
        sub = f"sub_{name}{livemode:d}"
        held = discount(f"di_{name}{livemode:d}", customer=f"cus_{name}{livemode:d}", subscription=sub)
        obj = subscription(sub, customer=held["customer"], discounts=[held])
        where: Json = {"account": f"acct_{name}", "livemode": livemode}
        told.append(event("coupon.created", coupon(percent_off=percent), **where))
        told.append(event("customer.subscription.updated", obj, **where))
    await apply(engine, *told)
    assert [await _worth(engine, name) for name in ("sub_a0", "sub_b0", "sub_b1")] == [
        (900, False),
        (100, False),
        (700, False),
    ]


async def test_a_coupon_and_a_discount_of_it_are_never_entered_at_once(engine: AsyncEngine) -> None:
    """Neither transaction sees the other's row, so nobody would measure the subscription again."""
    made = event("coupon.created", coupon())
    used = event("customer.subscription.updated", subscription(discounts=[discount()]))
    also = event(
        "customer.subscription.updated",
        subscription("sub_2", customer="cus_2", discounts=[discount("di_2", customer="cus_2", subscription="sub_2")]),
    )
    elsewhere = event("coupon.created", coupon(), account="acct_1")
    for first, second in ((made, used), (used, made)):
        async with engine.begin() as held:
            assert len(await hold(held, [_entry(first)])) == 1
            found = await outcomes(engine, second, elsewhere)
            assert isinstance(found[second.id], Busy)
            assert isinstance(found[elsewhere.id], Applied)
    async with engine.begin() as held:
        assert len(await hold(held, [_entry(used)])) == 1
        found = await outcomes(engine, made, also)
        assert [type(found[one.id]) for one in (made, also)] == [Busy, Applied]
    await apply(engine, made, used)
    await measure_coupon.run(deps(engine), {"coupon": "HALF", "account": "", "livemode": False})
    assert [await _worth(engine, name) for name in ("sub_1", "sub_2")] == [(500, False)] * 2


def _entry(one: StoredEvent) -> Entry:
    seen = read(one)
    return Entry(one.id, facts_of(seen) if seen is not None else [])


async def test_a_fetched_coupon_that_is_known_by_now_is_measured_all_the_same(engine: AsyncEngine) -> None:
    await apply(engine, event("coupon.created", coupon()))
    args = {"coupon": "HALF", "account": "", "livemode": False}
    for minute in range(2):
        later = deps(engine, stripe=Answers({"coupons/HALF": coupon()}), now=NOW + timedelta(minutes=minute))
        await fetch_coupon.run(later, args)
    assert await _jobs(engine) == [("measure_coupon", args)] * 2


def test_the_names_of_the_jobs_are_pinned() -> None:
    """Staged rows hold them: a new name would orphan what is staged."""
    jobs = (fetch_coupon, fetch_discounts, measure_coupon, measure_subscription)
    assert [job.name for job in jobs] == ["fetch_coupon", "fetch_discounts", "measure_coupon", "measure_subscription"]
    assert {job.queue for job in jobs} == {QueueName.BATCH}
