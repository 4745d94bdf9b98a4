"""The ledger, laid open for comparison: rows by Stripe's ids, without numbers and times of our own."""

import json
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.all_tables import metadata
from tests.lives.oracle import Books, Row

NOT_LEDGER = {
    "webhook_events",
    "queue",
    "jobs",
    "job_attempts",
    "schedule_runs",
    "workers",
    "pauses",
    "audit_log",
}
"""How work runs, not what the books say."""

SAID_AND_DONE = {"emails", "suppressed_addresses", "dunning_policies", "dunning_cases", "dunning_steps"}
"""What we wrote and did about the books: it tells what was known by then."""

TABLES = sorted(set(metadata.tables) - NOT_LEDGER - SAID_AND_DONE)

OURS = {"id", "version", "updated_at", "recorded_at", "user_id", "invoice_id"}
"""Surrogate ids, our own times, and `version`, which orders states and says nothing by itself."""

TOLD_BY_SOME_SHAPES = {
    "invoice_payments": None,
    "payment_history": {"stripe_invoice_id", "invoice"},
    "invoices": {"paid_out_of_band", "amount_overpaid_cents"},
}
"""What a reader of one API version knows and of another does not; None: the whole table."""

KEYS = {
    "users": "stripe_customer_id",
    "subscriptions": "stripe_subscription_id",
    "subscription_items": "stripe_subscription_item_id",
    "invoices": "stripe_invoice_id",
    "refunds": "stripe_refund_id",
    "disputes": "stripe_dispute_id",
    "credit_notes": "stripe_credit_note_id",
    "checkout_sessions": "stripe_checkout_session_id",
    "payment_intents": "stripe_payment_intent_id",
    "prices": "stripe_price_id",
    "products": "stripe_product_id",
}

Dump = dict[str, list[Row]]


async def dump(engine: AsyncEngine) -> Dump:
    """Every row of the ledger, in an order of its own, with references by Stripe's ids."""
    parts = [f"SELECT '{name}' AS t, to_jsonb(x) AS row FROM {name} x" for name in TABLES]  # noqa: S608 - our own names
    async with engine.connect() as conn:
        found = (await conn.execute(text(" UNION ALL ".join(parts)))).all()
    by_table: dict[str, list[Row]] = {name: [] for name in TABLES}
    for table, row in found:
        by_table[table].append(row)
    users = {row["id"]: row["stripe_customer_id"] for row in by_table["users"]}
    invoices = {row["id"]: row["stripe_invoice_id"] for row in by_table["invoices"]}
    for rows in by_table.values():
        for row in rows:
            if "user_id" in row:
                row["user"] = users.get(row["user_id"])
            if "invoice_id" in row:
                row["invoice"] = invoices.get(row["invoice_id"])
    return {
        table: sorted(
            ({k: v for k, v in row.items() if k not in OURS} for row in rows),
            key=lambda row: json.dumps(row, sort_keys=True),
        )
        for table, rows in by_table.items()
    }


def without_what_only_some_shapes_tell(found: Dump) -> Dump:
    """The ledger as far as every API version tells it."""
    kept: Dump = {}
    for table, rows in found.items():
        hidden = TOLD_BY_SOME_SHAPES.get(table, set[str]())
        if hidden is not None:
            kept[table] = sorted(
                ({k: v for k, v in row.items() if k not in hidden} for row in rows),
                key=lambda row: json.dumps(row, sort_keys=True),
            )
    return kept


class BooksDifferError(AssertionError):
    """Two ledgers differ, or a ledger differs from its life; the message has a line for each difference."""


def same(lines: list[str]) -> None:
    """Demand that there is no difference. Raises BooksDifferError, which shows all of them and not only the first."""
    if lines:
        raise BooksDifferError("\n" + "\n".join(lines))


def differences(expected: Dump, found: Dump) -> list[str]:
    """How two ledgers differ: a line for each row that only one of them has, or that differs between them."""
    lines: list[str] = []
    for table in sorted(expected.keys() | found.keys()):
        left = [row for row in expected.get(table, []) if row not in found.get(table, [])]
        right = [row for row in found.get(table, []) if row not in expected.get(table, [])]
        for row in left:
            twin = next((r for r in right if _same_key(table, row, r)), None)
            if twin is None:
                lines.append(f"{table}: missing {row}")
                continue
            right.remove(twin)
            changed = {k: (row.get(k), twin.get(k)) for k in row.keys() | twin.keys() if row.get(k) != twin.get(k)}
            lines.append(
                f"{table} {_name(table, row)}: " + ", ".join(f"{k} {a!r} → {b!r}" for k, (a, b) in changed.items())
            )
        lines += [f"{table}: unexpected {row}" for row in right]
    return lines


def _name(table: str, row: Mapping[str, Any]) -> str:
    if table == "payment_history":
        return row["stripe_charge_id"] or row["stripe_payment_intent_id"]
    if table == "invoice_payments":
        return f"{row['stripe_invoice_id']} {row['payment_id']}"
    return str(row.get(KEYS.get(table, "")) or next(iter(v for k, v in row.items() if k.endswith("_id")), row))


def _same_key(table: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return _name(table, a) == _name(table, b)


def as_books(found: Dump) -> Books:
    """The dump in the oracle's terms: rows by id, and a few columns that say the same in the oracle's words."""
    made: Books = {}
    for table in [*KEYS, "payment_history", "invoice_payments"]:
        rows: dict[str, Row] = {}
        for row in found[table]:
            said = dict(row)
            if table == "users":
                said["deleted"] = row["deleted_at"] is not None
            if table == "invoices":
                said["out_of_band"] = bool(row["paid_out_of_band"])
                lines = cast("list[Row]", row["line_items"] or [])
                said["lines"] = sorted((line["amount_cents"], line["description"]) for line in lines)
            if table == "payment_history":
                said["was_refunded"] = row["refunded_at"] is not None
            rows[_name(table, row)] = said
        made[table] = rows
    return made


def disagreements(expected: Books, found: Dump) -> list[str]:
    """Where the ledger says other than the life's own books: missing rows, invented rows, wrong columns."""
    lines: list[str] = []
    held = as_books(found)
    for table, rows in expected.items():
        lines += [f"{table} {key}: invented" for key in sorted(held[table].keys() - rows.keys())]
        for key, row in rows.items():
            mine = held[table].get(key)
            if mine is None:
                lines.append(f"{table} {key}: missing")
                continue
            lines += [
                f"{table} {key}.{column}: should be {value!r}, is {mine.get(column)!r}"
                for column, value in row.items()
                if mine.get(column) != value
            ]
    return lines
