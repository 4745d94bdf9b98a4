"""A company's weeks at a simulated Stripe, by the real door and worker: who got which letter, in any weather."""

from functools import partial

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.mail.letters_kit import Json, letters, written
from tests.scenarios.acts import customer, latest_charge, plan, subscribe
from tests.scenarios.conftest import CALM, OLD, STORMY, Opened, at
from tests.scenarios.kit import Stage
from tests.scenarios.kit import stage as opening


@pytest.fixture(params=(CALM, OLD, STORMY), ids=lambda weather: weather.name)
def opened(request: pytest.FixtureRequest, engine: AsyncEngine, database_url: str) -> Opened:
    """Opens a stage: in calm weather, with an endpoint of before basil, and in a storm of both shapes."""
    return partial(opening, engine, database_url, weather=request.param)


async def told(stage: Stage) -> dict[str, Json]:
    """The letters so far, by key; those that were sent can be read."""
    await stage.settle()
    found = await letters(stage.engine)
    for one in found.values():
        if one["status"] == "sent":
            assert written(one).subject == one["subject"]
    return found


def kinds(found: dict[str, Json]) -> list[str]:
    return sorted(one["template"] for one in found.values())


async def test_who_pays_is_refunded_and_disputes(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Yui Tanaka", preferred_locales=["ja"], metadata={"timezone": "Asia/Tokyo"})
        await subscribe(stage, payer, await plan(stage, 4900, currency="jpy"))
        found = await told(stage)
        assert kinds(found) == ["receipt"]
        (receipt,) = found.values()
        assert (receipt["recipient"], receipt["status"], receipt["locale"]) == ("yui@example.com", "sent", "ja")
        assert "4,900" in receipt["subject"]
        charge = await latest_charge(stage, payer)
        await stage.v1.refunds.create_async({"charge": charge, "amount": 900})
        assert kinds(await told(stage)) == ["receipt", "refund"]
        await stage.act(f"charges/{charge}/dispute", reason="fraudulent")
        found = await told(stage)
        assert kinds(found) == ["dispute_notice", "receipt", "refund"]
        dispute = next(one for one in found.values() if one["template"] == "dispute_notice")
        assert dispute["reason"] == "BILLING_OPERATORS_MAIL is not set: set it to hear of this by mail"
        await stage.until(2026, 3, 6)
        found = await told(stage)
        assert kinds(found) == ["dispute_notice", "receipt", "receipt", "receipt", "refund"]
        assert {one["copies"] for one in found.values() if one["status"] == "sent"} == {1}


async def test_a_trial_ends_and_is_paid_for(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Jean Petit", preferred_locales=["fr-CA"])
        await subscribe(stage, payer, await plan(stage, 1900, "Starter", currency="eur"), trial_period_days=14)
        await subscribe(
            stage,
            payer,
            await plan(stage, 100, "Other", currency="eur"),
            trial_period_days=14,
            cancel_at_period_end=True,
        )
        await stage.until(2026, 1, 15)
        assert kinds(await told(stage)) == []
        await stage.until(2026, 1, 16, 14)
        await stage.simulation.flush()
        found = await told(stage)
        assert kinds(found) == ["trial_ending"]
        (letter,) = found.values()
        assert letter["context"]["product"] == "Starter"
        assert letter["context"]["amount"] == {"amount": 1900, "currency": "eur"}
        assert letter["context"]["method"]["last4"] == "4242"
        await stage.until(2026, 1, 20)
        assert kinds(await told(stage)) == ["receipt", "trial_ending"]
