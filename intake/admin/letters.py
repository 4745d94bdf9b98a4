"""The internal API and pages of letters: what went out, what did not and why, and the addresses that none goes to."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBearer

from db.operators import emails
from db.operators.actions import Actor, NotAllowedError
from db.operators.emails import EmailFilter, LetterState
from db.operators.filters import MOST_ROWS, BadFilterError, plain
from intake.admin import dashboard
from intake.admin import letters_models as models
from intake.admin.api import NOT_FOUND, REFUSED, ByOperator, bearer
from intake.admin.auth import Session
from intake.admin.dashboard import PAGE, OwnForm, SignedIn
from intake.admin.desk import AtDesk, Desk
from intake.admin.models import JobId, Reasoned
from intake.letters import letter_json, standing_alone, suppressed_json, text_now, written_now
from jobs.mail.contexts import LETTERS
from worker.settings import Settings

api = APIRouter(
    prefix="/admin",
    tags=["letters"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)
pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

AS_READ = dashboard.HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'; sandbox"
    )
}
"""A letter holds what customers wrote: its page runs nothing, loads nothing, and is nobody's session."""


def configured(request: Request) -> Settings:
    """Whose name, logo and colours letters bear."""
    found: Settings = request.app.state.settings
    return found


Configured = Annotated[Settings, Depends(configured)]


@api.get("/letters")
async def list_letters(at: AtDesk, query: Annotated[models.LetterListing, Query()]) -> models.LetterPage:
    """Letters, newest first."""
    rows = await _letters(at, query)
    last = rows[-1]["id"] if len(rows) == query.limit else None
    return models.LetterPage(letters=[models.Letter.model_validate(row) for row in rows], next=last)


async def _letters(at: Desk, query: models.LetterListing) -> list[dict[str, Any]]:
    wanted = EmailFilter.read(
        now=at.clock.now(),
        status=query.status,
        template=query.template,
        to=query.to,
        since=query.since,
        until=query.until,
    )
    async with at.engine.connect() as conn:
        rows = await emails.list_letters(conn, wanted, limit=query.limit, after=query.after)
    return [letter_json(row) for row in rows]


@api.post("/letters/{ref:path}/resend", responses=REFUSED)
async def resend_letter(at: AtDesk, who: ByOperator, ref: str, asked: Reasoned) -> models.LetterSent:
    """Send a letter once more, on purpose; one that never went out goes out itself."""
    sent = await _resend(at, ref, Actor(who, plain("why", asked.why)), dry_run=asked.dry_run)
    return models.LetterSent(letter=None if asked.dry_run else sent, dry_run=asked.dry_run)


async def _resend(at: Desk, ref: str, actor: Actor, *, dry_run: bool = False) -> int:
    async with at.engine.connect() as conn:
        sent, queues = await emails.resend(conn, plain("id", ref) or "", actor, now=at.clock.now())
        await (conn.rollback() if dry_run else conn.commit())
    for queue in () if dry_run else queues:
        at.ring(queue)
    return sent


@api.get("/letters/{ref:path}", responses=NOT_FOUND)
async def show_letter(at: AtDesk, ref: str, settings: Configured) -> models.LetterStory:
    """One letter's whole story, by its id or its key (`receipt/in_…`)."""
    told = await _story(at, ref)
    return models.LetterStory.model_validate({**letter_json(told), "text": text_now(told, settings)})


async def _story(at: Desk, ref: str) -> dict[str, Any]:
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        return await emails.letter_story(conn, plain("id", ref) or "")


@api.get("/suppressed")
async def list_suppressed(at: AtDesk) -> models.SuppressedPage:
    """The addresses that no letter goes to, newest first."""
    return models.SuppressedPage(
        addresses=[models.SuppressedAddress.model_validate(row) for row in await _suppressed(at)]
    )


async def _suppressed(at: Desk) -> list[dict[str, Any]]:
    async with at.engine.connect() as conn:
        return [suppressed_json(row) for row in await emails.list_suppressed(conn, limit=MOST_ROWS)]


@api.post("/suppressed/lift", responses=REFUSED)
async def lift_address(at: AtDesk, who: ByOperator, asked: models.Lift) -> models.Lifted:
    """Let letters go to an address again; those that were suppressed stay so, until one is sent again."""
    await _lift(at, asked.address, Actor(who, plain("why", asked.why)), dry_run=asked.dry_run)
    return models.Lifted(changed=not asked.dry_run, dry_run=asked.dry_run)


async def _lift(at: Desk, address: str, actor: Actor, *, dry_run: bool = False) -> None:
    async with at.engine.connect() as conn:
        if not await emails.lift(conn, [address], actor, now=at.clock.now()):
            raise NotAllowedError([f"{address} is not suppressed"])
        await (conn.rollback() if dry_run else conn.commit())


@pages.get("/letters")
async def letters_page(
    at: AtDesk, who: SignedIn, *, status: str = "", template: str = "", to: str = "", after: JobId | None = None
) -> Response:
    """Letters, newest first."""
    wanted = {"status": status, "template": template.strip(), "to": to.strip()}
    rows = await _letters(at, models.LetterListing(**wanted, limit=PAGE, after=after))
    older = rows[-1]["id"] if len(rows) == PAGE else None
    return dashboard.page("letters.html", session=who, letters=rows, wanted=wanted, older=older, now=at.clock.now(),
                          states=[*LetterState], templates=[*LETTERS])  # fmt: skip


@pages.get("/letters/{letter_id}")
async def letter_page(at: AtDesk, who: SignedIn, letter_id: JobId, settings: Configured, said: str = "") -> Response:
    """One letter's whole story, and its text."""
    told = await _story(at, str(letter_id))
    shown = letter_json(told)
    return dashboard.page("letter.html", session=who, letter=shown, text=text_now(told, settings), now=at.clock.now(),
                          said=said)  # fmt: skip


@pages.get("/letters/{letter_id}/html")
async def letter_as_read(at: AtDesk, who: SignedIn, letter_id: JobId, settings: Configured) -> Response:
    """The letter as its reader sees it."""
    del who
    found = written_now(await _story(at, str(letter_id)), settings)
    if isinstance(found, str):
        raise HTTPException(409, f"letter {letter_id} {found}")
    return HTMLResponse(standing_alone(*found), headers=AS_READ)


@pages.post("/letters/{letter_id}/resend")
async def resend_page(at: AtDesk, who: SignedIn, letter_id: JobId, fields: OwnForm) -> Response:
    """Send a letter once more."""
    sent = await _resend(at, str(letter_id), _reasoned(who, fields))
    return dashboard.see(f"/letters/{sent}", "it is on its way")


@pages.get("/suppressed")
async def suppressed_page(at: AtDesk, who: SignedIn, said: str = "") -> Response:
    """The addresses that no letter goes to."""
    rows = await _suppressed(at)
    return dashboard.page("suppressed.html", session=who, addresses=rows, most=MOST_ROWS, now=at.clock.now(), said=said)


@pages.post("/suppressed/lift")
async def lift_page(at: AtDesk, who: SignedIn, fields: OwnForm) -> Response:
    """Let letters go to an address again."""
    address = plain("address", fields.get("address", "").strip()) or ""
    await _lift(at, address, _reasoned(who, fields))
    return dashboard.see("/suppressed", f"letters go to {address} again")


def _reasoned(who: Session, fields: dict[str, str]) -> Actor:
    actor = dashboard.actor(who, fields)
    if not actor.why:
        raise BadFilterError("why", "is missing: say why, for the audit log")
    return actor
