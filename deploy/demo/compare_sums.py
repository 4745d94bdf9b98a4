"""A second look at the whole: how many, and how much, in each currency, counted without the rows' own keys."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from deploy.demo.compare_rows import Difference, View
from deploy.demo.compare_subscriptions import mrr


@dataclass(frozen=True, slots=True)
class Sum:
    """What is added up over all objects of a kind; `here` is SQL, by column."""

    kind: str
    table: str
    there: Mapping[str, Callable[[View, Mapping[str, Any]], int]]
    here: Mapping[str, str]
    where: str = "t.deleted_at IS NULL"

    def query(self) -> str:
        """Adds up by currency."""
        added = ", ".join(f'coalesce(sum({sql}), 0)::bigint AS "{name}"' for name, sql in self.here.items())
        return f"SELECT t.currency, count(*) AS count, {added} FROM {self.table} t WHERE {self.where} GROUP BY 1"  # noqa: S608 - our own names


def _of(name: str) -> Callable[[View, Mapping[str, Any]], int]:
    return lambda _, obj: obj[name] or 0


def _moved(_: View, obj: Mapping[str, Any]) -> int:
    return obj["amount_captured"] if obj["status"] == "succeeded" else 0


SUMS = (
    Sum(
        "invoice",
        "invoices",
        {name: _of(name) for name in ("total", "amount_due", "amount_paid", "amount_remaining")},
        {name: f"t.{name}_cents" for name in ("total", "amount_due", "amount_paid", "amount_remaining")},
        "t.deleted_at IS NULL AND t.kind IS NULL",
    ),
    Sum("subscription", "subscriptions", {"mrr": mrr}, {"mrr": "t.mrr_cents"}),
    Sum(
        "charge",
        "charges",
        {"captured": _moved, "refunded": _of("amount_refunded")},
        {"captured": "t.amount_captured_cents", "refunded": "t.amount_refunded_cents"},
    ),
    Sum("refund", "refunds", {"amount": _of("amount")}, {"amount": "t.amount_cents"}),
    Sum("dispute", "disputes", {"amount": _of("amount")}, {"amount": "t.amount_cents"}),
    Sum("credit_note", "credit_notes", {"total": _of("total")}, {"total": "t.total_cents"}),
    Sum("payout", "payouts", {"amount": _of("amount")}, {"amount": "t.amount_cents"}),
)


def _added(each: Sum, view: View) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for obj in view.all(each.kind):
        row = found.setdefault(obj["currency"], dict.fromkeys(("count", *each.there), 0))
        row["count"] += 1
        for name, value in each.there.items():
            row[name] += value(view, obj)
    return found


async def sums(conn: AsyncConnection, view: View) -> list[Difference]:
    """Where the sums of a currency differ; the id of such a difference is the currency."""
    found: list[Difference] = []
    for each in SUMS:
        there = _added(each, view)
        here = {str(row["currency"]): row for row in (await conn.execute(text(each.query()))).mappings()}
        found += _differing(each, there, here)
    return found


def _differing(each: Sum, there: Mapping[str, Mapping[str, int]], here: Mapping[str, Any]) -> Iterator[Difference]:
    for currency in sorted(there.keys() | here.keys()):
        for name in ("count", *each.there):
            left = there.get(currency, {}).get(name, 0)
            right = here[currency][name] if currency in here else 0
            if left != right:
                yield Difference(f"sum of {each.kind}s", currency, name, left, right)
