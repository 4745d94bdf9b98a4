"""The admin API and the dashboard do what `billing partners` does, for whoever has the token."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.events.kit import rows
from tests.operators.door import TOKEN, Door, door
from tests.operators.test_dashboard import sign_in
from tests.partners.contract_kit import PLAIN, Json
from worker.settings import Settings

BEARER = {"Authorization": f"Bearer {TOKEN}", "X-Operator": "ada"}


@pytest.fixture
async def admin(database_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    """The internal door on 21 November 2026, with a file of sellers."""
    clock, sellers = tmp_path / "clock", tmp_path / "sellers.toml"
    clock.write_text(str(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()))
    sellers.write_text('[sellers.acme]\nname = "Acme"\n')
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_clock_file=clock,
        billing_sellers_file=sellers,
    )
    async with door(settings) as opened:
        yield opened


async def ask(admin: Door, method: str, path: str = "", body: object = None, *, code: int = 200) -> Json:
    raw: Json = {"json": body} if body is not None else {}
    answer = await admin.request(method, f"/admin/partners{path}", headers=BEARER, **raw)
    assert answer.status_code == code, answer.text
    return answer.json()


async def test_a_contract_by_the_api(admin: Door, engine: AsyncEngine) -> None:
    assert await ask(admin, "GET") == {"partners": [], "next": None}
    tried = await ask(admin, "POST", body=PLAIN | {"dry_run": True})
    assert (tried["dry_run"], tried["price"]) == (True, "$2.50 per 1,000 requests")
    assert await rows(engine, "api_partner_contracts") == []
    made = await ask(admin, "POST", body=PLAIN | {"why": "signed", "seller": "acme", "tax_percent": 7.7})
    assert made["terms"][0]["fields"]["tax_percent"] == "7.7"
    assert made["audit"][0]["why"] == "signed"
    changed = await ask(
        admin, "POST", "/nw_live/versions", {"valid_from": "2026-12-01", "per_1000_requests_cents": "2.20 USD"}
    )
    assert changed["changed"]["per_1000_requests_cents"] == [250, 220]
    assert [(one["version"], one["current"]) for one in changed["terms"]] == [(2, False), (1, True)]
    patched = await ask(admin, "PATCH", "/nw_live", {"version": 2, "notes": "by mail", "per_1000_requests_cents": 210})
    assert patched["changed"] == {"per_1000_requests_cents": [220, 210], "notes": [None, "by mail"]}
    assert (await ask(admin, "PATCH", "/nw_live", {"notes": "now"}))["terms"][1]["fields"]["notes"] == "now"
    assert (await ask(admin, "POST", "/nw_live/pause", {"why": "talks", "dry_run": True}))["status"] == "paused"
    assert (await ask(admin, "GET", "/nw_live"))["status"] == "active"
    assert (await ask(admin, "POST", "/nw_live/pause", {"why": "talks"}))["status"] == "paused"
    assert (await ask(admin, "POST", "/nw_live/resume", {"why": "agreed"}))["status"] == "active"
    ended = await ask(admin, "POST", "/nw_live/end", {"why": "notice", "on": "2026-12-31"})
    assert (ended["standing"], ended["contract_end_date"]) == ("ends 2026-12-31", "2026-12-31")
    page = await ask(admin, "GET", "?limit=1")
    assert (page["next"], page["partners"][0]["versions"]) == ("nw_live", 2)
    assert (await ask(admin, "GET", "?after=nw_live"))["partners"] == []
    assert {one["who"] for one in await rows(engine, "audit_log")} == {"ada"}


async def test_each_mistake_names_its_field(admin: Door, engine: AsyncEngine) -> None:
    body = PLAIN | {"pricing_model": "tierd", "seller": "acne", "colour": 1, "tiers": [{"upto": 1}]}
    told = await ask(admin, "POST", body=body, code=422)
    assert [(one["loc"], one["msg"].partition(":")[0]) for one in told["detail"]] == [
        (["body", "colour"], "colour"),
        (["body", "pricing_model"], "pricing_model"),
        (["body", "tiers"], "tiers[0].upto"),
        (["body", "seller"], "seller"),
    ]
    assert await rows(engine, "api_partner_contracts") == []


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/nobody", None, 404),
        ("GET", "/a%00b", None, 422),
        ("GET", "?limit=0", None, 422),
        ("GET", "?colour=red", None, 422),
        ("POST", "", [], 422),
        ("POST", "", PLAIN, 409),
        ("POST", "", {"dry_run": 1, "why": 5}, 422),
        ("POST", "", PLAIN | {"api_key_prefix": "other", "why": "x" * 501}, 422),
        ("PATCH", "/nw_live", {"version": "1", "notes": "x"}, 422),
        ("PATCH", "/nw_live", {"version": 9, "notes": "x"}, 404),
        ("PATCH", "/nw_live", {}, 409),
        ("PATCH", "/nw_live", {"id": 7}, 422),
        ("POST", "/nw_live/versions", {"per_1000_requests_cents": 1}, 422),
        ("POST", "/nw_live/versions", {"valid_from": "2026-01-01", "per_1000_requests_cents": 1}, 409),
        ("POST", "/nobody/versions", {"valid_from": "2026-01-01"}, 404),
        ("POST", "/nw_live/pause", {}, 422),
        ("POST", "/nw_live/resume", {"why": "x"}, 409),
        ("POST", "/nw_live/end", {"why": "x", "on": "soon"}, 422),
        ("POST", "/nw_live/end", {"why": "x", "on": "2025-01-01"}, 422),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused(admin: Door, method: str, path: str, body: object, code: int) -> None:
    await ask(admin, "POST", body=PLAIN)
    assert (await ask(admin, method, path, body, code=code))["detail"]


async def test_a_body_that_is_no_json(admin: Door) -> None:
    for raw in (b"{", b"\xff", b"[" * 100_000):
        answer = await admin.post("/admin/partners", headers=BEARER, content=raw)
        assert answer.status_code == 422


async def test_nobody_passes_without_the_token(admin: Door, engine: AsyncEngine) -> None:
    for method, path in (
        ("GET", ""), ("POST", ""), ("GET", "/nw_live"), ("PATCH", "/nw_live"), ("POST", "/nw_live/versions"),
        ("POST", "/nw_live/pause"), ("POST", "/nw_live/resume"), ("POST", "/nw_live/end"),
    ):  # fmt: skip
        assert (await admin.request(method, f"/admin/partners{path}", json=PLAIN)).status_code == 401
    assert (await admin.get("/partners")).status_code == 303
    assert await rows(engine, "api_partner_contracts") == []


async def test_the_dashboard_shows_contracts_and_has_a_say(admin: Door, engine: AsyncEngine) -> None:
    csrf = await sign_in(admin)
    assert "No partner has a contract" in (await admin.get("/partners")).text
    tiers = [{"up_to": 10, "unit_price_cents": "0.5"}, {"unit_price_cents": "0.25", "flat_fee_cents": 100}]
    tiered = {name: value for name, value in PLAIN.items() if name != "per_1000_requests_cents"}
    await ask(admin, "POST", body=tiered | {"pricing_model": "tiered", "tiers": tiers, "company": "<b>North</b>",
                                            "tax_ids": ["eu_vat:DE1"], "address": {"country": "DE"}})  # fmt: skip
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO usage_invoices (kind, api_key_prefix, period_start, period_end, timezone, status, reasons,"
                " currency, total_cents, created_at, updated_at) VALUES ('partner', 'nw_live', '2026-10-01T00:00Z',"
                " '2026-11-01T00:00Z', 'UTC', 'parked', '[{\"guard\": \"zero\", \"why\": \"comes to nothing\"}]',"
                " 'usd', 0, now(), now())"
            )
        )
        await conn.execute(
            text(
                "INSERT INTO api_tokens (api_key_prefix, sha256, shown, scopes, created_at, created_by, revoked_at)"
                " VALUES ('nw_live', 'x', 'nw_live_ab…yz', '{usage:write}', now(), 'ada', now())"
            )
        )
        await conn.execute(
            text(
                "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, contract_start_date,"
                " monthly_flat_fee_cents, per_deed_price_cents) VALUES ('bad', 'Bad', 'flat', '2026-01-01', 0, 0),"
                " ('idle', 'Idle', 'flat', '2026-01-01', 100, 5)"
            )
        )
    listed = (await admin.get("/partners")).text
    for words in ("&lt;b&gt;North", "units 1 to 10 $0.005 each", "parked", "2026-02-01", "monthly_flat_fee_cents is 0"):
        assert words in listed
    page = (await admin.get("/partners/nw_live")).text
    for words in ("comes to nothing", "2026-10", "nw_live_ab…yz", "holds today", "DE1", "0.25 each, 100 once"):
        assert words in page
    assert "monthly_flat_fee_cents is 0" in (await admin.get("/partners/bad")).text
    idle = "per_deed_price_cents: a flat contract never charges it"
    assert idle in listed
    assert idle in (await admin.get("/partners/idle")).text
    assert (await admin.get("/partners/nobody")).status_code == 404
    done = await admin.post("/partners/nw_live/pause", data={"csrf": csrf, "why": "talks"})
    assert (done.status_code, done.headers["location"]) == (303, "/partners/nw_live?said=pause%3A+done")
    assert (await admin.post("/partners/nw_live/pause", data={"csrf": csrf, "why": "talks"})).status_code == 409
    assert (await admin.post("/partners/nw_live/resume", data={"csrf": csrf})).status_code == 422
    assert (await admin.post("/partners/nw_live/resume", data={"csrf": "0" * 64, "why": "x"})).status_code == 403
    wrong = await admin.post("/partners/nw_live/end", data={"csrf": csrf, "why": "x"})
    assert (wrong.status_code, "on: &#39;&#39; is no day" in wrong.text) == (422, True)
    assert (await admin.post("/partners/nw_live/fire", data={"csrf": csrf, "why": "x"})).status_code == 409
    ended = await admin.post("/partners/nw_live/end", data={"csrf": csrf, "why": "x", "on": "2026-12-31"})
    assert ended.status_code == 303
    found = {one["api_key_prefix"]: one["status"] for one in await rows(engine, "api_partner_contracts")}
    assert found == {"nw_live": "ended", "bad": "active", "idle": "active"}


async def test_the_api_is_told_of(admin: Door) -> None:
    told = (await admin.get("/openapi.json")).json()["paths"]
    body = told["/admin/partners"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"company", "tiers", "why", "dry_run"} <= set(body["properties"])
    assert "id" not in body["properties"]
