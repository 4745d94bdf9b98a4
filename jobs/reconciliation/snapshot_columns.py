"""Which changes that a fresh look makes in our books are differences to Stripe's, and of what class."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from db.ledger import Row
from db.snapshots import Held
from db.states import DifferenceClass
from jobs.derive.changes import same
from jobs.reconciliation.found import Difference

_STATUS, _AMOUNT, _PERIOD = DifferenceClass.STATUS, DifferenceClass.AMOUNT, DifferenceClass.PERIOD
_REFUND, _FEE = DifferenceClass.REFUND, DifferenceClass.FEE

_EVERYWHERE = {
    "currency": DifferenceClass.CURRENCY,
    "status": _STATUS,
    "deleted_at": _STATUS,
    "stripe_created_at": _PERIOD,
}
_WHOSE = {"stripe_customer_id": _STATUS}
_OF_CHARGE = {"stripe_charge_id": _STATUS}
_BOOKED = dict.fromkeys(("stripe_fee_cents", "net_amount_cents", "settlement_currency"), _FEE)

COLUMNS: Mapping[str, Mapping[str, DifferenceClass]] = {
    "charges": {
        **_EVERYWHERE,
        **_WHOSE,
        **_BOOKED,
        "captured": _STATUS,
        "refunded": _REFUND,
        "amount_refunded_cents": _REFUND,
        **dict.fromkeys(("amount_cents", "amount_captured_cents"), _AMOUNT),
    },
    "refunds": {**_EVERYWHERE, **_OF_CHARGE, "amount_cents": _AMOUNT},
    "disputes": {**_EVERYWHERE, **_OF_CHARGE, "amount_cents": _AMOUNT, "evidence_due_by": _PERIOD},
    "payouts": {**_EVERYWHERE, "amount_cents": _AMOUNT, "arrival_date": _PERIOD},
    "payment_intents": {
        **_EVERYWHERE,
        **_WHOSE,
        **dict.fromkeys(("amount_cents", "amount_received_cents", "amount_capturable_cents"), _AMOUNT),
        "canceled_at": _PERIOD,
    },
    "invoices": {
        **_EVERYWHERE,
        "stripe_subscription_id": _STATUS,
        **_WHOSE,
        **dict.fromkeys(
            (
                "subtotal_cents",
                "tax_cents",
                "discount_cents",
                "total_cents",
                "amount_due_cents",
                "amount_paid_cents",
                "amount_remaining_cents",
                "amount_overpaid_cents",
                "starting_balance_cents",
                "ending_balance_cents",
                "pre_payment_credit_cents",
                "post_payment_credit_cents",
                "line_items",
            ),
            _AMOUNT,
        ),
        **dict.fromkeys(
            (
                "billing_period_start",
                "billing_period_end",
                "due_date",
                "finalized_at",
                "paid_at",
                "voided_at",
                "marked_uncollectible_at",
                "next_payment_attempt",
            ),
            _PERIOD,
        ),
        **dict.fromkeys(("attempt_count", "attempted"), _STATUS),
    },
    "invoice_payments": {
        **_EVERYWHERE,
        **dict.fromkeys(("amount_requested_cents", "amount_paid_cents"), _AMOUNT),
        "paid_at": _PERIOD,
    },
    "credit_notes": {
        **_EVERYWHERE,
        "stripe_invoice_id": _STATUS,
        **_WHOSE,
        **dict.fromkeys(
            ("amount_cents", "subtotal_cents", "tax_cents", "discount_cents", "total_cents", "out_of_band_cents"),
            _AMOUNT,
        ),
        "voided_at": _PERIOD,
    },
    "subscriptions": {
        **_EVERYWHERE,
        **_WHOSE,
        **dict.fromkeys(("quantity", "mrr_cents", "items"), _AMOUNT),
        **dict.fromkeys(("stripe_price_id", "cancel_at_period_end", "pause_behavior"), _STATUS),
        **dict.fromkeys(
            (
                "current_period_start",
                "current_period_end",
                "trial_start",
                "trial_end",
                "cancel_at",
                "canceled_at",
                "ended_at",
                "started_at",
            ),
            _PERIOD,
        ),
    },
    "subscription_items": {
        "currency": DifferenceClass.CURRENCY,
        "stripe_price_id": _STATUS,
        **dict.fromkeys(("quantity", "unit_amount_decimal"), _AMOUNT),
        **dict.fromkeys(("current_period_start", "current_period_end"), _PERIOD),
    },
    "users": {
        **{name: class_ for name, class_ in _EVERYWHERE.items() if name != "status"},
        "balance_cents": _AMOUNT,
        "delinquent": _STATUS,
    },
    "payment_history": {
        "currency": DifferenceClass.CURRENCY,
        **_WHOSE,
        **_BOOKED,
        **dict.fromkeys(("status", "captured", "dispute_status", "livemode", "stripe_account"), _STATUS),
        "stripe_invoice_id": _STATUS,
        "amount_cents": _AMOUNT,
        **dict.fromkeys(("refund_amount_cents", "refunded_at"), _REFUND),
        "created_at": _PERIOD,
    },
}
"""By table: the columns of money, state and period, each with its class. All others are mended along with these only.

Mode and account of a copy are not among them: a row of others is left alone. Nor is what Stripe's webhooks do not tell:
that a charge is `disputed`, when a bank took the money of a dispute, and whether an invoice was paid out of band.
"""

UNTOLD = frozenset({("charges", "disputed"), ("invoices", "paid_out_of_band")})
"""Columns of which Stripe's webhooks do not tell: they are put right whenever an object is looked at."""

FILLED_LATER = frozenset({*_BOOKED, "amount_overpaid_cents"})
"""That one of these is not known yet is no difference: balance transactions, or newer shapes, tell it."""

QUIETLY = frozenset({("users", "currency")})
"""What Stripe sets by itself, and not always tells: the currency of a customer's first invoice."""

NAMES: Mapping[str, str] = {
    "charges": "charge",
    "refunds": "refund",
    "disputes": "dispute",
    "payouts": "payout",
    "payment_intents": "payment_intent",
    "invoices": "invoice",
    "invoice_payments": "invoice_payment",
    "credit_notes": "credit_note",
    "subscriptions": "subscription",
    "subscription_items": "subscription_item",
    "users": "customer",
    "payment_history": "payment",
}
"""What a row is called in a difference: Stripe's name of the object; `payment` is an attempt of the payment history."""

MATTERS: Mapping[str, tuple[str, ...]] = {
    "line_items": (
        "id",
        "amount_cents",
        "currency",
        "quantity",
        "discount_cents",
        "tax_cents",
        "period_start",
        "period_end",
    ),
    "items": ("id", "price", "quantity", "currency", "unit_amount", "period_start", "period_end"),
}
"""What counts of a list of lines or items."""

LONGEST = 500
"""Characters of a value that a difference tells."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def _counts(column: str, value: Any) -> Any:
    fields = MATTERS.get(column)
    if fields is None or not isinstance(value, list):
        return value
    rows = [{name: row.get(name) for name in fields} for row in cast("list[Row]", value)]
    return sorted(rows, key=lambda row: str(row["id"]))


def text_of(value: Any) -> str | None:
    """A value of a column as a difference tells it: times in ISO 8601 (UTC), amounts in minor units."""
    if value is None:
        return None
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)[:LONGEST]
    return _encode(value).decode()[:LONGEST]


def amount_of(row: Row) -> str | None:
    """What an object as a whole is worth, in minor units, to tell of one that is missing."""
    return text_of(next((row[name] for name in ("total_cents", "amount_cents") if row.get(name) is not None), None))


def _name(table: str, row: Row) -> str:
    if table == "payment_history":
        return str(row["stripe_charge_id"] or row["stripe_payment_intent_id"] or f"payment_history {row['id']}")
    return str(row["stripe_subscription_item_id"])


def changed(table: str, name: str, old: Row, new: Row) -> Iterator[Difference]:
    """The differences between a row as it was and as it is after Stripe was asked."""
    for column, class_ in COLUMNS[table].items():
        here, there = _counts(column, old[column]), _counts(column, new[column])
        later = column in FILLED_LATER or (table, column) in QUIETLY
        if same(here, there) or (later and here is None) or _only_told_now(table, column, old, new):
            continue
        currency = new["settlement_currency"] if class_ is DifferenceClass.FEE else new.get("currency")
        amounts = column.endswith("_cents") or column == "unit_amount_decimal"
        yield Difference(
            NAMES[table], name, class_, column, text_of(here), text_of(there), currency if amounts else None
        )


def _only_told_now(table: str, column: str, old: Row, new: Row) -> bool:
    """What an attempt that brought nothing is for, current webhooks do not tell."""
    unpaid = new["status"] in {"failed", "pending"} if table == "payment_history" else False
    return column == "stripe_invoice_id" and old[column] is None and unpaid


def _new(table: str, name: str, row: Row) -> Difference:
    return Difference(NAMES[table], name, DifferenceClass.MISSING_HERE, "", None, amount_of(row), row.get("currency"))


def lowered(found: Difference, credited: Mapping[str, int]) -> bool:
    """Whether a payment that is yet to be made was lowered by credit notes of its invoice: no event tells that.

    `credited` is what they took off, in minor units, by payment intent.
    """
    if found.field != "amount_cents" or found.here is None or found.there is None:
        return False
    return 0 < int(found.here) - int(found.there) <= credited.get(found.object_id, 0)


def differences(before: Held, after: Held) -> list[Difference]:
    """All that a look found, sorted: a row that was missing is one difference, and so is one too many."""
    found: list[Difference] = []
    missing: set[str] = set()
    for address, new in after.copies.items():
        table, key = address
        old = before.copies.get(address)
        if table not in COLUMNS or not new["version"]:
            continue
        name = " ".join(str(part) for part in key)
        if old is None or not old["version"]:
            if _told(table, old, new):
                missing.add(str(key[0]))
                found.append(_new(table, name, new))
        else:
            found += changed(table, name, old, new)
    missing |= {one.object_id for one in found if one.kind == "subscription" and one.field == "items"}
    for (table, key), old in before.copies.items():
        if table == "invoice_payments" and (table, key) not in after.copies:
            name, worth = " ".join(str(part) for part in key), text_of(old["amount_paid_cents"])
            found.append(
                Difference(NAMES[table], name, DifferenceClass.DUPLICATE, "", worth, None, old.get("currency"))
            )
    found += _derived("subscription_items", before.items, after.items, missing)
    found += _derived("payment_history", before.payments, after.payments, missing)
    return sorted(found)


def _told(table: str, old: Row | None, new: Row) -> bool:
    """Of a payment that is yet to be made no current webhook tells, and before basil they told only whose it is."""
    return table != "invoice_payments" or (old is None and new["status"] == "paid")


_ABOUT = ("stripe_charge_id", "stripe_payment_intent_id", "stripe_subscription_id")


def _derived(
    table: str, before: Mapping[Any, Row], after: Mapping[Any, Row], missing: set[str]
) -> Iterator[Difference]:
    """Rows of ours. What differs because the copy is missing, or has other items, was told with the copy."""
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        row = new if new is not None else old
        assert row is not None, "one side has it"
        name = _name(table, row)
        if missing & {row.get(one) for one in _ABOUT} and (old is None or table == "subscription_items"):
            continue
        if old is not None and new is not None:
            yield from changed(table, name, old, new)
        elif new is not None:
            yield _new(table, name, new)
        else:
            currency = row.get("currency")
            yield Difference(NAMES[table], name, DifferenceClass.DUPLICATE, "", amount_of(row), None, currency)


_OURS = frozenset({"id", "version", "updated_at"})
_OPENLY = ("_id", "_cents", "_at", "_code", "status")
"""How columns end whose values are nobody's personal data."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A known value of another column that Stripe's answer changes; what may be personal is not shown."""

    kind: str
    object: str
    field: str
    here: str | None
    there: str | None


def _beside(table: str, name: str, old: Row, new: Row, named: set[tuple[str, str, str]]) -> Iterator[Beside]:
    for column, here in old.items():
        there = new.get(column)
        if here is None or column in _OURS or (table, column) in UNTOLD or same(here, there):
            continue
        if (NAMES[table], name, column) in named:
            continue
        shown = column.endswith(_OPENLY)
        yield Beside(NAMES[table], name, column, text_of(here) if shown else None, text_of(there) if shown else None)


def beside(before: Held, after: Held, found: Iterable[Difference]) -> list[Beside]:
    """What else a look changes of what was known; that something was not known yet is no change."""
    named = {(one.kind, one.object_id, one.field) for one in found}
    changes: list[Beside] = []
    for (table, key), old in before.copies.items():
        new = after.copies.get((table, key))
        if table in COLUMNS and new is not None and old["version"]:
            changes += _beside(table, " ".join(str(part) for part in key), old, new, named)
    for id_, old in before.payments.items():
        if (new := after.payments.get(id_)) is not None:
            changes += _beside("payment_history", _name("payment_history", new), old, new, named)
    for item, old in before.items.items():
        if (new := after.items.get(item)) is not None:
            changes += _beside("subscription_items", item, old, new, named)
    return changes
