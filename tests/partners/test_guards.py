"""An invoice that looks wrong waits for somebody, with a sentence why; one that is right is never held up."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.invoices.codes import CURRENCIES
from jobs.invoices.document import Period
from jobs.partners.guards import MINIMUM_CHARGE, Facts, concerns
from tests.conftest import MovedClock
from tests.invoices.office import GRACE, Office, draft
from tests.partners.run_kit import Firm, at
from worker.errors import Refused

OCTOBER: dict[str, Any] = {"contract_start_date": date(2026, 10, 1)}
DAYS = [date(2026, 10, 1) + timedelta(days=number) for number in range(31)]
BEFORE = [date(2026, 9, 1) + timedelta(days=number) for number in range(30)]
FINE: dict[str, Any] = {
    "prefix": "nw",
    "name": "2026-10",
    "currency": "eur",
    "total": 10_000,
    "due": 10_000,
    "used": True,
    "months": 1,
    "ended_at": datetime(2026, 11, 1, tzinfo=UTC),
    "email": "ap@northwind.example",
}


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = at("2026-10-01 00:00")
    return Firm(engine, clock, tmp_path)


def stops(**changes: Any) -> list[str]:
    return [one.guard for one in concerns(Facts(**{**FINE, **changes})) if one.stops]


def notes(**changes: Any) -> list[str]:
    return [one.guard for one in concerns(Facts(**{**FINE, **changes})) if not one.stops]


def test_what_is_right_is_not_held_up() -> None:
    assert concerns(Facts(**FINE)) == []


def test_each_guard() -> None:
    assert stops(total=-1) == ["negative"]
    assert stops(total=0, due=0) == ["zero"]
    assert stops(overlapping=["API-1"]) == ["duplicate"]
    assert stops(due=49, at_stripe=True) == ["below_minimum"]
    assert stops(due=50, at_stripe=True) == []
    assert stops(due=0, at_stripe=True) == [], "credits have paid it"
    assert stops(due=49) == [], "it is paid by transfer"
    assert stops(due=1, at_stripe=True, currency="kwd") == [], "Stripe has no least amount of its own for it"
    assert stops(has_address=False, address_needed=True) == ["no_address"]
    late = datetime(2027, 5, 1, tzinfo=UTC)
    assert stops(entered_at=late) == ["before_entry"]
    assert stops(entered_at=late, by_hand=True) == []
    assert stops(entered_at=datetime(2026, 12, 1, tzinfo=UTC)) == []


def test_notes_hold_nothing_up() -> None:
    assert notes(email=None) == ["no_email"]
    assert notes(has_address=False) == ["no_address"]
    assert notes(flags=["volume_cliff: 1000 units cost 20.00 EUR, 1001 cost 10.01 EUR"]) == ["volume_cliff"]
    assert notes(outside=True, late=["usage of 2026-01"]) == ["outside_contract", "late_usage"]


def test_the_average_is_by_month_and_needs_two() -> None:
    usual = [(1_000, 1), (2_000, 1), (3_000, 1)]
    assert stops(alarm_factor=5, earlier=usual, total=10_000) == []
    assert stops(alarm_factor=5, earlier=usual, total=10_001) == ["over_average"]
    assert stops(alarm_factor=5, earlier=[*usual, (10**9, 1)], total=10_001) == ["over_average"], "the last three count"
    assert stops(alarm_factor=5, earlier=usual[:1], total=10**9) == []
    assert stops(alarm_factor=0, earlier=usual, total=10**9) == []
    assert stops(alarm_factor=5, earlier=usual, total=30_000, months=3) == [], "a quarter is three months"
    assert stops(alarm_factor=5, earlier=[(0, 1), (0, 1)], total=10**9) == [], "nothing is no average"


@given(
    earlier=st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from([1, 3, 12])), max_size=4),
    total=st.integers(1, 10**10),
    factor=st.integers(1, 10),
)
def test_the_average_as_people_reckon_it(earlier: list[tuple[int, int]], total: int, factor: int) -> None:
    last = earlier[:3]
    per_month = [12 * amount // months for amount, months in last]  # twelfths, so that nothing is rounded
    over = len(last) >= 2 and sum(per_month) > 0 and total * 12 * len(last) > factor * sum(per_month)
    assert ("over_average" in stops(alarm_factor=factor, earlier=earlier, total=total)) is over


def test_days_without_usage_of_one_who_uses_it_daily() -> None:
    every = {*DAYS, *BEFORE}
    assert stops(days=DAYS, before=BEFORE, used_days=every) == []
    assert stops(days=DAYS, before=BEFORE, used_days=every - {DAYS[9]}) == ["missing_days"]
    (told,) = concerns(Facts(**FINE, days=DAYS, before=BEFORE, used_days=every - set(DAYS[9:17])))
    assert told.why.startswith(
        "there is no usage on 2026-10-10, 2026-10-11, 2026-10-12, 2026-10-13, 2026-10-14 and 3 more, and there was on"
        " 100 % of the days before"
    )
    weekdays = {day for day in every if day.weekday() < 5}
    assert stops(days=DAYS, before=BEFORE, used_days=weekdays) == [], "who rests at weekends does not use it daily"
    most = every - set(BEFORE[:5])
    assert stops(days=DAYS, before=BEFORE, used_days=most - set(DAYS[:5])) == [], "as many were missing before"
    assert stops(days=DAYS, before=BEFORE, used_days=most - set(DAYS[:6])) == ["missing_days"]
    assert stops(days=DAYS, before=BEFORE[-13:], used_days=set(BEFORE)) == [], "too short a time to tell"


def test_the_least_that_stripe_charges_is_of_currencies_that_it_knows() -> None:
    assert set(MINIMUM_CHARGE) <= set(CURRENCIES)
    assert (MINIMUM_CHARGE["usd"], MINIMUM_CHARGE["gbp"], MINIMUM_CHARGE["huf"]) == (50, 30, 17_500)


async def test_over_the_average_it_waits_and_is_released(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 8, 1), alarm_factor=2)
    for month, units in ((8, 10_000), (9, 10_000), (10, 30_000)):
        await firm.use(f"2026-{month:02}-05 12:00", units)
    await firm.on("2026-11-01 12:00")
    assert await firm.stands() == [
        ("2026-08", "issued", 2_500),
        ("2026-09", "issued", 2_500),
        ("2026-10", "parked", 7_500),
    ]
    assert await firm.guards() == ["over_average"]
    assert len(await firm.numbers()) == 2, "a parked one takes no number"
    (letter,) = [row for row in await firm.letters() if row["template"] == "invoice_parked"]
    assert "over 2 times" in letter["context"]["reasons"][0]
    await firm.use("2026-10-06 12:00", 1_000)
    done = await firm.release("2026-10")
    assert (done.settled.status, done.differs, done.settled.prepared.total) == ("issued", True, 7_750)
    (*_, row) = await firm.periods()
    assert (row["status"], row["total_cents"], row["released_by"]) == ("issued", 7_750, "ada")
    with pytest.raises(Refused, match="is issued, and not parked"):
        await firm.release("2026-10")
    audit = await firm.query("SELECT action, who, why, target FROM audit_log WHERE action = 'partners.release'")
    assert audit == [{"action": "partners.release", "who": "ada", "why": "looked into it", "target": "nw"}]


async def test_a_parked_month_holds_no_later_one_up(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 8, 1), alarm_factor=2)
    for month, units in ((8, 10_000), (9, 10_000), (10, 30_000), (11, 10_000)):
        await firm.use(f"2026-{month:02}-05 12:00", units)
    await firm.on("2026-12-01 12:00")
    assert [row[1] for row in await firm.stands()] == ["issued", "issued", "parked", "issued"]
    assert await firm.void("2026-10") == ("2026-10", "parked")
    await firm.on("2026-12-01 13:00")
    assert [row[1] for row in await firm.stands()] == ["issued", "issued", "void", "issued"]


async def test_zero_with_usage_is_odd(firm: Firm) -> None:
    await firm.contract(**OCTOBER, included_units=5_000)
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    assert await firm.stands() == [("2026-10", "parked", 0)]
    assert await firm.guards() == ["zero"]
    assert (await firm.release("2026-10")).settled.status == "issued"
    assert [row["status"] for row in await firm.query("SELECT status FROM invoices")] == ["paid"]


async def test_below_stripes_least_amount(firm: Firm) -> None:
    await firm.contract(**OCTOBER, push_to_stripe=True, stripe_customer_id="cus_1")
    await firm.use("2026-10-05 12:00", 100)
    await firm.on("2026-11-01 12:00")
    assert await firm.guards() == ["below_minimum"]


async def test_a_period_that_was_invoiced_by_hand_is_not_invoiced_twice(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.use("2026-10-05 12:00", 1_000)
    period = Period(at("2026-10-10 00:00"), at("2026-10-20 00:00"))
    firm.clock.time = at("2026-10-25 12:00")
    await Office.issue(firm, draft("order/1", api_key_prefix="nw", buyer=GRACE, period=period))
    await firm.on("2026-11-01 12:00")
    assert await firm.guards() == ["duplicate"]
    again = await firm.release("2026-10")
    assert again.settled.status == "parked", "no release makes two invoices of one period"


async def test_days_without_usage_wait_until_they_are_reported(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 9, 1), alarm_factor=0)
    await firm.use_daily(date(2026, 9, 1), date(2026, 10, 20))
    await firm.use_daily(date(2026, 10, 21), date(2026, 11, 1))
    await firm.on("2026-11-01 12:00")
    assert await firm.guards() == ["missing_days"]
    await firm.use("2026-10-20 12:00", 100)
    done = await firm.release("2026-10")
    assert (done.settled.status, done.settled.prepared.concerns) == ("issued", ())


async def test_what_cannot_be_read_is_released_once_it_is_mended(firm: Firm) -> None:
    await firm.contract(**OCTOBER, currency="xyz", monthly_flat_fee_cents=1_000)
    await firm.on("2026-11-01 12:00")
    assert await firm.guards() == ["currency"]
    assert (await firm.release("2026-10")).settled.status == "parked"
    await firm.execute("UPDATE api_partner_contracts SET currency = 'eur'")
    assert (await firm.release("2026-10")).settled.status == "issued"
    assert len([row for row in await firm.letters() if row["template"] == "invoice_parked"]) == 1, "told once"


async def test_a_currency_that_changes_within_a_period_is_no_invoice(firm: Firm) -> None:
    await firm.contract(**OCTOBER, monthly_flat_fee_cents=1_000)
    await firm.contract(**OCTOBER, monthly_flat_fee_cents=1_000, currency="usd", valid_from=date(2026, 10, 10))
    await firm.on("2026-11-01 12:00")
    assert await firm.guards() == ["terms"]
