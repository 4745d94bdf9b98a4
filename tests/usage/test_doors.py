"""Reading usage at the public door, with keys, and by the commands of operators."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from db.operators.actions import Actor
from db.tokens import TokenScope, create
from db.usage import Owner
from intake.app import build_app
from tests.operators.books import Billing
from tests.operators.conftest import billing
from tests.usage.books import Books
from worker.settings import Settings

__all__ = ["billing"]
TOKEN = "admin-token-of-the-tests-0123456789"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
LAST = datetime.now(UTC).replace(day=1) - timedelta(days=1)
MONTH = f"{LAST:%Y-%m}"


@pytest.fixture
async def door(database_url: str, books: Books, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The public door; Redis is away."""
    books.clock.time = datetime.now(UTC)
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_home=tmp_path,
    )
    app = build_app(settings, clock=books.clock).api
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://b") as client:
        yield client


async def key(books: Books, prefix: str, *scopes: TokenScope) -> dict[str, str]:
    async with books.engine.begin() as conn:
        _, token = await create(conn, prefix, scopes, Actor("ada"), now=books.clock.now())
    return {"Authorization": f"Bearer {token}"}


async def test_a_partner_reads_its_own_usage_and_no_others(books: Books, door: httpx.AsyncClient) -> None:
    await books.contract(monthly_request_limit=1000)
    await books.contract("other")
    await books.use(Owner(api_key_prefix="nw_live"), 250)
    mine = await key(books, "nw_live", TokenScope.READ)
    answer = await door.get("/usage/api-partner/nw_live", headers=mine)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["limits"]["percent"] == 25
    assert (
        await door.get("/usage/overage/quote", params={"api_key_prefix": "nw_live"}, headers=mine)
    ).status_code == 200
    for path in ("/usage/api-partner/other", "/usage/user/1", "/usage/overage/quote?user_id=1"):
        assert (await door.get(path, headers=mine)).status_code == 403
    writes = await key(books, "nw_live", TokenScope.WRITE)
    assert (await door.get("/usage/api-partner/nw_live", headers=writes)).status_code == 403
    assert (await door.get("/usage/api-partner/nw_live")).status_code == 401


async def test_the_house_reads_all_of_it(books: Books, door: httpx.AsyncClient) -> None:
    await books.plan()
    user = await books.subscriber()
    await books.use(Owner(user_id=user), 1500)
    answer = await door.get(f"/usage/user/{user}", headers=ADMIN)
    assert answer.json()["cost"]["amount_cents"] == 250
    quote = await door.get("/usage/overage/quote", params={"user_id": user}, headers=ADMIN)
    assert (quote.json()["over_units"], quote.json()["cost_cents"]) == (500, 250)
    running = {"user_id": user, "period": quote.json()["period"]["name"]}
    assert (await door.get("/usage/overage/quote", params=running, headers=ADMIN)).json()["cost_cents"] == 250


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/usage/api-partner/nobody", 404, "no partner's keys begin with nobody"),
        ("/usage/user/77", 404, "there is no customer 77"),
        ("/usage/user/ada", 422, [{"field": "user_id", "msg": "'ada' is no id of a customer: it is a number"}]),
        ("/usage/user/99999999999999999999", 422, None),
        ("/usage/api-partner/nw_live?period=2026-14", 422, None),
        ("/usage/overage/quote", 422, [{"field": "user_id", "msg": "name either user_id or api_key_prefix"}]),
        ("/usage/overage/quote?user_id=1&api_key_prefix=x", 422, None),
        ("/usage/api-partner/%00", 422, [{"field": "api_key_prefix", "msg": "'\\x00' is no key prefix"}]),
        ("/usage/overage/quote?api_key_prefix=%00", 422, None),
    ],
)
async def test_what_cannot_be_answered_says_why(
    books: Books, door: httpx.AsyncClient, path: str, status: int, detail: object
) -> None:
    await books.contract()
    answer = await door.get(path, headers=ADMIN)
    assert answer.status_code == status
    told: Any = answer.json()["detail"]
    assert detail is None or told == detail
    if status == 422:
        assert told[0]["field"] in {"user_id", "period", "api_key_prefix"}


@pytest.mark.parametrize(
    ("path", "field", "says"),
    [
        ("/usage/api-partner/nw_live?perod=2026-10", "perod", "takes period"),
        ("/usage/user/1?month=2026-10", "month", "takes period"),
        ("/usage/overage/quote?api_key_prefix=nw_live&perod=2026-11", "perod", "takes user_id, api_key_prefix, period"),
        (
            "/usage/overage/quote?api_key_prefix=nw_live&period=2026-10",
            "period",
            "a quote is of the running period, 20",
        ),
        ("/usage/overage/quote?api_key_prefix=nw_live&%00=1", "\x00", "takes user_id, api_key_prefix"),
    ],
)
async def test_a_parameter_that_is_not_known_answers_for_no_other_month(
    books: Books, door: httpx.AsyncClient, path: str, field: str, says: str
) -> None:
    await books.contract()
    assert (await door.get(path)).status_code == 401
    answer = await door.get(path, headers=ADMIN)
    assert answer.status_code == 422
    (told,) = answer.json()["detail"]
    assert (told["field"], says in told["msg"]) == (field, True), told


async def test_the_door_documents_what_it_answers(door: httpx.AsyncClient) -> None:
    paths = (await door.get("/openapi.json")).json()["paths"]
    assert {"/usage/api-partner/{prefix}", "/usage/user/{user_id}", "/usage/overage/quote"} <= paths.keys()


async def test_show_tells_the_same_at_the_terminal(billing: Billing, books: Books) -> None:
    await books.contract(monthly_request_limit=1000)
    books.clock.time = LAST
    await books.use(Owner(api_key_prefix="nw_live"), 1250)
    ran = await billing("usage", "show", "--partner", "nw_live", "--period", MONTH)
    assert ran.exit_code == 0, ran.output
    assert "1,250 of 1,000, 125 %" in ran.stdout
    assert "2.50 EUR" in ran.stdout
    told = json.loads((await billing("usage", "show", "--partner", "nw_live", "--period", MONTH, "--json")).stdout)
    assert told["cost"]["amount_cents"] == 250
    for words, code in (((), 2), (("--partner", "x", "--user", "1"), 2), (("--partner", "x"), 1), (("--user", "5"), 1)):
        assert (await billing("usage", "show", *words)).exit_code == code
    assert (await billing("usage", "show", "--partner", "nw_live", "--period", "x")).exit_code == 2


async def test_verify_ends_with_one_when_a_sum_is_wrong(billing: Billing, books: Books) -> None:
    assert (await billing("usage", "verify")).exit_code == 0
    books.clock.time = LAST
    await books.use(Owner(api_key_prefix="nw_live"), 5)
    assert "1 month: all sums are those of their events" in (await billing("usage", "verify")).stdout
    await books.run("UPDATE usage_rollups SET cost_units = 6 WHERE granularity = 'day'")
    ran = await billing("usage", "verify", "--period", MONTH)
    assert ran.exit_code == 1
    assert "1 events, 6" in ran.stdout
    told = json.loads((await billing("usage", "verify", "--json")).stdout)
    assert [one["granularity"] for one in told["differences"]] == ["day"]
    assert (await billing("usage", "verify", "--period", "soon")).exit_code == 2


async def test_plans_are_added_and_never_changed(billing: Billing, books: Books) -> None:
    words = ("usage", "plans", "add", "price_small", "--included", "1000", "--package-price", "50", "--currency", "eur")
    assert "nothing was changed" in (await billing(*words, "--dry-run")).stdout
    assert json.loads((await billing("usage", "plans", "list", "--json")).stdout) == []
    added = await billing(*words, "--valid-from", "2026-01-01", "--tax-percent", "7.7", "--why", "agreed")
    assert added.exit_code == 0, added.output
    assert "no subscription was ever seen at price_small" in added.stdout
    assert (await billing(*words, "--valid-from", "2026-01-01")).exit_code == 1
    (listed,) = json.loads((await billing("usage", "plans", "list", "--json")).stdout)
    assert (listed["valid_from"], listed["tax_percent"]) == ("2026-01-01", "7.7000")
    assert "7.7 %" in (await billing("usage", "plans", "list")).stdout
    for wrong in (("--rounding", "half"), ("--currency", "xyz"), ("--valid-from", "soon"), ("--tax-percent", "101")):
        assert (await billing(*words, *wrong)).exit_code == 2, wrong
    (audit,) = await books.rows("SELECT action, target, why FROM audit_log")
    assert audit == {"action": "usage.plans.add", "target": "price_small", "why": "agreed"}


async def test_overage_by_hand(billing: Billing, books: Books) -> None:
    await books.plan()
    user = str(await books.subscriber(timezone="UTC"))
    books.clock.time = LAST
    await books.use(Owner(user_id=int(user)), 1200)
    shown = await billing("usage", "overage", "preview", user, "--period", MONTH)
    assert shown.exit_code == 0, shown.output
    assert "it would be issued" in shown.stdout
    words = ("usage", "overage", "invoice", user, "--period", MONTH)
    assert "nothing" not in (await billing(*words, "--dry-run")).stdout
    assert json.loads((await billing("usage", "overage", "list", "--json")).stdout) == []
    ran = await billing(*words, "--json")
    assert (ran.exit_code, json.loads(ran.stdout)["total"]) == (0, 100)
    assert "issued" in (await billing("usage", "overage", "list")).stdout
    assert (await billing(*words)).exit_code == 1
    assert (await billing("usage", "overage", "release", user, "--period", MONTH, "--why", "x")).exit_code == 1
    assert (await billing("usage", "overage", "void", user, "--period", MONTH)).exit_code == 2
    for what in ("preview", "invoice", "release", "void"):
        wrong = await billing(
            "usage",
            "overage",
            what,
            user,
            "--period",
            "2026-13",
            *([] if what in {"preview", "invoice"} else ["--why", "x"]),
        )
        assert (wrong.exit_code, wrong.stderr.startswith("--period: '2026-13' is no period")) == (2, True)
    gone = await billing("usage", "overage", "void", user, "--period", MONTH, "--why", "our fault", "--json")
    assert (gone.exit_code, json.loads(gone.stdout)["was"]) == (0, "issued")
    assert [row["status"] for row in await books.rows("SELECT status FROM invoices")] == ["void"]
    blocked = await billing("usage", "plans", "add", "p", "--included", "1", "--package-price", "1")
    assert blocked.exit_code == 0, blocked.output
