"""The internal API and pages of partners: what is agreed, from when on, how it stands, and what it came to."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, cast
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBearer

from db.operators.actions import Actor, NotAllowedError
from db.operators.filters import BadFilterError, plain
from intake.admin import dashboard
from intake.admin import partners_models as models
from intake.admin.api import NOT_FOUND, REFUSED, ByOperator, bearer
from intake.admin.dashboard import PAGE, OwnForm, SignedIn
from intake.admin.desk import AtDesk, Desk
from intake.admin.dunning import times
from intake.admin.models import Reasoned
from intake.admin.parked import waiting_now
from intake.dunning import hand
from intake.partners import known_sellers, listing, story
from jobs.invoices.sellers import Sellers
from jobs.partners import contract_changes
from jobs.partners.contract_changes import Changed
from jobs.partners.contract_fields import WrongError, day
from worker.deps import Tx
from worker.errors import Refused
from worker.settings import ConfigurationError

api = APIRouter(
    prefix="/admin/partners",
    tags=["partners"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)
pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
LONGEST_WHY = 500

Act = Callable[[Tx, str, Actor], Awaitable[None]]


def sellers_of(request: Request) -> Sellers | None:
    """The sellers that contracts may name; None where this door has no file of them, or one that cannot be read."""
    try:
        return known_sellers(request.app.state.settings)
    except ConfigurationError:
        return None


KnownSellers = Annotated[Sellers | None, Depends(sellers_of)]


@dataclass(frozen=True, slots=True)
class Given:
    """A body of fields, and how it is meant."""

    fields: Mapping[str, Any]
    why: str | None
    dry_run: bool


def _bad(*lines: str) -> HTTPException:
    """422 with each mistake and the field that it names."""
    detail: list[dict[str, Any]] = []
    for line in lines:
        field = re.match(r"[A-Za-z0-9_]+", line)
        detail.append({"type": "value_error", "loc": ["body", field[0] if field else ""], "msg": line})
    return HTTPException(422, detail)


async def given(request: Request) -> Given:
    """The body as it was sent: numbers keep their digits. Answers 422."""
    try:
        body: Any = json.loads(await request.body(), parse_float=Decimal)
    except (ValueError, RecursionError):
        raise _bad("the body is no JSON") from None
    if not isinstance(body, dict):
        raise _bad("the body holds no object of fields")
    fields = cast("dict[str, Any]", body)
    why, dry_run = fields.pop("why", None), fields.pop("dry_run", False)
    wrong = [] if isinstance(dry_run, bool) else ["dry_run: is neither true nor false"]
    if why is not None and (not isinstance(why, str) or len(why) > LONGEST_WHY):
        wrong.append(f"why: is a text of at most {LONGEST_WHY} characters")
    if wrong:
        raise _bad(*wrong)
    return Given(fields, why, dry_run)


GivenFields = Annotated[Given, Depends(given)]


@api.get("")
async def list_partners(
    at: AtDesk, sellers: KnownSellers, query: Annotated[models.PartnerListing, Query()]
) -> models.PartnerPage:
    """Contracts by prefix: price in words, usage of this month, the next invoice, and what is wrong."""
    rows = await _partners(at, sellers, query)
    last = rows[-1]["api_key_prefix"] if len(rows) == query.limit else None
    return models.PartnerPage(partners=[models.Partner.model_validate(row) for row in rows], next=last)


async def _partners(at: Desk, sellers: Sellers | None, query: models.PartnerListing) -> list[dict[str, Any]]:
    after = plain("after", query.after) or ""
    async with at.engine.connect() as conn:
        return await listing(conn, times(at).now(), sellers=sellers, after=after, limit=query.limit)


async def _story(at: Desk, sellers: Sellers | None, prefix: str) -> dict[str, Any]:
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        return await story(conn, plain("prefix", prefix) or "", times(at).now(), sellers=sellers)


async def _act(
    at: Desk, work: Callable[[Tx], Awaitable[Changed | str]], sellers: Sellers | None, *, dry_run: bool
) -> models.PartnerChanged:
    """Do `work`, commit (or undo a dry run), and tell how the contract stands then."""
    try:
        async with hand(at.engine, times(at), dry_run=dry_run) as tx:
            done = await work(tx)
            prefix = done if isinstance(done, str) else done.contract.api_key_prefix
            told = await story(tx.conn, prefix, tx.now, sellers=sellers)
    except Refused as refused:
        raise _bad(*refused.reason.splitlines()) from None
    changed = {} if isinstance(done, str) else dict(done.changed)
    return models.PartnerChanged.model_validate({**told, "changed": changed, "dry_run": dry_run})


def _actor(who: str, why: str | None) -> Actor:
    return Actor(who, plain("why", why))


@api.post("", responses=REFUSED, openapi_extra=models.request_body("api_key_prefix", "company", "pricing_model"))
async def add_partner(at: AtDesk, who: ByOperator, sellers: KnownSellers, asked: GivenFields) -> models.PartnerChanged:
    """Agree with a new partner; all mistakes are told at once."""

    async def work(tx: Tx) -> str:
        made = await contract_changes.add(tx, asked.fields, _actor(who, asked.why), sellers)
        return made.api_key_prefix

    return await _act(at, work, sellers, dry_run=asked.dry_run)


@api.get("/{prefix}", responses=NOT_FOUND)
async def show_partner(at: AtDesk, sellers: KnownSellers, prefix: str) -> models.PartnerStory:
    """One contract with its versions, usage, periods and keys."""
    return models.PartnerStory.model_validate(await _story(at, sellers, prefix))


@api.patch("/{prefix}", responses=REFUSED, openapi_extra=models.request_body(version=True))
async def correct_partner(
    at: AtDesk, who: ByOperator, sellers: KnownSellers, prefix: str, asked: GivenFields
) -> models.PartnerChanged:
    """Put a version right; its prices stay once an invoice was issued by them."""
    fields = dict(asked.fields)
    version = fields.pop("version", None)
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version >= 2**63):
        raise _bad("version: is a whole number, as the versions of the contract have")

    async def work(tx: Tx) -> Changed:
        name, by = plain("prefix", prefix) or "", _actor(who, asked.why)
        return await contract_changes.correct(tx, name, fields, by, version=version, sellers=sellers)

    return await _act(at, work, sellers, dry_run=asked.dry_run)


@api.post("/{prefix}/versions", responses=REFUSED, openapi_extra=models.request_body("valid_from"))
async def change_partner(
    at: AtDesk, who: ByOperator, sellers: KnownSellers, prefix: str, asked: GivenFields
) -> models.PartnerChanged:
    """Agree on other terms from day `valid_from` on; what was invoiced stays as it was agreed then."""
    fields = dict(asked.fields)
    on = fields.pop("valid_from", None)
    if not isinstance(on, str):
        raise _bad("valid_from: is missing: the day from which it holds, such as 2026-12-01")

    async def work(tx: Tx) -> Changed:
        name, by = plain("prefix", prefix) or "", _actor(who, asked.why)
        return await contract_changes.change(tx, name, on, fields, by, sellers=sellers)

    return await _act(at, work, sellers, dry_run=asked.dry_run)


async def _stand(
    at: Desk, sellers: Sellers | None, prefix: str, act: Act, by: Actor, *, dry_run: bool = False
) -> models.PartnerChanged:
    name = plain("prefix", prefix) or ""

    async def work(tx: Tx) -> str:
        await act(tx, name, by)
        return name

    return await _act(at, work, sellers, dry_run=dry_run)


@api.post("/{prefix}/pause", responses=REFUSED)
async def pause_partner(
    at: AtDesk, who: ByOperator, sellers: KnownSellers, prefix: str, asked: Reasoned
) -> models.PartnerChanged:
    """Invoice nothing of a contract for now; usage is counted, and caught up when it is resumed."""
    by = _actor(who, asked.why)
    return await _stand(at, sellers, prefix, contract_changes.pause, by, dry_run=asked.dry_run)


@api.post("/{prefix}/resume", responses=REFUSED)
async def resume_partner(
    at: AtDesk, who: ByOperator, sellers: KnownSellers, prefix: str, asked: Reasoned
) -> models.PartnerChanged:
    """Invoice a contract again, or a draft for the first time."""
    by = _actor(who, asked.why)
    return await _stand(at, sellers, prefix, contract_changes.resume, by, dry_run=asked.dry_run)


def _ends(on: str) -> Act:
    try:
        last = day(on, "")
    except WrongError as error:
        raise _bad(f"on: {error}") from None

    async def act(tx: Tx, prefix: str, by: Actor) -> None:
        await contract_changes.end(tx, prefix, last, by)

    return act


@api.post("/{prefix}/end", responses=REFUSED)
async def end_partner(
    at: AtDesk, who: ByOperator, sellers: KnownSellers, prefix: str, asked: models.EndContract
) -> models.PartnerChanged:
    """Let a contract end with day `on`; it is invoiced until then."""
    return await _stand(at, sellers, prefix, _ends(asked.on), _actor(who, asked.why), dry_run=asked.dry_run)


@pages.get("/partners")
async def partners_page(
    at: AtDesk, who: SignedIn, sellers: KnownSellers, *, after: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Contracts by prefix."""
    rows = await _partners(at, sellers, models.PartnerListing(limit=PAGE, after=after))
    more = rows[-1]["api_key_prefix"] if len(rows) == PAGE else None
    waiting, subscribers = await waiting_now(at)
    return dashboard.page("partners.html", session=who, partners=rows, more=more, now=times(at).now(),
                          waiting=waiting, subscribers=subscribers)  # fmt: skip


@pages.get("/partners/{prefix}")
async def partner_page(at: AtDesk, who: SignedIn, sellers: KnownSellers, prefix: str, said: str = "") -> Response:
    """One contract with its versions, usage, periods and keys."""
    told = await _story(at, sellers, prefix)
    return dashboard.page("partner.html", session=who, partner=told, now=times(at).now(), said=said)


@pages.post("/partners/{prefix}/{what}")
async def act_on_partner(at: AtDesk, who: SignedIn, prefix: str, what: str, fields: OwnForm) -> Response:
    """Pause a contract, let it go on, or let it end with a day."""
    by = dashboard.actor(who, fields)
    acts: dict[str, Callable[[], Act]] = {
        "pause": lambda: contract_changes.pause,
        "resume": lambda: contract_changes.resume,
        "end": partial(_ends, fields.get("on", "")),
    }
    if what not in acts:
        raise NotAllowedError([f"there is no such thing to do: {what}"])
    if not by.why:
        raise BadFilterError("why", "is missing: say why, for the audit log")
    try:
        await _stand(at, None, prefix, acts[what](), by)
    except HTTPException as error:
        told = "; ".join(one["msg"] for one in cast("list[dict[str, Any]]", error.detail))
        raise HTTPException(error.status_code, told) from None
    return dashboard.see(f"/partners/{quote(prefix, safe='')}", f"{what}: done")
