"""The figures of dunning are exact: they are reckoned again here, case by case, and currencies are never mixed."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.models.dunning import DunningCase, DunningStep
from db.models.invoices import Invoice
from db.operators.figures import basis_points, figures

START = datetime(2026, 1, 1, tzinfo=UTC)
CLOSED = ("recovered", "lost", "canceled", "void", "disputed", "refunded", "exempt")
LETTERS = ("payment_failed", "dunning_reminder", "final_notice", "access_suspended")


@dataclass(frozen=True)
class Told:
    """A case as hypothesis draws it."""

    currency: str
    state: str
    amount: int
    part: int
    code: str | None
    taken: int
    """How many steps were taken."""
    opened: int
    """Days after the start."""
    seconds: int
    """From the failure to the end."""
    paid_earlier: int | None
    """So many seconds before we heard of it; None: the invoice tells no time."""

    @property
    def recovered(self) -> int:
        return min(self.part, self.amount) if self.state == "recovered" else 0

    @property
    def owed(self) -> int:
        """What is left when the credited part is taken away: of a recovered case what was paid."""
        return self.recovered if self.state == "recovered" else self.amount - min(self.part, self.amount) // 2

    @property
    def duration(self) -> int:
        return max(self.seconds - (self.paid_earlier or 0), 0)


CASES = st.lists(
    st.builds(
        Told,
        currency=st.sampled_from(["eur", "jpy", "usd"]),
        state=st.sampled_from(["open", "paused", *CLOSED, "recovered", "lost"]),
        amount=st.integers(1, 10**12),
        part=st.integers(1, 10**12),
        code=st.sampled_from([None, "insufficient_funds", "lost_card"]),
        taken=st.integers(0, 4),
        opened=st.integers(0, 90),
        seconds=st.integers(0, 10**7),
        paid_earlier=st.none() | st.integers(0, 10**6),
    ),
    max_size=25,
)


async def write(conn: AsyncConnection, number: int, told: Told) -> None:
    """The case with its steps and its invoice."""
    failed = START + timedelta(days=told.opened)
    over, recovered = told.state in CLOSED, told.state == "recovered"
    end = failed + timedelta(seconds=told.seconds)
    paid_at = None if told.paid_earlier is None else end - timedelta(seconds=told.paid_earlier)
    await conn.execute(insert(Invoice).values(stripe_invoice_id=f"in_{number}", status="open", paid_at=paid_at))
    row = await conn.execute(
        insert(DunningCase)
        .values(
            stripe_invoice_id=f"in_{number}",
            opened_by="payment_failed",
            currency=told.currency,
            amount_cents=told.amount,
            policy="default",
            steps=[],
            hours={},
            failed_at=failed,
            opened_at=failed,
            status="closed" if over else told.state,
            paused_by="operator" if told.state == "paused" else None,
            outcome=told.state if over else None,
            closed_at=end if over else None,
            decline_code=told.code,
            recovered_cents=told.recovered if recovered else None,
            credited_cents=told.amount - told.owed if over else 0,
            recovered_after_step=told.taken - 1 if recovered and told.taken else None,
        )
        .returning(DunningCase.id)
    )
    case = row.scalar_one()
    for position in range(told.taken):
        await conn.execute(
            insert(DunningStep).values(
                case_id=case,
                position=position,
                letter=LETTERS[position],
                outcome="taken",
                due_at=failed,
                taken_at=failed,
            )
        )


def decided(found: list[Told]) -> list[Told]:
    return [one for one in found if one.state in {"recovered", "lost", "canceled"}]


def recovered(found: list[Told]) -> list[Told]:
    return [one for one in found if one.state == "recovered"]


def rate(part: int, whole: int) -> int | None:
    """In ten-thousandths, half up, by fractions."""
    return int(Fraction(part, whole) * 10_000 + Fraction(1, 2)) if whole else None


def median(found: list[Told]) -> int | None:
    times = sorted(one.duration for one in recovered(found))
    return times[(len(times) - 1) // 2] if times else None


def sums(found: list[Told]) -> dict[str, int]:
    made: dict[str, int] = {}
    for one in recovered(found):
        made[one.currency] = made.get(one.currency, 0) + one.recovered
    return made


def check(found: dict[str, Any], told: list[Told]) -> None:
    """Compare with what is reckoned from the cases alone."""
    assert found["cases"] == len(told)
    assert found["outcomes"] == {
        state: sum(one.state == state for one in told) for state in {one.state for one in told}
    }
    counts = len(recovered(told)), len(decided(told))
    assert (found["recovered"], found["decided"], found["rate_bp"]) == (*counts, rate(*counts))
    assert found["median_seconds"] == median(told)
    assert [one["currency"] for one in found["currencies"]] == sorted({one.currency for one in told})
    for one in found["currencies"]:
        of_it = [x for x in told if x.currency == one["currency"]]
        amounts = sum(x.recovered for x in recovered(of_it)), sum(x.owed for x in decided(of_it))
        assert (one["recovered_cents"], one["decided_cents"], one["amount_rate_bp"]) == (*amounts, rate(*amounts))
        assert one["open_cents"] == sum(x.amount for x in of_it if x.state in {"open", "paused"})
        assert one["median_seconds"] == median(of_it)
    for one in found["decline_codes"]:
        of_it = [x for x in told if x.code == one["decline_code"]]
        counts = len(recovered(of_it)), len(decided(of_it))
        assert (one["cases"], one["recovered"], one["decided"], one["rate_bp"]) == (len(of_it), *counts, rate(*counts))
        assert one["recovered_cents"] == sums(of_it)
        assert one["median_seconds"] == median(of_it)
    assert sum(one["cases"] for one in found["decline_codes"]) == len(told)
    check_steps(found, told)


def check_steps(found: dict[str, Any], told: list[Told]) -> None:
    """By step: who was written to, and who paid then."""
    for one in found["steps"]:
        place = -1 if one["position"] is None else one["position"]
        of_it = [x for x in recovered(told) if x.taken - 1 == place]
        reached = 0 if place < 0 else sum(x.taken > place for x in told)
        assert (one["taken"], one["recovered"]) == (reached, len(of_it))
        assert one["letter"] == (None if place < 0 else LETTERS[place])
        assert one["rate_bp"] == rate(len(of_it), reached)
        assert one["recovered_cents"] == sums(of_it)
        assert one["median_seconds"] == median(of_it)
    assert sum(one["recovered"] for one in found["steps"]) == len(recovered(told))


@pytest.fixture
async def books(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that hypothesis's examples undo one after the other."""
    async with engine.connect() as conn:
        yield conn
        await conn.rollback()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=CASES, since=st.none() | st.integers(0, 90), until=st.none() | st.integers(0, 90))
async def test_the_figures_are_those_of_the_cases(
    books: AsyncConnection, told: list[Told], since: int | None, until: int | None
) -> None:
    await books.execute(text("DELETE FROM dunning_steps"))
    await books.execute(text("DELETE FROM dunning_cases"))
    await books.execute(text("DELETE FROM invoices"))
    for number, one in enumerate(told):
        await write(books, number, one)
    begin = None if since is None else START + timedelta(days=since)
    end = None if until is None else START + timedelta(days=until)
    found = await figures(books, since=begin, until=end)
    check(found, list(within(told, since, until)))
    assert (found["since"], found["until"]) == (begin, end)


def within(told: list[Told], since: int | None, until: int | None) -> Iterator[Told]:
    """The cases that were opened in that time: its end is outside."""
    for one in told:
        if (since is None or one.opened >= since) and (until is None or one.opened < until):
            yield one


@pytest.mark.parametrize(
    ("part", "whole", "points"), [(0, 0, None), (0, 3, 0), (1, 3, 3333), (2, 3, 6667), (1, 20_000, 1), (7, 7, 10_000)]
)
def test_rates_are_whole_numbers(part: int, whole: int, points: int | None) -> None:
    assert basis_points(part, whole) == points
