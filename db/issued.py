"""What invoices of ours are held against before they are issued: customers, earlier invoices, numbers given out."""

from collections.abc import Collection

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

_USERS = text("SELECT id FROM users WHERE id = ANY(:ids)").bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
_TOTALS = text("SELECT id, total_cents, currency FROM invoices WHERE id = ANY(:ids)").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger))
)
_TAKEN = text(
    """
    SELECT invoice_number, series FROM invoices
    WHERE invoice_number = ANY(:numbers) AND kind IS NOT NULL AND livemode = :livemode
    """
).bindparams(bindparam("numbers", type_=ARRAY(Text)))


async def users(conn: AsyncConnection, ids: Collection[int]) -> set[int]:
    """Those of `ids` that are customers."""
    if not ids:
        return set()
    return set((await conn.execute(_USERS, {"ids": sorted(ids)})).scalars())


async def totals(conn: AsyncConnection, ids: Collection[int]) -> dict[int, tuple[int, str]]:
    """What these invoices come to, by id: minor units, and the currency in lower case."""
    if not ids:
        return {}
    return {row[0]: (row[1], row[2]) for row in await conn.execute(_TOTALS, {"ids": sorted(ids)})}


async def taken(conn: AsyncConnection, numbers: Collection[str], *, livemode: bool) -> dict[str, str]:
    """Those of `numbers` that invoices of ours have, each with its series."""
    found = await conn.execute(_TAKEN, {"numbers": list(numbers), "livemode": livemode})
    return {row[0]: row[1] for row in found}
