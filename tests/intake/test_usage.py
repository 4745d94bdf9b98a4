"""What partners report is stored once, with its sums, before it is acknowledged; what is wrong is told, row by row."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from db.tokens import TokenScope
from tests.conftest import MovedClock
from tests.db.test_usage import UNEQUAL
from tests.intake.kit import Client, SpyBell, door, serving
from tests.intake.usage_kit import ADMIN, NOW, ago, details, event, make_key, report, with_token
from worker.settings import Settings

Rows: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def client(settings: Settings, bell: SpyBell, clock: MovedClock) -> AsyncIterator[Client]:
    async with serving(door(with_token(settings), bell, clock=clock)) as made:
        yield made


@pytest.fixture
async def key(engine: AsyncEngine) -> str:
    return (await make_key(engine))[1]


async def stored(rows: Rows) -> int:
    assert await rows.fetch(UNEQUAL) == []
    return await rows.fetchval("SELECT count(*) FROM usage_events")


async def test_one_event_is_stored_before_the_answer(client: Client, key: str, rows: Rows, bell: SpyBell) -> None:
    full = event(
        resource_id="deed_7",
        billable=False,
        cost_units="2.50",
        unit_price_cents=15,
        metadata={"who": "Zoë"},
        occurred_at="2026-03-01T12:30:00.25+01:00",
    )
    answer = await report(client, key, full)
    assert (answer.status, answer.json) == (202, {"accepted": 1, "duplicates": 0})
    assert answer.headers["content-type"] == "application/json"
    row = await rows.fetchrow("SELECT * FROM usage_events")
    assert row is not None
    assert dict(row) | {"id": 0} == {
        "id": 0,
        "idempotency_key": "k1",
        "api_key_prefix": "acme",
        "user_id": None,
        "event_type": "deed.search",
        "resource_id": "deed_7",
        "billable": False,
        "cost_units": Decimal("2.5"),
        "unit_price_cents": 15,
        "metadata": '{"who": "Zoë"}',
        "occurred_at": NOW - timedelta(minutes=29, seconds=59.75),
        "received_at": NOW,
        "source": "api",
    }
    assert bell.rings == []  # there is nothing to do


async def test_defaults_and_both_kinds_of_owner(client: Client, rows: Rows) -> None:
    sent = [
        event("a", user_id=7),
        event("b", user_id="0008", billable=None, cost_units=None, metadata=None),
        event("c", api_key_prefix="zeta", occurred_at=NOW.timestamp() - 1.5),
        event("d", api_key_prefix="zeta", occurred_at=int(NOW.timestamp())),
    ]
    assert (await report(client, ADMIN, sent)).json == {"accepted": 4, "duplicates": 0}
    found = await rows.fetch(
        "SELECT user_id, api_key_prefix, billable, cost_units, occurred_at FROM usage_events ORDER BY idempotency_key"
    )
    assert [tuple(row) for row in found] == [
        (7, None, True, 1, NOW),
        (8, None, True, 1, NOW),
        (None, "zeta", True, 1, NOW - timedelta(seconds=1.5)),
        (None, "zeta", True, 1, NOW),
    ]


async def test_the_same_again_is_a_duplicate_also_within_a_request(
    client: Client, key: str, rows: Rows, clock: MovedClock
) -> None:
    """As it was sent: what is dated by its receipt is the same a minute later."""
    first = [event("a"), event("b", cost_units=1.5), event("a")]
    assert (await report(client, key, first)).json == {"accepted": 2, "duplicates": 1}
    clock.move(timedelta(minutes=1))
    again = [event("b", cost_units="1.50", billable=True), event("c"), event("a", api_key_prefix="acme")]
    assert (await report(client, key, again)).json == {"accepted": 1, "duplicates": 2}
    assert (await report(client, key, event("c"))).json == {"accepted": 0, "duplicates": 1}
    assert await stored(rows) == 3
    assert await rows.fetchval("SELECT array_agg(DISTINCT occurred_at) FROM usage_events") == [NOW, clock.now()]


async def test_the_same_key_with_other_content_is_told_and_nothing_is_stored(
    client: Client, key: str, rows: Rows
) -> None:
    assert (await report(client, key, event("a"))).status == 202
    answer = await report(client, key, [event("b"), event("a", cost_units=2), event("c"), event("a", billable=False)])
    assert answer.status == 422
    assert details(answer) == [(3, "idempotency_key", "a")]  # the request contradicts itself already
    answer = await report(client, key, [event("b"), event("a", cost_units=2), event("c"), event("b")])
    assert (answer.status, details(answer)) == (422, [(1, "idempotency_key", "a")])
    assert "other content" in answer.json["detail"][0]["msg"]
    answer = await report(client, key, [event("b"), event("b", metadata={"x": 1}), event("b", resource_id="r")])
    assert (answer.status, details(answer)) == (422, [(1, "idempotency_key", "b"), (2, "idempotency_key", "b")])
    assert await stored(rows) == 1


async def test_a_key_is_its_owners_own(client: Client, engine: AsyncEngine, rows: Rows) -> None:
    """Two partners that number their requests from 1 are not in each other's way, and learn nothing of each other."""
    _, acme = await make_key(engine, "acme")
    _, zeta = await make_key(engine, "zeta")
    assert (await report(client, acme, event("1"))).json == {"accepted": 1, "duplicates": 0}
    assert (await report(client, zeta, event("1", cost_units=9))).json == {"accepted": 1, "duplicates": 0}
    assert (await report(client, ADMIN, event("1", user_id=1))).json == {"accepted": 1, "duplicates": 0}
    assert (await report(client, ADMIN, event("1", api_key_prefix="acme"))).json == {"accepted": 0, "duplicates": 1}
    assert (await report(client, ADMIN, event("1", api_key_prefix="zeta"))).status == 422
    assert await stored(rows) == 3


BAD: list[tuple[str, Any]] = [
    ("idempotency_key", {"idempotency_key": ""}),
    ("idempotency_key", {"idempotency_key": " "}),
    ("idempotency_key", {"idempotency_key": "\u2003\t\n"}),
    ("event_type", {"event_type": " "}),
    ("event_type", {"event_type": "\u00a0 \u2003"}),
    ("idempotency_key", {"idempotency_key": "x" * 256}),
    ("idempotency_key", {"idempotency_key": 5}),
    ("idempotency_key", {"idempotency_key": "a\0b"}),
    ("idempotency_key", {"idempotency_key": "\ud800"}),
    ("event_type", {"event_type": None}),
    ("event_type", {"event_type": ""}),
    ("event_type", {"event_type": "a\nb"}),
    ("event_type", {"event_type": "x" * 256}),
    ("user_id", {"user_id": 5}),
    ("user_id", {"user_id": 2**63}),
    ("user_id", {"user_id": True}),
    ("api_key_prefix", {"api_key_prefix": "zeta"}),
    ("api_key_prefix", {"api_key_prefix": "_a"}),
    ("resource_id", {"resource_id": 5}),
    ("resource_id", {"resource_id": "\udfff"}),
    ("billable", {"billable": "true"}),
    ("billable", {"billable": 1}),
    ("cost_units", {"cost_units": -1}),
    ("cost_units", {"cost_units": "1.0000001"}),
    ("cost_units", {"cost_units": "1000000000000.000001"}),
    ("cost_units", {"cost_units": "1e400000"}),
    ("cost_units", {"cost_units": "NaN"}),
    ("cost_units", {"cost_units": "many"}),
    ("cost_units", {"cost_units": True}),
    ("unit_price_cents", {"unit_price_cents": 1.5}),
    ("unit_price_cents", {"unit_price_cents": -1}),
    ("unit_price_cents", {"unit_price_cents": "5"}),
    ("metadata", {"metadata": []}),
    ("metadata", {"metadata": {"x": "y" * 4096}}),
    ("metadata", {"metadata": {"x": ["a\0"]}}),
    ("metadata", {"metadata": {"\ud800": 1}}),
    ("occurred_at", {"occurred_at": "2026-03-01T12:00:00"}),
    ("occurred_at", {"occurred_at": "2026-03-01"}),
    ("occurred_at", {"occurred_at": "yesterday"}),
    ("occurred_at", {"occurred_at": True}),
    ("occurred_at", {"occurred_at": NOW.timestamp() * 1000}),
    ("occurred_at", {"occurred_at": -1e30}),
    ("occurred_at", {"occurred_at": ago(minutes=-5.1)}),
    ("occurred_at", {"occurred_at": ago(days=35, seconds=1)}),
    ("cost_unit", {"cost_unit": 5}),
]


@pytest.mark.parametrize(("field", "change"), BAD, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_bad_field_is_named(client: Client, key: str, rows: Rows, field: str, change: dict[str, Any]) -> None:
    answer = await report(client, key, [event("good"), {**event(), **change}])
    assert answer.status == 422
    assert [place[:2] for place in details(answer)] == [(1, field)]
    assert answer.json["detail"][0]["msg"]
    assert await rows.fetchval("SELECT count(*) FROM usage_events") == 0


async def test_every_bad_row_is_told_with_all_its_fields(client: Client, key: str, rows: Rows) -> None:
    sent: list[Any] = [
        event("good"),
        event("one", cost_units=-1),
        {"cost_units": [], "event_type": "a", "resource": 1},
        7,
        event("three", occurred_at=ago(days=40)),
    ]
    answer = await report(client, key, sent)
    assert (answer.status, sorted(details(answer), key=str)) == (
        422,
        sorted(
            [
                (1, "cost_units", "one"),
                (2, "resource", None),
                (2, "idempotency_key", None),
                (2, "cost_units", None),
                (3, None, None),
                (4, "occurred_at", "three"),
            ],
            key=str,
        ),
    )
    assert "did you mean resource_id?" in str(answer.json)
    semantic = [event("a", cost_units=-1), event("b"), event("c", user_id=1)]
    assert details(await report(client, key, semantic)) == [(0, "cost_units", "a"), (2, "user_id", "c")]
    for owner in ({}, {"user_id": 1, "api_key_prefix": "acme"}):
        answer = await report(client, ADMIN, event("x", **owner))
        assert (answer.status, len(answer.json["detail"])) == (422, 1)
    assert await rows.fetchval("SELECT count(*) FROM usage_events") == 0


async def test_late_and_future_are_measured_from_now(client: Client, key: str, clock: MovedClock) -> None:
    edge = event("edge", occurred_at=ago(days=35))
    assert (await report(client, key, edge)).status == 202
    assert (await report(client, key, event("ahead", occurred_at=ago(minutes=-5)))).status == 202
    clock.move(timedelta(microseconds=1))
    assert details(await report(client, key, {**edge, "idempotency_key": "e2"})) == [(0, "occurred_at", "e2")]
    ahead = event("a2", occurred_at=ago(minutes=-6))
    assert (await report(client, key, ahead)).status == 422
    clock.move(timedelta(minutes=1))
    assert (await report(client, key, ahead)).status == 202


async def test_the_limit_of_lateness_is_configured(
    settings: Settings, bell: SpyBell, clock: MovedClock, key: str
) -> None:
    patient = settings.model_copy(update={"billing_usage_late_days": 400})
    async with serving(door(patient, bell, clock=clock)) as client:
        assert (await report(client, key, event(occurred_at=ago(days=399)))).status == 202
        answer = await report(client, key, event("k2", occurred_at=ago(days=401)))
        assert "400 days" in answer.json["detail"][0]["msg"]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"NaN", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, 400),
        (b"null", 422),
        (b'"text"', 422),
        (b"[null]", 422),
        (json.dumps(event(metadata={"a": 1})).replace("1}", '{"a":' * 900 + "1" + "}" * 901).encode(), 422),
        (json.dumps(event(metadata={"a": 1})).replace("1}", "1e400}").encode(), 422),
        (json.dumps([event(str(n)) for n in range(1001)]).encode(), 422),
    ],
)
async def test_what_is_no_report_is_refused_cleanly(
    client: Client, key: str, rows: Rows, raw: bytes, status: int
) -> None:
    answer = await report(client, key, raw)
    assert (answer.status, bool(answer.json["detail"])) == (status, True)
    assert await rows.fetchval("SELECT count(*) FROM usage_events") == 0


async def test_a_thousand_rows_and_none(client: Client, key: str, rows: Rows) -> None:
    many = [event(str(number), occurred_at=ago(hours=number % 300)) for number in range(1000)]
    assert (await report(client, key, many)).json == {"accepted": 1000, "duplicates": 0}
    assert (await report(client, key, [*many[:999], event("new")])).json == {"accepted": 1, "duplicates": 999}
    assert (await report(client, key, [])).json == {"accepted": 0, "duplicates": 0}
    assert await stored(rows) == 1001


NOTHING = object()


@hypothesis_settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    raw=st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from([*event(), "user_id", "resource_id", "cost_units", "metadata", "occurred_at", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
            max_leaves=6,
        ),
    ).map(lambda change: json.dumps([{**event(), **change}]).encode())
)
async def test_whatever_comes_is_stored_or_refused_cleanly(client: Client, key: str, raw: bytes) -> None:
    answer = await report(client, key, raw)
    assert answer.status in {202, 400, 422}
    assert answer.json


async def test_twenty_at_once_with_one_key_are_one_event(client: Client, key: str, rows: Rows) -> None:
    answers = await asyncio.gather(*[report(client, key, event("same")) for _ in range(20)])
    assert [answer.status for answer in answers] == [202] * 20
    assert sum(answer.json["accepted"] for answer in answers) == 1
    assert sum(answer.json["duplicates"] for answer in answers) == 19
    others = await asyncio.gather(*[report(client, key, event("other", cost_units=n)) for n in range(20)])
    assert sorted(answer.status for answer in others) == [202] + [422] * 19
    assert await stored(rows) == 2


async def test_one_bad_request_harms_none_that_came_with_it(client: Client, key: str, rows: Rows) -> None:
    """A constraint that one of a batch breaks, and one that clashes: the neighbours are stored."""
    await report(client, key, event("taken"))
    await rows.execute("ALTER TABLE usage_events ADD CONSTRAINT no_seven CHECK (idempotency_key <> '7')")
    await rows.execute("BEGIN; LOCK TABLE usage_keys")
    waiting = [asyncio.create_task(report(client, key, event(str(number)))) for number in range(20)]
    waiting.append(asyncio.create_task(report(client, key, event("taken", cost_units=2))))
    await asyncio.sleep(0.2)  # so that they share batches; the outcome does not depend on it
    await rows.execute("COMMIT")
    statuses = [(await one).status for one in waiting]
    assert [(number, status) for number, status in enumerate(statuses) if status != 202] == [(7, 503), (20, 422)]
    assert await stored(rows) == 20


async def test_who_shows_no_key_that_fits_is_turned_away(
    client: Client, engine: AsyncEngine, rows: Rows, clock: MovedClock
) -> None:
    id_, key = await make_key(engine, expires_at=NOW + timedelta(hours=1))
    _, reads = await make_key(engine, "acme", TokenScope.READ)
    assert (await report(client, key, event())).status == 202
    for shown in (None, "", "acme", key[:-1], key[:-1] + ("A" if key[-1] != "A" else "B"), ADMIN + "x", "x" * 5000):
        answer = await report(client, shown, event("stranger"))
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json["detail"]
    basic = await client.request("POST", "/usage/events", b"{}", {"authorization": b"Basic " + key.encode()})
    assert basic.status == 401
    refused = await report(client, reads, event("reader"))
    assert (refused.status, "usage:write" in refused.headers["www-authenticate"]) == (403, True)
    clock.move(timedelta(hours=1))
    expired = await report(client, key, event("late"))
    assert (expired.status, expired.json) == (401, {"detail": "this key is expired"})
    assert await stored(rows) == 1
    deadline = asyncio.get_running_loop().time() + 10
    while await rows.fetchval("SELECT last_used_at FROM api_tokens WHERE id = $1", id_) != NOW:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_a_revoked_key_is_let_in_for_five_seconds_at_most(client: Client, key: str, rows: Rows) -> None:
    assert (await report(client, key, event("first"))).status == 202
    await rows.execute("UPDATE api_tokens SET revoked_at = now()")
    loop = asyncio.get_running_loop()
    revoked_at = loop.time()
    number = 0
    while (answer := await report(client, key, event(f"k{number}"))).status == 202:
        number += 1
        assert loop.time() - revoked_at < 6
        await asyncio.sleep(0.1)
    assert (answer.status, answer.json) == (401, {"detail": "this key is revoked"})


async def test_the_door_holds_only_the_hash_of_the_admin_token(
    settings: Settings, bell: SpyBell, clock: MovedClock
) -> None:
    known = with_token(settings).admin_sha256
    assert known is not None
    hashed = settings.model_copy(update={"billing_admin_token_sha256": known.hex()})
    for there, status in ((hashed, 202), (settings, 401)):
        async with serving(door(there, bell, clock=clock)) as client:
            assert (await report(client, ADMIN, event(user_id=1))).status == status


async def test_what_bounds_a_request(client: Client, key: str) -> None:
    padded = json.dumps(event()).encode().ljust(1024 * 1024)
    assert (await report(client, key, padded)).status == 202
    assert (await report(client, key, padded + b" ")).status == 413
    zipped = await report(client, key, b"\x1f\x8b", **{"content-encoding": b"gzip"})
    assert (zipped.status, zipped.headers["accept-encoding"]) == (415, "identity")
    for method in ("GET", "PUT", "DELETE"):
        answer = await client.request(method, "/usage/events")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_what_comes_is_counted(client: Client, key: str) -> None:
    names = ("accepted", "duplicate", "refused")

    def counts() -> list[float]:
        return [REGISTRY.get_sample_value("billing_usage_events_total", {"outcome": name}) or 0 for name in names]

    before = counts()
    await report(client, key, [event("a"), event("b"), event("a")])
    await report(client, key, [event("c"), event("d", cost_units=-1)])
    await report(client, key, [event("a", cost_units=5)])
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [2, 1, 3]
    assert REGISTRY.get_sample_value("billing_usage_requests_total", {"outcome": "bad_rows"})


async def test_openapi_tells_of_it(client: Client) -> None:
    paths = (await client.get("/openapi.json")).json["paths"]
    assert set(paths["/usage/events"]["post"]["responses"]) >= {"202", "401", "403", "413", "422", "429", "503"}
