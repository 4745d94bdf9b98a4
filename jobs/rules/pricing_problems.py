"""A price list that cannot be charged, or not as it was meant, is told in a salesperson's words."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

from jobs.invoices.codes import CURRENCIES
from jobs.rules.documents import LARGEST, out_of_bounds
from jobs.rules.pricing_terms import Terms, uses_tiers
from jobs.rules.pricing_words import amount

WHOLE = 100
"""Percent."""


def problems(terms: Terms) -> list[str]:
    """Why a version's prices cannot be charged, each with its field and what to write; none when all is well.

    Fields have the names of the contract's columns. What can be charged, but is odd, is told by `unused`.
    """
    return [
        *_currency(terms),
        *_bounds(terms),
        *_needed(terms),
        *_tiers(terms),
        *_limits(terms),
        *_patterns(terms),
    ]


def unused(terms: Terms) -> list[str]:
    """Prices that the model never charges, and usage that a hybrid has no price for: each with its field and the fix.

    The amount can be reckoned all the same. Whoever types such terms meant something else; in a row that is there
    already, the price is simply not charged.
    """
    return [*_unpriced(terms), *_unused(terms)]


def _currency(terms: Terms) -> Iterator[str]:
    if terms.currency not in CURRENCIES:
        yield f"currency: {terms.currency!r} is none that can be paid in: write its three letters in lower case, usd"


def _numbers(terms: Terms) -> Iterator[tuple[str, Decimal]]:
    yield "monthly_flat_fee_cents", Decimal(terms.monthly_flat_fee)
    yield "per_deed_price_cents", terms.per_deed_price
    yield "per_1000_requests_cents", terms.per_1000_requests
    yield "included_units", Decimal(terms.included_units)
    yield "minimum_commitment_cents", Decimal(terms.minimum_commitment)
    if terms.cap is not None:
        yield "cap_cents", Decimal(terms.cap)
    for index, tier in enumerate(terms.tiers):
        yield f"tiers[{index}].unit_price_cents", tier.unit_price
        yield f"tiers[{index}].flat_fee_cents", Decimal(tier.flat_fee)


def _bounds(terms: Terms) -> Iterator[str]:
    for field, value in _numbers(terms):
        wrong = out_of_bounds(value)
        if wrong is not None:
            yield f"{field} {wrong}: write a number from 0 to {LARGEST}"
        elif value < 0:
            yield f"{field} is {value:f}: write 0 or more"
    if not 1 <= terms.package_size <= LARGEST:
        yield f"package_size is {terms.package_size}: write how many requests a package has, 1 or more"
    percent = terms.discount_percent
    if percent is not None and (out_of_bounds(percent) is not None or not 0 <= percent <= WHOLE):
        yield f"discount_percent is {percent}: write a number from 0 to 100, or leave it out"


def _needed(terms: Terms) -> Iterator[str]:
    if terms.model == "flat" and not terms.monthly_flat_fee:
        yield "monthly_flat_fee_cents is 0, and a flat contract charges nothing else: write the fee of a month"
    if terms.model == "per_deed" and not terms.per_deed_price:
        yield "per_deed_price_cents is 0, so that a per_deed contract gives deeds away: write what one costs"
    if terms.model == "per_request" and not terms.per_1000_requests:
        yield (
            "per_1000_requests_cents is 0, so that a per_request contract gives requests away:"
            f" write what {terms.package_size:,} cost"
        )
    if terms.model == "hybrid" and not (terms.per_deed_price or terms.per_1000_requests or terms.tiers):
        yield (
            "per_deed_price_cents and per_1000_requests_cents are 0, so that a hybrid contract gives all usage away:"
            " write what a deed costs, or what requests do, or choose flat"
        )
    if terms.model == "tiered" and not terms.tiers:
        priced = ", or choose per_request, which charges per_1000_requests_cents" if terms.per_1000_requests else ""
        yield f'tiers: there are none: write at least one, such as {{"up_to": null, "unit_price_cents": "0.5"}}{priced}'


def _unpriced(terms: Terms) -> Iterator[str]:
    """In a hybrid with a fee it pays for what has no price; without one, that is given away."""
    if terms.model != "hybrid" or terms.monthly_flat_fee:
        return
    requests = bool(terms.per_1000_requests or terms.tiers)
    if requests and not terms.per_deed_price:
        yield (
            "per_deed_price_cents is 0, and there is no monthly_flat_fee_cents, so that a hybrid contract gives deeds"
            " away: write what one costs, or a fee"
        )
    if terms.per_deed_price and not requests:
        yield (
            "per_1000_requests_cents is 0, and there is no monthly_flat_fee_cents, so that a hybrid contract gives"
            f" requests away: write what {terms.package_size:,} cost, or give tiers, or a fee, or choose per_deed"
        )


def _unused(terms: Terms) -> Iterator[str]:
    """A price that the model never charges was meant to be charged."""
    by_tier = uses_tiers(terms)
    by_package = terms.model in {"per_request", "hybrid"} and not by_tier
    if terms.per_deed_price and terms.model not in {"per_deed", "hybrid"}:
        yield f"per_deed_price_cents: a {terms.model} contract never charges it: write 0, or choose per_deed or hybrid"
    if terms.per_1000_requests and not by_package:
        if terms.model == "hybrid":
            yield "per_1000_requests_cents: the tiers price the requests already: write 0, or leave out the tiers"
        else:
            yield (
                f"per_1000_requests_cents: a {terms.model} contract never charges it:"
                " write 0, or choose per_request or hybrid"
            )
    if terms.tiers and not by_tier:
        yield f"tiers: a {terms.model} contract never charges by them: leave them out, or choose tiered or hybrid"
    if terms.included_units and terms.model == "flat":
        yield "included_units: the fee of a flat contract pays for all usage: write 0, or choose another model"
    if terms.package_rounding != "exact" and not by_package:
        yield f"package_rounding is {terms.package_rounding}, but nothing is sold in packages here: write exact"


def _tiers(terms: Terms) -> Iterator[str]:
    """They begin at 0 and each follows on the one before, so that there are no gaps."""
    for index, tier in enumerate(terms.tiers):
        field, last = f"tiers[{index}].up_to", index == len(terms.tiers) - 1
        if tier.up_to is None:
            if not last:
                yield f"{field} is left out, so that the tiers after it are never reached: write where it ends"
        elif last:
            yield f"{field} is {tier.up_to}, so that more would have no price: leave it out (null) in the last tier"
        elif not 1 <= tier.up_to <= LARGEST:
            yield f"{field} is {tier.up_to}: write the last unit of the tier, 1 or more"
    for index, (lower, upper) in enumerate(pairwise(terms.tiers), start=1):
        if lower.up_to is not None and upper.up_to is not None and upper.up_to <= lower.up_to:
            yield (
                f"tiers[{index}].up_to is {upper.up_to}, which the tier before has already reached with"
                f" {lower.up_to}: write more, or put the tiers in order"
            )
    if terms.tiers and not any(tier.unit_price or tier.flat_fee for tier in terms.tiers):
        yield "tiers: none of them has a price: write unit_price_cents or flat_fee_cents"


def _money(minor: int, terms: Terms) -> str:
    return amount(minor, terms.currency)


def _limits(terms: Terms) -> Iterator[str]:
    if terms.cap is None:
        return
    if terms.cap < terms.minimum_commitment:
        yield (
            f"cap_cents is {_money(terms.cap, terms)}, less than minimum_commitment_cents,"
            f" {_money(terms.minimum_commitment, terms)}:"
            " write a higher cap or a lower minimum"
        )
    if terms.cap < terms.monthly_flat_fee:
        yield (
            f"cap_cents is {_money(terms.cap, terms)}, less than monthly_flat_fee_cents,"
            f" {_money(terms.monthly_flat_fee, terms)}:"
            " write a higher cap, since the fee counts towards it"
        )


def _patterns(terms: Terms) -> Iterator[str]:
    if terms.model not in {"per_deed", "hybrid"}:
        return
    if not any(pattern.strip() for pattern in terms.deed_events):
        yield "deed_events: none is named, so that nothing would be a deed: write the event types, such as *deed*"
