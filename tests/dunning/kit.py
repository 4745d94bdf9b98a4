"""What tests of dunning share: a small Stripe whose objects they change, its events, and the worker's jobs by hand."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import StoredEvent
from db.operators.actions import Actor
from jobs.events.apply import apply_events
from tests.conftest import MovedClock
from tests.events import objects
from tests.events.kit import Json, event, row, rows
from worker.adapters.stripe_api import NoKey
from worker.deps import Deps
from worker.errors import Refused, Spent, TryLater, Unclear
from worker.ports import StripeApi
from worker.registry import Applied, discover
from worker.runner import Runner
from worker.settings import Settings

TUESDAY = datetime(2026, 3, 3, 14, 30, tzinfo=UTC)
ADA = Actor("ada", "a test")
EMPTY: list[Json] = []
REGISTRY = discover("jobs")
"""All jobs, and all that follows from events."""

_workers = count(1)


def _nobody_hears(_: set[str]) -> None:
    """Work was staged, and no worker is woken."""


@dataclass
class SmallStripe:
    """Stripe's API over some objects: in the current shape, expanded where asked, with keys that are remembered."""

    things: dict[str, Json] = field(default_factory=dict[str, Json])
    asked: list[str] = field(default_factory=list[str])
    acts: list[tuple[str, str, str, Json]] = field(default_factory=list[tuple[str, str, str, Json]])
    answers: dict[str, Json] = field(default_factory=dict[str, Json])
    failed: set[str] = field(default_factory=set[str])
    """Keys for which a failure is kept."""
    away: bool = False
    silent: str | None = None
    """The next change is not answered: `before` it was done, or `after`."""

    def put(self, thing: Json, **changes: Any) -> Json:
        """A new or changed object."""
        made = self.things[thing["id"]] = thing | changes
        return made

    async def retrieve(self, path: str, **params: Any) -> Json:
        """`GET /v1/{path}`."""
        self.asked.append(path)
        if self.away:
            raise TryLater("Stripe is away")
        if path == "disputes":
            found = [x for x in self.things.values() if x["object"] == "dispute" and x["charge"] == params["charge"]]
            return {"object": "list", "data": copy.deepcopy(found)}
        thing = self.things.get(path.partition("/")[2])
        if thing is None:
            raise Refused(f"Stripe answered 404 to GET /v1/{path}")
        shown = copy.deepcopy(thing)
        for way in params.get("expand", ()):
            self._expand(shown, way.split("."))
        return shown

    async def read(self, path: str, **params: Any) -> bytes:
        """The same as bytes."""
        return json.dumps(await self.retrieve(path, **params)).encode()

    def _expand(self, at: Any, way: Sequence[str]) -> None:
        if isinstance(at, list):
            for one in cast("list[Any]", at):
                self._expand(one, way)
        elif isinstance(at, dict) and way:
            table = cast("Json", at)
            if isinstance(name := table.get(way[0]), str) and name in self.things:
                table[way[0]] = copy.deepcopy(self.things[name])
            self._expand(table.get(way[0]), way[1:])

    async def act(self, method: str, path: str, *, idempotency_key: str, **params: Any) -> Json:
        """Change a subscription as Stripe would; a key that was seen gets the same answer."""
        if self.away:
            raise TryLater("Stripe is away")
        silent, self.silent = self.silent, None
        if silent == "before":
            raise Unclear("no answer")
        if idempotency_key in self.failed:
            raise Spent("Stripe answered 500, again")
        if silent == "failed":
            self.failed.add(idempotency_key)
            raise Unclear("Stripe answered 500")
        if idempotency_key in self.answers:
            return self.answers[idempotency_key]
        thing = self.things[path.partition("/")[2]]
        if thing["status"] == "canceled":
            raise Refused(f"Stripe answered 404 to {method.upper()} /v1/{path}: there is no such subscription any more")
        self.acts.append((method, path, idempotency_key, params))
        if method == "delete":
            details = {"reason": "cancellation_requested", **params.get("cancellation_details", {})}
            thing |= {"status": "canceled", "cancellation_details": details}
        else:
            thing["metadata"] = {k: v for k, v in (thing["metadata"] | params["metadata"]).items() if v != ""}
            thing["pause_collection"] = params["pause_collection"] or None
        self.answers[idempotency_key] = copy.deepcopy(thing)
        if silent == "after":
            raise Unclear("no answer")
        return self.answers[idempotency_key]


@dataclass
class Scene:
    """A customer, a subscription and a renewal that may fail; our books, our worker; and a clock."""

    engine: AsyncEngine
    clock: MovedClock
    stripe: SmallStripe = field(default_factory=SmallStripe)
    keyless: bool = False
    settings: Settings = field(default_factory=Settings.model_construct)
    late: list[StoredEvent] = field(default_factory=list[StoredEvent])
    _runner: Runner | None = None

    @property
    def deps(self) -> Deps:
        """What jobs get."""
        api: StripeApi = NoKey() if self.keyless else self.stripe
        return Deps(engine=self.engine, clock=self.clock, stripe=api, settings=self.settings)

    def at(self) -> int:
        """Stripe's `created`, now."""
        return int(self.clock.now().timestamp())

    # --- what happens at Stripe ---------------------------------------------------------------------------------------

    async def begin(self, tag: str = "1", **changes: Any) -> None:
        """A customer with an active subscription."""
        customer = self.stripe.put(
            objects.customer(f"cus_{tag}", preferred_locales=["de"], metadata={"timezone": "Europe/Berlin"}) | changes
        )
        subscription = self.stripe.put(
            objects.subscription(f"sub_{tag}", customer=f"cus_{tag}", latest_invoice=f"in_{tag}", pause_collection=None)
        )
        await self.tell("customer.created", customer)
        await self.tell("customer.subscription.created", subscription)

    def invoice(self, tag: str = "1", **changes: Any) -> Json:
        """The renewal's invoice, open."""
        parent = {"type": "subscription_details", "subscription_details": {"subscription": f"sub_{tag}"}}
        intent = self.stripe.put(
            objects.intent(f"pi_{tag}", "requires_payment_method", customer=f"cus_{tag}"), last_payment_error=None
        )
        payment = {
            "id": f"inpay_{tag}",
            "object": "invoice_payment",
            "status": "open",
            "is_default": True,
            "created": self.at(),
            "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
        }
        return self.stripe.put(
            objects.invoice(
                f"in_{tag}",
                customer=f"cus_{tag}",
                number=f"A-000{tag}",
                parent=parent,
                billing_reason="subscription_cycle",
                collection_method="charge_automatically",
                attempt_count=0,
                next_payment_attempt=None,
                hosted_invoice_url=f"https://invoice.stripe.com/i/{tag}",
                payments={"object": "list", "data": [payment], "has_more": False},
            )
            | changes
        )

    async def fail(self, tag: str = "1", *, code: str = "insufficient_funds", again: int | None = 3) -> StoredEvent:
        """The card is declined, for the first time or again; Stripe will try again in so many days."""
        made = self.failed(tag, code=code, again=again)
        await self.deliver(made)
        return made

    def failed(self, tag: str = "1", *, code: str = "insufficient_funds", again: int | None = 3) -> StoredEvent:
        """The same, with the event still on its way."""
        invoice = self.stripe.things.get(f"in_{tag}") or self.invoice(tag)
        invoice["attempt_count"] += 1
        invoice["next_payment_attempt"] = None if again is None else self.at() + again * 86_400
        card = {"type": "card", "card": {"brand": "visa", "last4": "4242"}}
        self.stripe.things[f"pi_{tag}"] |= {
            "status": "requires_payment_method",
            "last_payment_error": {"code": "card_declined", "decline_code": code, "payment_method": card},
        }
        self.stripe.things[f"sub_{tag}"]["status"] = "past_due"
        return self.event("invoice.payment_failed", invoice)

    def pay(self, tag: str = "1") -> StoredEvent:
        """The money comes; its event is on its way."""
        invoice = self.stripe.things[f"in_{tag}"]
        invoice |= {"status": "paid", "amount_paid": 1000, "amount_remaining": 0, "next_payment_attempt": None}
        invoice["status_transitions"] = {"paid_at": self.at()}
        invoice["payments"]["data"][0]["status"] = "paid"
        charge = self.stripe.put(
            objects.charge(f"ch_{tag}", customer=f"cus_{tag}", payment_intent=f"pi_{tag}"), disputed=False
        )
        changes = {"status": "succeeded", "latest_charge": charge["id"], "last_payment_error": None}
        self.stripe.things[f"pi_{tag}"] |= changes
        if self.stripe.things[f"sub_{tag}"]["status"] == "past_due":
            self.stripe.things[f"sub_{tag}"]["status"] = "active"
        return self.event("invoice.paid", invoice)

    def event(self, kind: str, thing: Json, **more: Any) -> StoredEvent:
        """An event about an object as it is now; webhooks show no payments."""
        shown = {name: value for name, value in thing.items() if name != "payments"}
        return event(kind, copy.deepcopy(shown), created=self.at(), **more)

    async def tell(self, kind: str, thing: Json | str) -> StoredEvent:
        """An event happens and is delivered."""
        made = self.event(kind, self.stripe.things[thing] if isinstance(thing, str) else thing)
        await self.deliver(made)
        return made

    async def change(self, kind: str, name: str, **changes: Any) -> StoredEvent:
        """An object changes at Stripe, and its event is delivered."""
        self.stripe.things[name] |= changes
        return await self.tell(kind, name)

    # --- our side -----------------------------------------------------------------------------------------------------

    async def deliver(self, *events: StoredEvent) -> None:
        """Apply these events in one transaction."""
        async with self.deps.tx() as tx:
            found: Mapping[str, object] = await apply_events(tx, events)
        for outcome in found.values():
            assert isinstance(outcome, Applied), outcome

    @property
    def runner(self) -> Runner:
        """A worker whose jobs are run one by one."""
        if self._runner is None:
            self._runner = Runner(
                self.deps,
                REGISTRY,
                queues=["batch"],
                worker=f"scene-{next(_workers)}",
                lease=timedelta(seconds=60),
            )
            # What a job stages waits for our hand as well: the worker would begin with it beside us.
            self._runner.deps = replace(self._runner.deps, after_commit=_nobody_hears)
        return self._runner

    def restart(self) -> None:
        """Another worker process takes over."""
        self._runner = None

    async def work(self) -> int:
        """Run the jobs that are due, and those that they stage. Returns how many there were."""
        done = 0
        while claimed := await self.runner.claim("batch", 10):
            for one in claimed:
                done += 1
                assert done < 100, "jobs stage jobs without end"
                await self.runner.run_job(one)
        return done

    async def days(self, days: float, *, step: float = 0.25) -> None:
        """Let days pass, with the worker at work every few hours."""
        end = self.clock.now() + timedelta(days=days)
        await self.work()
        while self.clock.now() < end:
            self.clock.time = min(self.clock.now() + timedelta(days=step), end)
            await self.work()

    # --- what came of it ----------------------------------------------------------------------------------------------

    async def case(self, tag: str = "1") -> Json:
        """The case of the invoice."""
        return await row(self.engine, "dunning_cases", stripe_invoice_id=f"in_{tag}")

    async def letters(self, tag: str = "1") -> list[str]:
        """The letters about the invoice, oldest first."""
        found = await rows(self.engine, "emails", stripe_invoice_id=f"in_{tag}")
        return [one["template"] for one in found if one["key"].startswith(("dunning/", "recovered/"))]

    async def letter(self, key: str) -> Json:
        """What a letter tells."""
        found = await row(self.engine, "emails", key=key)
        return found["context"]

    async def steps(self, tag: str = "1") -> list[tuple[int, str]]:
        """What was done at which step."""
        found = await rows(self.engine, "dunning_steps", case_id=(await self.case(tag))["id"])
        return [(one["position"], one["outcome"]) for one in found]

    async def status(self, tag: str = "1") -> str:
        """How the customer stands."""
        return (await row(self.engine, "users", stripe_customer_id=f"cus_{tag}"))["dunning_status"]

    async def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        async with self.engine.connect() as conn:
            return [tuple(found) for found in await conn.execute(text(sql), values)]

    async def query_and_commit(self, sql: str, **values: Any) -> None:
        """Change the database behind the worker's back."""
        async with self.engine.begin() as conn:
            await conn.execute(text(sql), values)

    async def parked(self) -> list[str]:
        """Why work was parked."""
        found = await self.query("SELECT last_error FROM jobs WHERE status = 'dead' ORDER BY id")
        return [one[0] for one in found]
