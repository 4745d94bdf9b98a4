"""The internal door: the operators' API and dashboard, behind the admin token."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import create_engine, is_away
from db.operators.actions import NotAllowedError, UnknownIdsError
from db.operators.filters import BadFilterError
from intake import server
from intake.admin import (
    api,
    dashboard,
    dunning,
    invoices,
    letters,
    parked,
    partners,
    partners_invoices,
    reconciliation,
    tokens,
    verify,
)
from intake.admin import credits as credits_
from intake.admin.auth import Gate
from intake.admin.desk import SHUT, Desk
from intake.health import VERSION, Health, router
from intake.overview import without_secrets
from intake.webhook import BODY_TIMEOUT, ASGIApp, Message, Receive, Scope, Send
from worker.adapters.storage import storage
from worker.addresses import database_url, redis_url
from worker.clock import SystemClock, business_clock
from worker.doorbell import Doorbell
from worker.ports import Clock
from worker.registry import ScheduleSpec, discover
from worker.settings import Settings
from worker.telemetry import configure_logging

log = structlog.get_logger()

LARGEST_REQUEST = 256 * 1024
"""Bytes; nothing that an operator sends is larger."""

NOT_OURS = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET")
"""Secrets of other processes: they are dropped."""


_ROUTES = APIRouter()
"""Of all parts, made ready once: FastAPI reads each route's signature when it is first asked for."""

for _part in (
    api.router,
    dunning.router,
    credits_.api,
    invoices.api,
    invoices.pages,
    partners_invoices.api,  # its fixed names come before any prefix
    partners.api,
    tokens.api,
    partners_invoices.pages,  # so do its pages
    partners.pages,
    parked.pages,
    verify.api,
    reconciliation.api,
    reconciliation.pages,
    letters.api,
    letters.pages,
    dashboard.router,
):
    _ROUTES.include_router(_part)


class Prompt:
    """Who sends a body slower than the public door allows is answered 408, signed in or not."""

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        """`timeout` is in seconds, for the whole body."""
        self._app = app
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        end = asyncio.get_running_loop().time() + self._timeout
        whole = False

        async def promptly() -> Message:
            nonlocal whole
            if whole:  # what is waited for now is that the client leaves
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the request came too slowly", headers={"Connection": "close"}) from None
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, promptly, send)


def build_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    schedules: Iterable[ScheduleSpec] | None = None,
    body_timeout: float = BODY_TIMEOUT,
) -> FastAPI:
    """The internal door as an ASGI application; its lifespan closes what it uses.

    `schedules` are by default those of the jobs; `body_timeout` is in seconds.
    """
    clock = clock or SystemClock()
    engine = create_engine(database_url(settings), pool_size=4, application_name="billing-admin", pre_ping=True)
    health = Health(engine, redis_url(settings), clock)
    bell = Doorbell(redis_url(settings))
    planned = tuple(discover("jobs").schedules.values() if schedules is None else schedules)
    gate = Gate(settings.admin_token)
    files = storage(settings.storage_url, settings.billing_home)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        if not gate.open:
            log.error(SHUT)
        try:
            yield
        finally:
            await bell.close()
            await files.close()
            await health.close()
            await engine.dispose()

    app = FastAPI(title="Billing: the internal door", version=VERSION, lifespan=lifespan, max_body_size=LARGEST_REQUEST)
    app.add_middleware(Prompt, timeout=body_timeout)
    app.state.desk = Desk(engine, clock, gate, planned, bell.ring, business_clock(settings.billing_clock_file))
    app.state.files = files
    app.state.settings = settings
    app.include_router(router(health))
    app.router.routes.extend(_ROUTES.routes)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return app


async def _bad_filter(request: Request, error: Exception) -> Response:
    field = error.field if isinstance(error, BadFilterError) else ""
    if dashboard.is_page(request):
        return dashboard.problem(request, 422, f"{field}: {error}")
    return JSONResponse({"detail": [{"loc": [field], "msg": str(error), "type": "value_error"}]}, 422)


async def _unknown(request: Request, error: Exception) -> Response:
    if dashboard.is_page(request):
        return dashboard.problem(request, 404, str(error))
    return JSONResponse({"detail": str(error)}, 404)


async def _not_allowed(request: Request, error: Exception) -> Response:
    if dashboard.is_page(request):
        return dashboard.problem(request, 409, str(error))
    return JSONResponse({"detail": str(error)}, 409)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if dashboard.is_page(request):
        answer = dashboard.problem(request, error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer
    return await http_exception_handler(request, error)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if dashboard.is_page(request):
        return dashboard.problem(request, 422, "this address is not understood")
    # What was sent is not sent back: it may hold what JSON cannot (a lone surrogate), or be nested beyond all readers.
    told = [
        {"type": one["type"], "loc": list(one["loc"]), "msg": one["msg"].removeprefix("Value error, ")}
        for one in error.errors()
    ]
    return JSONResponse({"detail": without_secrets(told)}, 422)


async def _database(request: Request, error: Exception) -> Response:
    if not is_away(error):
        if not (isinstance(error, ProgrammingError) and getattr(error.orig, "sqlstate", "") == "42P01"):
            raise error
        said = "the database is not migrated: run `billing migrate`"
    else:
        said = "the database is away; try again in a moment"
    page = dashboard.is_page(request)
    answer = dashboard.problem(request, 503, said) if page else JSONResponse({"detail": said}, 503)
    answer.headers["Retry-After"] = "5"
    return answer


_ANSWERS = {
    BadFilterError: _bad_filter,
    UnknownIdsError: _unknown,
    NotAllowedError: _not_allowed,
    HTTPException: _refused,
    RequestValidationError: _malformed,
    DBAPIError: _database,
    OSError: _database,
    PoolTimeoutError: _database,
    dashboard.SignInFirstError: dashboard.to_sign_in,
}


def serve(settings: Settings, host: str, port: int, on_bound: Callable[[str, int], None] | None = None) -> int:
    """Run the internal door until SIGTERM or SIGINT, and return the exit code.

    `on_bound` is told the address (port 0 takes a free one). Raises ConfigurationError when it cannot be had.
    """
    for name in NOT_OURS:
        os.environ.pop(name, None)
    settings = settings.model_copy(update={name.lower(): None for name in NOT_OURS})
    configure_logging(settings)
    return server.run(build_app(settings), host, port, on_bound)
