"""A worker that is killed with SIGKILL at any await of the monthly run makes one invoice, and no number is lost."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.kit import ROOT
from worker.embedded import EmbeddedPostgres

STRIDE = os.environ.get("PARTNERS_CRASH_STRIDE", "9")
"""Every ninth await; in a long night each one (1)."""

DONE: dict[str, Any] = {
    # late usage of October, and November: 5.00 + 10.00, and 19 % of it; 5.00 of it is paid by a credit
    "periods": [["issued", 2_975, 3_000], ["issued", 1_785, 1_000]],
    "invoices": [["API-202611-0001", "open", 2_975, 2_975], ["API-202612-0002", "open", 1_785, 1_285]],
    "credits": [[0]],
    "spent": [[500]],
    "next": [[3]],
    "renderings": [[2]],
    "left": [],
}
BEFORE: dict[str, Any] = {
    "invoices": DONE["invoices"][:1],
    "credits": [[500]],
    "spent": [[None]],
    "next": [[2]],
    "renderings": [[1]],
}


@pytest.mark.slow
async def test_killed_at_every_await_of_the_monthly_run(
    database_url: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    zygote = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests" / "crash" / "zygote_partners.py"),
        database_url,
        postgres.url(),
        str(tmp_path),
        STRIDE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    out, _ = await zygote.communicate()
    assert zygote.returncode == 0
    points: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert len(points) > 90 // int(STRIDE), "the run has more awaits than that"
    assert points[-1]["killed"] == 0, "the last one was not killed any more"
    for point in points:
        assert point["finished"] == 0, point
        assert {name: point[name] for name in DONE} == DONE, point
        crashed = {name: point["crashed"][name] for name in BEFORE}
        assert crashed in ({name: DONE[name] for name in BEFORE}, BEFORE), "all of it is there, or nothing"
