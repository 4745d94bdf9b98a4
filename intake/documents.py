"""Customers fetch their documents at the public door by signed links that end; the PDF comes as it was stored."""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from db.documents import StoredDocument
from worker.errors import Refused, TryLater
from worker.links import PATH, Verdict, judge
from worker.ports import Clock, Files

log = structlog.get_logger()

AT_ONCE = 8
"""So many files are held in memory at a time, each whole: it is checked before its first byte is sent."""

SOON, LATER = 10, 3600
"""Seconds after which it is worth to ask again: while a document is rendered, and when people must mend it."""

HEADERS: Final = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}
"""A link is a key: it may be kept by nobody on the way, told to nobody, and what it opens runs nothing."""

OVER = "This link is no longer valid. Please ask us for a new one: your document is still there.\n"
NOT_YET = "Your document is being prepared. Please try again in a moment.\n"
AWAY = "Your document cannot be fetched just now. Please try again later.\n"
UNCONFIGURED = "Links to documents are not set up here.\n"
MISSING = "Not found.\n"


def file_name_of(document: StoredDocument) -> str:
    """What a browser saves it as: `invoice-2026-0001.pdf`."""
    return f"{document.kind.replace('_', '-')}-{document.number}{'-copy' if document.copy_of is not None else ''}.pdf"


def disposition(name: str) -> str:
    """`Content-Disposition` for saving: plain ASCII for all, and the name itself for who reads RFC 6266."""
    whole = re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f]+', "-", name)
    stem, dot, ending = re.sub(r"[^A-Za-z0-9._]+", "-", whole).rpartition(".")
    plain = f"{stem.strip('-.')}{dot}{ending}".strip("-.") or "document.pdf"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(whole, safe='')}"


def told(text: str, status: int, *, after: int | None = None) -> Response:
    """A short answer for people."""
    more = {"Retry-After": str(after)} if after is not None else {}
    return Response(text, status, {**HEADERS, **more}, media_type="text/plain; charset=utf-8")


def _known(etag: str, fields: Sequence[str]) -> bool:
    """Whether who asks has it already: `*` stands for whatever there is (RFC 9110, 13.1.2)."""
    named = {one.strip().removeprefix("W/") for field in fields for one in field.split(",")}
    return etag in named or named == {"*"}


async def pdf_answer(files: Files, document: StoredDocument, request: Request) -> Response:
    """The PDF, after its SHA-256 was checked; to HEAD what it would be. 503 as long as it is not there."""
    if document.sha256 is None or document.size_bytes is None:
        return told(NOT_YET, HTTPStatus.SERVICE_UNAVAILABLE, after=LATER if document.status == "dead" else SOON)
    etag = f'"{document.sha256}"'
    headers = {**HEADERS, "Content-Disposition": disposition(file_name_of(document)), "ETag": etag}
    if _known(etag, request.headers.getlist("if-none-match")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if request.method == "HEAD":
        size = {"Content-Length": str(document.size_bytes)}
        return Response(headers={**headers, **size}, media_type="application/pdf")
    try:
        content = await files.read(document.file)
    except (TryLater, Refused, FileNotFoundError) as error:
        why = "the file is missing" if isinstance(error, FileNotFoundError) else error.reason
        log.warning("a document cannot be fetched", document=document.id, file=document.file, why=why)
        return told(AWAY, HTTPStatus.SERVICE_UNAVAILABLE, after=SOON)
    if hashlib.sha256(content).hexdigest() != document.sha256:
        log.error("a stored document was changed: its SHA-256 differs", document=document.id, file=document.file)
        return told(AWAY, HTTPStatus.SERVICE_UNAVAILABLE, after=LATER)
    return Response(content, headers=headers, media_type="application/pdf")


def router(engine: AsyncEngine, clock: Clock, files: Files, secrets: Sequence[bytes]) -> APIRouter:
    """`GET /documents/{id}?expires=…&signature=…`. Without `secrets` every request is answered 503."""
    made, room = APIRouter(tags=["documents"]), asyncio.Semaphore(AT_ONCE)

    @made.head(f"{PATH}/{{document_id}}", include_in_schema=False)
    @made.get(f"{PATH}/{{document_id}}", summary="Fetch a document by a signed link", response_class=Response,
              responses=ANSWERS, openapi_extra=PARAMETERS)  # fmt: skip
    async def fetch(document_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        """Answers nothing but 404 to a link that is not ours: who guesses learns nothing."""
        if not secrets:
            return told(UNCONFIGURED, HTTPStatus.SERVICE_UNAVAILABLE)
        expires, signature = (request.query_params.get(name, "") for name in ("expires", "signature"))
        verdict = judge(document_id, expires, signature, secrets=secrets, now=clock.now())
        if verdict is Verdict.WRONG:
            return told(MISSING, HTTPStatus.NOT_FOUND)
        if verdict is Verdict.EXPIRED:
            return told(OVER, HTTPStatus.GONE)
        try:
            async with engine.connect() as conn:
                document = await documents.get(conn, int(document_id))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("the database is away: a document cannot be fetched", error=type(error).__name__)
            return told(AWAY, HTTPStatus.SERVICE_UNAVAILABLE, after=SOON)
        if document is None:
            return told(MISSING, HTTPStatus.NOT_FOUND)
        async with room:
            return await pdf_answer(files, document, request)

    return made


ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The PDF, as it was stored.", "content": {"application/pdf": {}}},
    304: {"description": "`If-None-Match` names what it still is."},
    404: {"description": "Not a link of ours."},
    410: {"description": "The link was ours, and is over."},
    503: {
        "description": "Not rendered yet, storage or database away (`Retry-After`), or BILLING_LINK_SECRET is not set."
    },
}

PARAMETERS: Final[dict[str, Any]] = {
    "parameters": [
        {"name": name, "in": "query", "required": True, "schema": {"type": kind}}
        for name, kind in (("expires", "integer"), ("signature", "string"))
    ]
}
