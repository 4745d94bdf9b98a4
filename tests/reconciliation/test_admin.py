"""The internal API and the dashboard tell what did not agree, and let an operator put away what is known."""

import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from db.states import DifferenceClass
from intake.overview import overview
from tests.operators.door import TOKEN, Door, door
from tests.operators.test_dashboard import sign_in
from tests.reconciliation.desk_kit import AT, MISSING, PERIOD, compared
from worker.settings import Settings

BEARER = {"Authorization": f"Bearer {TOKEN}", "X-Operator": "ada"}


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[Door]:
    settings = Settings(database_url=database_url, redis_url="redis://127.0.0.1:1/0", admin_token=SecretStr(TOKEN))
    async with door(settings) as opened:
        yield opened


async def test_comparisons_by_the_api(admin: Door, engine: AsyncEngine) -> None:
    assert (await admin.get("/admin/reconciliation")).status_code == 401
    empty = (await admin.get("/admin/reconciliation", headers=BEARER)).json()
    assert empty == {"runs": [], "next": None, "open": {one.value: 0 for one in DifferenceClass}, "differences": []}
    report = await compared(engine, MISSING, PERIOD)
    told = (await admin.get("/admin/reconciliation", headers=BEARER)).json()
    (run,) = told["runs"]
    assert (run["status"], run["found"], run["mended"], run["left"]) == ("done", 2, 1, 1)
    assert told["open"]["missing_here"] == 1
    (one,) = told["differences"]
    assert (one["class"], one["object_id"], one["here"], one["there"]) == ("missing_here", "ch_1", None, "4900")
    story = (await admin.get(f"/admin/reconciliation/{report.run}", headers=BEARER)).json()
    assert [each["settled_how"] for each in story["differences"]] == [None, "repaired"]
    assert (await admin.get("/admin/reconciliation/999", headers=BEARER)).status_code == 404
    assert (await admin.get("/admin/reconciliation?limit=0", headers=BEARER)).status_code == 422


async def test_a_difference_is_dismissed_with_a_reason(admin: Door, engine: AsyncEngine) -> None:
    await compared(engine, MISSING)
    path = "/admin/reconciliation/differences/1/dismiss"
    assert (await admin.post(path, headers=BEARER, json={})).status_code == 422
    tried = await admin.post(path, headers=BEARER, json={"why": "a test charge", "dry_run": True})
    assert tried.json()["dry_run"]
    assert (await admin.get("/admin/reconciliation", headers=BEARER)).json()["open"]["missing_here"] == 1
    done = await admin.post(path, headers=BEARER, json={"why": "a test charge"})
    assert done.json()["audit"][0]["why"] == "a test charge"
    assert (await admin.get("/admin/reconciliation", headers=BEARER)).json()["differences"] == []
    again = await admin.post(path, headers=BEARER, json={"why": "a test charge"})
    assert (again.status_code, "dismissed already" in again.text) == (409, True)
    assert (await admin.post(path.replace("1", "7"), headers=BEARER, json={"why": "x"})).status_code == 404
    later = await compared(engine, MISSING, day=1)
    assert (later.found, later.agrees) == (0, True)


async def test_the_pages(admin: Door, engine: AsyncEngine) -> None:
    csrf = await sign_in(admin)
    assert "Nothing was compared yet" in (await admin.get("/reconciliation")).text
    report = await compared(engine, MISSING, PERIOD)
    page = (await admin.get("/reconciliation")).text
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
    for said in (
        "2 differences, 1 of them mended; 1 remains",
        "12,000.00 12,049.00 -49.00",
        "charge ch_1",
        "49.00 EUR",
    ):
        assert said in words, (said, words)
    run = (await admin.get(f"/reconciliation/{report.run}")).text
    assert "2026-12-31 00:00:00" in run
    path = "/reconciliation/differences/1/dismiss"
    assert (await admin.post(path, data={"csrf": csrf})).status_code == 422
    answer = await admin.post(path, data={"csrf": csrf, "why": "known"})
    assert answer.headers["location"].startswith("/reconciliation?said=dismissed")
    assert "Nothing is open." in (await admin.get("/reconciliation")).text
    assert (await admin.get("/reconciliation/999")).status_code == 404


async def test_the_gauge_and_the_hint(admin: Door, engine: AsyncEngine) -> None:
    await compared(engine, MISSING, PERIOD)
    told = (await admin.get("/metrics")).text
    found = dict(re.findall(r'billing_reconciliation_differences\{class="(\w+)"\} (\S+)', told))
    assert found == {one.value: "1.0" if one is DifferenceClass.MISSING_HERE else "0.0" for one in DifferenceClass}
    hints = (await overview(engine, (), AT))["hints"]
    assert "1 difference to Stripe: billing reconcile differences" in hints
