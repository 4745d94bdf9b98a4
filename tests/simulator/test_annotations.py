"""The check against the SDK's annotations finds what is wrong, and nothing else."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import PAYLOADS
from tests.simulator.annotations import Json, classes, fields, violations

NEWER = {
    "invoice.lines.data[].subtotal: missing",
    "invoiceitem.quantity_decimal: missing",
    "subscription.billing_schedules: missing",
    "subscription.latest_invoice.lines.data[].subtotal: missing",
    "dispute.evidence_details.submission_method: missing",
    "subscription_schedule.pause_schedules: missing",
}
"""Fields that came after the recording, before the version that the SDK annotates."""

OLDER = {"invoice.subscription: not a field of Invoice"}
"""Stripe's own fixture of an invoice still shows what basil took away."""

RECURRING: Json = {
    "interval": "month",
    "interval_count": 1,
    "meter": None,
    "trial_period_days": None,
    "usage_type": "licensed",
}

PRICE: Json = {
    "id": "price_1",
    "object": "price",
    "active": True,
    "billing_scheme": "per_unit",
    "created": 1,
    "currency": "usd",
    "custom_unit_amount": None,
    "livemode": False,
    "lookup_key": None,
    "metadata": {"plan": "team"},
    "nickname": None,
    "product": "prod_1",
    "recurring": RECURRING,
    "tax_behavior": "unspecified",
    "tiers_mode": None,
    "transform_quantity": None,
    "type": "recurring",
    "unit_amount": 2000,
    "unit_amount_decimal": "2000",
}

RECORDED = [
    file
    for folder in ("objects-clover", "objects-openapi-2026-07-29")
    for file in sorted((PAYLOADS / folder).glob("*"))
]


def test_what_is_right_is_found_right() -> None:
    assert violations(PRICE) == []
    assert violations({"id": "cus_1", "object": "customer", "deleted": True}) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"type": "monthly"}, "price.type: 'monthly' is none of 'one_time', 'recurring'"),
        ({"colour": "blue"}, "price.colour: not a field of Price"),
        ({"created": "1"}, "price.created: str where int belongs"),
        ({"created": True}, "price.created: bool where int belongs"),
        ({"active": 1}, "price.active: int where bool belongs"),
        ({"livemode": None}, "price.livemode: null where bool belongs"),
        ({"unit_amount_decimal": 2000}, "price.unit_amount_decimal: int where Decimal belongs"),
        ({"unit_amount_decimal": "much"}, "price.unit_amount_decimal: str where Decimal belongs"),
        ({"metadata": {"plan": 7}}, "price.metadata.plan: int where str belongs"),
        ({"metadata": []}, "price.metadata: list where an object belongs"),
        ({"product": {"id": "prod_1", "object": "product", "deleted": 1}}, None),
        ({"recurring": "month"}, "price.recurring: str where Price.Recurring belongs"),
        ({"recurring": RECURRING | {"interval": "moon"}}, "price.recurring.interval: 'moon' is none of"),
        ({"tiers": [{"flat_amount": 1}, {"up_to": "inf"}]}, "price.tiers[1].up_to: str where int belongs"),
        ({"tiers": {"object": "list"}}, "price.tiers: dict where a list belongs"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change: Json, told: str | None) -> None:
    found = violations(PRICE | change)
    assert found
    assert told is None or (len(found) == 1 and found[0].startswith(told)), found


def test_a_missing_field_is_told() -> None:
    assert violations({name: value for name, value in PRICE.items() if name != "currency"}) == [
        "price.currency: missing"
    ]


def test_an_unknown_kind_is_told() -> None:
    assert violations({"id": "x", "object": "moonbeam"}) == ["moonbeam: no object of Stripe's"]


def test_every_violation_is_told_at_once() -> None:
    assert len(violations({"id": "price_1", "object": "price", "colour": "blue", "type": 1})) > 5


def test_lists_inside_are_checked_row_by_row() -> None:
    told = violations(
        {
            "id": "cus_1",
            "object": "customer",
            "created": 1,
            "livemode": False,
            "invoice_settings": {},
            "subscriptions": {"object": "list", "data": [{"object": "subscription"}], "has_more": 1, "more": 2},
        }
    )
    assert "customer.subscriptions.url: missing" in told
    assert "customer.subscriptions.more: not a field of a list" in told
    assert any(one.startswith("customer.subscriptions.data[0].items: missing") for one in told)


def test_every_annotation_of_the_sdk_is_understood() -> None:
    """The kinds that the simulator has, and those they hold; a new form of annotation in an upgrade is seen here."""
    for kind in ("invoice", "charge", "subscription", "checkout.session", "payment_method", "event", "dispute"):
        assert {"id", "object"} <= fields(classes()[kind]).keys()


def unnumbered(told: str) -> str:
    """A violation's place without the numbers of rows."""
    return re.sub(r"\[\d+\]", "[]", told)


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the recorded payloads are not here")
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_what_stripe_itself_sent_is_found_right(file: Path) -> None:
    told = {unnumbered(one) for one in violations(json.loads(file.read_text()))}
    assert told - NEWER - OLDER == set()
