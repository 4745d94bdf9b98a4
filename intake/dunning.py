"""An operator's hand on a dunning case, from the terminal, the API or the dashboard; and how cases are put in words."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.money import decimals
from db.operators import dunning
from db.operators.actions import UnknownIdsError
from db.operators.filters import BadFilterError, moment
from intake.overview import jsonable, without_secrets
from jobs.dunning import operate
from jobs.dunning.preview import Preview, preview
from worker.deps import Tx
from worker.ports import Clock

FREE_TEXT = ("reason", "email", "name", "letters", "taken", "audit")


AGES = frozenset("smhdw")
"""How a length of time ends."""


@dataclass(frozen=True, slots=True)
class Times:
    """The machine's clock, and the business's where it has its own."""

    clock: Clock
    business: Clock | None = None

    def now(self) -> datetime:
        """The business's present."""
        return (self.business or self.clock).now()


def to_come(field: str, value: str | None, now: datetime) -> datetime | None:
    """A time to come, at most a year away: `2d` means in two days; else ISO 8601, in UTC unless it says otherwise.

    Raises BadFilterError.
    """
    at = moment(field, value, now)
    if at is None or value is None:
        return None
    if value.strip()[-1:].lower() in AGES:
        at = 2 * (now - at) + at
    if at <= now:
        raise BadFilterError(field, f"{value!r} is past: write a time that is to come (2d, 2026-03-01)")
    if at > now + operate.LONGEST_PAUSE:
        raise BadFilterError(field, f"{value!r} is more than a year away: close the case, or leave the end out")
    return at


@asynccontextmanager
async def hand(engine: AsyncEngine, times: Times, *, dry_run: bool = False) -> AsyncGenerator[Tx]:
    """A transaction to act in; with `dry_run` all of it is undone at the end. The caller rings `tx.rings`."""
    async with engine.connect() as conn:
        tx = Tx(conn, times.now(), times.clock.now())
        yield tx
        await (conn.rollback() if dry_run else conn.commit())
        if dry_run:
            tx.rings.clear()


async def story(conn: AsyncConnection, invoice: str) -> dict[str, Any]:
    """A case's story as JSON that may be shown. Raises UnknownIdsError."""
    return case_json(await dunning.case_story(conn, invoice))


def case_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A case as JSON that may be shown."""
    shown = {name: without_secrets(jsonable(value)) if name in FREE_TEXT else value for name, value in row.items()}
    return jsonable(shown)


async def coming(conn: AsyncConnection, invoice: str, now: datetime) -> dict[str, Any]:
    """What would happen with an invoice in the next 30 days, as JSON. Raises UnknownIdsError."""
    found = await preview(conn, invoice, now)
    if found is None:
        raise UnknownIdsError("invoice", [invoice])
    return preview_json(found)


def preview_json(found: Preview) -> dict[str, Any]:
    """A preview as JSON; times in UTC."""
    return jsonable(asdict(found))


def money(cents: int | None, currency: str) -> str:
    """Minor units as people write them: `49.00 EUR`, `4,900 JPY`."""
    if cents is None:
        return ""
    digits = decimals(currency)
    return f"{Decimal(cents).scaleb(-digits):,.{digits}f} {currency.upper()}"


def letter_of(steps: Sequence[Mapping[str, Any]], position: int) -> str:
    """A step in words."""
    if not 0 <= position < len(steps):
        return ""
    step = steps[position]
    action = "" if step["action"] == "none" else f", {step['action']}"
    return f"day {step['day']}: {step['letter']}{action}"


def percent(basis_points: int | None) -> str:
    """`83.33 %`; a dash while there is nothing to tell."""
    return "-" if basis_points is None else f"{Decimal(basis_points) / 100:.2f} %"


def days(seconds: int | None) -> str:
    """Whole days and hours: `3 d 4 h`, `4 h`, `under 1 h`."""
    if seconds is None:
        return "-"
    whole, rest = divmod(timedelta(seconds=seconds), timedelta(days=1))
    hours = rest // timedelta(hours=1)
    if not whole:
        return f"{hours} h" if hours else "under 1 h"
    return f"{whole} d {hours} h"
