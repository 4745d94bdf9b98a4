"""Lives are played: a list of steps becomes a world with its events; and hypothesis draws such lists."""

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from tests.lives import invoice_steps, payment_steps, subscription_steps
from tests.lives.life import STEPS, Life, begin
from tests.lives.stripe_world import HOUR, World

Moment = tuple[int, str, int]
"""Whose life, which step, which variation of it."""

modules = (invoice_steps, payment_steps, subscription_steps)

NAMED: dict[str, list[tuple[str, int]]] = {
    "sign_up_and_renewals": [("sign_up", 0), ("renew", 0), ("renew", 1), ("cancel_at_period_end", 0), ("cancel", 0)],
    "recovered": [("sign_up", 1), ("renew_in_vain", 0), ("retry_in_vain", 1), ("retry_in_vain", 2), ("recover", 1)],
    "exhausted_uncollectible": [("sign_up", 2), ("renew_in_vain", 1), ("retry_in_vain", 0), ("exhaust", 0)],
    "exhausted_void": [("sign_up", 4), ("renew_in_vain", 1), ("exhaust", 1)],
    "unpaid_then_recovered": [("sign_up", 0), ("renew_in_vain", 2), ("exhaust", 2), ("recover", 0)],
    "trial_converts": [("try_out", 1), ("trial_ends", 0), ("renew", 0)],
    "trial_pauses_and_resumes": [("try_out", 1), ("trial_ends", 1), ("resume", 0)],
    "trial_ends": [("try_out", 1), ("trial_ends", 2)],
    "three_d_secure": [("sign_up_by_3ds", 1), ("confirm", 0), ("renew", 0)],
    "three_d_secure_expires": [("sign_up_by_3ds", 1), ("confirm", 1), ("sign_up", 1)],
    "upgrade_and_seats": [("sign_up", 0), ("change_plan", 1), ("change_quantity", 1), ("renew", 0), ("change_plan", 2)],
    "many_items": [("sign_up", 3), ("change_quantity", 0), ("renew", 1)],
    "discounts": [("sign_up", 1), ("give_discount", 0), ("renew", 0), ("end_discount", 0), ("give_discount", 2)],
    "customer_discount": [("sign_up", 1), ("discount_customer", 0), ("give_discount", 1), ("end_discount", 0)],
    "customer_discount_ends": [("discount_customer", 1), ("sign_up", 1), ("renew", 0), ("discount_customer", 1)],
    "repeating_runs_out": [("sign_up", 1), ("give_discount", 2)] + [("renew", 0)] * 4,
    "repeating_runs_out_in_silence": [("sign_up", 1), ("give_discount", 2)] + [("renew", 0)] * 3,
    "collection_pauses": [("sign_up", 1), ("pause_collection", 0), ("renew", 0), ("pause_collection", 0)],
    "refunds": [("buy", 0), ("refund_part", 0), ("refund_part", 1), ("refund_rest", 0)],
    "refund_bounces": [
        ("buy", 2),
        ("refund_part", 1),
        ("refund_bounces", 0),
        ("refund_part", 2),
        ("refund_bounces", 1),
    ],
    "dispute_won": [("sign_up", 0), ("refund_part", 1), ("dispute", 0), ("dispute_goes_on", 0)],
    "dispute_lost": [("buy", 1), ("dispute", 1), ("dispute_goes_on", 1)],
    "inquiry": [("buy", 0), ("dispute", 2), ("dispute_goes_on", 0)],
    "purchases": [("buy", 2), ("buy", 4), ("abandon", 0), ("abandon", 1), ("abandon", 2), ("buy_by_3ds", 0)],
    "banks_and_holds": [("pay_by_bank", n) for n in range(3)] + [("authorize", n) for n in range(4)],
    "direct_charges": [("charge_directly", n) for n in range(3)] + [("refund_part", 0)],
    "sent_invoices": [("send_invoice", 0), ("pay_invoice", 0), ("send_invoice", 1), ("pay_invoice", 1)],
    "given_up_invoices": [("send_invoice", 2), ("give_up_invoice", 0), ("pay_invoice", 1), ("correct_invoice", 2)],
    "voided_invoice": [("send_invoice", 2), ("give_up_invoice", 1), ("annotate_invoice", 0)],
    "leaves": [("sign_up", 6), ("edit_customer", 1), ("register_for_tax", 0), ("change_card", 0), ("leave", 0)],
}
"""Lives that a person can name."""


def play(moments: Sequence[Moment], *, customers: int = 1, tag: str = "a", still: bool = False) -> World:
    """Play the steps of several customers, one after the other, an hour apart; or all within one second."""
    world = World(tag, still)
    lives: list[Life] = [begin(world, number) for number in range(customers)]
    for whose, name, number in moments:
        world.wait(HOUR)
        STEPS[name](lives[whose % customers], number)
    world.wait(HOUR)
    return world


def named(name: str, *, tag: str = "a") -> World:
    """One of the lives that have a name."""
    return play([(0, step, number) for step, number in NAMED[name]], tag=tag)


def seeded(seed: int, *, customers: int, steps: int, tag: str = "a") -> World:
    """A world drawn from a seed, for tests that want many events rather than small examples."""
    dice = random.Random(seed)  # noqa: S311 - a test's dice, from a seed that is printed
    names = sorted(STEPS)
    moments = [(n, "sign_up", dice.randrange(12)) for n in range(customers)]
    moments += [(dice.randrange(customers), dice.choice(names), dice.randrange(12)) for _ in range(steps)]
    return play(moments, customers=customers, tag=tag)


def moments(max_size: int = 8) -> st.SearchStrategy[list[Moment]]:
    """Steps at random; those that do not apply do nothing, so that a failing example shrinks well."""
    one = st.tuples(st.integers(0, 1), st.sampled_from(sorted(STEPS)), st.integers(0, 11))
    first = st.tuples(st.just(0), st.sampled_from(["sign_up", "try_out", "buy", "send_invoice"]), st.integers(0, 11))
    return st.tuples(first, st.lists(one, max_size=max_size)).map(lambda pair: [pair[0], *pair[1]])
