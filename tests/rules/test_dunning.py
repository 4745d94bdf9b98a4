"""Who owes is written to in time, by the customer's own calendar, once for each step."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.states import CaseOutcome
from jobs.rules import dunning
from jobs.rules.dunning import (
    DEFAULT,
    Action,
    Ended,
    Hours,
    Marks,
    Plan,
    Policy,
    Standing,
    Step,
    Suspended,
    arrears,
    ended,
    is_hard,
    letter_for,
    replaces,
)

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


def test_while_the_bank_decides_nobody_is_written_to_unless_the_customer_is_gone() -> None:
    found = ended(Standing("open", 500, "past_due", disputed=True))
    assert isinstance(found, Suspended)
    assert "the bank decides" in found.reason
    gone = ended(Standing("open", 500, "canceled", "cancellation_requested", disputed=True))
    assert isinstance(gone, Ended)
    assert gone.outcome is CaseOutcome.CANCELED


def test_payments_that_are_booked_already_suspend_until_the_invoice_tells_of_them() -> None:
    found = ended(Standing("open", 500, covered=True))
    assert isinstance(found, Suspended)
    assert "are booked" in found.reason
    assert isinstance(ended(Standing("paid", 0, covered=True)), Ended)
    assert isinstance(ended(Standing("open", 500, "canceled", covered=True)), Ended)


@pytest.mark.parametrize("was", [None, *CaseOutcome])
@pytest.mark.parametrize("known", list(CaseOutcome))
def test_only_news_that_it_is_settled_replaces_an_outcome_and_only_one_that_left_it_owed(
    was: CaseOutcome | None, known: CaseOutcome
) -> None:
    """A closed case is corrected once, from owed to settled: never back, and never round in a circle."""
    owed = {CaseOutcome.LOST, CaseOutcome.CANCELED, CaseOutcome.EXEMPT}
    verdict = Ended(known, "told just now")
    assert replaces(was, verdict) == (was in owed and known not in owed)
    assert not (replaces(was, verdict) and was is not None and replaces(known, Ended(was, "told before")))


def test_an_invoice_of_ours_rests_while_stripe_collects_it() -> None:
    found = ended(Standing("open", 500, collected_by="in_9"))
    assert isinstance(found, Suspended)
    assert "in_9" in found.reason
    assert isinstance(ended(Standing("paid", 0, collected_by="in_9")), Ended)


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


MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
FAILED, ASKED, LATE = MONDAY, MONDAY + timedelta(hours=1), MONDAY + timedelta(days=30)


@pytest.mark.parametrize(
    ("standing", "marks", "expected"),
    [
        (Standing("open", 500, "past_due"), Marks(FAILED), ("payment_failed", FAILED)),
        (Standing("open", 500, "past_due"), Marks(FAILED, ASKED), ("payment_failed", FAILED)),
        (Standing("open", 500, "past_due"), Marks(None, ASKED), ("payment_action_required", ASKED)),
        (Standing("open", 500, "past_due"), Marks(None, None, LATE), ("overdue", LATE)),
        (Standing("open", 500), Marks(FAILED), ("payment_failed", FAILED)),
        (Standing("open", 500), Marks(), None),
        (Standing("open", 500, "active"), Marks(FAILED, sent=True), None),
        (Standing("open", 500, "active"), Marks(FAILED, None, LATE, sent=True), ("overdue", LATE)),
        (Standing("open", 500, "incomplete"), Marks(FAILED, first=True), None),
        (Standing("open", 500, None), Marks(FAILED, first=True), None),
        (Standing("open", 500, "past_due"), Marks(FAILED, first=True), ("payment_failed", FAILED)),
        (Standing("open", 500, "incomplete"), Marks(None, None, LATE, sent=True, first=True), ("overdue", LATE)),
        (Standing("paid", 0, "active"), Marks(FAILED), None),
        (Standing("draft", 500, "active"), Marks(FAILED), None),
        (Standing("open", 500, "canceled"), Marks(FAILED), None),
        (Standing("open", 500, "active", collection_paused=True), Marks(FAILED), ("payment_failed", FAILED)),
    ],
)
def test_what_puts_an_invoice_into_arrears(
    standing: Standing, marks: Marks, expected: tuple[str, datetime] | None
) -> None:
    assert arrears(standing, marks) == expected


@pytest.mark.parametrize(
    ("letter", "sent", "confirm", "expected"),
    [
        ("payment_failed", False, False, "payment_failed"),
        ("payment_failed", False, True, "action_required"),
        ("dunning_reminder", False, True, "dunning_reminder"),
        ("payment_failed", True, True, "invoice_overdue"),
        ("dunning_reminder", True, False, "invoice_overdue"),
        ("final_notice", True, True, "final_notice"),
    ],
)
def test_which_letter_a_step_means(letter: str, expected: str, *, sent: bool, confirm: bool) -> None:
    assert letter_for(letter, sent=sent, confirm=confirm) == expected


def test_what_was_credited_is_not_recovered() -> None:
    found = ended(Standing("paid", 0, credited=True))
    assert isinstance(found, Ended)
    assert found.outcome is CaseOutcome.VOID


def test_an_only_warning_that_went_out_late_gives_as_many_days_as_the_policy_has() -> None:
    warned = TUESDAY + timedelta(days=30)
    late = plan(warned_at=warned, only_warning=True)
    assert late.due(3) == local(2026, 4, 9, 16, 30)  # seven days later; summer time began meanwhile
    assert late.take(2, warned + timedelta(days=6)) is None


def test_a_late_letter_waits_for_the_morning_but_the_first_does_not() -> None:
    night = local(2026, 3, 6, 23)  # Friday
    assert plan().opening(0, night) == night
    assert plan().opening(1, night) == local(2026, 3, 9, 8)
    assert plan(grace_days=1).opening(0, night) == local(2026, 3, 9, 8)
    assert plan(at_once=False).opening(0, night) == local(2026, 3, 9, 8)


def test_the_forecast_is_the_course() -> None:
    assert list(plan().forecast(-1, TUESDAY, warnings=0)) == [(n, plan().due(n)) for n in range(4)]
    assert list(plan().forecast(3, TUESDAY, warnings=4)) == []


@given(
    failed=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is beside
    zone=st.sampled_from(ZONES),
    late=st.integers(0, 40 * 24),
    done=st.integers(-1, 3),
    at_once=st.booleans(),
)
def test_what_is_forecast_is_what_is_then_taken(
    failed: datetime, zone: ZoneInfo, late: int, done: int, *, at_once: bool
) -> None:
    """A worker that looks at the forecast's times, and an hour before each, does exactly what was forecast."""
    start = failed + timedelta(hours=late)
    warned = None if done < 0 else start
    begins = plan(failed, zone, warned_at=warned, only_warning=done == 0, at_once=at_once)
    told = list(begins.forecast(done, start, warnings=done + 1))
    assert [position for position, _ in told] == sorted({position for position, _ in told})
    warnings = done + 1
    for position, at in told:
        at_that_time = plan(failed, zone, warned_at=warned, only_warning=warnings == 1, at_once=at_once)
        early = max(start, at - timedelta(hours=1))
        if early < at and (sooner := at_that_time.take(done, early)) is not None:
            assert at_that_time.opening(sooner, early) > early
        assert at_that_time.take(done, at) == position
        assert at_that_time.opening(position, at) <= at
        done, warned, warnings = position, at, warnings + 1
    assert plan(failed, zone).next(done) is None
