"""Comparisons and differences as rows, for tests of what operators see of them."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from db import reconciliation as rows
from db.reconciliation import Found, NewRun
from db.states import DifferenceClass
from jobs.reconciliation.report import Report, Total

AT = datetime(2026, 11, 20, 6, tzinfo=UTC)

MISSING = Found("charge", "ch_1", DifferenceClass.MISSING_HERE, "", None, "4900", "eur", mended=False)
PERIOD = Found(
    "subscription",
    "sub_1",
    DifferenceClass.PERIOD,
    "current_period_end",
    "2026-12-01T00:00:00+00:00",
    "2026-12-31T00:00:00+00:00",
    None,
    mended=True,
)


CUSTOMER = Found("customer", "cus_1", DifferenceClass.MISSING_HERE, "", None, None, None, mended=False)


async def compared(
    engine: AsyncEngine, *found: Found, day: int = 0, dry_run: bool = False, account: str = ""
) -> Report:
    """A comparison that was made, with what it found; amounts are in euros and yen."""
    until = AT + timedelta(days=day)
    new = NewRun(account, livemode=True, asked_by="ada", since=until - timedelta(days=1), until=until,
                 repairs=frozenset(), dry_run=dry_run)  # fmt: skip
    async with engine.begin() as conn:
        number = await rows.begin(conn, new, until)
        assert number is not None
        report = Report(
            run=number,
            account=account,
            livemode=True,
            asked_by="ada",
            since=new.since,
            until=new.until,
            dry_run=dry_run,
            repairs=[],
            milliseconds=83_000,
            requests=17,
            totals=[
                Total(currency="eur", money="charges", here=1_200_000, there=1_204_900),
                Total(currency="jpy", money="charges", here=9_120, there=9_120),
            ],
            compared={"invoice": 3, "balance_transaction": 1},
        )
        if not dry_run:
            report.add(found, await rows.record(conn, number, account, list(found), livemode=True, now=until))
        else:
            report.add(found)
        await rows.finish(conn, number, report.json(), advances=True, now=until + timedelta(seconds=83))
    return report
