"""Stories of single payments: cards that are tried again, sums that are reserved first, debits that take days."""

from typing import Any

import pytest
import stripe

from tests.scenarios.acts import customer
from tests.scenarios.conftest import Opened, at
from tests.scenarios.kit import Stage


async def ask(stage: Stage, owner: str, amount: int, method: str, **more: Any) -> Any:
    """The company asks for a single payment by a method; the intent."""
    form = {"customer": owner, "amount": amount, "currency": "usd", "payment_method": method, "confirm": True}
    return await stage.v1.payment_intents.create_async(
        form | {"automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}} | more
    )


async def test_a_second_card_pays_what_the_first_did_not(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        owner = await customer(stage, "Nils Berg", card=None)
        with pytest.raises(stripe.CardError) as refused:
            await ask(stage, owner, 15_000, "pm_card_visa_chargeDeclinedExpiredCard")
        assert refused.value.code == "expired_card"
        await stage.books_agree()
        [failed] = await stage.rows("payment_history")
        assert (failed["status"], failed["failure_code"]) == ("failed", "expired_card")
        intent = failed["stripe_payment_intent_id"]
        await stage.v1.payment_intents.confirm_async(intent, {"payment_method": "pm_card_visa"})
        await stage.books_agree()
        rows = await stage.rows("payment_history", stripe_payment_intent_id=intent)
        assert sorted(row["status"] for row in rows) == ["failed", "succeeded"]


async def test_a_sum_is_reserved_and_a_part_of_it_taken(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        owner = await customer(stage, "Vera Holm", card=None)
        intent = await ask(stage, owner, 20_000, "pm_card_visa", capture_method="manual")
        await stage.books_agree()
        [row] = await stage.rows("payment_history")
        assert (row["status"], row["captured"], row["amount_cents"]) == ("pending", False, 20_000)
        await stage.advance(days=2)
        await stage.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 12_500})
        await stage.books_agree()
        [charge] = await stage.rows("charges")
        assert (charge["captured"], charge["amount_captured_cents"]) == (True, 12_500)


async def test_a_reserved_sum_is_let_go(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        owner = await customer(stage, "Vera Holm", card=None)
        intent = await ask(stage, owner, 20_000, "pm_card_visa", capture_method="manual")
        await stage.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})
        await stage.books_agree()
        [row] = await stage.rows("payment_history")
        assert (row["status"], row["refund_amount_cents"]) == ("failed", 0)


async def test_an_intent_is_made_and_forgotten(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        owner = await customer(stage, "Paul Roth", card=None)
        made = await stage.v1.payment_intents.create_async({"customer": owner, "amount": 900, "currency": "eur"})
        await stage.books_agree()
        [row] = await stage.rows("payment_history")
        assert (row["status"], row["stripe_charge_id"]) == ("pending", None)
        await stage.advance(days=4)
        await stage.v1.payment_intents.cancel_async(made.id)
        await stage.books_agree()
        assert [row["status"] for row in await stage.rows("payment_history")] == ["failed"]
