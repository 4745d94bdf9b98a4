"""The internal API of partners' invoices: previewed, issued now, looked through, released, dropped."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.security import HTTPBearer
from sqlalchemy.exc import DBAPIError

from db.operators.actions import Actor, NotAllowedError, UnknownIdsError
from db.operators.filters import BadFilterError, plain
from db.tokens import has_contract
from intake.admin import partners_invoices_models as models
from intake.admin.api import REFUSED, ByOperator, bearer
from intake.admin.dashboard import OwnForm, SignedIn, see
from intake.admin.desk import AtDesk, Desk
from intake.admin.dunning import times
from intake.dunning import hand, money
from intake.months import month
from intake.partner_invoices import BUSY, LOCKED, done_json, preview_json, waiting
from jobs.invoices.sellers import sellers_from
from jobs.partners import release as releasing
from jobs.partners.preview import preview
from jobs.partners.release import Done
from worker.deps import Tx
from worker.errors import Refused, TryLater
from worker.settings import ConfigurationError, Settings

T = TypeVar("T")

api = APIRouter(
    prefix="/admin/partners",
    tags=["partners"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)
pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
LONGEST_WHY, LONGEST_PERIOD = 500, 20


def settings_of(request: Request) -> Settings:
    """The settings of this door."""
    found: Settings = request.app.state.settings
    return found


WithSettings = Annotated[Settings, Depends(settings_of)]


async def acted(at: Desk, work: Callable[[Tx], Awaitable[T]], *, dry_run: bool) -> T:
    """Do `work`, commit (or undo a dry run), ring. What is refused is answered 409, with why."""
    try:
        async with hand(at.engine, times(at), dry_run=dry_run) as tx:
            found = await work(tx)
            rings = set[str]() if dry_run else tx.rings
    except (Refused, TryLater, ConfigurationError) as error:
        raise NotAllowedError([str(error)]) from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCKED:
            raise
        raise NotAllowedError([BUSY]) from error
    for queue in rings:
        at.ring(queue)
    return found


async def _prefix(tx: Tx, typed: str) -> str:
    """The prefix of a contract. Raises BadFilterError, UnknownIdsError."""
    name = plain("prefix", typed) or ""
    if not await has_contract(tx.conn, name):
        raise UnknownIdsError("partner", [typed])
    return name


@api.get("/parked")
async def list_parked(at: AtDesk, query: Annotated[models.ParkedQuery, Query()]) -> models.ParkedPage:
    """Periods that wait for somebody, and why; and usage that came after the last invoice of an ended contract."""
    found = await acted(at, lambda tx: waiting(tx, plain("partner", query.partner)), dry_run=True)
    return models.ParkedPage(periods=[models.Parked.model_validate(row) for row in found])


@api.get("/{prefix}/preview", responses=REFUSED)
async def preview_invoice(
    at: AtDesk, settings: WithSettings, prefix: str, query: Annotated[models.PreviewQuery, Query()]
) -> models.PartnerPreview:
    """The very invoice that the partner would get, with each amount's arithmetic; nothing is written."""
    wanted = month(query.period)

    async def work(tx: Tx) -> models.PartnerPreview:
        found = await preview(tx, await _prefix(tx, prefix), wanted, sellers_from(settings))
        return models.PartnerPreview.model_validate(preview_json(found))

    return await acted(at, work, dry_run=True)


Act = Callable[[Tx, str, str, Settings, Actor], Awaitable[Done]]


@dataclass(frozen=True, slots=True)
class _Hand:
    """Who does something with a partner's period, and where."""

    at: Desk
    settings: Settings
    who: str
    prefix: str

    async def settle(self, act: Act, asked: models.OnPeriod) -> models.PeriodDone:
        by, wanted = Actor(self.who, plain("why", asked.why)), month(asked.period)

        async def work(tx: Tx) -> models.PeriodDone:
            done = await act(tx, await _prefix(tx, self.prefix), wanted, self.settings, by)
            return models.PeriodDone.model_validate(done_json(done, dry_run=asked.dry_run))

        return await acted(self.at, work, dry_run=asked.dry_run)


@api.post("/{prefix}/invoice", responses=REFUSED)
async def invoice_period(
    at: AtDesk, settings: WithSettings, who: ByOperator, prefix: str, asked: models.OnPeriod
) -> models.PeriodDone:
    """Invoice a period that has ended, now; one that looks wrong is `parked`, with the concerns."""
    return await _Hand(at, settings, who, prefix).settle(releasing.invoice_now, asked)


@api.post("/{prefix}/release", responses=REFUSED)
async def release_period(
    at: AtDesk, settings: WithSettings, who: ByOperator, prefix: str, asked: models.OnPeriod
) -> models.PeriodDone:
    """Issue a parked invoice after all. It is made anew, with the usage, credits and contract of now."""
    return await _Hand(at, settings, who, prefix).settle(releasing.release, asked)


@api.post("/{prefix}/void", responses=REFUSED)
async def void_period(at: AtDesk, who: ByOperator, prefix: str, asked: models.OnPeriod) -> models.PeriodVoid:
    """Drop a period: one that is parked, or an issued invoice that nobody has paid."""
    by, wanted = Actor(who, plain("why", asked.why)), month(asked.period)

    async def work(tx: Tx) -> tuple[str, str]:
        return await releasing.void(tx, await _prefix(tx, prefix), wanted, by)

    name, was = await acted(at, work, dry_run=asked.dry_run)
    return models.PeriodVoid(partner=prefix, period=name, was=was, dry_run=asked.dry_run)


def shown(fields: dict[str, str]) -> str:
    """The mark of what the page showed. Raises BadFilterError."""
    found = fields.get("seen", "")
    if not found:
        raise BadFilterError("seen", "is missing: go back, reload the page, and look why it is parked")
    return found


def asked_for(fields: dict[str, str]) -> models.OnPeriod:
    """What a form asks for, and why. Raises BadFilterError."""
    why = plain("why", fields.get("why", "").strip())
    if not why:
        raise BadFilterError("why", "is missing: say why, for the audit log")
    if len(why) > LONGEST_WHY:
        raise BadFilterError("why", f"has more than {LONGEST_WHY} characters")
    period = plain("period", fields.get("period", "").strip())
    if not period or len(period) > LONGEST_PERIOD:
        raise BadFilterError("period", "is missing: a month of it, such as 2026-10")
    return models.OnPeriod(period=month(period), why=why)


@pages.post("/partners/{prefix}/release")
async def release_on_page(at: AtDesk, settings: WithSettings, who: SignedIn, prefix: str, fields: OwnForm) -> Response:
    """Issue a parked invoice after all; what cannot be one yet stays parked, and the page says why."""
    by, act = f"{who.who} (dashboard)", partial(releasing.release, shown=shown(fields))
    done = await _Hand(at, settings, by, prefix).settle(act, asked_for(fields))
    said = f"{done.period}: {done.number or done.status}"
    if done.status == "parked":
        said = f"{done.period} is still parked: {'; '.join(one.why for one in done.concerns if one.stops)}"
    elif done.differs and done.currency is not None:
        said += f", over {money(done.total, done.currency)} by what is known now"
    return see(f"/partners/{quote(prefix, safe='')}", said)


@pages.post("/partners/{prefix}/void")
async def void_on_page(at: AtDesk, who: SignedIn, prefix: str, fields: OwnForm) -> Response:
    """Drop a period that is parked."""
    asked, seen = asked_for(fields), shown(fields)
    by = Actor(f"{who.who} (dashboard)", asked.why)

    async def work(tx: Tx) -> tuple[str, str]:
        name = await _prefix(tx, prefix)
        return await releasing.void(tx, name, asked.period, by, only="parked", shown=seen)

    name, _ = await acted(at, work, dry_run=False)
    return see(f"/partners/{quote(prefix, safe='')}", f"{name} is void: `billing partners invoice` does it anew")
