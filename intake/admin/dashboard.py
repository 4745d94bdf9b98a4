"""The operators' dashboard: pages made on the server, for people who signed in with the admin token."""

import hmac
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlencode

import jinja2
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from db.operators import events, jobs
from db.operators.actions import Actor, Scope
from db.operators.filters import BadFilterError, EventFilter, JobFilter, one_of, plain, search
from db.states import CaseOutcome, CaseStatus, EventStatus, JobStatus
from intake.admin import api, dunning
from intake.admin.auth import COOKIE, SESSION, Session
from intake.admin.desk import SHUT, AtDesk, Desk
from intake.admin.dunning_models import DunningListing
from intake.admin.models import LONGEST_TARGET, JobId, PauseRequest, RetryOne
from intake.dunning import days, letter_of, money, percent
from intake.overview import SILENT_SECONDS, age, overview, story_json

PAGE = 50
"""Rows of a listing."""

TEMPLATES = Path(__file__).parents[2] / "templates" / "admin"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FILES = {"admin.css": "text/css; charset=utf-8", "admin.js": "text/javascript; charset=utf-8"}

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


class SignInFirstError(Exception):
    """Nobody is signed in."""


def _instant(value: str | None) -> str:
    return value[:19].replace("T", " ") if value else ""


def _ago(value: str | None, now: datetime) -> str:
    if not value:
        return ""
    seconds = (now - datetime.fromisoformat(value)).total_seconds()
    return f"{age(seconds)} ago" if seconds >= 0 else f"in {age(-seconds)}"


def _json(value: Any) -> str:
    """JSON to be read."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _units(value: str) -> str:
    """A count as people read it: `1,204.5`."""
    return f"{Decimal(value):,f}"


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"instant": _instant, "ago": _ago, "age": age, "query": urlencode, "money": money,
                               "percent": percent, "days": days, "letter": letter_of, "units": _units}  # fmt: skip
    made.filters.update(filters)
    return made


_pages = _environment()


def page(name: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """A page of the dashboard."""
    return HTMLResponse(_pages.get_template(name).render(**values), status, headers=HEADERS)


def is_page(request: Request) -> bool:
    """Whether a person's browser asked, and not a program."""
    return not request.url.path.startswith(("/admin/", "/health", "/metrics"))


def problem(request: Request, status: int, message: str) -> Response:
    """A page that says what is in the way."""
    at: Desk = request.app.state.desk
    return page("problem.html", status, session=_session_of(request, at), message=message, status=status)


def _session_of(request: Request, at: Desk) -> Session | None:
    return at.gate.session(request.cookies.get(COOKIE), at.clock.now())


def session(request: Request) -> Session:
    """Who is signed in. Raises SignInFirstError; answers 503 as long as no admin token is configured."""
    at: Desk = request.app.state.desk
    if not at.gate.open:
        raise HTTPException(503, SHUT)
    found = _session_of(request, at)
    if found is None:
        raise SignInFirstError
    return found


async def to_sign_in(request: Request, _: Exception) -> Response:
    """Ask who it is, and come back here afterwards."""
    after = f"{request.url.path}?{request.url.query}".rstrip("?") if request.method == "GET" else "/"
    return RedirectResponse(f"/sign-in?{urlencode({'next': after})}", 303, headers=HEADERS)


async def form(request: Request) -> dict[str, str]:
    """The fields of an HTML form."""
    body = (await request.body()).decode(errors="replace")
    try:
        return {name: values[-1] for name, values in parse_qs(body, max_num_fields=50).items()}
    except ValueError:
        raise HTTPException(422, "not a form of ours") from None


async def own_form(request: Request) -> dict[str, str]:
    """A form that this session's own page sent. Answers 403 to any other."""
    fields = await form(request)
    if not hmac.compare_digest(fields.get("csrf", "").encode(), session(request).csrf.encode()):
        raise HTTPException(403, "this form is too old or not ours: go back, reload the page, and try again")
    return fields


SignedIn = Annotated[Session, Depends(session)]
OwnForm = Annotated[dict[str, str], Depends(own_form)]


def actor(who: Session, fields: dict[str, str]) -> Actor:
    """Who acts, and the reason of the form."""
    return Actor(f"{who.who} (dashboard)", plain("why", fields.get("why", "").strip()))


def _local(path: str | None) -> str:
    """Only paths of this door: a link in somebody's mail must not lead elsewhere after the sign-in."""
    if path and path.startswith("/") and not path.startswith("//") and not set(path) & set("\\\r\n\t"):
        return path
    return "/"


def see(path: str, message: str | None = None) -> Response:
    """Show a page next, and what was done."""
    target = f"{path}{'&' if '?' in path else '?'}{urlencode({'said': message})}" if message else path
    return RedirectResponse(target, 303, headers=HEADERS)


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """The stylesheet and the script."""
    if name not in FILES:
        raise HTTPException(404)
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response((TEMPLATES / name).read_bytes(), media_type=FILES[name], headers=headers)


@router.get("/sign-in")
async def sign_in_page(at: AtDesk, next: str = "/") -> Response:  # noqa: A002 - the parameter's name in the address
    """Ask for the token."""
    del at
    return page("sign_in.html", session=None, next=_local(next), wrong=False, who="")


@router.post("/sign-in")
async def sign_in(request: Request, at: AtDesk) -> Response:
    """Open a session for whoever has the token."""
    fields = await form(request)
    target, who = _local(fields.get("next")), fields.get("who", "")
    if not at.gate.knows(fields.get("token", "")):
        return page("sign_in.html", 403, session=None, next=target, wrong=True, who=who)
    answer = see(target)
    answer.set_cookie(
        COOKIE,
        at.gate.sign_in(who, at.clock.now()),
        max_age=int(SESSION.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/sign-out", dependencies=[Depends(own_form)])
async def sign_out() -> Response:
    """End the session in this browser."""
    answer = see("/sign-in")
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def _events(at: Desk, wanted: EventFilter, after: str | None) -> list[dict[str, Any]]:
    async with at.engine.connect() as conn:
        return [story_json(row) for row in await events.list_events(conn, wanted, limit=PAGE, after=after)]


def _wanted(at: Desk, q: str | None, status: str | None) -> EventFilter:
    found = search(q, at.clock.now())
    chosen = one_of("status", status, EventStatus)
    return EventFilter(ids=found.ids, status=chosen, type=found.type, customer=found.customer,
                       account=found.account, object_id=found.object_id)  # fmt: skip


@router.get("/")
async def home(
    at: AtDesk, who: SignedIn, *, q: str = "", status: str = "", after: str | None = None, said: str = ""
) -> Response:
    """How the work stands, and the inbox."""
    now = at.clock.now()
    rows = await _events(at, _wanted(at, q, status), plain("after", after))
    return page(
        "home.html",
        session=who,
        told=await overview(at.engine, at.schedules, now),
        now=now,
        silent=SILENT_SECONDS,
        events=rows,
        states=[state.value for state in EventStatus],
        q=q,
        status=status,
        older=rows[-1]["id"] if len(rows) == PAGE else None,
        said=said,
    )


@router.get("/events/{event_id}")
async def event_page(at: AtDesk, who: SignedIn, event_id: str, said: str = "") -> Response:
    """One event's whole story."""
    story = await api.event_story(at, event_id)
    payload = _json(story["payload"])
    return page("event.html", session=who, event=story, payload=payload, now=at.clock.now(), said=said)


@router.post("/events/retry")
async def retry_events(at: AtDesk, who: SignedIn, fields: OwnForm) -> Response:
    """Set all dead events of a listing going again."""
    wanted = events.retry_of_filter(_wanted(at, fields.get("q"), EventStatus.DEAD), again=False)
    done = await api.retry_matching_events(at, wanted, actor(who, fields), RetryOne())
    return see("/", f"{done.changed:,} of {done.matched:,} dead events go again")


@router.post("/events/{event_id}/retry")
async def retry_event(at: AtDesk, who: SignedIn, event_id: str, fields: OwnForm) -> Response:
    """Set one event going again."""
    asked = RetryOne(again=fields.get("again") == "yes")
    done = await api.retry_one_event(at, event_id, actor(who, fields), asked)
    return see(f"/events/{event_id}", "it goes again" if done.changed else "a worker has it: nothing was changed")


@router.post("/events/{event_id}/discard")
async def discard_event(at: AtDesk, who: SignedIn, event_id: str, fields: OwnForm) -> Response:
    """Put a dead event away."""
    await api.discard_one_event(at, event_id, actor(who, fields))
    return see(f"/events/{event_id}", "it was put away; a retry still brings it back")


@router.get("/jobs")
async def jobs_page(
    at: AtDesk, who: SignedIn, *, status: str = "", name: str = "", after: JobId | None = None, said: str = ""
) -> Response:
    """Jobs, newest first."""
    wanted = JobFilter.read(now=at.clock.now(), status=status, name=name.strip())
    async with at.engine.connect() as conn:
        rows = [story_json(row) for row in await jobs.list_jobs(conn, wanted, limit=PAGE, after=after)]
    older = rows[-1]["id"] if len(rows) == PAGE else None
    states = [state.value for state in JobStatus]
    return page("jobs.html", session=who, jobs=rows, now=at.clock.now(), states=states, status=status, name=name,
                 older=older, said=said)  # fmt: skip


@router.get("/jobs/{job_id}")
async def job_page(at: AtDesk, who: SignedIn, job_id: JobId, said: str = "") -> Response:
    """One job's whole story."""
    story = await api.job_story(at, job_id)
    arguments = _json(story["args"])
    return page("job.html", session=who, job=story, arguments=arguments, now=at.clock.now(), said=said)


@router.post("/jobs/{job_id}/retry")
async def retry_job(at: AtDesk, who: SignedIn, job_id: JobId, fields: OwnForm) -> Response:
    """Set one job going again."""
    asked = RetryOne(again=fields.get("again") == "yes")
    done = await api.retry_one_job(at, job_id, actor(who, fields), asked)
    return see(f"/jobs/{job_id}", "it goes again" if done.changed else "a worker has it: nothing was changed")


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(at: AtDesk, who: SignedIn, job_id: JobId, fields: OwnForm) -> Response:
    """Cancel a job."""
    done = await api.cancel_one_job(at, job_id, actor(who, fields))
    return see(f"/jobs/{job_id}", "it is cancelled" if done.changed else "a worker has it: nothing was changed")


@router.get("/dunning")
async def dunning_page(
    at: AtDesk, who: SignedIn, *, status: str = "", outcome: str = "", after: JobId | None = None, said: str = ""
) -> Response:
    """Invoices that were not paid in time, newest first, and what dunning brings in."""
    asked = DunningListing(status=status, outcome=outcome, limit=PAGE, after=after)
    rows = await dunning.cases(at, asked)
    older = rows[-1]["id"] if len(rows) == PAGE else None
    return page("dunning.html", session=who, cases=rows, figures=await dunning.figures_of(at, "90d"), older=older,
                 now=dunning.times(at).now(), states=[*CaseStatus, "all"], outcomes=[*CaseOutcome], status=status,
                 outcome=outcome, said=said)  # fmt: skip


@router.get("/dunning/{invoice}")
async def case_page(at: AtDesk, who: SignedIn, invoice: str, said: str = "") -> Response:
    """One case's whole story, and what comes next."""
    story = await dunning.case_story(at, invoice)
    ahead = await dunning.what_comes(at, invoice)
    return page("case.html", session=who, case=story, ahead=ahead, now=dunning.times(at).now(), said=said)


@router.post("/dunning/{invoice}/{what}")
async def act_on_case(at: AtDesk, who: SignedIn, invoice: str, what: str, fields: OwnForm) -> Response:
    """Pause a case, let it go on, skip a step, or take the next one now."""
    await dunning.by_name(at, invoice, what, actor(who, fields), position=fields.get("position", ""))
    return see(f"/dunning/{quote(invoice, safe='')}", f"{what.replace('-', ' ')}: done")


@router.post("/pause")
async def pause(at: AtDesk, who: SignedIn, fields: OwnForm) -> Response:
    """Pause or resume a queue or a name."""
    paused = fields.get("do") == "pause"
    scope = one_of("scope", fields.get("scope"), Scope) or Scope.QUEUE
    target = plain("target", fields.get("target")) or "?"
    if len(target) > LONGEST_TARGET:
        raise BadFilterError("target", f"has more than {LONGEST_TARGET} characters")
    asked = PauseRequest(scope=scope.value, target=target)
    done = await api.set_pause(at, asked, actor(who, fields), paused=paused)
    word = "paused" if paused else "resumed"
    return see("/", f"{asked.target} is {word}" if done.changed else f"{asked.target} was {word} already")
