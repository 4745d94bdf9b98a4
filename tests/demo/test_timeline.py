"""The story is the same for the same seed, and reads like a business."""

import random
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo.acts import Beat, Cancel, CardTrouble, NewCard, SignUp
from deploy.demo.company import LAUNCH20, PARTNERS, STARTER, YEAR, money
from deploy.demo.timeline import DAY, MONTH_LONG, arrivals, lives

START = 1_754_006_400
"""1 August 2025."""
YEARS_END = START + 365 * DAY


def written(seed: int = 7, customers: int = 300, days: int = 456) -> list[Beat]:
    return list(lives(seed, START, START + days * DAY, customers))


def sign_ups(beats: Iterable[Beat]) -> list[SignUp]:
    return [beat.act for beat in beats if isinstance(beat.act, SignUp)]


def test_the_same_seed_tells_the_same_story() -> None:
    assert written(7) == written(7)
    assert written(7) != written(8)


def test_a_longer_story_begins_like_the_shorter_one() -> None:
    """So that `--once` and the live demo share their history."""
    shorter = [beat for beat in written(days=400) if beat.at < YEARS_END]
    assert shorter == [beat for beat in written() if beat.at < YEARS_END]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), customers=st.integers(1, 80), days=st.integers(1, 500))
def test_beats_are_in_order_and_within_the_story(seed: int, customers: int, days: int) -> None:
    beats = written(seed, customers, days)
    assert all(one.at <= other.at for one, other in pairwise(beats))
    assert all(START <= beat.at < START + days * DAY for beat in beats)
    first: dict[str, Beat] = {}
    for beat in beats:
        first.setdefault(beat.who, beat)
    assert all(isinstance(beat.act, SignUp) for who, beat in first.items() if who.startswith("customer"))


@pytest.mark.parametrize("customers", [1, 40, 300, 1000])
def test_as_many_sign_up_in_the_history_as_were_asked_for(customers: int) -> None:
    first_year = [beat for beat in written(customers=customers, days=372) if beat.at < START + 12 * MONTH_LONG]
    assert len(sign_ups(first_year)) == customers


@pytest.mark.parametrize("customers", [1, 2, 3, 15, 60, 300])
@pytest.mark.parametrize("seed", [1, 7, 4711])
def test_in_every_story_one_is_recovered_and_one_is_lost(seed: int, customers: int) -> None:
    """Within the twelve months, so that each form of the demo tells of them."""
    beats = [beat for beat in written(seed, customers) if beat.who in {"customer 1", "customer 2"}]
    lasting = [beat for beat in beats if isinstance(beat.act, CardTrouble) and beat.act.times is None]
    recovered = [
        trouble
        for trouble in lasting
        if any(isinstance(one.act, NewCard) and 0 < one.at - trouble.at < 12 * DAY for one in beats)
    ]
    lost = [trouble for trouble in lasting if not [one for one in beats if one.who == trouble.who and one > trouble]]
    for found in (recovered, lost):
        assert found
        assert min(found).at + 20 * DAY < YEARS_END


def test_the_company_grows() -> None:
    months = Counter((beat.at - START) // MONTH_LONG for beat in written() if isinstance(beat.act, SignUp))
    assert months[11] > 1.8 * months[0]


def test_it_reads_like_a_business() -> None:
    beats = written(customers=1000)
    acts = sign_ups(beats)
    share = {
        "trials": sum(act.trial for act in acts) / len(acts),
        "yearly": sum(act.interval == YEAR for act in acts) / len(acts),
        "coupons": sum(act.coupon is not None for act in acts) / len(acts),
        "launch": sum(act.coupon is LAUNCH20 for act in acts) / len(acts),
    }
    assert 0.45 < share["trials"] < 0.6
    assert 0.1 < share["yearly"] < 0.2
    assert 0.1 < share["coupons"] < 0.35
    assert share["launch"] > 0
    assert {act.person.country.currency for act in acts} == {"usd", "eur", "gbp", "jpy"}
    assert all(act.seats == 1 for act in acts if act.plan is STARTER)
    troubled = {beat.who for beat in beats if isinstance(beat.act, CardTrouble)}
    assert 0.15 < len(troubled) / len(acts) < 0.5
    assert len({beat.act.feedback for beat in beats if isinstance(beat.act, Cancel)}) >= 5
    assert {beat.who for beat in beats if beat.who.startswith("partner")} == {
        f"partner {n}" for n in range(len(PARTNERS))
    }


def test_people_have_names_in_many_scripts_and_harmless_addresses() -> None:
    people = [act.person for act in sign_ups(written())]
    assert all(person.email.isascii() and person.email.endswith(".test") for person in people)
    assert len({person.email for person in people}) == len(people)
    assert len({person.company for person in people}) > 0.5 * len(people)
    beginnings = {ord(person.name[0]) // 256 for person in people}
    assert len(beginnings) >= 6


def test_one_partner_pays_late() -> None:
    assert [partner.name for partner in PARTNERS if partner.pays_after[0] > 30] == ["Marlow & Finch Ltd"]


@pytest.mark.parametrize(
    ("minor", "currency", "told"),
    [(111840, "usd", "$1,118.40"), (2800, "jpy", "¥2,800"), (-300, "eur", "-€3.00"), (5, "gbp", "£0.05")],
)
def test_money_reads_as_people_write_it(minor: int, currency: str, told: str) -> None:
    assert money(minor, currency) == told


def test_arrivals_go_on_after_the_history() -> None:
    chance = random.Random(1)  # noqa: S311 - a story's chance, which guards nothing
    found = arrivals(chance, START, START + 456 * DAY, 120)
    assert len([at for at in found if at >= START + 12 * MONTH_LONG]) > 20


@pytest.mark.parametrize("months", [1, 2, 12, 36])
def test_all_customers_sign_up_within_the_history(months: int) -> None:
    chance = random.Random(1)  # noqa: S311 - a story's chance, which guards nothing
    assert len(arrivals(chance, START, START + months * MONTH_LONG, 120, months=months)) == 120
