"""An account's events, its clock and its money's arithmetic."""

from decimal import ROUND_HALF_UP, Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.simulator import amounts
from deploy.demo.simulator.account import Account, changed
from deploy.demo.simulator.api import Api
from deploy.demo.simulator.render import CURRENT
from deploy.demo.simulator.timers import Clock
from tests.simulator.kit import START, Json, ask, new_api


class TestEvents:
    """Each change is told once, with what was before: https://docs.stripe.com/api/events."""

    def test_a_change_tells_what_was_before(self) -> None:
        api = new_api()
        _, made, _ = ask(api, "POST", "/v1/customers", {"name": "Ada", "metadata": {"a": "1", "b": "2"}})
        ask(api, "POST", f"/v1/customers/{made['id']}", {"name": "Ada L.", "metadata": {"b": "", "c": "3"}})
        created, updated = (event.body(CURRENT, 0) for event in api.account.events.values())
        assert (created["type"], updated["type"]) == ("customer.created", "customer.updated")
        assert "previous_attributes" not in created["data"]
        assert updated["data"]["previous_attributes"] == {"name": "Ada", "metadata": {"b": "2", "c": None}}
        assert updated["data"]["object"]["metadata"] == {"a": "1", "c": "3"}

    def test_a_change_that_changes_nothing_tells_nothing(self) -> None:
        api = new_api()
        _, made, _ = ask(api, "POST", "/v1/customers", {"name": "Ada"})
        ask(api, "POST", f"/v1/customers/{made['id']}", {"name": "Ada"})
        assert len(api.account.events) == 1

    def test_an_event_keeps_its_object_as_it_was(self) -> None:
        api = new_api()
        _, made, _ = ask(api, "POST", "/v1/customers", {"name": "Ada"})
        ask(api, "POST", f"/v1/customers/{made['id']}", {"name": "Eve"})
        first = next(iter(api.account.events.values()))
        assert first.body(CURRENT, 0)["data"]["object"]["name"] == "Ada"

    def test_events_are_kept_in_each_version_that_somebody_listens_in(self) -> None:
        api = new_api()
        api.account.versions.add("2020-08-27")
        ask(api, "POST", "/v1/customers", {"name": "Ada"})
        (event,) = api.account.events.values()
        assert event.body("2020-08-27", 0)["api_version"] == "2020-08-27"
        with pytest.raises(KeyError):
            event.body("2019-12-03", 0)

    def test_lists_are_told_whole_and_objects_by_what_changed(self) -> None:
        before = {"a": {"x": 1, "y": 2}, "items": {"data": [1], "more": 1}, "rows": [1, 2], "same": 0, "gone": 5}
        after = {"a": {"x": 1, "y": 3}, "items": {"data": [2], "more": 1}, "rows": [1, 3], "same": 0, "new": 6}
        assert changed(before, after) == {
            "a": {"y": 2},
            "gone": 5,
            "items": {"data": [1], "more": 1},
            "new": None,
            "rows": [1, 2],
        }


def lived(seed: int) -> tuple[list[Json], list[Json]]:
    """Some requests on an account of this seed: what was answered, and the events."""
    api = new_api(seed)
    answers = [ask(api, "POST", "/v1/customers", {"name": name})[1] for name in ("Ada", "Grace", "Edsger")]
    return answers, [event.body(CURRENT, 0) for event in api.account.events.values()]


def test_the_same_seed_lives_the_same_life() -> None:
    assert lived(7) == lived(7)
    assert msgspec.json.encode(lived(7)) != msgspec.json.encode(lived(8))


class TestClock:
    """Time moves only when it is told to."""

    @given(dues=st.lists(st.integers(0, 50), max_size=20), to=st.integers(0, 60))
    def test_what_is_due_happens_at_its_time_and_in_order(self, dues: list[int], to: int) -> None:
        clock, seen = Clock(0), list[tuple[int, int, int]]()
        for turn, due in enumerate(dues):
            clock.at(due, lambda due=due, turn=turn: seen.append((due, turn, clock.now)))
        clock.move(to)
        wanted = sorted((due, turn) for turn, due in enumerate(dues) if due <= to)
        assert [(due, turn) for due, turn, _ in seen] == wanted
        assert all(due == at for due, _, at in seen)
        assert clock.now == to
        left = [due for due in dues if due > to]
        assert clock.next_due == (min(left) if left else None)

    def test_what_happens_may_bring_more_on_the_way(self) -> None:
        clock, seen = Clock(0), list[int]()

        def renew() -> None:
            seen.append(clock.now)
            clock.at(clock.now + 10, renew)

        clock.at(10, renew)
        clock.move(35)
        assert seen == [10, 20, 30]

    def test_what_is_past_happens_with_the_next_move_and_time_does_not_go_back(self) -> None:
        clock, seen = Clock(100), list[int]()
        clock.at(50, lambda: seen.append(clock.now))
        clock.move(100)
        assert seen == [100]
        with pytest.raises(ValueError, match="does not go back"):
            clock.move(99)

    def test_a_customer_without_a_test_clock_lives_by_the_accounts(self) -> None:
        account = Account(1, START)
        assert account.now() == account.now("cus_unknown") == START
        account.clock.move(START + 5)
        assert account.now() == START + 5


class TestAmounts:
    """Integers in minor units; what is rounded is rounded once."""

    @given(amount=st.integers(-(10**9), 10**9), weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
    def test_spreading_loses_nothing(self, amount: int, weights: list[int]) -> None:
        parts = amounts.spread(amount, weights)
        assert sum(parts) == amount
        whole = sum(weights)
        if whole:
            assert all(abs(part * whole - amount * weight) < whole for part, weight in zip(parts, weights, strict=True))

    @given(amount=st.integers(-(10**9), 10**9), part=st.integers(0, 10**6), whole=st.integers(1, 10**6))
    def test_a_share_is_rounded_once_away_from_zero(self, amount: int, part: int, whole: int) -> None:
        exact = Decimal(amount) * part / whole
        assert amounts.share(amount, part, whole) == int(exact.quantize(Decimal(1), ROUND_HALF_UP))
        assert amounts.share(-amount, part, whole) == -amounts.share(amount, part, whole)

    def test_known_values(self) -> None:
        assert amounts.percent(999, 19) == 190  # 189.81
        assert amounts.percent(50, "8.1") == 4  # 4.05
        assert amounts.percent(-50, 25) == -13  # -12.5
        assert amounts.times("0.5", 3) == 2  # 1.5
        assert amounts.spread(100, [1, 1, 1]) == [34, 33, 33]
        assert amounts.spread(-100, [1, 1, 1]) == [-33, -33, -34]
        assert amounts.spread(5, [0, 0]) == [5, 0]


def test_a_request_is_told_only_by_its_own_events() -> None:
    api: Api = new_api()
    ask(api, "POST", "/v1/customers", {"name": "Ada"})
    event = api.account.emit("customer.updated", api.account.store.all("customer")[0])
    assert event.body(CURRENT, 2)["request"] == {"id": None, "idempotency_key": None}
    assert event.body(CURRENT, 2)["pending_webhooks"] == 2
