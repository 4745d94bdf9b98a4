"""A simulated Stripe at which money moves in every way, and a ledger that was told of it by its events."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.render import CURRENT
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.lists import newest
from jobs.reconciliation.money import Compared, compare_money
from tests.conftest import MovedClock
from tests.events.kit import apply, stored
from tests.simulator.kit import START, ask
from tests.simulator.till import Till
from worker.deps import Deps
from worker.errors import Refused

Json = dict[str, Any]

SINCE = datetime.fromtimestamp(START, UTC)
HOUR = 3600
DEBIT = ["us_bank_account"]


@dataclass
class Desk:
    """Stripe's API without a network; it notes what it was asked, and may be told to fail."""

    till: Till
    asked: list[str] = field(default_factory=list[str])
    accounts: set[str] = field(default_factory=set[str])
    fails: Callable[[str], Exception | None] = lambda _: None

    async def retrieve(self, path: str, **params: Any) -> Json:
        self.asked.append(path)
        if (error := self.fails(path)) is not None:
            raise error
        self.accounts.add(params.pop("stripe_account", ""))
        status, body, _ = ask(self.till.api, "GET", f"/v1/{path}", params)
        if status != 200:
            raise Refused(f"Stripe answered {status} to GET /v1/{path}")
        return body

    async def read(self, path: str, **params: Any) -> bytes:
        return msgspec.json.encode(await self.retrieve(path, **params))

    async def act(self, method: str, path: str, *, idempotency_key: str, **params: Any) -> Json:
        raise AssertionError(f"Stripe was told to {method} {path} {params} as {idempotency_key}")


@dataclass
class Money:
    """Both sides. The ledger knows what `tell()` told it; our clock is Stripe's."""

    engine: AsyncEngine = field(repr=False)
    till: Till = field(default_factory=Till, repr=False)
    told: int = 0

    def __post_init__(self) -> None:
        self.counter = Desk(self.till)
        self.clock = MovedClock(SINCE)
        self.deps = Deps(engine=self.engine, clock=self.clock, stripe=self.counter)

    @property
    def now(self) -> datetime:
        """The present at Stripe."""
        return datetime.fromtimestamp(self.till.account.now(), UTC)

    def later(self, seconds: int) -> None:
        """Time passes, here and there."""
        self.till.later(seconds)
        self.clock.time = self.now

    def pay(self, *what: Any, **more: Any) -> Json:
        """Somebody pays, and a moment later Stripe has booked it."""
        intent = self.till.pay(*what, **more)
        self.later(5)
        return intent

    async def tell(self) -> None:
        """Stripe's webhooks arrive."""
        events = list(self.till.account.events.values())
        new, self.told = events[self.told :], len(events)
        made = [
            stored(event.type, json.dumps(event.body(CURRENT, 0)).encode(), event_id=event.id)
            for event in new
            if "id" in event.body(CURRENT, 0)["data"]["object"]
        ]
        for first in range(0, len(made), 100):
            await apply(self.engine, *made[first : first + 100], now=self.now)

    def forget(self) -> None:
        """Stripe's webhooks are lost."""
        self.told = len(self.till.account.events)

    async def compare(self, since: datetime = SINCE, until: datetime | None = None) -> Compared:
        """All money from `since` on."""
        stripe = await self.stripe()
        return await compare_money(self.deps, stripe, since, until or self.now)

    async def stripe(self) -> Stripe:
        """As of now: something has just happened at Stripe, so that the present is known there."""
        self.till.customer(None)
        return await newest(self.deps, "")

    async def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the ledger."""
        async with self.engine.connect() as conn:
            return [tuple(row) for row in await conn.execute(text(sql), values)]

    async def change(self, sql: str, **values: Any) -> None:
        """Change the ledger behind everybody's back."""
        async with self.engine.begin() as conn:
            assert (await conn.execute(text(sql), values)).rowcount > 0, sql

    def book(self, source: str, amount: int, *, fee: int = 0, **more: Any) -> str:
        """Stripe books money by itself; the id of the balance transaction."""
        row: Json = {
            "id": self.till.account.store.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": self.till.account.now(),
            "created": self.till.account.now(),
            "currency": "usd",
            "description": None,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [],
            "net": amount - fee,
            "reporting_category": "charge",
            "source": source,
            "status": "available",
            "type": "charge",
        }
        return self.till.account.add(row | more, "source")["id"]


def live(till: Till) -> dict[str, str]:
    """Money moves in every way that Stripe has; ids by name."""
    ids: dict[str, str] = {}

    def pay(name: str, amount: int, currency: str = "usd", method: str = "pm_card_visa", **more: Any) -> Json:
        intent = till.pay(amount, currency, method, **more)
        till.later(5)
        ids[name] = intent["latest_charge"]
        return intent

    pay("plain", 1000)
    pay("refunded in part", 1700)
    pay("yen", 5000, "jpy")
    pay("yen kept", 3000, "jpy")
    pay("euro", 7000, "eur")
    pay("won", 8000)
    pay("lost", 9000)
    pay("asked", 4400)
    pay("debit", 6000, method="pm_usBankAccount_success", payment_method_types=DEBIT)
    pay("bounced", 6100, method="pm_usBankAccount_accountClosed", payment_method_types=DEBIT)
    whole = pay("captured", 2000, capture_method="manual")
    part = pay("captured in part", 3000, capture_method="manual")
    held = pay("released", 900, capture_method="manual")
    ask(till.api, "POST", "/v1/payment_intents", {"amount": 500, "currency": "usd", "confirm": True,
                                                  "payment_method": "pm_card_chargeDeclined"})  # fmt: skip
    till.later(HOUR)
    ids["refund"] = till.post("/v1/refunds", {"charge": ids["refunded in part"], "amount": 400})["id"]
    ids["refund of yen"] = till.post("/v1/refunds", {"charge": ids["yen"]})["id"]
    ids["refund that fails"] = till.post("/v1/refunds", {"charge": ids["euro"], "amount": 2500})["id"]
    till.later(DAY)
    till.post(f"/v1/payment_intents/{whole['id']}/capture")
    till.post(f"/v1/payment_intents/{part['id']}/capture", {"amount_to_capture": 1200})
    till.post(f"/v1/payment_intents/{held['id']}/cancel")
    for name, options in (("won", {}), ("lost", {}), ("asked", {"inquiry": True})):
        ids[f"dispute {name}"] = till.post(f"/_sim/charges/{ids[name]}/dispute", options)["id"]
    till.post(f"/_sim/refunds/{ids['refund that fails']}/fail")
    till.later(DAY)
    for name in ("won", "lost"):
        till.post(f"/_sim/disputes/{ids[f'dispute {name}']}/close", {"outcome": name})
    till.later(8 * DAY)
    for row in till.get("/v1/payouts", {"limit": 100})["data"]:
        ids[f"payout {row['currency']}"] = row["id"]
    till.post(f"/_sim/payouts/{ids['payout eur']}/fail")
    till.later(HOUR)
    return ids
