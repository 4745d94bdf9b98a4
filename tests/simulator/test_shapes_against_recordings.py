"""The simulator's objects have the fields and types of those that Stripe really answered, in new and old shapes."""

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest

from deploy.demo.simulator.render import CURRENT, render
from tests.conftest import PAYLOADS
from tests.simulator import recordings
from tests.simulator.life import OLD, lived
from tests.simulator.recordings import BASIL, CLOVER, Json, inside

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the recorded payloads are not here")

CHARGES_LATER = "2022-11-15"
"""Since then a payment intent has `latest_charge`, and lists of charges and refunds are shown only when expanded."""

NOT_OURS = {
    "account", "balance", "bank_account", "billing_portal.session", "card", "mandate", "person",
    "subscription_schedule", "transfer",
}  # fmt: skip
"""Recorded kinds that the simulator does not have."""

WAYS_TO_PAY = {
    "acss_debit", "afterpay_clearpay", "alipay", "bancontact", "boleto", "eps", "fpx", "giropay", "grabpay", "ideal",
    "oxxo", "p24", "sofort", "wechat_pay",
}  # fmt: skip
"""Each payment method shows its own; ours are cards and debits."""

NOT_SHOWN: dict[str, set[str]] = {
    "charge": {"refunds"},  # only when expanded; the recordings asked for it
    "customer": {"invoice_credit_balance", "tax"},  # only when expanded
    "invoice": {"confirmation_secret", "payments"},  # only when expanded
    "payment_method": WAYS_TO_PAY,
}
"""Recorded fields that we do not show, each with its reason."""

SINCE_SHOWN: dict[str, set[str]] = {
    "credit_note": {"customer_account"},
    "credit_note_line_item": {"metadata"},
    "discount": {"customer_account"},
    "invoice": {"amount_paid_off_stripe", "status_details"},
    "invoiceitem": {"net_amount", "proration_details"},
    "refund": {"customer", "customer_account", "payment_method"},
    "setup_intent": {"customer_account"},
    "subscription": {"billing_schedules", "managed_payments", "status_details"},
    "subscription_item": {"billed_until", "current_trial"},
}
"""What we show that no recording has: the SDK of the current version names it, the recordings are older."""

SOMETIMES: dict[str, set[str]] = {
    "refund": {"failure_balance_transaction", "failure_reason"},  # of a refund that failed; none was recorded
}
"""What only some objects show, none of them recorded."""


def kind_of(value: Any) -> str:
    """JSON's types; a whole number is a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {"str": "text", "list": "list", "dict": "object"}[type(value).__name__]


def fitting(recorded: set[str]) -> set[str]:
    """The types that a field of these recorded types may have: what was recorded expanded is an id before."""
    return recorded | {"null", "text"} if "object" in recorded else recorded | {"null"}


Table = dict[str, dict[str, set[str]]]


def table(found: Iterable[tuple[str, Json]]) -> Table:
    """By kind and field: the types that were seen."""
    made: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for kind, obj in found:
        for name, value in obj.items():
            made[kind][name].add(kind_of(value))
    return {kind: dict(fields) for kind, fields in made.items()}


@cache
def ours(version: str) -> Table:
    """Every object of the life, as it is now and as its events showed it."""
    account = lived().api.account
    now = (render(account, row, version) for rows in account.store.kinds().values() for row in rows)
    then = (event.body(version, 0)["data"]["object"] for event in account.events.values())
    return table(one for shown in (*now, *then) for one in inside(shown))


@cache
def theirs(first: str, end: str) -> Table:
    """Every recorded object of the versions from `first` to before `end`."""
    return table((one.kind, one.shown) for one in recordings.objects() if first <= one.version < end)


@cache
def recent() -> Table:
    """Clover and later."""
    return theirs(CLOVER, "9")


@pytest.mark.parametrize("kind", sorted(recent()) if PAYLOADS.is_dir() else [])
def test_every_recorded_field_is_shown_and_no_other(kind: str) -> None:
    if kind in NOT_OURS:
        assert kind not in ours(CURRENT)
        return
    recorded, shown = recent()[kind].keys(), ours(CURRENT)[kind].keys()
    assert recorded - shown - NOT_SHOWN.get(kind, set()) == set()
    assert shown - recorded - SINCE_SHOWN.get(kind, set()) - SOMETIMES.get(kind, set()) == set()


def test_the_exceptions_are_still_exceptions() -> None:
    for kind, fields in SINCE_SHOWN.items():
        assert fields & recent()[kind].keys() == set(), kind
    for kind, fields in NOT_SHOWN.items():
        assert fields & ours(CURRENT)[kind].keys() == set(), kind


@pytest.mark.parametrize("kind", sorted(recent().keys() - NOT_OURS) if PAYLOADS.is_dir() else [])
def test_values_have_the_recorded_types(kind: str) -> None:
    told: list[str] = []
    for name, types in recent()[kind].items():
        if types != {"null"} and (odd := ours(CURRENT)[kind].get(name, set()) - fitting(types)):
            told.append(f"{kind}.{name}: {odd} where Stripe has {types}")
    assert told == []


GONE_WITH_BASIL: dict[str, set[str]] = {
    "invoice": {"subscription", "subscription_details", "payment_intent", "charge", "paid", "paid_out_of_band", "tax",
                "total_tax_amounts", "discount"},
    "line_item": {"price", "plan", "proration", "tax_amounts"},
    "subscription": {"current_period_start", "current_period_end", "discount"},
    "charge": {"invoice"},
    "payment_intent": {"invoice"},
    "credit_note": {"refund", "tax_amounts"},
    "checkout.session": {"shipping_details"},
}  # fmt: skip
"""Before basil there were these, and none of those that replaced them."""

CAME_WITH_BASIL: dict[str, set[str]] = {
    "invoice": {"parent", "total_taxes", "amount_overpaid"},
    "line_item": {"parent", "pricing", "taxes"},
}

TYPES_BEFORE: dict[str, dict[str, str]] = {
    "invoice": {"subscription": "text", "payment_intent": "text", "charge": "text", "paid": "boolean", "tax": "number",
                "total_tax_amounts": "list", "paid_out_of_band": "boolean", "subscription_details": "object"},
    "line_item": {"price": "object", "plan": "object", "proration": "boolean", "tax_amounts": "list"},
    "subscription": {"current_period_start": "number", "current_period_end": "number"},
    "charge": {"invoice": "text"},
    "payment_intent": {"invoice": "text"},
    "credit_note": {"refund": "text", "tax_amounts": "list"},
}  # fmt: skip


@pytest.mark.parametrize("kind", GONE_WITH_BASIL)
def test_before_basil_the_old_fields_are_there_and_the_new_ones_are_not(kind: str) -> None:
    old = ours(OLD)[kind]
    assert GONE_WITH_BASIL[kind] - old.keys() == set()
    assert GONE_WITH_BASIL[kind] & ours(CURRENT)[kind].keys() == set()
    assert CAME_WITH_BASIL.get(kind, set()) & old.keys() == set()
    for name, wanted in TYPES_BEFORE.get(kind, {}).items():
        assert wanted in old[name], name
        assert old[name] <= {wanted, "null"}, name


def test_an_old_discount_holds_its_coupon() -> None:
    assert ours(OLD)["discount"]["coupon"] == {"object"}
    assert "coupon" not in ours(CURRENT)["discount"]


BOTH = "2024-12-18.acacia"
"""From here to basil the recordings show the old fields and the new ones beside them."""

BRIEFLY = {"invoice": {"rendering_options"}}
"""Shown in 2022, and gone before the version that we render."""


def test_old_objects_have_the_fields_that_were_recorded_then() -> None:
    """Of the versions for which our old rendering stands: after charges moved, before basil began to show."""
    lacking: dict[str, set[str]] = {}
    for kind, fields in theirs(CHARGES_LATER, BOTH).items():
        if kind not in NOT_OURS:
            lacking[kind] = (
                fields.keys() - ours(OLD)[kind].keys() - BRIEFLY.get(kind, set()) - NOT_SHOWN.get(kind, set())
            )
    assert {kind: fields for kind, fields in lacking.items() if fields} == {}


def test_old_values_have_the_types_that_were_recorded_then() -> None:
    told: list[str] = []
    for kind, fields in theirs("2020", BASIL).items():
        for name, types in fields.items():
            odd = ours(OLD).get(kind, {}).get(name, set()) - fitting(types)
            if types != {"null"} and odd:
                told.append(f"{kind}.{name}: {odd} where Stripe had {types}")
    assert told == []
