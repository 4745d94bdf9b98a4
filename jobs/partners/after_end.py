"""Usage that came after the last invoice of an ended contract: no later invoice charges it, so somebody must know."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
import structlog

from db import contracts, usage_invoices
from db.states import QueueName
from db.usage import Owner
from jobs.mail.contexts import InvoiceParked
from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.send_letter import OPERATORS
from jobs.partners import freeze, late
from jobs.partners.freeze import Adjustment, Book
from jobs.partners.run import CATCH_UP
from jobs.partners.words import plain_money
from worker.deps import Deps, Tx
from worker.errors import Refused
from worker.registry import job, schedule

log = structlog.get_logger()


async def unbilled(tx: Tx, prefix: str | None = None) -> list[dict[str, Any]]:
    """The closed periods of ended contracts that come to something else than was charged, as `waiting` lists periods.

    So long as a period of the contract is still to be invoiced, that one charges for them. Contracts that ended over a
    year ago are not looked at any more, nor is what lies more than `late.CLOSED` periods back.
    """
    found: list[dict[str, Any]] = []
    for one in await contracts.ended(tx.conn, tx.now - CATCH_UP, tx.now, prefix):
        try:
            book = await freeze.book_of(tx, one)
        except Refused:
            continue  # `billing partners list` tells that the contract makes no sense
        found += await _of(tx, book)
    return found


async def _of(tx: Tx, book: Book) -> list[dict[str, Any]]:
    rows = await usage_invoices.of_partner(tx.conn, book.prefix)
    ended = book.periods(tx.now)
    if not rows or not ended or rows[0].period_start < ended[-1].start or ended[-1].end > tx.now:
        return []
    if any(row.status not in late.STANDS for row in rows):
        return []
    last = freeze.read(cast("Mapping[str, Any]", rows[0].input))
    after = msgspec.structs.replace(last, start=rows[0].period_end)
    lately = await late.find(tx, Owner(api_key_prefix=book.prefix), after, lock=False)
    return [_listed(book.prefix, each, last.currency, tx.now) for each in lately.adjustments if each.amount]


def _listed(prefix: str, one: Adjustment, currency: str, now: datetime) -> dict[str, Any]:
    what = plain_money(abs(one.amount), currency)
    more = f"{what} were not charged" if one.amount > 0 else f"{what} were charged too much"
    why = (
        f"usage of {one.name} came after its invoice, and the contract has ended: {more} (before discounts and taxes),"
        f" and no later invoice will see to it. {_ways(prefix, one)}"
    )
    return {
        "id": one.usage_invoice,
        "api_key_prefix": prefix,
        "period_start": one.start,
        "period_end": one.end,
        "timezone": one.timezone,
        "status": "late_after_end",
        "reasons": [{"guard": "late_after_end", "why": why, "stops": True, "final": False}],
        "currency": currency,
        "total_cents": one.amount,
        "name": one.name,
        "job_id": None,
        "job_status": None,
        "last_error": None,
        "updated_at": now,
    }


def _ways(prefix: str, one: Adjustment) -> str:
    """How it is put right: in the period's own invoice where nobody has paid that, else beside it."""
    anew = f"If nobody has paid that invoice, void and invoice it anew (`{_anew(prefix, one.name)}`)"
    if one.amount > 0:
        return f"{anew}; else invoice it by hand (`billing invoices issue`)"
    return f"{anew}; else give a credit (`billing credits grant --partner {prefix} …`), or a credit note"


def _anew(prefix: str, month: str) -> str:
    of = f"{prefix} --period {month}"
    return f"billing partners void {of} --why '…' && billing partners invoice {of}"


@schedule("partner-late-usage", "40 5 * * *")
@job(queue=QueueName.BATCH, timeout=timedelta(minutes=5))
async def partner_late_usage(d: Deps, period: datetime) -> None:
    """Each day operators hear, once for each amount, of usage that no invoice will charge by itself any more."""
    async with d.tx() as tx:
        found = await unbilled(tx)
        for one in found:
            await _tell(tx, one)
    log.info("usage after the last invoice looked for", day=period.date().isoformat(), found=len(found))


async def _tell(tx: Tx, one: Mapping[str, Any]) -> None:
    prefix, month = one["api_key_prefix"], one["name"]
    await stage_letter(
        tx,
        "invoice_parked",
        InvoiceParked(
            partner=prefix,
            month=month,
            reasons=[reason["why"] for reason in one["reasons"]],
            late=True,
            charge=_anew(prefix, month) if one["total_cents"] > 0 else None,
        ),
        key=f"late_after_end/{one['id']}/{one['total_cents']}",
        to=Recipient(OPERATORS),
        occurred_at=tx.now,
    )
