"""The internal API: only the token passes, and it does what the commands do."""

import json
import re
from typing import Any

import httpx
import pytest

from tests.operators.books import Books, leased
from tests.operators.door import TOKEN, Door, door
from worker.settings import Settings

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROTECTED = [
    ("GET", "/admin/status"), ("GET", "/admin/events"), ("GET", "/admin/events/evt_1"), ("GET", "/admin/jobs"),
    ("GET", "/admin/jobs/1"), ("POST", "/admin/events/evt_1/retry"), ("POST", "/admin/events/evt_1/discard"),
    ("POST", "/admin/events/retry"), ("POST", "/admin/jobs/1/retry"), ("POST", "/admin/jobs/1/cancel"),
    ("POST", "/admin/jobs/retry"), ("POST", "/admin/pause"), ("POST", "/admin/resume"),
]  # fmt: skip


WRONG = [
    None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
    "Bearer \u00fc",
]  # fmt: skip


@pytest.mark.parametrize("header", WRONG)
async def test_nobody_passes_without_the_token(admin: Door, books: Books, header: str | None) -> None:
    await books.event("evt_1", "dead")
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    for method, path in PROTECTED:
        answer = await admin.request(method, path, headers=headers, json={} if method == "POST" else None)
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert await books.rows("SELECT 1 FROM queue WHERE dead_reason IS NULL") == []


async def test_every_admin_route_is_protected(admin: Door) -> None:
    paths: dict[str, Any] = (await admin.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        if path.startswith("/admin"):
            for method in methods:
                answer = await admin.request(method.upper(), path.replace("{event_id}", "x").replace("{job_id}", "1"))
                assert answer.status_code == 401, (method, path)


async def test_without_a_configured_token_the_door_is_shut(database_url: str) -> None:
    settings = Settings(database_url=database_url, redis_url="redis://127.0.0.1:1/0")
    async with door(settings) as shut:
        for path in ("/admin/status", "/", "/sign-in", "/events/evt_1"):
            answer = await shut.get(path, headers={"Authorization": "Bearer "})
            assert answer.status_code == 503
            assert "ADMIN_TOKEN is not set" in answer.text
        assert (await shut.post("/sign-in", data={"token": "", "who": "x"})).status_code == 503
        assert (await shut.get("/health")).status_code == 200


async def test_status_and_health(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    told = (await admin.get("/admin/status", headers=BEARER)).json()
    assert told["queues"]["events"]["dead"] == 1
    assert told["events"]["dead"] == 1
    assert told["hints"][0] == "1 dead event: billing events list --status dead"
    assert (await admin.get("/health/ready")).json()["database"]["status"] == "ok"
    assert "billing_" in (await admin.get("/metrics")).text
    assert (await admin.get("/docs")).status_code == 200


async def test_listing_goes_page_by_page(admin: Door, books: Books) -> None:
    for number in range(5):
        await books.event(f"evt_{number}", "dead" if number % 2 else "processed")
    seen: list[str] = []
    after: str | None = None
    while True:
        page = (
            await admin.get("/admin/events", headers=BEARER, params={"limit": 2, **({"after": after} if after else {})})
        ).json()
        seen += [one["id"] for one in page["events"]]
        after = page["next"]
        if after is None:
            break
    assert seen == ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]
    dead = (await admin.get("/admin/events", headers=BEARER, params={"status": "dead", "type": "invoice.*"})).json()
    assert [one["id"] for one in dead["events"]] == ["evt_3", "evt_1"]


async def test_bad_filters_are_422(admin: Door) -> None:
    bad: list[dict[str, Any]] = [
        {"status": "ded"}, {"since": "x"}, {"limit": 0}, {"limit": 5000}, {"colour": "red"}, {"type": "\x00"},
        {"since": "1h", "until": "2h"},
    ]  # fmt: skip
    for params in bad:
        answer = await admin.get("/admin/events", headers=BEARER, params=params)
        assert answer.status_code == 422, params
        assert answer.json()["detail"][0]["msg"]


async def test_one_event_is_retried(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    dry = await admin.post("/admin/events/evt_1/retry", headers=BEARER, json={"dry_run": True})
    assert dry.json() == {"matched": 1, "changed": 0, "ids": [], "dry_run": True}
    headers = {**BEARER, "X-Operator": "ada"}
    done = await admin.post("/admin/events/evt_1/retry", headers=headers, json={"why": "mended"})
    assert done.json() == {"matched": 1, "changed": 1, "ids": ["evt_1"], "dry_run": False}
    (audit,) = await books.rows("SELECT who, action, target, why FROM audit_log")
    assert audit == {"who": "ada", "action": "events.retry", "target": "evt_1", "why": "mended"}
    told = (await admin.get("/admin/events/evt_1", headers=BEARER)).json()
    assert told["status"] == "received"
    assert told["audit"][0]["who"] == "ada"


async def test_what_cannot_be_done(admin: Door, books: Books) -> None:
    await books.event("evt_1", "processed")
    await books.event("evt_2", **leased())
    job = await books.job("done")
    for path, code in (
        ("events/evt_9/retry", 404), ("events/evt_9/discard", 404), ("events/evt_1/retry", 409),
        ("events/evt_2/retry", 409), ("events/evt_1/discard", 409), (f"jobs/{job}/retry", 409),
        (f"jobs/{job}/cancel", 409), ("jobs/999/retry", 404), ("jobs/x/retry", 422),
    ):  # fmt: skip
        answer = await admin.post(f"/admin/{path}", headers=BEARER)
        assert answer.status_code == code, path
        assert answer.json()["detail"]
    assert (await admin.get("/admin/events/evt_9", headers=BEARER)).status_code == 404
    assert (await admin.get("/admin/events/%00", headers=BEARER)).status_code == 422
    assert (await admin.post("/admin/events/evt_1/retry?again=true", headers=BEARER)).json()["changed"] == 1
    assert (await admin.post(f"/admin/jobs/{job}/retry", headers=BEARER, json={"again": True})).json()["changed"] == 1
    assert (await admin.post(f"/admin/jobs/{job}/cancel", headers=BEARER)).json()["changed"] == 1


async def test_bulk_retry_by_a_filter(admin: Door, books: Books) -> None:
    for number in range(3):
        await books.event(f"evt_{number}", "dead", type="invoice.paid" if number else "charge.failed")
    everything = await admin.post("/admin/events/retry", headers=BEARER, json={})
    assert everything.status_code == 422
    body = {"status": "dead", "type": "invoice.*"}
    dry = await admin.post("/admin/events/retry", headers=BEARER, json={**body, "dry_run": True})
    assert dry.json()["matched"] == 2
    done = await admin.post("/admin/events/retry", headers=BEARER, json=body)
    assert done.json()["ids"] == ["evt_1", "evt_2"]
    unknown = await admin.post("/admin/events/retry", headers=BEARER, json={**body, "stauts": "dead"})
    assert unknown.status_code == 422


async def test_discarding(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    answer = await admin.post("/admin/events/evt_1/discard", headers=BEARER, json={"why": "by hand"})
    assert answer.json()["changed"] == 1
    (event,) = await books.rows("SELECT status, last_error FROM webhook_events")
    assert event == {"status": "ignored", "last_error": "discarded by admin API: by hand"}


async def test_pausing(admin: Door, books: Books) -> None:
    body = {"scope": "queue", "target": "mail"}
    paused = {"changed": True, "paused": True, "dry_run": False}
    assert (await admin.post("/admin/pause", headers=BEARER, json={**body, "dry_run": True})).json()["changed"]
    assert await books.rows("SELECT 1 FROM pauses") == []
    assert (await admin.post("/admin/pause", headers=BEARER, json=body)).json() == paused
    assert not (await admin.post("/admin/pause", headers=BEARER, json=body)).json()["changed"]
    assert (await admin.post("/admin/resume", headers=BEARER, json=body)).json()["changed"]
    for wrong in (
        {"scope": "queue", "target": "mial"},
        {"scope": "name", "target": "invoice.*"},
        {"scope": "x", "target": "y"},
    ):
        assert (await admin.post("/admin/pause", headers=BEARER, json=wrong)).status_code == 422


async def test_a_payload_of_any_bytes_can_be_told(admin: Door, books: Books) -> None:
    await books.event("evt_1", payload=b'{"a": "\\ud800", "client_secret": "x", "n": [1, null, 1e999]}')
    await books.event("evt_2", payload=b"\xff\xfe")
    told = await admin.get("/admin/events/evt_1", headers=BEARER)
    assert told.status_code == 200
    assert told.json()["payload"]["a"] == "\ufffd"
    assert told.json()["payload"]["client_secret"] == "[secret]"
    assert (await admin.get("/admin/events/evt_2", headers=BEARER)).status_code == 200


async def test_a_database_that_is_away_is_503() -> None:
    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0", admin_token=TOKEN  # pyright: ignore[reportArgumentType] - pydantic makes it a SecretStr
    )  # fmt: skip
    async with door(settings) as away:
        answer: httpx.Response = await away.get("/admin/status", headers=BEARER)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert json.loads(answer.text) == {"detail": "the database is away; try again in a moment"}
        assert (await away.get("/health/ready")).status_code == 503


ODD = ["mended\x00", "\ud800"]


@pytest.mark.parametrize("why", ODD)
async def test_a_reason_that_is_no_text_is_refused(admin: Door, books: Books, why: str) -> None:
    await books.event("evt_1", "dead")
    job = await books.job("dead")
    headers = {**BEARER, "Content-Type": "application/json"}
    for path, more in (
        ("events/retry", {"status": "dead"}), ("events/evt_1/retry", {}), ("events/evt_1/discard", {}),
        ("jobs/retry", {"status": "dead"}), (f"jobs/{job}/retry", {}), (f"jobs/{job}/cancel", {}),
        ("pause", {"scope": "queue", "target": "mail"}), ("resume", {"scope": "queue", "target": "mail"}),
    ):  # fmt: skip
        answer = await admin.post(f"/admin/{path}", headers=headers, content=json.dumps({**more, "why": why}))
        assert answer.status_code == 422, path
        assert answer.json()["detail"]
    assert await books.rows("SELECT 1 FROM audit_log") == []


@pytest.mark.parametrize(
    "sent",
    [
        '{"\\ud800": 1}',
        '{"status": ["\\ud800"]}',
        '{"status": NaN}',
        '{"status": ' + "[" * 300 + "]" * 300 + "}",
        "[" * 100_000,
        '{"status": "\\ud800"}',
    ],
)
async def test_a_body_that_cannot_be_told_back_is_refused(admin: Door, sent: str) -> None:
    headers = {**BEARER, "Content-Type": "application/json"}
    answer = await admin.post("/admin/events/retry", headers=headers, content=sent)
    assert answer.status_code in {400, 422}
    assert answer.json()["detail"]


@pytest.mark.parametrize("levels", [90, 150, 300, 450, 900, 50_000])
async def test_a_payload_of_any_depth_can_be_told(admin: Door, books: Books, levels: int) -> None:
    payload = '{"client_secret": "hidden", "a": ' + "[" * levels + "7" + "]" * levels + "}"
    await books.event("evt_1", payload=payload.encode())
    told = await admin.get("/admin/events/evt_1", headers=BEARER)
    assert told.status_code == 200
    shown = told.json()["payload"]
    assert isinstance(shown, dict if levels < 100 else str)
    assert "hidden" not in told.text


async def test_a_misspelt_parameter_is_answered_with_nothing_else(admin: Door) -> None:
    """Else `?perod=2026-10` would be answered for another month, and nobody would see it."""
    paths = (await admin.get("/openapi.json")).json()["paths"]
    asked = {
        re.sub(r"\{[^}]+\}", "1", path)
        for path, ways in paths.items()
        if path.startswith("/admin/") and any(one["in"] == "query" for one in ways.get("get", {}).get("parameters", ()))
    }
    assert {"/admin/events", "/admin/partners/1/preview", "/admin/dunning/figures", "/admin/promo-codes"} <= asked
    for path in sorted({*asked, "/admin/verify"}):
        answer = await admin.get(f"{path}?perod=1", headers=BEARER)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "perod"]), path
