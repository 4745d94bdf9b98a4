"""The admin API does with partners' invoices and keys what the commands do, for whoever has the token."""

from datetime import date

import pytest

from db.contracts import hold
from db.tokens import digest
from tests.operators.door import TOKEN, Door
from tests.partners.contract_kit import Json
from tests.partners.run_kit import Firm, at

BEARER = {"Authorization": f"Bearer {TOKEN}", "X-Operator": "ada"}
NOW = at("2026-11-02 12:00")


async def ask(admin: Door, method: str, path: str, body: object = None, *, code: int = 200) -> Json:
    raw: Json = {"json": body} if body is not None else {}
    answer = await admin.request(method, f"/admin{path}", headers=BEARER, **raw)
    assert answer.status_code == code, answer.text
    return answer.json()


async def test_a_period_is_previewed_invoiced_explained_and_voided(firm: Firm, admin: Door) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=4_900, tax_percent=19)
    await firm.use("2026-10-05 12:00", 12_345)
    seen = await ask(admin, "GET", "/partners/nw/preview?period=2026-10")
    assert (seen["document"]["total_minor"], seen["would_be_parked"], seen["running"]) == (9_503, False, False)
    assert seen["arithmetic"][-1].endswith("= 30.86 EUR")
    assert (await ask(admin, "GET", "/partners/nw/preview"))["running"] is True
    tried = await ask(admin, "POST", "/partners/nw/invoice", {"period": "2026-10", "why": "now", "dry_run": True})
    assert (tried["status"], tried["number"], tried["document"]["number"]) == ("issued", None, "DRAFT")
    assert await firm.numbers() == []
    done = await ask(admin, "POST", "/partners/nw/invoice", {"period": "2026-10", "why": "now"})
    assert (done["number"], done["total"], done["document"]) == ("API-202611-0001", 9_503, None)
    told = await ask(admin, "GET", "/invoices/API-202611-0001/explain")
    assert (told["same"], told["sums"]["total"], told["partner"]) == (True, 9_503, "nw")
    assert (await ask(admin, "GET", "/invoices/partner/nw/2026-10/explain"))["number"] == "API-202611-0001"
    void = {"period": "2026-10", "why": "the wrong price"}
    assert (await ask(admin, "POST", "/partners/nw/void", void | {"dry_run": True}))["was"] == "issued"
    assert (await ask(admin, "POST", "/partners/nw/void", void)) == {
        "partner": "nw", "period": "2026-10", "was": "issued", "dry_run": False,
    }  # fmt: skip
    trail = await firm.query("SELECT who, action, why FROM audit_log WHERE action LIKE 'partners.%' ORDER BY id")
    assert [tuple(row.values()) for row in trail] == [
        ("ada", "partners.invoice", "now"),
        ("ada", "partners.void", "the wrong price"),
    ]


async def test_what_is_parked_is_listed_and_released(firm: Firm, admin: Door) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), included_units=1_000_000)
    await firm.use("2026-10-05 12:00", 5)
    assert (await ask(admin, "GET", "/partners/parked"))["periods"] == []
    done = await ask(admin, "POST", "/partners/nw/invoice", {"period": "2026-10", "why": "now"})
    assert (done["status"], [one["guard"] for one in done["concerns"] if one["stops"]]) == ("parked", ["zero"])
    (waits,) = (await ask(admin, "GET", "/partners/parked"))["periods"]
    assert (waits["api_key_prefix"], waits["name"], waits["status"]) == ("nw", "2026-10", "parked")
    assert (await ask(admin, "GET", "/partners/parked?partner=other"))["periods"] == []
    released = await ask(admin, "POST", "/partners/nw/release", {"period": "2026-10", "why": "it is so"})
    assert (released["status"], released["differs"]) == ("issued", False)
    assert (await ask(admin, "GET", "/partners/parked"))["periods"] == []


@pytest.mark.parametrize(
    "case",
    [
        ("GET", "/partners/nobody/preview", None, 404),
        ("GET", "/partners/nw/preview?period=2031-01", None, 409),
        ("POST", "/partners/nw/invoice", {"period": "2026-11", "why": "x"}, 409),
        ("POST", "/partners/nw/invoice", {"period": "2026-10"}, 422),
        ("POST", "/partners/nw/release", {"period": "2026-10", "why": "x"}, 409),
        ("POST", "/partners/nobody/void", {"period": "2026-10", "why": "x"}, 404),
        ("POST", "/partners/nw/void", {"period": "2026-10", "why": " "}, 422),
        ("GET", "/invoices/nothing/explain", None, 404),
        ("POST", "/tokens", {"partner": "a b"}, 422),
        ("POST", "/tokens", {"partner": "nw", "scopes": ["all"]}, 422),
        ("POST", "/tokens", {"partner": "nw", "expires": "soon"}, 422),
        ("DELETE", "/tokens/1", None, 422),
        ("DELETE", "/tokens/1?why=x", None, 404),
    ],
)
async def test_what_cannot_be_is_refused(firm: Firm, admin: Door, case: tuple[str, str, object, int]) -> None:
    method, path, body, code = case
    await firm.contract(contract_start_date=date(2026, 10, 1))
    assert (await ask(admin, method, path, body, code=code))["detail"]


@pytest.mark.parametrize("what", ["preview", "invoice", "release", "void"])
async def test_a_month_that_is_none_is_told_by_its_field(firm: Firm, admin: Door, what: str) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1))
    if what == "preview":
        told = await ask(admin, "GET", "/partners/nw/preview?period=2026-13", code=422)
        misspelt = await ask(admin, "GET", "/partners/nw/preview?perod=2026-10", code=422)
        assert misspelt["detail"][0]["loc"] == ["query", "perod"]
    else:
        told = await ask(admin, "POST", f"/partners/nw/{what}", {"period": "2026-13", "why": "x"}, code=422)
    (one,) = told["detail"]
    assert (one["loc"], "write its month, such as 2026-10" in one["msg"]) == (["period"], True)


async def test_others_at_the_partner_are_told_of(firm: Firm, admin: Door) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=100)
    async with firm.engine.begin() as conn:
        await hold(conn, "nw")
        told = await ask(admin, "POST", "/partners/nw/invoice", {"period": "2026-10", "why": "x"}, code=409)
    assert "somebody else is at this partner" in told["detail"]


async def test_an_invoice_by_hand_cannot_be_explained(firm: Firm, admin: Door) -> None:
    issued = await firm.issue()
    told = await ask(admin, "GET", f"/invoices/{issued.number}/explain", code=409)
    assert "is for nobody's usage" in told["detail"]


async def test_keys_are_made_listed_and_ended(firm: Firm, admin: Door) -> None:
    tried = await ask(admin, "POST", "/tokens", {"partner": "nw", "dry_run": True})
    assert (tried["id"], tried["key"], tried["has_contract"]) == (None, None, False)
    await firm.contract(contract_start_date=date(2026, 10, 1))
    body = {"partner": "nw", "name": "production", "scopes": ["usage:write"], "expires": "90d", "why": "signed"}
    answer = await admin.post("/admin/tokens", headers=BEARER, json=body)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    made = answer.json()
    assert (made["scopes"], made["has_contract"]) == (["usage:write"], True)
    (row,) = await firm.query("SELECT sha256 FROM api_tokens")
    assert row["sha256"] == digest(made["key"])
    (listed,) = (await ask(admin, "GET", "/tokens?partner=nw"))["tokens"]
    assert (listed["name"], listed["api_key_prefix"], listed["revoked_at"]) == ("production", "nw", None)
    assert made["key"] not in str(listed)
    path = f"/tokens/{made['id']}?why=it+leaked"
    assert (await ask(admin, "DELETE", f"{path}&dry_run=true"))["dry_run"] is True
    assert (await ask(admin, "DELETE", path))["shown"] == listed["shown"]
    await ask(admin, "DELETE", path, code=409)
    assert (await ask(admin, "GET", "/tokens"))["tokens"] == []
    (ended,) = (await ask(admin, "GET", "/tokens?all=true"))["tokens"]
    assert ended["revoked_at"] is not None
    trail = await firm.query("SELECT who, action, why FROM audit_log ORDER BY id")
    assert [tuple(one.values()) for one in trail] == [
        ("ada", "tokens.create", "signed"),
        ("ada", "tokens.revoke", "it leaked"),
    ]


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        ("scopes", [], "usage:write, usage:read"),
        ("scopes", [""], "usage:write, usage:read"),
        ("scopes", ["usage:raed"], "did you mean 'usage:read'?"),
        ("expires", "0d", "write 90d"),
        ("expires", "2020-01-01", "has passed"),
    ],
)
async def test_a_key_that_would_do_more_or_nothing_is_not_made(
    firm: Firm, admin: Door, field: str, typed: object, says: str
) -> None:
    (told,) = (await ask(admin, "POST", "/tokens", {"partner": "nw", field: typed}, code=422))["detail"]
    assert (told["loc"], says in told["msg"]) == ([field], True), told
    assert await firm.query("SELECT 1 FROM api_tokens") == []
    made = await ask(admin, "POST", "/tokens", {"partner": "nw", "scopes": None})
    assert made["scopes"] == ["usage:write", "usage:read"]


async def test_nobody_passes_without_the_token(admin: Door) -> None:
    for method, path in (
        ("GET", "/partners/nw/preview"), ("POST", "/partners/nw/invoice"), ("GET", "/partners/parked"),
        ("POST", "/partners/nw/release"), ("POST", "/partners/nw/void"), ("GET", "/invoices/1/explain"),
        ("GET", "/tokens"), ("POST", "/tokens"), ("DELETE", "/tokens/1"),
    ):  # fmt: skip
        assert (await admin.request(method, f"/admin{path}")).status_code == 401
