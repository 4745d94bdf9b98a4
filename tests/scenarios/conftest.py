"""In which weather the stories are played: as Stripe is on a good day, in old shapes only, and in a storm."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.scenarios.kit import CURRENT_ONLY, OLD_ONLY, ROLLED, TWO_VERSIONS, Stage, Weather, stage

Opened = Callable[[datetime], AbstractAsyncContextManager[Stage]]

STORM = {
    "webhooks": {
        "duplicate": {"p": 0.2, "copies": 3, "within": 86_400},
        "reorder": {"p": 0.3, "within": 120},
        "delay": {"p": 0.15, "up_to": 3 * 86_400},
        "burst": {"p": 0.02, "seconds": 43_200},
        "twin": {"p": 0.15},
        "rotate": {"after": 25, "secret": ROLLED},
    },
    "api": [
        {"kind": "rate_limit", "method": "GET", "path": "/v1/coupons/*", "p": 0.3},
        {"kind": "error", "method": "GET", "path": "/v1/coupons/*", "p": 0.2},
    ],
}

CALM = Weather("calm", 7, CURRENT_ONLY)
OLD = Weather("before-basil", 8, OLD_ONLY, prompt=False)
STORMY = Weather("storm-9", 9, TWO_VERSIONS, STORM, prompt=False)


@pytest.fixture(params=(CALM, STORMY), ids=lambda weather: weather.name)
def opened(request: pytest.FixtureRequest, engine: AsyncEngine, database_url: str) -> Opened:
    """Opens a stage at a time: in calm weather, and in a storm of both shapes."""
    return partial(stage, engine, database_url, weather=request.param)


@pytest.fixture(params=(CALM, OLD, STORMY), ids=lambda weather: weather.name)
def everywhere(request: pytest.FixtureRequest, engine: AsyncEngine, database_url: str) -> Opened:
    """The same, and with an endpoint that knows only shapes of before basil."""
    return partial(stage, engine, database_url, weather=request.param)


def at(year: int, month: int, day: int, hour: int = 12) -> datetime:
    """A time in UTC."""
    return datetime(year, month, day, hour, tzinfo=UTC)
