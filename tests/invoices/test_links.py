"""Links to documents: only ours work, only as they were made, and only until they end."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.links import Verdict, document_link, document_path, judge, link_secrets
from worker.settings import load_settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD, NEW = b"o" * 32, b"n" * 32
DAY = timedelta(days=1)


def taken_apart(link: str) -> tuple[str, str, str]:
    """The id, the end and the signature of a link."""
    parts = urlsplit(link)
    query = parse_qs(parts.query)
    return parts.path.rpartition("/")[2], query["expires"][0], query["signature"][0]


def test_a_link_works_until_it_ends() -> None:
    given = taken_apart(document_path(7, ends=NOW + DAY, secrets=[NEW]))
    assert judge(*given, secrets=[NEW], now=NOW) is Verdict.GOOD
    assert judge(*given, secrets=[NEW], now=NOW + DAY - timedelta(seconds=1)) is Verdict.GOOD
    assert judge(*given, secrets=[NEW], now=NOW + DAY) is Verdict.EXPIRED


def test_while_a_secret_is_rolled_both_are_taken_and_the_first_signs() -> None:
    before = taken_apart(document_path(7, ends=NOW + DAY, secrets=[OLD]))
    during = taken_apart(document_path(7, ends=NOW + DAY, secrets=[NEW, OLD]))
    assert judge(*before, secrets=[NEW, OLD], now=NOW) is Verdict.GOOD
    assert judge(*during, secrets=[NEW], now=NOW) is Verdict.GOOD
    assert judge(*before, secrets=[NEW], now=NOW) is Verdict.WRONG


@given(st.integers(1, 10**12), st.integers(0, 2), st.integers(0, 60), st.characters(codec="utf-8"))
def test_whatever_is_altered_makes_it_wrong(number: int, part: int, at: int, char: str) -> None:
    whole = list(taken_apart(document_path(number, ends=NOW + DAY, secrets=[NEW])))
    one = whole[part]
    at %= len(one)
    whole[part] = one[:at] + char + one[at + 1 :]
    altered = whole[part] != one
    assert (judge(*whole, secrets=[NEW], now=NOW) is Verdict.WRONG) is altered


@pytest.mark.parametrize(
    ("number", "ends"),
    [("07", "1"), ("7 ", "1"), ("\u0667", "1"), ("7", "1e9"), ("7", ""), ("", ""), ("7", "9" * 5000)],
)
def test_other_writings_of_a_number_are_wrong(number: str, ends: str) -> None:
    assert judge(number, ends, "A" * 43, secrets=[NEW], now=NOW) is Verdict.WRONG


def test_an_altered_end_is_wrong_and_not_over() -> None:
    number, ends, signed = taken_apart(document_path(7, ends=NOW - DAY, secrets=[NEW]))
    assert judge(number, ends, signed, secrets=[NEW], now=NOW) is Verdict.EXPIRED
    assert judge(number, str(int(ends) - 1), signed, secrets=[NEW], now=NOW) is Verdict.WRONG


def test_without_a_secret_nothing_is_signed_and_nothing_passes() -> None:
    with pytest.raises(ValueError, match="BILLING_LINK_SECRET"):
        document_path(7, ends=NOW, secrets=[])
    assert judge("7", "99999999999", "A" * 43, secrets=[], now=NOW) is Verdict.WRONG


def test_a_link_begins_with_the_public_address() -> None:
    settings = load_settings(
        billing_link_secret=f"{'n' * 32}, {'o' * 40}",
        billing_public_url="https://billing.example.com/",
        billing_link_days=3,
    )
    assert link_secrets(settings) == (b"n" * 32, b"o" * 40)
    link = document_link(7, settings, now=NOW)
    assert link is not None
    assert link.startswith("https://billing.example.com/documents/7?expires=")
    assert judge(*taken_apart(link), secrets=[b"n" * 32], now=NOW + 3 * DAY) is Verdict.EXPIRED
    assert document_link(7, load_settings(billing_link_secret="n" * 32), now=NOW) is None
    assert document_link(7, load_settings(billing_public_url="https://billing.example.com"), now=NOW) is None
