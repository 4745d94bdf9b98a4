"""Time moves when it is told to; the same moves make the same year."""

import asyncio
import hashlib
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.faults import read_script
from deploy.demo.simulator.simulation import Simulation
from tests.simulator.kit import START, ask, sdk
from tests.simulator.receiver import Inbox

ROOT = Path(__file__).parents[2]
HOOK = "http://127.0.0.1:9/hook"
YEAR = "import asyncio; from tests.simulator.test_clock import a_year; print(asyncio.run(a_year()), end='')"


async def a_year() -> str:
    """A few subscribers live a year, some with cards that fail, under faults; a digest of all that was and was told."""
    inbox = Inbox()
    s = Simulation(7, START, post=inbox, concurrency=1)
    s.endpoint(HOOK)
    s.endpoint(f"{HOOK}/old", version="2024-06-20")
    s.faults.follow(read_script({"webhooks": {"duplicate": {"p": 0.1}, "delay": {"p": 0.1}, "twin": {"p": 0.1}}}))
    product = do(s, "/v1/products", name="Team")
    recurring = {"interval": "month"}
    price = do(s, "/v1/prices", product=product["id"], currency="eur", unit_amount=4900, recurring=recurring)
    for card in ("pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_mastercard"):
        customer = do(s, "/v1/customers", name=card)
        method = do(s, f"/v1/payment_methods/{card}/attach", customer=customer["id"])
        chosen = {"default_payment_method": method["id"]}
        do(s, f"/v1/customers/{customer['id']}", invoice_settings=chosen)
        do(s, "/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}])
        await s.advance(s.account.now() + DAY)
    await s.advance(START + 365 * DAY)
    assert len(s.account.store.all("invoice")) > 24
    digest = hashlib.sha256(msgspec.json.encode(s.account.store.kinds()))
    for got in inbox.got:
        digest.update(got.body)
    return digest.hexdigest()


def do(s: Simulation, path: str, **given: Any) -> dict[str, Any]:
    status, body, _ = ask(s.api, "POST", path, given)
    assert status == 200, body
    return body


def simulation(inbox: Inbox | None = None, **more: Any) -> Simulation:
    made = Simulation(7, START, post=inbox or Inbox(), concurrency=1, **more)
    made.endpoint(HOOK)
    return made


def make(s: Simulation, **given: Any) -> dict[str, Any]:
    return do(s, "/v1/customers", **given)


class TestAdvance:
    """The account's own clock."""

    async def test_what_is_due_happens_and_is_delivered_on_the_way(self) -> None:
        story: list[tuple[str, int]] = []

        async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
            story.append((msgspec.json.decode(body)["data"]["object"]["name"], s.account.now() - START))
            return 200

        s = Simulation(7, START, post=post, concurrency=1)
        s.endpoint(HOOK)
        for due in (300, 100, 200):
            s.account.clock.at(START + due, lambda due=due: (story.append(("happens", due)), make(s, name=str(due)))[0])
        await s.advance(START + DAY)
        assert story == [("happens", 100), ("100", 100), ("happens", 200), ("200", 200), ("happens", 300), ("300", 300)]
        assert s.account.now() == START + DAY

    async def test_time_does_not_go_back(self) -> None:
        s = simulation()
        with pytest.raises(ValueError, match="time does not go back"):
            await s.advance(START - 1)

    async def test_two_runs_are_equal_to_the_byte(self) -> None:
        runs: list[tuple[bytes, list[bytes], list[str]]] = []
        for _ in range(2):
            inbox = Inbox()
            s = simulation(inbox)
            clock = make_clock(s)
            for number in range(20):
                given = {"test_clock": clock} if number % 2 else {}
                made = make(s, name=f"Customer {number}", **given)
                s.account.clock.at(START + number * 1000, partial(ask_update, s, made["id"]))
            await s.advance(START + DAY)
            books = msgspec.json.encode(s.account.store.kinds())
            runs.append((books, [got.body for got in inbox.got], list(s.account.events)))
        assert runs[0] == runs[1]

    @pytest.mark.parametrize("hash_seed", ["1", "2"])
    def test_another_process_makes_the_same_year(self, hash_seed: str) -> None:
        """Python's own hashes differ from process to process: no id and no order may hang on them."""
        made = subprocess.run(
            [sys.executable, "-c", YEAR],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.stderr == ""
        assert made.stdout == asyncio.run(a_year())

    async def test_old_events_are_forgotten_where_memory_is_short(self) -> None:
        s = simulation(forget=True)
        make(s, name="Mina")
        await s.advance(START + 20 * DAY)
        make(s, name="Noor")
        await s.advance(START + 40 * DAY)
        assert [event.created for event in s.account.events.values()] == [START + 20 * DAY]

    async def test_what_was_never_delivered_is_not_forgotten(self) -> None:
        s = simulation(Inbox(lambda _got: 500), forget=True)
        make(s, name="Mina")
        await s.advance(START + 40 * DAY)
        assert len(s.account.events) == 1


def make_clock(s: Simulation, frozen_time: int = START) -> str:
    _, clock, _ = ask(s.api, "POST", "/v1/test_helpers/test_clocks", {"frozen_time": frozen_time, "name": "Year"})
    return clock["id"]


def ask_update(s: Simulation, customer: str) -> None:
    assert ask(s.api, "POST", f"/v1/customers/{customer}", {"email": f"{customer}@example.com"})[0] == 200


class TestTestClocks:
    """Clocks that some customers live by."""

    async def test_its_customers_live_by_it(self) -> None:
        inbox = Inbox()
        s = simulation(inbox)
        clock = make_clock(s, START + 100 * DAY)
        mina, noor = make(s, name="Mina", test_clock=clock), make(s, name="Noor")
        assert (mina["created"], noor["created"]) == (START + 100 * DAY, START)
        assert s.account.now(mina["id"]) == START + 100 * DAY
        happened: list[int] = []
        due = START + 110 * DAY
        s.account.clock_of(mina["id"]).at(due, lambda: happened.append(s.account.now(mina["id"])))
        answer = sdk(s.api).v1.test_helpers.test_clocks.advance(clock, {"frozen_time": START + 120 * DAY})
        assert answer.status == "advancing"
        assert answer.status_details.advancing is not None
        assert answer.status_details.advancing.target_frozen_time == START + 120 * DAY
        assert happened == [due]
        now = sdk(s.api).v1.test_helpers.test_clocks.retrieve(clock)
        assert (now.status, now.frozen_time) == ("ready", START + 120 * DAY)
        assert s.account.now() == START
        await s.settle()
        assert [type_ for type_ in inbox.types if "clock" in type_] == [
            "test_helpers.test_clock.created",
            "test_helpers.test_clock.advancing",
            "test_helpers.test_clock.ready",
        ]

    @pytest.mark.parametrize("frozen_time", [START, START - 1])
    def test_it_goes_only_forward(self, frozen_time: int) -> None:
        s = simulation()
        clock = make_clock(s)
        path = f"/v1/test_helpers/test_clocks/{clock}/advance"
        status, body, _ = ask(s.api, "POST", path, {"frozen_time": frozen_time})
        assert (status, body["error"]["param"]) == (400, "frozen_time")
        assert ask(s.api, "GET", f"/v1/test_helpers/test_clocks/{clock}")[1]["status"] == "ready"

    def test_it_goes_with_its_customers(self) -> None:
        s = simulation()
        clock = make_clock(s)
        mina, noor = make(s, name="Mina", test_clock=clock), make(s, name="Noor")
        assert ask(s.api, "DELETE", f"/v1/test_helpers/test_clocks/{clock}")[1]["deleted"] is True
        assert ask(s.api, "GET", f"/v1/test_helpers/test_clocks/{clock}")[0] == 404
        _, listed, _ = ask(s.api, "GET", "/v1/customers")
        assert [row["id"] for row in listed["data"]] == [noor["id"]]
        assert ask(s.api, "POST", f"/v1/customers/{mina['id']}", {"name": "Gone"})[0] == 404

    async def test_it_ends_by_itself_after_thirty_days(self) -> None:
        s = simulation()
        clock = make_clock(s)
        await s.advance(START + 30 * DAY - 1)
        assert len(s.account.store.all("test_helpers.test_clock")) == 1
        await s.advance(START + 30 * DAY)
        assert s.account.store.get("test_helpers.test_clock", clock) is None

    def test_they_are_listed_newest_first(self) -> None:
        s = simulation()
        made = [make_clock(s) for _ in range(3)]
        _, listed, _ = ask(s.api, "GET", "/v1/test_helpers/test_clocks")
        assert [row["id"] for row in listed["data"]] == made[::-1]


class TestEvents:
    """What the events list tells."""

    async def test_only_the_last_thirty_days(self) -> None:
        s = simulation()
        make(s, name="Mina")
        (old,) = s.account.events
        await s.advance(START + 30 * DAY)
        make(s, name="Noor")
        assert len(ask(s.api, "GET", "/v1/events")[1]["data"]) == 2
        await s.advance(START + 30 * DAY + 1)
        _, listed, _ = ask(s.api, "GET", "/v1/events")
        assert [row["data"]["object"]["name"] for row in listed["data"]] == ["Noor"]
        assert ask(s.api, "GET", f"/v1/events/{old}")[0] == 404

    def test_types_and_groups_of_types(self) -> None:
        s = simulation()
        mina = make(s, name="Mina")
        ask_update(s, mina["id"])
        make_clock(s)

        def listed(**given: Any) -> list[str]:
            return [row["type"] for row in ask(s.api, "GET", "/v1/events", given)[1]["data"]]

        assert listed() == ["test_helpers.test_clock.created", "customer.updated", "customer.created"]
        assert listed(type="customer.created") == ["customer.created"]
        assert listed(type="customer.*") == ["customer.updated", "customer.created"]
        assert listed(types=["customer.updated", "test_helpers.*"]) == [
            "test_helpers.test_clock.created",
            "customer.updated",
        ]
        assert ask(s.api, "GET", "/v1/events", {"type": "a.b", "types": ["c.d"]})[0] == 400
        assert ask(s.api, "GET", "/v1/events", {"types": ["a.b"] * 21})[0] == 400

    async def test_what_was_not_delivered_is_replayed_oldest_first(self) -> None:
        """As an operator does after an outage: from the last event seen, towards the newest."""
        inbox = Inbox(lambda _got: 500 if len(inbox.got) > 1 else 200)
        s = simulation(inbox)
        for number in range(25):
            make(s, name=f"Customer {number}")
        await s.settle()
        arrived, *missed = s.account.events
        first = sdk(s.api).v1.events.list({"delivery_success": False, "ending_before": arrived, "limit": 10})
        found = list(first.auto_paging_iter())
        assert [event.id for event in found] == missed
        assert {event.pending_webhooks for event in found} == {1}

    def test_an_event_keeps_its_version(self) -> None:
        s = simulation()
        make(s, name="Mina")
        (event,) = s.account.events
        _, shown, _ = ask(s.api, "GET", f"/v1/events/{event}", stripe_version="2020-08-27")
        assert shown["api_version"] == "2026-10-28.endive"
        assert shown["request"]["id"].startswith("req_")
