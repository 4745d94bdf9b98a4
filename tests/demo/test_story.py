"""The whole story is played against Stripe: nothing is refused, every act happens, the numbers are plausible."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from deploy.demo.acts import Act, Beat, NewCard, SignUp
from deploy.demo.company import MONTH, found
from deploy.demo.director import first_of_month, later, month, next_month, split
from deploy.demo.feed import TYPES, Feed, sentence
from deploy.demo.improvise import Improviser
from deploy.demo.shop import Shop
from deploy.demo.story import Story
from deploy.demo.stripe_client import StripeClient
from deploy.demo.timeline import DAY, lives
from tests.demo.conftest import START


def play(stripe: StripeClient, story: Story, end: int, customers: int, seed: int = 7) -> list[str]:
    """The story up to `end`; what was told."""
    told: list[str] = []
    now = START

    def breathe() -> None:
        nonlocal now
        now = stripe.move_clock(now + 1)

    stripe.before_write = breathe
    for beat in lives(seed, START, end, customers):
        now = max(now, beat.at)
        stripe.move_clock(now)
        if (line := story.play(beat)) is not None:
            told.append(line)
    stripe.move_clock(max(now, end))
    return told


@pytest.fixture
def story(stripe: StripeClient) -> Story:
    return Story(Shop(stripe, found(stripe)))


def test_nothing_is_refused_and_everything_happens(stripe: StripeClient, story: Story) -> None:
    told = play(stripe, story, START + 420 * DAY, 150)
    assert story.refused == 0
    acts = {act.__name__ for act in get_args(Act)}
    assert acts - set(story.told) <= {"Return", "Pause", "Challenge", "StayAfterAll"}, story.told
    assert any("upgraded" in line for line in told)
    assert not [line for line in told if "None" in line or "{" in line]
    books: Mapping[str, list[dict[str, Any]]] = stripe.get("/_sim/books")
    renewals = [row for row in books["invoice"] if row["billing_reason"] == "subscription_cycle"]
    troubled = [row for row in renewals if row["attempt_count"] > 1]
    assert 0.02 < len(troubled) / len(renewals) < 0.12
    assert sum(row["status"] == "paid" for row in troubled) > 0.5 * len(troubled)
    assert {row["currency"] for row in renewals} == {"usd", "eur", "gbp", "jpy"}
    now = stripe.get("/_sim/clock")["now"]
    assert all(row.get("created", 0) <= now for rows in books.values() for row in rows)


def test_a_bank_that_says_no_is_part_of_the_story(stripe: StripeClient, story: Story) -> None:
    begin = next(
        beat
        for beat in lives(7, START, START + 60 * DAY, 150)
        if isinstance(beat.act, SignUp) and beat.act.checkout and beat.act.interval == MONTH
    )
    assert story.play(begin)
    customer = story.shop.customers[begin.who]
    card = story.shop.card(customer)
    stripe.post(f"/_sim/payment_methods/{card}/behave", decline_code="insufficient_funds")
    stripe.move_clock(START + 32 * DAY)
    told = story.play(Beat(START + 32 * DAY, 1, begin.who, NewCard("pm_card_chargeCustomerFail")))
    assert told is not None
    assert "the bank declined" in told
    assert story.refused == 0


def test_who_is_not_there_does_nothing(story: Story) -> None:
    assert story.play(Beat(START, 0, "customer 99", NewCard("pm_card_visa"))) is None


def test_the_feed_tells_what_stripe_does_by_itself(stripe: StripeClient, story: Story) -> None:
    feed = Feed(story.shop)
    feed.skip()
    play(stripe, story, START + 40 * DAY, 150)
    assert list(feed.news()) == [], "what was read last is forgotten by now: it begins anew"
    stripe.before_write = lambda: None
    told: list[tuple[int, str]] = []
    for day in range(40, 80):
        stripe.move_clock(START + day * DAY)
        told += feed.news()
    assert [line for _, line in told if "renewed: " in line]
    assert [at for at, _ in told] == sorted(at for at, _ in told)


def test_what_the_story_has_told_is_not_told_again() -> None:
    assert sentence("invoice.paid", {"billing_reason": "subscription_create", "amount_paid": 1}, "Ada") is None
    assert "invoice.paid" in TYPES


def test_improvised_beats_are_possible(stripe: StripeClient, story: Story) -> None:
    improviser = Improviser(3, story.shop)
    told = 0
    for second in range(60):
        stripe.move_clock(START + second * 3600)
        told += story.play(improviser.beat(START + second * 3600)) is not None
        assert 3 <= improviser.pause() <= 8
    assert story.refused == 0
    assert told > 40


def test_months_are_those_of_the_calendar() -> None:
    assert month(START) == "2025-08"
    assert next_month(START) == START + 31 * DAY
    assert later(START, -6) == 1_738_368_000
    assert later(START, 12) == START + 365 * DAY
    assert first_of_month(START + 5 * DAY + 7) == START


def test_a_story_is_split_without_losing_a_beat() -> None:
    beats = list(lives(7, START, START + 90 * DAY, 20))
    before, rest = split(beats, START + 30 * DAY)
    assert before + list(rest) == beats
    assert all(beat.at < START + 30 * DAY for beat in before)
    assert split([], START)[0] == []
