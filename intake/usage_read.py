"""Partners and operators ask what was used, what it may be, and what it costs so far; nothing is changed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from importlib import import_module
from typing import Annotated, Any, Protocol, cast

import msgspec
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.engine import is_away
from db.tokens import TokenScope
from intake.usage_access import Caller, Entry, RefusalError, refusal_json
from worker.errors import Refused
from worker.ports import Clock

BUSINESS = "jobs.usage.reading"
"""What knows contracts and prices: loaded when somebody first asks, as taking things in needs no business."""

RETRY_AFTER = 5
"""Seconds after which it is worth to ask again when the database is away."""

LONGEST_NAME = 64
"""Characters of an unknown parameter's name that are told."""

Period = Annotated[
    str | None,
    Query(
        description="The calendar month, in the owner's time zone; by default the present one.", examples=["2026-11"]
    ),
]
ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No key, or one that is unknown, expired or revoked."},
    403: {"description": "The key has not the scope `usage:read`, or is another partner's."},
    404: {"description": "Nobody of this name has a contract or any usage."},
    409: {"description": "The contract or the plans cannot be read; `detail` says what to mend."},
    422: {"description": "The period, or another parameter, is none; `detail` names the field."},
    429: {"description": "More requests in a minute than the contract allows."},
    503: {"description": "The database is away (`Retry-After`)."},
}

Told = Mapping[str, Any]


class Reading(Protocol):
    """The functions of `jobs.usage.reading` that are asked here."""

    UnknownOwner: type[LookupError]
    BadPeriod: type[ValueError]

    def encode(self, told: Told) -> bytes:
        """As JSON."""
        ...

    def of_partner(self, conn: AsyncConnection, prefix: str, period: str | None, now: datetime) -> Awaitable[Told]:
        """A partner's month."""
        ...

    def of_user(
        self, conn: AsyncConnection, user_id: int, period: str | None, now: datetime, default_zone: str
    ) -> Awaitable[Told]:
        """A customer's month."""
        ...

    def quote_of_partner(self, conn: AsyncConnection, prefix: str, now: datetime) -> Awaitable[Told]:
        """What a partner's period costs."""
        ...

    def quote_of_user(self, conn: AsyncConnection, user_id: int, now: datetime, default_zone: str) -> Awaitable[Told]:
        """What a subscriber's overage costs."""
        ...


Question = Callable[[Reading, AsyncConnection, datetime], Awaitable[Told]]


def _refused(field: str, message: str) -> RefusalError:
    return RefusalError(HTTPStatus.UNPROCESSABLE_ENTITY, field, message)


def _user(typed: str) -> int:
    if not (typed.isascii() and typed.isdigit() and len(typed) <= 19):  # noqa: PLR2004 - digits of 2**63
        raise _refused("user_id", f"{typed[:40]!r} is no id of a customer: it is a number")
    return int(typed)


def _known(request: Request, *takes: str) -> None:
    """A misspelt `period` would be answered for another month. Raises RefusalError."""
    for name in request.query_params:
        if name not in takes:
            raise _refused(name[:LONGEST_NAME], f"is not known: this address takes {', '.join(takes)}")


def _running(told: Told, wanted: str | None) -> Told:
    """A quote, if the period that it is of was wanted. Raises RefusalError."""
    name = told["period"]["name"]
    if wanted is not None and wanted.strip() != name:
        raise _refused(
            "period", f"a quote is of the running period, {name}: /usage/user and /usage/api-partner tell others"
        )
    return told


def _may_read(caller: Caller, prefix: str | None) -> None:
    """A partner reads its own usage; customers' is the house's to read."""
    if caller.prefix not in {None, prefix}:
        whose = "another partner's" if prefix is not None else "a partner's, and customers are the house's own"
        raise RefusalError(HTTPStatus.FORBIDDEN, "other", f"this key is {whose}")


class UsageRead:
    """Answers what was used. `clock` is the business's time, `wall` the machine's, by which limits are counted."""

    def __init__(self, engine: AsyncEngine, entry: Entry, clock: Clock, wall: Clock, *, default_zone: str) -> None:
        """`default_zone` is BILLING_DEFAULT_TIMEZONE, for customers whose own is unknown."""
        self._engine = engine
        self._entry = entry
        self._clock = clock
        self._wall = wall
        self.default_zone = default_zone

    async def answer(self, request: Request, prefix: str | None, ask: Question, *takes: str) -> Response:
        """Let the caller in to read `prefix`'s usage (None: a customer's, which only the house may), and answer.

        `takes` are the parameters that the question has.
        """
        headers: Mapping[str, str] = {}
        try:
            caller = await self._entry.admit(request.scope["headers"], TokenScope.READ, self._wall.now())
            headers = dict(caller.headers)
            _may_read(caller, prefix)
            _known(request, *takes)
            if prefix is not None and "\x00" in prefix:
                raise _refused("api_key_prefix", f"{prefix!r} is no key prefix")
            return await self._told(ask, headers)
        except RefusalError as refusal:
            return self._refusal(refusal, headers)

    async def _told(self, ask: Question, headers: Mapping[str, str]) -> Response:
        reading = cast("Reading", await asyncio.to_thread(import_module, BUSINESS))
        try:
            async with self._engine.connect() as conn:
                told = await ask(reading, conn, self._clock.now())
        except reading.UnknownOwner as error:
            raise RefusalError(HTTPStatus.NOT_FOUND, "unknown", str(error)) from None
        except reading.BadPeriod as error:
            raise _refused("period", str(error)) from None
        except Refused as error:
            raise RefusalError(HTTPStatus.CONFLICT, "unreadable", error.reason) from None
        except (SQLAlchemyError, OSError) as error:
            if not is_away(error):
                raise
            after = (("retry-after", str(RETRY_AFTER)),)
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "away", "try again later", after) from None
        body = await asyncio.to_thread(reading.encode, told)
        return Response(body, headers={**headers, "cache-control": "no-store"}, media_type="application/json")

    @staticmethod
    def _refusal(refusal: RefusalError, headers: Mapping[str, str]) -> Response:
        body: Told = refusal_json(refusal)
        if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            body = {"detail": [{"field": refusal.outcome, "msg": refusal.told}]}
        return Response(
            msgspec.json.encode(body),
            refusal.status,
            {**headers, **dict(refusal.headers)},
            media_type="application/json",
        )


def router(engine: AsyncEngine, entry: Entry, clock: Clock, wall: Clock, *, default_zone: str) -> APIRouter:
    """`GET /usage/api-partner/{prefix}`, `/usage/user/{user_id}` and `/usage/overage/quote`."""
    made = APIRouter(tags=["usage"], responses=ANSWERS)
    usage = UsageRead(engine, entry, clock, wall, default_zone=default_zone)

    @made.get("/usage/api-partner/{prefix}", summary="What a partner used in a month, its limits and cost")
    async def _partner(request: Request, prefix: str, period: Period = None) -> Response:
        return await usage.answer(
            request, prefix, lambda reading, conn, now: reading.of_partner(conn, prefix, period, now), "period"
        )

    @made.get("/usage/user/{user_id}", summary="What a customer used in a month, the plan's allowance and cost")
    async def _customer(request: Request, user_id: str, period: Period = None) -> Response:
        return await usage.answer(
            request,
            None,
            lambda reading, conn, now: reading.of_user(conn, _user(user_id), period, now, usage.default_zone),
            "period",
        )

    @made.get("/usage/overage/quote", summary="What usage beyond the allowance costs by now, and at the period's end")
    async def _quote(
        request: Request,
        user_id: Annotated[str | None, Query(description="A customer, by `users.id`.")] = None,
        api_key_prefix: Annotated[str | None, Query(description="A partner, by what its keys begin with.")] = None,
        period: Annotated[str | None, Query(description="The running one, if any.", examples=["2026-11"])] = None,
    ) -> Response:
        async def quote(reading: Reading, conn: AsyncConnection, now: datetime) -> Told:
            if api_key_prefix is not None and user_id is None:
                return _running(await reading.quote_of_partner(conn, api_key_prefix, now), period)
            if user_id is None or api_key_prefix is not None:
                raise _refused("user_id", "name either user_id or api_key_prefix")
            return _running(await reading.quote_of_user(conn, _user(user_id), now, usage.default_zone), period)

        prefix = api_key_prefix if user_id is None else None
        return await usage.answer(request, prefix, quote, "user_id", "api_key_prefix", "period")

    return made
