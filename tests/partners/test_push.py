"""An invoice of ours is collected at Stripe by one invoice there, and closed by its payment, exactly once."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor
from jobs.invoices import credit_note, pay
from jobs.invoices.issue import Issued, issue
from jobs.invoices.sellers import sellers_from
from jobs.invoices.stripe_documents import wanted
from jobs.invoices.void import void
from jobs.partners.push_to_stripe import push_to_stripe, stage_push
from jobs.stripe_objects import Obj, StripeEvent
from tests.invoices.office import draft
from tests.scenarios.acts import customer
from tests.scenarios.kit import CURRENT_ONLY, TWO_VERSIONS, Json, Stage, Weather, stage
from worker.deps import Deps
from worker.errors import Refused, TryLater, Unclear
from worker.ports import StripeApi

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA = Actor("ada", "a test")
Opened = Callable[[], AbstractAsyncContextManager["Desk"]]

STORM = {
    "webhooks": {
        "duplicate": {"p": 0.3, "copies": 3, "within": 86_400},
        "reorder": {"p": 0.5, "within": 120},
        "delay": {"p": 0.2, "up_to": 86_400},
    },
    "api": [
        {"kind": "rate_limit", "method": "GET", "path": "/v1/invoices*", "p": 0.2},
        *(
            {"kind": "error", "method": "POST", "path": path, "p": 0.3}
            for path in ("/v1/invoices", "/v1/invoiceitems", "/v1/invoices/*/finalize")
        ),
    ],
}


@dataclass
class Desk:
    """The stage, with a partner who has a customer at Stripe."""

    stage: Stage
    customer: str

    @property
    def deps(self) -> Deps:
        return self.stage.runner.deps

    async def issue(self, *, push: bool = True, **changes: Any) -> Issued:
        async with self.deps.tx() as tx:
            one = draft(api_key_prefix="hopper", **changes)
            issued = await issue(tx, one, sellers_from(self.deps.settings), livemode=False)
            if push:
                await stage_push(tx, issued.invoice_id)
        return issued

    async def ours(self, issued: Issued) -> Json:
        return await self.stage.row("invoices", id=issued.invoice_id)

    def theirs(self) -> list[Json]:
        """The invoices at Stripe."""
        return list(self.stage.books().get("invoice", ()))

    async def paid_at_stripe(self, name: str) -> None:
        await self.stage.v1.invoices.pay_async(name, {"payment_method": "pm_card_visa"})

    async def parked(self) -> list[str]:
        rows = await self.stage.query(
            "SELECT j.last_error FROM jobs j WHERE j.name = 'look_into_collection' AND j.status = 'dead' ORDER BY j.id"
        )
        return [row[0] for row in rows]

    async def settle(self, *, parks: bool = False) -> None:
        """All is delivered and done; with `parks` something is left for a person."""
        if not parks:
            await self.stage.settle()
            return
        with pytest.raises(AssertionError, match="parked"):
            await self.stage.settle()

    async def push(self, issued: Issued, stripe: StripeApi | None = None) -> None:
        """Run the job; while a twin or an event is in its way, it is tried later, as the worker does."""
        deps = self.deps if stripe is None else replace(self.deps, stripe=stripe)
        async with asyncio.timeout(30):
            while True:
                try:
                    return await push_to_stripe.fn(deps, issued.invoice_id)
                except Unclear:
                    raise
                except TryLater:
                    await asyncio.sleep(0.05)  # until its twin is done, bounded by the timeout

    async def paid_by_hand(self, issued: Issued, minor: int, reference: str = "tx") -> None:
        async with self.deps.tx() as tx:
            await pay.record(tx, issued.invoice_id, minor, method="bank", reference=reference, paid_at=tx.now, by=ADA)


@asynccontextmanager
async def _desk(engine: AsyncEngine, database_url: str, weather: Weather) -> AsyncGenerator[Desk]:
    async with stage(engine, database_url, START, weather=weather) as made:
        name = await customer(made, "Hopper")
        async with engine.begin() as conn:
            await conn.execute(
                text(
                    "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, contract_start_date,"
                    " stripe_customer_id) VALUES ('hopper', 'Hopper', 'flat', '2026-03-01', :name)"
                ),
                {"name": name},
            )
        yield Desk(made, name)


@pytest.fixture
def calm(engine: AsyncEngine, database_url: str) -> Opened:
    return partial(_desk, engine, database_url, Weather("calm", 7, CURRENT_ONLY))


@pytest.fixture(params=[11, 12, 13])
def storm(engine: AsyncEngine, database_url: str, request: pytest.FixtureRequest) -> Opened:
    return partial(_desk, engine, database_url, Weather("storm", request.param, TWO_VERSIONS, STORM, prompt=False))


async def test_it_is_paid_by_link_and_closed(calm: Opened) -> None:
    async with calm() as desk:
        issued = await desk.issue()
        await desk.settle()
        (theirs,) = desk.theirs()
        assert {name: theirs[name] for name in ("status", "customer", "collection_method", "total", "amount_due")} == {
            "status": "open",
            "customer": desk.customer,
            "collection_method": "send_invoice",
            "total": 12_000,
            "amount_due": 12_000,
        }
        assert theirs["metadata"] == {"billing_invoice": issued.number, "billing_invoice_id": str(issued.invoice_id)}
        assert [line["description"] for line in theirs["lines"]["data"]] == [f"Invoice {issued.number}"]
        ours = await desk.ours(issued)
        assert (ours["status"], ours["hosted_invoice_url"]) == ("open", theirs["hosted_invoice_url"])
        assert theirs["due_date"] == int(datetime.fromisoformat(ours["due_date"]).timestamp())
        await desk.paid_at_stripe(theirs["id"])
        await desk.settle()
        ours = await desk.ours(issued)
        told = (ours["status"], ours["amount_paid_cents"], ours["amount_remaining_cents"], ours["stripe_invoice_id"])
        assert told == ("paid", 12_000, 0, None)
        mirrored = await desk.stage.row("invoices", stripe_invoice_id=theirs["id"])
        assert (mirrored["collects_invoice_id"], mirrored["paid_at"]) == (issued.invoice_id, ours["paid_at"])
        await desk.stage.books_agree()
        audit = await desk.stage.query("SELECT who, action, target FROM audit_log")
        assert audit == [("stripe", "invoices.paid", issued.number)]
        assert await desk.stage.rows("manual_payments") == [], "the money is in payment_history, and nowhere else"


def test_no_second_invoice_is_written_about_the_same_thing() -> None:
    def finalized(**metadata: str) -> StripeEvent:
        obj = Obj({"id": "in_1", "object": "invoice", "metadata": metadata}, "invoice")
        return StripeEvent("evt_1", "invoice.finalized", 0, False, "", obj)  # noqa: FBT003 - a row

    assert [kind for _, kind in wanted([finalized()], switched_on=frozenset({"invoice"}))] == ["invoice"]
    assert list(wanted([finalized(billing_invoice_id="7")], switched_on=frozenset({"invoice"}))) == []


async def test_run_often_and_at_once_it_makes_one(calm: Opened) -> None:
    async with calm() as desk:
        issued = await desk.issue(push=False)
        await asyncio.gather(*(desk.push(issued) for _ in range(4)))
        for _ in range(2):
            await desk.push(issued)
        await desk.settle()
        assert [(one["status"], one["total"]) for one in desk.theirs()] == [("open", 12_000)]


@dataclass
class Dies:
    """Stripe's API, whose caller dies at the `at`-th act: before it reaches Stripe, or before its answer is here."""

    api: StripeApi
    at: int
    reached: bool
    forgets: bool = False
    """Whether Stripe has forgotten all idempotency keys when the job runs again: a day later."""
    acts: list[str] = field(default_factory=list[str])

    async def retrieve(self, path: str, **params: Any) -> Json:
        return await self.api.retrieve(path, **params)

    async def read(self, path: str, **params: Any) -> bytes:
        return await self.api.read(path, **params)

    async def act(self, method: Any, path: str, *, idempotency_key: str, **params: Any) -> Json:
        self.acts.append(path)
        if len(self.acts) == self.at and not self.reached:
            raise Unclear("died before")
        key = f"{idempotency_key}/{len(self.acts)}" if self.forgets else idempotency_key
        answer = await self.api.act(method, path, idempotency_key=key, **params)
        if len(self.acts) == self.at:
            raise Unclear("died after")
        return answer


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("reached", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_wherever_it_dies_the_next_run_goes_on(calm: Opened, at: int, reached: bool, forgets: bool) -> None:  # noqa: FBT001 - parameters of the test
    async with calm() as desk:
        issued = await desk.issue(push=False)
        dying = Dies(desk.deps.stripe, at, reached, forgets)
        with pytest.raises(Unclear):
            await desk.push(issued, dying)
        await desk.push(issued, dying)
        await desk.settle()
        assert [(one["status"], one["total"]) for one in desk.theirs()] == [("open", 12_000)]
        assert (await desk.ours(issued))["hosted_invoice_url"] is not None
        await desk.stage.books_agree()


@pytest.mark.parametrize("path", ["invoices", "invoiceitems", "invoices/*/finalize"])
async def test_a_failure_that_stripe_keeps_is_not_asked_for_again(
    engine: AsyncEngine, database_url: str, path: str
) -> None:
    """Stripe repeats a 500 for a day to whoever asks by its key: it takes a second try, not a day of them."""
    fails = {"api": [{"kind": "error", "method": "POST", "path": f"/v1/{path}", "nth": [1, 3]}]}
    async with _desk(engine, database_url, Weather("fails", 7, CURRENT_ONLY, fails)) as desk:
        issued = await desk.issue()
        await desk.settle()
        assert [(one["status"], one["total"]) for one in desk.theirs()] == [("open", 12_000)]
        assert (await desk.ours(issued))["hosted_invoice_url"] is not None
        tries = await desk.stage.query("SELECT count(*) FROM job_attempts WHERE outcome <> 'done'")
        assert tries == [(2,)]
        await desk.stage.books_agree()


async def test_in_a_storm_of_events_it_is_closed_once(storm: Opened) -> None:
    async with storm() as desk:
        invoices = [await desk.issue() for _ in range(3)]
        await desk.settle()
        for theirs in desk.theirs():
            await desk.paid_at_stripe(theirs["id"])
        await desk.settle()
        assert len(desk.theirs()) == 3
        for issued in invoices:
            ours = await desk.ours(issued)
            assert (ours["status"], ours["amount_paid_cents"], ours["amount_overpaid_cents"]) == ("paid", 12_000, None)
        audit = await desk.stage.query("SELECT target FROM audit_log WHERE action = 'invoices.paid' ORDER BY 1")
        assert [row[0] for row in audit] == [issued.number for issued in invoices]
        assert await desk.stage.rows("credits") == []


async def test_the_event_may_come_before_our_own_record(calm: Opened) -> None:
    """The job died after it had made the invoice at Stripe, and the customer was quick."""
    async with calm() as desk:
        issued = await desk.issue(push=False)
        with pytest.raises(Unclear):
            await desk.push(issued, Dies(desk.deps.stripe, 3, reached=True))
        (theirs,) = desk.theirs()
        await desk.paid_at_stripe(theirs["id"])
        await desk.settle()
        assert (await desk.ours(issued))["status"] == "paid"
        await desk.push(issued)
        assert len(desk.theirs()) == 1, "nothing is due any more"


async def test_money_past_stripe_takes_the_link_away(calm: Opened) -> None:
    async with calm() as desk:
        issued = await desk.issue()
        await desk.settle()
        await desk.paid_by_hand(issued, 2_000, "first")
        await desk.settle()
        first, second = desk.theirs()
        assert (first["status"], second["status"], second["total"]) == ("void", "open", 10_000)
        assert (await desk.ours(issued))["hosted_invoice_url"] == second["hosted_invoice_url"]
        await desk.paid_by_hand(issued, 10_000, "second")
        await desk.settle()
        assert [one["status"] for one in desk.theirs()] == ["void", "void"]
        ours = await desk.ours(issued)
        assert (ours["status"], ours["hosted_invoice_url"]) == ("paid", None)
        assert await desk.parked() == [], "we withdrew them ourselves: nobody is told"
        await desk.stage.books_agree()


async def test_a_void_or_credited_invoice_is_withdrawn(calm: Opened) -> None:
    async with calm() as desk:
        voided, credited = await desk.issue(), await desk.issue()
        await desk.settle()
        async with desk.deps.tx() as tx:
            await void(tx, voided.invoice_id, reason="wrong")
        async with desk.deps.tx() as tx:
            sellers = sellers_from(desk.deps.settings)
            await credit_note.credit(tx, credited.invoice_id, sellers, reason="an outage", by=ADA, amount=5_000)
        await desk.settle()
        found = sorted((one["status"], one["total"]) for one in desk.theirs())
        assert found == [("open", 7_000), ("void", 12_000), ("void", 12_000)]


async def test_paid_twice_is_kept_and_told(calm: Opened) -> None:
    async with calm() as desk:
        issued = await desk.issue()
        await desk.settle()
        (theirs,) = desk.theirs()
        await desk.paid_at_stripe(theirs["id"])
        await desk.paid_by_hand(issued, 12_000)  # before the event of the payment is here
        await desk.settle(parks=True)
        ours = await desk.ours(issued)
        assert (ours["status"], ours["amount_paid_cents"], ours["amount_overpaid_cents"]) == ("paid", 12_000, 12_000)
        (credit,) = await desk.stage.rows("credits")
        assert (credit["kind"], credit["amount_cents"]) == ("refund", 12_000)
        (said,) = await desk.parked()
        assert f"120.00 GBP came through {theirs['id']} for {issued.number}, which is paid already" in said


@pytest.mark.parametrize("how", ["void", "mark_uncollectible"])
async def test_what_is_given_up_at_stripe_stays_open_here_and_is_told(calm: Opened, how: str) -> None:
    async with calm() as desk:
        issued = await desk.issue()
        await desk.settle()
        (theirs,) = desk.theirs()
        await getattr(desk.stage.v1.invoices, "void_invoice_async" if how == "void" else f"{how}_async")(theirs["id"])
        await desk.settle(parks=True)
        assert (await desk.ours(issued))["status"] == "open"
        (said,) = await desk.parked()
        assert f"billing invoices push {issued.number}" in said
        async with desk.deps.tx() as tx:
            await stage_push(tx, issued.invoice_id)
        await desk.settle(parks=True)
        assert max((one["status"] == "open", one["total"]) for one in desk.theirs()) == (True, 12_000)


async def test_a_customer_with_a_balance_and_other_items_pays_what_is_due(calm: Opened) -> None:
    async with calm() as desk:
        await desk.stage.v1.invoice_items.create_async(
            {"customer": desk.customer, "amount": 700, "currency": "gbp", "description": "something else"}
        )
        await desk.stage.v1.customers.balance_transactions.create_async(
            desk.customer, {"amount": -3_000, "currency": "gbp"}
        )
        issued = await desk.issue()
        await desk.settle()
        (theirs,) = desk.theirs()
        assert (theirs["total"], theirs["amount_due"]) == (12_000, 9_000), "what else waits for an invoice is not on it"
        await desk.paid_at_stripe(theirs["id"])
        await desk.settle()
        ours = await desk.ours(issued)
        assert (ours["status"], ours["amount_paid_cents"]) == ("paid", 12_000), "its balance paid the rest"


async def test_without_a_customer_at_stripe_it_is_parked_with_the_fix(calm: Opened) -> None:
    async with calm() as desk:
        async with desk.stage.engine.begin() as conn:
            await conn.execute(text("UPDATE api_partner_contracts SET stripe_customer_id = NULL"))
        issued = await desk.issue(push=False)
        with pytest.raises(Refused, match="stripe_customer_id"):
            await push_to_stripe.fn(desk.deps, issued.invoice_id)
        with pytest.raises(Refused, match="none of ours"):
            await push_to_stripe.fn(desk.deps, 999_999)
        assert desk.theirs() == []


@pytest.mark.parametrize("told", ["999999", "x", "1e9", ""])
async def test_a_mark_that_is_not_ours_joins_nothing(calm: Opened, told: str) -> None:
    async with calm() as desk:
        issued = await desk.issue(push=False)
        for mark, number in ((told, issued.number), (str(issued.invoice_id), "API-999")):
            metadata = {"billing_invoice_id": mark, "billing_invoice": number}
            made = await desk.stage.v1.invoices.create_async(
                {"customer": desk.customer, "currency": "gbp", "metadata": metadata}
            )
            await desk.stage.v1.invoice_items.create_async(
                {"customer": desk.customer, "amount": 12_000, "currency": "gbp", "invoice": made.id}
            )
            await desk.stage.v1.invoices.finalize_invoice_async(made.id)
            await desk.paid_at_stripe(made.id)
        await desk.settle()
        assert (await desk.ours(issued))["status"] == "open"
        assert await desk.stage.query("SELECT 1 FROM invoices WHERE collects_invoice_id IS NOT NULL") == []
