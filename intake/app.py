"""The public door: Stripe's events come in here, and whoever watches over the system asks here how it is."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI

from db.engine import create_engine
from intake import documents, mail_events, server, webhook
from intake.batcher import Batcher, Bell
from intake.health import VERSION, Health, router
from intake.webhook import ASGIApp, Receive, Scope, Send, Webhook
from worker.adapters.storage import storage
from worker.addresses import database_url, redis_url
from worker.clock import SystemClock
from worker.doorbell import Doorbell
from worker.links import link_secrets
from worker.ports import Clock
from worker.settings import Settings
from worker.telemetry import configure_logging

log = structlog.get_logger()

WORKERS_SECRETS = ("STRIPE_SECRET_KEY", "MAIL_URL")
"""What workers need and the door does not."""


class Door:
    """The webhook ahead of all other routes, because a framework would cost it more than all that it does."""

    def __init__(self, hot: ASGIApp, api: FastAPI) -> None:
        """`hot` answers the webhook's path, `api` the rest."""
        self._hot = hot
        self.api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the lifespan."""
        if scope["type"] == "http" and scope["path"] == webhook.PATH:
            await self._hot(scope, receive, send)
        else:
            await self.api(scope, receive, send)


def build_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    bell: Bell | None = None,
    body_timeout: float = webhook.BODY_TIMEOUT,
) -> Door:
    """The public door as an ASGI application; its lifespan opens and closes what it uses.

    Of `settings` only what the door needs is kept: no API key. `body_timeout` is in seconds.
    """
    clock = clock or SystemClock()
    doorbell = Doorbell(redis_url(settings))
    url = database_url(settings)
    engine = create_engine(url, pool_size=2, application_name="billing-intake-health", pre_ping=True)
    secrets = settings.webhook_secrets
    health = Health(
        engine, redis_url(settings), clock, unconfigured=None if secrets else "STRIPE_WEBHOOK_SECRET is not set"
    )
    batcher = Batcher(url, bell or doorbell, writers=settings.billing_webhook_writers)
    files = storage(settings.storage_url, settings.billing_home)
    hot = Webhook(batcher, clock, secrets, mode=settings.stripe_mode, body_timeout=body_timeout)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        if not secrets:
            log.error("STRIPE_WEBHOOK_SECRET is not set: every webhook is answered 503 until it is")
        await batcher.open()
        try:
            yield
        finally:
            await batcher.close()
            await files.close()
            await doorbell.close()
            await health.close()
            await engine.dispose()

    api = FastAPI(title="Billing: the public door", version=VERSION, lifespan=lifespan)
    api.include_router(router(health))
    api.include_router(mail_events.router(engine, clock, settings.sendgrid_keys, bell or doorbell))
    api.include_router(documents.router(engine, clock, files, link_secrets(settings)))
    _document(api)
    return Door(hot, api)


def _document(api: FastAPI) -> None:
    """Tell OpenAPI of the webhook too, which FastAPI does not see."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schema["paths"].setdefault(webhook.PATH, webhook.OPENAPI)
        return schema

    api.openapi = openapi


def serve(settings: Settings, host: str, port: int, on_bound: Callable[[str, int], None] | None = None) -> int:
    """Run the public door until SIGTERM or SIGINT, and return the exit code.

    `on_bound` is told the address (port 0 takes a free one). Raises ConfigurationError when it cannot be had.
    Should there be an API key or a mail server's password, it is dropped: workers need it, the door does not.
    """
    for name in WORKERS_SECRETS:
        os.environ.pop(name, None)
    settings = settings.model_copy(update={name.lower(): None for name in WORKERS_SECRETS})
    configure_logging(settings)
    return server.run(build_app(settings), host, port, on_bound)
