"""The demo's API partners tell the same story for the same seed, and a ledger that knows nothing of it is found out."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.demo.api_partners import API_PARTNERS, ApiPartner, days, used
from deploy.demo.compare_partners import differences

START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def at(month: int, day: int, hour: int = 0) -> int:
    return int(datetime(2026, month, day, hour, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("partner", API_PARTNERS, ids=lambda partner: partner.prefix)
def test_each_day_of_the_partner_s_own_has_usage(partner: ApiPartner) -> None:
    """Else its invoice would be parked: a day without any looks as if reports were lost."""
    zone = ZoneInfo(partner.terms["timezone"])
    reported = [row for day in days(START, at(12, 31)) for row in used(partner, 7, day)]
    local = {datetime.fromisoformat(row["occurred_at"]).astimezone(zone).date() for row in reported}
    assert local >= {date(2026, 1, 2) + timedelta(days=number) for number in range(360)}
    assert reported == [row for day in days(START, at(12, 31)) for row in used(partner, 7, day)]
    assert reported != [row for day in days(START, at(12, 31)) for row in used(partner, 8, day)]
    assert len({row["idempotency_key"] for row in reported}) == len(reported)


def test_a_day_is_passed_once_however_the_clock_moves() -> None:
    whole = list(days(START, at(2, 1)))
    assert whole == [date(2026, 1, 1) + timedelta(days=number) for number in range(31)]
    stops = [at(1, 1, 7), at(1, 9), at(1, 9, 1), at(1, 20, 23), at(2, 1)]
    assert [day for before, now in zip([START, *stops], stops, strict=False) for day in days(before, now)] == whole


async def test_an_empty_ledger_is_no_partner_s(engine: AsyncEngine) -> None:
    found = await differences(engine, seed=7, start=START, at=at(2, 3))
    prefixes = sorted(partner.prefix for partner in API_PARTNERS)
    assert sorted(each.id for each in found if each.kind == "partner invoice") == [f"{one}/2026-01" for one in prefixes]
    assert {each.id for each in found if each.kind == "usage"} == set(prefixes)
    assert all(each.there > 0 and not each.here for each in found)


async def test_a_month_is_not_missed_before_it_is_due(engine: AsyncEngine) -> None:
    found = await differences(engine, seed=7, start=START, at=at(2, 2, 23))
    assert {each.kind for each in found} == {"usage"}
