"""What each check of the invariants found: where the next one goes on, and what is broken now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from db.states import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How the check of one invariant went. `since`: what it looked at changed then or later; None: at all.

    `rows` are the first of the `broken` ones. With an `error` nobody knows whether it holds.
    """

    name: str
    seconds: float
    since: datetime | None
    broken: int = 0
    rows: Sequence[Mapping[str, Any]] = ()
    mark: int | None = None
    error: str | None = None

    @property
    def holds(self) -> bool:
        """Whether it was looked at, and nothing breaks it."""
        return self.error is None and not self.broken


@dataclass(frozen=True, slots=True)
class Last:
    """How an invariant stood when it was last looked at (`at`: when that run began)."""

    at: datetime
    since: datetime | None
    broken: int
    seconds: float
    mark: int | None
    error: str | None
    rows: Sequence[Mapping[str, Any]]


_SAVE = text(
    """
    INSERT INTO verification_runs (asked_by, since, status, started_at, finished_at, error, checked, findings)
    VALUES (:asked_by, :since, :status, :started_at, :finished_at, :error, :checked, :findings)
    RETURNING id
    """
).bindparams(bindparam("checked", type_=JSONB), bindparam("findings", type_=JSONB))


async def save(
    conn: AsyncConnection, results: Sequence[Result], *, asked_by: str, started_at: datetime, finished_at: datetime
) -> int:
    """Write down a run that has ended; its `since` is the earliest of its checks'. Returns its id."""
    errors = [f"{one.name}: {one.error}" for one in results if one.error is not None]
    sinces = [one.since for one in results]
    checked = {
        one.name: {
            "seconds": one.seconds,
            "broken": one.broken,
            "since": None if one.since is None else one.since.isoformat(),
            "mark": one.mark,
            "error": one.error,
        }
        for one in results
    }
    values = {
        "asked_by": asked_by,
        "since": None if None in sinces else min((one for one in sinces if one is not None), default=None),
        "status": RunStatus.FAILED.value if errors else RunStatus.DONE.value,
        "started_at": started_at,
        "finished_at": finished_at,
        "error": "; ".join(errors) or None,
        "checked": checked,
        "findings": [{"name": one.name, "rows": list(one.rows)} for one in results if one.broken],
    }
    return (await conn.execute(_SAVE, values)).scalar_one()


# Each run looks at all invariants, but for those that an operator asked to look at a few.
_LAST = text(
    """
    SELECT DISTINCT ON (c.name) c.name, r.started_at, c.told, f.told -> 'rows'
    FROM (SELECT * FROM verification_runs ORDER BY started_at DESC, id DESC LIMIT :runs) AS r
    CROSS JOIN LATERAL jsonb_each(r.checked) AS c (name, told)
    LEFT JOIN LATERAL jsonb_array_elements(r.findings) AS f (told) ON f.told ->> 'name' = c.name
    WHERE :failed OR c.told -> 'error' = 'null'
    ORDER BY c.name, r.started_at DESC, r.id DESC
    """
)
RUNS = 200
"""So many of the newest runs are looked through: more than a week of them."""


async def last(conn: AsyncConnection, *, failed: bool) -> dict[str, Last]:
    """How each invariant stood when it was last looked at; with `failed` also when that did not come to an end."""
    rows = await conn.execute(_LAST, {"runs": RUNS, "failed": failed})
    return {
        name: Last(
            at,
            None if told["since"] is None else datetime.fromisoformat(told["since"]),
            told["broken"],
            told["seconds"],
            told["mark"],
            told["error"],
            found or (),
        )
        for name, at, told, found in rows
    }


_WHOLE = text(
    """
    SELECT DISTINCT c.name FROM verification_runs r CROSS JOIN LATERAL jsonb_each(r.checked) AS c (name, told)
    WHERE r.started_at >= :after AND c.told -> 'since' = 'null' AND c.told -> 'error' = 'null'
    """
)


async def whole_since(conn: AsyncConnection, after: datetime) -> set[str]:
    """The invariants for which all rows were looked at in a run that began at `after` or later."""
    return set((await conn.execute(_WHOLE, {"after": after})).scalars())


async def broken(conn: AsyncConnection) -> dict[str, int]:
    """How many rows broke each invariant when it was last looked at to the end; those that hold are there with 0."""
    return {name: one.broken for name, one in (await last(conn, failed=False)).items()}


async def forget_before(conn: AsyncConnection, moment: datetime) -> int:
    """Drop the runs that began before `moment`. Returns how many."""
    return (
        await conn.execute(text("DELETE FROM verification_runs WHERE started_at < :moment"), {"moment": moment})
    ).rowcount
