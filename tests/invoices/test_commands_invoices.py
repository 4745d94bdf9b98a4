"""`billing invoices`: operators find invoices by any name, fetch PDFs, and issue and void their own."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.invoices.books import PDF, InvoiceBooks
from tests.invoices.conftest import Billing
from worker.links import Verdict, judge

ORDER: dict[str, Any] = {
    "kind": "manual",
    "currency": "eur",
    "buyer": {"name": "Globex AG", "email": "ap@globex.example", "address": {"line1": "Ring 1", "country": "DE"}},
    "lines": [{"description": "Workshop", "quantity": "2", "unit_price_minor": "50000"}],
    "taxes": [{"name": "MwSt.", "percent": "19"}],
}


@pytest.fixture
def order(tmp_path: Path) -> Path:
    file = tmp_path / "order.json"
    file.write_text(json.dumps(ORDER))
    return file


def written(file: Path, order: dict[str, Any]) -> None:
    file.write_text(json.dumps(order))


async def told(billing: Billing, *words: str) -> Any:
    result = await billing(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_the_list_and_one_story(billing: Billing, ledger: InvoiceBooks) -> None:
    assert (await billing("list")).stdout == "no invoice matches\n"
    await ledger.user()
    await ledger.invoice()
    await ledger.invoice("in_2", "A-0002", status="paid")
    await ledger.document()
    found = await told(billing, "list", "--customer", "cus_1")
    assert [(one["invoice_number"], one["document_status"]) for one in found] == [
        ("A-0002", None),
        ("A-0001", "stored"),
    ]
    assert [one["invoice_number"] for one in await told(billing, "list", "--status", "paid")] == ["A-0002"]
    assert await told(billing, "list", "--since", "2026-03-02") == []
    listed = await billing("list")
    assert "119.00 EUR" in listed.stdout
    shown = await billing("show", "A-0001")
    assert "invoice/in_1" in shown.stdout
    assert (await told(billing, "show", "in_1"))["document"]["number"] == "A-0001"
    assert (await billing("show", "nothing")).exit_code == 1
    assert (await billing("list", "--status", "payed")).exit_code == 2


async def test_the_documents_with_what_is_wrong(billing: Billing, ledger: InvoiceBooks) -> None:
    assert (await billing("documents")).stdout == "no document matches\n"
    await ledger.document()
    note = await ledger.document(
        "credit_note/cn_1", kind="credit_note", number="CN-1", stripe_object_id="cn_1", stored=False
    )
    await ledger.park(note, "does not add up")
    assert [one["key"] for one in await told(billing, "documents", "--status", "dead")] == ["credit_note/cn_1"]
    assert "does not add up" in (await billing("documents")).stdout
    told_of = await told(billing, "show", "CN-1")
    assert (told_of["invoice"], told_of["document"]["key"]) == (None, "credit_note/cn_1")


async def test_the_pdf_goes_where_it_is_wanted(
    billing: Billing, ledger: InvoiceBooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await ledger.invoice(number="2026/1")
    await ledger.document(number="2026/1")
    named = await billing("pdf", "in_1")
    assert (named.exit_code, named.stdout) == (0, "invoice-2026-1.pdf\n")
    assert (tmp_path / "invoice-2026-1.pdf").read_bytes() == PDF
    assert (await billing("pdf", "2026/1", "-o", "-")).stdout_bytes == PDF
    assert (await billing("pdf", "invoice/in_1", "-o", str(tmp_path / "x.pdf"))).exit_code == 0
    (tmp_path / "invoice-2026-1.pdf").write_bytes(b"mine")
    refused = await billing("pdf", "in_1")
    assert (refused.exit_code, "something else" in refused.stderr) == (1, True)


async def test_why_there_is_no_pdf(billing: Billing, ledger: InvoiceBooks) -> None:
    await ledger.invoice()
    refused = await billing("pdf", "in_1")
    assert (refused.exit_code, "BILLING_STRIPE_DOCUMENTS" in refused.stderr) == (1, True)
    await ledger.document(stored=False)
    assert "not rendered yet" in (await billing("pdf", "in_1")).stderr
    first = await ledger.invoice("in_2", "A-0002")
    await ledger.invoice("in_3", str(first))
    refused = await billing("pdf", str(first))
    assert (refused.exit_code, "name it by its id" in refused.stderr) == (1, True)


async def test_a_link_for_the_customer(
    billing: Billing, ledger: InvoiceBooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.invoice()
    made = await ledger.document()
    refused = await billing("link", "in_1")
    assert (refused.exit_code, "BILLING_LINK_SECRET" in refused.stderr) == (2, True)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "link_secret").write_text("k" * 43)
    result = await billing("link", "in_1")
    path = result.stdout.strip()
    assert path.startswith(f"/documents/{made}?")
    assert "BILLING_PUBLIC_URL" in result.stderr
    monkeypatch.setenv("BILLING_PUBLIC_URL", "https://billing.example.com")
    link = (await billing("pdf", "A-0001", "--link")).stdout.strip()
    assert link.startswith("https://billing.example.com/documents/")
    expires, signature = (part.partition("=")[2] for part in path.partition("?")[2].split("&"))
    verdict = judge(str(made), expires, signature, secrets=[b"k" * 43], now=datetime.now(UTC))
    assert verdict is Verdict.GOOD
    assert result.stderr.count("\n") == 1


async def test_a_link_to_what_is_not_there_says_what_to_do(
    billing: Billing, ledger: InvoiceBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_LINK_SECRET", "k" * 43)
    monkeypatch.setenv("BILLING_PUBLIC_URL", "https://billing.example.com")
    await ledger.invoice()
    made = await ledger.document(stored=False)
    waiting = await billing("link", "in_1")
    assert waiting.stdout.startswith(f"https://billing.example.com/documents/{made}?")
    assert "is not rendered yet; until it is rendered, the link answers 503" in waiting.stderr
    await ledger.park(made, "it took longer than 60 s")
    async with ledger.engine.begin() as conn:
        await conn.exec_driver_sql("UPDATE documents SET job_id = 77")
    parked = await billing("link", "in_1")
    assert (parked.exit_code, parked.stdout[:8]) == (0, "https://")
    assert "was parked (it took longer than 60 s): mend that, then `billing jobs retry 77`" in parked.stderr


async def test_a_dry_run_prints_the_lines_and_sums_and_leaves_nothing(
    billing: Billing, ledger: InvoiceBooks, order: Path
) -> None:
    result = await billing("issue", str(order), "--dry-run")
    assert result.exit_code == 0, result.output
    for part in (
        "DRAFT",
        "Globex AG",
        "Workshop",
        "1,000.00 EUR",
        "MwSt. 19 %",
        "190.00 EUR",
        "1,190.00 EUR",
        "nothing was",
    ):
        assert part in result.stdout, part
    assert (await told(billing, "issue", str(order), "--dry-run"))["document"]["total_minor"] == 119_000
    assert await told(billing, "list") == []
    assert ledger


async def test_prices_of_a_draft_have_a_currency(billing: Billing, ledger: InvoiceBooks, order: Path) -> None:
    lines = [
        {"description": "API calls", "quantity": "40000", "unit_price_minor": "0.25"},
        {"description": "Workshop", "quantity": "1", "unit_price_minor": "1250000"},
    ]
    for currency, prices in (("eur", ("0.0025 EUR", "12,500.00 EUR")), ("jpy", ("0.25 JPY", "1,250,000 JPY"))):
        written(order, ORDER | {"currency": currency, "lines": lines})
        said = (await billing("issue", str(order), "--dry-run")).stdout
        assert all(price in said for price in prices), said
        assert "minor" not in said
    assert ledger


async def test_a_draft_of_what_was_invoiced_before(billing: Billing, ledger: InvoiceBooks, order: Path) -> None:
    written(order, ORDER | {"key": "order/1"})
    assert (await told(billing, "issue", str(order), "--dry-run"))["issued_before_as"] is None
    number = (await told(billing, "issue", str(order)))["invoice"]["invoice_number"]
    assert (await told(billing, "issue", str(order), "--dry-run"))["issued_before_as"] == number
    same = await billing("issue", str(order), "--dry-run")
    assert f"its key was invoiced before, as {number}: issuing it does nothing" in same.stdout
    written(order, ORDER | {"key": "order/1", "taxes": []})
    for more in ((), ("--dry-run",)):
        other = await billing("issue", str(order), *more)
        assert (other.exit_code, f"'order/1' was invoiced as {number} over" in other.stderr) == (2, True), other.output
    assert "over 1,190.00 EUR, and not over 1,000.00 EUR" in other.stderr
    await told(billing, "void", number, "--reason", "the wrong taxes")
    assert (await told(billing, "issue", str(order), "--dry-run"))["issued_before_as"] is None
    written(order, ORDER | {"user_id": 4711})
    nobody = await billing("issue", str(order), "--dry-run")
    assert (nobody.exit_code, "there is no customer 4711" in nobody.stderr) == (2, True)
    assert ledger


async def test_a_draft_as_a_pdf(billing: Billing, order: Path, tmp_path: Path) -> None:
    result = await billing("issue", str(order), "--dry-run", "-o", str(tmp_path / "draft.pdf"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "draft.pdf").read_bytes().startswith(b"%PDF-")


async def test_an_invoice_is_issued_and_voided(billing: Billing, ledger: InvoiceBooks, order: Path) -> None:
    made = await told(billing, "issue", str(order), "--who", "ada", "--why", "a workshop")
    number = made["invoice"]["invoice_number"]
    year = datetime.now(UTC).year
    assert (number, made["invoice"]["total_cents"], made["new"]) == (f"INV-{year}-0001", 119_000, True)
    assert made["document"]["status"] == "waiting"
    tried = await told(billing, "void", number, "--reason", "wrong company", "--dry-run")
    assert (tried["changed"], (await told(billing, "show", number))["invoice"]["status"]) == (True, "open")
    assert [(one["id"], one["job_id"] is None, one["file"] is None) for one in tried["documents"]] == [
        (made["document"]["id"], False, False),
        (None, True, True),
    ]
    assert "\nnew  INV-" in (await billing("void", number, "--reason", "x", "--dry-run")).stdout
    void = await told(billing, "void", number, "--reason", "wrong company", "--who", "ada")
    assert (void["invoice"]["status"], void["invoice"]["void_reason"]) == ("void", "wrong company")
    assert [one["stamp"] for one in void["documents"]] == [None, "void"]
    assert [(one["action"], one["who"], one["why"]) for one in void["audit"]] == [
        ("invoices.issue", "ada", "a workshop"),
        ("invoices.void", "ada", "wrong company"),
    ]
    assert not (await told(billing, "void", number, "--reason", "again"))["changed"]
    assert (await told(billing, "issue", str(order)))["invoice"]["invoice_number"] == f"INV-{year}-0002"
    await ledger.invoice()
    refused = await billing("void", "in_1", "--reason", "x")
    assert (refused.exit_code, "voided at Stripe" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"currency": "EURO"}, "currency"),
        ({"lines": []}, "lines"),
        ({"lines": [{"description": "x"}]}, "lines[0]: give amount_minor"),
        ({"seler": "x"}, "seler"),
        ({"seller": "nobody"}, "no seller is named 'nobody'"),
    ],
)
async def test_what_is_wrong_is_said_in_words(billing: Billing, order: Path, change: dict[str, Any], said: str) -> None:
    written(order, ORDER | change)
    for more in ((), ("--dry-run",)):
        result = await billing("issue", str(order), *more)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
    assert await told(billing, "list") == []


async def test_a_file_that_cannot_be_read(billing: Billing, tmp_path: Path) -> None:
    result = await billing("issue", str(tmp_path / "nothing.json"))
    assert (result.exit_code, "cannot be read" in result.stderr) == (2, True)


async def test_who_waits_too_long_for_others_is_told_so(billing: Billing, ledger: InvoiceBooks, order: Path) -> None:
    number = (await told(billing, "issue", str(order)))["invoice"]["invoice_number"]
    async with ledger.engine.begin() as conn:
        await conn.exec_driver_sql("SELECT 1 FROM invoices FOR UPDATE")
        late = await billing("void", number, "--reason", "x")
    assert late.exit_code == 1
    assert "others held what it wanted for too long: it gave up, and undid what it had begun" in late.stderr
    assert (await told(billing, "show", number))["invoice"]["status"] == "open"


async def test_why_there_is_no_xml(billing: Billing, ledger: InvoiceBooks) -> None:
    await ledger.invoice()
    await ledger.document(content={"without_factur_x": ["buyer: the address has no country (BR-9, BR-11)"]})
    assert "without Factur-X: buyer: the address has no country (BR-9, BR-11)" in (await billing("show", "in_1")).stdout


async def test_an_order_is_found_by_its_key(billing: Billing, order: Path) -> None:
    written(order, ORDER | {"key": "order/4711"})
    number = (await told(billing, "issue", str(order)))["invoice"]["invoice_number"]
    assert (await told(billing, "show", "order/4711"))["invoice"]["invoice_number"] == number


async def test_a_copy_is_staged_and_the_original_looked_at(billing: Billing, ledger: InvoiceBooks, order: Path) -> None:
    made = await told(billing, "issue", str(order))
    number = made["invoice"]["invoice_number"]
    tried = await told(billing, "rerender", number, "--dry-run")
    assert "not rendered yet" in tried["sound"]
    assert (tried["copy"]["id"], tried["copy"]["job_id"], tried["copy"]["file"]) == (None, None, None)
    assert len((await told(billing, "show", number))["documents"]) == 1
    copy = await told(billing, "rerender", number, "--why", "lost")
    assert (copy["copy"]["stamp"], copy["copy"]["copy_of"]) == ("copy", made["document"]["id"])
    shown = await told(billing, "show", number)
    assert (len(shown["documents"]), shown["document"]["id"]) == (2, made["document"]["id"])
    assert shown["audit"][-1]["action"] == "invoices.rerender"
    assert ledger
