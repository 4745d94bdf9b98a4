"""Stripe's side of the documents' tests: a small API, events, and a worker that writes and renders."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import NewEvent
from jobs.invoices.stripe_documents import stripe_documents
from jobs.stripe_objects import StripeEvent, event_from, parse
from tests.conftest import MovedClock
from tests.invoices.stripes import AT
from tests.worker.kit import NoStripe, until
from worker.adapters.storage import storage
from worker.adapters.stripe_api import NoKey
from worker.deps import Deps
from worker.errors import Refused
from worker.ports import StripeApi
from worker.registry import discover
from worker.runner import Runner
from worker.settings import Settings

_NUMBERS = count(1)


class FakeStripe(NoStripe):
    """Answers for the objects that it holds, by path; notes what it was asked."""

    def __init__(self) -> None:
        self.holds: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        self.asked.append((path, params))
        found = self.holds.get(path)
        if found is None:
            raise Refused(f"Stripe answered 404 to GET /v1/{path}")
        if isinstance(found, list):  # pages of lines, one after the other
            pages = cast("list[dict[str, Any]]", found)
            return next(page for page in pages if page["after"] == params.get("starting_after"))
        return found

    async def read(self, path: str, **params: Any) -> bytes:
        return json.dumps(await self.retrieve(path, **params)).encode()


class FakePdf:
    """Renders by writing down what it was given."""

    def __init__(self) -> None:
        self.rendered: list[dict[str, Any]] = []

    async def render(self, document: bytes) -> bytes:
        self.rendered.append(json.loads(document))
        return b"%PDF-1.7\n" + hashlib.sha256(document).hexdigest().encode()

    async def close(self) -> None:
        """Nothing is held open."""


@dataclass
class StripeDesk:
    """The books, a Stripe, a folder, and a worker for the queue of PDFs."""

    engine: AsyncEngine
    clock: MovedClock
    home: Path
    stripe: FakeStripe = field(default_factory=FakeStripe)
    pdf: FakePdf = field(default_factory=FakePdf)
    switched_on: frozenset[str] = frozenset({"invoice", "credit_note", "receipt"})
    key: bool = True
    brand: Mapping[str, Any] = field(default_factory=lambda: {"billing_brand_name": "Acme"})

    @property
    def deps(self) -> Deps:
        api: StripeApi = self.stripe if self.key else NoKey()
        settings = Settings(billing_home=self.home, billing_stripe_documents=self.switched_on, **self.brand)
        files = storage(None, self.home)
        return Deps(self.engine, self.clock, api, settings=settings, pdf=self.pdf, files=files)

    async def tell(self, type_: str, json_: Mapping[str, Any], *, event_id: str = "", account: str = "") -> None:
        """An event is in the inbox, and followed."""
        event = self.event(type_, json_, event_id=event_id, account=account)
        body = json.dumps({"created": AT, "data": {"object": json_}}).encode()
        await self.remember(event, body)
        async with self.deps.tx() as tx:
            await stripe_documents(tx, [event])

    def event(self, type_: str, json_: Mapping[str, Any], *, event_id: str = "", account: str = "") -> StripeEvent:
        body = json.dumps({"created": AT, "data": {"object": json_}}).encode()
        name = event_id or f"evt_{next(_NUMBERS)}"
        return event_from(parse(body), event_id=name, event_type=type_, livemode=False, account=account)

    async def remember(self, event: StripeEvent, body: bytes) -> None:
        row = NewEvent(
            event.id, event.type, None, livemode=False, account=None, object_id=event.object.id(),
            customer_id=event.object.ref("customer"), payload=body, created_at=self.clock.now(),
            received_at=self.clock.now(),
        )  # fmt: skip
        columns = ", ".join(NewEvent._fields)
        places = ", ".join(f":{name}" for name in NewEvent._fields)
        async with self.engine.begin() as conn:
            await conn.execute(
                text(f"INSERT INTO webhook_events ({columns}) VALUES ({places}) ON CONFLICT DO NOTHING"),  # noqa: S608 - names of our own
                row._asdict(),
            )

    async def work(self) -> None:
        """Do what is due in the queue of PDFs, and wait for the end of it."""
        runner = Runner(
            self.deps, discover("jobs"), queues=["pdf"], worker=f"w{next(_NUMBERS)}", lease=timedelta(seconds=15)
        )
        try:
            await runner.sweep()
            await until(self._idle, why="the queue of PDFs is never empty")
        finally:
            await runner.stop(timedelta(seconds=5))

    async def _idle(self) -> bool:
        due = (
            "SELECT count(*) AS n FROM queue WHERE dead_reason IS NULL AND (lease_token IS NOT NULL OR due_at <= :now)"
        )
        return (await self.query(due + " AND queue = 'pdf'", now=self.clock.now()))[0]["n"] == 0

    async def query(self, sql: str, **values: object) -> list[dict[str, Any]]:
        async with self.engine.connect() as conn:
            return [dict(row) for row in (await conn.execute(text(sql), values)).mappings()]

    async def documents(self) -> list[dict[str, Any]]:
        return await self.query("SELECT * FROM documents ORDER BY id")

    async def dead(self) -> Sequence[str]:
        """Why jobs were parked."""
        found = await self.query(
            "SELECT a.error FROM queue q JOIN job_attempts a ON a.job_id = q.job_id WHERE q.dead_reason IS NOT NULL"
        )
        return [row["error"] for row in found]
