"""Partners' invoices before and after they are issued, as JSON: the same at the terminal and the admin API."""

from collections.abc import Mapping
from typing import Any

import msgspec

from db.operators import contracts
from intake.overview import jsonable, without_secrets
from jobs.invoices.document import Document
from jobs.partners.after_end import unbilled
from jobs.partners.freeze import as_json as frozen_json
from jobs.partners.preview import NUMBER, Preview
from jobs.partners.release import Done
from jobs.rules.billing_periods import local_day
from worker.deps import Tx

BUSY = "somebody else is at this partner: nothing was changed; try again"
LOCKED = "55P03"
"""PostgreSQL's lock_not_available."""


def preview_json(found: Preview) -> dict[str, Any]:
    """A preview as JSON; amounts are minor units."""
    row = found.row
    return {
        "period": found.period.name,
        "start": jsonable(found.period.start),
        "end": jsonable(found.period.end),
        "timezone": found.period.timezone,
        "running": found.running,
        "status": row.status if row is not None else None,
        "invoice_id": row.invoice_id if row is not None else None,
        "document": msgspec.to_builtins(found.says) if found.says is not None else None,
        "arithmetic": found.explained,
        "late": {name: list(lines) for name, lines in found.late.items()},
        "concerns": [one.json() for one in found.concerns],
        "would_be_parked": any(one.stops for one in found.concerns),
        "input": frozen_json(found.frozen) if found.frozen is not None else None,
    }


def unnumbered(says: Document) -> Document:
    """A draft has no number, and must not seem to have another's."""
    return msgspec.structs.replace(says, number=NUMBER)


def done_json(done: Done, *, dry_run: bool) -> dict[str, Any]:
    """What became of a period, as JSON; what a dry run undid has no number. Amounts are minor units."""
    settled = done.settled
    prepared = settled.prepared
    return {
        "period": done.name,
        "status": settled.status,
        "number": settled.issued.number if settled.issued is not None and not dry_run else None,
        "currency": prepared.says.currency if prepared.says is not None else None,
        "total": prepared.total,
        "parked_total": done.before.total_cents if done.before is not None else None,
        "differs": done.differs,
        "concerns": [one.json() for one in prepared.concerns],
        "document": msgspec.to_builtins(unnumbered(prepared.says)) if prepared.says is not None and dry_run else None,
        "dry_run": dry_run,
    }


async def waiting(tx: Tx, prefix: str | None = None) -> list[dict[str, Any]]:
    """Which periods wait for somebody, and why; and usage that came after the last invoice of an ended contract.

    `what_to_do` is there where no reason tells it: the period's job will not run by itself any more.
    """
    found = await contracts.waiting(tx.conn, prefix) + await unbilled(tx, prefix)
    for row in found:
        row["name"] = row["name"] or local_day(row["period_start"], row["timezone"]).strftime("%Y-%m")
        row["last_error"] = without_secrets(row["last_error"])
        row["what_to_do"] = _stuck(row) if row["status"] == "pending" else None
    return [jsonable(row) for row in found]


def _stuck(row: Mapping[str, Any]) -> str:
    """Why a period that waits is not looked at, and what to do. Later periods of the partner wait for it."""
    job_id, name = row["job_id"], row["name"]
    invoice = f"billing partners invoice {row['api_key_prefix']} --period {name}"
    match row["job_status"]:
        case "dead":
            return f"job {job_id} failed ({row['last_error']}): billing jobs retry {job_id}"
        case "cancelled":
            return f"job {job_id} was cancelled, and later periods wait: billing jobs retry {job_id}, or {invoice}"
        case _:
            return f"no job looks at it any more, and later periods wait: {invoice}"
