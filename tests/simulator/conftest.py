"""A simulated Stripe at an HTTP address, and the official SDK's clients on it."""

from collections.abc import AsyncIterator

import pytest
import stripe
from stripe import StripeClient

from deploy.demo.simulator.simulation import Simulation
from tests.simulator.kit import START, served


@pytest.fixture(autouse=True)
def _nothing_is_told_to_stripe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's telemetry would write into the home directory."""
    monkeypatch.setattr(stripe, "enable_telemetry", False)


@pytest.fixture
def simulation() -> Simulation:
    """A fresh account; its webhooks are signed at the account's own time."""
    return Simulation(7, START)


@pytest.fixture
async def client(simulation: Simulation) -> AsyncIterator[StripeClient]:
    """The asynchronous client, which repeats nothing."""
    async with served(simulation) as made:
        yield made
