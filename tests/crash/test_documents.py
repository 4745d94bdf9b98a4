"""A worker that is killed with SIGKILL at any await of rendering leaves one file, one row and one letter."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.kit import ROOT


@pytest.mark.slow
async def test_killed_at_every_await_of_rendering(database_url: str, tmp_path: Path) -> None:
    zygote = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests" / "crash" / "zygote_documents.py"),
        database_url,
        str(tmp_path / "documents"),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    out, _ = await zygote.communicate()
    assert zygote.returncode == 0
    points: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert len(points) > 20, "rendering has more awaits than that"
    for point in points:
        assert point["finished"] == 0, point
        assert (point["status"], point["letters"]) == ("stored", 1), point
        assert point["sha256"] == point["kept"], point
        assert point["url"].endswith(point["file"]), point
        crashed = point["crashed"]
        if crashed["kept"] is not None:
            assert crashed["kept"] == point["kept"], "what was stored is never rendered again"
    between = [point for point in points if point["crashed"]["kept"] and not point["crashed"]["sha256"]]
    assert between, "some crash fell between the storage and the record"
    numbers = [point["number"] for point in points]
    assert [int(number[-4:]) for number in numbers] == list(range(1, len(points) + 1))
    files = sorted(str(path.relative_to(tmp_path / "documents")) for path in (tmp_path / "documents").rglob("*.pdf"))
    assert files == sorted(point["file"] for point in points), "one file each, and nothing beside them"
