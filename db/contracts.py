"""What was agreed with partners: the versions of each contract, and which periods were invoiced by them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, Text, bindparam, select, text, true, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.contract_synonyms import as_ours
from db.models.partners import ApiPartnerContract
from db.usage_invoices import owner_lock

Row = dict[str, Any]
_TABLE = ApiPartnerContract.__table__


async def hold(conn: AsyncConnection, prefix: str) -> None:
    """Wait until nobody changes or invoices this contract, and keep others out until the transaction ends.

    It is the lock that `db.usage_invoices.hold_owner` tries.
    """
    await conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": owner_lock(prefix)})


async def versions(conn: AsyncConnection, prefix: str) -> list[Row]:
    """The versions of a contract in our words, by the day from which they hold; none: there is no such one."""
    rows = await conn.execute(
        select(ApiPartnerContract)
        .where(ApiPartnerContract.api_key_prefix == prefix)
        .order_by(ApiPartnerContract.valid_from, ApiPartnerContract.version)
    )
    return [as_ours(row) for row in rows.mappings()]


async def versions_of(conn: AsyncConnection, wanted: Collection[str]) -> dict[str, list[Row]]:
    """The versions of several contracts, each by the day from which they hold."""
    rows = await conn.execute(
        select(ApiPartnerContract)
        .where(ApiPartnerContract.api_key_prefix.in_(list(wanted)))
        .order_by(ApiPartnerContract.api_key_prefix, ApiPartnerContract.valid_from, ApiPartnerContract.version)
    )
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows.mappings():
        found[row["api_key_prefix"]].append(as_ours(row))
    return dict(found)


_CURRENT = text(
    """
    SELECT * FROM api_partner_contracts WHERE api_key_prefix = :prefix
    ORDER BY valid_from <= :on DESC, CASE WHEN valid_from <= :on THEN valid_from END DESC, valid_from
    LIMIT 1
    """
).bindparams(bindparam("on", type_=Date))


async def current(conn: AsyncConnection, prefix: str, on: date) -> Row | None:
    """The version that holds on a day of the contract's time zone; before all of them the first. None: no contract."""
    row = (await conn.execute(_CURRENT, {"prefix": prefix, "on": on})).mappings().first()
    return None if row is None else as_ours(row)


async def prefixes(conn: AsyncConnection, *, after: str = "", limit: int | None = None) -> list[str]:
    """The prefixes of all contracts, in order; those after `after`, at most `limit` of them."""
    rows = await conn.execute(
        select(ApiPartnerContract.api_key_prefix)
        .where(ApiPartnerContract.api_key_prefix > after)
        .distinct()
        .order_by(ApiPartnerContract.api_key_prefix)
        .limit(limit)
    )
    return list(rows.scalars())


async def ended(conn: AsyncConnection, since: datetime, now: datetime, prefix: str | None = None) -> list[str]:
    """The prefixes of contracts whose last day was after `since` and is over at `now` (by UTC), in order."""
    rows = await conn.execute(
        select(ApiPartnerContract.api_key_prefix)
        .where(
            ApiPartnerContract.contract_end_date > since.date(),
            ApiPartnerContract.contract_end_date <= now.date(),
            ApiPartnerContract.api_key_prefix == prefix if prefix is not None else true(),
        )
        .distinct()
        .order_by(ApiPartnerContract.api_key_prefix)
    )
    return list(rows.scalars())


async def add_version(conn: AsyncConnection, values: Mapping[str, Any], *, now: datetime, who: str) -> Row | None:
    """Write a version; what `values` leave out has the table's default. None: one holds from that day already.

    The caller holds the contract (`hold`), so that two versions do not take one number.
    """
    row = await conn.execute(
        upsert(ApiPartnerContract)
        .values(**values, created_at=now, created_by=who)
        .on_conflict_do_nothing(index_elements=["api_key_prefix", "valid_from"])
        .returning(*_TABLE.c)
    )
    made = row.mappings().first()
    return None if made is None else as_ours(made)


async def correct(conn: AsyncConnection, contract_id: int, values: Mapping[str, Any]) -> None:
    """Write these columns of a version anew. The database refuses terms by which an invoice was issued."""
    await conn.execute(update(ApiPartnerContract).where(ApiPartnerContract.id == contract_id).values(**values))


_WHOLE = text(
    """
    UPDATE api_partner_contracts
    SET status = :status, contract_start_date = :start_date, contract_end_date = :end_date
    WHERE api_key_prefix = :prefix
      AND (status, contract_start_date, contract_end_date) IS DISTINCT FROM (:status, :start_date, :end_date)
    """
).bindparams(bindparam("status", type_=Text), bindparam("start_date", type_=Date), bindparam("end_date", type_=Date))


async def set_whole(conn: AsyncConnection, prefix: str, *, status: str, start: date, end: date | None) -> None:
    """Write how the whole contract stands, and its first and last day (None: it goes on), into all of its versions.

    Whichever version somebody looks at, by day or by hand, it tells the same.
    """
    values = {"prefix": prefix, "status": status, "start_date": start, "end_date": end}
    await conn.execute(_WHOLE, values)


@dataclass(frozen=True, slots=True)
class Settled:
    """The newest period of a contract that is closed for good."""

    period_start: datetime
    period_end: datetime
    number: str | None
    """The invoice's number; None: nothing was to be charged."""


_SETTLED = text(
    """
    SELECT DISTINCT ON (u.api_key_prefix) u.api_key_prefix, u.period_start, u.period_end, i.invoice_number
    FROM usage_invoices u LEFT JOIN invoices i ON i.id = u.invoice_id
    WHERE u.kind = 'partner' AND u.status IN ('issued', 'empty') AND u.api_key_prefix = ANY(:prefixes)
    ORDER BY u.api_key_prefix, u.period_end DESC
    """
).bindparams(bindparam("prefixes", type_=ARRAY(Text)))


async def settled(conn: AsyncConnection, wanted: Sequence[str]) -> dict[str, Settled]:
    """The newest period of each contract that was invoiced, or in which nothing was to be charged."""
    rows = await conn.execute(_SETTLED, {"prefixes": list(wanted)})
    return {row[0]: Settled(row[1], row[2], row[3]) for row in rows}


_INVOICED_BY = text(
    """
    SELECT coalesce(i.invoice_number, u.id::text)
    FROM usage_invoices u LEFT JOIN invoices i ON i.id = u.invoice_id
    WHERE u.status = 'issued' AND u.kind = 'partner' AND :contract_id = ANY(u.contract_ids)
    ORDER BY u.period_start
    """
)


async def invoiced_by(conn: AsyncConnection, contract_id: int) -> list[str]:
    """The numbers of the invoices that were reckoned by a version, oldest first."""
    return list((await conn.execute(_INVOICED_BY, {"contract_id": contract_id})).scalars())
