"""The internal API and pages of comparisons with Stripe: what did not agree, and what became of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import AsyncConnection

from db import reconciliation as comparisons
from db.operators import reconciliation as rows
from db.operators.actions import Actor
from db.operators.filters import BadFilterError, plain
from intake import reconciliation as words
from intake.admin import dashboard
from intake.admin import reconciliation_models as models
from intake.admin.api import NOT_FOUND, REFUSED, ByOperator, bearer
from intake.admin.dashboard import PAGE, OwnForm, SignedIn
from intake.admin.desk import AtDesk, Desk
from intake.admin.dunning import times
from intake.admin.models import JobId, Reasoned
from intake.overview import jsonable, without_secrets
from jobs.reconciliation.report import Report

api = APIRouter(
    prefix="/admin/reconciliation",
    tags=["reconciliation"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)
pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

MOST = 200
"""Differences that an answer or a page shows."""


async def _standing(conn: AsyncConnection, *, limit: int, after: int | None) -> dict[str, Any]:
    found = [words.run_json(row) for row in await rows.runs(conn, limit=limit, after=after)]
    return {
        "runs": found,
        "next": found[-1]["id"] if len(found) == limit else None,
        "open": await comparisons.open_counts(conn),
        "differences": [words.difference_json(row) for row in await rows.differences(conn, limit=MOST)],
    }


@api.get("")
async def list_runs(at: AtDesk, query: Annotated[models.RunListing, Query()]) -> models.RunPage:
    """Comparisons with Stripe, newest first, and the differences that are open."""
    async with at.engine.connect() as conn:
        return models.RunPage.model_validate(await _standing(conn, limit=query.limit, after=query.after))


@api.get("/{run}", responses=NOT_FOUND)
async def show_run(at: AtDesk, run: JobId) -> models.RunStory:
    """One comparison: its report, and what became of each difference."""
    return models.RunStory.model_validate(await _story(at, run))


async def _story(at: Desk, run: int) -> dict[str, Any]:
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        return words.story_json(await rows.run_story(conn, run, limit=MOST))


@api.post("/differences/{difference}/dismiss", responses=REFUSED)
async def dismiss_difference(at: AtDesk, who: ByOperator, difference: JobId, asked: Reasoned) -> models.Dismissed:
    """Put a difference away that is known and right: with the same values it is not told again."""
    return await _dismiss(at, difference, Actor(who, plain("why", asked.why)), dry_run=asked.dry_run)


async def _dismiss(at: Desk, difference: int, by: Actor, *, dry_run: bool = False) -> models.Dismissed:
    async with at.engine.connect() as conn:
        (row,) = await rows.dismiss(conn, [difference], by, now=times(at).now())
        audit = [without_secrets(jsonable(one)) for one in await rows.audit(conn, difference)]
        await (conn.rollback() if dry_run else conn.commit())
    told = {"difference": words.difference_json(row), "audit": audit, "dry_run": dry_run}
    return models.Dismissed.model_validate(told)


def _outcome(report: Report | None) -> dict[str, Any]:
    """What a comparison came to, as both pages show it; of none, nothing."""
    if report is None:
        return {"totals": (), "verdict": "", "steps": (), "agrees": False, "compared": ""}
    return {
        "totals": words.totals(report),
        "verdict": words.verdict(report),
        "steps": words.next_steps(report),
        "agrees": report.agrees,
        "compared": words.compared(report),
    }


@pages.get("/reconciliation")
async def reconciliation_page(at: AtDesk, who: SignedIn, *, after: JobId | None = None, said: str = "") -> Response:
    """Comparisons, newest first, and what is open."""
    async with at.engine.connect() as conn:
        found = await _standing(conn, limit=PAGE, after=after)
    ours = (one for one in found["runs"] if one["report"] and not one["dry_run"] and not one["stripe_account"])
    last = next(ours, None) if after is None else None
    report = words.kept(last) if last is not None else None
    return dashboard.page(
        "reconciliation.html",
        session=who,
        found=found,
        last=last,
        **_outcome(report),
        meanings=words.MEANINGS,
        sides=words.sides,
        took=words.took,
        spans=words.spans,
        now=times(at).now(),
        said=said,
        most=MOST,
    )


@pages.get("/reconciliation/{run}")
async def run_page(at: AtDesk, who: SignedIn, run: JobId) -> Response:
    """One comparison with its differences."""
    told = await _story(at, run)
    report = words.kept(told)
    return dashboard.page(
        "reconciliation_run.html",
        session=who,
        run=told,
        **_outcome(report),
        sides=words.sides,
        took=words.took,
        spans=words.spans,
        now=times(at).now(),
        most=MOST,
    )


@pages.post("/reconciliation/differences/{difference}/dismiss")
async def dismiss_on_page(at: AtDesk, who: SignedIn, difference: JobId, fields: OwnForm) -> Response:
    """Put a difference away."""
    by = dashboard.actor(who, fields)
    if not by.why:
        raise BadFilterError("why", "is missing: say why, for the audit log")
    done = await _dismiss(at, difference, by)
    return dashboard.see("/reconciliation", f"dismissed: {done.difference.kind} {done.difference.object_id}")
