"""The engine's world, to be crashed."""

import gc
from collections.abc import Iterator

import pytest

from tests.worker.conftest import world

__all__ = ["world"]


@pytest.fixture(autouse=True)
def _collect_sockets() -> Iterator[None]:
    """What killed servers leave behind is collected where its warnings are expected."""
    yield
    gc.collect()
