"""What all commands share: the settings, and how they say that they were called wrongly."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from alembic.util import CommandError
from asyncpg.exceptions import PostgresError
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from db.engine import COMMAND_TIMEOUT, is_away
from worker.settings import ConfigurationError, Settings, load_settings
from worker.telemetry import redact

WRONG_USAGE = 2
"""The exit code for wrong usage or configuration; 1 is the answer "no"."""

ERRORS = Console(stderr=True, soft_wrap=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def wrong_usage(*lines: str) -> NoReturn:
    """Print what is wrong and how to mend it, and exit 2."""
    for line in lines:
        ERRORS.print(Text("error: ", style="bold red") + Text(line))
    raise typer.Exit(WRONG_USAGE)


def checked_settings(**overrides: Any) -> Settings:
    """The settings; when some are wrong, all of them are named and the command exits 2."""
    try:
        return load_settings(**overrides)
    except ConfigurationError as error:
        wrong_usage(*str(error).splitlines())


TIMEOUTS: Mapping[str, str] = {
    "55P03": "others held what it wanted for too long",  # lock_not_available: lock_timeout
    "57014": "the database took too long",  # query_canceled: statement_timeout, or an administrator
    "40P01": "others and it waited for each other",  # deadlock_detected
}
"""Why PostgreSQL gives up by itself (https://www.postgresql.org/docs/current/errcodes-appendix.html), in words."""

SLOW = f"the database did not answer in time ({COMMAND_TIMEOUT:g} s for a statement): it is busy, frozen, or away"


def gave_up(error: BaseException) -> str | None:
    """That the database gave up waiting, in words; None: something else is wrong."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    words = TIMEOUTS.get(getattr(cause, "sqlstate", None) or "")
    if words is None:
        return None
    what = redact(str(cause).partition("\n")[0])
    return f"{words}: it gave up, and undid what it had begun ({what}). Run it again"


@contextmanager
def explained_database_errors() -> Generator[None]:
    """Turn what a database may say while its schema is read or changed into one line with a fix, and an exit code."""
    try:
        yield
    except CommandError as error:
        wrong_usage(f"the database's schema is not of this version: {error}. Run the newer code, or restore a backup")
    except (OSError, PostgresError, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        what = redact(str(cause).partition("\n")[0])
        if (why := gave_up(error)) is not None:
            ERRORS.print(why, markup=False, highlight=False)
            raise typer.Exit(1) from None
        if isinstance(error, TimeoutError):
            wrong_usage(f"{SLOW}. `billing doctor` tells more")
        if is_away(error):
            wrong_usage(f"the database does not answer ({what}): start `billing up`, or correct DATABASE_URL")
        wrong_usage(f"the database refused: {what}. `billing doctor` tells more")
