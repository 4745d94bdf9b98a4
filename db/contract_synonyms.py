"""A contract's row may say `annual` or `NET30`, as whoever wrote it does: it is read as the word that is used here."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping

SYNONYMS: Mapping[str, Mapping[str, str]] = {
    "pricing_model": {
        "flat": "flat",
        "per_deed": "per_deed",
        "per_request": "per_request",
        "hybrid": "hybrid",
        "tiered": "tiered",
    },
    "billing_cycle": {
        "monthly": "monthly",
        "month": "monthly",
        "quarterly": "quarterly",
        "quarter": "quarterly",
        "yearly": "yearly",
        "year": "yearly",
        "annual": "yearly",
        "annually": "yearly",
    },
    "payment_terms": {
        "immediate": "immediate",
        "due_on_receipt": "immediate",
        "on_receipt": "immediate",
        "net_0": "immediate",
        "net0": "immediate",
        "net_15": "net_15",
        "net15": "net_15",
        "net_30": "net_30",
        "net30": "net_30",
        "net_60": "net_60",
        "net60": "net_60",
        "end_of_month": "end_of_month",
        "eom": "end_of_month",
    },
    "status": {
        "draft": "draft",
        "pending": "draft",
        "active": "active",
        "paused": "paused",
        "suspended": "paused",
        "on_hold": "paused",
        "inactive": "paused",
        "ended": "ended",
        "expired": "ended",
        "terminated": "ended",
        "cancelled": "ended",
        "canceled": "ended",
    },
}
"""By column: each word that a row may hold, in lower case and with underscores, and ours for it."""

WORDS: Mapping[str, tuple[str, ...]] = {
    column: tuple(dict.fromkeys(words.values())) for column, words in SYNONYMS.items()
}
"""Our own words, by column."""

_FOLD = str.maketrans(" -", "__")
_LIMITS = ("monthly_request_limit", "rate_limit_per_minute")


def ours(column: str, value: Any) -> Any:
    """Our word for what was written, whatever its case, with `_`, `-` or a blank between; as it is if there is none."""
    if not isinstance(value, str):
        return value
    return SYNONYMS[column].get(value.strip().lower().translate(_FOLD), value)


def as_ours(row: RowMapping) -> dict[str, Any]:
    """A row of `api_partner_contracts` with our words in it; a limit of 0, as many write it, is none."""
    found: dict[str, Any] = {**row}
    for column in SYNONYMS:
        found[column] = ours(column, found[column])
    for column in _LIMITS:
        found[column] = found[column] or None
    return found


def check(column: str) -> str:
    """The CHECK that lets these words into a column. SQL."""
    words = ",".join(f"'{word}'" for word in SYNONYMS[column])
    return f"translate(lower({column}), ' -', '__') IN ({words})"
