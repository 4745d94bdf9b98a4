"""Invoices and documents in the books, for those who look at them."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from db.documents import Content, NewDocument
from worker.adapters.storage import storage

PDF = b"%PDF-1.7\n" + b"0123456789" * 500
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class InvoiceBooks:
    """The books, and a folder of PDFs beside them."""

    def __init__(self, engine: AsyncEngine, home: Path) -> None:
        self.engine = engine
        self.home = home

    async def user(self, customer: str = "cus_1", name: str = "Jane Roe") -> int:
        async with self.engine.begin() as conn:
            row = await conn.execute(
                text("INSERT INTO users (stripe_customer_id, name, email) VALUES (:id, :name, :mail) RETURNING id"),
                {"id": customer, "name": name, "mail": f"{customer}@example.com"},
            )
            return row.scalar_one()

    async def invoice(self, stripe_id: str | None = "in_1", number: str = "A-0001", **more: Any) -> int:
        values = {
            "stripe_invoice_id": stripe_id,
            "invoice_number": number,
            "status": "open",
            "currency": "eur",
            "total_cents": 11_900,
            "amount_due_cents": 11_900,
            "amount_remaining_cents": 11_900,
            "stripe_customer_id": "cus_1",
            "finalized_at": NOW,
            **more,
        }
        columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
        async with self.engine.begin() as conn:
            row = await conn.execute(text(f"INSERT INTO invoices ({columns}) VALUES ({places}) RETURNING id"), values)  # noqa: S608 - names of this test's own
            return row.scalar_one()

    async def document(
        self,
        key: str = "invoice/in_1",
        *,
        kind: str = "invoice",
        number: str = "A-0001",
        stored: bool = True,
        content: Content | None = None,
        **more: Any,
    ) -> int:
        """A document; it is about `in_1` unless more is said."""
        about: dict[str, Any] = {"stripe_invoice_id": "in_1", "stripe_object_id": "in_1", **more}
        new = NewDocument(key, kind, number, "en", "eur", 11_900, content or {}, NOW, **about)
        async with self.engine.begin() as conn:
            made = await documents.add(conn, new, now=NOW)
            assert made is not None
            row = await documents.get(conn, made)
            assert row is not None
        if stored:
            await storage(None, self.home).create(row.file, PDF, media_type="application/pdf")
            async with self.engine.begin() as conn:
                await documents.stored(conn, made, sha256=hashlib.sha256(PDF).hexdigest(), size=len(PDF), now=NOW)
        return made

    async def park(self, document: int, reason: str) -> None:
        async with self.engine.begin() as conn:
            await documents.not_stored(conn, document, reason, dead=True)
