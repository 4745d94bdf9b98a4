"""Events for the applier, made from objects or from recorded payloads, and a look at the rows that they left."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import StoredEvent
from jobs.events.apply import apply_events
from worker.deps import Deps
from worker.ports import StripeApi
from worker.registry import Applied, Busy, Outcome

Json = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
T0 = 1_770_000_000
"""A second of February 2026, when most of the tests' events happen."""

_numbers = count(1)


class At:
    """A clock that stands at a given time."""

    def __init__(self, time: datetime = NOW) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time


class Answers:
    """Stripe's API with prepared answers; it notes what it was asked."""

    def __init__(self, answers: Mapping[str, Json]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Json]] = []

    async def retrieve(self, path: str, **params: Any) -> Json:
        deep = [path for path in params.get("expand", ()) if path.count(".") > 3]
        assert not deep, f"Stripe refuses to expand more than four levels: {deep}"
        self.asked.append((path, params))
        return self.answers[path]

    async def read(self, path: str, **params: Any) -> bytes:
        return json.dumps(await self.retrieve(path, **params)).encode()

    async def act(self, method: str, path: str, *, idempotency_key: str, **params: Any) -> Json:
        raise AssertionError(f"Stripe was told to {method} {path} {params} as {idempotency_key}")


def deps(engine: AsyncEngine, *, stripe: StripeApi | None = None, now: datetime = NOW) -> Deps:
    """What work gets in these tests."""
    return Deps(engine=engine, clock=At(now), stripe=stripe or Answers({}))


def event(
    event_type: str,
    obj: Json,
    *,
    created: int = T0,
    livemode: bool = False,
    account: str | None = None,
    event_id: str | None = None,
) -> StoredEvent:
    """An event as it lies in the inbox."""
    body = {"type": event_type, "created": created, "livemode": livemode, "data": {"object": obj}}
    return stored(event_type, json.dumps(body).encode(), livemode=livemode, account=account, event_id=event_id)


def stored(
    event_type: str,
    payload: bytes,
    *,
    livemode: bool = False,
    account: str | None = None,
    event_id: str | None = None,
) -> StoredEvent:
    """An event with this very payload."""
    return StoredEvent(
        event_id or f"evt_{next(_numbers)}",
        event_type,
        livemode,
        account,
        datetime.fromtimestamp(T0, UTC),
        NOW,
        payload,
    )


async def outcomes(engine: AsyncEngine, *events: StoredEvent, now: datetime = NOW) -> Mapping[str, Outcome]:
    """What became of the events, applied as one batch."""
    async with deps(engine, now=now).tx() as tx:
        return await apply_events(tx, events)


async def apply(engine: AsyncEngine, *events: StoredEvent, now: datetime = NOW) -> list[Applied]:
    """Apply the events as one batch; each must succeed."""
    found = await outcomes(engine, *events, now=now)
    made: list[Applied] = []
    for one in events:
        outcome = found[one.id]
        if isinstance(outcome, Exception):
            raise outcome
        assert not isinstance(outcome, Busy), one.type
        made.append(outcome)
    return made


async def rows(engine: AsyncEngine, table: str, **where: Any) -> list[Json]:
    """The rows of a table, as JSON, by id."""
    condition = " AND ".join(f"{name} = :{name}" for name in where) or "true"
    async with engine.connect() as conn:
        found = await conn.execute(
            text(f"SELECT to_jsonb(t)::text FROM {table} t WHERE {condition} ORDER BY id"),  # noqa: S608 - a test's own words
            where,
        )
        return [json.loads(raw) for raw in found.scalars()]


async def row(engine: AsyncEngine, table: str, **where: Any) -> Json:
    """The only such row."""
    (found,) = await rows(engine, table, **where)
    return found


LEDGER = (
    "users",
    "payment_methods",
    "mandates",
    "tax_ids",
    "subscriptions",
    "subscription_items",
    "subscription_history",
    "invoices",
    "upcoming_invoices",
    "credit_notes",
    "payment_intents",
    "charges",
    "refunds",
    "disputes",
    "early_fraud_warnings",
    "invoice_payments",
    "checkout_sessions",
    "discounts",
    "payouts",
    "promotion_codes",
    "products",
    "prices",
    "coupons",
    "payment_history",
)

OURS = frozenset({"id", "user_id", "invoice_id", "updated_at", "recorded_at", "version"})
"""Surrogates and our own times, which may differ where the books are the same."""


async def books(engine: AsyncEngine) -> dict[str, list[str]]:
    """The whole ledger without what is only ours, to be compared."""
    made: dict[str, list[str]] = {}
    for table in LEDGER:
        found = await rows(engine, table)
        plain = [{name: value for name, value in one.items() if name not in OURS} for one in found]
        made[table] = sorted(json.dumps(one, sort_keys=True) for one in plain)
    return made


async def clear(engine: AsyncEngine) -> None:
    """Empty the ledger and the jobs."""
    async with engine.begin() as conn:
        await conn.execute(text(f"TRUNCATE {', '.join(LEDGER)}, jobs, queue RESTART IDENTITY CASCADE"))
