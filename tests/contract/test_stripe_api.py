"""The adapter against a server that answers as Stripe does: the SDK's habits are held in check."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import stripe
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.worker.kit import World
from worker.adapters.stripe_api import PARKED, StripeSdk, stripe_api, verb
from worker.errors import Refused, Spent, TryLater, Unclear
from worker.settings import Settings
from worker.stripe_budget import StripeBudget

COUPON = {"id": "VIP", "object": "coupon", "percent_off": 12.5, "duration": "forever"}


class Stand:
    """Answers every request with `status`, `headers` and `body`, and notes what was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: object = COUPON
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            self.asked.append(head.decode())
            body = json.dumps(self.body).encode()
            lines = [f"HTTP/1.1 {self.status} x", f"Content-Length: {len(body)}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in self.headers.items()]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            await writer.drain()
            writer.close()
            return


@pytest.fixture
async def stand() -> AsyncIterator[tuple[Stand, StripeSdk]]:
    made = Stand()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield made, StripeSdk("sk_test_123", base=f"http://127.0.0.1:{port}")
    server.close()


async def test_an_object_comes_as_plain_json(stand: tuple[Stand, StripeSdk]) -> None:
    server, api = stand
    answer = await api.retrieve("coupons/VIP", expand=["applies_to"])
    assert isinstance(answer, dict)
    assert not isinstance(answer, stripe.StripeObject)
    assert answer == COUPON
    assert server.asked[0].startswith("GET /v1/coupons/VIP?expand[0]=applies_to HTTP")
    assert "stripe-version: 2026-09-30.endive" in server.asked[0].lower()


async def test_the_newest_date_of_an_answer_is_stripes_present(stand: tuple[Stand, StripeSdk]) -> None:
    server, api = stand
    await api.retrieve("coupons/VIP")
    assert api.told_at is None
    newest = datetime(2026, 11, 21, 17, 0, 7, tzinfo=UTC)
    for date in (
        "Sat, 21 Nov 2026 17:00:07 GMT",
        "Sat, 21 Nov 2026 17:00:06 GMT",
        "no date",
        "Sat, 21 Nov 2026 16:00:00",
    ):
        server.headers = {"Date": date}
        await api.retrieve("coupons/VIP")
        assert api.told_at == newest
    server.status, server.headers = 404, {"Date": "Sat, 21 Nov 2026 18:00:08 +0100", "Stripe-Should-Retry": "false"}
    with pytest.raises(Refused):
        await api.retrieve("coupons/VIP")
    assert api.told_at == newest + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("status", "verb"),
    [(429, TryLater), (503, TryLater), (409, TryLater), (401, Refused), (404, Refused), (400, Refused)],
)
async def test_what_fails_is_one_of_our_verbs(
    stand: tuple[Stand, StripeSdk], status: int, verb: type[Exception]
) -> None:
    server, api = stand
    server.status = status
    server.headers = {"Stripe-Should-Retry": "false"}
    server.body = {"error": {"type": "invalid_request_error", "message": "No such coupon: 'VIP'"}}
    with pytest.raises(verb, match=f"Stripe answered {status} to GET /v1/coupons/VIP: No such coupon"):
        await api.retrieve("coupons/VIP")


KEPT = {"Idempotent-Replayed": "true"}


@pytest.mark.parametrize(
    ("status", "headers", "kind", "verb", "asked"),
    [
        (500, {}, "api_error", Unclear, 1),
        (503, {}, "api_error", Unclear, 3),
        (500, KEPT, "api_error", Spent, 1),
        (503, KEPT, "api_error", Spent, 1),
        (402, KEPT, "card_error", Refused, 1),
        (400, {}, "idempotency_error", Spent, 1),  # the same key, another request
        (409, {}, "idempotency_error", TryLater, 3),  # the same key, at the same time
    ],
)
async def test_a_key_that_only_repeats_a_failure_is_spent(
    stand: tuple[Stand, StripeSdk],
    *,
    status: int,
    headers: dict[str, str],
    kind: str,
    verb: type[Exception],
    asked: int,
) -> None:
    server, api = stand
    server.status, server.headers, server.body = status, headers, {"error": {"type": kind, "message": "no"}}
    with pytest.raises(verb, match=f"Stripe answered {status} to POST /v1/coupons: no") as raised:
        await api.act("post", "coupons", idempotency_key="one")
    assert type(raised.value) is verb
    assert len(server.asked) == asked, "what would only be repeated is not asked for at once"


async def test_retry_after_is_honoured_though_the_sdk_ignores_it(stand: tuple[Stand, StripeSdk]) -> None:
    server, api = stand
    server.status = 429
    server.headers = {"Retry-After": "17"}
    server.body = {"error": {"type": "rate_limit_error", "message": "slow down"}}
    with pytest.raises(TryLater) as raised:
        await api.retrieve("coupons/VIP")
    assert raised.value.after == timedelta(seconds=17)
    assert len(server.asked) == 1


async def test_a_list_comes_as_the_bytes_that_were_sent(stand: tuple[Stand, StripeSdk]) -> None:
    server, api = stand
    server.body = {"object": "list", "data": [{"id": "evt_\U0001f600"}], "has_more": False}
    found = await api.read("events", limit=100, created={"gte": 5, "lt": 9}, stripe_account="acct_7")
    assert found == json.dumps(server.body).encode()
    asked = server.asked[0].lower()
    assert asked.startswith("get /v1/events?limit=100&created[gte]=5&created[lt]=9 http")
    assert "stripe-account: acct_7" in asked
    assert "stripe-version: 2026-09-30.endive" in asked
    assert await api.retrieve("coupons/VIP") == server.body, "the next answer is the SDK's again"


@pytest.mark.parametrize(("status", "verb"), [(429, TryLater), (500, TryLater), (401, Refused), (400, Refused)])
async def test_a_list_fails_by_the_same_verbs_and_is_repeated_by_who_reads_it(
    stand: tuple[Stand, StripeSdk], status: int, verb: type[Exception]
) -> None:
    server, api = stand
    server.status, server.body = status, {"error": {"type": "api_error", "message": "no"}}
    with pytest.raises(verb, match=f"Stripe answered {status} to GET /v1/events: no"):
        await api.read("events")
    assert len(server.asked) == 1


class Noted(StripeBudget):
    """Notes who took a turn, and which pauses Stripe wanted; grants so many."""

    def __init__(self, grants: int = 10) -> None:
        super().__init__(None, 100)
        self.grants = grants
        self.turns: list[bool] = []
        self.pauses: list[timedelta] = []

    async def take(self, *, bulk: bool = False) -> None:
        if len(self.turns) == self.grants:
            raise TryLater("too many", after=timedelta(seconds=3))
        self.turns.append(bulk)

    async def pause(self, wanted: timedelta) -> None:
        self.pauses.append(wanted)


async def budgeted(stand: Stand, budget: StripeBudget) -> tuple[asyncio.Server, StripeSdk]:
    server = await asyncio.start_server(stand.serve, "127.0.0.1", 0)
    return server, StripeSdk("sk_test_1", base=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", budget=budget)


async def test_each_request_takes_its_turn() -> None:
    budget, made = Noted(grants=2), Stand()
    server, api = await budgeted(made, budget)
    await api.retrieve("coupons/VIP")
    await api.read("coupons")
    assert budget.turns == [False, True]
    with pytest.raises(TryLater, match="too many") as raised:
        await api.act("delete", "coupons/VIP", idempotency_key="one")
    assert not isinstance(raised.value, Unclear), "it was never sent"
    assert len(made.asked) == 2
    await api.close()
    server.close()


@pytest.mark.parametrize(
    ("status", "headers", "pauses"),
    [
        (429, {"Retry-After": "17"}, [17]),
        (429, {"Stripe-Rate-Limited-Reason": "global-rate"}, [1]),
        (429, {"Stripe-Rate-Limited-Reason": "endpoint-rate", "Retry-After": "2"}, [2]),
        (429, {"Stripe-Rate-Limited-Reason": "resource-specific", "Retry-After": "2"}, []),
        (429, {}, []),  # a lock on one object
        (503, {"Retry-After": "5"}, [5]),
        (503, {}, []),
        (500, {"Retry-After": "5"}, []),
    ],
)
async def test_a_limit_of_stripes_is_told_to_all(status: int, headers: dict[str, str], pauses: list[int]) -> None:
    budget, made = Noted(), Stand()
    made.status, made.headers = status, headers | {"Stripe-Should-Retry": "false"}
    made.body = {"error": {"type": "api_error", "message": "slow down"}}
    server, api = await budgeted(made, budget)
    for ask in (api.retrieve, api.read):
        with pytest.raises(TryLater):
            await ask("coupons")
    assert budget.pauses == [timedelta(seconds=seconds) for seconds in pauses] * 2
    await api.close()
    server.close()


async def test_what_was_sent_and_finds_no_second_turn_stays_unclear() -> None:
    api = StripeSdk("sk_test_123", base="http://127.0.0.1:9", budget=Noted(grants=1))
    with pytest.raises(Unclear, match="answered nothing"):
        await api.act("delete", "coupons/VIP", idempotency_key="one")
    await api.close()


async def test_nothing_listening_is_tried_later() -> None:
    with pytest.raises(TryLater, match="answered nothing"):
        await StripeSdk("sk_test_123", base="http://127.0.0.1:9").retrieve("coupons/VIP")


async def test_the_network_is_never_touched_inside_a_transaction(engine: AsyncEngine, database_url: str) -> None:
    async with World(engine, database_url).deps.tx():
        with pytest.raises(RuntimeError, match="inside an open transaction"):
            await StripeSdk("sk_test_123", base="http://127.0.0.1:9").retrieve("coupons/VIP")


async def test_without_a_key_it_says_so() -> None:
    with pytest.raises(Refused, match="STRIPE_SECRET_KEY is not set") as raised:
        await stripe_api(Settings()).retrieve("coupons/VIP")
    assert PARKED in raised.value.reason
    with pytest.raises(Refused, match="STRIPE_SECRET_KEY is not set"):
        await stripe_api(Settings()).read("coupons")
    with_key = stripe_api(Settings(stripe_secret_key=SecretStr("sk_test_1")))
    assert isinstance(with_key, StripeSdk)


def test_what_postgresql_cannot_hold_is_left_out_of_a_reason() -> None:
    error = stripe.AuthenticationError("a bad\x00key \ud800", http_status=401)
    assert verb(error, "events").reason.startswith("Stripe answered 401 to GET /v1/events: a bad key ?.")


def test_a_key_that_stripe_does_not_know_is_told_with_its_variable_and_where_there_is_one() -> None:
    error = stripe.AuthenticationError("Invalid API Key provided: banana", http_status=401)
    told = verb(error, "events")
    assert isinstance(told, Refused)
    for part in (
        "Invalid API Key provided: banana. ",
        "STRIPE_SECRET_KEY",
        "https://dashboard.stripe.com/apikeys",
        "sk_",
    ):
        assert part in told.reason
    assert "STRIPE_SECRET_KEY" not in verb(stripe.InvalidRequestError("no", None, http_status=404), "events").reason
