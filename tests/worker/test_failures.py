"""What follows from a failure is a pure rule."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.states import AttemptOutcome, DeadReason
from worker import backoff
from worker.errors import Refused, TryLater
from worker.failures import UNKNOWN_TRIES, UnknownJob, classify, fingerprint

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@given(attempt=st.integers(1, 10**6), chance=st.floats(0, 1, exclude_max=True))
def test_waits_are_bounded_and_never_negative(attempt: int, chance: float) -> None:
    assert timedelta(0) <= backoff.delay(attempt, chance) <= backoff.ceiling(attempt) <= backoff.CAP


@given(attempt=st.integers(1, 10**6))
def test_the_ceiling_doubles_up_to_the_cap(attempt: int) -> None:
    assert backoff.ceiling(attempt + 1) == min(backoff.CAP, 2 * backoff.ceiling(attempt))


ERRORS = st.sampled_from([ValueError("x"), TryLater("x"), TimeoutError(), Refused("x"), UnknownJob("x"), OSError("x")])


@given(error=ERRORS, attempt=st.integers(1, 50), tries=st.integers(1, 20), chance=st.floats(0, 1, exclude_max=True))
def test_every_failure_is_either_run_again_later_or_parked(
    error: Exception, attempt: int, tries: int, chance: float
) -> None:
    failure = classify(error, attempt=attempt, tries=tries, now=NOW, chance=chance)
    assert failure.next_at >= NOW
    if isinstance(error, Refused):
        assert failure.dead is DeadReason.REFUSED
    elif isinstance(error, UnknownJob):
        assert (failure.dead is DeadReason.UNKNOWN_JOB) == (attempt >= UNKNOWN_TRIES)
    else:
        assert (failure.dead is not None) == (attempt >= tries)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TryLater("x"), AttemptOutcome.LATER),
        (TimeoutError(), AttemptOutcome.TIMEOUT),
        (KeyError("x"), AttemptOutcome.FAILED),
    ],
)
def test_outcomes_are_told_apart(error: Exception, outcome: AttemptOutcome) -> None:
    assert classify(error, attempt=1, tries=3, now=NOW, chance=0.5).outcome is outcome


def _raised(value: str) -> Exception:
    try:
        int(f"not a number: {value}")
    except ValueError as error:
        return error
    raise AssertionError


def test_the_same_error_with_other_values_has_the_same_fingerprint() -> None:
    assert fingerprint(_raised("in_1")) == fingerprint(_raised("in_2"))
    assert fingerprint(_raised("in_1")) != fingerprint(KeyError("in_1"))


def test_secrets_do_not_reach_the_story() -> None:
    failure = classify(
        ValueError("card 4242 4242 4242 4242 with sk_live_abcdefghijklmnop1234"), attempt=1, tries=3, now=NOW, chance=0
    )
    assert "4242 4242" not in failure.error + (failure.traceback or "")
    assert "sk_live_abcdefghijklmnop1234" not in failure.error + (failure.traceback or "")
