"""No field of a draft is longer, larger or earlier than an invoice can show, a database hold, and a calendar write."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, cast

from msgspec import Meta

from jobs.invoices.document import Address, Amount, Party, Period, TaxId
from jobs.rules.documents import LARGEST

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Short = Annotated[str, Meta(max_length=200)]
Words = Annotated[str, Meta(min_length=1, max_length=2_000)]
Long = Annotated[str, Meta(max_length=5_000)]
Whole = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Above = Annotated[int, Meta(ge=1, le=LARGEST)]
Which = Annotated[int, Meta(ge=0, lt=20)]

FIRST_YEAR, LAST_YEAR = 2000, 2200
"""Of periods: what lies beyond is a mistake, and no calendar can be relied on to write it."""


class LimitedAddress(Address, frozen=True, omit_defaults=True):
    """An address of a few short lines."""

    line1: Short | None = None
    line2: Short | None = None
    city: Short | None = None
    postal_code: Short | None = None
    state: Short | None = None
    country: Short | None = None


class LimitedTaxId(TaxId, frozen=True):
    """A tax number of one short line."""

    type: Name
    value: Name


class LimitedParty(Party, frozen=True, omit_defaults=True):
    """A buyer whose every field is short."""

    name: Short
    address: LimitedAddress = LimitedAddress()
    email: Annotated[str, Meta(max_length=254)] | None = None
    phone: Short | None = None
    tax_ids: Annotated[tuple[LimitedTaxId, ...], Meta(max_length=10)] = ()
    registration: Short | None = None
    website: Words | None = None


class LimitedPeriod(Period, frozen=True):
    """A period whose ends are aware."""

    start: Annotated[datetime, Meta(tz=True)]
    end: Annotated[datetime, Meta(tz=True)]


class LimitedAmount(Amount, frozen=True):
    """A credit within what can be reckoned with (minor units)."""

    name: Name
    minor: Whole


def unwritable(value: Any, place: str) -> Iterator[str]:
    """Texts that neither PostgreSQL nor UTF-8 can hold, by their fields."""
    match value:
        case str():
            if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
                yield f"{place}: holds a character that cannot be written (U+0000, or half of a surrogate pair)"
        case dict():
            for name, one in cast("dict[str, Any]", value).items():
                yield from unwritable(one, f"{place}.{name}" if place else name)
        case list() | tuple():
            for index, one in enumerate(cast("Sequence[Any]", value)):
                yield from unwritable(one, f"{place}[{index}]")
        case _:
            pass
