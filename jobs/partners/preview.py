"""The very invoice that a partner would get for a month, or for the running one up to now; nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from db import documents, usage_invoices
from db.usage_invoices import UsageRow
from jobs.invoices.document import Document
from jobs.invoices.sellers import SellerProfile, Sellers
from jobs.partners import freeze, late_words
from jobs.partners.draft import lines
from jobs.partners.freeze import Book, Frozen
from jobs.partners.guards import Concern
from jobs.partners.invoice_partner import prepare
from jobs.rules import billing_periods
from jobs.rules.billing_periods import Period
from jobs.rules.pricing import RatedLine, explain
from worker.deps import Tx
from worker.errors import Refused

NUMBER = "DRAFT"
"""Stands where the number will: a preview has none, and must not seem to have one."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an invoice says, or would say. Without `says` nothing is to be charged, or it cannot be an invoice."""

    period: Period
    running: bool
    frozen: Frozen | None
    says: Document | None
    concerns: tuple[Concern, ...]
    lines: tuple[RatedLine, ...]
    row: UsageRow | None
    late: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """The arithmetic of closed periods whose usage came late, by their names."""

    @property
    def explained(self) -> list[str]:
        """Each amount's arithmetic."""
        return [explain(line) for line in self.lines]


def period_of(found: Book, wanted: str | None, tx: Tx) -> Period:
    """The period that somebody named by a month of it; without any, the running one. Raises Refused."""
    there = found.periods(tx.now + timedelta(microseconds=1))
    if wanted is None:
        if not there:
            raise Refused(f"the contract of {found.prefix} begins on {found.begins}: there is no period yet")
        return there[-1]
    try:
        return billing_periods.named(there, wanted)
    except ValueError as error:
        raise Refused(str(error)) from error


def profile_of(says: Document) -> SellerProfile:
    """The seller as a document shows it, whatever the file of sellers says today."""
    return SellerProfile("frozen", says.seller, None, says.locale, says.timezone, "net_30", {})


async def preview(tx: Tx, prefix: str, wanted: str | None, sellers: Sellers) -> Preview:
    """The invoice of a period; one that was issued is shown as it was. Raises Refused."""
    found = await freeze.book_of(tx, prefix)
    period = period_of(found, wanted, tx)
    row = await usage_invoices.of_period(tx.conn, prefix, period.start)
    if row is not None and row.status == "issued" and row.input is not None:
        return await _issued(tx, period, row)
    made = await prepare(tx, found, period, sellers, by_hand=True, lock=False)
    told = tuple(lines(made.frozen)) if made.frozen is not None and made.draft is not None else ()
    says = msgspec.structs.replace(made.says, number=NUMBER) if made.says is not None else None
    settled = freeze.read(row.input) if row is not None and row.status == "empty" and row.input else made.frozen
    late = await _late(tx, settled)
    return Preview(period, period.end > tx.now, made.frozen, says, made.concerns, told, row, late)


async def _late(tx: Tx, frozen: Frozen | None) -> Mapping[str, Sequence[str]]:
    """Of a period in which nothing was to be charged too: usage that came late may have brought a credit."""
    if frozen is None:
        return {}
    return late_words.told(frozen, await usage_invoices.numbers(tx.conn, late_words.rows(frozen)))


async def _issued(tx: Tx, period: Period, row: UsageRow) -> Preview:
    assert row.input is not None
    frozen = freeze.read(row.input)
    stored = await documents.of_invoice(tx.conn, invoice_id=row.invoice_id)
    says = next((msgspec.convert(one.content, Document) for one in stored if one.copy_of is None), None)
    late = await _late(tx, frozen)
    return Preview(period, False, frozen, says, (), tuple(lines(frozen)), row, late)  # noqa: FBT003 - it is over
