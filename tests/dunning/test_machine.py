"""Whatever happens at Stripe, to its events, to the worker, by operators' hands: nobody is dunned wrongly or twice."""

import asyncio
import os
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any, TypeVar, cast

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from db.engine import create_engine
from db.inbox import StoredEvent
from db.operators.actions import NotAllowedError
from jobs.dunning import operate
from jobs.dunning.policies import put, read_policy
from jobs.dunning.take_step import take_step
from tests.conftest import MovedClock
from tests.dunning.kit import ADA, TUESDAY, Scene
from tests.events.kit import Json, rows
from tests.lives.driver import clear
from worker.embedded import EmbeddedPostgres

T = TypeVar("T")
LATE = st.booleans()
ACTIONS = (None, "cancel_at_stripe", "pause_collection")
STEPS: list[Json] = [
    {"day": 0, "letter": "payment_failed"},
    {"day": 3, "letter": "dunning_reminder"},
    {"day": 5, "letter": "final_notice"},
]
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
EXAMPLES = int(os.environ.get("DUNNING_EXAMPLES", "12"))
"""How many courses are played; more of them in a long night."""

TURNS = """
SELECT count(*) FROM queue q JOIN jobs j ON j.id = q.job_id JOIN dunning_cases c ON true
WHERE j.name = 'take_step' AND q.dead_reason IS NULL AND j.args ->> 'turn' = c.turn::text
"""


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A database for all examples, emptied for each."""
    name = f"test_{uuid.uuid4().hex}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield postgres.url(name)
    asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


class Dunning(RuleBasedStateMachine):
    """One invoice, and all that may happen around it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.scene = Scene(create_engine(url), MovedClock(TUESDAY))
        self.told: list[StoredEvent] = []
        self.failures = 0
        self.letters: list[str] = []
        self.operator_paused = False
        self.acts = 0

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(what)

    @property
    def things(self) -> dict[str, Json]:
        return self.scene.stripe.things

    @property
    def over(self) -> bool:
        """Whether Stripe itself says that nobody is to be dunned any more."""
        customer = self.things["cus_1"]
        return (
            self.things["in_1"]["status"] != "open"
            or self.things["sub_1"]["status"] == "canceled"
            or customer.get("metadata", {}).get("dunning") == "off"
            or customer.get("deleted", False)
        )

    @property
    def ours(self) -> bool:
        """Whether we canceled the subscription, or paused its collection, ourselves."""
        subscription = self.things["sub_1"]
        details: Json = subscription.get("cancellation_details") or {}
        return str(details.get("comment")).startswith("dunning/") or bool(
            subscription["metadata"].get("billing_dunning")
        )

    @initialize(action=st.sampled_from(ACTIONS))
    def begin(self, action: str | None) -> None:
        async def set_up() -> None:
            await clear(self.scene.engine)
            if action is not None:
                last = {"day": 8, "letter": "access_suspended", "action": action}
                policy = read_policy({"name": action, "steps": [*STEPS, last]})
                async with self.scene.deps.tx() as tx:
                    await tx.conn.exec_driver_sql("DELETE FROM dunning_policies")
                    await put(tx.conn, policy, ADA, now=tx.now)
            await self.scene.begin()
            self.scene.invoice()

        self.run(set_up())

    # --- at Stripe ----------------------------------------------------------------------------------------------------

    def happened(self, event: StoredEvent, *, late: bool) -> None:
        self.told.append(event)
        if late:
            self.scene.late.append(event)
        else:
            self.run(self.scene.deliver(event))

    def changed(self, kind: str, name: str, *, late: bool, **changes: Any) -> None:
        self.scene.clock.move(timedelta(seconds=2))
        self.things[name] |= changes
        self.happened(self.scene.event(kind, self.things[name]), late=late)

    @precondition(lambda self: not self.over)
    @rule(late=LATE, code=st.sampled_from(["insufficient_funds", "stolen_card"]))
    def fails(self, code: str, *, late: bool) -> None:
        self.scene.clock.move(timedelta(seconds=2))
        self.failures += 1
        self.happened(self.scene.failed(code=code), late=late)

    @precondition(lambda self: self.things["in_1"]["status"] in {"open", "uncollectible"} and self.failures)
    @rule(late=LATE)
    def pays(self, *, late: bool) -> None:
        self.scene.clock.move(timedelta(seconds=2))
        self.happened(self.scene.pay(), late=late)

    @precondition(lambda self: self.things["in_1"]["status"] == "open" and self.failures)
    @rule(
        late=LATE,
        status=st.sampled_from([("invoice.voided", "void"), ("invoice.marked_uncollectible", "uncollectible")]),
    )
    def is_given_up(self, status: tuple[str, str], *, late: bool) -> None:
        self.changed(status[0], "in_1", late=late, status=status[1])

    @precondition(lambda self: self.things["sub_1"]["status"] != "canceled")
    @rule(late=LATE, reason=st.sampled_from(["cancellation_requested", "payment_failed"]))
    def is_canceled(self, reason: str, *, late: bool) -> None:
        details = {"reason": reason}
        self.changed(
            "customer.subscription.deleted", "sub_1", late=late, status="canceled", cancellation_details=details
        )

    @precondition(lambda self: self.things["sub_1"]["status"] != "canceled" and not self.ours)
    @rule(late=LATE)
    def collection_is_paused_or_goes_on(self, *, late: bool) -> None:
        now = None if self.things["sub_1"]["pause_collection"] else {"behavior": "void"}
        self.changed("customer.subscription.updated", "sub_1", late=late, pause_collection=now)

    @precondition(lambda self: not self.things["cus_1"].get("deleted"))
    @rule(late=LATE, how=st.sampled_from(["opts out", "is deleted"]))
    def the_customer(self, how: str, *, late: bool) -> None:
        if how == "opts out":
            self.changed("customer.updated", "cus_1", late=late, metadata={"dunning": "off"})
        else:
            self.scene.clock.move(timedelta(seconds=2))
            gone = self.scene.stripe.put({"id": "cus_1", "object": "customer", "deleted": True})
            self.happened(self.scene.event("customer.deleted", gone), late=late)

    @precondition(lambda self: self.things["in_1"]["status"] == "paid")
    @rule()
    def the_payment_is_disputed(self) -> None:
        self.things["ch_1"]["disputed"] = True
        self.things["dp_1"] = {"id": "dp_1", "object": "dispute", "charge": "ch_1", "status": "needs_response"}

    @rule()
    def stripe_goes_away_or_comes_back(self) -> None:
        self.scene.stripe.away = not self.scene.stripe.away

    @rule(when=st.sampled_from(["before", "after"]))
    def stripe_will_not_answer(self, when: str) -> None:
        self.scene.stripe.silent = when

    # --- on the way, and on our side ----------------------------------------------------------------------------------

    @precondition(lambda self: self.scene.late)
    @rule(data=st.data())
    def a_late_event_comes(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.scene.late) - 1))
        self.run(self.scene.deliver(self.scene.late.pop(index)))

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def an_event_comes_again(self, data: st.DataObject) -> None:
        self.run(self.scene.deliver(data.draw(st.sampled_from(self.told))))

    @rule(hours=st.one_of(st.integers(1, 30), st.integers(30, 24 * 12)))
    def time_passes(self, hours: int) -> None:
        self.scene.clock.move(timedelta(hours=hours))

    @rule()
    def the_worker_works(self) -> None:
        self.run(self.scene.work())
        self.hear_of_our_acts()

    def hear_of_our_acts(self) -> None:
        for method, _, _, _ in self.scene.stripe.acts[self.acts :]:
            self.acts += 1
            kind = "deleted" if method == "delete" else "updated"
            self.changed(f"customer.subscription.{kind}", "sub_1", late=True)

    @precondition(lambda self: not self.scene.stripe.away)
    @rule(back=st.integers(0, 2))
    def a_job_of_some_turn_runs_again(self, back: int) -> None:
        async def again() -> None:
            for case in await rows(self.scene.engine, "dunning_cases"):
                args = {"case_id": case["id"], "turn": case["turn"] - back, "forced": False}
                await take_step.run(self.scene.deps, args)

        self.run(again())

    # --- operators ----------------------------------------------------------------------------------------------------

    def by_hand(self, do: Callable[[Any], Coroutine[Any, Any, Any]]) -> bool:
        async def one() -> bool:
            async with self.scene.deps.tx() as tx:
                await do(tx)
            return True

        try:
            return self.run(one())
        except NotAllowedError:
            return False

    @precondition(lambda self: self.run(self.scene.query("SELECT id FROM dunning_cases")))
    @rule(what=st.sampled_from([operate.pause, operate.resume, operate.skip, operate.send_now, operate.extend]))
    def an_operator(self, what: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        more = {"days": 3} if what is operate.extend else {}
        if self.by_hand(lambda tx: what(tx, "in_1", ADA, **more)) and what in {operate.pause, operate.resume}:
            self.operator_paused = what is operate.pause

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def letters_are_right(self) -> None:
        every = self.run(rows(self.scene.engine, "emails")) if self.told else []
        found = [one for one in every if one["key"].startswith(("dunning/", "recovered/"))]
        assert not {"receipt/in_1", "recovered/in_1"} <= {one["key"] for one in every}
        letters = [one["key"] for one in found]
        assert len(letters) == len(set(letters))
        for one in found[len(self.letters) :]:
            if one["template"] == "recovered":
                assert self.things["in_1"]["status"] == "paid"
                assert any(key.startswith("dunning/") for key in letters)
            elif one["template"] == "access_suspended" and self.ours:
                assert self.things["in_1"]["status"] != "paid"
            else:
                assert not self.over, one["key"]
                assert not self.things["sub_1"]["pause_collection"]
                assert not self.operator_paused
        self.letters = letters

    @invariant()
    def the_case_is_right(self) -> None:
        found = self.run(rows(self.scene.engine, "dunning_cases")) if self.told else []
        if not found:
            return
        [case] = found
        steps = self.run(rows(self.scene.engine, "dunning_steps"))
        assert sorted(one["position"] for one in steps) == list(range(case["done_step"] + 1))
        taken = [one for one in steps if one["outcome"] == "taken"]
        status = self.things_of_user()
        unpaid = case["outcome"] in {None, "lost", "canceled"}
        if case["final_action"] and unpaid:
            assert status == "blocked"
        else:
            assert status == ("warning" if taken and case["status"] != "closed" else "active")
        turns = self.run(self.scene.query(TURNS))[0][0]
        if case["status"] == "open" or case["paused_by"] == "stripe":
            assert turns == 1, case
        if case["status"] == "closed":
            given_up = (case["reason"] or "").startswith("nothing came")
            assert self.over or given_up, case
            if case["outcome"] == "recovered":
                assert self.things["in_1"]["status"] == "paid"
        assert self.run(self.scene.parked()) == []

    def things_of_user(self) -> str:
        return self.run(self.scene.status())

    def teardown(self) -> None:
        try:
            if self.told:
                self.run(self.settle())
        finally:
            self.run(self.scene.engine.dispose())
            self.loop.close()

    async def settle(self) -> None:
        """When all is told, the case is closed exactly when Stripe says so."""
        self.scene.stripe.away, self.scene.stripe.silent = False, None
        for _ in range(3):
            self.scene.clock.move(timedelta(hours=2))
            await self.scene.work()
        for event in self.scene.late:
            await self.scene.deliver(event)
        for method, _, _, _ in self.scene.stripe.acts[self.acts :]:
            kind = "deleted" if method == "delete" else "updated"
            await self.scene.tell(f"customer.subscription.{kind}", "sub_1")
        await self.scene.work()
        found = await rows(self.scene.engine, "dunning_cases")
        if self.failures and not self.over:
            [case] = found
            assert case["status"] != "closed" or case["reason"].startswith("nothing came")
        for case in found:
            if self.things["in_1"]["status"] == "paid":
                assert case["outcome"] in {"recovered", "disputed"}, case
            elif self.over:
                assert case["status"] == "closed", case


@pytest.mark.parametrize("steps", [30])
def test_nobody_is_dunned_wrongly_or_twice(url: str, steps: int) -> None:
    machine = cast("type[RuleBasedStateMachine]", lambda: Dunning(url))
    short = settings(max_examples=EXAMPLES, stateful_step_count=steps, deadline=None, suppress_health_check=SLOW)
    run_state_machine_as_test(machine, settings=short)
