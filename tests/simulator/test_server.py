"""The simulator stands at an address: its API as the SDK asks it, its controls, its page, its process."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import stripe

from deploy.demo.simulator.control import known
from deploy.demo.simulator.server import BIGGEST, serving
from deploy.demo.simulator.simulation import Simulation
from tests.simulator.kit import KEY, START, served
from tests.simulator.receiver import Inbox, receiving

ROOT = Path(__file__).parents[2]
HOOK = "http://127.0.0.1:9/hook"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def simulation(inbox: Inbox) -> Simulation:
    made = Simulation(7, START, post=inbox, concurrency=1)
    made.endpoint(HOOK, secret="whsec_first")
    return made


@pytest.fixture
async def http(simulation: Simulation) -> AsyncGenerator[httpx.AsyncClient]:
    async with serving(simulation) as address, httpx.AsyncClient(base_url=address, auth=(KEY, "")) as client:
        yield client


async def accepted(s: Simulation, count: int) -> None:
    """Wait until so many deliveries are accepted."""
    async with asyncio.timeout(10):
        while s.deliveries.counts["accepted"] < count:  # noqa: ASYNC110 - a delivery tells nobody of its end
            await asyncio.sleep(0.001)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx
async def test_the_official_sdk_finds_its_stripe(simulation: Simulation) -> None:
    async with served(simulation) as client:
        made = await client.v1.customers.create_async({"name": "Zoë Ōkami", "metadata": {"plan": "team"}})
        found = await client.v1.customers.retrieve_async(made.id)
        assert found.metadata is not None
        assert (found.name, found.metadata["plan"]) == ("Zoë Ōkami", "team")
        with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_none'"):
            await client.v1.customers.retrieve_async("cus_none")


async def test_what_happens_is_delivered_by_itself(
    simulation: Simulation, inbox: Inbox, http: httpx.AsyncClient
) -> None:
    await http.post("/v1/customers", data={"name": "Mina"})
    await accepted(simulation, 1)
    assert inbox.types == ["customer.created"]


async def test_a_receiver_may_ask_while_it_is_told(simulation: Simulation) -> None:
    """The clock moves, a webhook comes, and its receiver calls the API before it answers."""
    seen: list[str] = []

    async def receiver(url: str, body: bytes, headers: dict[str, str]) -> int:
        event = msgspec.json.decode(body)
        answer = await http.get(f"/v1/customers/{event['data']['object']['id']}")
        seen.append(answer.json()["name"])
        return 200

    s = Simulation(7, START, post=receiver)
    s.endpoint(HOOK)
    async with serving(s) as address, httpx.AsyncClient(base_url=address, auth=(KEY, "")) as http:
        await http.post("/v1/customers", data={"name": "Mina"})
        assert (await http.post("/_sim/clock", data={"by": 60})).json()["now"] == START + 60
    assert seen == ["Mina"]


async def test_the_clock_is_read_and_moved(http: httpx.AsyncClient) -> None:
    assert (await http.get("/_sim/clock")).json() == {"now": START, "start": START, "next_due": None}
    assert (await http.post("/_sim/clock", data={"by": "3600"})).json()["now"] == START + 3600
    assert (await http.post("/_sim/clock", json={"to": START + 7200, "wait": False})).json()["now"] == START + 7200
    back = await http.post("/_sim/clock", data={"to": START})
    assert (back.status_code, back.json()["error"]["param"]) == (400, "to")
    for wrong in ({}, {"to": START + 9000, "by": 1}, {"by": -1}, {"by": "an hour"}, {"until": 1}):
        assert (await http.post("/_sim/clock", data=wrong)).status_code == 400
    assert (await http.get("/_sim/clock")).json()["now"] == START + 7200


async def test_a_flush_delivers_what_is_late(simulation: Simulation, inbox: Inbox, http: httpx.AsyncClient) -> None:
    answer = await http.post("/_sim/faults", json={"webhooks": {"delay": {"p": 1}}})
    assert answer.json()["webhooks"]["delay"] == {"p": 1, "up_to": 259200}
    await http.post("/v1/customers", data={"name": "Mina"})
    assert (await http.get("/_sim/deliveries")).json()["pending"] == 1
    told = (await http.post("/_sim/flush")).json()
    assert told["pending"] == told["undelivered_events"] == 0
    assert told["faults"] == {"delayed": 1}
    assert told["counts"] == {"events": 1, "accepted": 1}
    assert inbox.types == ["customer.created"]


async def test_a_flush_that_cannot_end_says_so(inbox: Inbox, http: httpx.AsyncClient) -> None:
    inbox.answers = lambda _got: 500
    await http.post("/v1/customers", data={"name": "Mina"})
    answer = await http.post("/_sim/flush", data={"patience": "0.05"})
    assert answer.status_code == 504
    assert "1 deliveries are not accepted" in answer.json()["error"]["message"]


async def test_the_books_hold_everything(simulation: Simulation, http: httpx.AsyncClient) -> None:
    for number in range(3000):
        simulation.account.add({"id": f"cus_{number}", "object": "customer", "created": START, "note": "x" * 500})
    answer = await http.get("/_sim/books")
    assert len(answer.content) > 1024 * 1024
    assert answer.json() == simulation.account.store.kinds()


async def test_settings_are_chosen(simulation: Simulation, http: httpx.AsyncClient) -> None:
    await http.post("/_sim/settings", data={"retries[0]": "60", "retries[1]": "120", "after_retries": "unpaid"})
    assert simulation.account.settings.retries == (60, 120)
    assert simulation.account.settings.after_retries == "unpaid"
    told = (await http.post("/_sim/settings", json={"finalize_after": 10})).json()
    assert (told["finalize_after"], told["retries"]) == (10, [60, 120])
    assert (await http.post("/_sim/settings", data={"after_retries": "pray"})).status_code == 400


async def test_a_secret_is_rolled_and_told(simulation: Simulation, inbox: Inbox, http: httpx.AsyncClient) -> None:
    (endpoint,) = simulation.account.store.all("webhook_endpoint")
    told = (await http.post(f"/_sim/webhook_endpoints/{endpoint['id']}/rotate", data={"overlap": 60})).json()
    await http.post("/v1/customers", data={"name": "Mina"})
    await accepted(simulation, 1)
    assert inbox.got[0].signed_by(told["secret"])
    assert inbox.got[0].signed_by("whsec_first")
    assert (await http.post("/_sim/webhook_endpoints/we_none/rotate")).status_code == 404


async def test_an_event_is_sent_again(simulation: Simulation, inbox: Inbox, http: httpx.AsyncClient) -> None:
    await http.post("/v1/customers", data={"name": "Mina"})
    await accepted(simulation, 1)
    answer = await http.post(f"/_sim/events/{inbox.ids[0]}/resend")
    assert answer.json() == {"id": inbox.ids[0], "endpoints": 1}
    await accepted(simulation, 2)
    assert inbox.ids[0] == inbox.ids[1]
    assert (await http.post("/_sim/events/evt_none/resend")).status_code == 404


async def test_a_wrong_script_is_told_and_not_followed(simulation: Simulation, http: httpx.AsyncClient) -> None:
    before = simulation.faults.script
    answer = await http.post("/_sim/faults", json={"webhooks": {"duplicat": {}}})
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "webhooks.duplicat is not known: did you mean duplicate?",
    )
    assert simulation.faults.script is before
    for text in ("{", "[]"):
        answer = await http.post("/_sim/faults", content=text, headers={"content-type": "application/json"})
        assert answer.status_code == 400


async def test_a_person_sees_what_this_is(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "A simulated Stripe" in answer.text
    assert "Sunday, 01 March 2026, 12:00:00" in answer.text


async def test_an_unknown_address_is_answered_as_stripe_does(http: httpx.AsyncClient) -> None:
    for path in ("/v1/nothing", "/_sim/nothing", "/nothing"):
        answer = await http.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"].startswith("Unrecognized request URL")


async def test_a_body_without_end_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.post("/v1/customers", content=b"x" * (BIGGEST + 1))).status_code == 413


async def test_the_port_is_free_again_after_the_end(simulation: Simulation) -> None:
    async with serving(simulation) as address:
        port = int(address.rsplit(":", 1)[1])
    async with serving(Simulation(7, START), port=port) as again:
        assert again == address
        with pytest.raises(OSError, match="in use"):
            async with serving(Simulation(7, START), port=port):
                pass


def test_every_control_has_an_address() -> None:
    assert ("POST", "/_sim/clock") in known()
    assert ("POST", "/_sim/events/{id}/resend") in known()


class TestProcess:
    """`python -m deploy.demo.simulator`."""

    @staticmethod
    def start(*given: str, **more: Any) -> tuple["subprocess.Popen[str]", str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.demo.simulator", *given],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready http://127.0.0.1:"):
            raise AssertionError(line + process.communicate(timeout=10)[1])
        return process, line.split()[1]

    async def test_it_tells_its_address_delivers_and_stops_when_told(self) -> None:
        async with receiving(lambda _number: OK) as receiver:
            hook = f"{receiver.url},whsec_cli,2024-06-20"
            process, address = self.start("--seed", "7", "--start", "2026-03-01T12:00:00", "--webhook", hook)
            try:
                async with httpx.AsyncClient(base_url=address, auth=(KEY, "")) as http:
                    assert (await http.get("/_sim/clock")).json()["now"] == START
                    await http.post("/v1/customers", data={"name": "Mina"})
                    told = (await http.post("/_sim/flush")).json()
                assert told["counts"]["accepted"] == 1
                body = receiver.requests[0].split(b"\r\n\r\n", 1)[1]
                assert msgspec.json.decode(body)["api_version"] == "2024-06-20"
            finally:
                process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")

    def test_it_goes_with_its_parent(self) -> None:
        process, _ = self.start("--with-parent")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()

    async def test_its_clock_runs_by_itself(self) -> None:
        process, address = self.start("--start", str(START), "--clock", "real", "--speed", "36000")
        try:
            async with httpx.AsyncClient(base_url=address) as http, asyncio.timeout(10):
                while (await http.get("/_sim/clock")).json()["now"] < START + 3600:  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.05)
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")

    async def test_a_port_that_is_taken_is_told(self) -> None:
        async with receiving(lambda _number: OK) as receiver:
            made = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "deploy.demo.simulator", "--port", str(receiver.port),
                cwd=ROOT, stderr=subprocess.PIPE,
            )  # fmt: skip
            _, errors = await asyncio.wait_for(made.communicate(), 20)
        assert made.returncode == 1
        assert errors.decode() == f"127.0.0.1:{receiver.port} cannot be listened on: Address already in use\n"


async def test_answers_are_dated_by_the_simulations_own_clock(simulation: Simulation, http: httpx.AsyncClient) -> None:
    for path in ("/v1/account", "/_sim/clock", "/v1/customers/cus_none"):
        answer = await http.get(path)
        assert answer.headers.get_list("date") == [formatdate(simulation.api.account.now(), usegmt=True)]
    assert (await http.get("/v1/account")).json()["id"].startswith("acct_1")
