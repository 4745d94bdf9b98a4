"""`billing credits`, `billing invoices paid|credit-note|push` and the API beside them do what they say."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from db.operators.filters import BadFilterError
from intake.amounts import minor
from intake.cli import build
from intake.credits import last_day
from jobs.invoices.credit_note import PaidOut
from tests.conftest import MovedClock
from tests.operators.door import TOKEN, Door, door
from tests.operators.test_dashboard import sign_in
from tests.partners.money_kit import Firm
from worker.settings import Settings

Billing = Callable[..., Awaitable[Result]]
HEAD = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    made = Firm(engine, clock, tmp_path)
    await made.contract()
    return made


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch, database_url: str, firm: Firm) -> Billing:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")  # away: a ring that nobody hears changes nothing
    monkeypatch.setenv("BILLING_HOME", str(firm.folder))
    monkeypatch.setenv("BILLING_SELLERS_FILE", str(firm.folder / "sellers.toml"))

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, build(words[0]), list(words))

    return run


@pytest.fixture
async def admin(database_url: str, firm: Firm) -> AsyncIterator[Door]:
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_home=firm.folder,
        billing_sellers_file=firm.folder / "sellers.toml",
    )
    async with door(settings) as opened:
        yield opened


async def told(billing: Billing, *words: str) -> Any:
    result = await billing(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


GRANT = ("credits", "grant", "--partner", "hopper", "--amount", "50.00", "--currency", "gbp")


async def test_a_credit_is_granted_listed_shown_and_voided(billing: Billing, firm: Firm) -> None:
    dry = await told(billing, *GRANT, "--why", "an outage", "--dry-run")
    assert (dry["dry_run"], dry["amount_cents"], await firm.credits()) == (True, 5_000, [])
    assert (await billing(*GRANT)).exit_code == 2, "a reason is needed"
    made = await told(billing, *GRANT, "--why", "an outage", "--expires", "2099-12-31", "--who", "ada")
    assert (made["state"], made["reason"], made["expires_at"][:10]) == ("open", "an outage", "2100-01-01")
    assert (await told(billing, "credits", "list", "--partner", "hopper"))[0]["id"] == made["id"]
    assert "50.00 GBP" in (await billing("credits", "list")).stdout
    await firm.bill()
    shown = await billing("credits", "show", str(made["id"]))
    assert "API-202603-0001" in shown.stdout
    assert (await billing("credits", "void", str(made["id"]), "--why", "a mistake")).exit_code == 1, "it is used up"
    assert await told(billing, "credits", "list") == []
    other = await told(billing, *GRANT, "--why", "another")
    done = await told(billing, "credits", "void", str(other["id"]), "--why", "a mistake")
    assert (done["changed"], done["state"]) == (True, "void")
    assert [one["state"] for one in await told(billing, "credits", "list", "--all")] == ["void", "used"]
    assert (await billing("credits", "show", "99")).exit_code == 1
    assert (await billing("credits", "grant", *GRANT[4:], "--why", "x")).exit_code == 2, "whose?"
    late = await billing(*GRANT, "--why", "x", "--expires", "9999-12-31")
    assert (late.exit_code, "--expires: lies outside of the years 2000 to 2200" in late.output) == (2, True)


async def test_codes(billing: Billing, firm: Firm) -> None:
    assert (await billing("credits", "promo", "list")).stdout == "there is no promotion code\n"
    made = await told(billing, "credits", "promo", "add", "welcome", "--percent", "20", "--months", "3", "--max", "1")
    assert (made["code"], made["gives"]) == ("WELCOME", "20 % off for 3 months")
    assert (await billing("credits", "promo", "add", "x", "--percent", "abc")).exit_code == 2
    neither = await billing("credits", "promo", "add", "a b")
    assert (neither.exit_code, neither.stderr.splitlines()[0]) == (
        2,
        "--percent: give either a percentage or an amount",
    )
    assert neither.stderr.splitlines()[1].startswith("CODE: 'A B' is not 3 to 40 letters")
    many = await billing("credits", "promo", "add", "xyz", "--percent", "5", "--max", "99999999999999999999")
    assert (many.exit_code, "--max: from 1 to 1000000000" in many.output) == (2, True)
    odd = await billing(*GRANT, "--why", "x", "--kind", "gift")
    assert (odd.exit_code, "--kind: 'gift' is none of refund, promotional" in odd.output) == (2, True)
    unknown = await billing("credits", "list", "--kind", "foo")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert unknown.stderr == "--kind: 'foo' is none of refund, promotional, goodwill, chargeback\n"
    done = await billing("credits", "promo", "redeem", "WELCOME", "--partner", "hopper")
    assert done.stdout == "hopper has 20 % off for 3 months\n"
    again = await billing("credits", "promo", "redeem", "WELCOME", "--partner", "hopper")
    assert (again.exit_code, "WELCOME was redeemed 1 times" in again.output) == (1, True)
    assert "1 of 1" in (await billing("credits", "promo", "list")).stdout
    amount = ("--amount", "10.00", "--currency", "eur", "--credit-days", "5")
    ten = await told(billing, "credits", "promo", "add", "TEN", *amount)
    assert ten["gives"] == "a credit of 10.00 EUR, for 5 days"


async def test_an_invoice_is_paid_and_credited(billing: Billing, firm: Firm) -> None:
    issued = await firm.bill()
    part = ("invoices", "paid", issued.number, "--amount", "50.00", "--reference", "tx 1", "--on", "2026-03-01")
    assert (await told(billing, *part, "--dry-run"))["invoice"]["amount_remaining_cents"] == 7_000
    assert (await firm.stands(issued))[1] == 0
    assert (await billing(*part)).stdout == f"{issued.number} has 70.00 GBP left to pay\n"
    assert "recorded before" in (await billing(*part)).stdout
    assert (await billing("invoices", "paid", issued.number, "--amount", "50", "--reference", "tx 2")).exit_code == 2
    over = await billing("invoices", "paid", issued.number, "--amount", "80.00", "--reference", "tx 2")
    assert (over.exit_code, "--over-as-credit" in over.output) == (1, True)
    whole = await billing("invoices", "paid", issued.number, "--reference", "tx 2")
    assert whole.stdout == f"{issued.number} is paid\n", "without an amount it is all that is due"
    note = ("invoices", "credit-note", issued.number, "--reason", "an outage")
    dry = await told(billing, *note, "--amount", "20.00", "--dry-run")
    assert (dry["number"], dry["tax_cents"], dry["kept_cents"]) == ("CN-2026-0001", 333, 2_000)
    made = await billing(*note, "--line", "1=25.00")
    assert made.stdout.startswith("CN-2026-0001: 30.00 GBP credited, 30.00 GBP kept as credits")
    assert (await billing(*note, "--line", "x")).exit_code == 2
    assert (await billing(*note, "--paid-out", "bank")).exit_code == 2
    sent = await told(billing, *note, "--paid-out", "bank", "--paid-out-reference", "out 1")
    assert (sent["total_cents"], sent["paid_out_cents"]) == (9_000, 9_000)
    assert (await billing(*note)).exit_code == 1, "all of it was credited"
    await firm.execute("INSERT INTO invoices (stripe_invoice_id, status, currency) VALUES ('in_1', 'open', 'eur')")
    assert (await billing("invoices", "paid", "in_1", "--reference", "x")).exit_code == 1


async def test_an_invoice_is_pushed(billing: Billing, firm: Firm) -> None:
    issued = await firm.bill()
    assert (await told(billing, "invoices", "push", issued.number, "--dry-run"))["amount_remaining_cents"] == 12_000
    staged = "SELECT args FROM jobs WHERE name = 'push_to_stripe'"
    assert await firm.query(staged) == []
    assert (await billing("invoices", "push", issued.number)).exit_code == 0
    assert await firm.query(staged) == [{"args": {"invoice_id": issued.invoice_id}}]


@pytest.mark.parametrize(
    ("path", "body", "field", "says"),
    [
        ("credits", {"kind": "gift"}, "kind", "refund, promotional, goodwill, chargeback"),
        ("credits", {"currency": "zzz"}, "currency", "for example eur"),
        ("credits", {"currency": "EUR"}, "currency", "small letters"),
        ("credits", {"amount_cents": 0}, "amount_cents", "greater than 0"),
        ("credits", {"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "is past"),
        ("promo-codes", {"percent": "101"}, "percent", "at most 100"),
        ("promo-codes", {"percent": "a tenth"}, "percent", "write 20 or 12.5"),
        ("promo-codes", {"percent": None}, "percent", "either a percentage or an amount"),
        ("promo-codes", {"code": "a b"}, "code", "for example WELCOME-20"),
        ("promo-codes", {"months": 0}, "months", "from 1 to 120"),
        ("promo-codes", {"credit_days": 9}, "credit_days", "of an amount"),
        ("promo-codes", {"max_redemptions": 10**19}, "max_redemptions", "from 1 to"),
        ("promo-codes", {"percent": None, "amount_cents": 5}, "currency", "go together"),
        ("promo-codes", {"percent": None, "amount_cents": 5, "currency": "zzz"}, "currency", "for example eur"),
    ],
)
@pytest.mark.usefixtures("firm")
async def test_the_api_names_what_is_wrong_by_its_field(
    admin: Door, path: str, body: dict[str, Any], field: str, says: str
) -> None:
    right: dict[str, Any] = {"partner": "hopper", "currency": "gbp", "amount_cents": 10}
    if path == "promo-codes":
        right = {"code": "ten", "percent": "10"}
    answer = await admin.post(f"/admin/{path}", json={"why": "a test", **right, **body}, headers=HEAD)
    assert answer.status_code == 422, answer.text
    (told,) = answer.json()["detail"]
    assert (told["loc"], says in told["msg"]) == (["body", field], True), told
    assert "--" not in told["msg"]


@pytest.mark.usefixtures("firm")
async def test_a_customer_that_is_not_there_is_not_looked_for_among_partners(admin: Door) -> None:
    body = {"why": "a test", "user": 99_999, "currency": "gbp", "amount_cents": 10}
    answer = await admin.post("/admin/credits", json=body, headers=HEAD)
    assert (answer.status_code, answer.json()["detail"]) == (409, "there is no customer 99999\nnothing was changed")


async def test_the_api_does_the_same(admin: Door, firm: Firm) -> None:
    async def post(path: str, expect: int = 200, **body: Any) -> Any:
        answer = await admin.post(f"/admin/{path}", json={"why": "a test", **body}, headers=HEAD)
        assert answer.status_code == expect, answer.text
        return answer.json()

    issued = await firm.bill()
    assert (await admin.get("/admin/credits")).status_code == 401
    made = await post("credits", partner="hopper", currency="gbp", amount_cents=1_000)
    await post("credits", 409, partner="nobody", currency="gbp", amount_cents=1_000)
    await post("credits", 422, partner="hopper", currency="gbp", amount_cents=10, expires_at="2099-01-01T00:00:00")
    await post("credits", 422, partner="hop\x00per", currency="gbp", amount_cents=10)
    await post(
        "credits", 422, partner="hopper", currency="gbp", amount_cents=10, expires_at="9999-12-31T23:59:59-23:00"
    )
    await post("promo-codes", 422, code="ten", percent="10", expires_at="9999-12-31T23:59:59-23:00")
    for no_text in ("partner=%00", "kind=%00", "kind=foo"):
        assert (await admin.get(f"/admin/credits?{no_text}", headers=HEAD)).status_code == 422
    listed = (await admin.get("/admin/credits?partner=hopper", headers=HEAD)).json()
    assert [one["id"] for one in listed["credits"]] == [made["id"]]
    assert (await admin.get(f"/admin/credits/{made['id']}", headers=HEAD)).json()["applications"] == []
    assert (await admin.get("/admin/credits/99", headers=HEAD)).status_code == 404
    assert (await post(f"credits/{made['id']}/void", dry_run=True))["state"] == "void"
    assert (await post(f"credits/{made['id']}/void"))["state"] == "void"
    assert (await post("promo-codes", code="ten", percent="10"))["gives"] == "10 % off for ever"
    assert (await post("promo-codes/ten/redeem", partner="hopper"))["code"] == "TEN"
    assert (await admin.get("/admin/promo-codes", headers=HEAD)).json()["codes"][0]["redeemed"] == 1
    number = issued.number
    paid = await post(f"invoices/{number}/payments", amount_cents=2_000, reference="tx")
    assert paid["invoice"]["amount_remaining_cents"] == 10_000
    await post(f"invoices/{number}/payments", 409, amount_cents=99_000, reference="tx 2")
    assert paid["receipt_document_id"] is not None
    await post(f"invoices/{number}/payments/void", 409, reference="tx 2")
    tried = await post(f"invoices/{number}/payments/void", reference="tx", dry_run=True)
    assert (tried["new"], tried["invoice"]["amount_remaining_cents"], tried["dry_run"]) == (True, 12_000, True)
    gone = await post(f"invoices/{number}/payments/void", reference="tx")
    assert (gone["new"], gone["amount_cents"], gone["invoice"]["amount_remaining_cents"]) == (True, 2_000, 12_000)
    assert (await post(f"invoices/{number}/payments/void", reference="tx"))["new"] is False
    await post(f"invoices/{number}/payments", amount_cents=2_000, reference="tx")
    note = await post(f"invoices/{number}/credit-notes", lines=[{"number": 1, "amount_cents": 5_000}])
    assert (note["number"], note["total_cents"], note["set_off_cents"]) == ("CN-2026-0001", 6_000, 6_000)
    assert (await post(f"invoices/{number}/push"))["amount_remaining_cents"] == 4_000


@pytest.mark.parametrize(
    ("typed", "currency", "found"),
    [
        ("119.00", "eur", 11_900),
        ("1,234.50", "usd", 123_450),
        ("0.05", "eur", 5),
        ("119", "jpy", 119),
        ("1.250", "kwd", 1_250),
    ],
)
def test_amounts_as_they_are_typed(typed: str, currency: str, found: int) -> None:
    assert minor("amount", typed, currency) == found


@pytest.mark.parametrize(
    ("typed", "currency"),
    [("119", "eur"), ("11900", "eur"), ("1.5", "eur"), ("1.00", "jpy"), ("-1.00", "eur"), ("1,00", "eur")],
)
def test_amounts_that_could_mean_two_things(typed: str, currency: str) -> None:
    with pytest.raises(BadFilterError, match="write it as 119"):
        minor("amount", typed, currency)


@pytest.mark.parametrize(
    ("ends_at", "day"),
    [("2027-01-01T00:00:00Z", "2026-12-31"), ("2027-01-01T00:00:01+00:00", "2027-01-01"), (None, "")],
)
def test_the_last_day_is_told_as_it_was_typed(ends_at: str | None, day: str) -> None:
    assert last_day(ends_at) == day


async def test_an_invoice_shows_what_became_of_its_amount(billing: Billing, firm: Firm, admin: Door) -> None:
    credit = await firm.grant(2_000)
    issued = await firm.bill()
    await firm.paid(issued, 4_000, "SEPA 77")
    await firm.credit(issued, 3_000)
    sent = await firm.credit(issued, 5_000, paid_out=PaidOut("bank_transfer", "SEPA 78"))
    shown = await told(billing, "invoices", "show", issued.number)
    assert [(one["credit_id"], one["kind"], one["amount_cents"]) for one in shown["credits"]] == [
        (credit, "goodwill", 2_000)
    ]
    assert [(one["amount_cents"], one["reference"], one["recorded_by"]) for one in shown["payments"]] == [
        (4_000, "SEPA 77", "ada")
    ]
    notes = [(one["number"], one["total_cents"], one["paid_out_cents"]) for one in shown["credit_notes"]]
    assert notes == [("CN-2026-0001", 3_000, 0), (sent.number, 5_000, sent.paid_out)]
    assert sent.paid_out
    page = (await billing("invoices", "show", issued.number)).stdout
    for said in ("20.00 GBP  credit 1 (goodwill): for a test", "40.00 GBP  bank_transfer SEPA 77, by ada",
                 "30.00 GBP  CN-2026-0001: an outage", "of it sent back"):  # fmt: skip
        assert said in page, page
    by_api = (await admin.get(f"/admin/invoices/{issued.number}", headers=HEAD)).json()
    assert [one["total_cents"] for one in by_api["credit_notes"]] == [3_000, 5_000]
    await sign_in(admin)
    seen = (await admin.get(f"/invoices/{issued.number}")).text
    for said in ("What became of it", "SEPA 77", "CN-2026-0001", "40.00 GBP"):
        assert said in seen


async def test_an_invoice_is_voided_for_a_reason(billing: Billing, firm: Firm) -> None:
    for option in ("--why", "--reason"):
        issued = await firm.bill()
        done = await told(billing, "invoices", "void", issued.number, option, "the wrong company")
        assert done["invoice"]["void_reason"] == "the wrong company"
    assert (await billing("invoices", "void", issued.number)).exit_code == 2


async def test_a_payment_that_was_a_mistake_is_voided(billing: Billing, firm: Firm, admin: Door) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000, "SEPA 77")
    void = ("invoices", "void-payment", issued.number, "--reference", "SEPA 77")
    assert (await billing(*void)).exit_code == 2, "a reason is needed"
    assert (await billing("invoices", "void-payment", issued.number, "--reference", "x", "--why", "y")).exit_code == 1
    tried = await billing(*void, "--why", "another customer's", "--dry-run")
    assert "has 120.00 GBP left to pay" in tried.stdout
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    done = await billing(*void, "--why", "another customer's")
    assert "has 120.00 GBP left to pay; tell the customer, who may have the receipt" in done.stdout
    assert "was voided before" in (await billing(*void, "--why", "again")).stdout
    assert await firm.stands(issued) == ("open", 0, 0, 12_000)
    page = (await billing("invoices", "show", issued.number)).stdout
    assert "bank_transfer SEPA 77, by ada; void, by" in page
    assert "another customer's" in page
    (shown,) = (await told(billing, "invoices", "show", issued.number))["payments"]
    assert (shown["void_reason"], shown["voided_at"] is not None) == ("another customer's", True)
    by_api = (await admin.get(f"/admin/invoices/{issued.number}", headers=HEAD)).json()
    assert by_api["payments"][0]["void_reason"] == "another customer's"
    await sign_in(admin)
    seen = (await admin.get(f"/invoices/{issued.number}")).text
    assert "another customer" in seen
