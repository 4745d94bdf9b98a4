"""What was frozen of a partner's period becomes a draft of an invoice: the same one whenever it is made."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from db.credits import CreditRow
from db.money import rounded
from jobs.invoices.document import Amount
from jobs.invoices.document import Period as Shown
from jobs.invoices.drafts import Draft, DraftLine
from jobs.partners.freeze import Adjustment, Frozen, rated
from jobs.partners.words import LineWords
from jobs.rules import pricing
from jobs.rules.billing_periods import local_day, midnight
from jobs.rules.documents import out_of_bounds


def key(prefix: str, name: str) -> str:
    """What names a partner's period among all things that are invoiced."""
    return f"partner/{prefix}/{name}"


def lines(frozen: Frozen) -> list[pricing.RatedLine]:
    """Every amount of the invoice: the period's own, and those of closed periods whose usage came late."""
    return [*rated(frozen).lines, *(late_line(one, frozen.currency) for one in charged_late(frozen))]


def charged_late(frozen: Frozen) -> list[Adjustment]:
    """The closed periods for which a line is added; what was charged too much is a credit, and no line."""
    return [one for one in frozen.adjustments if one.amount > 0]


def late_line(one: Adjustment, currency: str) -> pricing.RatedLine:
    """The line for a closed period."""
    return pricing.adjustment(one.start, one.end, currency=currency, before=one.charged, now=one.now)


def _days(first: date, after: date, timezone: str) -> Shown:
    """A document shows days of its seller: the very days that the partner's calendar had are named by them."""
    return Shown(midnight(first, timezone), midnight(after, timezone))


def _shown(start: datetime, end: datetime, frozen: Frozen, timezone: str) -> Shown:
    return _days(local_day(start, timezone), local_day(end, timezone), frozen.seller_timezone)


def _whole(line: pricing.RatedLine) -> bool:
    """Whether quantity times price can stand on the document, and is the amount."""
    if line.quantity is None or line.unit_price is None:
        return False
    product = rounded(Fraction(line.quantity) * Fraction(line.unit_price))
    return product == line.amount and not any(out_of_bounds(Decimal(each)) for each in (line.quantity, line.unit_price))


def _line(line: pricing.RatedLine, words: LineWords, month: date, shown: Shown | None) -> DraftLine:
    whole = _whole(line)
    return DraftLine(
        description=words.description(line, month),
        amount_minor=line.amount,
        quantity=line.quantity if whole else None,
        unit_price_minor=line.unit_price if whole else None,
        unit=words.unit(line.unit) if whole and line.quantity != 1 else None,  # our words are plurals
        details=words.details(line),
        period=shown,
    )


def _lines(frozen: Frozen, words: LineWords, period: Shown) -> Sequence[DraftLine]:
    found: list[DraftLine] = []
    for line in rated(frozen).lines:
        shown = _shown(line.start, line.end, frozen, frozen.timezone)
        found.append(_line(line, words, frozen.first, shown if shown != period else None))
    for one in charged_late(frozen):
        shown = _shown(one.start, one.end, frozen, one.timezone)
        found.append(_line(late_line(one, frozen.currency), words, _month(one), shown))
    return found


def _month(one: Adjustment) -> date:
    year, month = one.name.split("-")
    return date(int(year), int(month), 1)


def _changed(one: Adjustment, words: LineWords, currency: str) -> str:
    """What a closed period is called that comes to something else than was charged."""
    if one.replanned:
        return words.replanned(_month(one))
    return words.description(late_line(one, currency), _month(one))


def credit_name(row: CreditRow, frozen: Frozen, words: LineWords) -> str:
    """What a credit is called; one that this very invoice brings has no id yet (`late.brought`)."""
    if row.id < 0:
        return words.credit(_changed(frozen.adjustments[-row.id - 1], words, frozen.currency))
    return words.credit(row.reason)


def _notes(frozen: Frozen, words: LineWords) -> tuple[str, ...]:
    """A closed period that comes to less has no line: its sums are told below, for whoever checks the credit."""
    return tuple(
        words.less(_changed(one, words, frozen.currency), late_line(one, frozen.currency), one.credit)
        for one in frozen.adjustments
        if one.amount < 0
    )


def draft(frozen: Frozen) -> Draft | None:
    """The invoice of what was frozen; None: it has no line at all."""
    words = LineWords(frozen.locale, frozen.currency)
    period = _days(frozen.billed_from, frozen.billed_to, frozen.seller_timezone)
    found = _lines(frozen, words, period)
    if not found:
        return None
    return Draft(
        kind="partner",
        currency=frozen.currency,
        buyer=frozen.buyer,
        lines=tuple(found),
        key=key(frozen.prefix, frozen.name),
        seller=frozen.seller,
        api_key_prefix=frozen.prefix,
        locale=frozen.locale,
        timezone=frozen.timezone,
        discounts=frozen.discounts,
        taxes=frozen.taxes,
        credits=tuple(Amount(each.name, each.minor) for each in frozen.credits),
        terms=frozen.payment,
        period=period,
        buyer_reference=frozen.buyer_reference,
        notes=_notes(frozen, words),
        memo=f"usage of {frozen.prefix}, {frozen.name}",
    )
