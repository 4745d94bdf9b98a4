"""The one way to PostgreSQL: an async engine whose every wait has an end."""

from urllib.parse import urlsplit, urlunsplit

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

COMMAND_TIMEOUT = 30.0
"""Seconds; asyncpg hangs for ever on a half-open connection without one."""


def asyncpg_dsn(url: str) -> str:
    """The URL as asyncpg and libpq read it (`postgresql://`)."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme="postgresql"))


def create_engine(url: str, *, pool_size: int = 8, application_name: str = "billing") -> AsyncEngine:
    """An engine on `url` (`postgresql://…`, unix sockets by `?host=/dir`); times are UTC in every session."""
    return create_async_engine(
        asyncpg_dsn(url).replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=5,
        pool_pre_ping=False,
        connect_args={
            "timeout": 5,
            "command_timeout": COMMAND_TIMEOUT,
            "server_settings": {
                "timezone": "UTC",
                "application_name": application_name,
                "lock_timeout": "2s",
                "idle_in_transaction_session_timeout": "60s",
            },
        },
    )
