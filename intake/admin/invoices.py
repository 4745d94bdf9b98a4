"""The internal API and pages of invoices: what was written, where it stands, and the PDF as it is stored."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBearer

from db import documents
from db.operators import invoices
from db.operators.actions import NotAllowedError, UnknownIdsError
from db.operators.invoices import DocumentFilter, DocumentKind, DocumentStatus, InvoiceFilter, InvoiceStatus
from intake.admin import dashboard
from intake.admin import invoices_models as models
from intake.admin.api import NOT_FOUND, REFUSED, bearer
from intake.admin.dashboard import PAGE, SignedIn
from intake.admin.desk import AtDesk, Desk
from intake.admin.models import JobId
from intake.documents import pdf_answer
from intake.invoices import document_of, ready, shown, story
from jobs.partners.explain import explained
from worker.deps import Tx
from worker.errors import Refused
from worker.ports import Files

api = APIRouter(
    prefix="/admin",
    tags=["invoices"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)
pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PDF: dict[int | str, dict[str, Any]] = {
    200: {"description": "The PDF, as it was stored.", "content": {"application/pdf": {}}},
    404: {"description": "No such invoice or document."},
    409: {"description": "There is no PDF, or several things have this name; the answer says why."},
    503: {"description": "The storage is away, or the file was lost or changed."},
}


def files_of(request: Request) -> Files:
    """Where documents are kept."""
    found: Files = request.app.state.files
    return found


Storage = Annotated[Files, Depends(files_of)]


@api.get("/invoices")
async def list_invoices(at: AtDesk, query: Annotated[models.InvoiceListing, Query()]) -> models.InvoicePage:
    """Invoices, ours and Stripe's, newest first."""
    rows = await _invoices(at, query)
    last = rows[-1]["id"] if len(rows) == query.limit else None
    return models.InvoicePage(invoices=[models.InvoiceRow.model_validate(row) for row in rows], next=last)


async def _invoices(at: Desk, query: models.InvoiceListing) -> list[dict[str, Any]]:
    wanted = InvoiceFilter.read(
        now=at.clock.now(), status=query.status, customer=query.customer, since=query.since, until=query.until
    )
    async with at.engine.connect() as conn:
        rows = await invoices.list_invoices(conn, wanted, limit=query.limit, after=query.after)
    return [shown(row) for row in rows]


@api.get("/documents")
async def list_documents(at: AtDesk, query: Annotated[models.DocumentListing, Query()]) -> models.DocumentPage:
    """Invoices, credit notes, receipts and copies that were written, newest first."""
    rows = await _documents(at, query)
    last = rows[-1]["id"] if len(rows) == query.limit else None
    return models.DocumentPage(documents=[models.DocumentRow.model_validate(row) for row in rows], next=last)


async def _documents(at: Desk, query: models.DocumentListing) -> list[dict[str, Any]]:
    wanted = DocumentFilter.read(
        now=at.clock.now(),
        status=query.status,
        kind=query.kind,
        customer=query.customer,
        since=query.since,
        until=query.until,
    )
    async with at.engine.connect() as conn:
        rows = await invoices.list_documents(conn, wanted, limit=query.limit, after=query.after)
    return [shown(row) for row in rows]


@api.get("/documents/{document_id}/pdf", response_class=Response, responses=PDF)
async def fetch_document(at: AtDesk, files: Storage, document_id: JobId, request: Request) -> Response:
    """The PDF of a document, by its id."""
    return await _pdf_of_id(at, files, document_id, request)


@api.get("/invoices/{ref:path}/pdf", response_class=Response, responses=PDF)
async def fetch_invoice(at: AtDesk, files: Storage, ref: str, request: Request) -> Response:
    """The PDF of an invoice, a credit note or a receipt: by our number, our id, or Stripe's id."""
    return await _pdf_of(at, files, ref, request)


@api.get("/invoices/{ref:path}/explain", responses=REFUSED)
async def explain_invoice(at: AtDesk, ref: str) -> models.InvoiceExplained:
    """Reckon an invoice for usage again, from what was frozen with it: every line's arithmetic, and what differs."""
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        found = await invoices.find(conn, ref)
        if found.invoice is None:
            raise NotAllowedError([f"{found.target} is no invoice"])
        try:
            told = await explained(Tx(conn, at.clock.now(), at.clock.now()), found.invoice["id"])
        except Refused as refused:
            raise NotAllowedError([refused.reason]) from refused
    return models.InvoiceExplained.model_validate(told.json())


@api.get("/invoices/{ref:path}", responses=NOT_FOUND)
async def show_invoice(at: AtDesk, ref: str) -> models.InvoiceStory:
    """One invoice with all that was written about it: by our number, our id, or Stripe's id."""
    return models.InvoiceStory.model_validate(await _story(at, ref))


async def _story(at: Desk, ref: str) -> dict[str, Any]:
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        return await story(conn, ref)


async def _pdf_of(at: Desk, files: Files, ref: str, request: Request) -> Response:
    async with at.engine.connect() as conn:
        document = ready(document_of(await invoices.find(conn, ref)))
    return await pdf_answer(files, document, request)


async def _pdf_of_id(at: Desk, files: Files, document_id: int, request: Request) -> Response:
    async with at.engine.connect() as conn:
        found = await documents.get(conn, document_id)
    if found is None:
        raise UnknownIdsError("document", [str(document_id)])
    return await pdf_answer(files, ready(found), request)


@pages.get("/invoices")
async def invoices_page(
    at: AtDesk, who: SignedIn, *, status: str = "", customer: str = "", after: JobId | None = None
) -> Response:
    """Invoices, newest first."""
    asked = models.InvoiceListing(status=status, customer=customer.strip(), limit=PAGE, after=after)
    rows = await _invoices(at, asked)
    older = rows[-1]["id"] if len(rows) == PAGE else None
    return dashboard.page("invoices.html", session=who, invoices=rows, older=older, now=at.clock.now(),
                          states=[*InvoiceStatus], status=status, customer=customer)  # fmt: skip


@pages.get("/documents")
async def documents_page(
    at: AtDesk, who: SignedIn, *, status: str = "", kind: str = "", after: JobId | None = None
) -> Response:
    """Documents, newest first."""
    asked = models.DocumentListing(status=status, kind=kind, limit=PAGE, after=after)
    rows = await _documents(at, asked)
    older = rows[-1]["id"] if len(rows) == PAGE else None
    return dashboard.page("documents.html", session=who, documents=rows, older=older, now=at.clock.now(),
                          states=[*DocumentStatus], kinds=[*DocumentKind], status=status, kind=kind)  # fmt: skip


@pages.get("/documents/{document_id}/pdf")
async def document_pdf(at: AtDesk, who: SignedIn, files: Storage, document_id: JobId, request: Request) -> Response:
    """The PDF of a document, for who is signed in."""
    del who
    return await _pdf_of_id(at, files, document_id, request)


@pages.get("/invoices/{ref:path}")
async def invoice_page(at: AtDesk, who: SignedIn, ref: str) -> Response:
    """One invoice with all that was written about it."""
    return dashboard.page("invoice.html", session=who, told=await _story(at, ref), now=at.clock.now())
