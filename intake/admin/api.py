"""The internal API: how the work stands, the inbox, the jobs, and what an operator does about them."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, HTTPException, Query, Request
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import AsyncConnection

from db.operators import events, jobs
from db.operators.actions import Actor, Done, Scope, pause, resume
from db.operators.filters import EventFilter, JobFilter, one_of, plain
from db.operators.status import pauses
from db.states import QueueName
from intake import schedules
from intake.admin import models
from intake.admin.desk import AtDesk, Desk
from intake.overview import overview, story_json

OPERATOR = Header(alias="X-Operator", description="Who acts, for the audit log.", max_length=200)


def bearer(request: Request, at: AtDesk) -> None:
    """Lets only the admin token pass."""
    if not at.gate.bearer(request.headers.get("Authorization")):
        raise HTTPException(
            401, "send the admin token: Authorization: Bearer …", headers={"WWW-Authenticate": "Bearer"}
        )


def operator(operator: Annotated[str | None, OPERATOR] = None) -> str:
    """Who acts."""
    return " ".join((plain("X-Operator", operator) or "").split()) or "admin API"


ByOperator = Annotated[str, Depends(operator)]
router = APIRouter(
    prefix="/admin",
    tags=["operators"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "No such id; nothing was changed."}}
REFUSED: dict[int | str, dict[str, Any]] = {
    **NOT_FOUND,
    409: {"description": "Its state does not allow it; nothing was changed."},
}


def event_filter(query: models.EventQuery, at: Desk) -> EventFilter:
    """The filter of a request. Raises BadFilterError."""
    return EventFilter.read(
        now=at.clock.now(),
        status=query.status,
        type_=query.type,
        customer=query.customer,
        account=query.account,
        object_id=query.object,
        since=query.since,
        until=query.until,
    )


def job_filter(query: models.JobQuery, at: Desk) -> JobFilter:
    """The filter of a request. Raises BadFilterError."""
    return JobFilter.read(
        now=at.clock.now(),
        status=query.status,
        name=query.name,
        queue=query.queue,
        staged_by=query.staged_by,
        since=query.since,
        until=query.until,
    )


def _actor(who: str, asked: models.Why) -> Actor:
    return Actor(who, plain("why", asked.why))


def _changed(done: Done) -> models.Changed:
    return models.Changed(matched=done.matched, changed=len(done.ids), ids=list(done.ids), dry_run=False)


def _counted(matched: int) -> models.Changed:
    return models.Changed(matched=matched, changed=0, ids=[], dry_run=True)


@router.get("/status")
async def status(at: AtDesk) -> models.StatusAnswer:
    """Queues, events, workers, schedules, pauses, and hints about what is wrong."""
    return models.StatusAnswer.model_validate(await overview(at.engine, at.schedules, at.clock.now()))


@router.get("/events")
async def list_events(at: AtDesk, query: Annotated[models.EventListing, Query()]) -> models.EventPage:
    """The inbox, newest first."""
    wanted = event_filter(query, at)
    async with at.engine.connect() as conn:
        rows = await events.list_events(conn, wanted, limit=query.limit, after=plain("after", query.after))
    last = rows[-1]["id"] if len(rows) == query.limit else None
    return models.EventPage(events=[models.Event.model_validate(story_json(row)) for row in rows], next=last)


@router.post("/events/retry")
async def retry_events(at: AtDesk, who: ByOperator, asked: models.RetryEvents) -> models.Changed:
    """Set all events that match going again, behind the live ones."""
    wanted = events.retry_of_filter(event_filter(asked, at), again=asked.again)
    return await retry_matching_events(at, wanted, _actor(who, asked), asked)


async def retry_matching_events(at: Desk, wanted: EventFilter, actor: Actor, asked: models.RetryOne) -> models.Changed:
    """Retry, commit, ring; or only count."""
    async with at.engine.begin() as conn:
        if asked.dry_run:
            return _counted(await events.count(conn, wanted))
        done = await events.retry(conn, wanted, actor, now=at.clock.now(), again=asked.again)
    if done.ids:
        at.ring(QueueName.EVENTS)
    return _changed(done)


@router.get("/events/{event_id}", responses=NOT_FOUND)
async def show_event(at: AtDesk, event_id: str) -> models.EventStory:
    """One event's whole story."""
    return models.EventStory.model_validate(await event_story(at, event_id))


async def event_story(at: Desk, event_id: str) -> dict[str, Any]:
    """The story at one moment. Raises UnknownIdsError."""
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        return story_json(await events.event_story(conn, plain("id", event_id) or ""))


@router.post("/events/{event_id}/retry", responses=REFUSED)
async def retry_event(
    at: AtDesk,
    who: ByOperator,
    event_id: str,
    asked: Annotated[models.RetryOne | None, Body()] = None,
    *,
    again: Annotated[bool, Query(description="Also when it was already processed.")] = False,
) -> models.Changed:
    """Set one event going again, in whatever state it is."""
    asked = asked or models.RetryOne()
    asked = asked.model_copy(update={"again": asked.again or again})
    return await retry_one_event(at, event_id, _actor(who, asked), asked)


async def retry_one_event(at: Desk, event_id: str, actor: Actor, asked: models.RetryOne) -> models.Changed:
    """Check, retry, commit, ring. Raises UnknownIdsError or NotAllowedError."""
    async with at.engine.connect() as conn:
        wanted = await events.retry_of_ids(conn, [plain("id", event_id) or ""], again=asked.again)
    return await retry_matching_events(at, wanted, actor, asked)


@router.post("/events/{event_id}/discard", responses=REFUSED)
async def discard_event(
    at: AtDesk, who: ByOperator, event_id: str, asked: Annotated[models.Why | None, Body()] = None
) -> models.Changed:
    """Put a dead event away as `ignored`; it is kept, and can still be retried."""
    asked = asked or models.Why()
    return await discard_one_event(at, event_id, _actor(who, asked), dry_run=asked.dry_run)


async def discard_one_event(at: Desk, event_id: str, actor: Actor, *, dry_run: bool = False) -> models.Changed:
    """Check, discard, commit. Raises UnknownIdsError or NotAllowedError."""
    async with at.engine.begin() as conn:
        wanted = await events.discardable(conn, [plain("id", event_id) or ""])
        if dry_run:
            return _counted(1)
        return _changed(await events.discard(conn, wanted, actor, now=at.clock.now()))


@router.get("/jobs")
async def list_jobs(at: AtDesk, query: Annotated[models.JobListing, Query()]) -> models.JobPage:
    """Jobs, newest first."""
    wanted = job_filter(query, at)
    async with at.engine.connect() as conn:
        rows = await jobs.list_jobs(conn, wanted, limit=query.limit, after=query.after)
    last = rows[-1]["id"] if len(rows) == query.limit else None
    return models.JobPage(jobs=[models.Job.model_validate(story_json(row)) for row in rows], next=last)


@router.post("/jobs/retry")
async def retry_jobs(at: AtDesk, who: ByOperator, asked: models.RetryJobs) -> models.Changed:
    """Set all jobs that match going again, behind the live ones."""
    wanted = jobs.bulk(job_filter(asked, at), again=asked.again)
    return await _retry_jobs(at, wanted, _actor(who, asked), asked)


async def _retry_jobs(at: Desk, wanted: JobFilter, actor: Actor, asked: models.RetryOne) -> models.Changed:
    async with at.engine.begin() as conn:
        if asked.dry_run:
            return _counted(await jobs.count(conn, wanted))
        done, queues = await jobs.retry(conn, wanted, actor, now=at.clock.now(), again=asked.again)
    for queue in queues:
        at.ring(queue)
    return _changed(done)


@router.get("/jobs/{job_id}", responses=NOT_FOUND)
async def show_job(at: AtDesk, job_id: models.JobId) -> models.JobStory:
    """One job's whole story."""
    return models.JobStory.model_validate(await job_story(at, job_id))


async def job_story(at: Desk, job_id: int) -> dict[str, Any]:
    """The story at one moment. Raises UnknownIdsError."""
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        return story_json(await jobs.job_story(conn, job_id))


@router.post("/jobs/{job_id}/retry", responses=REFUSED)
async def retry_job(
    at: AtDesk, who: ByOperator, job_id: models.JobId, asked: Annotated[models.RetryOne | None, Body()] = None
) -> models.Changed:
    """Set one job going again, in whatever state it is."""
    asked = asked or models.RetryOne()
    return await retry_one_job(at, job_id, _actor(who, asked), asked)


async def retry_one_job(at: Desk, job_id: int, actor: Actor, asked: models.RetryOne) -> models.Changed:
    """Check, retry, commit, ring. Raises UnknownIdsError or NotAllowedError."""
    async with at.engine.connect() as conn:
        wanted = await jobs.retry_of_ids(conn, [job_id], again=asked.again)
    return await _retry_jobs(at, wanted, actor, asked)


@router.post("/jobs/{job_id}/cancel", responses=REFUSED)
async def cancel_job(
    at: AtDesk, who: ByOperator, job_id: models.JobId, asked: Annotated[models.Why | None, Body()] = None
) -> models.Changed:
    """Cancel a job that waits or is dead; one that runs now cannot be cancelled."""
    asked = asked or models.Why()
    return await cancel_one_job(at, job_id, _actor(who, asked), dry_run=asked.dry_run)


async def cancel_one_job(at: Desk, job_id: int, actor: Actor, *, dry_run: bool = False) -> models.Changed:
    """Check, cancel, commit. Raises UnknownIdsError or NotAllowedError."""
    async with at.engine.begin() as conn:
        wanted = await jobs.cancel_of_ids(conn, [job_id])
        if dry_run:
            return _counted(1)
        return _changed(await jobs.cancel(conn, wanted, actor, now=at.clock.now()))


@router.post("/schedules/{name}/run", responses=REFUSED)
async def run_schedule(
    at: AtDesk, who: ByOperator, name: str, asked: Annotated[models.RunSchedule | None, Body()] = None
) -> models.ScheduleRan:
    """Run a scheduled job now. A period that was run before is left alone, unless it is meant `again`."""
    asked = asked or models.RunSchedule()
    try:
        spec = schedules.schedule_named(name, at.schedules)
    except schedules.UnknownScheduleError as error:
        raise HTTPException(404, str(error)) from None
    async with at.engine.connect() as conn:
        ran = await schedules.run(conn, spec, asked.period, _actor(who, asked), now=at.clock.now(), again=asked.again)
        await (conn.rollback() if asked.dry_run else conn.commit())
    if ran.staged and not asked.dry_run:
        at.ring(ran.queue)
    return models.ScheduleRan.model_validate(ran.told(dry_run=asked.dry_run))


@router.post("/pause")
async def pause_work(at: AtDesk, who: ByOperator, asked: models.PauseRequest) -> models.PauseAnswer:
    """Start nothing more of a queue, an event type or a job; what comes in is kept, and waits."""
    return await set_pause(at, asked, _actor(who, asked), paused=True)


@router.post("/resume")
async def resume_work(at: AtDesk, who: ByOperator, asked: models.PauseRequest) -> models.PauseAnswer:
    """Let it run again."""
    return await set_pause(at, asked, _actor(who, asked), paused=False)


async def set_pause(at: Desk, asked: models.PauseRequest, actor: Actor, *, paused: bool) -> models.PauseAnswer:
    """Pause or resume, commit, ring. Raises BadFilterError."""
    scope = Scope(asked.scope)
    if scope is Scope.QUEUE:
        one_of("target", asked.target, QueueName)
    act: Callable[..., Awaitable[bool]] = pause if paused else resume
    async with at.engine.begin() as conn:
        if asked.dry_run:
            changed = await _is_paused(conn, asked) is not paused
        else:
            changed = await act(conn, scope, asked.target, actor, now=at.clock.now())
    if changed and not paused and not asked.dry_run:
        for queue in (asked.target,) if scope is Scope.QUEUE else QueueName:
            at.ring(queue)
    return models.PauseAnswer(changed=changed, paused=paused, dry_run=asked.dry_run)


async def _is_paused(conn: AsyncConnection, asked: models.PauseRequest) -> bool:
    return any(one["scope"] == asked.scope and one["target"] == asked.target for one in await pauses(conn))
