"""A parked invoice is let go, or dropped, on the partner's page: with a reason, by a form of that page alone."""

import re
from datetime import date

import pytest

from tests.operators.door import Door
from tests.operators.test_dashboard import sign_in
from tests.partners.run_kit import Firm


@pytest.fixture
def firm(parked: Firm) -> Firm:
    return parked


async def states(firm: Firm) -> list[str]:
    return [row["status"] for row in await firm.query("SELECT status FROM usage_invoices ORDER BY id")]


async def mark(admin: Door, page: str = "/partners/nw") -> str:
    """The mark of what a page shows now."""
    found = re.search(r'name="seen" value="([0-9a-f]+)"', (await admin.get(page)).text)
    assert found
    return found[1]


async def test_it_is_released_for_a_reason(firm: Firm, admin: Door) -> None:
    csrf = await sign_in(admin)
    page = (await admin.get("/partners/nw")).text
    assert "2026-10 waits for you" in page
    assert "Issue the invoice: 2026-10, by what is known now?" in page
    assert "the total is 0 although there is usage" in page
    assert 'action="/partners/nw/release"' in page
    form = {"csrf": csrf, "period": "2026-10", "why": "it was a trial", "seen": await mark(admin)}
    for wrong, code in (
        ({"csrf": "0" * 64}, 403),
        ({"why": " "}, 422),
        ({"period": ""}, 422),
        ({"why": "x" * 501}, 422),
        ({"seen": ""}, 422),
    ):
        assert (await admin.post("/partners/nw/release", data=form | wrong)).status_code == code
    assert (await admin.post("/partners/nobody/release", data=form)).status_code == 404
    assert await states(firm) == ["parked"]
    answer = await admin.post("/partners/nw/release", data=form)
    assert answer.status_code == 303
    seen = (await admin.get(answer.headers["location"])).text
    assert "2026-10: API-202611-0001" in seen
    assert "waits for you" not in seen
    assert await states(firm) == ["issued"]
    (trail,) = await firm.query("SELECT who, why FROM audit_log WHERE action = 'partners.release'")
    assert tuple(trail.values()) == ("Ada (dashboard)", "it was a trial")
    again = await admin.post("/partners/nw/release", data=form)
    assert (again.status_code, "not parked" in again.text) == (409, True)


async def test_what_must_be_mended_first_stays_parked_and_the_page_says_so(firm: Firm, admin: Door) -> None:
    await firm.execute("UPDATE api_partner_contracts SET currency = 'xxx'")
    csrf = await sign_in(admin)
    form = {"csrf": csrf, "period": "2026-10", "why": "try", "seen": await mark(admin)}
    answer = await admin.post("/partners/nw/release", data=form)
    seen = (await admin.get(answer.headers["location"])).text
    assert "2026-10 is still parked: currency" in seen
    assert "To be mended before it can be released" in seen
    assert await states(firm) == ["parked"]


async def test_it_is_dropped_for_a_reason_but_only_while_it_is_parked(firm: Firm, admin: Door) -> None:
    csrf = await sign_in(admin)
    form = {"csrf": csrf, "period": "2026-10", "why": "billed elsewhere", "seen": await mark(admin)}
    assert (await admin.post("/partners/nw/void", data=form | {"csrf": ""})).status_code == 403
    assert (await admin.post("/partners/nw/void", data=form | {"why": ""})).status_code == 422
    answer = await admin.post("/partners/nw/void", data=form)
    assert "2026-10 is void" in (await admin.get(answer.headers["location"])).text
    assert await states(firm) == ["void"]
    await firm.invoice_now("2026-10")
    form["seen"] = await mark(admin)
    await admin.post("/partners/nw/release", data=form)
    late = await admin.post("/partners/nw/void", data=form)
    assert (late.status_code, "is issued, and not parked any more" in late.text) == (409, True)
    assert await states(firm) == ["void", "issued"]


async def test_nobody_decides_on_a_reason_that_the_page_did_not_show(firm: Firm, admin: Door) -> None:
    """A colleague's release parks it again for another reason while the first one still reads."""
    csrf = await sign_in(admin)
    form = {"csrf": csrf, "period": "2026-10", "why": "it was a trial", "seen": await mark(admin)}
    await firm.execute("UPDATE api_partner_contracts SET currency = 'xxx'")
    await admin.post("/partners/nw/release", data=form)
    await firm.execute("UPDATE api_partner_contracts SET currency = 'eur'")
    for what in ("release", "void"):
        stale = await admin.post(f"/partners/nw/{what}", data=form)
        assert stale.status_code == 409
        assert "2026-10 of nw was parked anew since you looked, because" in stale.text
        assert await states(firm) == ["parked"]
    await admin.post("/partners/nw/release", data=form | {"seen": await mark(admin)})
    again = (await admin.get("/partners/nw")).text
    assert await states(firm) == ["parked"], "that the total is 0 is no reason that this release was for"
    assert "the total is 0 although there is usage" in again
    await admin.post("/partners/nw/release", data=form | {"seen": await mark(admin)})
    assert await states(firm) == ["issued"]


async def test_all_that_waits_stands_on_one_page(firm: Firm, admin: Door) -> None:
    csrf = await sign_in(admin)
    assert '<a href="/parked">1 invoice for usage waits for you</a>' in (await admin.get("/partners")).text
    page = (await admin.get("/parked")).text
    assert "nw, 2026-10" in page
    form = {"csrf": csrf, "period": "2026-10", "why": "it was a trial", "seen": await mark(admin, "/parked")}
    assert (await admin.post("/partners/nw/release", data=form)).status_code == 303
    assert await states(firm) == ["issued"]
    assert "No invoice waits for anybody." in (await admin.get("/parked")).text
    assert "/parked" not in (await admin.get("/partners")).text


async def test_what_no_button_mends_is_told_there_too(firm: Firm, admin: Door) -> None:
    await firm.contract(
        "left", contract_start_date=date(2026, 8, 1), contract_end_date=date(2026, 9, 30), status="ended"
    )
    for month in ("2026-08", "2026-09"):
        await firm.invoice_now(month, prefix="left")
    await firm.use("2026-09-05 12:00", 4_000, prefix="left")
    await sign_in(admin)
    page = (await admin.get("/parked")).text
    assert '<a href="/partners/left">left</a>, 2026-09: usage of 2026-09 came after its invoice' in page
    assert page.count('<button class="main"') == 1, "that of the month which is parked"
