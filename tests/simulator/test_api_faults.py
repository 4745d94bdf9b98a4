"""The API is busy, breaks or hangs up, as a script says; an idempotency key gets what was done all the same."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from deploy.demo.simulator.faults import read_script
from deploy.demo.simulator.server import serving
from deploy.demo.simulator.simulation import Simulation
from tests.simulator.kit import KEY, START, served

ONCE = {"idempotency-key": "sign-up-1"}


@pytest.fixture
def simulation() -> Simulation:
    return Simulation(7, START)


@pytest.fixture
async def http(simulation: Simulation) -> AsyncGenerator[httpx.AsyncClient]:
    async with serving(simulation) as address, httpx.AsyncClient(base_url=address, auth=(KEY, "")) as client:
        yield client


def follow(s: Simulation, *rules: dict[str, Any]) -> None:
    s.faults.follow(read_script({"api": rules}))


def names(s: Simulation) -> list[str]:
    return [row["name"] for row in s.account.store.all("customer")]


async def test_too_many_requests(simulation: Simulation, http: httpx.AsyncClient) -> None:
    follow(simulation, {"kind": "rate_limit", "nth": [1, 2], "retry_after": 3, "should_retry": True})
    answer = await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)
    assert answer.status_code == 429
    assert (answer.headers["retry-after"], answer.headers["stripe-should-retry"]) == ("3", "true")
    assert answer.json()["error"]["code"] == "rate_limit"
    assert answer.headers["request-id"].startswith("req_")
    assert (await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)).status_code == 429
    assert names(simulation) == []
    assert (await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)).status_code == 200
    assert names(simulation) == ["Mina"]


async def test_a_429_may_come_without_advice(simulation: Simulation, http: httpx.AsyncClient) -> None:
    follow(simulation, {"kind": "rate_limit", "nth": [1]})
    answer = await http.get("/v1/customers")
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers
    assert "stripe-should-retry" not in answer.headers


async def test_a_500_is_kept_under_its_key(simulation: Simulation, http: httpx.AsyncClient) -> None:
    follow(simulation, {"kind": "error", "nth": [1]})
    first = await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)
    again = await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)
    assert (first.status_code, again.status_code) == (500, 500)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert names(simulation) == []
    other = await http.post("/v1/customers", data={"name": "Mina"}, headers={"idempotency-key": "sign-up-2"})
    assert other.status_code == 200


async def test_a_kept_answer_is_given_even_where_the_api_would_break(
    simulation: Simulation, http: httpx.AsyncClient
) -> None:
    first = await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)
    follow(simulation, {"kind": "error", "p": 1})
    again = await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_a_connection_dropped_after_the_work(simulation: Simulation, http: httpx.AsyncClient) -> None:
    follow(simulation, {"kind": "drop_after", "method": "POST", "nth": [1]})
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)
    assert names(simulation) == ["Mina"]
    again = await http.post("/v1/customers", data={"name": "Mina"}, headers=ONCE)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == simulation.account.store.all("customer")[0]["id"]
    assert names(simulation) == ["Mina"]


async def test_a_connection_dropped_before_the_work(simulation: Simulation, http: httpx.AsyncClient) -> None:
    follow(simulation, {"kind": "drop_before", "nth": [1]})
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post("/v1/customers", data={"name": "Mina"})
    assert names(simulation) == []


async def test_no_answer_for_a_while(simulation: Simulation, http: httpx.AsyncClient) -> None:
    follow(simulation, {"kind": "timeout", "nth": [1, 2], "seconds": 0.2})
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post("/v1/customers", data={"name": "Mina"})
    with pytest.raises(httpx.ReadTimeout):
        await http.post("/v1/customers", data={"name": "Mina"}, timeout=0.05)
    assert names(simulation) == []
    assert simulation.faults.counts == {"api_timeout": 2}


async def test_rules_choose_by_path_and_method_and_end(simulation: Simulation, http: httpx.AsyncClient) -> None:
    follow(
        simulation,
        {"kind": "rate_limit", "path": "/v1/customers/*", "p": 1, "times": 2},
        {"kind": "error", "method": "GET", "path": "/v1/events", "nth": [2]},
    )
    made = (await http.post("/v1/customers", data={"name": "Mina"})).json()
    statuses = [(await http.get(f"/v1/customers/{made['id']}")).status_code for _ in range(3)]
    assert statuses == [429, 429, 200]
    assert [(await http.get("/v1/events")).status_code for _ in range(3)] == [200, 500, 200]
    assert (await http.get("/_sim/deliveries")).json()["faults"] == {"api_rate_limit": 2, "api_error": 1}


async def test_chance_hits_the_same_requests_for_the_same_seed(simulation: Simulation, http: httpx.AsyncClient) -> None:
    runs: list[list[int]] = []
    for seed in (1, 1, 2):
        simulation.faults.follow(read_script({"seed": seed, "api": [{"kind": "rate_limit", "p": 0.5}]}))
        runs.append([(await http.get("/v1/events")).status_code for _ in range(30)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert {*runs[0]} == {200, 429}


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx
async def test_the_sdk_goes_on_through_a_dropped_connection(simulation: Simulation) -> None:
    """The SDK repeats with the same key, and finds what it had done."""
    follow(simulation, {"kind": "drop_after", "nth": [1]})
    async with served(simulation, retries=2) as client:
        made = await client.v1.customers.create_async({"name": "Mina"})
    assert names(simulation) == ["Mina"]
    assert made.id == simulation.account.store.all("customer")[0]["id"]
