"""Credits are spent oldest-expiring first, each as far as it goes, and never beyond what is due."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.credits import plan, state, usable

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Given:
    """A credit."""

    id: int
    remaining_cents: int
    created_at: datetime = NOW
    expires_at: datetime | None = None
    voided_at: datetime | None = None


days = st.integers(0, 5).map(lambda days: NOW + timedelta(days=days))
credits_ = st.lists(
    st.builds(Given, st.integers(1, 99), st.integers(0, 50), days, st.none() | days), unique_by=lambda one: one.id
)


def test_what_expires_first_is_spent_first_then_what_was_given_first() -> None:
    soon, later = NOW + timedelta(days=1), NOW + timedelta(days=9)
    never_old, never_new = Given(1, 10, NOW - timedelta(days=9)), Given(2, 10, NOW)
    late, early = Given(3, 10, NOW, later), Given(4, 10, NOW, soon)
    planned = plan([never_new, late, never_old, early], 35)
    assert [(credit.id, amount) for credit, amount in planned] == [(4, 10), (3, 10), (1, 10), (2, 5)]
    assert plan([Given(7, 10), Given(6, 10)], 5) == [(Given(6, 10), 5)], "of one moment, by id"


@given(credits_, st.integers(0, 400))
def test_no_cent_is_lost_or_made(given_: list[Given], due: int) -> None:
    planned = plan(given_, due)
    assert sum(amount for _, amount in planned) == min(due, sum(one.remaining_cents for one in given_))
    assert all(0 < amount <= credit.remaining_cents for credit, amount in planned)
    assert all(amount == credit.remaining_cents for credit, amount in planned[:-1]), "one is used up before the next"
    assert [one for one, _ in plan(reversed(given_), due)] == [one for one, _ in planned], "whatever their order"
    ends = [one.expires_at or datetime.max.replace(tzinfo=UTC) for one, _ in planned]
    assert ends == sorted(ends)
    if {one.id for one in given_ if one.remaining_cents} > {one.id for one, _ in planned}:
        assert sum(amount for _, amount in planned) == due, "something is left only when nothing is due any more"


def test_nothing_less_than_nothing_is_due() -> None:
    assert plan([Given(1, 10)], 0) == []
    with pytest.raises(ValueError, match="-1"):
        plan([], -1)


def test_at_its_end_a_credit_is_over() -> None:
    ends = NOW + timedelta(days=1)
    assert usable(Given(1, 5, expires_at=ends), ends - timedelta(microseconds=1))
    assert not usable(Given(1, 5, expires_at=ends), ends)
    assert not usable(Given(1, 0), NOW)
    assert not usable(Given(1, 5, voided_at=NOW), NOW)


def test_its_state_in_a_word() -> None:
    assert state(Given(1, 5), NOW) == "open"
    assert state(Given(1, 0), NOW) == "used"
    assert state(Given(1, 5, expires_at=NOW), NOW) == "expired"
    assert state(Given(1, 5, expires_at=NOW, voided_at=NOW), NOW) == "void"
