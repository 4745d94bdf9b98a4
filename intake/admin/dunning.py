"""The internal API of dunning: the invoices that were not paid in time, and an operator's say in each."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer

from db.dunning import Case
from db.operators import dunning
from db.operators.actions import Actor, NotAllowedError
from db.operators.dunning import CaseFilter
from db.operators.figures import figures
from db.operators.filters import BadFilterError, period, plain
from db.states import CaseOutcome
from intake.admin import dunning_models as models
from intake.admin.api import NOT_FOUND, REFUSED, ByOperator, bearer
from intake.admin.desk import AtDesk, Desk
from intake.admin.models import Reasoned
from intake.dunning import Times, case_json, coming, hand, story, to_come
from intake.overview import jsonable
from jobs.dunning import operate
from worker.deps import Tx

router = APIRouter(
    prefix="/admin/dunning",
    tags=["dunning"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)

Act = Callable[[Tx, str, Actor], Awaitable[Case]]


def times(at: Desk) -> Times:
    """By which dunning counts."""
    return Times(at.clock, at.business)


@router.get("")
async def list_cases(at: AtDesk, query: Annotated[models.DunningListing, Query()]) -> models.DunningPage:
    """Cases, newest first."""
    rows = await cases(at, query)
    last = rows[-1]["id"] if len(rows) == query.limit else None
    return models.DunningPage(cases=[models.DunningCase.model_validate(row) for row in rows], next=last)


async def cases(at: Desk, query: models.DunningListing) -> list[dict[str, Any]]:
    """The cases of a listing. Raises BadFilterError."""
    wanted = CaseFilter.read(
        now=times(at).now(),
        status=query.status,
        outcome=query.outcome,
        customer=query.customer,
        since=query.since,
        until=query.until,
    )
    async with at.engine.connect() as conn:
        rows = await dunning.list_cases(conn, wanted, limit=query.limit, after=query.after)
    return [case_json(row) for row in rows]


@router.get("/figures")
async def show_figures(at: AtDesk, query: Annotated[models.FiguresQuery, Query()]) -> models.DunningFigures:
    """What dunning brings in: of the cases opened in that time (ages like `90d`, or ISO 8601)."""
    return models.DunningFigures.model_validate(await figures_of(at, query.since, query.until))


async def figures_of(at: Desk, since: str | None = None, until: str | None = None) -> dict[str, Any]:
    """The figures, all of one moment. Raises BadFilterError."""
    now = times(at).now()
    begin, end = period(since, until, now)
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        return jsonable(await figures(conn, since=begin, until=end))


@router.get("/{invoice}", responses=NOT_FOUND)
async def show_case(at: AtDesk, invoice: str) -> models.DunningStory:
    """One case's whole story."""
    return models.DunningStory.model_validate(await case_story(at, invoice))


async def case_story(at: Desk, invoice: str) -> dict[str, Any]:
    """The story at one moment. Raises UnknownIdsError."""
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        return await story(conn, await dunning.invoice_of(conn, invoice))


@router.get("/{invoice}/preview", responses=NOT_FOUND)
async def preview_case(at: AtDesk, invoice: str) -> models.DunningPreview:
    """What would happen in the next 30 days if nobody paid; nothing is changed."""
    return models.DunningPreview.model_validate(await what_comes(at, invoice))


async def what_comes(at: Desk, invoice: str) -> dict[str, Any]:
    """The preview. Raises UnknownIdsError."""
    async with at.engine.connect() as conn:
        return await coming(conn, await dunning.invoice_of(conn, invoice), times(at).now())


async def act(at: Desk, invoice: str, work: Act, actor: Actor, *, dry_run: bool = False) -> dict[str, Any]:
    """Act, commit (or undo a dry run), ring; the story then. Raises UnknownIdsError, NotAllowedError."""
    async with hand(at.engine, times(at), dry_run=dry_run) as tx:
        name = await dunning.invoice_of(tx.conn, invoice)
        await work(tx, name, actor)
        found = await story(tx.conn, name)
        rings = set[str]() if dry_run else tx.rings
    for queue in rings:
        at.ring(queue)
    return found


async def _changed(at: Desk, invoice: str, work: Act, who: str, asked: Reasoned) -> models.DunningChanged:
    found = await act(at, invoice, work, Actor(who, plain("why", asked.why)), dry_run=asked.dry_run)
    return models.DunningChanged.model_validate({**found, "dry_run": asked.dry_run})


@router.post("/{invoice}/pause", responses=REFUSED)
async def pause_case(at: AtDesk, who: ByOperator, invoice: str, asked: models.PauseCase) -> models.DunningChanged:
    """Write to nobody about this invoice for now; payment still closes the case."""

    async def work(tx: Tx, name: str, actor: Actor) -> Case:
        return await operate.pause(tx, name, actor, until=to_come("until", asked.until, tx.now))

    return await _changed(at, invoice, work, who, asked)


@router.post("/{invoice}/resume", responses=REFUSED)
async def resume_case(at: AtDesk, who: ByOperator, invoice: str, asked: Reasoned) -> models.DunningChanged:
    """Let a paused case go on; what became due meanwhile collapses to one letter."""
    return await _changed(at, invoice, operate.resume, who, asked)


@router.post("/{invoice}/skip", responses=REFUSED)
async def skip_step(at: AtDesk, who: ByOperator, invoice: str, asked: models.OneStep) -> models.DunningChanged:
    """Leave the next step out; the one after it keeps its day."""
    return await _changed(at, invoice, partial(operate.skip, position=asked.position), who, asked)


@router.post("/{invoice}/send-now", responses=REFUSED)
async def send_now(at: AtDesk, who: ByOperator, invoice: str, asked: models.OneStep) -> models.DunningChanged:
    """Take the next step now; the invoice is read afresh before, as always."""
    return await _changed(at, invoice, partial(operate.send_now, position=asked.position), who, asked)


@router.post("/{invoice}/extend", responses=REFUSED)
async def extend_grace(at: AtDesk, who: ByOperator, invoice: str, asked: models.ExtendCase) -> models.DunningChanged:
    """Give more time: all steps that are not taken yet come so many days later."""

    async def work(tx: Tx, name: str, actor: Actor) -> Case:
        return await operate.extend(tx, name, actor, days=asked.days)

    return await _changed(at, invoice, work, who, asked)


@router.post("/{invoice}/close", responses=REFUSED)
async def close_case(at: AtDesk, who: ByOperator, invoice: str, asked: models.CloseCase) -> models.DunningChanged:
    """Let the matter be: nobody is written to any more. Paid later, it is recovered after all."""
    outcome = CaseOutcome.LOST if asked.lost else CaseOutcome.EXEMPT

    async def work(tx: Tx, name: str, actor: Actor) -> Case:
        return await operate.let_be(tx, name, actor, outcome=outcome)

    return await _changed(at, invoice, work, who, asked)


HANDS: dict[str, Act] = {"pause": operate.pause, "resume": operate.resume}
"""What the dashboard's buttons do."""

STEPS = {"skip": operate.skip, "send-now": operate.send_now}
"""What they do with the step that the page showed."""


async def by_name(at: Desk, invoice: str, what: str, actor: Actor, *, position: str = "") -> dict[str, Any]:
    """Do what a button says. Raises NotAllowedError for one that is not ours, BadFilterError without reason or step."""
    if what not in HANDS and what not in STEPS:
        raise NotAllowedError([f"there is no such thing to do: {what}"])
    if not actor.why:
        raise BadFilterError("why", "is missing: say why, for the audit log")
    if what in HANDS:
        return await act(at, invoice, HANDS[what], actor)
    if not re.fullmatch(r"\d{1,3}", position, re.ASCII):
        raise BadFilterError("position", "names the step that is meant")
    return await act(at, invoice, partial(STEPS[what], position=int(position)), actor)
