"""An invoice in arrears is played at a small Stripe, in our books and in the model: after each move all three agree."""

import asyncio
import copy
import json
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from db.engine import create_engine
from db.inbox import StoredEvent
from tests.conftest import MovedClock
from tests.dunning.kit import TUESDAY, Scene
from tests.dunning.model import Model, verdict
from tests.events.kit import Json

T = TypeVar("T")
Told = tuple[StoredEvent, str, Json, datetime]
SEEN = """
SELECT jsonb_build_object(
    'case', (SELECT to_jsonb(c) FROM dunning_cases c),
    'steps', (SELECT coalesce(jsonb_agg(s ORDER BY position), '[]') FROM dunning_steps s),
    'letters', (SELECT coalesce(jsonb_agg(e ORDER BY id), '[]') FROM emails e
                WHERE key ~ '^(dunning|recovered|receipt)/'),
    'user', (SELECT dunning_status FROM users),
    'parked', (SELECT coalesce(jsonb_agg(dead_reason), '[]') FROM queue WHERE dead_reason IS NOT NULL)
)::text
"""
AGAIN = "UPDATE queue SET due_at = $1 WHERE attempts > 0 AND lease_token IS NULL AND dead_reason IS NULL"


def moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


class Course(RuleBasedStateMachine):
    """One invoice at Stripe, in our books, and in the model."""

    def __init__(self, url: str, action: str) -> None:
        super().__init__()
        self.action = action
        self.loop = asyncio.Runner()
        self.scene = Scene(create_engine(url), MovedClock(TUESDAY))
        self.model = Model(TUESDAY)
        self.told: list[Told] = []
        self.late: list[Told] = []
        self.letters: set[str] = set()
        self.acts = 0
        self.calm = 0
        """So many things happen before anything may end the matter: else most courses would be short."""

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(what)

    @property
    def things(self) -> dict[str, Json]:
        return self.scene.stripe.things

    @property
    def over(self) -> bool:
        """Whether Stripe itself says that nobody is to be dunned any more."""
        return verdict(self.things) not in {None, "paused"}

    # --- what happens, happens in all three ---------------------------------------------------------------------------

    def may_end(self) -> bool:
        self.calm -= 1
        return self.calm < 0

    def changed(self, kind: str, name: str, *, late: bool, **changes: Any) -> None:
        self.things[name] |= changes
        self.happened(kind, self.things[name], late=late)

    def happened(self, kind: str, thing: Json, *, late: bool) -> None:
        self.scene.clock.move(timedelta(seconds=2))
        told = self.scene.event(kind, thing), kind, copy.deepcopy(thing), self.scene.clock.now()
        self.told.append(told)
        if late:
            self.late.append(told)
        else:
            self.delivered(told)

    def delivered(self, told: Told) -> None:
        event, kind, thing, created = told
        self.model.now = self.scene.clock.now()
        self.model.told(kind, thing, created.replace(microsecond=0))
        self.run(self.scene.deliver(event))

    def works(self, *, away: bool) -> None:
        self.model.now = self.scene.clock.now()
        self.model.works(self.things, away=away, silent=self.scene.stripe.silent)
        self.scene.stripe.away = away

        async def work() -> None:
            async with self.scene.engine.begin() as conn:
                await conn.exec_driver_sql(AGAIN, (self.scene.clock.now(),))
            await self.scene.work()

        self.run(work())
        self.scene.stripe.away = False
        self.what_was_done_is_told()

    def what_was_done_is_told(self) -> None:
        for method, _, _, _ in self.scene.stripe.acts[self.acts :]:
            self.acts += 1
            kind = "deleted" if method == "delete" else "updated"
            self.changed(f"customer.subscription.{kind}", "sub_1", late=True)

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def all_is_as_foretold(self) -> None:
        if not self.told:
            return
        ((raw,),) = self.run(self.scene.query(SEEN))
        seen, model = json.loads(raw), self.model
        case: Json | None = seen["case"]
        assert len(seen["parked"]) == model.parked
        assert seen["user"] == model.user
        letters: dict[str, Json] = {one["key"]: one for one in seen["letters"]}
        assert len(letters) == len(seen["letters"])
        assert {key: one["template"] for key, one in letters.items() if not key.startswith("receipt/")} == model.letters
        self.nobody_is_written_to_who_should_not_be(letters)
        assert [(act[0], act[2]) for act in self.scene.stripe.acts] == model.acts
        assert (case is None) == (model.kind is None)
        if case is None:
            return
        model.case_id = case["id"]
        assert (case["status"], case["outcome"]) == (model.status, model.outcome), case["reason"]
        assert (case["acting"], case["final_action"], case["paused_by"]) == (model.acting, model.final, model.paused_by)
        assert moment(case["failed_at"]) == model.failed_at.replace(microsecond=0)
        assert moment(case["next_step_at"]) == model.next
        steps = [(x["position"], x["outcome"], moment(x["due_at"]), moment(x["taken_at"])) for x in seen["steps"]]
        assert steps == model.steps

    def nobody_is_written_to_who_should_not_be(self, letters: dict[str, Json]) -> None:
        """Said once more without the model: what is new was right to say, and at that hour."""
        assert not {"receipt/in_1", "recovered/in_1"} <= set(letters)
        for key in set(letters) - self.letters:
            letter, model = letters[key], self.model
            standing = verdict(model.books if model.keyless else self.things)
            if letter["template"] == "recovered":
                assert any(one.startswith("dunning/") for one in letters)
                assert "paid" in {self.things["in_1"]["status"], model.books["in_1"]["status"]}
                assert letter["context"]["restored"] is (model.final in {"mark_blocked", "pause_collection"})
            elif key.startswith("dunning/") and not (
                letter["template"] == "access_suspended" and model.final in {"cancel_at_stripe", "pause_collection"}
            ):
                assert standing is None
                assert model.paused_by is None
                if not model.keyless and "next_payment_attempt" in letter["context"]:
                    hard = self.things["pi_1"]["last_payment_error"]["decline_code"] == "stolen_card"
                    assert (letter["context"]["next_payment_attempt"] is None) is hard
                    assert letter["context"].get("hard", hard) is hard
        self.letters = set(letters)

    def teardown(self) -> None:
        try:
            if self.told:
                self.settles()
        finally:
            self.run(self.scene.engine.dispose())
            self.loop.close()

    def settles(self) -> None:
        """When all is told, the case is closed exactly when Stripe says so, and what we paused goes on."""
        self.scene.stripe.silent = None
        while self.late:
            self.delivered(self.late.pop(0))
        for _ in range(3):
            self.works(away=False)
            while self.late:
                self.delivered(self.late.pop(0))
            self.all_is_as_foretold()
        if self.model.kind is not None and self.over and self.model.final is None:
            assert self.model.status == "closed"
        if self.model.outcome in {"recovered", "void"} and self.things["sub_1"]["status"] != "canceled":
            assert "billing_dunning" not in self.things["sub_1"]["metadata"]
