"""Who owes is written to in time, by the customer's own calendar, once for each step."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.states import CaseOutcome
from jobs.rules import dunning
from jobs.rules.dunning import DEFAULT, Action, Ended, Hours, Plan, Policy, Standing, Step, Suspended, ended, is_hard

BERLIN, TOKYO, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo"), ZoneInfo("UTC")
TUESDAY = datetime(2026, 3, 3, 14, 30, tzinfo=UTC)
ZONES = [BERLIN, TOKYO, UTC_ZONE, ZoneInfo("America/New_York"), ZoneInfo("Pacific/Apia"), ZoneInfo("Asia/Kathmandu")]


def plan(failed_at: datetime = TUESDAY, zone: ZoneInfo = BERLIN, **more: object) -> Plan:
    return Plan(DEFAULT.steps, DEFAULT.hours, failed_at, zone, **more)  # pyright: ignore[reportArgumentType] - a few named ones


def local(*parts: int, zone: ZoneInfo = BERLIN) -> datetime:
    year, month, day, hour, minute = (*parts, 0)[:5]
    return datetime(year, month, day, hour, minute, tzinfo=zone)


def test_the_default_days() -> None:
    assert [step.day for step in DEFAULT.steps] == [0, 3, 7, 14]
    assert [step.action for step in DEFAULT.steps] == [Action.NONE] * 3 + [Action.MARK_BLOCKED]


def test_days_count_by_the_customers_calendar_at_the_hour_of_the_failure() -> None:
    assert [plan().due(n) for n in range(4)] == [
        local(2026, 3, 3, 15, 30),
        local(2026, 3, 6, 15, 30),
        local(2026, 3, 10, 15, 30),
        local(2026, 3, 17, 15, 30),
    ]


def test_the_day_is_the_customers_not_ours() -> None:
    late = datetime(2026, 3, 3, 23, 30, tzinfo=UTC)  # Wednesday morning in Tokyo
    assert plan(late, TOKYO).due(1) == local(2026, 3, 9, 8, zone=TOKYO)  # Saturday would be the 7th: Monday


def test_the_first_letter_goes_at_once_and_the_others_in_office_hours() -> None:
    night = datetime(2026, 3, 3, 2, 0, tzinfo=UTC)
    assert plan(night).due(0) == night
    assert plan(night).due(1) == local(2026, 3, 6, 8)
    evening = datetime(2026, 3, 3, 19, 0, tzinfo=UTC)  # 20:00 in Berlin: closed from then on
    assert plan(evening).due(1) == local(2026, 3, 9, 8)  # Friday night becomes Monday morning


def test_over_the_change_of_clocks_the_hour_stays() -> None:
    before = datetime(2026, 3, 26, 9, 0, tzinfo=UTC)  # Thursday 10:00; summer time begins on Sunday the 29th
    assert plan(before).due(2) == local(2026, 4, 2, 10)
    assert plan(before).due(2).astimezone(UTC).hour == 8


def test_an_hour_that_does_not_exist_is_the_next_that_does() -> None:
    whole_night = Hours(time(0), time(23, 59), weekends=True)
    at = Plan((Step(0, "a"), Step(1, "b")), whole_night, datetime(2026, 3, 28, 1, 30, tzinfo=UTC), BERLIN)
    assert at.due(1).astimezone(UTC) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # 02:30 is skipped: it is 03:30
    assert at.due(1).hour == 3


def test_grace_moves_the_steps_that_are_left() -> None:
    assert plan(grace_days=5).due(1) == local(2026, 3, 11, 15, 30)


@pytest.mark.parametrize(
    ("days", "done", "taken"),
    [
        (0, -1, 0),
        (2.9, 0, None),
        (3.1, 0, 1),
        (8, -1, 2),
        (8, 0, 2),
        (30, -1, 2),
        (30, 1, 2),
        (30, 2, 3),
        (30, 3, None),
    ],
)
def test_a_late_step_is_the_newest_due_one_but_an_action_is_never_the_first(
    days: float, done: int, taken: int | None
) -> None:
    assert plan().take(done, TUESDAY + timedelta(days=days)) == taken


def test_after_a_late_warning_an_action_waits_a_day() -> None:
    warned = TUESDAY + timedelta(days=20)
    late = plan(warned_at=warned)
    assert late.take(2, warned + timedelta(hours=23)) is None
    assert late.take(2, late.due(3)) == 3
    assert late.due(3) >= warned + dunning.NOTICE


def test_after_the_last_step_there_is_none() -> None:
    assert plan().next(3) is None
    assert plan().next(-1) == TUESDAY


@given(
    failed=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is beside
    zone=st.sampled_from(ZONES),
    grace=st.integers(0, 30),
    gaps=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    weekends=st.booleans(),
)
def test_steps_keep_their_order_their_days_and_the_hours(
    failed: datetime, zone: ZoneInfo, grace: int, gaps: list[int], *, weekends: bool
) -> None:
    days = [0]
    for gap in gaps:
        days.append(days[-1] + gap)
    steps = tuple(Step(day, "letter") for day in days)
    made = Plan(steps, Hours(weekends=weekends), failed, zone, grace)
    dues = [made.due(n) for n in range(len(steps))]
    assert dues == sorted(dues)
    for step, due in zip(steps, dues, strict=True):
        if step.day + grace == 0:
            assert due == failed
            continue
        assert time(8) <= due.time() < time(20)
        assert weekends or due.weekday() < 5
        late = due.date() - (failed.astimezone(zone).date() + timedelta(days=step.day + grace))
        assert timedelta(0) <= late <= timedelta(days=3)


@given(
    looks=st.lists(st.integers(0, 40 * 24), min_size=1, max_size=30).map(sorted),
    failed=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is beside
    zone=st.sampled_from(ZONES),
)
def test_whenever_we_look_no_step_is_taken_twice_or_early_and_the_action_only_after_a_warning(
    looks: list[int], failed: datetime, zone: ZoneInfo
) -> None:
    done, warned, taken = -1, None, list[int]()
    for hours in looks:
        now = failed + timedelta(hours=hours)
        at = plan(failed, zone, warned_at=warned)
        position = at.take(done, now)
        if position is None:
            assert (due := at.next(done)) is None or due > now
            continue
        assert position > done
        assert at.due(position) <= now
        if DEFAULT.steps[position].action is not Action.NONE:
            assert warned is not None
            assert now - warned >= dunning.NOTICE
        done, warned = position, now
        taken.append(position)
    assert taken == sorted(set(taken))


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing("open", 500), None),
        (Standing("paid", 0), CaseOutcome.RECOVERED),
        (Standing("open", 0), CaseOutcome.RECOVERED),
        (Standing("void", 500), CaseOutcome.VOID),
        (Standing("deleted", 500), CaseOutcome.VOID),
        (Standing("uncollectible", 500), CaseOutcome.LOST),
        (Standing("paid", 0, disputed=True), CaseOutcome.DISPUTED),
        (Standing("paid", 0, refunded=True), CaseOutcome.REFUNDED),
        (Standing("open", 500, "past_due"), None),
        (Standing("open", 500, "unpaid"), None),
        (Standing("open", 500, "canceled", "payment_failed"), CaseOutcome.LOST),
        (Standing("open", 500, "canceled", "cancellation_requested"), CaseOutcome.CANCELED),
        (Standing("open", 500, "incomplete_expired"), CaseOutcome.CANCELED),
        (Standing("open", 500, "past_due", customer_deleted=True), CaseOutcome.CANCELED),
        (Standing("open", 500, "past_due", opted_out=True), CaseOutcome.EXEMPT),
        (Standing("paid", 0, "canceled", "payment_failed"), CaseOutcome.RECOVERED),
        (Standing("paid", 0, "past_due", opted_out=True), CaseOutcome.RECOVERED),
    ],
)
def test_what_ends_a_case(standing: Standing, expected: CaseOutcome | None) -> None:
    found = ended(standing)
    assert (found.outcome if isinstance(found, Ended) else found) == expected


def test_paused_collection_suspends() -> None:
    assert isinstance(ended(Standing("open", 500, "active", collection_paused=True)), Suspended)


def test_a_hard_decline_is_known_by_any_of_its_codes() -> None:
    assert is_hard("card_declined", "stolen_card")
    assert is_hard("account_closed", None)
    assert not is_hard("card_declined", "insufficient_funds")
    assert not is_hard(None)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((), "no steps"),
        ((Step(0, "a"), Step(0, "b")), "days must grow"),
        ((Step(-1, "a"),), "before the failure"),
        ((Step(0, "a", Action.MARK_BLOCKED), Step(3, "b")), "only the last"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_the_reason(steps: tuple[Step, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Policy("mine", steps)


def test_hours_that_never_open_are_refused() -> None:
    with pytest.raises(ValueError, match="never"):
        Hours(time(20), time(8))
