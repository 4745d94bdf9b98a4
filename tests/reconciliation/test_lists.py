"""Stripe's lists are read whole, however time is cut, whatever fails meanwhile, and never faster than they are used."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from db.engine import create_engine
from deploy.demo.simulator.api import Api
from deploy.demo.simulator.faults import read_script
from deploy.demo.simulator.server import serving
from deploy.demo.simulator.simulation import Simulation
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.lists import RESTARTS, TRIES, each_page, newest
from tests.conftest import MovedClock
from tests.simulator.kit import KEY, START, ask, new_api
from tests.worker.kit import NoStripe
from worker.adapters.stripe_api import StripeSdk
from worker.deps import Deps
from worker.errors import Refused, TryLater
from worker.ports import StripeApi

PATH = "balance_transactions"
SINCE = datetime.fromtimestamp(START, UTC)
DAY = timedelta(days=1)


class Txn(msgspec.Struct, frozen=True):
    """What these tests read."""

    id: str
    created: int


def deps(stripe: StripeApi, now: datetime = SINCE) -> Deps:
    """No database is asked."""
    return Deps(create_engine("postgresql://nobody@127.0.0.1:9/nothing"), MovedClock(now), stripe)


def put(api: Api, *times: int, name: str = "txn") -> list[str]:
    """Balance transactions created so many seconds after START."""
    made = [f"{name}_{number}" for number in range(len(times))]
    for id_, at in zip(made, times, strict=True):
        row = {"object": "balance_transaction", "id": id_, "created": START + at, "type": "charge", "currency": "usd"}
        api.account.store.add(row)
    return made


class Direct(NoStripe):
    """The simulator without a network; answers take turns as chance has it, and notes are taken."""

    def __init__(self, api: Api, chance: random.Random | None = None) -> None:
        self.api = api
        self.chance = chance
        self.asked: list[dict[str, Any]] = []
        self.before: Callable[[int, dict[str, Any]], None] = lambda _nth, _params: None
        self.under_way = self.most = 0

    async def read(self, path: str, **params: Any) -> bytes:
        self.asked.append(params)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(self.chance.randrange(6) if self.chance else 1):
                await asyncio.sleep(0)
            self.before(len(self.asked), params)
            params.pop("stripe_account", None)
            status, body, _ = ask(self.api, "GET", f"/v1/{path}", params)
        finally:
            self.under_way -= 1
        if status != 200:
            raise Refused(f"Stripe answered {status} to GET /v1/{path}: {body['error']['message']}")
        return msgspec.json.encode(body)

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        return msgspec.json.decode(await self.read(path, **params))


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


async def ids(d: Deps, **options: Any) -> list[str]:
    """The ids of all rows, in the order in which they came."""
    found: list[str] = []
    wanted: dict[str, Any] = {"account": "", "sleep": no_sleep} | options
    async with asyncio.timeout(60), aclosing(each_page(d, PATH, Txn, **wanted)) as pages:
        async for rows in pages:
            assert rows
            found += [row.id for row in rows]
    assert len(asyncio.all_tasks()) == 1, "every task has ended"
    return found


@asynccontextmanager
async def at_an_address(simulation: Simulation) -> AsyncGenerator[Deps]:
    """Over HTTP, as the SDK asks."""
    async with serving(simulation) as address:
        api = StripeSdk(KEY, base=address)
        yield deps(api)
        await api.close()


@pytest.mark.parametrize("spread", [0, 1, 3600])
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 201, 350])
async def test_the_edges_of_pages(count: int, spread: int) -> None:
    simulation = Simulation(7, START)
    wanted = put(simulation.api, *(number * spread for number in range(count)))
    put(simulation.api, -1, 400 * 3600, name="outside")
    found = Counter[str]()
    async with at_an_address(simulation) as d:
        async for rows in each_page(d, PATH, Txn, account="", since=SINCE, until=SINCE + 400 * timedelta(hours=1)):
            found.update(row.id for row in rows)
    assert sorted(found) == sorted(wanted)
    assert set(found.values()) <= {1}


async def test_the_bounds_are_of_whole_seconds_and_half_open() -> None:
    stripe = Direct(new_api())
    put(stripe.api, 0, 1, 2, 3)
    half = timedelta(milliseconds=500)
    assert sorted(await ids(deps(stripe), since=SINCE, until=SINCE + timedelta(seconds=2))) == ["txn_0", "txn_1"]
    assert sorted(await ids(deps(stripe), since=SINCE + half, until=SINCE + half)) == ["txn_0"]
    assert sorted(await ids(deps(stripe), since=SINCE + timedelta(seconds=2))) == ["txn_2", "txn_3"]
    assert sorted(await ids(deps(stripe), until=SINCE + timedelta(seconds=1))) == ["txn_0"]
    assert len(await ids(deps(stripe))) == 4
    assert await ids(deps(stripe), since=SINCE + DAY, until=SINCE) == []
    assert [asked.get("created") for asked in stripe.asked] == [
        {"gte": START, "lt": START + 2},
        {"gte": START, "lt": START + 1},
        {"gte": START + 2},
        {"lt": START + 1},
        None,
    ]


@given(
    times=st.lists(st.integers(0, 400) | st.sampled_from([0, 1, 200, 399]), max_size=120),
    limit=st.integers(1, 12),
    parallel=st.integers(1, 6),
    bounds=st.tuples(st.none() | st.integers(0, 400), st.none() | st.integers(0, 400)),
    seed=st.integers(0, 10**6),
)
@example(times=[7] * 50, limit=3, parallel=4, bounds=(0, 400), seed=0)
def test_slices_read_at_once_give_what_one_reading_gives(
    times: Sequence[int], limit: int, parallel: int, bounds: tuple[int | None, int | None], seed: int
) -> None:
    stripe = Direct(new_api(), random.Random(seed))  # noqa: S311 - a test's chance
    made = put(stripe.api, *times)
    since, until = (None if at is None else SINCE + timedelta(seconds=at) for at in bounds)
    found = asyncio.run(ids(deps(stripe), since=since, until=until, parallel=parallel, limit=limit))
    low, high = (0 if bounds[0] is None else bounds[0]), (401 if bounds[1] is None else bounds[1])
    assert sorted(found) == sorted(id_ for id_, at in zip(made, times, strict=True) if low <= at < high)
    assert stripe.most <= parallel


@given(
    times=st.lists(st.integers(0, 60), min_size=10, max_size=80),
    parallel=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_what_comes_and_goes_meanwhile_does_not_hide_what_stays(times: Sequence[int], parallel: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's chance
    stripe = Direct(new_api(), chance)
    made = put(stripe.api, *times)
    store = stripe.api.account.store
    gone: set[str] = set()

    def meanwhile(nth: int, params: dict[str, Any]) -> None:
        put(stripe.api, chance.randrange(61), name=f"new{nth}")
        row = store.get("balance_transaction", params.get("starting_after", ""))
        if row is not None and chance.random() < 0.3 and len(gone) < RESTARTS:
            store.remove(row)
            gone.add(row["id"])

    stripe.before = meanwhile
    found = asyncio.run(
        ids(
            deps(stripe), since=SINCE, until=SINCE + timedelta(minutes=2), parallel=parallel, limit=chance.randint(4, 9)
        )
    )
    assert set(made) - gone <= set(found)


async def test_a_list_that_goes_on_failing_at_its_cursor_is_given_up() -> None:
    stripe = Direct(new_api())
    put(stripe.api, *[5] * 20)

    def refuse(_nth: int, params: dict[str, Any]) -> None:
        if "starting_after" in params:
            raise Refused("Stripe answered 400: no such object")

    stripe.before = refuse
    with pytest.raises(Refused, match="no such object"):
        await ids(deps(stripe), limit=5)
    assert len(stripe.asked) == 2 * (RESTARTS + 1)


async def test_it_goes_on_from_where_it_was_however_often_the_object_there_is_deleted() -> None:
    stripe = Direct(new_api())
    made = put(stripe.api, *range(40))
    store = stripe.api.account.store
    gone: list[str] = []

    def meanwhile(_nth: int, params: dict[str, Any]) -> None:
        if (row := store.get("balance_transaction", params.get("starting_after", ""))) is not None:
            store.remove(row)
            gone.append(row["id"])

    stripe.before = meanwhile
    found = await ids(deps(stripe), limit=2)
    assert len(gone) > 2 * RESTARTS
    assert sorted(found) == sorted(made), "each was there when it was read"
    assert len(stripe.asked) <= 2 * len(made) / 2 + 2


async def test_a_refused_list_is_refused_at_once() -> None:
    stripe = Direct(new_api())
    with pytest.raises(Refused, match="Stripe answered 400"):
        await ids(deps(stripe), wrong="parameter")
    assert len(stripe.asked) == 1


async def test_slices_are_read_at_once_and_requests_are_not_wasted() -> None:
    stripe = Direct(new_api())
    put(stripe.api, *range(0, 86_400, 40))
    assert len(await ids(deps(stripe), since=SINCE, until=SINCE + DAY, parallel=4)) == 2160
    assert stripe.most == 4
    assert len(stripe.asked) <= 22 + 3 * 10, "22 pages at least; each cut costs no more than a page"
    stripe.asked.clear()
    assert len(await ids(deps(stripe), since=SINCE, until=SINCE + timedelta(hours=1), parallel=4)) == 90
    assert len(stripe.asked) == 1, "what fits into one page is asked once"


async def test_requests_for_a_connected_account_say_so() -> None:
    stripe = Direct(new_api())
    noted: list[object] = []
    stripe.before = lambda _nth, params: noted.append(params.get("stripe_account"))
    put(stripe.api, 1)
    await ids(deps(stripe), account="acct_7")
    await ids(deps(stripe))
    assert noted == ["acct_7", None]


async def test_faults_in_mid_run_are_ridden_out() -> None:
    simulation = Simulation(7, START)
    wanted = put(simulation.api, *range(0, 2000, 2))
    simulation.faults.follow(
        read_script(
            {
                "seed": 5,
                "api": [
                    {"kind": "rate_limit", "path": f"/v1/{PATH}", "nth": [2], "retry_after": 3},
                    {"kind": "error", "path": f"/v1/{PATH}", "p": 0.1},
                    {"kind": "drop_before", "path": f"/v1/{PATH}", "p": 0.1},
                    {"kind": "drop_after", "path": f"/v1/{PATH}", "p": 0.1},
                ],
            }
        )
    )
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    found: list[str] = []
    async with at_an_address(simulation) as d:
        pages = each_page(d, PATH, Txn, account="", since=SINCE, until=SINCE + DAY, sleep=note, limit=20)
        async for rows in pages:
            found += [row.id for row in rows]
    assert sorted(found) == sorted(wanted)
    assert 3.0 in waited, "as Stripe asked"
    assert len(waited) > 5
    assert all(0.5 <= wait <= 30 for wait in waited)


async def test_a_stripe_that_stays_away_is_told_after_some_tries() -> None:
    stripe = Direct(new_api())
    put(stripe.api, *range(10))
    waited: list[float] = []

    def away(nth: int, _params: dict[str, Any]) -> None:
        if nth > 1:
            raise TryLater("Stripe is away")

    async def note(seconds: float) -> None:
        waited.append(seconds)

    stripe.before = away
    taken: list[str] = []

    async def take() -> None:
        async for rows in each_page(deps(stripe), PATH, Txn, account="", parallel=2, limit=5, sleep=note):
            taken.extend(row.id for row in rows)

    with pytest.raises(TryLater, match="Stripe is away"):
        await take()
    assert len(taken) == 5, "what came before is not held back"
    assert len(stripe.asked) == 1 + TRIES
    assert len(waited) == TRIES - 1
    assert all(0.5 * min(30, 2**n) <= wait <= min(30, 2**n) for n, wait in enumerate(waited))


async def test_a_slow_reader_holds_the_fetchers_back() -> None:
    stripe = Direct(new_api())
    put(stripe.api, *range(3000))
    pages = each_page(deps(stripe), PATH, Txn, account="", since=SINCE, until=SINCE + DAY, parallel=3, limit=10)
    await anext(pages)
    for _ in range(500):  # they get every chance to run ahead
        await asyncio.sleep(0)
    assert len(stripe.asked) == 6
    await anext(pages)
    for _ in range(500):
        await asyncio.sleep(0)
    assert len(stripe.asked) == 7
    await pages.aclose()
    assert len(asyncio.all_tasks()) == 1


async def test_a_cancelled_reader_leaves_nobody_behind() -> None:
    stripe = Direct(new_api())
    put(stripe.api, *range(3000))
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(each_page(deps(stripe), PATH, Txn, account="", since=SINCE, limit=10)) as pages:
            async for _ in pages:
                begun.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


class Says(NoStripe):
    """Stripe's API with one answer to every reading."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def read(self, path: str, **params: Any) -> bytes:
        assert path == PATH, params
        return self.body


class Text(msgspec.Struct, frozen=True):
    """An object with a text."""

    id: str
    created: int
    text: str


@pytest.mark.parametrize("odd", [rb"\u0000", rb"\ud800", rb"\udc00 x"])
async def test_what_postgresql_cannot_hold_does_not_hide_a_page(odd: bytes) -> None:
    body = b'{"data": [{"id": "x", "created": 1, "text": "a' + odd + b'b"}], "has_more": false}'
    (rows,) = [rows async for rows in each_page(deps(Says(body)), PATH, Text, account="")]
    assert rows[0].text[:2] == "a\ufffd"


async def test_a_page_that_is_no_json_is_tried_again() -> None:
    with pytest.raises(TryLater, match=r"is no JSON: b.<html>"):
        await ids(deps(Says(b"<html>a proxy's</html>")))
    with pytest.raises(msgspec.ValidationError, match="created"):
        await ids(deps(Says(b'{"data": [{"id": "x"}], "has_more": false}')))
    assert await ids(deps(Says(b'{"data": [], "has_more": true}'))) == []


async def test_as_of_the_newest_event_that_stripe_lists() -> None:
    simulation = Simulation(7, START)
    async with at_an_address(simulation) as d:
        ours = d.clock.now() + timedelta(hours=5)
        nothing = await newest(deps(d.stripe, now=ours), "")
        assert nothing == Stripe("", livemode=False, as_of=SINCE - DAY)  # by the `Date` of Stripe's answers
        ask(simulation.api, "POST", "/v1/customers", {"name": "Ada"})
        assert await newest(deps(d.stripe, now=ours), "") == Stripe("", livemode=False, as_of=SINCE)
