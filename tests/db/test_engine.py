"""Ways to write where PostgreSQL is: all that libpq reads are understood."""

from urllib.parse import parse_qs, quote, urlsplit

import pytest
from sqlalchemy import text

from db.engine import asyncpg_dsn, create_engine


async def test_a_socket_without_a_host(database_url: str) -> None:
    """As `postgresql:///db?host=/var/run/postgresql`, the form that PostgreSQL's own documentation shows."""
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query)["host"][0]
    engine = create_engine(f"postgresql://{parts.path}?host={quote(folder)}&user={parts.username}")
    try:
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT 1")) == 1
    finally:
        await engine.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
@pytest.mark.parametrize("rest", ["///billing?host=/run", "//u:p@h:5432/billing", "//u@/b?host=/run"])
def test_the_rest_of_the_address_stays_as_it_was(scheme: str, rest: str) -> None:
    assert asyncpg_dsn(f"{scheme}:{rest}") == f"postgresql:{rest}"
