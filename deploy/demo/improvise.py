"""Where the written story is too slow to watch, in real time, something small happens every few seconds."""

import random
from collections.abc import Sequence

from deploy.demo.acts import Act, Beat, CardTrouble, ChangePlan, ChangeSeats, NewCard, Refund, SignUp
from deploy.demo.company import BUSINESS, MONTH, PLANS, STARTER, TEAM
from deploy.demo.people import Street
from deploy.demo.shop import Customer, Shop

SECONDS = 3, 8
"""Between two beats, at least and at most."""


class Improviser:
    """Makes beats up, from who is there."""

    def __init__(self, seed: int, shop: Shop) -> None:
        """`shop` has the customers."""
        self._chance = random.Random(f"{seed}.improvised")
        self._street = Street(self._chance)
        self._shop = shop
        self._visitors = 0

    def pause(self) -> float:
        """Seconds until the next beat."""
        return self._chance.uniform(*SECONDS)

    def beat(self, at: int) -> Beat:
        """Something that happens now."""
        regulars = [who for who in self._shop.customers if not who.startswith("partner")]
        if not regulars or self._chance.random() < 0.35:  # noqa: PLR2004 - about every third is somebody new
            self._visitors += 1
            return Beat(at, 0, f"visitor {self._visitors}", self._sign_up())
        who = self._chance.choice(regulars)
        return Beat(at, 0, who, self._chance.choice(self._acts(self._shop.customers[who])))

    def _sign_up(self) -> SignUp:
        plan = self._chance.choice(PLANS)
        trial = self._chance.random() < 0.4  # noqa: PLR2004 - fewer than in the written story: a sale is nicer to watch
        return SignUp(
            self._street.meet(), plan, MONTH, plan.seats, checkout=not trial, trial=trial, card="pm_card_visa"
        )

    def _acts(self, customer: Customer) -> Sequence[Act]:
        acts: list[Act] = [
            NewCard("pm_card_mastercard"),
            Refund(25, "requested_by_customer"),
            CardTrouble("insufficient_funds", 1),
        ]
        if customer.plan is not STARTER:
            acts += [ChangeSeats(self._chance.randint(1, 3)), ChangeSeats(1)]
        if customer.plan is not BUSINESS:
            better = TEAM if customer.plan is STARTER else BUSINESS
            acts.append(ChangePlan(better, MONTH, better.seats))
        return acts
