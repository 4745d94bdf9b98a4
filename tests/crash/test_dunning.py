"""A worker that is killed with SIGKILL at any await of a dunning step writes one letter and acts once at Stripe."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.kit import ROOT

STRIDE = os.environ.get("DUNNING_CRASH_STRIDE", "8")
"""Every eighth await; in a long night each one (1)."""

BEFORE = ["dunning/in_1/0"]
LETTERS = [*BEFORE, "dunning/in_1/1"]
TAKEN = [[0, "taken", True], [1, "taken", True]]
ENDS: dict[str, dict[str, Any]] = {
    "none": {"status": "open", "outcome": None, "user": "warning", "acts": [], "subscription": "past_due"},
    "mark_blocked": {"status": "open", "outcome": None, "user": "blocked", "acts": [], "subscription": "past_due"},
    "cancel_at_stripe": {
        "status": "closed",
        "outcome": "lost",
        "user": "blocked",
        "acts": ["1/cancel_at_stripe"],
        "subscription": "canceled",
    },
    "pause_collection": {
        "status": "open",
        "outcome": None,
        "user": "blocked",
        "acts": ["1/pause_collection"],
        "subscription": "past_due",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("action", ENDS)
async def test_killed_at_every_await_of_a_dunning_step(database_url: str, tmp_path: Path, action: str) -> None:
    zygote = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests" / "crash" / "zygote_dunning.py"),
        database_url,
        str(tmp_path),
        action,
        STRIDE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    out, _ = await zygote.communicate()
    assert zygote.returncode == 0
    points: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    at_stripe = bool(ENDS[action]["acts"])
    assert len(points) > (60 if at_stripe else 30) // int(STRIDE), "a step has more awaits than that"
    for point in points:
        case = point["case"]
        found = {"status": case["status"], "outcome": case["outcome"]} | {
            name: point[name] for name in ("user", "acts", "subscription")
        }
        assert (point["finished"], point["parked"], point["left"]) == (0, 0, 0), point
        assert found == ENDS[action], point
        assert (point["letters"], point["steps"]) == (LETTERS, TAKEN), point
        assert (case["done_step"], case["acting"]) == (1, None), point
        assert case["final_action"] == (None if action == "none" else action), point
        assert point["paused"] is (action == "pause_collection"), point
        assert case["status"] == "closed" or point["turns"] == 1, point
        before = point["crashed"]
        told = before["letters"] != BEFORE
        assert not told or len(before["steps"]) > 1, "a letter and its step are one transaction"
        assert not before["acts"] or before["case"]["acting"] or before["case"]["final_action"], point
        if at_stripe:
            assert not told or before["acts"], "nobody is told before it is done"
    unheard = [point for point in points if point["crashed"]["acts"] and point["crashed"]["case"]["acting"]]
    assert bool(unheard) is at_stripe, "some crashes fall between the action and its record"
