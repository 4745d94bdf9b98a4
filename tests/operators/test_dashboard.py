"""The dashboard: people sign in, see what is wrong and mend it; nobody else's page can act for them."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape

from pydantic import SecretStr

from intake.admin.auth import COOKIE, SESSION, Gate
from tests.operators.books import Books, leased
from tests.operators.door import TOKEN, Door

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORM = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


async def sign_in(admin: Door, **fields: str) -> str:
    """Sign in as Ada; returns the token that her forms carry."""
    answer = await admin.post("/sign-in", data={"token": TOKEN, "who": "Ada", **fields})
    assert answer.status_code == 303
    found = FORM.search((await admin.get("/")).text)
    assert found
    return found[1]


async def test_strangers_are_asked_who_they_are(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    for path in ("/", "/events/evt_1", "/jobs", "/jobs/1", "/?status=dead"):
        answer = await admin.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?next=")
    for path in ("/events/evt_1/retry", "/events/retry", "/pause", "/jobs/1/cancel", "/sign-out"):
        assert (await admin.post(path, data={"csrf": "0" * 64})).status_code == 303
    assert await books.rows("SELECT 1 FROM queue WHERE dead_reason IS NULL") == []


async def test_signing_in_opens_a_session_that_scripts_cannot_read(admin: Door) -> None:
    wrong = await admin.post("/sign-in", data={"token": "wrong", "who": "Ada"})
    assert wrong.status_code == 403
    assert "That is not the admin token" in wrong.text
    assert "set-cookie" not in wrong.headers
    right = await admin.post("/sign-in", data={"token": TOKEN, "who": "Ada", "next": "/jobs"})
    assert right.headers["location"] == "/jobs"
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert (await admin.get("/jobs")).status_code == 200


async def test_a_sign_in_leads_nowhere_else(admin: Door) -> None:
    for evil in ("https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "/\t/evil"):
        answer = await admin.post("/sign-in", data={"token": TOKEN, "who": "Ada", "next": evil})
        assert answer.headers["location"] == "/", evil


async def test_signing_out(admin: Door) -> None:
    csrf = await sign_in(admin)
    assert (await admin.post("/sign-out", data={"csrf": csrf})).headers["location"] == "/sign-in"
    assert (await admin.get("/")).status_code == 303


def test_a_cookie_is_ours_whole_and_young() -> None:
    gate = Gate(SecretStr(TOKEN))
    cookie = gate.sign_in("Ada\n Lovelace" + "x" * 100, NOW)
    session = gate.session(cookie, NOW)
    assert session
    assert session.who.startswith("Ada Lovelacex")
    assert len(session.who) == 60
    assert gate.session(cookie, NOW + SESSION) is None
    assert Gate(SecretStr("another")).session(cookie, NOW) is None
    assert Gate(None).session(Gate(None).sign_in("x", NOW), NOW) is None
    packed, _, signature = cookie.partition(".")
    for broken in (
        "",
        ".",
        packed,
        f".{signature}",
        f"{packed}.{signature[:-1]}",
        f"x{cookie}",
        f"{packed}.\u00fc",
        None,
    ):
        assert gate.session(broken, NOW) is None
    assert gate.sign_in("Ada", NOW) != gate.sign_in("Bob", NOW)


async def test_a_form_must_be_our_own(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    job = await books.job("dead")
    await sign_in(admin)
    paths = ("/events/evt_1/retry", "/events/evt_1/discard", "/events/retry", "/pause", f"/jobs/{job}/retry")
    for path in (*paths, f"/jobs/{job}/cancel", "/sign-out"):
        for csrf in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "\u00fc"}):
            answer = await admin.post(path, data={**csrf, "do": "pause", "target": "mail"})
            assert answer.status_code == 403, (path, csrf)
    assert await books.rows("SELECT 1 FROM queue WHERE dead_reason IS NULL") == []
    assert await books.rows("SELECT 1 FROM pauses") == []


async def test_another_sessions_form_does_not_pass(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    stolen = await sign_in(admin, who="Bob")
    admin.cookies.clear()
    await sign_in(admin)
    assert (await admin.post("/events/evt_1/retry", data={"csrf": stolen})).status_code == 403


async def test_the_page_tells_how_the_work_stands(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead", customer_id="cus_1")
    await books.event("evt_2", "processed")
    await books.event("evt_3", **leased())
    await sign_in(admin)
    page = (await admin.get("/")).text
    assert "1 dead event" in page
    assert all(event in page for event in ("evt_1", "evt_2", "evt_3", "running"))
    dead = (await admin.get("/?status=dead")).text
    assert "evt_1" in dead
    assert "evt_2" not in dead
    assert "Retry all dead" in dead
    assert "evt_2" not in (await admin.get("/?q=cus_1")).text
    assert "No event matches" in (await admin.get("/?q=invoice.void*")).text
    assert (await admin.get("/?status=nonsense")).status_code == 422


async def test_every_state_has_its_page(admin: Door, books: Books) -> None:
    fields = {"status": ["open", "paid"], "paid_at": [None, "now"], "n": 3}
    changed = {"table": "invoices", "key": "in_1", "fields": fields}
    for status in ("received", "retrying", "dead", "ignored", "processed"):
        await books.event(f"evt_{status}", status)
    await books.event("evt_held", **leased())
    await books.event("evt_changed", "processed", effects={"changed": [changed, {"table": "users"}]})
    await books.event("evt_late", "processed", effects={"stale": True})
    await books.event("evt_other", "processed", effects={"fetched": 3})
    await sign_in(admin)
    offers = {"dead": "Discard", "processed": "Apply again", "late": "a newer state", "other": "fetched"}
    for name in ("received", "retrying", "dead", "ignored", "processed", "held", "changed", "late", "other"):
        page = await admin.get(f"/events/evt_{name}")
        assert page.status_code == 200, name
        assert offers.get(name, "") in page.text
        assert ("Retry now" in page.text) is (name in ("received", "retrying", "dead", "ignored"))
    for status in ("queued", "retrying", "dead", "done", "cancelled"):
        job = await books.job(status)
        assert (await admin.get(f"/jobs/{job}")).status_code == 200, status


async def test_older_events_are_a_page_away(admin: Door, books: Books) -> None:
    for number in range(51):
        await books.event(f"evt_{number:03}", "processed", received_at=NOW + timedelta(seconds=number))
    await sign_in(admin)
    page = (await admin.get("/")).text
    assert "evt_000" not in page
    link = re.search(r'href="(/\?q=[^"]*after=evt_001)"', page)
    assert link
    older = (await admin.get(unescape(link[1]))).text
    assert "evt_000" in older
    assert "evt_001" not in older


async def test_retrying_and_discarding(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    await books.event("evt_2", "dead")
    await books.event("evt_3", "processed")
    csrf = await sign_in(admin)
    retried = await admin.post("/events/evt_1/retry", data={"csrf": csrf, "why": "mended"})
    assert retried.headers["location"].startswith("/events/evt_1?said=")
    assert "it goes again" in (await admin.get(retried.headers["location"])).text
    await admin.post("/events/evt_2/discard", data={"csrf": csrf, "why": "by hand"})
    refused = await admin.post("/events/evt_3/retry", data={"csrf": csrf})
    assert refused.status_code == 409
    assert "already processed" in refused.text
    await admin.post("/events/evt_3/retry", data={"csrf": csrf, "again": "yes"})
    states = await books.rows("SELECT id, status FROM webhook_events ORDER BY id")
    assert [row["status"] for row in states] == ["received", "ignored", "received"]
    audit = await books.rows("SELECT who, action, target, why FROM audit_log ORDER BY id")
    assert audit == [
        {"who": "Ada (dashboard)", "action": "events.retry", "target": "evt_1", "why": "mended"},
        {"who": "Ada (dashboard)", "action": "events.discard", "target": "evt_2", "why": "by hand"},
        {"who": "Ada (dashboard)", "action": "events.retry", "target": "evt_3", "why": None},
    ]


async def test_all_dead_events_of_a_search_go_again(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    await books.event("evt_2", "dead", type="charge.failed")
    csrf = await sign_in(admin)
    answer = await admin.post("/events/retry", data={"csrf": csrf, "q": "invoice.*"})
    assert "1+of+1+dead+events" in answer.headers["location"]
    rows = await books.rows("SELECT id FROM webhook_events WHERE status = 'received'")
    assert rows == [{"id": "evt_1"}]


async def test_jobs_and_pauses(admin: Door, books: Books) -> None:
    job = await books.job("dead", last_error="no route", staged_by="evt_1")
    child = await books.job("done", staged_by=f"job:{job}")
    csrf = await sign_in(admin)
    assert "no route" in (await admin.get("/jobs?status=dead")).text
    assert "No job matches" in (await admin.get("/jobs?name=render_*")).text
    page = (await admin.get(f"/jobs/{job}")).text
    assert "case_id" in page
    assert f'href="/jobs/{child}"' in page
    assert f'href="/jobs/{job}"' in (await admin.get(f"/jobs/{child}")).text
    await admin.post(f"/jobs/{job}/retry", data={"csrf": csrf})
    await admin.post(f"/jobs/{job}/cancel", data={"csrf": csrf})
    assert await books.rows("SELECT status FROM jobs ORDER BY status DESC") == [
        {"status": "done"},
        {"status": "cancelled"},
    ]
    await admin.post("/pause", data={"csrf": csrf, "scope": "queue", "target": "pdf", "do": "pause"})
    assert "pdf is paused by Ada (dashboard)" in (await admin.get("/")).text
    await admin.post("/pause", data={"csrf": csrf, "scope": "queue", "target": "pdf", "do": "resume"})
    assert await books.rows("SELECT 1 FROM pauses") == []


async def test_nothing_that_came_from_outside_becomes_markup(admin: Door, books: Books) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    await books.event(
        "evt_1", "dead", type=evil, last_error=evil, object_id=evil, customer_id=evil, account=evil, api_version=evil,
        payload=json.dumps({evil: evil}).encode(),
        effects={"changed": [{"table": evil, "key": evil, "fields": {evil: [evil, evil]}}]},
    )  # fmt: skip
    await books.attempt(
        event_id="evt_1", name=evil, worker=evil, outcome="failed", error=evil, traceback=evil, fingerprint=evil
    )
    job = await books.job("dead", name=evil, args={evil: evil}, last_error=evil, staged_by="evt_1", unique_key=evil)
    await books.run("INSERT INTO workers VALUES (:evil, :evil, 1, '[\"<b>x</b>\"]', now(), now(), 0)", evil=evil)
    await sign_in(admin, who=evil)
    for path in ("/", "/events/evt_1", "/jobs", f"/jobs/{job}", f"/?q={evil}", f"/?said={evil}", f"/jobs?name={evil}"):
        page = await admin.get(path)
        assert page.status_code == 200, path
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "<b>x" not in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"


async def test_pages_need_nothing_from_elsewhere(admin: Door) -> None:
    await sign_in(admin)
    for path in ("/", "/jobs", "/sign-in"):
        page = (await admin.get(path)).text
        assert not re.search(r'(src|href|action)="(https?:)?//', page)
        assert not re.search(r"\son\w+=|<style|<script>|style=", page)
    for name in ("admin.css", "admin.js"):
        file = await admin.get(f"/static/{name}")
        assert file.status_code == 200
        assert "http" not in re.sub(r"https?://www\.w3\.org/\S+", "", file.text)
    for name in ("home.html", "..%2fadmin.css", "nothing.css"):
        assert (await admin.get(f"/static/{name}")).status_code == 404


async def test_what_is_not_there_has_a_page_too(admin: Door) -> None:
    await sign_in(admin)
    missing = await admin.get("/events/evt_9")
    assert missing.status_code == 404
    assert "no such event: evt_9" in missing.text
    assert (await admin.get("/jobs/9")).status_code == 404
    for path in ("/jobs/x", "/?status=nonsense", "/?q=%00"):
        odd = await admin.get(path)
        assert odd.status_code == 422
        assert "That did not work" in odd.text
    forged = await admin.post("/events/retry", data={"csrf": "0" * 64})
    assert "too old or not ours" in forged.text
    assert COOKIE in admin.cookies


async def test_an_odd_name_is_cleaned_when_one_signs_in(admin: Door, books: Books) -> None:
    await books.event("evt_1", "dead")
    csrf = await sign_in(admin, who="A\x00da\x07 Lovelace")
    answer = await admin.post("/events/evt_1/retry", data={"csrf": csrf})
    assert answer.status_code == 303
    assert await books.rows("SELECT who FROM audit_log") == [{"who": "Ada Lovelace (dashboard)"}]


async def test_odd_input_of_people_has_a_page(admin: Door) -> None:
    csrf = await sign_in(admin)
    huge = "9" * 23
    for path in (f"/jobs/{huge}", f"/jobs?after={huge}", "/jobs/-1", "/jobs?name=%00", "/events/%00", "/?after=%00"):
        answer = await admin.get(path)
        assert answer.status_code == 422, path
        assert "That did not work" in answer.text
    for path, fields in (
        (f"/jobs/{huge}/retry", {}), (f"/jobs/{huge}/cancel", {}), ("/events/evt_1/retry", {"why": "\x00"}),
        ("/pause", {"target": "x" * 201, "scope": "name", "do": "pause"}), ("/pause", {"target": "\x00"}),
    ):  # fmt: skip
        answer = await admin.post(path, data={"csrf": csrf, **fields})
        assert answer.status_code == 422, path
