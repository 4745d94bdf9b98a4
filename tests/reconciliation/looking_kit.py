"""A rich life at a simulated Stripe, and a ledger that heard all of it; then somebody changes the ledger."""

import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import envelope, inbox, queue
from db.engine import create_engine
from db.states import DifferenceClass
from deploy.demo.compare import differences
from deploy.demo.simulator.books import books
from deploy.demo.simulator.render import CURRENT
from jobs.reconciliation.found import Difference, Looked, Stripe, Suspect
from jobs.reconciliation.lists import newest
from jobs.reconciliation.snapshots import look
from tests.events.kit import LEDGER, apply, stored
from tests.simulator.kit import ask
from tests.simulator.life import (
    Life,
    catalogue,
    discounts,
    disputes,
    hard_times,
    invoices,
    one_off_payments,
    subscriptions,
)
from tests.simulator.stories import Played, filled
from tests.worker.kit import until
from worker.adapters.mail_files import NullMailer
from worker.deps import Deps
from worker.embedded import EmbeddedPostgres
from worker.errors import Refused
from worker.registry import discover
from worker.runner import Runner

Json = dict[str, Any]

EVERYTHING = (*LEDGER, "webhook_events", "queue", "jobs", "emails", "dunning_cases", "audit_log", "documents")
"""What must be as it was when nothing is to be changed."""

registry = discover("jobs")  # so that letters and dunning follow

ALL = frozenset(DifferenceClass)


def small_life() -> Life:
    """Customers who pay, do not pay, get money back, dispute, come and go; then half a day in which nothing happens."""
    life = Life()
    for chapter in (catalogue, one_off_payments, disputes, invoices, subscriptions, hard_times, discounts):
        chapter(life)
    life.wait(0.5)
    return life


class AnsweredError(Exception):
    """What the SDK would raise."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.http_status = status


@dataclass
class Api:
    """Stripe's API without a network; it notes what it was asked."""

    life: Life
    asked: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])

    @property
    def told_at(self) -> datetime:
        """Stripe tells its own time with each answer."""
        return datetime.fromtimestamp(self.life.api.account.now(), UTC)

    async def retrieve(self, path: str, **params: Any) -> Json:
        self.asked.append((path, dict(params)))
        params.pop("stripe_account", None)
        status, body, _ = ask(self.life.api, "GET", f"/v1/{path}", params)
        if status != 200:
            raise Refused(f"Stripe answered {status} to GET /v1/{path}: {body}") from AnsweredError(status)
        return body

    async def read(self, path: str, **params: Any) -> bytes:
        return msgspec.json.encode(await self.retrieve(path, **params))

    async def act(self, method: str, path: str, *, idempotency_key: str, **params: Any) -> Json:
        raise AssertionError(f"Stripe was told to {method} {path} {params} as {idempotency_key}")


@dataclass
class Now:
    """Our clock shows Stripe's time."""

    life: Life

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.life.api.account.now(), UTC)


@dataclass
class World:
    """Both sides."""

    engine: AsyncEngine
    life: Life
    told: int = 0

    def __post_init__(self) -> None:
        self.api = Api(self.life)
        self.deps = Deps(engine=self.engine, clock=Now(self.life), stripe=self.api)

    def events(self) -> list[tuple[str, str, bytes]]:
        """Id, type and body of what was not told yet; all of it is told now."""
        events = list(self.life.api.account.events.values())
        new, self.told = events[self.told :], len(events)
        return [(event.id, event.type, json.dumps(event.body(CURRENT, 0)).encode()) for event in new]

    async def tell(self, *, without: Sequence[str] = ()) -> None:
        """Stripe's webhooks arrive and are applied, but for the types `without`."""
        found = [one for one in self.events() if one[1] not in without]
        for at in range(0, len(found), 100):
            page = found[at : at + 100]
            async with self.engine.begin() as conn:
                new = [envelope.read(body, self.deps.clock.now()) for _, _, body in page]
                await inbox.put(conn, new, priority=0)
                await conn.execute(text("UPDATE webhook_events SET status = 'processed', source = 'webhook'"))
                await conn.execute(text("DELETE FROM queue WHERE event_id IS NOT NULL"))
            made = [stored(type_, body, event_id=id_) for id_, type_, body in page]
            await apply(self.engine, *made, now=self.deps.clock.now())

    async def stripe(self) -> Stripe:
        """As of the newest event."""
        return await newest(self.deps, "")

    async def look(
        self, kind: str, name: str, *, repairs: frozenset[DifferenceClass] = frozenset(), dry_run: bool = False
    ) -> Looked:
        """A fresh look."""
        suspect = Suspect(kind, name)
        return await look(self.deps, await self.stripe(), suspect, repairs=repairs, dry_run=dry_run, run_id=None)

    async def repair(self, kind: str, name: str) -> Looked:
        """A fresh look that mends all."""
        return await self.look(kind, name, repairs=ALL)

    async def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the ledger."""
        async with self.engine.connect() as conn:
            return [tuple(row) for row in await conn.execute(text(sql), values)]

    async def change(self, sql: str, **values: Any) -> None:
        """Change the ledger behind everybody's back."""
        async with self.engine.begin() as conn:
            assert (await conn.execute(text(sql), values)).rowcount > 0, sql

    async def dump(self) -> Mapping[str, list[str]]:
        """All rows of all tables."""
        found: dict[str, list[str]] = {}
        async with self.engine.connect() as conn:
            for table in EVERYTHING:
                rows = await conn.execute(text(f"SELECT to_jsonb(t)::text FROM {table} t"))  # noqa: S608 - our own tables
                found[table] = sorted(rows.scalars())
        return found

    async def work(self, *queues: str) -> None:
        """A worker does all that is due."""
        deps = replace(self.deps, mailer=NullMailer())
        runner = Runner(deps, registry, queues=queues, worker="w1", lease=timedelta(seconds=15))
        try:
            await runner.sweep()
            await until(lambda: self._idle(queues))
        finally:
            await runner.stop(timedelta(seconds=5))

    async def _idle(self, queues: tuple[str, ...]) -> bool:
        async with self.engine.connect() as conn:
            leased = (await conn.execute(text("SELECT count(*) FROM queue WHERE lease_token IS NOT NULL"))).scalar_one()
            return not leased and not await queue.due_queues(conn, queues, now=self.deps.clock.now())

    async def oracle(self) -> list[str]:
        """In what the ledger is not as Stripe is, by the simulator's own word; nobody is at work who sends letters."""
        account = self.life.api.account
        found = await differences(self.engine, books(account), at=account.now())
        untold = {("customer", "currency"), ("letter", "status")}  # the simulator sets a customer's silently
        return [str(one) for one in found if (one.kind, one.field) not in untold]

    def all(self, kind: str) -> list[Json]:
        """Stripe's objects of a kind."""
        return list(books(self.life.api.account).get(kind, []))


@cache
def heard_life() -> Life:
    """Played once; nobody changes it afterwards."""
    return small_life()


_FILLED: dict[str, str] = {}


def heard(postgres: EmbeddedPostgres, template: str) -> str:
    """The ledger that heard all of it, and was looked at once; made once for all tests, which clone it."""
    if postgres.url() not in _FILLED:

        async def play(_: Played, engine: AsyncEngine, __: str) -> None:
            world = World(engine, heard_life())
            await world.tell()
            for kind in ("charge", "invoice", "customer"):  # what no webhook tells is filled in, silently
                for obj in world.all(kind):
                    looked = await world.repair(kind, obj["id"])
                    assert (looked.differences, looked.mended) == ((), False), obj["id"]

        _FILLED[postgres.url()] = filled(postgres, template, Played(), play)
    return _FILLED[postgres.url()]


@asynccontextmanager
async def cloned(postgres: EmbeddedPostgres, template: str) -> AsyncGenerator[AsyncEngine]:
    """A copy of a database, for whoever needs many in one test."""
    name = f"clone_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    engine = create_engine(postgres.url(name))
    try:
        yield engine
    finally:
        await engine.dispose()
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


async def emptied(conn: AsyncConnection) -> None:
    """Empty all that an event may fill."""
    more = "emails, dunning_cases, jobs, queue, webhook_events"
    await conn.execute(text(f"TRUNCATE {', '.join(LEDGER)}, {more} RESTART IDENTITY CASCADE"))


def told(looked: Looked) -> set[tuple[str, str, str]]:
    """Kind, class and field of each difference."""
    return {(one.kind, one.class_.value, one.field) for one in looked.differences}


def the(looked: Looked, name: str, kind: str) -> Difference:
    """The difference in a field of an object of this kind."""
    (found,) = [one for one in looked.differences if (one.field, one.kind) == (name, kind)]
    return found
