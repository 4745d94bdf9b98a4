"""A scene for each test: a customer in the books, and a Stripe beside them."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import MovedClock
from tests.dunning.kit import TUESDAY, Scene


@pytest.fixture
async def scene(engine: AsyncEngine) -> Scene:
    """A customer with an active subscription, on a Tuesday afternoon."""
    made = Scene(engine, MovedClock(TUESDAY))
    await made.begin()
    return made
