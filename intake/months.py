"""A month as people type it: what is none is told at the door, by the field's name, before anything is asked."""

from typing import overload

from db.operators.filters import BadFilterError
from jobs.rules.billing_periods import month_named


@overload
def month(typed: str) -> str: ...
@overload
def month(typed: str | None) -> str | None: ...
def month(typed: str | None) -> str | None:
    """`2026-10`; None, which was not typed, means what it means there. Raises BadFilterError."""
    if typed is None:
        return None
    try:
        month_named(typed)
    except ValueError as error:
        raise BadFilterError("period", str(error)) from None
    return typed.strip()
