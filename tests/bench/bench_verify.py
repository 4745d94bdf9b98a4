"""How long the books' invariants take to check: all rows of large books, and what changed in the last hours."""

import argparse
import json
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from db.migrate import migrate
from db.verify.invariant import Span, ask
from db.verify.registry import INVARIANTS
from tests.verify.crowd import crowd
from tests.verify.kit import NOW
from worker.embedded import EmbeddedPostgres


async def checked(engine: AsyncEngine, hours: int | None, mark: int | None) -> dict[str, float]:
    """Seconds by invariant; each must hold."""
    since = None if hours is None else NOW - timedelta(hours=hours)
    found: dict[str, float] = {}
    for name, invariant in INVARIANTS.items():
        began = time.monotonic()
        async with engine.connect() as conn:
            answer = await ask(conn, invariant, Span(since, NOW, since, NOW, mark))
        assert answer.broken == 0, (name, answer)
        found[name] = time.monotonic() - began
    return found


async def measured(server: EmbeddedPostgres, rows: int) -> dict[str, float]:
    """Seconds of both forms, after one round that is not counted."""
    engine = create_engine(server.url())
    await migrate(engine)
    began = time.monotonic()
    await crowd(engine, rows)
    print(f"{rows:,} rows in each of twelve tables, made in {time.monotonic() - began:.0f} s")
    await checked(engine, 2, rows)
    whole, lately = await checked(engine, None, None), await checked(engine, 2, rows)
    for name in INVARIANTS:
        print(f"{name:30} all rows {whole[name]:7.2f} s, two hours {lately[name] * 1000:8.1f} ms")
    await engine.dispose()
    return {"whole_s": round(sum(whole.values()), 2), "lately_s": round(sum(lately.values()), 3)}


def main() -> None:
    """Print everything."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rows", type=int, default=1_000_000)
    given = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)  # as root, the server runs as a user of its own
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            found = uvloop.run(measured(server, given.rows))
        finally:
            server.stop()
    ratio = found["whole_s"] / found["lately_s"]
    print(f"all rows {found['whole_s']:.1f} s, what changed {found['lately_s']:.2f} s: 1/{ratio:.0f} of it")
    print(json.dumps({"bench": "verify", "rows": given.rows, **found}))


if __name__ == "__main__":
    main()
