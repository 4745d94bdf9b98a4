"""A PDF on its way from the storage to an operator's disk: checked, awaited, and never written over another file."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from db.documents import StoredDocument
from db.operators import invoices
from intake.commands.connect import NO, USAGE, fail
from intake.invoices import document_of, ready
from worker.adapters.storage import storage
from worker.errors import TryLater
from worker.settings import load_settings

PATIENCE = timedelta(seconds=60)
"""How long `rerender -o` waits for a worker to render the copy."""

LOOK = 0.5
"""Seconds between two looks whether it is there."""


async def document(engine: AsyncEngine, ref: str) -> StoredDocument:
    """The document of a name. Raises UnknownIdsError, NotAllowedError."""
    async with engine.connect() as conn:
        return document_of(await invoices.find(conn, ref))


async def stored_bytes(one: StoredDocument) -> bytes:
    """The stored bytes, checked. Raises NotAllowedError, TryLater, Refused."""
    from jobs.invoices.stored import pdf_of  # noqa: PLC0415 - listings need no business

    settings = load_settings()
    files = storage(settings.storage_url, settings.billing_home)
    try:
        return await pdf_of(files, ready(one))
    finally:
        await files.close()


async def awaited(engine: AsyncEngine, document_id: int) -> bytes:
    """The PDF of a document that a worker is about to render. Raises TryLater when none does so in time."""
    for _ in range(int(PATIENCE.total_seconds() / LOOK)):
        async with engine.connect() as conn:
            found = await documents.get(conn, document_id)
        if found is not None and (found.sha256 is not None or found.status == "dead"):
            return await stored_bytes(found)
        await asyncio.sleep(LOOK)
    raise TryLater(f"document {document_id} is not rendered yet: is a worker alive? (`billing status`)")


def write(content: bytes, out: Path | None, name: str) -> str:
    """Write a PDF to `out`, by default under its own name here. Returns where it is. Exits 1 rather than overwrite."""
    if out is not None and str(out) == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return "-"
    target = out or Path(name.replace("/", "-"))
    if out is None and target.exists() and target.read_bytes() != content:
        fail(f"{target} is there already, and is something else: choose another name with -o", NO)
    try:
        target.write_bytes(content)
    except OSError as error:
        fail(f"{target} cannot be written: {error.strerror}", USAGE)
    return str(target)


def read(file: Path) -> bytes:
    """A file that was named; - is standard input. Exits 2 when it cannot be read."""
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", USAGE)
