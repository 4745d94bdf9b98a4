"""Invoices and documents in the words of operators: the same at the terminal, the API and the dashboard."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from db import credit_notes, manual_payments
from db import credits as credit_rows
from db.documents import StoredDocument
from db.operators import invoices
from db.operators.actions import NotAllowedError
from db.operators.invoices import Found
from intake.overview import jsonable, without_secrets
from worker.links import document_link, document_path, link_secrets
from worker.settings import ConfigurationError, Settings

FREE_TEXT = frozenset(
    {
        "name",
        "email",
        "reason",
        "document_reason",
        "void_reason",
        "notes",
        "description",
        "line_items",
        "audit",
        "without_factur_x",
    }
)
"""What people typed, or what an error said: no secret in it is shown."""

_HIDDEN = frozenset({"content", "content_sha256", "user_id", "mailed"})


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON that may be shown."""
    return jsonable({name: without_secrets(jsonable(one)) if name in FREE_TEXT else one for name, one in row.items()})


def document_json(document: StoredDocument) -> dict[str, Any]:
    """A document without what it says, as JSON; `without_factur_x` tells why it has no XML though its seller's have."""
    names = (name for name in StoredDocument.__slots__ if name not in _HIDDEN)
    told = {name: getattr(document, name) for name in names}
    return shown({**told, "without_factur_x": list(document.content.get("without_factur_x", ()))})


async def story(conn: AsyncConnection, ref: str) -> dict[str, Any]:
    """An invoice, or a document without one, with all that was written about it, and what operators did.

    Raises UnknownIdsError, and NotAllowedError when several have this name.
    """
    return await story_of(conn, await invoices.find(conn, ref))


async def story_of(conn: AsyncConnection, found: Found) -> dict[str, Any]:
    """What was found, as JSON that may be shown."""
    return {
        "ref": found.target,
        "invoice": shown(found.invoice) if found.invoice is not None else None,
        **await _money_of(conn, found.invoice),
        "document": document_json(found.main) if found.main is not None else None,
        "documents": [document_json(one) for one in found.documents],
        "audit": shown({"audit": await invoices.audit_of(conn, found)})["audit"],
    }


async def _money_of(conn: AsyncConnection, invoice: Mapping[str, Any] | None) -> dict[str, Any]:
    """What became of what an invoice of ours came to: payments past Stripe, credits, credit notes. Minor units."""
    if invoice is None or invoice["kind"] is None:
        return {"payments": [], "credits": [], "credit_notes": []}
    paid = await manual_payments.of_invoice(conn, invoice["id"])
    applied = await credit_rows.applied_to(conn, invoice["id"])
    notes = await credit_notes.of_invoice(conn, invoice["id"])
    return {
        "payments": [_plain(asdict(one)) for one in paid],
        "credits": [
            _plain(
                {
                    "credit_id": one.credit.id,
                    "kind": one.credit.kind,
                    "amount_cents": one.amount_cents,
                    "reason": one.credit.reason,
                }
            )
            for one in applied
        ],
        "credit_notes": [
            _plain(
                {
                    "number": one.number,
                    "total_cents": one.total_cents,
                    "paid_out_cents": one.out_of_band_cents,
                    "reason": one.memo,
                    "issued_at": one.issued_at,
                }
            )
            for one in notes
        ],
    }


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    typed = {"reason", "method", "reference", "recorded_by", "voided_by", "void_reason"}
    return jsonable({name: without_secrets(value) if name in typed else value for name, value in row.items()})


def document_of(found: Found) -> StoredDocument:
    """The document that was meant. Raises NotAllowedError when there is none, saying why."""
    if found.main is not None:
        return found.main
    invoice = found.invoice or {}
    if invoice.get("status") == "draft":
        raise NotAllowedError([f"{found.target} is a draft: a document is written when it is finalized"])
    if invoice.get("stripe_invoice_id"):
        hosted = invoice.get("invoice_pdf_url")
        more = f"; Stripe's own is at {hosted}" if hosted else ""
        raise NotAllowedError(
            [f"{found.target} is Stripe's, and we wrote no document (BILLING_STRIPE_DOCUMENTS){more}"]
        )
    raise NotAllowedError([f"{found.target} has no document"])


def ready(document: StoredDocument) -> StoredDocument:
    """The document, if its PDF is there. Raises NotAllowedError saying why it is not."""
    why = not_ready(document)
    if why is not None:
        raise NotAllowedError([why])
    return document


def not_ready(document: StoredDocument) -> str | None:
    """Why the PDF is not there, and what to do about it; None: it is there."""
    if document.sha256 is not None:
        return None
    why = f" ({without_secrets(document.reason)})" if document.reason else ""
    if document.status == "dead":
        mend = f": mend that, then `billing jobs retry {document.job_id}`" if document.job_id is not None else ""
        return f"the PDF of {document.number} was parked{why}{mend}"
    job = f": see `billing jobs show {document.job_id}`" if document.job_id is not None else ""
    return f"the PDF of {document.number} is not rendered yet{why}{job}"


def without_ids(documents: Sequence[Mapping[str, Any]], *, but: Collection[int]) -> list[dict[str, Any]]:
    """Documents of `document_json` as a dry run may tell them: what it undid has no id, no job, no file."""
    return [dict(one) if one["id"] in but else {**one, "id": None, "job_id": None, "file": None} for one in documents]


def link_of(document: StoredDocument, settings: Settings, now: datetime) -> tuple[str, bool]:
    """A link for the customer, and whether it is whole: without BILLING_PUBLIC_URL it is the path at the public door.

    On a machine of `billing up` the secret that it made is used. Raises ConfigurationError when there is none.
    """
    kept = settings.billing_home.expanduser() / "secrets" / "link_secret"
    if settings.billing_link_secret is None and kept.is_file():
        settings = settings.model_copy(update={"billing_link_secret": SecretStr(kept.read_text("ascii").strip())})
    secrets = link_secrets(settings)
    if not secrets:
        raise ConfigurationError(
            "BILLING_LINK_SECRET is not set: make one with `openssl rand -hex 32`, for workers and both doors"
        )
    whole = document_link(document.id, settings, now=now)
    if whole is not None:
        return whole, True
    return document_path(document.id, ends=now + timedelta(days=settings.billing_link_days), secrets=secrets), False
