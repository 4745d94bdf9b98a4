"""Letters as they were staged: looked up, and rendered as the sender would."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.mail.brand import Brand
from jobs.mail.render import Rendered, render
from worker.registry import discover

discover("jobs")  # as a worker does: who follows an event is known once its module is imported

Json = dict[str, Any]
PLAIN = Brand("Billing")


async def letters(engine: AsyncEngine) -> dict[str, Json]:
    """All letters by their keys."""
    async with engine.connect() as conn:
        rows = (await conn.execute(text("SELECT * FROM emails ORDER BY id"))).mappings()
        return {row["key"]: dict(row) for row in rows}


async def keys(engine: AsyncEngine) -> list[str]:
    """The keys of all letters, sorted."""
    return sorted(await letters(engine))


async def letter(engine: AsyncEngine, key: str) -> Json:
    """One letter, which must be there."""
    found = await letters(engine)
    assert key in found, f"there are only {sorted(found)}"
    return found[key]


def written(row: Json) -> Rendered:
    """The letter as its reader gets it."""
    return render(row["template"], row["context"], locale=row["locale"], timezone=row["timezone"], brand=PLAIN)


async def staged(engine: AsyncEngine) -> list[tuple[str, Json, str | None]]:
    """The jobs that send letters: name, arguments, and what staged them."""
    async with engine.connect() as conn:
        rows = await conn.execute(
            text(
                "SELECT j.name, j.args, j.staged_by FROM queue q JOIN jobs j ON j.id = q.job_id"
                " WHERE q.queue = 'mail' ORDER BY q.id"
            )
        )
        return [(row[0], row[1], row[2]) for row in rows]
