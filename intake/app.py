"""The public door: Stripe's events come in here, and whoever watches over the system asks here how it is."""

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from intake import documents, mail_events, server, usage, usage_read, webhook
from intake.batcher import Batcher, Bell, RememberEvents
from intake.health import VERSION, Health, router
from intake.usage import RememberUsage, UsageDoor, name_of, owner_of, rows_of
from intake.usage_access import Entry
from intake.webhook import ASGIApp, Receive, Scope, Send, Webhook
from worker import rate_limit
from worker.adapters.storage import storage
from worker.addresses import database_url, redis_url
from worker.clock import SystemClock, business_clock
from worker.doorbell import Doorbell
from worker.links import link_secrets
from worker.ports import Clock
from worker.rate_limit import RateLimit
from worker.settings import Settings
from worker.telemetry import configure_logging

log = structlog.get_logger()

COMMAND_TIMEOUT = 8.0
"""Seconds for one statement. What is asked here is short; who reads while PostgreSQL freezes is told so 2 s later."""

NOT_OURS = ("STRIPE_SECRET_KEY", "MAIL_URL", "ADMIN_TOKEN")
"""What others need and the door does not."""


class Door:
    """What is asked most stands ahead of all other routes: a framework would cost it more than all that it does."""

    def __init__(self, hot: Mapping[str, ASGIApp], api: FastAPI) -> None:
        """`hot` answers by path, `api` the rest."""
        self._hot = hot
        self.api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the lifespan."""
        hot = self._hot.get(scope["path"]) if scope["type"] == "http" else None
        await (hot or self.api)(scope, receive, send)


def build_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    bell: Bell | None = None,
    body_timeout: float = webhook.BODY_TIMEOUT,
    limit_timeout: float = rate_limit.TIMEOUT,
) -> Door:
    """The public door as an ASGI application; its lifespan opens and closes what it uses.

    Of `settings` only what the door needs is kept: no API key. `body_timeout` is how long a body may take, and
    `limit_timeout` how long a request waits for Redis, in seconds.
    """
    clock = clock or SystemClock()
    doorbell = Doorbell(redis_url(settings))
    url = database_url(settings)
    engine = _engine(url, 2, "billing-intake-health")
    secrets = settings.webhook_secrets
    health = Health(
        engine, redis_url(settings), clock, unconfigured=None if secrets else "STRIPE_WEBHOOK_SECRET is not set"
    )
    batcher = Batcher(
        url,
        RememberEvents(bell or doorbell),
        size=lambda event: len(event.payload),
        name=lambda event: event.id,
        writers=settings.billing_webhook_writers,
    )
    files = storage(settings.storage_url, settings.billing_home)
    reports = _Reports(settings, clock, limit_timeout)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        if not secrets:
            log.error("STRIPE_WEBHOOK_SECRET is not set: every webhook is answered 503 until it is")
        async with AsyncExitStack() as stack:
            for close in (engine.dispose, health.close, doorbell.close, files.close, batcher.close, reports.close):
                stack.push_async_callback(close)
            await batcher.open()
            await reports.open()
            yield

    api = FastAPI(title="Billing: the public door", version=VERSION, lifespan=lifespan)
    api.include_router(router(health))
    api.include_router(mail_events.router(engine, clock, settings.sendgrid_keys, bell or doorbell))
    api.include_router(documents.router(engine, clock, files, link_secrets(settings)))
    api.include_router(reports.router())
    _document(api)
    webhooks = Webhook(batcher, clock, secrets, mode=settings.stripe_mode, body_timeout=body_timeout)
    return Door({webhook.PATH: webhooks, usage.PATH: reports.door(body_timeout)}, api)


def _engine(url: str, pool_size: int, name: str) -> AsyncEngine:
    return create_engine(
        url, pool_size=pool_size, application_name=name, pre_ping=True, command_timeout=COMMAND_TIMEOUT
    )


class _Reports:
    """What usage needs: writers of its own, so that no flood of it holds up an event of Stripe's."""

    def __init__(self, settings: Settings, clock: Clock, limit_timeout: float) -> None:
        self._settings = settings
        self._wall = clock
        self._business = business_clock(settings.billing_clock_file) or clock
        url = database_url(settings)
        # Whoever reads much keeps no key from being checked: each has connections of its own.
        self._keys = _engine(url, 1, "billing-intake-keys")
        self._reading = _engine(url, 2, "billing-intake-usage")
        self._limits = RateLimit(redis_url(settings), timeout=limit_timeout)
        self._entry = Entry(self._keys, self._business, self._limits, admin_sha256=settings.admin_sha256)
        self._batcher = Batcher(
            url,
            RememberUsage(),
            size=lambda report: report.size,
            name=name_of,
            rows=rows_of,
            owner=owner_of,
            writers=settings.billing_webhook_writers,
        )

    def door(self, body_timeout: float) -> UsageDoor:
        """Where usage is reported; `body_timeout` is in seconds."""
        late = timedelta(days=self._settings.billing_usage_late_days)
        return UsageDoor(
            self._batcher, self._entry, self._wall, business=self._business, late=late, body_timeout=body_timeout
        )

    def router(self) -> APIRouter:
        """Where usage is read."""
        zone = self._settings.billing_default_timezone
        return usage_read.router(self._reading, self._entry, self._business, self._wall, default_zone=zone)

    async def open(self) -> None:
        """Start to write."""
        await self._batcher.open()

    async def close(self) -> None:
        """Let what is under way end, and hang up."""
        await self._batcher.close()
        await self._entry.close()
        await self._limits.close()
        await self._keys.dispose()
        await self._reading.dispose()


def _document(api: FastAPI) -> None:
    """Tell OpenAPI of the hot routes too, which FastAPI does not see."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schema["paths"].setdefault(webhook.PATH, webhook.OPENAPI)
        schema["paths"].setdefault(usage.PATH, usage.OPENAPI)
        return schema

    api.openapi = openapi


def serve(settings: Settings, host: str, port: int, on_bound: Callable[[str, int], None] | None = None) -> int:
    """Run the public door until SIGTERM or SIGINT, and return the exit code.

    `on_bound` is told the address (port 0 takes a free one). Raises ConfigurationError when it cannot be had.
    Should there be an API key or a mail server's password, it is dropped: workers need it, the door does not. Of the
    admin token its SHA-256 is kept.
    """
    admin = settings.admin_sha256
    for name in NOT_OURS:
        os.environ.pop(name, None)
    settings = settings.model_copy(
        update={name.lower(): None for name in NOT_OURS} | {"billing_admin_token_sha256": admin and admin.hex()}
    )
    configure_logging(settings)
    return server.run(build_app(settings), host, port, on_bound)
