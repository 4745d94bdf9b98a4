"""Books for tests of usage: contracts, subscribers, what they used; and jobs by hand at a moved clock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.usage import Owner, add, new_usage
from tests.conftest import MovedClock
from tests.mail.carriers import FakeMailer
from tests.worker.kit import NoStripe
from worker.deps import Deps
from worker.registry import JobSpec, discover
from worker.settings import Settings

REGISTRY = discover("jobs")
_KEYS = count(1)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Books:
    """A database, a clock that is moved, and the settings of a worker."""

    engine: AsyncEngine
    clock: MovedClock
    folder: Path
    mailer: FakeMailer = field(default_factory=FakeMailer)
    settings: Settings = field(default_factory=Settings.model_construct)

    @property
    def deps(self) -> Deps:
        return Deps(engine=self.engine, clock=self.clock, stripe=NoStripe(), mailer=self.mailer, settings=self.settings)

    async def rows(self, sql: str, **values: object) -> list[dict[str, Any]]:
        async with self.engine.connect() as conn:
            return [dict(row) for row in (await conn.execute(text(sql), values)).mappings()]

    async def run(self, sql: str, **values: object) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(text(sql), values)

    async def insert(self, table: str, values: Mapping[str, Any]) -> int:
        """A row by its columns; what JSON is goes as JSON. Returns its id."""
        row = json.dumps(values, default=str)
        names = ", ".join(values)
        async with self.engine.begin() as conn:
            found = await conn.execute(
                text(
                    f"INSERT INTO {table} ({names}) SELECT {names} FROM"  # noqa: S608 - names of the tests' own
                    f" jsonb_populate_record(NULL::{table}, CAST(:row AS jsonb)) RETURNING id"
                ),
                {"row": row},
            )
            made: int = found.scalar_one()
        return made

    async def contract(self, prefix: str = "nw_live", **values: Any) -> int:
        """A version of a partner's contract."""
        return await self.insert(
            "api_partner_contracts",
            {
                "api_key_prefix": prefix,
                "company": "Northwind Analytics Ltd",
                "pricing_model": "per_request",
                "per_1000_requests_cents": 200,
                "contract_start_date": date(2026, 1, 1),
                "currency": "eur",
                "timezone": "UTC",
                "billing_email": "ap@northwind.example",
                "contact_name": "Grace Hopper",
                "locale": "de",
                **values,
            },
        )

    async def subscriber(
        self,
        tag: str = "1",
        *,
        price: str | None = "price_small",
        timezone: str | None = "Europe/Berlin",
        **values: Any,
    ) -> int:
        """A customer with an active subscription since January. Returns the id in `users`."""
        user = await self.insert(
            "users",
            {
                "stripe_customer_id": f"cus_{tag}",
                "email": f"ada{tag}@example.com",
                "name": "Ada Lovelace",
                "locale": "de",
                "timezone": timezone,
                "address": {"line1": "Torstraße 1", "postal_code": "10119", "city": "Berlin", "country": "DE"},
                **values,
            },
        )
        if price is not None:
            await self.insert(
                "subscriptions",
                {
                    "user_id": user,
                    "stripe_subscription_id": f"sub_{tag}",
                    "stripe_customer_id": f"cus_{tag}",
                    "stripe_price_id": price,
                    "status": "active",
                    "currency": "eur",
                    "items": [],
                    "items_complete": True,
                    "discount_ids": [],
                    "started_at": "2026-01-01T00:00:00Z",
                },
            )
        return user

    async def became(self, at: datetime, price: str | None, status: str = "active", tag: str = "1") -> None:
        """A state of a subscription's history."""
        await self.insert(
            "subscription_history",
            {
                "stripe_subscription_id": f"sub_{tag}",
                "occurred_at": at.isoformat(),
                "fingerprint": f"{price}/{status}",
                "version": [0, int(at.timestamp())],
                "status": status,
                "stripe_price_id": price,
                "items": [],
                "items_complete": True,
                "discount_ids": [],
            },
        )

    async def plan(self, price: str = "price_small", **values: Any) -> int:
        """A plan with an allowance."""
        return await self.insert(
            "overage_plans",
            {
                "stripe_price_id": price,
                "valid_from": date(2026, 1, 1),
                "currency": "eur",
                "included_units": 1000,
                "package_size": 100,
                "package_price_cents": 50,
                **values,
            },
        )

    async def use(
        self, owner: Owner, units: Decimal | int | str = 1, at: datetime | None = None, **values: Any
    ) -> None:
        """One event."""
        await self.use_many(owner, [(units, at or self.clock.now())], **values)

    async def use_many(
        self,
        owner: Owner,
        events: Sequence[tuple[Decimal | int | str, datetime]],
        *,
        type_: str = "api.call",
        **values: Any,
    ) -> None:
        """Events as the door stores them."""
        made = [
            new_usage(
                owner,
                f"k{next(_KEYS)}",
                type_,
                received_at=self.clock.now(),
                occurred_at=at,
                cost_units=Decimal(units),
                **values,
            )
            for units, at in events
        ]
        async with self.engine.connect() as conn:
            raw: Any = (await conn.get_raw_connection()).driver_connection
            await add(raw, [made])

    async def work(self, spec: JobSpec[...], **args: Any) -> None:
        """Run a job, now."""
        await spec.run(self.deps, args)
