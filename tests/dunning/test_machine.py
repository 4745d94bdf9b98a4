"""Whatever happens at Stripe, to its events, to the worker, by operators' hands: all comes as the rules foretell it."""

import asyncio
import copy
import os
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from db.operators.actions import NotAllowedError, UnknownIdsError
from db.states import CaseOutcome
from jobs.dunning import operate
from jobs.dunning.policies import put, read_policy
from jobs.dunning.take_step import take_step
from tests.dunning.course import Course
from tests.dunning.kit import ADA, TUESDAY
from tests.dunning.model import Kind, Model
from tests.events.kit import Json
from tests.lives.driver import clear
from worker.embedded import EmbeddedPostgres

LATE = st.sampled_from([False, False, True])
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
EXAMPLES = int(os.environ.get("DUNNING_EXAMPLES", "8"))
"""How many courses are played; more of them in a long night."""
SHRINK = "DUNNING_SHRINK" in os.environ
"""A course that fails is made shorter only when asked for: that takes minutes."""

STARTS = [
    TUESDAY,
    datetime(2026, 3, 6, 23, 10, tzinfo=UTC),  # a Friday night, or a Saturday morning
    datetime(2026, 3, 25, 1, 30, tzinfo=UTC),  # summer time begins in Europe on the 29th
    datetime(2026, 10, 30, 5, 30, tzinfo=UTC),  # it ends in America on the 1st of November
]
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Apia", None]
DEFAULT = Kind("default", (0, 3, 7, 14), "mark_blocked")
ACTIONS = ["cancel_at_stripe", "pause_collection", "mark_blocked", "none", "without a key"]
DAYS = st.sampled_from([(0, 3, 5, 8), (2, 5, 9), (0, 1), (0, 4, 5)])


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


class Dunning(Course):
    """One invoice, and all that may happen around it; after each thing, the database is what the model says."""

    @initialize(
        start=st.sampled_from(STARTS),
        zone=st.sampled_from(ZONES),
        kinds=st.lists(st.tuples(DAYS, st.booleans()), min_size=2, max_size=2),
        tier=st.sampled_from(["basic", "pro"]),
        calm=st.integers(0, 25),
        late=LATE,
        days=st.sampled_from([0, 4, 9, 15]),
        silent=st.sampled_from(["before", "after", None]),
    )
    def begin(
        self,
        *,
        start: datetime,
        zone: str | None,
        kinds: list[tuple[tuple[int, ...], bool]],
        tier: str,
        calm: int,
        days: int,
        silent: str | None,
        late: bool,
    ) -> None:
        self.scene.clock.time, self.calm = start, calm
        self.model = Model(start, keyless=self.action == "without a key", policies={"all": DEFAULT, "pro": DEFAULT})
        self.scene.keyless, self.scene.stripe.silent = self.model.keyless, silent

        async def set_up() -> None:
            await clear(self.scene.engine)
            async with self.scene.deps.tx() as tx:
                await tx.conn.exec_driver_sql("DELETE FROM dunning_policies")
            await self.scene.begin()

        self.run(set_up())
        for name, (which, weekends) in zip(("all", "pro"), kinds, strict=True):
            self.a_policy_is_written(name, which, weekends=weekends)
        self.scene.invoice()
        metadata = {"timezone": zone} if zone else {}
        self.changed("customer.updated", "cus_1", late=False, metadata=metadata)
        self.changed("customer.subscription.updated", "sub_1", late=False, metadata={"tier": tier})
        self.fails("insufficient_funds", late=late)
        self.days_pass_with_the_worker_at_work(days)

    @rule(name=st.sampled_from(["all", "pro"]), days=DAYS, weekends=st.booleans())
    def a_policy_is_written(self, name: str, days: tuple[int, ...], *, weekends: bool) -> None:
        """Or written anew: cases that have begun keep theirs."""
        if self.model.keyless:  # nothing can be done at Stripe then; that such a job is parked is told elsewhere
            return
        kind = self.model.policies[name] = Kind(name, days, self.action, weekends=weekends)
        form = {
            "name": name,
            "position": 10 if name == "pro" else 50,
            "applies_to": {"tiers": ["pro"]} if name == "pro" else {},
            "steps": kind.steps,
            "hours": {"weekends": weekends},
        }

        async def write() -> None:
            async with self.scene.deps.tx() as tx:
                await put(tx.conn, read_policy(form), ADA, now=tx.now)

        self.run(write())

    # --- at Stripe ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.over)
    @rule(late=LATE, code=st.sampled_from(["insufficient_funds", "stolen_card"]))
    def fails(self, code: str, *, late: bool) -> None:
        self.scene.clock.move(timedelta(seconds=2))
        made = self.scene.failed(code=code)
        told = made, "invoice.payment_failed", copy.deepcopy(self.things["in_1"]), self.scene.clock.now()
        self.told.append(told)
        if late:
            self.late.append(told)
        else:
            self.delivered(told)

    @precondition(lambda self: self.things["in_1"]["status"] in {"open", "uncollectible"})
    @rule(late=LATE)
    def pays(self, *, late: bool) -> None:
        if self.may_end():
            self.scene.pay()
            self.happened("invoice.paid", self.things["in_1"], late=late)

    @precondition(lambda self: self.things["in_1"]["status"] == "open")
    @rule(
        late=LATE,
        how=st.sampled_from(
            [
                ("invoice.voided", {"status": "void"}),
                ("invoice.marked_uncollectible", {"status": "uncollectible"}),
                ("invoice.updated", {"status": "paid", "amount_due": 0, "amount_remaining": 0, "amount_paid": 0}),
            ]
        ),
    )
    def is_given_up(self, how: tuple[str, Json], *, late: bool) -> None:
        if self.may_end():
            self.changed(how[0], "in_1", late=late, **how[1])

    @precondition(lambda self: self.things["sub_1"]["status"] != "canceled")
    @rule(late=LATE, reason=st.sampled_from(["cancellation_requested", "payment_failed"]))
    def is_canceled(self, reason: str, *, late: bool) -> None:
        if self.may_end():
            details = {"reason": reason}
            kind = "customer.subscription.deleted"
            self.changed(kind, "sub_1", late=late, status="canceled", cancellation_details=details)

    @precondition(lambda self: self.things["sub_1"]["status"] != "canceled")
    @rule(late=LATE, what=st.sampled_from(["pause", "tier", "off"]))
    def the_subscription_changes(self, what: str, *, late: bool) -> None:
        subscription, changes = self.things["sub_1"], dict[str, Any]()
        metadata = dict(subscription["metadata"])
        if what == "pause" and "billing_dunning" not in metadata:
            changes = {"pause_collection": None if subscription["pause_collection"] else {"behavior": "void"}}
        elif what == "tier":
            changes = {"metadata": metadata | {"tier": "basic" if metadata["tier"] == "pro" else "pro"}}
        elif what == "off" and self.may_end():
            changes = {"metadata": metadata | {"dunning": "off"}}
        self.changed("customer.subscription.updated", "sub_1", late=late, **changes)

    @precondition(lambda self: not self.things["cus_1"].get("deleted"))
    @rule(late=LATE, how=st.sampled_from(["moves", "moves", "opts out or in", "is deleted"]), to=st.sampled_from(ZONES))
    def the_customer(self, how: str, to: str | None, *, late: bool) -> None:
        metadata = dict(self.things["cus_1"]["metadata"])
        if how == "moves":
            metadata["timezone"] = to
        elif not self.may_end():
            return
        elif how == "is deleted":
            gone = self.scene.stripe.put({"id": "cus_1", "object": "customer", "deleted": True})
            self.happened("customer.deleted", gone, late=late)
            return
        else:
            metadata["dunning"] = None if metadata.get("dunning") else "off"
        held = {name: value for name, value in metadata.items() if value}
        self.changed("customer.updated", "cus_1", late=late, metadata=held)

    @precondition(lambda self: "ch_1" in self.things)
    @rule(what=st.sampled_from(["needs_response", "won", "refunded"]))
    def what_was_paid_is_disputed_or_given_back(self, what: str) -> None:
        if what == "refunded":
            self.things["ch_1"]["refunded"] = True
        else:
            self.things["ch_1"]["disputed"] = True
            self.things["dp_1"] = {"id": "dp_1", "object": "dispute", "charge": "ch_1", "status": what}

    @rule(when=st.sampled_from(["before", "after"]))
    def stripe_will_not_answer(self, when: str) -> None:
        self.scene.stripe.silent = when

    @rule()
    def stripe_forgets_old_keys(self) -> None:
        """https://docs.stripe.com/api/idempotent_requests: after a day or so."""
        self.scene.stripe.answers.clear()

    # --- on the way, and on our side ----------------------------------------------------------------------------------

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def a_late_event_comes(self, data: st.DataObject) -> None:
        self.delivered(self.late.pop(data.draw(st.integers(0, len(self.late) - 1))))

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def an_event_comes_again(self, data: st.DataObject) -> None:
        known = [one for one in self.told if one not in self.late]
        if known:
            self.delivered(data.draw(st.sampled_from(known)))

    @rule(hours=st.one_of(st.integers(1, 30), st.integers(30, 24 * 12), st.integers(24 * 12, 24 * 50)))
    def time_passes(self, hours: int) -> None:
        self.scene.clock.move(timedelta(hours=hours))

    @rule()
    def the_next_day_comes(self) -> None:
        """The very moment for which something is due."""
        if self.model.next is not None and self.model.next > self.scene.clock.now():
            self.scene.clock.time = self.model.next

    @rule(away=st.sampled_from([False, False, False, True]))
    def the_worker_works(self, *, away: bool) -> None:
        self.works(away=away)

    @rule(days=st.integers(1, 8))
    def days_pass_with_the_worker_at_work(self, days: int) -> None:
        for _ in range(2 * days):
            self.scene.clock.move(timedelta(hours=12))
            self.works(away=False)
            self.all_is_as_foretold()

    @rule()
    def the_worker_is_started_anew(self) -> None:
        self.scene.restart()

    @precondition(lambda self: self.model.case_id)
    @rule(back=st.integers(0, 2))
    def a_job_of_some_turn_runs_again(self, back: int) -> None:
        self.model.now = self.scene.clock.now()
        if back == 0 and self.model.status != "closed":
            self.model.things, self.model.away = copy.deepcopy(self.things), False
            self.model.turns()

        async def again() -> None:
            [(case, turn)] = await self.scene.query("SELECT id, turn FROM dunning_cases")
            await take_step.run(self.scene.deps, {"case_id": case, "turn": turn - back, "forced": False})

        self.run(again())

    # --- operators ----------------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["pause", "pause_until", "resume", "resume", "skip", "send_now", "extend", "exempt"]))
    def an_operator(self, what: str) -> None:
        if what == "exempt" and not self.may_end():
            return
        self.model.now = self.scene.clock.now()
        until, position = self.model.now + timedelta(days=5), self.model.done + 1
        do: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
            "pause": lambda tx: operate.pause(tx, "in_1", ADA),
            "pause_until": lambda tx: operate.pause(tx, "in_1", ADA, until=until),
            "resume": lambda tx: operate.resume(tx, "in_1", ADA),
            "skip": lambda tx: operate.skip(tx, "in_1", ADA, position=position),
            "send_now": lambda tx: operate.send_now(tx, "in_1", ADA, position=position),
            "extend": lambda tx: operate.extend(tx, "in_1", ADA, days=3),
            "exempt": lambda tx: operate.let_be(tx, "in_1", ADA, outcome=CaseOutcome.EXEMPT),
        }

        async def one() -> bool:
            try:
                async with self.scene.deps.tx() as tx:
                    await do[what](tx)
            except (NotAllowedError, UnknownIdsError):
                return False
            return True

        assert self.model.operated(what) is self.run(one()), what


@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_is_dunned_wrongly_or_twice(url: str, action: str) -> None:
    machine = cast("type[RuleBasedStateMachine]", lambda: Dunning(url, action))
    short = settings(
        max_examples=EXAMPLES,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=SLOW,
        phases=[Phase.reuse, Phase.generate, *([Phase.shrink] if SHRINK else [])],
    )
    run_state_machine_as_test(machine, settings=short)
