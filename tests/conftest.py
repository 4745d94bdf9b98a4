"""Real servers for every test: an embedded PostgreSQL, cloned from a migrated template, and an embedded Valkey."""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import psutil
import pytest
import structlog
from hypothesis import HealthCheck, settings
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from db.migrate import migrate
from worker.embedded import EmbeddedPostgres, EmbeddedValkey

PAYLOADS = Path(__file__).parents[2] / "shared" / "stripe_payloads"
"""Recorded Stripe payloads; tests that need them are skipped where the folder is absent."""

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")  # how long an example takes says something about the machine, not about us

SHM, SHM_FREE = Path("/dev/shm"), 4 * 1024**3  # noqa: S108 - a file system in memory, whose folders we name at random
"""Where thousands of databases are made and dropped in half the time, if so many bytes are free there."""

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


class MovedClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, start: datetime) -> None:
        self.time = start

    def now(self) -> datetime:
        return self.time

    def move(self, by: timedelta) -> None:
        self.time += by


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own environment never reaches a test."""
    for name in list(os.environ):
        if name.startswith(("STRIPE_", "BILLING_", "MAIL_", "SENDGRID_", "DATABASE_URL", "REDIS_URL", "ADMIN_TOKEN")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a test configures of the logs, the next one does not inherit."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))


def _clear_after_the_killed() -> None:
    """Take away what runs left in memory that were killed; the process that made a folder is told by its name."""
    for left in SHM.glob("billing-test-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    folder = tmp_path_factory.mktemp("pg")
    if SHM.is_dir() and os.access(SHM, os.W_OK):
        _clear_after_the_killed()
        if shutil.disk_usage(SHM).free > SHM_FREE:
            folder = Path(tempfile.mkdtemp(prefix=f"billing-test-{os.getpid()}-", dir=SHM))
            folder.chmod(0o755)  # the server runs as a user of its own
    server = EmbeddedPostgres(folder / "data", FAST, goes_with_parent=True)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey") / "data")
    server.start()
    yield server
    server.stop()


async def _make_template(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.url())
    await connection.execute("CREATE DATABASE template_billing")
    await connection.close()
    engine = create_engine(postgres.url("template_billing"))
    await migrate(engine)
    await engine.dispose()


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """A database with the newest schema, to be cloned."""
    asyncio.run(_make_template(postgres))
    return "template_billing"


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield postgres.url(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    made = create_engine(database_url)
    yield made
    await made.dispose()
