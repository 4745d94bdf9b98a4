"""A worker that is killed with SIGKILL at any await leaves nothing undone and nothing done twice."""

import asyncio
import json
import os
import sys

import pytest

from tests.crash.kit import ROOT
from tests.worker.kit import EFFECTS, World


@pytest.mark.slow
async def test_killed_at_every_await_of_its_work(world: World) -> None:
    await world.execute(EFFECTS)
    zygote = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests" / "crash" / "zygote.py"),
        world.url,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    out, _ = await zygote.communicate()
    assert zygote.returncode == 0
    points = [json.loads(line) for line in out.splitlines()]
    assert len(points) > 20, "the work has more awaits than that"
    for point in points:
        assert point["finished"] == 0, point
        assert point["effects"] == ["evt_000001", "evt_000002", "evt_000003", "job"], point
        assert point["statuses"] == {"processed": 3, "retrying": 1}, point
        assert point["queue"] == [["test.poison", None]], point
        assert point["jobs"] == ["done"], point
