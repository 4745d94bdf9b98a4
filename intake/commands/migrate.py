"""A deployment brings the database's schema up to date, before the new code runs."""

import asyncio

import typer

from db.engine import create_engine
from db.migrate import head, revision
from db.migrate import migrate as upgrade
from intake.commands.common import DryRun, checked_settings, explained_database_errors
from worker.addresses import database_url


async def _run(url: str, *, dry_run: bool) -> tuple[str | None, str | None]:
    engine = create_engine(url, pool_size=1, application_name="billing-migrate")
    try:
        return (await revision(engine), head()) if dry_run else await upgrade(engine)
    finally:
        await engine.dispose()


def migrate(*, dry_run: DryRun = False) -> None:
    """Bring the database's schema up to date.

    Safe to run at any time and by several at once; it gives way to live traffic after 3 s and exits 1:
    run it again then.

    Example: DATABASE_URL=postgresql://… billing migrate
    """
    settings = checked_settings()
    with explained_database_errors():
        before, after = asyncio.run(_run(database_url(settings), dry_run=dry_run))
    if before == after:
        typer.echo(f"{after}: up to date")
    else:
        typer.echo(f"{before or 'empty'} → {after}" + (" (dry run: nothing was changed)" if dry_run else ""))
