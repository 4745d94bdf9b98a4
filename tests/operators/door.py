"""The internal door, as programs and browsers reach it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from intake.admin.app import build_app
from worker.settings import Settings

TOKEN = "token-of-the-tests"
Door = httpx.AsyncClient


@asynccontextmanager
async def door(settings: Settings) -> AsyncGenerator[Door]:
    """The door with these settings, open as long as the block."""
    app = build_app(settings, schedules=())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), Door(transport=transport, base_url="http://billing.test") as client:
        yield client
