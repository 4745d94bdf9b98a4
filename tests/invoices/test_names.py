"""Names of files can be told and written into logs whole; currencies are those that Stripe can be paid in."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from db.documents import file_name
from db.money import THREE_DECIMAL, ZERO_DECIMAL
from jobs.invoices.codes import CURRENCIES
from worker.telemetry import redact

AT = datetime(2026, 11, 21, tzinfo=UTC)


@given(st.binary(min_size=32, max_size=32), st.integers(1, 9_999))
def test_a_file_name_never_looks_like_a_card(sha256: bytes, number: int) -> None:
    for form in ("API-202611-{:04}", "RE-2026-{:04}", "INV-2026-{:04}"):
        name = file_name("invoice", form.format(number), AT, sha256.hex())
        assert name.startswith(f"invoices/2026/11/{form.format(number)}-")
        assert redact(f"file:///{name} cannot be written") == f"file:///{name} cannot be written"


def test_a_file_name_is_not_guessed() -> None:
    names = {file_name("invoice", "A-1", AT, "0" * 64) for _ in range(100)}
    assert len(names) == 100
    assert {len(name.removesuffix(".pdf").rpartition("-")[2]) for name in names} == {32}


def test_currencies_are_stripes() -> None:
    """135 and five with three decimals: https://docs.stripe.com/currencies (read in 2026)."""
    assert len(CURRENCIES) == 140
    assert CURRENCIES >= ZERO_DECIMAL | THREE_DECIMAL
    assert {"usd", "eur", "sle", "xcg", "mmk", "isk", "ugx"} <= CURRENCIES
    assert not CURRENCIES & {"sll", "hrk", "svc", "eek", "ltl", "lvl", "mro", "vef", "zwl"}, "Stripe took these out"
