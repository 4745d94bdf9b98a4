"""Years later an invoice is reckoned again from what was frozen with it: the same cents, or it is told what differs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from db import documents, usage_invoices
from db.usage_invoices import UsageRow
from jobs.invoices.document import Document
from jobs.invoices.drafts import document
from jobs.partners import freeze, late_words
from jobs.partners.draft import draft, lines
from jobs.partners.freeze import Frozen
from jobs.partners.preview import profile_of
from jobs.partners.words import plain_money
from jobs.rules.pricing import ROUNDING, RatedLine, explain
from jobs.rules.pricing_words import counted
from worker.deps import Tx
from worker.errors import Refused

SUMS = ("subtotal_minor", "discount_minor", "tax_minor", "total_minor", "due_minor")


@dataclass(frozen=True, slots=True)
class Explained:
    """An invoice reckoned again: each line's arithmetic, the sums, and what is not as it was issued."""

    number: str
    row: UsageRow
    frozen: Frozen
    says: Document
    """As it was issued."""
    lines: tuple[RatedLine, ...]
    late: dict[str, list[str]]
    """The arithmetic of closed periods whose usage came late, by their names, with what was given back."""
    sums: list[str]
    differences: list[str]

    @property
    def terms(self) -> str:
        """By what it was reckoned: the ids of versions of a contract, or those of a subscriber's plans."""
        if self.row.user_id is None:
            return f"contract versions {self.row.contract_ids}"
        ids = {number for part in self.frozen.parts for number in part.contract["plan"]["ids"]}
        return f"plans {sorted(ids)}"

    def json(self) -> dict[str, Any]:
        """As it is printed for machines. Amounts are minor units."""
        return {
            "number": self.number,
            "partner": self.row.api_key_prefix,
            "user_id": self.row.user_id,
            "period": self.frozen.name,
            "currency": self.frozen.currency,
            "rounding": self.frozen.rounding,
            "input_sha256": self.row.input_sha256,
            "lines": [
                {"kind": line.kind, "amount": line.amount, "arithmetic": explain(line), "facts": dict(line.facts)}
                for line in self.lines
            ],
            "late": self.late,
            "sums": {name.removesuffix("_minor"): getattr(self.says, name) for name in SUMS},
            "arithmetic": self.sums,
            "same": not self.differences,
            "differences": self.differences,
            "input": freeze.as_json(self.frozen),
        }


async def explained(tx: Tx, invoice_id: int) -> Explained:
    """Reckon an invoice of ours again, a partner's or a subscriber's. Raises Refused when it is not for usage."""
    row = await usage_invoices.of_invoice(tx.conn, invoice_id)
    issued = [one for one in await documents.of_invoice(tx.conn, invoice_id=invoice_id) if one.copy_of is None]
    if row is None or row.input is None or not issued:
        raise Refused(f"invoice {invoice_id} is for nobody's usage: nothing was frozen with it")
    says = msgspec.convert(issued[0].content, Document)
    numbers = await usage_invoices.numbers(tx.conn, late_words.rows(freeze.read(row.input)))
    return reckon(row, says, numbers)


def reckon(row: UsageRow, says: Document, numbers: Mapping[int, str] | None = None) -> Explained:
    """Hold what was issued against what the frozen input comes to with today's code. Raises Refused: unreadable.

    `numbers` are those of earlier invoices, by the ids of their rows.
    """
    assert row.input is not None
    frozen = freeze.read(row.input)
    found = lines(frozen)
    return Explained(
        number=says.number,
        row=row,
        frozen=frozen,
        says=says,
        lines=tuple(found),
        late=late_words.told(frozen, numbers or {}),
        sums=_sums(says),
        differences=[*_hash(row), *_late_differences(frozen), *_differences(row, frozen, says)],
    )


def _hash(row: UsageRow) -> Iterator[str]:
    assert row.input is not None
    found = freeze.sha256(row.input)
    if found != row.input_sha256:
        yield f"what was frozen was changed: its SHA-256 is {found}, and {row.input_sha256} was written with it"


def _late_differences(frozen: Frozen) -> Iterator[str]:
    for one in frozen.adjustments:
        found = freeze.reckoned(one)
        if found != one.now:
            yield (
                f"{one.name} comes to {plain_money(found, frozen.currency)} with the usage that came late, and"
                f" {plain_money(one.now, frozen.currency)} was reckoned"
            )


def _differences(row: UsageRow, frozen: Frozen, says: Document) -> Iterator[str]:
    """What the frozen input comes to, amount by amount, against what was issued."""

    def differs(what: str, have: int, issued: int) -> Iterator[str]:
        if have != issued:
            money = says.currency
            yield f"{what} comes to {plain_money(have, money)}, and {plain_money(issued, money)} was issued"

    made = draft(frozen)
    if made is None:
        yield "what was frozen comes to nothing at all"
        return
    if frozen.rounding != ROUNDING:
        yield f"it was rounded by {frozen.rounding!r}, and this code rounds by {ROUNDING!r}"
    again = document(made, profile_of(says), number=says.number, now=row.updated_at)
    if len(again.lines) != len(says.lines):
        yield f"it comes to {counted(len(again.lines), 'line')}, and {len(says.lines):,} were issued"
    for number, (have, issued) in enumerate(zip(again.lines, says.lines, strict=False), 1):
        yield from differs(f"line {number}", have.amount_minor, issued.amount_minor)
    for name in SUMS:
        yield from differs(name.removesuffix("_minor"), getattr(again, name), getattr(says, name))
    if row.total_cents is not None:
        yield from differs("the total", again.total_minor, row.total_cents)


def _sums(says: Document) -> list[str]:
    """From the lines to what is due, in words."""

    def money(minor: int) -> str:
        return plain_money(minor, says.currency)

    found = [f"{counted(len(says.lines), 'line')} = {money(says.subtotal_minor)}"]
    found += [f"- {each.name}: {money(each.minor)}" for each in says.discounts]
    found += [
        f"+ {tax.name} {tax.percent} % of {money(tax.taxable_minor)} = {money(tax.amount_minor)}" for tax in says.taxes
    ]
    found.append(f"= total {money(says.total_minor)}")
    found += [f"- {each.name}: {money(each.minor)}" for each in says.credits]
    found.append(f"= due {money(says.due_minor)}")
    return found
