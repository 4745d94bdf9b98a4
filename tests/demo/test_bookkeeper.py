"""The demo's company reconciles each fifth night of Stripe's clock, and before books are compared."""

from datetime import UTC, datetime
from typing import Any

from deploy.demo.bookkeeper import EVERY, RUN, Bookkeeper


def seconds(day: int, hour: int = 0) -> int:
    return int(datetime(2026, 3, day, hour, tzinfo=UTC).timestamp())


def test_each_fifth_night_is_reconciled_once_however_the_clock_is_moved() -> None:
    whole: list[tuple[str, Any]] = []
    Bookkeeper(lambda path, body: whole.append((path, body))).pass_days(seconds(1), seconds(31))
    steps: list[tuple[str, Any]] = []
    keeper = Bookkeeper(lambda path, body: steps.append((path, body)))
    for day in range(1, 31):
        keeper.pass_days(seconds(day), seconds(day, 9))
        keeper.pass_days(seconds(day, 9), seconds(day + 1))
    assert whole == steps
    assert len(whole) == 30 // EVERY
    assert all(path == RUN and body["period"].endswith("T06:00Z") and "again" not in body for path, body in whole)


def test_before_books_are_compared_the_day_is_reconciled_again() -> None:
    asked: list[tuple[str, Any]] = []
    Bookkeeper(lambda path, body: asked.append((path, body))).reconcile(seconds(9, 17))
    assert asked == [(RUN, {"period": "2026-03-09T06:00Z", "again": True})]
