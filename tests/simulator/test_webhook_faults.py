"""Events come twice, late, in another order or never, as a seeded script says; what they tell stays true."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.faults import Faults, ScriptError, read_script
from deploy.demo.simulator.simulation import Simulation
from tests.simulator.kit import START, ask
from tests.simulator.receiver import Inbox

HOOK = "http://127.0.0.1:9/hook"
SECRET = "whsec_first"


def play(seed: int = 7, count: int = 40, **faults: Any) -> tuple[Simulation, Inbox]:
    """So many customers are made, a minute apart, under a script of faults."""
    inbox = Inbox()
    s = Simulation(seed, START, post=inbox, concurrency=1)
    s.endpoint(HOOK, secret=SECRET)
    s.faults.follow(read_script({"webhooks": faults}))
    for number in range(count):
        s.account.clock.at(START + 60 * number, lambda number=number: make(s, number))
    return s, inbox


def make(s: Simulation, number: int) -> None:
    assert ask(s.api, "POST", "/v1/customers", {"name": f"Customer {number}"})[0] == 200


async def test_without_a_script_each_comes_once_in_order() -> None:
    s, inbox = play()
    await s.advance(START + DAY)
    assert inbox.ids == list(s.account.events)
    assert dict(s.faults.counts) == {}


async def test_duplicates_come_later() -> None:
    s, inbox = play(duplicate={"p": 1, "copies": 3, "within": 600})
    await s.advance(START + DAY)
    times = {id_: inbox.ids.count(id_) for id_ in s.account.events}
    assert set(times.values()) == {2, 3, 4}
    assert len(inbox.ids) == 40 + s.faults.counts["duplicated"]
    assert s.account.undelivered == {}


async def test_reordered_events_overtake_each_other() -> None:
    s, inbox = play(reorder={"p": 0.5, "within": 600})
    await s.advance(START + DAY)
    assert inbox.ids != list(s.account.events)
    assert sorted(inbox.ids) == sorted(s.account.events)


async def test_delays_last_up_to_three_days() -> None:
    s, inbox = play(delay={"p": 1})
    await s.advance(START + DAY)
    early = len(inbox.ids)
    await s.advance(START + 3 * DAY + 3600)
    assert 0 < early < 40
    assert sorted(inbox.ids) == sorted(s.account.events)


async def test_what_is_dropped_never_comes_and_the_events_list_tells_it() -> None:
    s, inbox = play(drop={"p": 0.5})
    await s.advance(START + 10 * DAY)
    await s.flush(1)
    dropped = set(s.account.events) - set(inbox.ids)
    assert len(dropped) == s.faults.counts["dropped"] > 0
    _, listed, _ = ask(s.api, "GET", "/v1/events", {"delivery_success": False, "limit": 100})
    assert {row["id"] for row in listed["data"]} == dropped
    assert {row["pending_webhooks"] for row in listed["data"]} == {1}
    _, listed, _ = ask(s.api, "GET", "/v1/events", {"delivery_success": True, "limit": 100})
    assert {row["id"] for row in listed["data"]} == set(inbox.ids)


async def test_what_was_dropped_comes_when_it_is_sent_again() -> None:
    s, inbox = play(count=1, drop={"p": 1})
    await s.advance(START)
    (event,) = s.account.events.values()
    assert s.deliveries.resend(event) == 1
    await s.settle()
    assert inbox.ids == [event.id]
    assert s.account.undelivered == {}


async def test_a_burst_holds_all_back_and_lets_them_go_at_once() -> None:
    s, inbox = play(burst={"p": 1, "seconds": 3600})
    await s.advance(START + 3599)
    assert inbox.ids == []
    await s.advance(START + 3600)
    assert sorted(inbox.ids) == sorted(s.account.events)
    assert s.faults.counts == {"bursts": 1, "held": 40}


async def test_a_twin_tells_the_same_under_another_id() -> None:
    s, inbox = play(twin={"p": 1})
    await s.advance(START + DAY)
    assert len(inbox.ids) == len(set(inbox.ids)) == 80
    by_customer: dict[str, list[Any]] = {}
    for got in inbox.got:
        event = got.event
        by_customer.setdefault(event["data"]["object"]["id"], []).append(event)
    assert len(by_customer) == 40
    for one, other in by_customer.values():
        assert one["id"] != other["id"]
        assert one | {"id": ""} == other | {"id": ""}
        assert ask(s.api, "GET", f"/v1/events/{other['id']}")[0] == 200


async def test_a_script_that_begins_anew_makes_new_twins() -> None:
    s, _ = play(twin={"p": 1})
    await s.advance(START + 1200)
    s.faults.follow(s.faults.script)
    await s.advance(START + DAY)
    assert len(s.account.events) == 80


async def test_the_secret_is_rolled_in_mid_run() -> None:
    s, inbox = play(rotate={"after": 21, "secret": "whsec_second", "overlap": 600})
    await s.advance(START + DAY)
    signed = [(got.signed_by(SECRET), got.signed_by("whsec_second")) for got in inbox.got]
    assert signed == [(True, False)] * 20 + [(True, True)] * 10 + [(False, True)] * 10


EVERYTHING: dict[str, Any] = {
    "duplicate": {"p": 0.2, "copies": 3},
    "reorder": {"p": 0.3, "within": 600},
    "delay": {"p": 0.1},
    "burst": {"p": 0.05, "seconds": 900},
    "twin": {"p": 0.1},
}


async def test_the_same_seed_does_the_same_and_another_does_not() -> None:
    runs: list[list[bytes]] = []
    for seed in (7, 7, 8):
        s, inbox = play(7, **EVERYTHING)
        s.faults.follow(read_script({"seed": seed, "webhooks": EVERYTHING}))
        await s.advance(START + 4 * DAY)
        runs.append([got.body for got in inbox.got])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


async def test_faults_change_nothing_of_what_happened() -> None:
    calm, _ = play()
    wild, _ = play(**EVERYTHING, drop={"p": 0.1})
    await calm.advance(START + 4 * DAY)
    await wild.advance(START + 4 * DAY)
    assert calm.account.store.kinds() == wild.account.store.kinds()
    assert set(calm.account.events) <= set(wild.account.events)


@given(
    seed=st.integers(0, 10**6),
    delay=st.floats(0, 1),
    reorder=st.integers(0, 10**5),
    copies=st.integers(1, 20),
    burst=st.integers(1, 3 * DAY),
)
def test_nothing_comes_early_and_nothing_is_lost_without_a_drop(
    seed: int, delay: float, reorder: int, copies: int, burst: int
) -> None:
    faults = Faults(seed)
    faults.follow(
        read_script(
            {
                "webhooks": {
                    "delay": {"p": delay},
                    "reorder": {"p": 0.5, "within": reorder},
                    "duplicate": {"p": 0.5, "copies": copies},
                    "burst": {"p": 0.1, "seconds": burst},
                }
            }
        )
    )
    for passed in range(20):
        dues = faults.plan(START + passed)
        assert 1 <= len(dues) <= 1 + copies
        assert all(due >= START + passed for due in dues)
        assert min(dues) <= START + passed + 3 * DAY + reorder


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ({"webhook": {}}, "webhook is not known: did you mean webhooks?"),
        ({"webhooks": {"duplicates": {"p": 1}}}, "webhooks.duplicates is not known: did you mean duplicate?"),
        ({"webhooks": {"delay": {"p": 1, "upto": 5}}}, "webhooks.delay.upto is not known: did you mean up_to?"),
        ({"webhooks": {"drop": {"p": 1.5}}}, "webhooks.drop.p: Input should be less than or equal to 1"),
        ({"webhooks": {"delay": {"p": 1, "up_to": 4 * DAY}}}, "webhooks.delay.up_to: Input should be less than"),
        ({"webhooks": {"burst": {"p": 1}}}, "webhooks.burst.seconds: Field required"),
        ({"api": [{"kind": "teapot"}]}, "api.0.kind: Input should be 'rate_limit', 'error'"),
        ({"webhooks": {"rotate": {"after": 1, "secret": "hush"}}}, "webhooks.rotate.secret: String should match"),
        ([], "the script: Input should be"),
    ],
)
def test_a_script_that_cannot_be_followed_says_where_and_why(script: Any, told: str) -> None:
    with pytest.raises(ScriptError) as error:
        read_script(script)
    assert str(error.value).startswith(told)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ScriptError) as error:
        read_script({"webhooks": {"drop": {"p": 2}}, "api": [{"kind": "error", "pth": "*"}]})
    assert str(error.value).split("; ") == [
        "webhooks.drop.p: Input should be less than or equal to 1",
        "api.0.pth is not known: did you mean path?",
    ]
