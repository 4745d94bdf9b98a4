"""A stage for stories: a simulated Stripe whose clock is moved, our door and our worker, and a look at both books."""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast
from urllib.parse import parse_qsl

import httpx
import stripe
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.demo.compare import differences
from deploy.demo.simulator.books import books
from deploy.demo.simulator.faults import read_script
from deploy.demo.simulator.server import serving as serving_stripe
from deploy.demo.simulator.simulation import Simulation
from intake.app import build_app
from tests.events.kit import row, rows
from tests.intake.kit import serving as serving_door
from tests.worker.kit import until, without_rounds
from worker.adapters.mail_files import NullMailer
from worker.adapters.stripe_api import StripeSdk
from worker.deps import Deps
from worker.runner import Runner
from worker.settings import Settings

Json = dict[str, Any]

OLD = "2024-06-20"
"""An API version before basil."""

A_SECOND = 1
SOON = timedelta(seconds=5)
QUEUES = ("events", "batch", "mail")

BUSY = """
SELECT 1 FROM queue WHERE queue = ANY(:queues) AND dead_reason IS NULL AND (lease_token IS NOT NULL OR due_at <= :now)
LIMIT 1
"""
NEXT = """
SELECT min(due_at) FROM queue WHERE queue = ANY(:queues) AND dead_reason IS NULL
    AND (event_id IS NOT NULL OR attempts > 0 OR due_at <= :soon)
"""
DEAD = """
SELECT q.name, q.dead_reason, a.error FROM queue q LEFT JOIN job_attempts a
    ON a.event_id = q.event_id OR a.job_id = q.job_id
WHERE q.dead_reason IS NOT NULL
"""


@dataclass
class StageClock:
    """The simulated Stripe's clock, and real time on top of it: who waits a second need not have it moved."""

    simulation: Simulation | None = None
    ahead: timedelta = timedelta()
    born: float = field(default_factory=time.monotonic)

    def now(self) -> datetime:
        """What our machines' clocks show."""
        at = self.simulation.account.now() if self.simulation is not None else 0
        return datetime.fromtimestamp(at, UTC) + timedelta(seconds=time.monotonic() - self.born) + self.ahead

    def seconds(self) -> int:
        """The same in seconds since 1970."""
        return int(self.now().timestamp())


class BooksDifferError(AssertionError):
    """Stripe and the ledger do not agree; the message has a line for each difference."""


@dataclass
class RunnerBell:
    """Wakes the worker, which is in the same process here."""

    runner: Runner | None = None

    def ring(self, queue: str) -> None:
        """Work has come."""
        if self.runner is not None:
            self.runner.wake(queue)

    def ring_all(self, queues: set[str]) -> None:
        """Work was staged."""
        for queue in queues:
            self.ring(queue)


class Patient(stripe.HTTPXClient):
    """A company's requests take a second each, as far as Stripe's clock can tell: `created` has whole seconds."""

    stage: "Stage"

    async def request_async(self, method: str, url: str, headers: Any, post_data: Any = None) -> Any:
        """Ask; a change is followed by a second. The SDK hands the form over as a text, which httpx deprecates."""
        form = dict(parse_qsl(post_data, keep_blank_values=True)) if post_data else None
        answer = await cast("Any", super()).request_async(method, url, headers, form)
        if method != "get":
            await self.stage.advance(seconds=A_SECOND)
        return answer


@dataclass
class Stage:
    """All the players of a story."""

    simulation: Simulation
    engine: AsyncEngine
    runner: Runner
    clock: StageClock
    address: str
    client: stripe.StripeClient
    http: httpx.AsyncClient

    @property
    def v1(self) -> Any:
        """The company's own use of Stripe, through Stripe's SDK. Untyped: a story gives forms as Stripe's pages do."""
        return self.client.v1

    @property
    def now(self) -> datetime:
        """The present at Stripe."""
        return datetime.fromtimestamp(self.simulation.account.now(), UTC)

    async def advance(self, *, days: float = 0, hours: float = 0, seconds: float = 0) -> None:
        """Let time pass at Stripe; our door and our worker are at work meanwhile."""
        by = timedelta(days=days, hours=hours, seconds=seconds)
        await self.simulation.advance(self.simulation.account.now() + int(by.total_seconds()))

    async def until(self, year: int, month: int, day: int, hour: int = 12, minute: int = 0) -> None:
        """Let time pass until then (UTC)."""
        await self.simulation.advance(int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()))

    async def act(self, path: str, **form: Any) -> Json:
        """What customers and banks do, by the simulator's own routes: `act("disputes/du_1/close", outcome="won")`."""
        answer = await self.http.post(f"{self.address}/_sim/{path}", data=form)
        assert answer.status_code == 200, answer.text
        await self.advance(seconds=A_SECOND)
        return answer.json()

    def mark(self) -> int:
        """How many events there were so far."""
        return len(self.simulation.account.events)

    def told(self, since: int, *only: str) -> list[str]:
        """The types of the events since `mark()`, in the order in which they happened; `only` these, if given.

        What a fault tells again under another id did not happen twice.
        """
        events = list(self.simulation.account.events.values())
        new = [event for earlier, event in pairwise(events[since - 1 :]) if event.objects is not earlier.objects]
        return [event.type for event in new if not only or event.type in only]

    async def settle(self) -> None:
        """All is delivered, however late the faults would have it, and applied. Raises AssertionError for dead work."""
        events = -1
        while events != (events := len(self.simulation.account.events)):  # our own work may act at Stripe, too
            await self.simulation.flush()
            await self._work()

    async def _work(self) -> None:
        await self.runner.sweep()
        await until(self._idle, within=60, why="the worker does not come to an end")
        while (waiting := await self._next_retry()) is not None:
            self.clock.ahead += max(waiting - self.clock.now(), timedelta())
            await self.runner.sweep()
            await until(self._idle, within=60, why="the worker does not come to an end")
        dead = await self.query(DEAD)
        assert not dead, f"parked: {dead}"

    async def _idle(self) -> bool:
        busy = await self.query(BUSY, queues=list(QUEUES), now=self.clock.now())
        if busy:  # what is tried again falls due while we wait; the worker's own loop looks once in a second
            await self.runner.sweep()
        return not busy

    async def _next_retry(self) -> datetime | None:
        """When work that was tried, or is an event, is due again; what was planned for later waits for its time."""
        found = await self.query(NEXT, queues=list(QUEUES), soon=self.clock.now() + SOON)
        return found[0][0]

    async def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the ledger."""
        async with self.engine.connect() as conn:
            return [tuple(found) for found in await conn.execute(text(sql), values)]

    async def rows(self, table: str, **where: Any) -> list[Json]:
        """Rows of the ledger."""
        return await rows(self.engine, table, **where)

    async def row(self, table: str, **where: Any) -> Json:
        """The only such row."""
        return await row(self.engine, table, **where)

    def books(self) -> Mapping[str, list[Json]]:
        """Stripe's own."""
        return books(self.simulation.account)

    async def books_agree(self) -> None:
        """Demand that the ledger says of every object what Stripe does. Raises BooksDifferError with them all."""
        await self.settle()
        found = await differences(self.engine, self.books(), at=self.simulation.account.now())
        if found:
            seed = self.simulation.account.seed
            raise BooksDifferError("\n".join([f"seed {seed}, {len(found)} differences:", *map(str, found)]))


@dataclass(frozen=True, slots=True)
class Listener:
    """A webhook endpoint of the company's: its API version (None: the account's) and its secret."""

    version: str | None
    secret: str


ROLLED = "whsec_rolled"
"""The secret that takes the place of all others when a fault script rolls them; our door knows it beforehand."""

CURRENT_ONLY = (Listener(None, "whsec_current"),)
OLD_ONLY = (Listener(OLD, "whsec_old"),)
TWO_VERSIONS = (Listener(OLD, "whsec_old"), Listener(None, "whsec_current"))


@dataclass(frozen=True, slots=True)
class Weather:
    """How Stripe's events find their way to us."""

    name: str
    seed: int
    listeners: Sequence[Listener] = CURRENT_ONLY
    faults: Json | None = None
    prompt: bool = True
    """Whether the worker hears the bell at each event, or looks once in a while and finds a pile."""


@asynccontextmanager
async def stage(engine: AsyncEngine, database_url: str, start: datetime, *, weather: Weather) -> AsyncGenerator[Stage]:
    """Everything is set up at `start`, and taken down again."""
    seed, listeners, faults = weather.seed, weather.listeners, weather.faults
    clock, bell, inside = StageClock(), RunnerBell(), RunnerBell()
    simulation = Simulation(seed, int(start.timestamp()), wall=clock.seconds, concurrency=1)
    clock.simulation = simulation
    settings = Settings(
        database_url=database_url,
        redis_url="unix:///nowhere/valkey.sock",
        stripe_webhook_secret=SecretStr(",".join([*(listener.secret for listener in listeners), ROLLED])),
    )
    async with (
        serving_stripe(simulation) as address,
        serving_door(build_app(settings, clock=clock, bell=bell)) as door,
        httpx.AsyncClient(timeout=60) as http,
    ):
        for listener in listeners:
            url = f"http://127.0.0.1:{door.port}/payments/webhook"
            simulation.endpoint(url, secret=listener.secret, version=listener.version)
        if faults is not None:
            simulation.faults.follow(read_script(faults))
        api = StripeSdk("sk_test_worker", base=address)
        deps = Deps(engine=engine, clock=clock, stripe=api, mailer=NullMailer(), after_commit=inside.ring_all)
        runner = Runner(deps, without_rounds(), queues=QUEUES, worker=f"stage-{seed}", lease=timedelta(seconds=60))
        inside.runner = runner
        bell.runner = runner if weather.prompt else None
        patient = Patient(timeout=60)
        client = stripe.StripeClient(
            "sk_test_company", http_client=patient, base_addresses={"api": address}, max_network_retries=2
        )
        made = patient.stage = Stage(simulation, engine, runner, clock, address, client, http)
        try:
            yield made
        finally:
            await runner.stop(timedelta(seconds=5))
            await patient.close_async()
            await api.close()
