"""The admin API and the dashboard do what `billing dunning` does, for whoever has the token."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.dunning.kit import Scene
from tests.events.kit import Json, rows
from tests.operators.door import TOKEN, Door, door
from tests.operators.test_dashboard import sign_in
from worker.settings import Settings

BEARER = {"Authorization": f"Bearer {TOKEN}", "X-Operator": "ada"}
WHY: Json = {"why": "the customer asked for it"}


@pytest.fixture
async def admin(database_url: str, scene: Scene, tmp_path: Path) -> AsyncIterator[Door]:
    """The internal door at the business's time of the scene, with one case that was written to once."""
    await scene.fail()
    await scene.work()
    clock = tmp_path / "clock"
    clock.write_text(str(scene.clock.now().timestamp()))
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_clock_file=clock,
    )
    async with door(settings) as opened:
        yield opened


async def get(admin: Door, path: str, **params: str) -> Json:
    answer = await admin.get(f"/admin/dunning{path}", headers=BEARER, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(admin: Door, path: str, body: Json | None = None, *, code: int = 200) -> Json:
    answer = await admin.post(f"/admin/dunning/in_1/{path}", headers=BEARER, json=body)
    assert answer.status_code == code, answer.text
    return answer.json()


async def test_the_api_lists_tells_and_looks_ahead(admin: Door) -> None:
    page = await get(admin, "")
    assert [(one["stripe_invoice_id"], one["amount_cents"], one["currency"]) for one in page["cases"]] == [
        ("in_1", 1000, "usd")
    ]  # fmt: skip
    assert page["next"] is None
    assert (await get(admin, "", limit="1"))["next"] == page["cases"][0]["id"]
    assert (await get(admin, "", limit="1", after=str(page["cases"][0]["id"])))["cases"] == []
    story = await get(admin, "/A-0001")
    assert [one["letter"] for one in story["taken"]] == ["payment_failed"]
    ahead = await get(admin, "/in_1/preview")
    assert [step["letter"] for step in ahead["steps"]] == ["dunning_reminder", "final_notice", "access_suspended"]
    assert (await get(admin, "/figures", since="30d"))["cases"] == 1


async def test_the_api_has_an_operators_say(admin: Door, scene: Scene) -> None:
    tried = await post(admin, "pause", {"dry_run": True, "why": "a try"})
    assert (tried["status"], tried["dry_run"]) == ("paused", True)
    assert (await scene.case())["status"] == "open"
    paused = await post(admin, "pause", {"until": "2026-04-01T00:00:00Z", "why": "holidays"})
    assert (paused["status"], paused["paused_until"]) == ("paused", "2026-04-01T00:00:00Z")
    assert "paused already" in (await post(admin, "pause", WHY, code=409))["detail"]
    assert (await post(admin, "resume", WHY))["status"] == "open"
    assert (await post(admin, "skip", WHY | {"position": 1}))["done_step"] == 1
    assert (await post(admin, "extend", {"days": 3, "why": "holidays"}))["grace_days"] == 3
    assert (await post(admin, "send-now", WHY | {"position": 2}))["status"] == "open"
    assert (await post(admin, "close", {"lost": True, "why": "gone"}))["outcome"] == "lost"
    told = await rows(scene.engine, "audit_log")
    assert {one["who"] for one in told} == {"ada"}
    assert [one["action"].removeprefix("dunning.") for one in told] == [
        "pause", "resume", "skip", "extend", "send_now", "close"
    ]  # fmt: skip


@pytest.mark.parametrize("body", [None, {}, {"why": ""}, {"why": " \n"}, {"why": None}, {"why": "x" * 501}])
async def test_the_api_asks_for_a_reason(admin: Door, scene: Scene, body: Json | None) -> None:
    for path in ("pause", "resume", "skip", "send-now", "extend", "close"):
        days = {"days": 1} if path == "extend" and body is not None else {}
        answer = await post(admin, path, None if body is None else body | days, code=422)
        assert answer["detail"][0]["loc"][0] == "body"
    assert await rows(scene.engine, "audit_log") == []


@pytest.mark.parametrize(
    ("path", "code"),
    [("/in_9", 404), ("/in_9/preview", 404), ("?status=opened", 422), ("?colour=red", 422), ("/figures?since=x", 422)],
)
async def test_what_is_not_there_is_said(admin: Door, path: str, code: int) -> None:
    assert (await admin.get(f"/admin/dunning{path}", headers=BEARER)).status_code == code


async def test_an_invoice_without_a_case_is_none_of_dunnings(admin: Door, scene: Scene) -> None:
    await scene.begin("2")
    await scene.tell("invoice.updated", scene.invoice("2"))
    answer = await admin.post("/admin/dunning/in_2/pause", headers=BEARER, json=WHY)
    assert answer.status_code == 404
    assert (await get(admin, "/in_2/preview"))["why"] == "no payment of it failed: as if one failed now"
    assert (await post(admin, "extend", {"days": 0}, code=422))["detail"]


async def test_nobody_passes_without_the_token(admin: Door, scene: Scene) -> None:
    for path in ("", "/figures", "/in_1", "/in_1/preview"):
        assert (await admin.get(f"/admin/dunning{path}")).status_code == 401
    for path in ("pause", "resume", "skip", "send-now", "extend", "close"):
        assert (await admin.post(f"/admin/dunning/in_1/{path}", json={"days": 1})).status_code == 401
    assert (await scene.case())["status"] == "open"


async def test_the_dashboard_shows_cases_and_their_story(admin: Door, scene: Scene) -> None:
    csrf = await sign_in(admin)
    listed = (await admin.get("/dunning")).text
    for words in ("in_1", "A-0001", "10.00 USD", "ada@example.org", "1 of 4"):
        assert words in listed
    page = (await admin.get("/dunning/in_1")).text
    for words in ("payment_failed", "dunning_reminder", "2026-03-10 14:30:00", "insufficient_funds"):
        assert words in page
    done = await admin.post("/dunning/in_1/pause", data={"csrf": csrf, "why": "holidays"})
    assert done.status_code == 303
    assert (await scene.case())["reason"] == "Ada (dashboard): holidays"
    again = await admin.post("/dunning/in_1/pause", data={"csrf": csrf, "why": "holidays"})
    assert again.status_code == 409
    assert "paused already" in again.text
    assert (await admin.post("/dunning/in_1/resume", data={"csrf": csrf, "why": "home"})).status_code == 303
    assert (await admin.post("/dunning/in_1/fire", data={"csrf": csrf})).status_code == 409
    assert (await admin.post("/dunning/in_1/pause", data={"csrf": "0" * 64})).status_code == 403
    assert (await scene.case())["status"] == "open"
    assert (await admin.get("/dunning/in_9")).status_code == 404
    assert "required" in page[page.index('name="why"') :].partition(">")[0]
    for nothing in ({}, {"why": ""}, {"why": "  "}):
        missing = await admin.post("/dunning/in_1/pause", data={"csrf": csrf, **nothing})
        assert missing.status_code == 422
        assert "why: is missing" in missing.text
    assert (await scene.case())["status"] == "open"
