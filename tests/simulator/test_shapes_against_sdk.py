"""Every object and every event of a rich life is what the official SDK's annotations say that Stripe sends."""

import re
from collections import defaultdict
from collections.abc import Iterator

import msgspec

from deploy.demo.simulator.render import CURRENT, render
from tests.simulator.annotations import Json, violations
from tests.simulator.life import lived, rich

KINDS = {
    "balance_transaction", "charge", "checkout.session", "coupon", "credit_note", "customer",
    "customer_balance_transaction", "discount", "dispute", "invoice", "invoice_payment", "invoiceitem",
    "payment_intent", "payment_method", "payout", "price", "product", "promotion_code", "radar.early_fraud_warning",
    "refund", "setup_intent", "subscription", "subscription_item", "tax_id", "tax_rate", "test_helpers.test_clock",
    "webhook_endpoint",
}  # fmt: skip
"""Of each the life must have some."""

STATES = {
    "invoice": {"draft", "open", "paid", "void", "uncollectible"},
    "subscription": {"incomplete", "incomplete_expired", "trialing", "active", "past_due", "paused", "canceled"},
    "charge": {"succeeded", "failed"},
    "dispute": {"needs_response", "won", "lost"},
    "refund": {"succeeded", "failed"},
    "checkout.session": {"open", "complete", "expired"},
    "payout": {"paid", "in_transit"},
    "credit_note": {"issued"},
}
"""And in each of these states, now or earlier."""


def told(found: Iterator[tuple[str, Json]]) -> dict[str, list[str]]:
    """The violations, each once without the numbers of rows, with up to three of the objects that have it."""
    by: defaultdict[str, list[str]] = defaultdict(list)
    for name, obj in found:
        for one in violations(obj):
            if one == "invoice.id: missing" and name.startswith("invoice.upcoming"):
                continue  # what is only to come has no id
            by[re.sub(r"\[\d+\]", "[]", one)].append(name)
    return {one: names[:3] for one, names in by.items()}


def shown() -> Iterator[tuple[str, Json]]:
    """Every object as it is now."""
    account = lived().api.account
    for rows in account.store.kinds().values():
        for row in rows:
            yield row["id"], render(account, row, CURRENT)


def sent() -> Iterator[tuple[str, Json]]:
    """Every event, and every object as it was then."""
    for event in lived().api.account.events.values():
        body = event.body(CURRENT, 0)
        yield f"{event.type} {event.id}", body
        yield f"{event.type} {event.id}", body["data"]["object"]


def test_every_kind_is_there_in_every_state() -> None:
    kinds = {str(obj["object"]) for _, obj in shown()}
    assert KINDS - kinds == set()
    states: defaultdict[str, set[str]] = defaultdict(set)
    for _, obj in (*shown(), *sent()):
        states[str(obj["object"])].add(str(obj.get("status")))
    assert {kind: wanted - states[kind] for kind, wanted in STATES.items() if wanted - states[kind]} == {}


def test_every_object_is_as_annotated() -> None:
    assert told(shown()) == {}


def test_every_event_is_as_annotated() -> None:
    assert told(sent()) == {}


def test_every_list_inside_an_object_is_a_list_of_stripes() -> None:
    """With its own address, which answers."""
    bad: list[str] = []
    for name, obj in shown():
        for field, value in obj.items():
            if isinstance(value, dict) and value.get("object") == "list" and not value["url"].startswith("/v1/"):  # pyright: ignore[reportUnknownMemberType] - JSON
                bad.append(f"{name}.{field}")
    assert bad == []


def test_the_same_seed_lives_the_same_rich_life() -> None:
    first, second = (
        msgspec.json.encode([event.body(CURRENT, 0) for event in life.api.account.events.values()])
        for life in (lived(), rich())
    )
    assert first == second
