"""Real servers for every test: an embedded PostgreSQL, cloned from a migrated template, and an embedded Valkey."""

import asyncio
import gc
import os
import shutil
import ssl
import tempfile
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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

FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "autovacuum": "off",  # a test's database lives for a second
}

COUNTED = (Path("tests/rules"), Path("tests/db/test_money.py"))
"""The tests that must reach the last branch of the rules by themselves: the others are not slowed down by counting."""

STORES = {"cacert.pem", "ca-certificates.crt"}
"""How files with all the world's certificates are called."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that wait for processes: the others fill the processors meanwhile, and the end is even."""
    waiting = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in waiting)


def pytest_collection_finish() -> None:
    """What is imported stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Count the branches that are run only in the tests that must reach them all."""
    plugin: Any = item.config.pluginmanager.getplugin("_cov")
    counting = plugin.cov_controller if plugin is not None else None
    wanted = any(item.path.is_relative_to(item.config.rootpath / place) for place in COUNTED)
    if counting is not None and counting.started != wanted:
        counting.resume() if wanted else counting.pause()
    return (yield)


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


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """Each HTTP client reads all the world's anew, which takes longer than many a test."""
    make = ssl.create_default_context
    known: dict[str, ssl.SSLContext] = {}

    def remembered(*words: Any, cafile: str | None = None, **options: Any) -> ssl.SSLContext:
        if words or options or cafile is None or Path(cafile).name not in STORES:
            return make(*words, cafile=cafile, **options)
        if cafile not in known:
            known[cafile] = make(cafile=cafile)
        return known[cafile]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", remembered)
        yield


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
