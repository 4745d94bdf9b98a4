"""The admin API and the dashboard show letters and suppressed addresses, and do what `billing mail` does."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.events.kit import Json
from tests.mail.carriers import FakeMailer
from tests.mail.post import ADA, Post
from tests.operators.door import TOKEN, Door, door
from tests.operators.test_dashboard import sign_in
from worker.errors import Refused, Undeliverable
from worker.settings import Settings

BEARER = {"Authorization": f"Bearer {TOKEN}", "X-Operator": "ada"}
WHY: Json = {"why": "the mailbox is there again"}
BEN = "ben@example.com"


@pytest.fixture
async def admin(database_url: str, tmp_path: Path, post: Post, fake: FakeMailer) -> AsyncIterator[Door]:
    """The internal door; one letter was sent, one parked, one came back from Ben."""
    await post.stage("receipt/in_1")
    await post.work()
    fake.answers = [Refused("550 5.7.1 this looks like spam")]
    await post.stage("dunning/in_2/1", "dunning_reminder")
    await post.work()
    fake.answers = [Undeliverable("550 5.1.1 no such user")]
    await post.stage("refund/re_1", "refund", replace(ADA, address=BEN, name="<script>alert(1)</script>"))
    await post.work()
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_home=tmp_path,
        billing_brand_name="Northwind",
    )
    async with door(settings) as opened:
        yield opened


async def get(admin: Door, path: str, **params: str) -> Json:
    answer = await admin.get(f"/admin{path}", headers=BEARER, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post_to(admin: Door, path: str, body: Json | None, *, code: int = 200) -> Json:
    answer = await admin.post(f"/admin{path}", headers=BEARER, json=body)
    assert answer.status_code == code, answer.text
    return answer.json()


async def test_the_api_lists_and_tells(admin: Door) -> None:
    page = await get(admin, "/letters")
    found = [(one["key"], one["status"]) for one in page["letters"]]
    assert found == [("refund/re_1", "bounced"), ("dunning/in_2/1", "dead"), ("receipt/in_1", "sent")]
    for params, keys in (
        ({"status": "dead"}, ["dunning/in_2/1"]),
        ({"template": "re*"}, ["refund/re_1", "receipt/in_1"]),
        ({"to": "BEN@*"}, ["refund/re_1"]),
        ({"until": "2020-01-01"}, []),
    ):
        assert [one["key"] for one in (await get(admin, "/letters", **params))["letters"]] == keys
    first = await get(admin, "/letters", limit="2")
    rest = await get(admin, "/letters", limit="2", after=str(first["next"]))
    assert ([one["key"] for one in rest["letters"]], rest["next"]) == (["receipt/in_1"], None)
    story = await get(admin, "/letters/dunning/in_2/1")
    assert "looks like spam" in story["reason"]
    assert len(story["history"]) == 1
    assert "RS-2026-0042" in story["text"]
    assert "Northwind" in story["text"]
    assert (await get(admin, f"/letters/{story['id']}"))["key"] == "dunning/in_2/1"


async def test_the_api_lifts_and_sends_again(admin: Door, post: Post) -> None:
    (address,) = (await get(admin, "/suppressed"))["addresses"]
    assert (address["address"], address["source"]) == (BEN, "carrier")
    lift = WHY | {"address": "Ben@Example.com"}
    assert (await post_to(admin, "/suppressed/lift", lift | {"dry_run": True}))["changed"] is False
    assert await post.suppressed() == {BEN: "carrier"}
    assert (
        "billing mail suppressed lift" in (await post_to(admin, "/letters/refund/re_1/resend", WHY, code=409))["detail"]
    )
    assert (await post_to(admin, "/suppressed/lift", lift))["changed"] is True
    assert await post.suppressed() == {}
    assert "is not suppressed" in (await post_to(admin, "/suppressed/lift", lift, code=409))["detail"]
    assert (await post_to(admin, "/letters/refund/re_1/resend", WHY | {"dry_run": True}))["letter"] is None
    sent = (await post_to(admin, "/letters/refund/re_1/resend", WHY))["letter"]
    await post.work_in_real_time()
    assert (await get(admin, f"/letters/{sent}"))["status"] == "sent"
    audit = await post.query("SELECT who, action, target, why FROM audit_log ORDER BY id")
    assert [(one["who"], one["action"], one["why"]) for one in audit] == [
        ("ada", "addresses.lift", WHY["why"]), ("ada", "letters.resend", WHY["why"])
    ]  # fmt: skip


@pytest.mark.parametrize("why", [None, "", " "])
async def test_nothing_is_done_without_a_reason(admin: Door, post: Post, why: str | None) -> None:
    body: Json = {} if why is None else {"why": why}
    await post_to(admin, "/suppressed/lift", body | {"address": BEN}, code=422)
    await post_to(admin, "/letters/receipt/in_1/resend", body, code=422)
    csrf = await sign_in(admin)
    for path in ("/suppressed/lift", "/letters/1/resend"):
        answer = await admin.post(path, data={"csrf": csrf, "address": BEN, **body})
        assert answer.status_code == 422
        assert "why: is missing" in answer.text
    assert await post.suppressed() == {BEN: "carrier"}
    assert await post.query("SELECT 1 FROM audit_log") == []


async def test_strangers_see_and_do_nothing(admin: Door, post: Post) -> None:
    for path in ("/letters", "/letters/receipt/in_1", "/suppressed"):
        assert (await admin.get(f"/admin{path}")).status_code == 401
        assert (await admin.get(path)).status_code in {303, 404, 422}
    assert (await admin.get("/letters/1/html")).status_code == 303
    for path in ("/suppressed/lift", "/letters/receipt/in_1/resend"):
        assert (await admin.post(f"/admin{path}", json=WHY | {"address": BEN})).status_code == 401
    await sign_in(admin)
    forged = await admin.post("/suppressed/lift", data={"csrf": "0" * 64, "address": BEN, **WHY})
    assert forged.status_code == 403
    assert await post.suppressed() == {BEN: "carrier"}


@pytest.mark.parametrize(
    ("path", "code"),
    [("/letters/zzz", 404), ("/letters/99", 404), ("/letters?status=opened", 422), ("/letters?colour=red", 422)],
)
async def test_what_is_not_there_is_said(admin: Door, path: str, code: int) -> None:
    assert (await admin.get(f"/admin{path}", headers=BEARER)).status_code == code


async def test_the_pages_show_letters_and_where_none_go(admin: Door, post: Post) -> None:
    csrf = await sign_in(admin)
    listed = (await admin.get("/letters")).text
    for words in ("receipt/in_1", "dunning_reminder", "looks like spam", BEN, '<a href="/letters">Letters</a>'):
        assert words in listed
    assert "receipt/in_1" not in (await admin.get("/letters", params={"status": "dead", "to": "*"})).text
    refund = (await post.letter("refund/re_1"))["id"]
    page = (await admin.get(f"/letters/{refund}")).text
    for words in ("no such user", "lift it", "As it would be written now", "Northwind", "required"):
        assert words in page
    assert "<script>alert" not in page
    reminder = (await admin.get(f"/letters/{(await post.letter('dunning/in_2/1'))['id']}")).text
    assert "RS-2026-0042" in reminder
    read = await admin.get(f"/letters/{refund}/html")
    assert read.text.startswith("<!DOCTYPE html>")
    assert "sandbox" in read.headers["content-security-policy"]
    assert BEN in (await admin.get("/suppressed")).text
    lifted = await admin.post("/suppressed/lift", data={"csrf": csrf, "address": BEN, **WHY})
    assert lifted.status_code == 303
    assert "letters go to ben@example.com again" in (await admin.get(lifted.headers["location"])).text
    assert await post.suppressed() == {}
    sent = await admin.post(f"/letters/{refund}/resend", data={"csrf": csrf, **WHY})
    assert sent.status_code == 303
    assert "refund/re_1/again/1" in (await admin.get(f"/letters/{refund}")).text
    assert (await admin.get("/letters/99")).status_code == 404


async def test_a_letter_that_cannot_be_written_is_explained(admin: Door, post: Post) -> None:
    await sign_in(admin)
    await post.execute("UPDATE emails SET context = context - 'number' WHERE key = 'receipt/in_1'")
    letter = (await post.letter("receipt/in_1"))["id"]
    assert "cannot be written" in (await admin.get(f"/letters/{letter}")).text
    answer = await admin.get(f"/letters/{letter}/html")
    assert answer.status_code == 409
    assert "cannot be written" in answer.text
