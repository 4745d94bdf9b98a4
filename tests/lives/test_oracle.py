"""The oracle itself, against numbers that a person worked out."""

import pytest

from tests.lives.oracle import Row, books
from tests.lives.play import Moment, named, play
from tests.lives.shapes import Shape
from tests.lives.stripe_world import World


def _payments(world: World) -> list[tuple[str, int, int]]:
    rows: list[Row] = list(books(world, [])["payment_history"].values())
    return [(row["status"], row["amount_cents"], row["refund_amount_cents"]) for row in rows]


def _mrr(*moments: tuple[str, int]) -> int:
    world = play([(0, name, number) for name, number in moments])
    (row,) = books(world, [])["subscriptions"].values()
    return row["mrr_cents"]


@pytest.mark.parametrize(
    ("moments", "cents"),
    [
        ([("sign_up", 0)], 1999),
        ([("sign_up", 1)], 2 * 4900),
        ([("sign_up", 2)], 3 * 19900 // 12),
        ([("sign_up", 3)], 1667),  # 50.00 for three months
        ([("sign_up", 4)], 2501),  # 2 x 12.505, half up
        ([("sign_up", 1), ("give_discount", 0)], 7350),  # a quarter off, for ever
        ([("sign_up", 1), ("give_discount", 1)], 9300),  # 5.00 off, for ever
        ([("sign_up", 3), ("give_discount", 1)], 1500),  # 5.00 off each three months
        ([("sign_up", 1), ("give_discount", 2)], 4900),  # half off, for three months
        ([("sign_up", 1), ("give_discount", 3)], 9800),  # once
        ([("try_out", 1)], 0),
        ([("sign_up", 1), ("renew_in_vain", 0)], 9800),
        ([("sign_up", 1), ("cancel_at_period_end", 0)], 9800),
        ([("sign_up", 1), ("cancel", 1)], 0),
        ([("sign_up", 7), ("renew_in_vain", 0), ("exhaust", 2)], 0),
    ],
)
def test_mrr(moments: list[tuple[str, int]], cents: int) -> None:
    assert _mrr(*moments) == cents


def test_a_repeating_discount_runs_out_after_its_months() -> None:
    """It ends an hour after the third renewal was due: the subscription still names it, but it no longer applies."""
    story = [("sign_up", 1), ("give_discount", 2)]
    assert [_mrr(*story, *[("renew", 0)] * n) for n in range(5)] == [4900, 4900, 4900, 9800, 9800]


@pytest.mark.parametrize(
    ("moments", "payments"),
    [
        ([("buy", 2)], [("failed", 2700, 0), ("failed", 2700, 0), ("succeeded", 2700, 0)]),
        ([("buy", 0), ("refund_part", 1)], [("partially_refunded", 2500, 833)]),
        ([("buy", 0), ("refund_part", 0)], [("partially_refunded", 2500, 833 + 625)]),
        ([("buy", 0), ("refund_part", 1), ("refund_rest", 0)], [("refunded", 2500, 2500)]),
        ([("buy", 0), ("refund_part", 1), ("refund_bounces", 0)], [("succeeded", 2500, 0)]),
        ([("buy", 0), ("dispute", 0)], [("disputed", 2500, 0)]),
        ([("buy", 0), ("dispute", 0), ("dispute_goes_on", 0)], [("succeeded", 2500, 0)]),
        ([("buy", 0), ("dispute", 0), ("dispute_goes_on", 1)], [("disputed", 2500, 0)]),
        ([("abandon", 0)], [("pending", 4200, 0)]),
        ([("abandon", 3)], [("failed", 4200, 0)]),
        ([("buy_by_3ds", 0)], [("failed", 7700, 0)]),
        ([("pay_by_bank", 2)], [("pending", 9900, 0)]),
        ([("authorize", 3)], [("pending", 5500, 0)]),
        ([("authorize", 1)], [("failed", 5500, 0)]),
        ([("authorize", 0)], [("succeeded", 5500, 0)]),
    ],
)
def test_payments(moments: list[tuple[str, int]], payments: list[tuple[str, int, int]]) -> None:
    story: list[Moment] = [(0, name, number) for name, number in moments]
    assert _payments(play(story)) == payments


def test_a_link_is_known_when_an_event_told_it() -> None:
    world = named("exhausted_void")
    of_shape = {
        shape: books(world, [event.told(shape) for event in world.events])["payment_history"] for shape in Shape
    }
    assert [row["invoice"] is not None for row in of_shape[Shape.OLD].values()] == [True, True, True]
    assert [row["invoice"] is not None for row in of_shape[Shape.NEW].values()] == [True, False, False]
