"""A worker that is killed with SIGKILL at any await of sending loses no letter, and tells how many copies may exist."""

import asyncio
import json
import os
import sys
from collections import Counter
from typing import Any

import pytest

from tests.crash.kit import ROOT
from tests.mail.carriers import Capture, capturing


@pytest.mark.slow
async def test_killed_at_every_await_of_sending(database_url: str) -> None:
    capture = Capture()
    async with capturing(capture) as port:
        zygote = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "tests" / "crash" / "zygote_mail.py"),
            database_url,
            str(port),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        out, _ = await zygote.communicate()
    assert zygote.returncode == 0
    points: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    *points, undisturbed = points
    assert len(points) > 40, "sending has more awaits than that"
    arrived = Counter(str(got["message-id"]).strip("<>").partition("@")[0] for got in capture.letters())
    assert (undisturbed["copies"], arrived[undisturbed["message_id"]]) == (1, 1)
    for point in points:
        assert point["finished"] == 0, point
        assert (point["status"], point["job"]) == ("sent", "done"), point
        assert 1 <= arrived[point["message_id"]] <= point["copies"] <= 2, (point, arrived[point["message_id"]])
    twice = [point for point in points if arrived[point["message_id"]] == 2]
    assert {point["crashed"]["status"] for point in twice} == {"sending"}, "a recorded letter is never sent again"
    assert 0 < len(twice) < len(points) // 4, "only between the server's word and our commit"
