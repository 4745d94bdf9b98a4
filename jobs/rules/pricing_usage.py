"""What was used is counted, what the fee pays for is taken off, and the rest is priced: by unit, package or tier."""

from collections.abc import Hashable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from db.money import rounded
from jobs.rules.pricing_shares import Stretch, exact, plain
from jobs.rules.pricing_terms import RatedLine, Terms, Tier, is_deed, uses_tiers


def usage_terms(terms: Terms) -> Hashable:
    """All by which usage is priced: versions that agree in it count their units together, whatever is never charged."""
    t = terms
    by_tier = uses_tiers(t)
    deeds = (t.per_deed_price, t.deed_events) if t.model in {"per_deed", "hybrid"} else ()
    tiers = (t.tiers, t.tier_mode) if by_tier else ()
    packages = (t.per_1000_requests, t.package_size, t.package_rounding)
    return (t.model, t.included_units, deeds, tiers, () if by_tier or t.model in {"flat", "per_deed"} else packages)


def told(value: Fraction) -> str:
    """A count, or a price that has an end, as text; a sum of decimals of six places always has one."""
    decimal = exact(value)
    return f"{value.numerator}/{value.denominator}" if decimal is None else plain(decimal)


def counted(stretch: Stretch, terms: Terms) -> tuple[Fraction, Fraction]:
    """How many deeds, and how many requests, are charged by this contract. Adding up takes no order."""
    deeds, others = Fraction(0), Fraction(0)
    for _, part in stretch.parts:
        for event_type, units in part.usage.items():
            if terms.model in {"per_deed", "hybrid"} and is_deed(terms, event_type):
                deeds += Fraction(units)
            else:
                others += Fraction(units)
    match terms.model:
        case "flat":
            return Fraction(0), Fraction(0)
        case "per_deed":
            return deeds, Fraction(0)
        case _:
            return deeds, others


def billed_units(stretch: Stretch) -> Fraction:
    """The requests that are charged, without the included ones: what tiers count."""
    terms = stretch.parts[0][1].terms
    requests = counted(stretch, terms)[1]
    return max(Fraction(0), requests - stretch.units_of_month(terms.included_units))


def usage_lines(stretch: Stretch) -> Iterator[RatedLine]:
    """What the usage of these parts, which agree in `usage_terms`, costs. Each line is rounded once."""
    terms = stretch.parts[0][1].terms
    deeds, requests = counted(stretch, terms)
    if terms.model == "per_deed":
        taken, line = _included(stretch, terms, "deed", deeds)
        yield from line
        yield from _deeds(stretch, terms, deeds, taken)
        return
    yield from _deeds(stretch, terms, deeds, Fraction(0))
    unit = "unit" if terms.model == "tiered" else "request"
    taken, line = _included(stretch, terms, unit, requests)
    yield from line
    if uses_tiers(terms):
        yield from _tiers(stretch, terms, unit, requests - taken)
    elif requests > taken:
        yield _requests(stretch, terms, requests, taken)


def _included(stretch: Stretch, terms: Terms, unit: str, used: Fraction) -> tuple[Fraction, list[RatedLine]]:
    """How many of the units that were used the flat fee pays for, and the line that tells it."""
    included = stretch.units_of_month(terms.included_units)
    taken = min(Fraction(included), used)
    if not taken:
        return taken, []
    facts = {
        "units": told(used),
        "included_month": str(terms.included_units),
        "included": str(included),
        "taken": told(taken),
    }
    line = stretch.line("included", 0, facts | stretch.facts(), quantity=exact(taken), unit_price=Decimal(0), unit=unit)
    return taken, [line]


def _counts(units: Fraction, taken: Fraction) -> dict[str, str]:
    return {"units": told(units), "taken": told(taken), "charged": told(units - taken)}


def _deeds(stretch: Stretch, terms: Terms, deeds: Fraction, taken: Fraction) -> Iterator[RatedLine]:
    charged, price = deeds - taken, terms.per_deed_price
    if charged:
        amount = rounded(charged * Fraction(price))
        facts = {**_counts(deeds, taken), "price": plain(price)}
        yield stretch.line("deeds", amount, facts, quantity=exact(charged), unit_price=price, unit="deed")


def _requests(stretch: Stretch, terms: Terms, requests: Fraction, taken: Fraction) -> RatedLine:
    charged, price, size = requests - taken, Fraction(terms.per_1000_requests), terms.package_size
    facts = {
        **_counts(requests, taken),
        "price": plain(terms.per_1000_requests),
        "package": str(size),
        "rounding": terms.package_rounding,
    }
    if terms.package_rounding == "exact":
        amount = rounded(charged * price / size)
        return stretch.line(
            "requests", amount, facts, quantity=exact(charged), unit_price=exact(price / size), unit="request"
        )
    down = charged // size
    packages = down + (terms.package_rounding == "up" and down * size < charged)
    return stretch.line(
        "requests",
        rounded(packages * price),
        facts | {"packages": str(packages)},
        quantity=Decimal(packages),
        unit_price=terms.per_1000_requests,
        unit="package",
    )


def reached(tiers: tuple[Tier, ...], units: Fraction) -> int:
    """The tier that `units` lie in. An edge belongs to the tier that it ends, and nothing at all to the first."""
    return next((i for i, tier in enumerate(tiers) if tier.up_to is None or units <= tier.up_to), len(tiers) - 1)


def split(terms: Terms, charged: Fraction) -> list[tuple[int, Fraction]]:
    """The tiers that count, with the units that are charged in each; the last may have none."""
    last = reached(terms.tiers, charged)
    if terms.tier_mode == "volume":
        return [(last, charged)]
    edges = [Fraction(0), *(Fraction(tier.up_to or 0) for tier in terms.tiers[:last]), charged]
    return [(number, upper - lower) for number, (lower, upper) in enumerate(pairwise(edges))]


def _tiers(stretch: Stretch, terms: Terms, unit: str, charged: Fraction) -> Iterator[RatedLine]:
    """Graduated: each unit costs what its own tier says. Volume: all cost what the tier says that they reach.

    As at Stripe: https://docs.stripe.com/subscriptions/pricing-models/tiered-pricing. The fee of a tier is charged when
    it is reached; the first begins at 0, and so it always is.
    """
    if not terms.tiers:
        raise ValueError("a tiered contract has tiers")
    for number, units in split(terms, charged):
        tier = terms.tiers[number]
        facts = {
            "mode": terms.tier_mode,
            "tier": str(number + 1),
            "from": str(terms.tiers[number - 1].up_to if number else 0),
            "up_to": "" if tier.up_to is None else str(tier.up_to),
            "charged": told(charged),
            "units": told(units),
        }
        yield from _tier(stretch, tier, unit, units, facts)


def _tier(stretch: Stretch, tier: Tier, unit: str, units: Fraction, facts: dict[str, str]) -> Iterator[RatedLine]:
    if units:
        yield stretch.line(
            "tier",
            rounded(units * Fraction(tier.unit_price)),
            facts | {"price": plain(tier.unit_price)},
            quantity=exact(units),
            unit_price=tier.unit_price,
            unit=unit,
        )
    if tier.flat_fee:
        yield stretch.line("tier", tier.flat_fee, facts | {"flat_fee": str(tier.flat_fee)})
