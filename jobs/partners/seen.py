"""An operator decides on what was shown: what was parked anew meanwhile waits until somebody has seen why."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from db.usage_invoices import UsageRow
from worker.errors import Refused


def _told(reasons: Sequence[Mapping[str, Any]] | None) -> str:
    return "; ".join(one["why"] for one in reasons or () if one.get("stops", True))


def mark(
    row_id: int, reasons: Sequence[Mapping[str, Any]] | None, total_cents: int | None, currency: str | None
) -> str:
    """What stands for a parked period as it was shown: the same row, for the same reasons, over the same amount."""
    shown = json.dumps([row_id, list(reasons or ()), total_cents, currency], sort_keys=True)
    return hashlib.sha256(shown.encode()).hexdigest()[:16]


def mark_of(row: Mapping[str, Any] | UsageRow) -> str:
    """The mark of a row, or of one that a listing read."""
    if isinstance(row, UsageRow):
        return mark(row.id, row.reasons, row.total_cents, row.currency)
    return mark(row["id"], row["reasons"], row["total_cents"], row["currency"])


def unchanged(row: UsageRow, name: str, seen: str | None) -> None:
    """Let what was `seen` (a mark; None: whatever it is) be decided on. Raises Refused when it is another thing now."""
    if seen is not None and seen != mark_of(row):
        why = _told(row.reasons)
        raise Refused(
            f"{name} was parked anew since you looked{f', because {why}' if why else ''}: nothing was changed;"
            " look at it again"
        )


def guards(row: UsageRow) -> frozenset[str]:
    """For which reasons a period is parked: a release covers these, and no other that turns up as it is made anew."""
    return frozenset(one["guard"] for one in row.reasons or () if one.get("stops", True))
