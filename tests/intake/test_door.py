"""What Stripe posts is remembered to the byte before it is acknowledged, and nothing else gets in."""

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any, TypeAlias, cast

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from structlog.testing import capture_logs

from intake.signature import sign
from tests.conftest import PAYLOADS
from tests.intake.kit import SECRET, Client, SpyBell, body, door, event, now, serving
from worker.settings import Settings, StripeMode

Rows: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def count(client: Client, outcome: str, type_: str | None = None) -> float:
    """The metric, over all types or of one."""
    text = (await client.get("/metrics")).body.decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "billing_webhooks_total"
        and sample.labels["outcome"] == outcome
        and type_ in (None, sample.labels["type"])
    )


def recorded() -> list[tuple[str, bytes]]:
    """Every recorded payload as an event with an id of its own; events stay as they are but for the id."""
    found: list[tuple[str, bytes]] = []
    for number, path in enumerate(sorted(PAYLOADS.rglob("*.json"))):
        id_ = f"evt_recorded{number:05}"
        value: Any = json.loads(path.read_text())
        if not isinstance(value, dict):
            value = {"all": value}
        recording = cast("dict[str, Any]", value)
        if "type" in recording and "data" in recording:
            raw = path.read_bytes().replace(json.dumps(recording["id"]).encode(), json.dumps(id_).encode(), 1)
        else:
            whole = isinstance(recording.get("object"), dict)
            raw = body(id_=id_, data=recording if whole else {"object": recording})
        found.append((id_, raw))
    return found


@pytest.mark.skipif(not Path(PAYLOADS).is_dir(), reason="the recorded payloads are not here")
async def test_every_recorded_payload_is_kept_to_the_byte(client: Client, rows: Rows, bell: SpyBell) -> None:
    sent = recorded()
    assert len(sent) > 200
    answers = await asyncio.gather(*[client.deliver(raw) for _, raw in sent])
    assert {(answer.status, answer.body) for answer in answers} == {(200, b'{"received":true,"duplicate":false}')}
    stored = await rows.fetch("SELECT id, payload, status, processed_at FROM webhook_events")
    assert {row["id"]: row["payload"] for row in stored} == dict(sent)
    assert {(row["status"], row["processed_at"]) for row in stored} == {("received", None)}
    assert set(bell.rings) == {"events"}
    due = await rows.fetch(
        "SELECT event_id FROM queue q JOIN webhook_events e ON e.id = event_id "
        "WHERE queue = 'events' AND name = type AND due_at = received_at AND q.attempts = 0"
    )
    assert {row["event_id"] for row in due} == {id_ for id_, _ in sent}


async def test_the_columns(client: Client, rows: Rows) -> None:
    before = now()
    raw = body(account="acct_1", livemode=True)
    assert (await client.deliver(raw)).json == {"received": True, "duplicate": False}
    row = await rows.fetchrow("SELECT * FROM webhook_events")
    assert row is not None
    found = dict(row)
    assert found["received_at"].timestamp() == pytest.approx(before, abs=30)
    assert found["created_at"].timestamp() == 1772366400
    assert {name: found[name] for name in ("id", "type", "api_version", "livemode", "account", "object_id")} == {
        "id": "evt_1",
        "type": "invoice.paid",
        "api_version": "2026-10-28.endive",
        "livemode": True,
        "account": "acct_1",
        "object_id": "in_1",
    }
    assert (found["customer_id"], found["payload"]) == ("cus_1", raw)


async def test_a_duplicate_says_so_and_changes_nothing(client: Client, rows: Rows, bell: SpyBell) -> None:
    first = await client.deliver(body())
    again = await client.deliver(body(type_="invoice.voided"))
    assert (first.json["duplicate"], again.json["duplicate"]) == (False, True)
    assert await rows.fetchval("SELECT array_agg(type) FROM webhook_events") == ["invoice.paid"]
    assert await rows.fetchval("SELECT count(*) FROM queue") == 1
    assert bell.rings == ["events"]


async def test_concurrent_duplicates_are_one_event(client: Client, rows: Rows) -> None:
    """Overlapping batches in every order: one row each, one answer each that says it was the first, no deadlock."""
    ids = [f"evt_{number}" for number in range(60)] * 5
    random.Random(7).shuffle(ids)  # noqa: S311 - an order, not a secret
    answers = await asyncio.gather(*[client.deliver(body(id_=id_)) for id_ in ids])
    assert [answer.status for answer in answers] == [200] * 300
    assert sum(not answer.json["duplicate"] for answer in answers) == 60
    assert await rows.fetchval("SELECT count(*) FROM webhook_events") == 60
    assert await rows.fetchval("SELECT count(*) FROM queue") == 60


@pytest.mark.parametrize(
    ("raw", "signature"),
    [
        (body(), None),
        (body(), b"t=1,v1=x"),
        (body(), sign(body(), [b"whsec_other"], at=now())),
        (body() + b" ", sign(body(), [SECRET], at=now())),
        (body(), sign(body(), [SECRET], at=now() - 400)),
        (body(), sign(body(), [SECRET], at=now() + 10_000)),
        (body(), "t=1772366400,v1=é".encode("latin-1")),
        (b"\xff\xfe", b"t=1,v1=x"),
    ],
    ids=["unsigned", "nonsense", "another_secret", "another_body", "too_old", "from_the_future", "latin", "no_utf8"],
)
async def test_a_stranger_learns_nothing(client: Client, rows: Rows, raw: bytes, signature: bytes | None) -> None:
    answer = await client.post(raw, signature)
    assert (answer.status, answer.json) == (400, {"error": "bad request"})
    assert await rows.fetchval("SELECT count(*) FROM webhook_events") == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b"[" * 300_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"\xff\xfe",
        body().replace(b"evt_1", b"\xff"),
        body().replace(b'"id": "evt_1",', b""),
        body().replace(b'"type": "invoice.paid",', b""),
        body(created=10**30),
        body(created=1.5),
        body(id_="evt_" + "1" * 300),
        json.dumps(event() | {"id": 7}).encode(),
        json.dumps(event() | {"object": "v2.core.event"}).encode(),
    ],
)
async def test_signed_but_no_event(client: Client, rows: Rows, raw: bytes) -> None:
    answer = await client.deliver(raw)
    assert (answer.status, answer.json) == (400, {"error": "bad request"})
    assert await rows.fetchval("SELECT count(*) FROM webhook_events") == 0


NOTHING: dict[str, Any] = {"object": {}}


def changed(changes: dict[str, Any]) -> bytes:
    return json.dumps(event() | changes).encode()


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=300)
    | st.dictionaries(
        st.sampled_from(["id", "type", "created", "livemode", "account", "api_version", "data", "object"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just(NOTHING),
    ).map(changed)
)
async def test_whatever_was_signed_is_stored_or_refused_cleanly(client: Client, raw: bytes) -> None:
    assert (await client.deliver(raw)).status in {200, 400}


async def test_u0000_and_lone_surrogates_are_stored(client: Client, rows: Rows) -> None:
    raw = body(type_="customer.updated\0", data={"object": {"id": "cus_\ud800", "name": "Zo\0e \udfff"}})
    assert (await client.deliver(raw)).json == {"received": True, "duplicate": False}
    row = await rows.fetchrow("SELECT type, object_id, payload FROM webhook_events")
    assert row is not None
    assert tuple(row) == ("customer.updated\ufffd", "cus_\ufffd", raw)
    assert await rows.fetchval("SELECT name FROM queue") == "customer.updated\ufffd"


async def test_secrets_can_be_rolled(settings: Settings, bell: SpyBell) -> None:
    rolled = settings.model_copy(update={"stripe_webhook_secret": SecretStr("whsec_new, whsec_old")})
    async with serving(door(rolled, bell)) as client:
        statuses = [
            (await client.deliver(body(id_="evt_old"), b"whsec_old")).status,
            (await client.deliver(body(id_="evt_new"), b"whsec_new")).status,
            (await client.deliver(body(id_="evt_both"), b"whsec_old", b"whsec_new")).status,
            (await client.deliver(body(id_="evt_none"), b"whsec_older")).status,
        ]
    assert statuses == [200, 200, 200, 400]


@pytest.mark.parametrize(
    ("mode", "livemode", "status"),
    [
        (StripeMode.LIVE, True, 200),
        (StripeMode.LIVE, False, 400),
        (StripeMode.TEST, True, 400),
        (StripeMode.TEST, False, 200),
        (StripeMode.ANY, True, 200),
        (StripeMode.ANY, False, 200),
    ],
)
async def test_modes_are_never_mixed(
    settings: Settings, rows: Rows, mode: StripeMode, livemode: bool, status: int  # noqa: FBT001 - a table
) -> None:  # fmt: skip
    async with serving(door(settings.model_copy(update={"stripe_mode": mode}), SpyBell())) as client:
        before = await count(client, "wrong_mode", "invoice.paid")
        assert (await client.deliver(body(livemode=livemode))).status == status
        assert await count(client, "wrong_mode", "invoice.paid") - before == (status == 400)
    assert await rows.fetchval("SELECT count(*) FROM webhook_events") == (status == 200)


async def test_without_a_secret_nothing_is_let_in(settings: Settings, bell: SpyBell, rows: Rows) -> None:
    shut = door(settings.model_copy(update={"stripe_webhook_secret": None}), bell)
    with capture_logs() as logs:
        async with serving(shut) as client:
            answer = await client.deliver(body())
            forged = await client.deliver(body(), b"")
            live = await client.get("/health")
    assert (answer.status, forged.status, live.status) == (503, 503, 200)
    assert "retry-after" in answer.headers
    assert any("STRIPE_WEBHOOK_SECRET is not set" in line["event"] for line in logs)
    assert await rows.fetchval("SELECT count(*) FROM webhook_events") == 0


async def test_413_over_one_mebibyte(client: Client) -> None:
    fits = body(note="x" * (1024 * 1024 - len(body(note=""))))
    assert len(fits) == 1024 * 1024
    assert (await client.deliver(fits)).status == 200
    assert (await client.deliver(fits + b" ")).status == 413
    early = await client.send(b"POST /payments/webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n")
    assert early.status == 413
    chunk = b"%x\r\n%s\r\n" % (65_536, b"x" * 65_536)
    chunked = await client.send(
        b"POST /payments/webhook HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", *[chunk] * 17, b"0\r\n\r\n"
    )
    assert chunked.status == 413


async def test_a_chunked_body_is_whole(client: Client, rows: Rows) -> None:
    raw = body()
    head = b"POST /payments/webhook HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nstripe-signature: %s\r\n\r\n"
    chunks = [b"1\r\n%c\r\n" % byte for byte in raw]
    answer = await client.send(head % sign(raw, [SECRET], at=now()), *chunks, b"0\r\n\r\n")
    assert answer.status == 200
    assert await rows.fetchval("SELECT payload FROM webhook_events") == raw


async def test_a_slow_body_is_cut_and_harms_nobody(settings: Settings, bell: SpyBell) -> None:
    head = b"POST /payments/webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
    async with serving(door(settings, bell, body_timeout=0.3)) as client:
        slow = asyncio.create_task(client.send(head))
        others = [await client.deliver(body(id_=f"evt_{number}")) for number in range(5)]
        assert [answer.status for answer in others] == [200] * 5
        cut = await slow
    assert (cut.status, cut.headers["connection"]) == (408, "close")


async def test_only_post(client: Client) -> None:
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        answer = await client.request(method, "/payments/webhook")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert (await client.request("POST", "/payments/webhooks")).status == 404


async def test_a_client_that_leaves_harms_neither_its_event_nor_the_others(client: Client, rows: Rows) -> None:
    """Requests that vanish in mid-wait: what they sent whole is stored, and their neighbours are answered."""

    async def leave(number: int) -> None:
        raw = body(id_=f"evt_gone{number:02}")
        _reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        head = b"POST /payments/webhook HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\nstripe-signature: %s\r\n\r\n"
        writer.write(head % (len(raw), sign(raw, [SECRET], at=now())) + raw)
        await writer.drain()
        writer.transport.abort()

    await rows.execute("BEGIN; LOCK TABLE webhook_events")  # nobody is answered before all are there
    stay = [asyncio.create_task(client.deliver(body(id_=f"evt_stay{number:02}"))) for number in range(20)]
    await asyncio.gather(*[leave(number) for number in range(20)])
    await rows.execute("COMMIT")
    assert [(await one).status for one in stay] == [200] * 20
    deadline = time.monotonic() + 10
    while await rows.fetchval("SELECT count(*) FROM webhook_events WHERE id LIKE 'evt_stay%'") < 20:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert await rows.fetchval("SELECT (SELECT count(*) FROM queue) = (SELECT count(*) FROM webhook_events)")


async def test_one_bad_row_harms_only_itself(client: Client, rows: Rows) -> None:
    """A constraint that one of a batch breaks: its neighbours are stored, it is answered 503 for Stripe to repeat."""
    await rows.execute("ALTER TABLE webhook_events ADD CONSTRAINT no_seven CHECK (id <> 'evt_7')")
    await rows.execute("BEGIN; LOCK TABLE webhook_events")
    waiting = [asyncio.create_task(client.deliver(body(id_=f"evt_{number}"))) for number in range(20)]
    await asyncio.sleep(0.2)  # so that they share batches; the outcome does not depend on it
    await rows.execute("COMMIT")
    statuses = [(await one).status for one in waiting]
    assert [number for number, status in enumerate(statuses) if status != 200] == [7]
    assert statuses[7] == 503
    await rows.execute("ALTER TABLE webhook_events DROP CONSTRAINT no_seven")
    assert (await client.deliver(body(id_="evt_7"))).json == {"received": True, "duplicate": False}


async def test_every_request_is_counted(client: Client) -> None:
    outcomes = ("accepted", "duplicate", "wrong_signature", "missing_signature", "stale", "future", "not_json")
    before = {outcome: await count(client, outcome) for outcome in outcomes}
    strange = body(id_="evt_strange", type_="Not A Type!")
    await client.deliver(body())
    await client.deliver(body())
    await client.deliver(strange)
    await client.deliver(body(), b"whsec_other")
    await client.post(body(), None)
    await client.deliver(body(), at=now() - 1000)
    await client.deliver(body(), at=now() + 1000)
    await client.deliver(b"{")
    after = {outcome: await count(client, outcome) - before[outcome] for outcome in outcomes}
    assert after == dict.fromkeys(outcomes, 1) | {"accepted": 2}
    assert await count(client, "wrong_signature", "unknown") >= 1
    assert await count(client, "accepted", "other") >= 1
