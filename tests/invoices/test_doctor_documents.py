"""`billing doctor` writes and reads a file where documents are kept, reads the sellers' file, and looks at fonts."""

from pathlib import Path
from typing import Any

import pytest

from intake.commands import doctor
from tests.invoices.books import InvoiceBooks

SELLERS = """
[sellers.acme]
name = "Acme GmbH"
timezone = "Europe/Berlin"
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BILLING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    return tmp_path


async def found(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return {one.name: one for one in await doctor.examine()}


def keep(file: Path, text: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


async def test_a_fresh_machine_has_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await found(monkeypatch)
    assert (checks["storage"].state, checks["pdf libraries"].state) == ("ok", "ok")
    assert (checks["sellers"].state, checks["links"].state) == ("warning", "warning")
    assert checks["fonts"].state in {"ok", "warning"}


async def test_a_storage_is_written_to_and_read(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    checks = await found(monkeypatch, STORAGE_URL=(home / "documents").as_uri())
    assert checks["storage"].state == "ok", checks["storage"]
    assert checks["storage"].found == f"{(home / 'documents').as_uri()}/billing-check.txt is written and read"
    checks = await found(monkeypatch, STORAGE_URL=f"file://{keep(home / 'a file', '')}/below")
    assert checks["storage"].state == "failed"


async def test_documents_that_nobody_will_render_are_told(
    monkeypatch: pytest.MonkeyPatch, database_url: str, ledger: InvoiceBooks
) -> None:
    await ledger.document()
    checks = await found(monkeypatch, DATABASE_URL=database_url)
    assert (checks["documents"].state, checks["documents"].found) == ("ok", "none is parked")
    made = await ledger.document("invoice/in_2", number="A-2", stripe_object_id="in_2", stored=False)
    await ledger.park(made, "it took longer than 60 s")
    checks = await found(monkeypatch, DATABASE_URL=database_url)
    assert (checks["documents"].state, checks["documents"].found) == ("warning", "parked, without a PDF: 1")
    assert "billing invoices documents --status dead" in checks["documents"].fix


async def test_the_sellers_file_is_read(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    checks = await found(monkeypatch, BILLING_SELLERS_FILE=keep(home / "sellers.toml", SELLERS))
    assert (checks["sellers"].state, checks["sellers"].found) == ("ok", "acme; acme is the default")
    wrong = SELLERS.replace("Berlin", "Berlim")
    checks = await found(monkeypatch, BILLING_SELLERS_FILE=keep(home / "wrong.toml", wrong))
    assert checks["sellers"].state == "failed"
    assert "timezone" in checks["sellers"].found


async def test_the_secret_of_links(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    checks = await found(monkeypatch, BILLING_LINK_SECRET=f"{'n' * 40},short")
    assert checks["configuration"].state == "failed"
    assert "BILLING_LINK_SECRET" in checks["configuration"].found
    checks = await found(monkeypatch, BILLING_LINK_SECRET="n" * 40, BILLING_PUBLIC_URL="https://b.example")
    assert (checks["links"].state, checks["links"].found) == ("ok", "https://b.example")
    monkeypatch.delenv("BILLING_LINK_SECRET")
    keep(home / "home" / "secrets" / "link_secret", "k" * 43)
    assert (await found(monkeypatch))["links"].state == "ok"
