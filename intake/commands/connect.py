"""A command reaches the books: the configured servers, or the embedded ones of a running `billing up`."""

import asyncio
import getpass
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import NoReturn, TypeVar

import structlog
import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine, is_away
from db.operators.actions import Actor, NotAllowedError, UnknownIdsError
from db.operators.filters import BadFilterError, plain
from intake.commands.common import SLOW, gave_up
from worker import addresses
from worker.clock import SystemClock
from worker.doorbell import Doorbell
from worker.settings import ConfigurationError, Settings, load_settings

NO = 1
"""Exit code: the answer is no."""

USAGE = 2
"""Exit code: wrong usage or configuration."""

T = TypeVar("T")


class NothingRunsError(Exception):
    """No database is configured, and no embedded one runs in BILLING_HOME."""


def database_url(settings: Settings) -> str:
    """`DATABASE_URL`, or the embedded PostgreSQL of a running `billing up`. Raises NothingRunsError."""
    home = settings.billing_home.resolve() / "postgres"
    if settings.database_url is None and not (home / "postmaster.pid").exists():
        raise NothingRunsError(f"no database: start `billing up`, or set DATABASE_URL (nothing runs in {home.parent})")
    return addresses.database_url(settings)


def redis_url(settings: Settings) -> str:
    """`REDIS_URL`, or the embedded Valkey's address; it may be away, which only makes rings be lost."""
    return addresses.redis_url(settings)


def actor(who: str | None, why: str | None) -> Actor:
    """Who acts: `who`, or the user of this terminal and machine."""
    with plain_errors():
        return Actor(plain("who", who) or f"{_user()}@{socket.gethostname()}", plain("why", why))


def reasoned(who: str | None, why: str | None, example: str) -> Actor:
    """Who acts, and why. Without a reason the command ends, showing `example`."""
    if not (why or "").strip():
        fail(f"--why is missing: the reason, for the audit log. For example: {example}", USAGE)
    return actor(who, why)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong on stderr, and end with this exit code."""
    Console(stderr=True, soft_wrap=True).print(Text(message, style="red" if code == USAGE else "yellow"))
    raise typer.Exit(code)


@contextmanager
def plain_errors() -> Generator[None]:
    """What an operator can mend is said in words, with the exit code of its kind; a bug keeps its traceback."""
    try:
        yield
    except BadFilterError as error:
        fail(f"--{error.field}: {error}" if error.field != "filter" else str(error), USAGE)
    except (UnknownIdsError, NotAllowedError) as error:
        fail(str(error), NO)
    except (ConfigurationError, NothingRunsError) as error:
        fail(str(error), USAGE)
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) in ("42P01", "42703"):
            fail("this database has not the schema of this version: run `billing migrate`", USAGE)
        raise
    except (DBAPIError, OSError) as error:
        if (why := gave_up(error)) is not None:
            fail(why, NO)
        if isinstance(error, TimeoutError):
            fail(f"{SLOW} (see `billing doctor`)", USAGE)
        if not is_away(error):
            raise
        fail("the database cannot be reached: check DATABASE_URL, or start `billing up` (see `billing doctor`)", USAGE)


def ask(work: Callable[[AsyncEngine, datetime], Awaitable[T]]) -> T:
    """Connect, do `work` with the present time, disconnect."""

    async def asked() -> T:
        engine = create_engine(database_url(load_settings()), pool_size=1, application_name="billing-cli")
        try:
            return await work(engine, SystemClock().now())
        finally:
            await engine.dispose()

    log_to_stderr()
    with plain_errors():
        return asyncio.run(asked())


def log_to_stderr() -> None:
    """A command's stdout is its answer; what a library has to say (an unheard ring) goes beside it.

    Tracebacks are plain: others show local variables, which hold names, addresses and settings.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


async def ring(*queues: str) -> None:
    """Tell the workers that there is work. A Redis that is away costs nothing: the sweep finds the work."""
    bell = Doorbell(redis_url(load_settings()))
    for queue in queues:
        bell.ring(queue)
    await bell.close()
