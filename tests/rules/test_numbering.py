"""Formats of invoice numbers: what can be used, what is said about the rest, and that no two numbers are alike."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.numbering import Moment, alike, moment, number, problems

PARTNER = "API-{year}{month:02}-{number:04}"
places = st.tuples(st.integers(2000, 2100), st.integers(1, 12), st.integers(1, 10**7))


def test_a_partners_number() -> None:
    assert problems(PARTNER) == []
    assert number(PARTNER, Moment(2025, 11), 7) == "API-202511-0007"
    assert number(PARTNER, Moment(2025, 11), 123456) == "API-202511-123456"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("API-{year}", "{number} is missing"),
        ("{number:04}", "{year} is missing"),
        ("{yaer}-{number}", "did you mean {year}?"),
        ("{year}-{q}-{number}", "there are {year}, {month:02} and {number:04}"),
        ("{year}{month}-{number}", "{month} is written {month:02}"),
        ("{year:02}-{number}", "{year:02} is written {year}"),
        ("{year}-{number:4}", "{number:4} is written {number} or {number:04}"),
        ("{year}-{number}-{number}", "{number} comes twice"),
        ("{year}-{number}}", "a brace stands alone"),
        ("Nr. {year}-{number}", "so that every bank takes it"),
        ("{year}-{number}\n", "so that every bank takes it"),
        ("x" * 41 + "{year}-{number}", "longer than 40"),
        ("{year.real}-{number}", "is unknown"),
    ],
)
def test_what_is_wrong_is_said(template: str, said: str) -> None:
    assert any(said in each for each in problems(template)), problems(template)


def test_every_mistake_is_told_at_once() -> None:
    assert len(problems("Nr. {mnth}")) == 4


def test_series_that_would_meet() -> None:
    assert alike({"a": PARTNER, "b": "API-{year}{month:02}-{number}", "c": "X-{year}-{number}"}) == [("a", "b")]
    assert alike({"a": "{nmber}", "b": "{nmber}"}) == []


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("R-{year}-{number}", "R-{year}-1{number}", True),
        ("R{year}{month:02}{number}", "R{year}{number:04}", True),
        ("R{year}-{number}", "R1{year}-{number}", False),
        ("R{year}{number}", "R1{year}{number}", True),
        ("{number}-{year}", "7{number}-{year}", True),
        ("R{number:03}/{year}", "R{number:05}/{year}", True),
        ("R{year}{number}1", "R{year}{number}2", False),
        ("R{year}{month:02}-{number}", "R{year}42-{number}", False),
        ("R{year}-{number}", "R{year}/{number}", False),
        ("R{year}-{number}", "R{year}-{month:02}-{number}", False),
        ("INV-{year}-{number}", "OVR-{year}-{number}", False),
        ("r{year}-{number}", "R{year}-{number}", False),
    ],
)
def test_formats_are_held_against_each_other_place_by_place(one: str, other: str, *, meet: bool) -> None:
    assert problems(one) == problems(other) == []
    assert alike({"a": one, "b": other}) == alike({"a": other, "b": one}) == ([("a", "b")] if meet else [])


literals = st.text("R1-", max_size=2)
FIELDS = ["{year}", "{month:02}", "{number}"]


@st.composite
def formats(draw: st.DrawFn) -> str:
    return "".join(draw(literals) + field for field in draw(st.permutations(FIELDS))) + draw(literals)


@given(one=formats(), other=formats(), at=places, then=places)
def test_formats_that_do_not_meet_never_give_one_number(
    one: str, other: str, at: tuple[int, int, int], then: tuple[int, int, int]
) -> None:
    if not alike({"a": one, "b": other}):
        assert number(one, Moment(*at[:2]), at[2]) != number(other, Moment(*then[:2]), then[2])


def test_the_year_is_the_sellers() -> None:
    at = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    assert moment(at, "Europe/Berlin") == Moment(2027, 1)
    assert moment(at, "America/New_York") == Moment(2026, 12)


FORMATS = ("{year}{month:02}{number}", "{number}{month:02}{year}", "A{year}-{number:03}", PARTNER, "{number:09}/{year}")


@given(template=st.sampled_from(FORMATS), one=places, other=places)
def test_no_two_numbers_are_alike(template: str, one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    """A count is given out once a year, in one month."""
    assert problems(template) == []
    if (one[0], one[2]) != (other[0], other[2]):
        assert number(template, Moment(*one[:2]), one[2]) != number(template, Moment(*other[:2]), other[2])
