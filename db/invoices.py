"""Invoices: how their numbers stay unique."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from db.ledger import Row

Series: TypeAlias = tuple[str, str, bool]
"""A number as Stripe sent it, within an account and a mode."""

_HOLDERS = text(
    """
    SELECT stripe_invoice_id, stripe_number, stripe_account, livemode,
           to_jsonb(stripe_created_at) #>> '{}', invoice_number
    FROM invoices WHERE stripe_number = ANY(:numbers)
    UNION
    SELECT stripe_invoice_id, coalesce(stripe_number, invoice_number), stripe_account, livemode,
           to_jsonb(stripe_created_at) #>> '{}', invoice_number
    FROM invoices WHERE invoice_number = ANY(:numbers)
    """
).bindparams(bindparam("numbers", type_=ARRAY(Text)))

_RELEASE = text("UPDATE invoices SET invoice_number = NULL WHERE stripe_invoice_id = ANY(:invoices)").bindparams(
    bindparam("invoices", type_=ARRAY(Text))
)
_RENAME = text("UPDATE invoices SET invoice_number = :number WHERE stripe_invoice_id = :invoice")


def _rank(row: Row) -> tuple[bool, str, str]:
    """Invoices of our own keep their number; then the oldest at Stripe does."""
    name = row["stripe_invoice_id"]
    return (name is not None, row["stripe_created_at"] or "", name or "")


def _named(row: Row, first: bool) -> Any:  # noqa: FBT001 - a private helper of two lines
    return row["stripe_number"] if first else f"{row['stripe_number']} ({row['stripe_invoice_id']})"


async def assign_numbers(conn: AsyncConnection, rows: Sequence[Row]) -> None:
    """Set `invoice_number` of merged rows that are about to be written; the caller holds the locks of the numbers.

    Stripe gives a number out twice when test data is deleted. The oldest invoice keeps it, whichever came first; the
    others bear their id behind it, so that no event is lost to a unique key.
    """
    numbers = {row["stripe_number"] for row in rows if row["stripe_number"] is not None}
    for row in rows:
        row["invoice_number"] = None
    if not numbers:
        return
    series: dict[Series, list[Row]] = defaultdict(list)
    for row in rows:
        if row["stripe_number"] is not None:
            series[row["stripe_number"], row["stripe_account"], row["livemode"]].append(row)
    incoming = {row["stripe_invoice_id"]: row for row in rows}
    held: dict[str, Any] = {}
    columns: tuple[str, ...] = (
        "stripe_invoice_id", "stripe_number", "stripe_account", "livemode", "stripe_created_at", "invoice_number"
    )  # fmt: skip
    for found in await conn.execute(_HOLDERS, {"numbers": list(numbers)}):
        row: Row = dict(zip(columns, found, strict=True))
        key = (row["stripe_number"], row["stripe_account"], row["livemode"])
        if row["stripe_invoice_id"] in incoming:
            if row["invoice_number"] is not None:
                held[row["stripe_invoice_id"]] = row["invoice_number"]
        elif key in series:
            series[key].append(row)
    renamed = [found for holders in series.values() for found in _settle(holders, incoming)]
    # A number is let go before another invoice takes it: the unique key is checked row by row.
    await _release(conn, [name for name, number in held.items() if incoming[name]["invoice_number"] != number])
    for invoice, number in renamed:
        await conn.execute(_RENAME, {"number": number, "invoice": invoice})


async def _release(conn: AsyncConnection, invoices: Sequence[str]) -> None:
    if invoices:
        await conn.execute(_RELEASE, {"invoices": list(invoices)})


def _settle(holders: Iterable[Row], incoming: Container[Any]) -> Iterator[tuple[str, str]]:
    """Number the incoming ones of `holders`; yields (invoice, number) of others that must change theirs."""
    for place, row in enumerate(sorted(holders, key=_rank)):
        number = _named(row, first=place == 0)
        if row["stripe_invoice_id"] in incoming:
            row["invoice_number"] = number
        elif row["stripe_invoice_id"] is not None and row["invoice_number"] != number:
            yield row["stripe_invoice_id"], number
