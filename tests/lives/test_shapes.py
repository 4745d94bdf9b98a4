"""Our renderings are held against payloads that Stripe itself sent: no key of ours stands where Stripe has none."""

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.conftest import PAYLOADS
from tests.lives.play import named
from tests.lives.shapes import Json, Shape
from tests.lives.stripe_world import WorldEvent

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the recorded payloads are not here")

OLD, NEW = "events-2020-08-27", "objects-clover"

RECORDED = [
    ("sign_up_and_renewals", "invoice.paid", Shape.OLD, f"{OLD}/invoice.paid.json"),
    ("recovered", "invoice.payment_failed", Shape.OLD, f"{OLD}/invoice.payment_failed.json"),
    (
        "sign_up_and_renewals",
        "invoice.paid",
        Shape.NEW,
        f"{NEW}/object.invoice-2025-10-29.clover-paid-subscription_create.json",
    ),
    ("sign_up_and_renewals", "invoice.upcoming", Shape.NEW, "event-data/invoice.upcoming.json"),
    (
        "sign_up_and_renewals",
        "customer.subscription.updated",
        Shape.OLD,
        f"{OLD}/customer.subscription.updated.json",
    ),
    (
        "sign_up_and_renewals",
        "customer.subscription.updated",
        Shape.NEW,
        f"{NEW}/object.subscription-2025-10-29.clover-active.json",
    ),
    (
        "sign_up_and_renewals",
        "customer.subscription.deleted",
        Shape.NEW,
        f"{NEW}/object.subscription-2025-10-29.clover-canceled.json",
    ),
    ("recovered", "charge.failed", Shape.OLD, f"{OLD}/charge.failed.json"),
    ("refunds", "charge.refunded", Shape.OLD, f"{OLD}/charge.refunded.json"),
    ("recovered", "charge.succeeded", Shape.NEW, f"{NEW}/object.charge-2025-10-29.clover-succeeded.json"),
    ("recovered", "payment_intent.payment_failed", Shape.OLD, f"{OLD}/payment_intent.payment_failed.json"),
    (
        "recovered",
        "payment_intent.succeeded",
        Shape.NEW,
        f"{NEW}/object.payment_intent-2025-10-29.clover-succeeded.json",
    ),
    ("recovered", "customer.created", Shape.OLD, f"{OLD}/customer.created.json"),
    ("recovered", "customer.created", Shape.NEW, f"{NEW}/object.customer-2025-10-29.clover.json"),
    ("recovered", "payment_method.attached", Shape.OLD, f"{OLD}/payment_method.attached.json"),
    ("recovered", "payment_method.attached", Shape.NEW, f"{NEW}/object.payment_method-2025-10-29.clover.json"),
    ("recovered", "invoice_payment.paid", Shape.NEW, f"{NEW}/object.invoice_payment-2025-10-29.clover-paid.json"),
    ("refunds", "refund.updated", Shape.OLD, f"{OLD}/charge.refund.updated.json"),
    ("refunds", "refund.updated", Shape.NEW, f"{NEW}/object.refund-2025-10-29.clover-succeeded.json"),
    ("dispute_lost", "charge.dispute.created", Shape.OLD, f"{OLD}/charge.dispute.created.json"),
    ("discounts", "customer.discount.created", Shape.NEW, f"{NEW}/object.discount-2025-10-29.clover.json"),
    ("discounts", "coupon.created", Shape.NEW, "objects-openapi-2026-07-29/object.coupon.json"),
    ("discounts", "price.created", Shape.NEW, f"{NEW}/object.price-2025-10-29.clover.json"),
    ("discounts", "plan.created", Shape.OLD, f"{OLD}/plan.created.json"),
    ("discounts", "product.created", Shape.OLD, f"{OLD}/product.created.json"),
    (
        "given_up_invoices",
        "credit_note.created",
        Shape.NEW,
        f"{NEW}/object.credit_note-2025-10-29.clover-issued.json",
    ),
    ("dispute_lost", "checkout.session.completed", Shape.OLD, f"{OLD}/checkout.session.completed.json"),
]

ADDED_LATER = {
    "cancellation_details",  # to subscriptions of every version, 2023
    "currency",  # to subscriptions of every version, 2022
    "created",  # to checkout sessions of every version, 2022
    "invoice",  # to checkout sessions of every version, 2023
    "shipping_details",  # the old name in sessions between 2022-08 and basil
    "tax_behavior",
    "tiers_mode",  # the recorded plan is older than 2020-08-27
    "subscription_item",  # only in the lines of a subscription; the recorded line is an invoice item
}
"""Keys that Stripe added to old versions after these payloads were recorded."""


def _recorded(path: str) -> Json:
    found = cast("Json", json.loads((PAYLOADS / path).read_text()))
    data = found.get("data", found)  # a whole event, or its `data`, or the bare object
    held = cast("Json", data).get("object") if isinstance(data, dict) else None
    return cast("Json", held) if isinstance(held, dict) else found


def _event(life: str, kind: str) -> WorldEvent:
    return next(e for e in named(life).events if e.type == kind)


def _keys(value: Json, under: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with what it holds; of a list, the keys of its first element."""
    for key, held in value.items():
        path = f"{under}.{key}"
        yield path, held
        inner = cast("list[object]", held)[0] if isinstance(held, list) and held else cast("object", held)
        if isinstance(inner, dict) and not path.endswith("metadata"):
            yield from _keys(cast("Json", inner), path)


def _fits(ours: object, theirs: object) -> bool:
    """Of one type, where neither is empty; an answer may have expanded what a webhook names by its id."""
    if isinstance(ours, str) and isinstance(theirs, dict):
        return "id" in theirs
    return not ours or not theirs or isinstance(ours, type(theirs)) or {type(ours), type(theirs)} <= {int, float}


@pytest.mark.parametrize(("life", "kind", "shape", "path"), RECORDED)
def test_our_keys_stand_where_stripe_has_them(life: str, kind: str, shape: Shape, path: str) -> None:
    event = _event(life, kind)
    theirs = dict(_keys(_recorded(path)))
    for key, held in _keys(event.bodies[shape]):
        parent, _, name = key.rpartition(".")
        if parent and not theirs.get(parent):
            continue  # Stripe's sample is empty here
        if name in ADDED_LATER and key not in theirs:
            continue
        assert key in theirs, f"{key} is not in {path}"
        assert _fits(held, theirs[key]), f"{key}: {held!r} against {theirs[key]!r}"


TELLTALE = {
    "invoice.paid": (
        {"subscription", "payment_intent", "charge", "paid", "paid_out_of_band", "tax", "discount"},
        {"parent", "total_taxes", "amount_overpaid"},
    ),
    "customer.subscription.updated": ({"current_period_start", "current_period_end", "discount"}, {"discounts"}),
    "charge.succeeded": ({"invoice", "refunds"}, {"failure_balance_transaction"}),
    "payment_intent.succeeded": ({"invoice", "charges"}, {"latest_charge"}),
}


@pytest.mark.parametrize("kind", TELLTALE)
def test_each_shape_has_what_only_it_has(kind: str) -> None:
    only_old, only_new = TELLTALE[kind]
    event = _event("recovered", kind)
    assert only_old <= event.bodies[Shape.OLD].keys()
    assert not only_old & event.bodies[Shape.NEW].keys()
    assert only_new <= event.bodies[Shape.NEW].keys()
    assert not only_new & event.bodies[Shape.OLD].keys()


def test_the_shapes_between_the_two_have_of_both() -> None:
    intent, charge = (_event("recovered", f"{kind}.succeeded").bodies for kind in ("payment_intent", "charge"))
    assert {"invoice", "latest_charge"} <= intent[Shape.ACACIA].keys()
    assert "charges" not in intent[Shape.ACACIA]
    assert "refunds" not in charge[Shape.ACACIA]
    discounted = [e for e in named("discounts").events if e.type == "customer.subscription.updated"][1].bodies
    assert discounted[Shape.ACACIA]["discount"]["id"] == discounted[Shape.ACACIA]["discounts"][0]
    discount = _event("discounts", "customer.discount.created").bodies
    assert "coupon" in discount[Shape.BASIL]
    assert "source" not in discount[Shape.BASIL]


def test_since_basil_the_period_stands_in_the_items() -> None:
    event = _event("recovered", "customer.subscription.updated")
    assert "current_period_end" in event.bodies[Shape.NEW]["items"]["data"][0]
    assert "current_period_end" not in event.bodies[Shape.OLD]["items"]["data"][0]
