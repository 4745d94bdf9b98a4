"""A promotion code gives what it says, to each once, and to no more than it may."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.promotions import NewPromoCode
from db.usage import Owner
from jobs.invoices.drafts import DraftDiscount
from jobs.partners import promotions
from jobs.partners.promotions import gives, months_after
from tests.conftest import MovedClock
from tests.partners.money_kit import ADA, DAY, PARTNER, Firm
from worker.errors import Refused


@pytest.fixture
async def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    made = Firm(engine, clock, tmp_path)
    await made.contract()
    return made


async def add(firm: Firm, code: str = "WELCOME", **more: Any) -> None:
    async with firm.deps.tx() as tx:
        await promotions.add(tx, NewPromoCode(code=code, **more), ADA)


async def redeem(firm: Firm, code: str = "WELCOME", owner: Owner = PARTNER) -> None:
    async with firm.deps.tx() as tx:
        await promotions.redeem(tx, code, owner, ADA)


async def off(firm: Firm, at: datetime, owner: Owner = PARTNER) -> list[DraftDiscount]:
    async with firm.engine.connect() as conn:
        return await promotions.discounts(conn, owner, at)


async def test_a_percentage_holds_for_its_months(firm: Firm) -> None:
    await add(firm, percent=Decimal(20), months=3)
    await redeem(firm, " welcome ")
    since = firm.clock.now()
    ends = months_after(since, 3)
    assert await off(firm, since) == [DraftDiscount("WELCOME (20 %)", percent=Decimal("20.0000"))]
    assert await off(firm, since - DAY) == []
    assert len(await off(firm, ends - DAY)) == 1
    assert await off(firm, ends) == []
    month_ends = [datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5, 6, 7)]
    assert [len(await off(firm, at)) for at in month_ends] == [0, 1, 1, 1, 0], "three invoices have it"
    assert await firm.audit() == ["credits.promo_add", "credits.promo_redeem"]


async def test_an_amount_becomes_a_credit(firm: Firm) -> None:
    await add(firm, amount_cents=5_000, currency="gbp", credit_days=30)
    await redeem(firm)
    (row,) = await firm.query("SELECT * FROM credits")
    assert (row["kind"], row["remaining_cents"], row["reason"]) == ("promotional", 5_000, "WELCOME")
    assert row["expires_at"] == firm.clock.now() + 30 * DAY
    (used,) = await firm.query("SELECT credit_id, promo_code_id FROM promo_redemptions")
    assert (used["credit_id"], used["promo_code_id"]) == (row["id"], row["promo_code_id"])
    assert (await firm.stands(await firm.bill()))[3] == 7_000
    assert await off(firm, firm.clock.now()) == []


async def test_several_percentages_in_the_order_in_which_they_came(firm: Firm) -> None:
    await add(firm, "B-SIDE", percent=Decimal("12.5"))
    await add(firm, "A-SIDE", percent=Decimal(10))
    await redeem(firm, "B-SIDE")
    await redeem(firm, "A-SIDE")
    found = await off(firm, firm.clock.now())
    assert [one.name for one in found] == ["B-SIDE (12.5 %)", "A-SIDE (10 %)"]
    issued = await firm.bill(discounts=tuple(found))
    row = await firm.invoice_row(issued)
    assert row["discount_cents"] == 1_250 + 875


async def test_each_may_once_and_all_no_more_than_the_limit(firm: Firm) -> None:
    for number in range(12):
        await firm.contract(f"p{number}")
    await add(firm, amount_cents=100, currency="eur", max_redemptions=5)

    async def one(number: int) -> str:
        try:
            await redeem(firm, owner=Owner(api_key_prefix=f"p{number % 12}"))
        except Refused as refused:
            return refused.reason
        return ""

    said = await asyncio.gather(*(one(number) for number in range(24)))
    assert said.count("") == 5
    assert {words for words in said if words} <= {
        "WELCOME was redeemed 5 times, and may not be once more",
        *(f"partner p{number} has redeemed WELCOME before: each may once" for number in range(12)),
    }
    assert len(await firm.credits()) == 5
    (row,) = await firm.query("SELECT redeemed FROM promo_codes")
    assert row["redeemed"] == 5


async def test_what_cannot_be_redeemed_is_told(firm: Firm) -> None:
    await add(firm, percent=Decimal(20), expires_at=firm.clock.now() + DAY)
    with pytest.raises(Refused, match="there is no code WELCOM; did you mean WELCOME"):
        await redeem(firm, "welcom")
    with pytest.raises(Refused, match="there is no partner nobody: see `billing partners list`"):
        await redeem(firm, owner=Owner(api_key_prefix="nobody"))
    firm.clock.move(DAY)
    with pytest.raises(Refused, match="WELCOME expired on 2026-03-02"):
        await redeem(firm)
    with pytest.raises(Refused, match="there is a code WELCOME already"):
        await add(firm, percent=Decimal(5))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "percent: give either a percentage or an amount"),
        ({"percent": Decimal(5), "amount_cents": 5, "currency": "eur"}, "give either"),
        ({"amount_cents": 5}, "go together"),
        ({"amount_cents": 0, "currency": "eur"}, "amount_cents: 0"),
        ({"amount_cents": 5, "currency": "zzz"}, "currency: 'zzz'"),
        ({"percent": Decimal(101)}, "percent: 101"),
        ({"percent": Decimal("NaN")}, "percent: NaN"),
        ({"percent": Decimal("1.00001")}, "decimal places"),
        ({"percent": Decimal(5), "months": 0}, "months: of a percentage"),
        ({"amount_cents": 5, "currency": "eur", "months": 2}, "months: of a percentage"),
        ({"percent": Decimal(5), "credit_days": 2}, "credit_days: of an amount"),
        ({"percent": Decimal(5), "max_redemptions": 0}, "max_redemptions: from 1 to"),
        ({"percent": Decimal(5), "expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "is past"),
        ({"percent": Decimal(5), "code": "a b"}, "code: 'a b'"),
    ],
)
async def test_a_wrong_code_is_told(firm: Firm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        await add(firm, **values)


def test_what_a_code_gives_in_words() -> None:
    assert gives(NewPromoCode(code="X", percent=Decimal("12.50"), months=1)) == "12.5 % off for 1 month"
    assert gives(NewPromoCode(code="X", percent=Decimal(20))) == "20 % off for ever"
    assert gives(NewPromoCode(code="X", amount_cents=5000, currency="jpy", credit_days=9)) == (
        "a credit of 5,000 JPY, for 9 days"
    )


def test_months_end_where_months_do() -> None:
    assert months_after(datetime(2026, 11, 30, 9, tzinfo=UTC), 3) == datetime(2027, 2, 28, 9, tzinfo=UTC)
    assert months_after(datetime(2026, 12, 31, tzinfo=UTC), 12) == datetime(2027, 12, 31, tzinfo=UTC)
