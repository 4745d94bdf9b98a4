"""A simulated Stripe in a process of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.stripe_client import StripeClient
from deploy.demo.stripe_process import StripeProcess

START = 1_754_006_400
"""1 August 2025."""


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[StripeClient]:
    """Stripe, whose clock stands at START, without anybody who listens to its events."""
    with (tmp_path / "stripe.log").open("w") as log:
        process = StripeProcess.spawn(
            port=0, seed=1, start=START, webhook=None, environment=os.environ, folder=tmp_path, output=log.fileno()
        )
        process.wait()
        client = StripeClient(process.address, "sk_test_x", "test")
        yield client
        client.close()
        process.stop()
