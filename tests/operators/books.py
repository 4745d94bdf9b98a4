"""A small inbox and a few jobs in every state, written as the door and the worker leave them."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import Result

from db.models.inbox import QueueRow, WebhookEvent
from db.models.operations import Job, JobAttempt

Billing = Callable[..., Awaitable[Result]]


@dataclass(frozen=True)
class Books:
    """What the tests write into and read from."""

    engine: AsyncEngine

    async def event(self, event_id: str, status: str = "received", **columns: Any) -> None:
        """An event as the door and the worker leave it, with its row in the queue when it is unfinished."""
        now = datetime.now(UTC)  # noqa: DTZ011, RUF100 - commands use the machine's clock
        values: dict[str, Any] = {
            "id": event_id,
            "type": "invoice.paid",
            "livemode": True,
            "payload": json.dumps({"id": event_id}).encode(),
            "created_at": now,
            "received_at": now,
            "status": status,
            "attempts": 3 if status in ("dead", "retrying") else 0,
            "last_error": "KeyError: 'customer'" if status in ("dead", "retrying") else None,
            **{name: value for name, value in columns.items() if hasattr(WebhookEvent, name)},
        }
        row = {name: value for name, value in columns.items() if hasattr(QueueRow, name) and name not in values}
        async with self.engine.begin() as conn:
            await conn.execute(insert(WebhookEvent).values(values))
            if status in ("received", "retrying", "dead"):
                await conn.execute(
                    insert(QueueRow).values(
                        queue="events",
                        name=values["type"],
                        event_id=event_id,
                        **{
                            "due_at": values["received_at"],
                            "attempts": values["attempts"],
                            **_dead(status, now),
                            **row,
                        },
                    )
                )

    async def job(self, status: str = "queued", **columns: Any) -> int:
        """A job in that state; returns its id."""
        now = datetime.now(UTC)
        values: dict[str, Any] = {
            "name": "send_letter",
            "queue": "mail",
            "args": {"case_id": 7},
            "created_at": now,
            "status": status,
            **{name: value for name, value in columns.items() if hasattr(Job, name)},
        }
        row = {name: value for name, value in columns.items() if hasattr(QueueRow, name) and name not in values}
        async with self.engine.begin() as conn:
            job_id: int = (await conn.execute(insert(Job).values(values).returning(Job.id))).scalar_one()
            if status in ("queued", "retrying", "dead"):
                attempts = 2 if status != "queued" else 0
                await conn.execute(
                    insert(QueueRow).values(
                        queue=values["queue"],
                        name=values["name"],
                        job_id=job_id,
                        **{"due_at": now, "attempts": attempts, **_dead(status, now), **row},
                    )
                )
        return job_id

    async def attempt(self, **columns: Any) -> None:
        """An attempt in the history."""
        async with self.engine.begin() as conn:
            await conn.execute(insert(JobAttempt).values({"ended_at": datetime.now(UTC), **columns}))

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """What a query gives."""
        async with self.engine.connect() as conn:
            return [dict(row) for row in (await conn.execute(text(sql), values)).mappings()]

    async def run(self, sql: str, **values: Any) -> None:
        """Change something directly."""
        async with self.engine.begin() as conn:
            await conn.execute(text(sql), values)


def _dead(status: str, now: datetime) -> dict[str, Any]:
    return {"dead_reason": "exhausted", "dead_at": now} if status == "dead" else {}


def leased(seconds: float = 60) -> dict[str, Any]:
    """A worker holds it (or held it, when `seconds` is negative)."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"lease_token": 1, "lease_until": until, "leased_by": "w1"}


async def as_json(run: Billing, *words: Sequence[str] | str) -> Any:
    """The command's JSON; it must succeed."""
    result = await run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
