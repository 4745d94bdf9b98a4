"""What the facts of letters are made of: amounts, ways of paying, lines, periods."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from db.money import Money

Currency = Annotated[str, Meta(pattern="^[a-z]{3}$")]
Instant = Annotated[datetime, Meta(tz=True)]
Link = Annotated[str, Meta(pattern=r"^https?://[^\s<>\"]+$")]
Count = Annotated[int, Meta(ge=0)]
Ordinal = Annotated[int, Meta(ge=1)]


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """JSON in a row; what a newer version added is passed over by an older one."""


class Amount(msgspec.Struct, frozen=True):
    """Minor units of a currency, as Stripe writes both."""

    amount: int
    currency: Currency

    @classmethod
    def of(cls, money: Money) -> "Amount":
        """`money`, as data."""
        return cls(money.minor, money.currency)


class UnitPrice(Data, frozen=True, kw_only=True):
    """What `per` units cost, in minor units, which may be parts of one: Stripe's `unit_amount_decimal`."""

    amount: Decimal
    currency: Currency
    per: Ordinal = 1


class Method(Data, frozen=True, kw_only=True):
    """How was paid: Stripe's code of the card's brand (`visa`) or of the method (`sepa_debit`)."""

    brand: str
    last4: str | None = None


class Line(Data, frozen=True, kw_only=True):
    """A line of an invoice; `amount` is negative for a credit."""

    description: str
    amount: Amount


class Span(Data, frozen=True, kw_only=True):
    """A period of instants; `last` is where the next one begins."""

    first: Instant
    last: Instant


class Days(Data, frozen=True, kw_only=True):
    """A period of days, from the first to the last of them."""

    first: date
    last: date

    @classmethod
    def of(cls, start: datetime, end: datetime, timezone: str) -> "Days":
        """The days of `[start, end)` in the IANA zone `timezone`."""
        zone = ZoneInfo(timezone)
        last = (end - timedelta(microseconds=1)).astimezone(zone)
        return cls(first=start.astimezone(zone).date(), last=last.date())
