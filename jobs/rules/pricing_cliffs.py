"""Where all units cost what the last one costs, more may cost less: that is told before a customer finds it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from db.money import rounded
from jobs.rules.pricing_terms import Terms, uses_tiers
from jobs.rules.pricing_usage import reached, told
from jobs.rules.pricing_words import amount

STEP = Fraction(1, 10**6)
"""The least by which one count of units is more than another."""


@dataclass(frozen=True, slots=True)
class Cliff:
    """`units` cost `cost`, and the `more` units cost `less`: both in minor units, fees of the tiers included."""

    units: Fraction
    cost: int
    more: Fraction
    less: int


def cost(terms: Terms, units: Fraction) -> int:
    """What so many units come to at volume tiers, in minor units."""
    tier = terms.tiers[reached(terms.tiers, units)]
    return rounded(units * Fraction(tier.unit_price)) + tier.flat_fee


def _edges(terms: Terms) -> list[int]:
    """After which units the next tier begins, where tiers price all units alike."""
    if not uses_tiers(terms) or terms.tier_mode != "volume":
        return []
    return [tier.up_to for tier in terms.tiers[:-1] if tier.up_to is not None]


def _after(terms: Terms, edge: int, than: int) -> tuple[Fraction, int] | None:
    """The first count after `edge` that costs less than that: a whole one, if there is."""
    for more in (Fraction(edge + 1), edge + STEP):
        less = cost(terms, more)
        if less < than:
            return more, less
    return None


def cliffs(terms: Terms) -> list[Cliff]:
    """Each edge of volume tiers beyond which more units (after included ones) cost less than those up to the edge.

    None if and only if no count of units costs less than a smaller one: within a tier more never costs less.
    """
    found: list[Cliff] = []
    for edge in _edges(terms):
        price = cost(terms, Fraction(edge))
        less = _after(terms, edge, price)
        if less is not None:
            found.append(Cliff(Fraction(edge), price, *less))
    return found


def cheaper(terms: Terms, charged: Fraction) -> Cliff | None:
    """The cheapest count right after an edge that lies above `charged`, where it costs less than `charged` does.

    None if and only if all greater counts cost as much or more.
    """
    best: Cliff | None = None
    for edge in _edges(terms):
        if edge >= charged:
            price = cost(terms, charged)
            less = _after(terms, edge, price if best is None else best.less)
            best = best if less is None else Cliff(charged, price, *less)
    return best


def flags(terms: Terms, charged: Fraction) -> Iterator[str]:
    """Every cliff of these tiers in words, and first the one that this very usage stands before."""
    here = cheaper(terms, charged)
    if here is not None:
        yield f"volume_cliff_here: {_words(here, terms.currency)}"
    for each in cliffs(terms):
        yield f"volume_cliff: {_words(each, terms.currency)}"


def _words(cliff: Cliff, currency: str) -> str:
    return (
        f"{told(cliff.units)} units cost {amount(cliff.cost, currency)},"
        f" {told(cliff.more)} cost {amount(cliff.less, currency)}"
    )
