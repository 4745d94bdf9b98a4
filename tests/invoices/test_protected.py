"""What was issued stays as it is, in every row that tells of it; what is mailed is what still holds."""

import asyncio
import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import numbering
from db.numbering import Uneven
from db.operators import emails
from db.operators.actions import Actor
from intake.commands import doctor
from jobs.invoices.drafts import DraftLine
from jobs.invoices.issue import Issued
from jobs.invoices.void import void
from tests.conftest import MovedClock
from tests.invoices.office import NOVEMBER, Office, draft
from tests.mail.carriers import FakeMailer
from worker.errors import TryLater

LOGO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
KEPT = "what was issued is neither changed nor removed"
NEW_YEAR = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
"""Berlin is in 2027, London in 2026."""


@pytest.fixture
def office(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Office:
    return Office(engine, clock, tmp_path)


@pytest.fixture
def carrier(office: Office) -> FakeMailer:
    assert isinstance(office.mailer, FakeMailer)
    return office.mailer


async def voided(office: Office, issued: Issued) -> None:
    async with office.deps.tx() as tx:
        assert await void(tx, issued.invoice_id, reason="wrong company")


async def uneven(office: Office) -> Sequence[Uneven]:
    async with office.engine.connect() as conn:
        return await numbering.uneven(conn)


def with_logo(office: Office) -> None:
    (office.folder / "logo.png").write_bytes(LOGO)
    file = office.folder / "sellers.toml"
    file.write_text(file.read_text().replace('terms = "net_15"', 'terms = "net_15"\nlogo = "logo.png"'))


# --- rows ---


@pytest.mark.parametrize(
    "change",
    [
        "tax_cents = 0",
        "subtotal_cents = 1",
        "discount_cents = 5",
        "amount_due_cents = 1",
        "line_items = '[]'",
        "own_key = 'other'",
        "own_key = own_key || '#void-' || id",
        "own_key = NULL",
        "user_id = (SELECT max(id) FROM users)",
        "customer_name = 'X'",
        "customer_email = 'x@y.example'",
        "due_date = NULL",
        "api_key_prefix = 'other'",
        "billing_period_start = NULL",
        "billing_period_end = NULL",
        "livemode = true",
        "kind = NULL",
        "status = 'draft'",
        "status = NULL",
        "deleted_at = now()",
        "stripe_invoice_id = 'in_1', kind = NULL",
    ],
)
async def test_nothing_that_an_invoice_says_can_change(office: Office, change: str) -> None:
    await office.execute("INSERT INTO users (stripe_customer_id) VALUES ('cus_x')")
    await office.issue(draft("k", period=NOVEMBER))
    with pytest.raises(IntegrityError, match=KEPT):
        await office.execute(f"UPDATE invoices SET {change}")  # noqa: S608 - the test's own words


async def test_what_becomes_of_an_invoice_is_recorded(office: Office) -> None:
    await office.issue(draft("k"))
    for change in (
        "status = 'uncollectible', marked_uncollectible_at = now()",
        "status = 'paid', paid_at = now(), amount_paid_cents = amount_due_cents, amount_remaining_cents = 0",
        "status = 'open', paid_at = NULL, amount_paid_cents = 0, amount_remaining_cents = amount_due_cents",
        "notes = 'called on Monday', invoice_pdf_url = 'memory:///x'",
    ):
        await office.execute(f"UPDATE invoices SET {change}")  # noqa: S608 - the test's own words


@pytest.mark.parametrize("change", ["status = 'open'", "void_reason = 'none'", "voided_at = NULL", "own_key = 'k'"])
async def test_a_void_invoice_does_not_come_back(office: Office, change: str) -> None:
    await voided(office, await office.issue(draft("k")))
    with pytest.raises(IntegrityError, match=KEPT):
        await office.execute(f"UPDATE invoices SET {change}")  # noqa: S608 - the test's own words


@pytest.mark.parametrize(
    "change",
    [
        "invoice_id = NULL, stripe_object_id = 'x'",
        "user_id = (SELECT max(id) FROM users)",
        "mailed = NOT mailed",
        "stripe_object_id = 'in_9'",
        "stripe_invoice_id = 'in_9'",
        "created_at = now()",
        "locale = 'fr'",
        "stamp = 'void'",
    ],
)
async def test_a_document_is_not_given_to_somebody_else(office: Office, change: str) -> None:
    await office.execute("INSERT INTO users (stripe_customer_id) VALUES ('cus_x')")
    await office.issue(draft("k"))
    with pytest.raises(IntegrityError, match=KEPT):
        await office.execute(f"UPDATE documents SET {change}")  # noqa: S608 - the test's own words


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE document_assets SET content = content || 'x'::bytea",
        "DELETE FROM document_assets",
        "TRUNCATE document_assets",
        "TRUNCATE documents",
        "TRUNCATE invoices CASCADE",
        "TRUNCATE users CASCADE",
        "TRUNCATE invoice_series",
        "DELETE FROM invoice_series",
        "UPDATE invoice_series SET next_number = 1",
        "UPDATE invoice_series SET year = 2027",
        "UPDATE invoice_series SET series = 'manual'",
    ],
)
async def test_pictures_numbers_and_whole_tables_stay(office: Office, change: str) -> None:
    with_logo(office)
    await office.issue()
    with pytest.raises(IntegrityError, match=KEPT):
        await office.execute(change)


async def test_books_without_an_invoice_of_ours_can_be_emptied(office: Office) -> None:
    await office.execute(
        "INSERT INTO invoices (stripe_invoice_id, invoice_number, status) VALUES ('in_1', 'A-1', 'open')"
    )
    await office.execute("UPDATE invoices SET invoice_number = 'A-2', total_cents = 5, status = 'void'")
    await office.execute("UPDATE invoices SET status = 'open'")
    await office.execute("TRUNCATE users, invoices, documents, document_assets, invoice_series CASCADE")
    assert await office.query("SELECT 1 FROM invoices") == []


async def test_a_picture_that_was_changed_is_not_rendered(office: Office) -> None:
    with_logo(office)
    issued = await office.issue()
    await office.execute("ALTER TABLE document_assets DISABLE TRIGGER document_assets_kept")
    await office.execute("UPDATE document_assets SET content = content || 'x'::bytea")
    await office.work()
    row = await office.document(issued)
    assert (row.status, "was changed after it was issued" in (row.reason or "")) == ("dead", True)


# --- numbers ---


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE invoice_series SET next_number = next_number + 100",
        "INSERT INTO invoice_series VALUES ('partner', 2031, 7)",
        "INSERT INTO invoice_series VALUES ('new', 2026, 2)",
    ],
)
async def test_no_number_is_taken_without_an_invoice(office: Office, change: str) -> None:
    await office.issue()
    with pytest.raises(IntegrityError, match="numbers are counted"):
        await office.execute(change)
    assert await uneven(office) == []


async def test_who_takes_numbers_and_uses_fewer_takes_none(office: Office) -> None:
    await office.issue()
    with pytest.raises(IntegrityError, match="series partner: 3 numbers are counted, 1 invoices have one"):
        async with office.deps.tx() as tx:
            await numbering.take(tx.conn, {("partner", 2026): 2})
    assert (await office.issue()).number == "API-202603-0002"


async def test_a_lost_count_gives_no_number_twice_and_is_repaired(
    office: Office, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """The month in the number would hide it from the unique key."""
    await office.issue()
    await office.execute("ALTER TABLE invoice_series DISABLE TRIGGER invoice_series_kept")
    await office.execute("DELETE FROM invoice_series")
    office.clock.move(timedelta(days=40))
    with pytest.raises(IntegrityError, match="`billing doctor` tells"):
        await office.issue()
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BILLING_HOME", str(office.folder))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    (told,) = [one for one in await doctor.examine() if one.name == "numbers"]
    assert told.state == "failed"
    assert told.found == "series partner, 2026: 0 numbers taken, 1 invoices of ours have one"
    assert "set its next_number in invoice_series to 2" in told.fix
    await office.execute("INSERT INTO invoice_series VALUES ('partner', 2026, 2)")
    assert (await office.issue()).number[-4:] == "0002"
    (told,) = [one for one in await doctor.examine() if one.name == "numbers"]
    assert (told.state, told.found) == ("ok", "no gap in any series")


async def test_a_lost_invoice_is_missed(office: Office) -> None:
    for _ in range(3):
        await office.issue()
    for table, trigger in (("documents", "documents_kept"), ("invoices", "invoices_kept")):
        await office.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    await office.execute("DELETE FROM documents WHERE number = 'API-202603-0002'")
    await office.execute("DELETE FROM invoices WHERE invoice_number = 'API-202603-0002'")
    assert await uneven(office) == [Uneven("partner", 2026, taken=3, issued=2)]
    assert (await office.issue()).number == "API-202603-0004", "customers are served all the same"
    office.clock.move(timedelta(days=365))
    assert (await office.issue()).number == "API-202703-0001"


async def test_years_are_those_of_the_sellers_day(office: Office) -> None:
    office.clock.time = NEW_YEAR
    assert (await office.issue()).number == "API-202701-0001"
    assert (await office.issue(draft(kind="manual", seller="isles"))).number == "NI/2027/001"
    office.clock.time = NEW_YEAR - timedelta(hours=2)
    assert (await office.issue()).number == "API-202612-0001"
    assert await uneven(office) == []


async def test_two_batches_in_opposite_order_both_end(office: Office) -> None:
    for turn in range(5):
        batch = [draft(f"k/{turn}/{n}") for n in range(40)]
        one, other = await asyncio.gather(office.issue_many(batch), office.issue_many(batch[::-1]))
        assert {issued.number for issued in one if isinstance(issued, Issued)} == {
            issued.number for issued in other if isinstance(issued, Issued)
        }
    assert await uneven(office) == []


# --- void ---


async def test_what_was_voided_can_be_invoiced_again(office: Office) -> None:
    first = await office.issue(draft("partner/a/2026-02"))
    await voided(office, first)
    corrected = draft("partner/a/2026-02", lines=(DraftLine("x", amount_minor=5_000),))
    again = await office.issue(corrected)
    assert (again.new, again.number) == (True, "API-202603-0002")
    assert (await office.invoice(first))["own_key"] == f"partner/a/2026-02#void-{first.invoice_id}"
    told = await office.issue(corrected)
    assert (told.new, told.invoice_id) == (False, again.invoice_id)
    await voided(office, again)
    assert (await office.issue(corrected)).number == "API-202603-0003"


# --- letters ---


async def test_a_letter_that_waited_does_not_ask_for_what_was_voided(office: Office, carrier: FakeMailer) -> None:
    carrier.answers = [TryLater("busy")]
    issued = await office.issue()
    await office.work()
    await voided(office, issued)
    await office.work_on()
    (letter,) = await office.letters()
    assert (letter["status"], carrier.raw) == ("suppressed", [])
    assert letter["reason"] == f"{issued.number} was voided: nobody is to pay it"


async def test_a_void_invoice_is_not_sent_again_either(office: Office, carrier: FakeMailer) -> None:
    issued = await office.issue()
    await office.work()
    await voided(office, issued)
    (letter,) = await office.letters()
    async with office.engine.begin() as conn:
        await emails.resend(conn, str(letter["id"]), Actor("ada", "she lost it"), now=office.clock.now())
    await office.work_on()
    assert [each["status"] for each in await office.letters()] == ["sent", "suppressed"]
    assert len(carrier.raw) == 1


async def test_an_invoice_that_was_paid_meanwhile_is_sent(office: Office, carrier: FakeMailer) -> None:
    carrier.answers = [TryLater("busy")]
    await office.issue()
    await office.work()
    await office.execute("UPDATE invoices SET status = 'paid', amount_paid_cents = amount_due_cents")
    await office.work_on()
    assert len(carrier.raw) == 1


async def test_a_letter_never_goes_without_its_document(office: Office, carrier: FakeMailer) -> None:
    """What a backup leaves that is older than the letter."""
    carrier.answers = [TryLater("busy")]
    issued = await office.issue()
    await office.work()
    await office.execute("UPDATE emails SET document_ids = document_ids || ARRAY[999999]::bigint[]")
    await office.work_on()
    (letter,) = await office.letters()
    assert (letter["status"], letter["copies"], carrier.raw) == ("dead", 0, [])
    assert (
        letter["reason"] == "document 999999 is to be attached, and is gone: restore the table documents from a backup"
    )
    await office.execute("UPDATE emails SET document_ids = ARRAY[:document]::bigint[]", document=issued.document_id)
    await office.retry(letter["job_id"])
    await office.work_on()
    (sent,) = carrier.letters()
    assert isinstance(sent, EmailMessage)
    assert [each.get_filename() for each in sent.iter_attachments()] == [f"{issued.number}.pdf"]
