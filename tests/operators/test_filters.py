"""What an operator types is understood, or refused in words that help."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from db.operators.dunning import CaseFilter
from db.operators.emails import EmailFilter
from db.operators.filters import (
    BadFilterError,
    EventFilter,
    JobFilter,
    like,
    moment,
    one_of,
    page_size,
    plain,
    search,
    whole_numbers,
)
from db.states import EventStatus

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("7 D", NOW - timedelta(days=7)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28T10:00:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("2026-02-28T10:00:00Z", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("2026-02-28T10:00:00+02:00", datetime(2026, 2, 28, 8, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_times(typed: str | None, meant: datetime | None) -> None:
    assert moment("since", typed, NOW) == meant


@pytest.mark.parametrize(
    "typed", ["yesterday", "2 hours", "-2h", "999999999w", "2026-13-01", "٣h", "2h; DROP TABLE jobs"]
)
def test_what_is_no_time_is_refused(typed: str) -> None:
    with pytest.raises(BadFilterError, match="is no time: write an age"):
        moment("since", typed, NOW)


@given(st.text())
def test_any_text_is_a_time_or_refused(typed: str) -> None:
    with suppress(BadFilterError):
        assert moment("since", typed, NOW) is None or typed


def test_a_near_miss_is_guessed() -> None:
    with pytest.raises(BadFilterError, match="did you mean 'processed'"):
        one_of("status", "proccessed", EventStatus)
    with pytest.raises(BadFilterError, match="it is one of received, processed, ignored, retrying, dead"):
        one_of("status", "xyz", EventStatus)


@pytest.mark.parametrize("typed", ["a\x00b", "\ud800"])
def test_text_that_postgresql_cannot_hold_is_refused(typed: str) -> None:
    with pytest.raises(BadFilterError):
        plain("type", typed)


def test_a_globs_own_signs_are_escaped() -> None:
    assert like("invoice.*") == "invoice.%"
    assert like("a_b%c\\?") == "a\\_b\\%c\\\\_"


def test_typed_text_is_never_part_of_the_statement() -> None:
    evil = "'; DROP TABLE jobs; --"
    for wanted in (EventFilter(type=evil, customer=evil, ids=(evil,)), EventFilter(type=evil + "*")):
        compiled = wanted.conditions().compile(dialect=postgresql.dialect())
        assert "DROP" not in str(compiled)
        assert "webhook_events.type" in str(compiled)


def test_a_period_must_have_a_length() -> None:
    for read in (EventFilter.read, JobFilter.read, EmailFilter.read, CaseFilter.read):
        with pytest.raises(BadFilterError, match="is not after --since"):
            read(now=NOW, since="1h", until="2h")


def test_one_box_finds_ids_customers_objects_and_types() -> None:
    assert search("evt_1", NOW) == EventFilter(ids=("evt_1",))
    assert search(" cus_1 ", NOW) == EventFilter(customer="cus_1")
    assert search("acct_1", NOW) == EventFilter(account="acct_1")
    assert search("in_1", NOW) == EventFilter(object_id="in_1")
    assert search("invoice.*", NOW) == EventFilter(type="invoice.*")
    assert search("invoice", NOW) == EventFilter(type="invoice*")
    assert search("payment_intent.failed", NOW) == EventFilter(type="payment_intent.failed")
    assert search("", NOW) == EventFilter()


def test_ids_of_jobs_and_sizes_of_pages() -> None:
    assert whole_numbers("id", ["7", "3", "7"]) == (7, 3)
    for bad in ("x", "-1", "1.5", "9" * 30, "\u0663"):
        with pytest.raises(BadFilterError):
            whole_numbers("id", [bad])
    assert page_size(50) == 50
    for size in (0, -1, 1001):
        with pytest.raises(BadFilterError):
            page_size(size)
