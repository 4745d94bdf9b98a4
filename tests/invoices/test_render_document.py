"""A document is rendered once and stored for ever; its letter goes once, with the very bytes that were stored."""

import hashlib
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from db.documents import NewDocument
from db.operators import emails
from db.operators.actions import Actor
from jobs.invoices.document import Amount, Period, Stamp
from jobs.invoices.issue import Issued
from jobs.invoices.page import Request
from jobs.invoices.render_document import TRIES, stage_rendering
from jobs.invoices.rerender import rerender
from jobs.invoices.stored import pdf_of
from jobs.invoices.void import void
from tests.conftest import MovedClock
from tests.contract.storages import MemoryFiles
from tests.invoices.office import GRACE, NOVEMBER, FakePdf, Office, draft
from tests.mail.carriers import FakeMailer
from worker.adapters.pdf import PdfPool
from worker.adapters.storage import storage
from worker.errors import Refused, TryLater

SPOILT = Refused("a font is missing")


@pytest.fixture
def office(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Office:
    return Office(engine, clock, tmp_path)


@pytest.fixture
def pdf(office: Office) -> FakePdf:
    assert isinstance(office.pdf, FakePdf)
    return office.pdf


@pytest.fixture
def files(office: Office) -> MemoryFiles:
    assert isinstance(office.files, MemoryFiles)
    return office.files


@pytest.fixture
def carrier(office: Office) -> FakeMailer:
    assert isinstance(office.mailer, FakeMailer)
    return office.mailer


async def test_a_copy_of_the_letter_carries_the_invoice_too(office: Office, carrier: FakeMailer) -> None:
    issued = await office.issue()
    await office.work()
    (letter,) = await office.query("SELECT id FROM emails")
    async with office.engine.begin() as conn:
        await emails.resend(conn, str(letter["id"]), Actor("ada", "she lost it"), now=office.clock.now())
    await office.work()
    first, copy = ([one.get_content() for one in sent.iter_attachments()] for sent in carrier.letters())
    assert first == copy == [await pdf_of(office.files, await office.document(issued))]


async def test_an_invoice_is_rendered_stored_recorded_and_mailed(
    office: Office, pdf: FakePdf, files: MemoryFiles, carrier: FakeMailer
) -> None:
    issued = await office.issue(draft(period=NOVEMBER))
    await office.work()
    ((name, content),) = files.files.items()
    row = await office.document(issued)
    assert (row.status, row.file, row.attempts, row.reason) == ("stored", name, 1, None)
    assert (row.sha256, row.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert row.stored_at == office.clock.now()
    assert (await office.invoice(issued))["invoice_pdf_url"] == f"memory:///{name}"
    assert name.startswith("invoices/2026/03/API-202603-0001-")
    assert len(pdf.rendered) == 1
    assert msgspec.json.decode(pdf.rendered[0], type=Request).document.number == issued.number
    (sent,) = carrier.letters()
    assert str(sent["to"]) == f"{GRACE.name} <{GRACE.email}>"
    assert issued.number in str(sent["subject"])
    (attached,) = sent.iter_attachments()
    assert (attached.get_content_type(), attached.get_filename()) == ("application/pdf", "API-202603-0001.pdf")
    assert attached.get_content() == content
    (letter,) = await office.letters()
    assert (letter["key"], letter["status"], letter["document_ids"]) == (f"document/{row.id}", "sent", [row.id])


async def test_it_is_never_rendered_again(office: Office, pdf: FakePdf, carrier: FakeMailer) -> None:
    issued = await office.issue()
    await office.work()
    async with office.deps.tx() as tx:
        await stage_rendering(tx, [issued.document_id or 0])
    async with office.engine.begin() as conn:
        assert not await documents.stored(
            conn, issued.document_id or 0, sha256="0" * 64, size=1, now=office.clock.now()
        )
    await office.work()
    assert (len(pdf.rendered), len(carrier.raw)) == (1, 1)
    with pytest.raises(IntegrityError, match="neither changed nor removed"):
        await office.execute("UPDATE documents SET sha256 = 'x'")


async def test_a_file_that_was_stored_but_not_recorded_is_adopted(
    office: Office, pdf: FakePdf, files: MemoryFiles, carrier: FakeMailer
) -> None:
    """What a crash between the storage and the record leaves, after which a new version renders otherwise."""
    issued = await office.issue()
    before = b"%PDF-1.7 of another version"
    files.files[(await office.document(issued)).file] = before
    await office.execute("UPDATE documents SET attempts = 1")
    await office.work()
    assert (await office.document(issued)).sha256 == hashlib.sha256(before).hexdigest()
    assert pdf.rendered == []
    (sent,) = carrier.letters()
    assert next(iter(sent.iter_attachments())).get_content() == before


async def test_a_twin_that_was_first_wins(office: Office, files: MemoryFiles) -> None:
    issued = await office.issue()
    files.files[(await office.document(issued)).file] = b"%PDF-1.7 the twin's"
    await office.work()
    row = await office.document(issued)
    assert row.sha256 == hashlib.sha256(b"%PDF-1.7 the twin's").hexdigest()
    assert list(files.files) == [row.file]


async def test_a_file_of_somebody_else_is_not_adopted(office: Office, files: MemoryFiles) -> None:
    issued = await office.issue()
    files.files[(await office.document(issued)).file] = b"GIF89a"
    await office.work()
    row = await office.document(issued)
    assert row.status == "dead"
    assert "look who else writes to the storage" in (row.reason or "")


async def test_while_the_storage_is_away_the_invoice_waits_with_its_number(
    office: Office, files: MemoryFiles, carrier: FakeMailer
) -> None:
    files.away = "the disk is full: make room on the disk"
    issued = await office.issue()
    await office.work()
    row = await office.document(issued)
    assert (row.status, row.reason, row.sha256) == ("waiting", files.away, None)
    assert (await office.job(row.job_id))["status"] == "retrying"
    assert (await office.invoice(issued))["invoice_number"] == issued.number
    assert (files.files, carrier.raw) == ({}, [])
    files.away = None
    await office.work_on()
    row = await office.document(issued)
    assert (row.status, row.reason) == ("stored", None)
    assert (len(files.files), len(carrier.raw)) == (1, 1)


async def test_an_outage_without_end_parks_the_document_and_an_operator_brings_it_back(
    office: Office, files: MemoryFiles, carrier: FakeMailer
) -> None:
    files.away = "no answer"
    issued = await office.issue()
    await office.work_on()
    row = await office.document(issued)
    job = await office.job(row.job_id)
    assert (row.status, row.reason, row.attempts) == ("dead", "no answer", TRIES)
    assert (job["status"], job["dead_reason"]) == ("dead", "exhausted")
    files.away = None
    await office.retry(row.job_id)
    await office.work_on()
    assert (await office.document(issued)).status == "stored"
    assert len(carrier.raw) == 1


async def test_what_cannot_be_rendered_is_parked_alone_and_runs_again_after_a_fix(
    office: Office, pdf: FakePdf, carrier: FakeMailer
) -> None:
    pdf.answers = [SPOILT]
    issued = await office.issue()
    await office.work()
    other = await office.issue()
    await office.work()
    row = await office.document(issued)
    assert (row.status, row.reason, row.number) == ("dead", SPOILT.reason, issued.number)
    assert (await office.document(other)).status == "stored"
    assert (await office.job(row.job_id))["dead_reason"] == "refused"
    await office.retry(row.job_id)
    await office.work()
    row = await office.document(issued)
    assert (row.status, row.reason) == ("stored", None)
    assert len(carrier.raw) == 2


async def test_a_bug_of_the_renderer_is_tried_again(office: Office, pdf: FakePdf) -> None:
    pdf.answers = [RuntimeError("what?"), TryLater("its process ended")]
    issued = await office.issue()
    await office.work()
    assert (await office.document(issued)).reason == "RuntimeError: what?"
    await office.work_on()
    assert (await office.document(issued)).status == "stored"


async def test_content_that_was_changed_behind_our_back_is_not_rendered(office: Office, pdf: FakePdf) -> None:
    issued = await office.issue()
    await office.execute("ALTER TABLE documents DISABLE TRIGGER documents_issued")
    await office.execute("UPDATE documents SET content = content || '{\"total_minor\": 1}'")
    await office.work()
    row = await office.document(issued)
    assert row.status == "dead"
    assert "was changed after it was issued" in (row.reason or "")
    assert pdf.rendered == []


# --- letters ---


async def test_a_changed_file_is_not_sent(office: Office, files: MemoryFiles, carrier: FakeMailer) -> None:
    carrier.answers = [TryLater("busy")]
    issued = await office.issue()
    await office.work()
    name = (await office.document(issued)).file
    original, files.files[name] = files.files[name], b"%PDF-1.7 forged"
    await office.work_on()
    (letter,) = await office.letters()
    assert (letter["status"], letter["copies"], len(carrier.raw)) == ("dead", 0, 0)
    assert "is not what was issued" in letter["reason"]
    files.files[name] = original
    await office.retry(letter["job_id"])
    await office.work_on()
    (letter,) = await office.letters()
    assert (letter["status"], letter["copies"], len(carrier.raw)) == ("sent", 1, 1)


async def test_a_letter_waits_for_the_storage(office: Office, files: MemoryFiles, carrier: FakeMailer) -> None:
    carrier.answers = [TryLater("busy")]
    await office.issue()
    await office.work()
    files.away = "no answer"
    office.clock.move(timedelta(minutes=5))
    await office.work()
    (letter,) = await office.letters()
    assert (letter["status"], letter["reason"], letter["copies"]) == ("queued", "no answer", 0)
    files.away = None
    await office.work_on()
    assert (await office.letters())[0]["status"] == "sent"
    files.files.clear()
    with pytest.raises(Refused, match="is gone"):
        await pdf_of(files, await office.get((await office.letters())[0]["document_ids"][0]))


async def test_each_copy_of_a_letter_is_the_same_to_the_byte(office: Office, carrier: FakeMailer) -> None:
    await office.issue()
    await office.work()
    await office.execute("UPDATE emails SET status = 'sending'")
    job = (await office.letters())[0]["job_id"]
    await office.execute(
        "INSERT INTO queue (queue, name, job_id, priority, due_at) VALUES ('mail', 'send_letter', :job, 0, :now)",
        job=job,
        now=office.clock.now(),
    )
    await office.work()
    assert len(carrier.raw) == 2
    assert carrier.raw[0] == carrier.raw[1]


async def test_nobody_is_written_to_who_should_not_be(office: Office, carrier: FakeMailer) -> None:
    await office.issue(draft(mail=False))
    await office.issue(draft(buyer=msgspec.structs.replace(GRACE, email=None)))
    voided = await office.issue()
    async with office.deps.tx() as tx:
        await void(tx, voided.invoice_id, reason="ordered by mistake")
    await office.work()
    assert (carrier.raw, await office.letters()) == ([], [])
    states = await office.query("SELECT status, stamp FROM documents ORDER BY id")
    assert [(row["status"], row["stamp"]) for row in states] == [("stored", None)] * 3 + [("stored", "void")]


@pytest.mark.parametrize("kind", ["partner", "manual"])
@pytest.mark.parametrize("locale", ["en", "de", "fr", "es", "ja"])
@pytest.mark.parametrize("credit", [1_000, 12_000])
async def test_letters_say_what_is_due(
    office: Office, carrier: FakeMailer, kind: str, locale: str, credit: int
) -> None:
    credits_, paid = (Amount("Prepaid", credit),), credit == 12_000
    made = draft(kind=kind, locale=locale, period=NOVEMBER, credits=credits_)
    issued = await office.issue(made)
    await office.work()
    (sent,) = carrier.letters()
    plain = sent.get_body(("plain",))
    assert plain is not None
    said: str = plain.get_content()
    assert issued.number in said
    assert "None" not in said
    if locale == "en":
        assert ("Your use of the API from" in said) == (kind == "partner")
        assert ("Please pay by" in said) == (not paid)
        assert ("£110.00" in said) == (not paid)


# --- copies ---


async def copy_of(office: Office, issued: Issued) -> int:
    async with office.deps.tx() as tx:
        found = await documents.get(tx.conn, issued.document_id or 0)
        assert found is not None
        return await rerender(tx, found)


async def test_a_copy_is_marked_and_the_original_stays(
    office: Office, pdf: FakePdf, files: MemoryFiles, carrier: FakeMailer
) -> None:
    issued = await office.issue()
    await office.work()
    original = await office.document(issued)
    bytes_before = dict(files.files)
    copy = await office.get(await copy_of(office, issued))
    await office.work()
    copy = await office.get(copy.id)
    assert (copy.status, copy.copy_of, copy.stamp, copy.number) == ("stored", original.id, "copy", issued.number)
    assert copy.file != original.file
    assert msgspec.json.decode(pdf.rendered[-1], type=Request).stamp is Stamp.COPY
    assert await office.document(issued) == original
    assert files.files.items() >= bytes_before.items()
    assert len(carrier.raw) == 1, "nobody is sent a copy"
    assert (await office.invoice(issued))["invoice_pdf_url"] == f"memory:///{original.file}"
    async with office.deps.tx() as tx:
        made = await rerender(tx, copy)
        found = await documents.find(tx.conn, issued.number)
    again = await office.get(made)
    assert again.copy_of == original.id, "a copy of a copy is a copy of the original"
    assert [each.id for each in found] == [original.id, copy.id, again.id]
    assert await pdf_of(files, original) == bytes_before[original.file]


# --- documents of others ---


async def test_a_document_of_stripes_object(office: Office, files: MemoryFiles, carrier: FakeMailer) -> None:
    issued = await office.issue(draft(mail=False))
    content = (await office.document(issued)).content
    new = NewDocument(
        key="invoice/in_1",
        kind="invoice",
        number="ABC-0001",
        locale="en",
        currency="gbp",
        total_cents=12_000,
        content=content,
        issued_at=office.clock.now(),
        stripe_invoice_id="in_1",
        stripe_object_id="in_1",
    )
    async with office.deps.tx() as tx:
        made = await documents.add(tx.conn, new, now=tx.now)
        assert made is not None
        assert await documents.add(tx.conn, new, now=tx.now) is None
        await stage_rendering(tx, [made])
    await office.work()
    assert (await office.get(made)).status == "stored"
    assert (len(files.files), carrier.raw) == (2, [])
    async with office.engine.connect() as conn:
        for ref in ("ABC-0001", "in_1", "invoice/in_1"):
            assert [each.id for each in await documents.find(conn, ref)] == [made], ref
        assert [each.id for each in await documents.of_invoice(conn, stripe_invoice_id="in_1")] == [made]
        (ours,) = await documents.find(conn, str(issued.invoice_id))
        assert ours.id == issued.document_id
        assert await documents.find(conn, "nothing") == []
        assert await documents.of_key(conn, "nothing") is None


# --- all of it, for real ---


@pytest.mark.slow
async def test_the_real_renderer_and_a_real_folder(office: Office, carrier: FakeMailer, tmp_path: Path) -> None:
    office.pdf = pool = PdfPool("jobs.invoices.page:build", processes=1)
    office.files = storage(None, tmp_path)
    try:
        issued = await office.issue(draft(period=Period(NOVEMBER.start, NOVEMBER.end)))
        await office.work()
    finally:
        await pool.close()
    row = await office.document(issued)
    assert row.status == "stored", row.reason
    url: str = (await office.invoice(issued))["invoice_pdf_url"]
    assert url == (tmp_path / "documents" / row.file).as_uri()
    content = await office.files.read(row.file)
    assert content.startswith(b"%PDF-")
    assert hashlib.sha256(content).hexdigest() == row.sha256
    (sent,) = carrier.letters()
    assert next(iter(sent.iter_attachments())).get_content() == content
