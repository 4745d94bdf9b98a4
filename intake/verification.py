"""What the checks of the books' invariants found, as the command, the admin API and the dashboard tell it."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from db.verify import runs
from db.verify.registry import INVARIANTS
from db.verify.runs import Last, Result
from intake.overview import jsonable


def result_json(one: Result) -> dict[str, Any]:
    """How the check of an invariant went, as JSON."""
    invariant = INVARIANTS[one.name]
    return jsonable(
        {
            "name": one.name,
            "holds": one.holds,
            "must_hold": invariant.holds,
            "broken": one.broken,
            "rows": [dict(row) for row in one.rows],
            "what_to_do": None if one.holds else invariant.mend,
            "since": one.since,
            "seconds": one.seconds,
            "error": one.error,
        }
    )


def told(results: Iterable[Result]) -> dict[str, Any]:
    """All checks of a run; `ok` only if each invariant was looked at and holds."""
    shown = [result_json(one) for one in results]
    return {"ok": all(one["holds"] for one in shown), "invariants": shown}


def _standing(name: str, last: Last | None) -> dict[str, Any]:
    if last is None:
        return {"name": name, "must_hold": INVARIANTS[name].holds, "holds": None, "checked_at": None}
    result = Result(
        name=name, seconds=last.seconds, since=last.since, broken=last.broken, rows=last.rows, error=last.error
    )
    return result_json(result) | {"checked_at": jsonable(last.at)}


async def standing(conn: AsyncConnection) -> dict[str, Any]:
    """How each invariant stood when it was last looked at; `holds` is null for one that never was.

    So is `ok`, unless one that was looked at does not hold.
    """
    found: Mapping[str, Last] = await runs.last(conn, failed=True)
    shown = [_standing(name, found.get(name)) for name in INVARIANTS]
    holds = [one["holds"] for one in shown]
    ok = None if None in holds and False not in holds else all(holds)
    return {"ok": ok, "invariants": shown}
