"""What an operator did is written down with who and why, in the transaction that does it; pauses are kept here too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.models.inbox import QueueRow
from db.models.operations import AuditEntry, Pause
from db.operators.filters import BadFilterError, plain

AUDITED_IDS = 100
"""An audit row names so many ids at most; a bulk action's filter tells the rest."""

FEW = 20
"""So many named ids are somebody's patient hands: they are run at once. More of them, or a filter, is bulk work."""


class Scope(StrEnum):
    """What is paused: a whole queue, or one name (an event type, a job)."""

    QUEUE = "queue"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and why."""

    who: str
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What an action changed: `ids`, of the `matched` ones; the others were picked up by a worker at that moment."""

    matched: int
    ids: tuple[str, ...]


class UnknownIdsError(Exception):
    """These ids are not in the books; nothing was changed."""

    def __init__(self, kind: str, ids: Sequence[str]) -> None:
        """`kind` is what they should have been (`event`, `job`)."""
        super().__init__(f"no such {kind}: {', '.join(ids)}; nothing was changed")


class NotAllowedError(Exception):
    """The action does not fit the state that something is in; nothing was changed."""

    def __init__(self, reasons: Sequence[str]) -> None:
        """One sentence for each thing in the way."""
        super().__init__("\n".join((*reasons, "nothing was changed")))


def running() -> ColumnElement[bool]:
    """A worker holds this row of the queue now. Leases are measured on the database's clock, which workers share."""
    return and_(QueueRow.lease_token.is_not(None), QueueRow.lease_until > func.clock_timestamp())


def idle() -> ColumnElement[bool]:
    """Nobody holds this row of the queue, or whoever did has died."""
    return or_(QueueRow.lease_token.is_(None), QueueRow.lease_until <= func.clock_timestamp())


async def write_audit(
    conn: AsyncConnection,
    actor: Actor,
    action: str,
    target: str,
    *,
    now: datetime,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add a row to the audit log."""
    await conn.execute(
        insert(AuditEntry).values(
            created_at=now,
            who=actor.who,
            action=action,
            target=target,
            why=actor.why,
            details=dict(details) if details else None,
        )
    )


async def audit_of(conn: AsyncConnection, kind: str, ref: str) -> list[dict[str, Any]]:
    """What operators did about one event or job, oldest first; bulk actions are found as long as they name the id."""
    rows = await conn.execute(
        select(AuditEntry.created_at, AuditEntry.who, AuditEntry.action, AuditEntry.why)
        .where(
            AuditEntry.action.like(f"{kind}s.%"),
            or_(AuditEntry.target == ref, AuditEntry.details.contains({"ids": [ref]})),
        )
        .order_by(AuditEntry.id)
    )
    return [dict(row) for row in rows.mappings()]


async def pause(conn: AsyncConnection, scope: Scope, target: str, actor: Actor, *, now: datetime) -> bool:
    """Let nothing of `target` be started any more; what runs, ends. False: it was paused. Raises BadFilterError."""
    name = plain(scope, target)
    if name is None or set(name) & set("*? "):
        raise BadFilterError(scope, f"{target!r} is no exact name, and only exact names can be paused")
    row = await conn.execute(
        upsert(Pause)
        .values(scope=scope.value, target=name, who=actor.who, why=actor.why, created_at=now)
        .on_conflict_do_nothing()
        .returning(Pause.target)
    )
    changed = row.first() is not None
    if changed:
        await write_audit(conn, actor, "pause", f"{scope}:{name}", now=now)
    return changed


async def resume(conn: AsyncConnection, scope: Scope, target: str, actor: Actor, *, now: datetime) -> bool:
    """Let `target` run again. False: it was not paused."""
    row = await conn.execute(
        delete(Pause).where(Pause.scope == scope.value, Pause.target == target).returning(Pause.target)
    )
    changed = row.first() is not None
    if changed:
        await write_audit(conn, actor, "resume", f"{scope}:{target}", now=now)
    return changed
