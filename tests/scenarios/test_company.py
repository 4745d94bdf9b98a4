"""A company's half year that nobody wrote: customers come, change their minds, fail to pay, and leave, by chance."""

import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import stripe
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.scenarios.acts import customer, item_of, plan, put_card, subscribe
from tests.scenarios.conftest import CALM, OLD, STORMY, at
from tests.scenarios.kit import Stage, stage

CARDS = (
    "pm_card_visa",
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_chargeCustomerFail",
    "pm_card_authenticationRequired",
    "pm_card_createDispute",
)
MONTHS = 5
SEEDS = tuple(map(int, os.environ.get("SEEDS", "1").split(",")))


@dataclass
class Company:
    """A company, its plans and its customers; `dice` decides what happens."""

    stage: Stage
    dice: random.Random
    plans: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By interval: the prices."""
    customers: dict[str, str] = field(default_factory=dict[str, str])
    """By customer: the subscription."""

    async def open(self) -> None:
        """Plans of several sizes, and a coupon for new customers."""
        for amount, every in ((1900, "month"), (4900, "month"), (9900, "month"), (49_000, "year"), (700, "week")):
            self.plans.setdefault(every, []).append(await plan(self.stage, amount, f"Plan {amount}", every=every))
        await self.stage.v1.coupons.create_async(
            {"id": "WELCOME", "percent_off": 33.3, "duration": "repeating", "duration_in_months": 2}
        )
        await self.stage.v1.coupons.create_async(
            {"id": "SORRY", "amount_off": 1500, "currency": "usd", "duration": "once"}
        )

    async def arrive(self) -> None:
        """Somebody new subscribes, some with a trial, some with the coupon, some by invoice."""
        owner = await customer(self.stage, f"Customer{len(self.customers)}", card=self.dice.choice(CARDS))
        more: dict[str, Any] = self.dice.choice(
            (
                {},
                {"trial_period_days": self.dice.choice((7, 14))},
                {"discounts": [{"coupon": "WELCOME"}]},
                {"collection_method": "send_invoice", "days_until_due": 7},
            )
        )
        price, quantity = self._plan(*self.plans), self.dice.randint(1, 4)
        self.customers[owner] = await subscribe(self.stage, owner, price, quantity=quantity, **more)

    def _plan(self, *intervals: str) -> str:
        return self.dice.choice(self.plans[self.dice.choice(intervals)])

    async def _fitting(self, sub: str, *, beside: bool) -> str:
        """A price that fits: shapes before basil have one period for all items, so all are billed as often."""
        items = (await self.stage.v1.subscription_items.list_async({"subscription": sub})).data
        alone = len(items) == 1 and not beside
        return self._plan(*self.plans if alone else (items[0].price.recurring.interval,))

    def _some(self) -> tuple[str, str]:
        return self.dice.choice(sorted(self.customers.items()))

    async def change_plan(self) -> None:
        """Another plan, at once or with the next invoice."""
        _, sub = self._some()
        items = [{"id": await item_of(self.stage, sub), "price": await self._fitting(sub, beside=False)}]
        how = self.dice.choice(("create_prorations", "always_invoice", "none"))
        await self.stage.v1.subscriptions.update_async(sub, {"items": items, "proration_behavior": how})

    async def change_seats(self) -> None:
        """More seats, or fewer."""
        _, sub = self._some()
        items = [{"id": await item_of(self.stage, sub), "quantity": self.dice.randint(1, 9)}]
        await self.stage.v1.subscriptions.update_async(sub, {"items": items})

    async def change_card(self) -> None:
        """Another card, which may work or not."""
        owner, _ = self._some()
        await put_card(self.stage, owner, self.dice.choice(CARDS))

    async def leave(self) -> None:
        """Now, or when the period ends."""
        _, sub = self._some()
        if self.dice.random() < 0.5:
            await self.stage.v1.subscriptions.update_async(sub, {"cancel_at_period_end": True})
        else:
            await self.stage.v1.subscriptions.cancel_async(sub)

    async def pause(self) -> None:
        """No money is collected for a while, or it is again."""
        _, sub = self._some()
        behavior = self.dice.choice(("void", "keep_as_draft", "mark_uncollectible", None))
        await self.stage.v1.subscriptions.update_async(
            sub, {"pause_collection": {"behavior": behavior} if behavior else ""}
        )

    async def add_on(self) -> None:
        """Something else beside the plan."""
        _, sub = self._some()
        form = {"subscription": sub, "price": await self._fitting(sub, beside=True)}
        await self.stage.v1.subscription_items.create_async(form | {"quantity": self.dice.randint(1, 3)})

    async def apologize(self) -> None:
        """The next invoice is lower, once."""
        _, sub = self._some()
        await self.stage.v1.subscriptions.update_async(sub, {"discounts": [{"coupon": "SORRY"}]})

    async def forget(self) -> None:
        """A customer is deleted with all that is open."""
        owner, _ = self._some()
        if self.dice.random() < 0.2 and len(self.customers) > 3:
            await self.stage.v1.customers.delete_async(owner)
            del self.customers[owner]

    async def refund(self) -> None:
        """Some money goes back."""
        owner, _ = self._some()
        for charge in (await self.stage.v1.charges.list_async({"customer": owner})).data[:1]:
            left = charge.amount_captured - charge.amount_refunded
            if left > 0:
                amount = self.dice.choice((left, max(left // 3, 1)))
                await self.stage.v1.refunds.create_async({"charge": charge.id, "amount": amount})

    async def pay(self) -> None:
        """An open invoice is paid: by the card again, or by the bank."""
        owner, _ = self._some()
        for invoice in (await self.stage.v1.invoices.list_async({"customer": owner, "status": "open"})).data[:1]:
            if self.dice.random() < 0.5:
                await self.stage.v1.invoices.pay_async(invoice.id)
            else:
                await self.stage.v1.invoices.pay_async(invoice.id, {"paid_out_of_band": True})

    async def credit(self) -> None:
        """An invoice was too high."""
        owner, _ = self._some()
        for invoice in (await self.stage.v1.invoices.list_async({"customer": owner, "status": "paid"})).data[:1]:
            if invoice.amount_paid > 300 and invoice.post_payment_credit_notes_amount == 0:
                await self.stage.v1.credit_notes.create_async(
                    {"invoice": invoice.id, "amount": 300, "credit_amount": 300}
                )

    async def answer(self) -> None:
        """A customer is asked by the bank, and answers."""
        owner, _ = self._some()
        for intent in (await self.stage.v1.payment_intents.list_async({"customer": owner})).data:
            if intent.status == "requires_action":
                outcome = self.dice.choice(("succeed", "succeed", "fail"))
                await self.stage.act(f"payment_intents/{intent.id}/authenticate", outcome=outcome)
                return

    async def judge(self) -> None:
        """A bank decides a dispute."""
        for dispute in (await self.stage.v1.disputes.list_async()).data:
            if dispute.status == "needs_response":
                await self.stage.act(f"disputes/{dispute.id}/close", outcome=self.dice.choice(("won", "lost")))
                return

    async def something(self) -> None:
        """One thing happens; what Stripe refuses, does not."""
        arrive, others = self.arrive, self._others()
        act: Callable[[], Awaitable[None]] = arrive if self.dice.random() < 0.2 else self.dice.choice(others)
        try:
            await act()
        except stripe.StripeError as refused:
            assert refused.http_status in {400, 402, 404}, repr(refused)  # noqa: PT017 - what was refused did not happen
            await self._leave_alone()

    async def _leave_alone(self) -> None:
        """Nobody asks those again who have left."""
        for owner, sub in sorted(self.customers.items()):
            found = await self.stage.v1.subscriptions.retrieve_async(sub)
            if found.status == "canceled" and len(self.customers) > 2:
                del self.customers[owner]

    def _others(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.change_plan, self.change_seats, self.change_card, self.leave, self.pause, self.refund, self.pay,
            self.credit, self.answer, self.judge, self.add_on, self.apologize, self.forget,
        ]  # fmt: skip


@pytest.mark.parametrize("weather", [CALM, OLD, STORMY], ids=lambda weather: weather.name)
@pytest.mark.parametrize("seed", SEEDS)
async def test_half_a_year(engine: AsyncEngine, database_url: str, weather: Any, seed: int) -> None:
    opened = partial(stage, engine, database_url, weather=replace(weather, seed=seed))
    async with opened(at(2026, 1, 30)) as played:
        company = Company(played, random.Random(seed))  # noqa: S311 - a test's dice; the seed is in its name
        await company.open()
        for _ in range(4):
            await company.arrive()
        for _ in range(MONTHS):
            for _ in range(8):
                await company.something()
                await played.advance(hours=company.dice.randint(1, 180))
            await played.books_agree()
