"""What an operator types is bounded: pauses end within a year, periods have a length, zones exist, keys last."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from db.operators.actions import NotAllowedError
from db.operators.filters import BadFilterError
from intake.dunning import to_come
from jobs.dunning import operate
from jobs.dunning.reading import zone
from tests.dunning.kit import ADA, TUESDAY, Scene
from tests.dunning.test_commands import Billing, billing, told
from tests.dunning.test_commands_admin import BEARER, admin, post
from tests.operators.door import Door
from tests.operators.test_dashboard import sign_in

__all__ = ["admin", "billing"]


@pytest.mark.parametrize(
    ("typed", "days"), [("2d", 2), ("1w", 7), ("48h", 2), ("2026-03-05T14:30:00Z", 2), ("366d", 366)]
)
def test_an_age_means_time_to_come(typed: str, days: int) -> None:
    assert to_come("until", typed, TUESDAY) == TUESDAY + timedelta(days=days)


def test_no_time_is_no_end() -> None:
    assert to_come("until", None, TUESDAY) is None
    assert to_come("until", "", TUESDAY) is None


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("2026-03-01", "is past"),
        ("0d", "is past"),
        ("367d", "more than a year"),
        ("9999-12-31", "more than a year"),
        ("99999999d", "is no time"),
        ("soon", "is no time"),
    ],
)
async def test_a_pause_ends_within_a_year(billing: Billing, scene: Scene, admin: Door, typed: str, said: str) -> None:
    with pytest.raises(BadFilterError, match=said):
        to_come("until", typed, TUESDAY)
    refused = await billing("pause", "in_1", "--until", typed, "--why", "holidays")
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert said in str(await post(admin, "pause", {"until": typed, "why": "holidays"}, code=422))
    assert (await scene.case())["status"] == "open"


async def test_a_pause_of_two_days(billing: Billing, scene: Scene, admin: Door) -> None:
    assert (await told(billing, "pause", "in_1", "--until", "2d", "--why", "x"))["paused_until"] == (
        "2026-03-05T14:30:00Z"
    )
    async with scene.deps.tx() as tx:
        await operate.resume(tx, "in_1", ADA)
        with pytest.raises(NotAllowedError, match="more than a year away"):
            await operate.pause(tx, "in_1", ADA, until=TUESDAY + timedelta(days=400))
    paused = await post(admin, "pause", {"until": "2d", "why": "x"})
    assert paused["paused_until"] == "2026-03-05T14:30:00Z"


async def test_figures_of_a_time_that_ends_before_it_begins(billing: Billing, admin: Door) -> None:
    refused = await billing("figures", "--since", "2026-03-02", "--until", "2026-03-01")
    assert refused.exit_code == 2
    assert "is not after" in refused.stderr
    period = {"since": "2026-03-02", "until": "2026-03-01"}
    assert (await admin.get("/admin/dunning/figures", headers=BEARER, params=period)).status_code == 422


async def test_a_step_that_was_taken_meanwhile_is_not_taken_again(billing: Billing, scene: Scene, admin: Door) -> None:
    assert (await billing("send-now", "in_1", "--step", "2", "--why", "x")).exit_code == 0
    await scene.query_and_commit("UPDATE queue SET due_at = :now", now=scene.clock.now())
    await scene.work()
    refused = await billing("send-now", "in_1", "--step", "2", "--why", "x")
    assert refused.exit_code == 1
    assert "step 2 of in_1 was taken meanwhile" in refused.stderr
    again = await post(admin, "skip", {"position": 1, "why": "x"}, code=409)
    assert "step 2 of in_1 was taken meanwhile" in again["detail"]
    assert (await post(admin, "send-now", {"why": "x"}, code=422))["detail"]
    assert (await billing("send-now", "in_1", "--why", "x")).exit_code == 0
    await scene.query_and_commit("UPDATE queue SET due_at = :now", now=scene.clock.now())
    await scene.work()
    assert await scene.steps() == [(0, "taken"), (1, "taken"), (2, "taken")]


@pytest.mark.parametrize("name", [None, "", "Mars/Olympus", "localtime", "../../etc/passwd", "posixrules", "Europe"])
def test_only_zones_of_the_list_are_zones(name: str | None) -> None:
    assert zone(name, "Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert zone(name) == ZoneInfo("UTC")


async def test_two_clicks_on_the_dashboard_are_one_step(scene: Scene, admin: Door) -> None:
    csrf = await sign_in(admin)
    assert '<input type="hidden" name="position" value="1">' in (await admin.get("/dunning/in_1")).text
    form = {"csrf": csrf, "why": "x", "position": "1"}
    assert (await admin.post("/dunning/in_1/skip", data=form)).status_code == 303
    again = await admin.post("/dunning/in_1/skip", data=form)
    assert again.status_code == 409
    assert "step 2 of in_1 was taken meanwhile" in again.text
    for wrong in ("", "x", "٣"):
        assert (await admin.post("/dunning/in_1/skip", data=form | {"position": wrong})).status_code == 422
    assert await scene.steps() == [(0, "taken"), (1, "skipped")]
