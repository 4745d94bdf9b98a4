"""How usage that came late set a closed period right, line by line: what was charged, and what it comes to."""

from collections.abc import Iterator, Mapping

from jobs.partners import freeze
from jobs.partners.draft import late_line
from jobs.partners.freeze import Adjustment, Frozen, Taken
from jobs.partners.words import plain_money
from jobs.rules.pricing import explain, rate


def told(frozen: Frozen, numbers: Mapping[int, str]) -> dict[str, list[str]]:
    """The arithmetic of each closed period whose amount changed, by its name; the last line is what changed.

    `numbers` are those of the invoices by the ids of their rows.
    """
    return {one.name: list(_lines(one, frozen.currency, numbers)) for one in frozen.adjustments if one.amount}


def rows(frozen: Frozen) -> set[int]:
    """The ids of the rows whose invoices are named."""
    return {taken.usage_invoice for one in frozen.adjustments for taken in one.took}


def _lines(one: Adjustment, currency: str, numbers: Mapping[int, str]) -> Iterator[str]:
    found = rate(one.start, one.end, one.months, freeze.rated_parts(one.parts))
    if one.replanned:
        yield "by the plans that became known after it was invoiced:"
    yield from (explain(line) for line in found.lines)
    yield explain(late_line(one, currency))
    if one.amount > 0:
        return
    for taken in one.took:
        yield _taken(taken, currency, numbers.get(taken.usage_invoice, f"period {taken.usage_invoice}"))
    left = -one.amount - sum(taken.net for taken in one.took)
    if left:
        yield f"{plain_money(left, currency)} of it is not charged any more: it was given back before"
    which = f"credit {one.credit_id}" if one.credit_id is not None else "a credit"
    if one.credit:
        yield f"given back as {which}: {plain_money(one.credit, currency)}"
    else:
        yield "nothing is given back"


def _taken(taken: Taken, currency: str, number: str) -> str:
    """Each invoice gives back what its own lines bore of discounts and taxes."""
    net, gross = plain_money(taken.net, currency), plain_money(taken.gross, currency)
    return f"{net} of it was charged by {number}: {gross} with the discounts and taxes of that invoice"
