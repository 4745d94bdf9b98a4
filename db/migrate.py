"""Bring the schema up to date: one runner at a time, and never waiting long for a lock that live traffic holds."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

LOCK_TIMEOUT = "3s"
"""A migration that cannot have its lock in this time gives way to live traffic, fails and is run again."""

MIGRATION_LOCK = 0x62696C6C
"""The advisory lock of migrations (`bill` in ASCII), so that two deploys do not migrate at once."""


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.attributes["connection"] = connection
    return made


def head() -> str | None:
    """The newest revision that this code knows."""
    return ScriptDirectory.from_config(config()).get_current_head()


def _upgrade(connection: Connection) -> tuple[str | None, str | None]:
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    before = MigrationContext.configure(connection).get_current_revision()
    command.upgrade(config(connection), "head")
    return before, MigrationContext.configure(connection).get_current_revision()


async def migrate(engine: AsyncEngine) -> tuple[str | None, str | None]:
    """Upgrade to the newest revision. Returns the revisions before and after; the two are equal if nothing was due."""
    async with engine.begin() as connection:
        return await connection.run_sync(_upgrade)


async def revision(engine: AsyncEngine) -> str | None:
    """The revision of the database; None if it was never migrated."""
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
