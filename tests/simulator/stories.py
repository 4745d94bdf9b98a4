"""A story is played once for a file of tests; each of them has a copy of the ledger as it was at the end."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from tests.scenarios.kit import Stage
from worker.embedded import EmbeddedPostgres


@dataclass(slots=True)
class Played:
    """A story that was played once: Stripe's books at its end, and what things are called."""

    books: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict[str, Sequence[Mapping[str, Any]]])
    now: int = 0
    ids: dict[str, Any] = field(default_factory=dict[str, Any])

    def end(self, stage: Stage) -> None:
        """Keep how it stands on the stage."""
        self.books = {kind: list(rows) for kind, rows in stage.books().items()}
        self.now = stage.simulation.account.now()


Play = Callable[[Played, AsyncEngine, str], Awaitable[None]]
"""Plays on an empty ledger: its engine and its URL."""


def filled(postgres: EmbeddedPostgres, template: str, played: Played, play: Play) -> str:
    """The name of a database that `play` has filled, from an empty one; it is closed, to be cloned."""
    name = f"story_{uuid.uuid4().hex}"

    async def tell() -> None:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await connection.close()
        engine = create_engine(postgres.url(name))
        try:
            await play(played, engine, postgres.url(name))
        finally:
            await engine.dispose()

    asyncio.run(tell())
    return name
