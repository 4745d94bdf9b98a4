"""What a period of usage costs by contract: each line once rounded, all of them adding up, and each told why.

Nothing here reads a clock, a row or a setting: the same input comes to the same amounts years later.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from jobs.rules.pricing_cliffs import cliffs, flags
from jobs.rules.pricing_problems import problems, unused
from jobs.rules.pricing_shares import Stretch, checked, fees, runs, seconds
from jobs.rules.pricing_terms import DEED_EVENTS, Kind, Model, Part, Rated, RatedLine, Terms, Tier, is_deed
from jobs.rules.pricing_usage import billed_units, usage_lines, usage_terms
from jobs.rules.pricing_words import AMOUNTS, TEXTS, amount, described, explain, text

__all__ = [
    "AMOUNTS",
    "DEED_EVENTS",
    "ROUNDING",
    "TEXTS",
    "Kind",
    "Model",
    "Part",
    "Rated",
    "RatedLine",
    "Terms",
    "Tier",
    "adjustment",
    "amount",
    "cliffs",
    "described",
    "explain",
    "is_deed",
    "problems",
    "quote",
    "rate",
    "text",
    "unused",
]

ROUNDING = "half-away-from-zero, once per line, 2026-11"
"""How amounts are rounded here; frozen with each invoice, so that another policy is another name."""


def rate(period_start: datetime, period_end: datetime, months: int, parts: Sequence[Part]) -> Rated:
    """What [`period_start`, `period_end`), so many `months` of a contract, costs: minor units of the parts' currency.

    Instants are aware, of whole seconds; `parts` follow one another within the period. Versions that agree in how usage
    is priced count their units together, those that agree in minimum and cap are held to them together, and a fee that
    stays the same is divided among its parts without losing a unit: so a version that changed no price changes no
    amount. Terms are expected to have no `problems`. Raises ValueError for what cannot be one invoice.
    """
    checked(period_start, period_end, months, parts)
    whole = seconds(period_start, period_end)
    shares = fees(parts, months, whole)
    lines: list[RatedLine] = []
    told: list[str] = []
    for block in runs(list(enumerate(parts)), lambda each: (each[1].terms.minimum_commitment, each[1].terms.cap)):
        found: list[RatedLine] = []
        for run in runs(block, lambda each: each[1].terms.monthly_flat_fee):
            found += _fee(Stretch(tuple(run), months, whole), sum(shares[number] for number, _ in run))
        for run in runs(block, lambda each: usage_terms(each[1].terms)):
            stretch = Stretch(tuple(run), months, whole)
            found += usage_lines(stretch)
            told += flags(run[0][1].terms, billed_units(stretch))
        found += _limits(Stretch(tuple(block), months, whole), sum(line.amount for line in found))
        lines += found
    return Rated(lines=tuple(lines), subtotal=sum(line.amount for line in lines), flags=tuple(told))


def quote(terms: Terms, usage: Mapping[str, Decimal], start: datetime, end: datetime, months: int = 1) -> Rated:
    """What a whole period under one price list costs. Raises ValueError as `rate` does."""
    return rate(start, end, months, [Part(terms=terms, start=start, end=end, usage=usage)])


def adjustment(start: datetime, end: datetime, *, currency: str, before: int, now: int) -> RatedLine:
    """The line by which a closed period is set right: what it comes to `now` less what was charged `before`.

    Both are minor units, before discounts and taxes; the line's amount may be negative.
    """
    return RatedLine(
        kind="adjustment",
        part=0,
        amount=now - before,
        quantity=None,
        unit_price=None,
        unit=None,
        start=start,
        end=end,
        facts={"currency": currency, "now": str(now), "before": str(before)},
    )


def _fee(stretch: Stretch, share: int) -> Iterator[RatedLine]:
    monthly = stretch.parts[0][1].terms.monthly_flat_fee
    if not monthly:
        return
    facts = {"monthly": str(monthly)} | stretch.facts()
    if "share" in facts:
        if share != stretch.of_month(monthly):
            facts["divided"] = str(share)
        yield stretch.line("flat_fee", share, facts)
    else:
        quantity, price = Decimal(stretch.months), Decimal(monthly)
        yield stretch.line("flat_fee", share, facts, quantity=quantity, unit_price=price, unit="month")


def _limits(stretch: Stretch, charges: int) -> Iterator[RatedLine]:
    """What is missing to the minimum, and what is over the cap: fees and usage count towards both."""
    terms = stretch.parts[0][1].terms
    minimum = stretch.of_month(terms.minimum_commitment)
    if charges < minimum:
        yield stretch.line(
            "minimum",
            minimum - charges,
            _limit_facts("minimum", terms.minimum_commitment, minimum, charges) | stretch.facts(),
        )
    if terms.cap is not None:
        cap, charges = stretch.of_month(terms.cap), max(charges, minimum)
        if charges > cap:
            yield stretch.line("cap", cap - charges, _limit_facts("cap", terms.cap, cap, charges) | stretch.facts())


def _limit_facts(name: str, month: int, agreed: int, charges: int) -> dict[str, str]:
    return {f"{name}_month": str(month), name: str(agreed), "charges": str(charges)}
