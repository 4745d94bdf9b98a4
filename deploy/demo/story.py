"""The story is played: each beat becomes calls to Stripe, and a sentence that tells what came of it."""

import logging
from collections import Counter
from dataclasses import dataclass, field

from deploy.demo.acts import (
    AddCard,
    Beat,
    Cancel,
    CardTrouble,
    Challenge,
    ChangePlan,
    ChangeSeats,
    Confirm,
    Dispute,
    NewCard,
    PartnerCredit,
    PartnerInvoice,
    PartnerPays,
    Pause,
    Refund,
    Return,
    Ruling,
    SignUp,
    StayAfterAll,
)
from deploy.demo.scenes import buying, changing, partners, paying
from deploy.demo.shop import Shop
from deploy.demo.stripe_client import RefusedError

log = logging.getLogger(__name__)

PAYMENT_REQUIRED = 402
"""Stripe's status where the bank said no, which is a part of business."""


@dataclass(slots=True)
class Story:
    """Plays beats in a shop."""

    shop: Shop
    told: Counter[str] = field(default_factory=Counter[str])
    """How often each act was played."""

    refused: int = 0
    """Beats that Stripe refused, which a right story has none of; the log has them."""

    def play(self, beat: Beat) -> str | None:
        """Do it. Returns the sentence, or None when there was nothing to do (any more)."""
        begins = isinstance(beat.act, SignUp | PartnerInvoice)
        if not begins and beat.who not in self.shop.customers:
            return None
        try:
            line = self._play(beat)
        except RefusedError as error:
            if error.status == PAYMENT_REQUIRED:
                self.told["declined"] += 1
                why = error.error.get("decline_code") or error.error.get("code") or "declined"
                customer = self.shop.customers[beat.who]
                return f"{customer.called} tried to pay, and the bank declined ({str(why).replace('_', ' ')})"
            self.refused += 1
            log.exception("Stripe refused a part of the story: %s", beat)
            return None
        if line is not None:
            self.told[type(beat.act).__name__] += 1
        return line

    def _play(self, beat: Beat) -> str | None:  # noqa: C901, PLR0911, PLR0912 - one line for each act
        shop, who = self.shop, beat.who
        match beat.act:
            case SignUp() as act:
                return buying.sign_up(shop, who, act)
            case AddCard() as act:
                return buying.add_card(shop, who, act)
            case Return() as act:
                return buying.come_back(shop, who, act)
            case ChangePlan() as act:
                return changing.change_plan(shop, who, act)
            case ChangeSeats() as act:
                return changing.change_seats(shop, who, act)
            case Pause() as act:
                return changing.pause(shop, who, act)
            case Cancel() as act:
                return changing.cancel(shop, who, act)
            case StayAfterAll() as act:
                return changing.stay(shop, who, act)
            case CardTrouble() as act:
                return paying.trouble(shop, who, act)
            case NewCard() as act:
                return paying.new_card(shop, who, act)
            case Challenge() as act:
                return paying.challenge(shop, who, act)
            case Confirm() as act:
                return paying.confirm(shop, who, act)
            case Refund() as act:
                return paying.refund(shop, who, act)
            case Dispute() as act:
                return paying.dispute(shop, who, act)
            case Ruling() as act:
                return paying.ruling(shop, who, act)
            case PartnerInvoice() as act:
                return partners.invoice(shop, who, act)
            case PartnerPays() as act:
                return partners.pays(shop, who, act)
            case PartnerCredit() as act:
                return partners.credit(shop, who, act)
