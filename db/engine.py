"""The one way to PostgreSQL: an async engine whose every wait has an end."""

from typing import Any

from asyncpg import Connection
from asyncpg.exceptions import (
    AdminShutdownError,
    CannotConnectNowError,
    CrashShutdownError,
    InterfaceError,
    PostgresConnectionError,
    TooManyConnectionsError,
)
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

COMMAND_TIMEOUT = 30.0
"""Seconds; asyncpg hangs for ever on a half-open connection without one."""

PING_TIMEOUT = 2.0
"""Seconds that a connection which was in use before may take to show that it still answers. With the 2 s that
SQLAlchemy waits when it hangs up, and the 5 s for a new one, whoever asks a frozen server knows after 9 s."""


def asyncpg_dsn(url: str) -> str:
    """The URL as asyncpg and libpq read it (`postgresql://`)."""
    return f"postgresql:{url.partition(':')[2]}"  # urlunsplit would drop the slashes where no host is named


def create_engine(
    url: str,
    *,
    pool_size: int = 8,
    application_name: str = "billing",
    pre_ping: bool = False,
    command_timeout: float = COMMAND_TIMEOUT,
) -> AsyncEngine:
    """An engine on `url` (`postgresql://…`, unix sockets by `?host=/dir`); times are UTC in every session.

    With `pre_ping` a connection is tried before it is lent: for those who ask seldom and cannot ask again, as the doors
    do after PostgreSQL was restarted. Workers try again anyway, and are spared the round trip. `command_timeout` is in
    seconds, for each statement.
    """
    engine = create_async_engine(
        asyncpg_dsn(url).replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=5,
        hide_parameters=True,
        connect_args={
            "timeout": 5,
            "command_timeout": command_timeout,
            "server_settings": {
                "timezone": "UTC",
                "application_name": application_name,
                "lock_timeout": "2s",
                "idle_in_transaction_session_timeout": "60s",
            },
        },
    )
    if pre_ping:
        event.listen(engine.sync_engine, "checkout", _try)
    return engine


_AWAY = (
    OSError,  # includes ConnectionError, and asyncio's TimeoutError: connecting or a command took too long
    PoolTimeoutError,
    InterfaceError,
    PostgresConnectionError,
    CannotConnectNowError,
    AdminShutdownError,
    CrashShutdownError,
    TooManyConnectionsError,
)


def _try(connection: Any, entry: ConnectionPoolEntry, _: object) -> None:
    """Try a connection that was lent before; all are made anew when it does not answer.

    SQLAlchemy's own `pool_pre_ping` may take as long as any command, and makes none anew after a timeout.
    """
    if entry.info.setdefault("fresh", True):
        entry.info["fresh"] = False
        return
    try:
        connection.run_async(_ping)
    except _AWAY as error:
        raise InvalidatePoolError from error


async def _ping(driver: "Connection[Any]") -> None:
    await driver.execute("SELECT 1", timeout=PING_TIMEOUT)


def is_away(error: BaseException) -> bool:
    """Whether `error` says that PostgreSQL cannot be reached now: nobody's failure, and no try is burnt by it."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        driver = error.orig
        return isinstance(driver, _AWAY) or (driver is not None and isinstance(driver.__cause__, _AWAY))
    return isinstance(error, _AWAY)
