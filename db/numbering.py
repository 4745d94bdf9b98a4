"""Invoice numbers have no gaps: a count is taken in the transaction that needs it, and goes back with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

from db.ledger import hash63

_TAKE = text(
    """
    INSERT INTO invoice_series AS s (series, year, next_number) VALUES (:series, :year, 1 + :count)
    ON CONFLICT (series, year) DO UPDATE SET next_number = s.next_number + :count
    RETURNING next_number - :count
    """
)


async def take(conn: AsyncConnection, wanted: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    """Take counts: how many of each (series, year). Returns the first of each; the rest follow it.

    Others who want a number of the same series wait until this transaction ends: take it last, after all that may fail.
    """
    return {
        (series, year): (
            await conn.execute(_TAKE, {"series": series, "year": year, "count": wanted[series, year]})
        ).scalar_one()
        for series, year in sorted(wanted)  # in one order, so that two who take several never wait for each other
    }


_LOCK = text("SELECT pg_advisory_xact_lock(k) FROM (SELECT unnest(:keys) AS k ORDER BY 1) AS wanted").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)
_MOVE = text(
    """
    UPDATE invoices SET invoice_number = coalesce(stripe_number, invoice_number) || ' (' || stripe_invoice_id || ')'
    WHERE invoice_number = ANY(:numbers) AND livemode = :livemode AND stripe_account = ''
      AND stripe_invoice_id IS NOT NULL
    """
).bindparams(bindparam("numbers", type_=ARRAY(Text)))


async def claim(conn: AsyncConnection, numbers: Iterable[str], *, locks: Iterable[str], livemode: bool) -> None:
    """Make sure that nobody else has these numbers: an invoice of Stripe's that has one gets its id behind it.

    `locks` are what the ledger locks before it gives these numbers out (`jobs.derive.books.number_lock`). Our own law
    is that ours have no gap; Stripe's own number stays in `stripe_number`.
    """
    await conn.execute(_LOCK, {"keys": sorted(hash63(name) for name in locks)})
    await conn.execute(_MOVE, {"numbers": list(numbers), "livemode": livemode})


@dataclass(frozen=True, slots=True)
class Uneven:
    """A series in whose year as many numbers were taken as neither invoices nor credit notes of ours have."""

    series: str
    year: int
    taken: int
    issued: int


_UNEVEN = text(
    """
    WITH issued AS (
        SELECT series, year, count(*) AS issued
        FROM (
            SELECT i.series, CAST(extract(year FROM CASE
                WHEN date_trunc('year', i.finalized_at - interval '15 h', 'UTC')
                   = date_trunc('year', i.finalized_at + interval '15 h', 'UTC')
                THEN CAST(i.finalized_at AT TIME ZONE 'UTC' AS date)
                ELSE coalesce((SELECT CAST(d.content->>'issued_on' AS date) FROM documents d
                               WHERE d.key = 'invoice/' || i.id), CAST(i.finalized_at AT TIME ZONE 'UTC' AS date))
            END) AS int) AS year
            FROM invoices i
            WHERE i.kind IS NOT NULL AND i.invoice_number IS NOT NULL AND i.series IS NOT NULL
            UNION ALL
            SELECT n.series, CAST(extract(year FROM coalesce(
                CAST(d.content->>'issued_on' AS date), CAST(n.stripe_created_at AT TIME ZONE 'UTC' AS date)
            )) AS int)
            FROM credit_notes n LEFT JOIN documents d ON d.key = 'credit_note/' || n.id
            WHERE n.stripe_credit_note_id IS NULL AND n.series IS NOT NULL
        ) AS ours
        GROUP BY series, year
    )
    SELECT series, year, coalesce(s.next_number - 1, 0), coalesce(i.issued, 0)
    FROM invoice_series s FULL JOIN issued i USING (series, year)
    WHERE coalesce(s.next_number - 1, 0) <> coalesce(i.issued, 0)
    ORDER BY series, year
    """
)


async def uneven(conn: AsyncConnection) -> list[Uneven]:
    """Series that do not add up; none, unless rows were lost or changed past the triggers. Reads all our invoices.

    The year of an invoice is that of its seller's day, by which its document is dated; documents are looked at only
    where days around the world are of different years.
    """
    return [Uneven(*row) for row in await conn.execute(_UNEVEN)]
