"""A document that does not add up is never issued: each sum is reckoned again, and what is wrong is told at once."""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from babel.numbers import list_currencies

from db.money import rounded
from jobs.invoices.document import Document, Kind, Line, Period, Tax, TaxCategory
from jobs.invoices.page_text import clean

HALF = Fraction(1, 2)
"""The most that one rounding moves an amount, in minor units."""

PARTED = 6
"""Roundings behind a part of a tax: of the tax, of its share, of all parts so far, each up and down."""

LARGEST = 10**15
"""Beyond that no number of a document is meant: ten million millions of a currency with cents."""

PLACES = 12
"""Of decimals, as at Stripe: https://docs.stripe.com/api/prices/object#price_object-unit_amount_decimal."""


WRITTEN_PLACES = 20
"""Of decimals that are told and not made here: a tier's price that somebody else divided."""


def out_of_bounds(value: Decimal, places: int = PLACES) -> str | None:
    """Why `value` is no number that a document can reckon with; None when it is one.

    Its exponent is looked at first: `1e99999999` is short to write, and nobody lives to see it multiplied.
    """
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        return "is no number"
    if exponent < -places:
        return f"has more than {places} decimal places"
    if value.adjusted() > len(str(LARGEST)) or abs(value) > LARGEST:
        return f"is beyond {LARGEST}"
    return None


@cache
def _currencies() -> frozenset[str]:
    return frozenset(code.lower() for code in list_currencies())


def _decimal(text: str) -> Fraction | None:
    """A number that was written as a decimal; None when it is none."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return Fraction(value) if out_of_bounds(value, WRITTEN_PLACES) is None else None


def _sum(field: str, have: int, name: str, parts: Sequence[int]) -> Iterator[str]:
    if have != sum(parts):
        yield f"{field} is {have}, but {name} come to {sum(parts)}"


def _parties(document: Document) -> Iterator[str]:
    for field, value in (
        ("number", document.number),
        ("seller.party.name", document.seller.party.name),
        ("buyer.name", document.buyer.name),
    ):
        if not clean(value).strip():
            yield f"{field} is empty"
    if not re.fullmatch("#[0-9a-fA-F]{6}", document.seller.color):
        yield f"seller.color is {document.seller.color!r}, which is no colour: #3552d1"
    if document.currency not in _currencies():
        yield f"currency is {document.currency!r}, which is no ISO 4217 code in lower case"
    try:
        ZoneInfo(document.timezone)
    except (KeyError, OSError, ValueError):
        yield f"timezone is {document.timezone!r}, which is no IANA time zone"


def _link(document: Document) -> Iterator[str]:
    """It is opened by whoever reads the document: nothing but a page may be behind it."""
    if document.pay_url is None:
        return
    try:
        scheme = urlsplit(document.pay_url).scheme
    except ValueError:
        scheme = ""
    if scheme not in {"https", "http"}:
        yield f"pay_url is {document.pay_url!r}, which is no address of a page"


def _order(earlier: str, first: date | None, later: str, then: date | None) -> Iterator[str]:
    if first is not None and then is not None and then < first:
        yield f"{later} is {then.isoformat()}, before {earlier} {first.isoformat()}"


def _period(field: str, period: Period | None) -> Iterator[str]:
    if period is not None and period.end <= period.start:
        yield f"{field}: its end {_utc(period.end)} is not after its start {_utc(period.start)}"


def _utc(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _dates(document: Document) -> Iterator[str]:
    yield from _order("issued_on", document.issued_on, "due_on", document.due_on)
    if document.reference is not None:
        yield from _order("reference.issued_on", document.reference.issued_on, "issued_on", document.issued_on)
    yield from _period("period", document.period)
    for index, line in enumerate(document.lines):
        yield from _period(f"lines[{index}].period", line.period)


def _numbers(field: str, line: Line) -> Iterator[str]:
    quantity, price = line.quantity, line.unit_price_minor
    values: list[Fraction] = []
    for name, text in (("quantity", quantity), ("unit_price_minor", price)):
        value = None if text is None else _decimal(text)
        if value is not None:
            values.append(value)
        elif text is not None:
            yield f"{field}.{name} is {text!r}, which is no decimal"
    if len(values) == 2:  # noqa: PLR2004 - a quantity and a price
        product = rounded(values[0] * values[1])
        if product != line.amount_minor:
            yield f"{field}.amount_minor is {line.amount_minor}, but {quantity} times {price} is {product}"


def _sums(document: Document) -> Iterator[str]:
    d = document
    yield from _sum("subtotal_minor", d.subtotal_minor, "its lines", [line.amount_minor for line in d.lines])
    yield from _sum("discount_minor", d.discount_minor, "its discounts", [each.minor for each in d.discounts])
    shares = [each.minor for line in d.lines for each in line.discounts]
    if shares:
        yield from _sum("discount_minor", d.discount_minor, "its lines' shares of it", shares)
    yield from _sum("tax_minor", d.tax_minor, "its taxes", [tax.amount_minor for tax in d.taxes])
    added = sum(tax.amount_minor for tax in d.taxes if not tax.inclusive)
    total = d.subtotal_minor - d.discount_minor + added
    if d.total_minor != total:
        yield (
            f"total_minor is {d.total_minor}, but subtotal {d.subtotal_minor} minus discount {d.discount_minor}"
            f" plus tax {added} is {total}"
        )
    credited = sum(each.minor for each in d.credits)
    if credited > max(d.total_minor, 0):
        yield f"credits come to {credited}, which is more than the total of {d.total_minor}"
    paid = sum(each.amount_minor for each in d.payments)
    due = max(0, d.total_minor - credited - paid)
    if d.due_minor != due:
        yield (
            f"due_minor is {d.due_minor}, but total {d.total_minor} minus credits {credited}"
            f" minus payments {paid} leaves {due}"
        )


def _rate(field: str, tax: Tax, roundings: int) -> Iterator[str]:
    """A tax that prices contain is rounded before it is taken off them, so that its base moves the other way."""
    if tax.category is not TaxCategory.STANDARD and tax.amount_minor:
        yield f"{field}.amount_minor is {tax.amount_minor}, but in category {tax.category} tax is 0"
    if tax.percent is None:
        return
    percent = _decimal(tax.percent)
    if percent is None:
        yield f"{field}.percent is {tax.percent!r}, which is no decimal"
        return
    share = percent / 100
    exact = tax.taxable_minor * share
    if roundings > 1 or tax.inclusive:
        fits = abs(tax.amount_minor - exact) <= roundings * HALF * (1 + share if tax.inclusive else 1)
    else:
        fits = tax.amount_minor == rounded(exact)
    if not fits:
        yield (
            f"{field}.amount_minor is {tax.amount_minor},"
            f" but {tax.percent} % of {tax.taxable_minor} is {rounded(exact)}"
        )


def _borne(document: Document) -> list[set[int]] | None:
    """The lines that bear each tax; None when a line names a tax that there is not."""
    bearing: list[set[int]] = [set() for _ in document.taxes]
    for number, line in enumerate(document.lines):
        for tax in line.taxes:
            if not 0 <= tax < len(bearing):
                return None
            bearing[tax].add(number)
    everything = set(range(len(document.lines)))
    return bearing if any(bearing) else [everything for _ in document.taxes]


def _bases(document: Document, bearing: Sequence[set[int]]) -> Iterator[str]:
    """What a tax was reckoned on is what its lines come to, without their discounts and the taxes that they contain.

    It cannot be told where discounts are not told by line and do not concern the same lines, nor where lines contain a
    tax that others contain as well.
    """
    shared = any(line.discounts for line in document.lines)
    for index, (tax, borne) in enumerate(zip(document.taxes, bearing, strict=True)):
        if not borne:
            yield f"taxes[{index}] ({tax.name}) applies to none of the lines, but is {tax.amount_minor}"
            continue
        contained = [i for i, other in enumerate(document.taxes) if other.inclusive and bearing[i] & borne]
        if any(bearing[i] != borne for i in contained):
            continue
        if not shared and document.discount_minor and len(borne) != len(document.lines):
            continue
        lines = [document.lines[number] for number in sorted(borne)]
        off = sum(each.minor for line in lines for each in line.discounts) if shared else document.discount_minor
        net = sum(line.amount_minor for line in lines) - off - sum(document.taxes[i].amount_minor for i in contained)
        if tax.taxable_minor != net:
            yield f"taxes[{index}].taxable_minor is {tax.taxable_minor}, but its lines come to {net}"


def _roundings(document: Document, *, by_stripe: bool) -> int:
    """How many roundings may have moved the tax of a rate."""
    if by_stripe:
        return max(1, len(document.lines))
    return PARTED + len(document.lines) if document.kind is Kind.CREDIT_NOTE else 1


def problems(document: Document, *, by_stripe: bool = False) -> list[str]:
    """What does not add up, or is missing, each in words that name the field and both numbers; none when all is well.

    Ours are strict: a rate's tax is rounded once, on what its lines come to. Of our credit notes it is a part of the
    invoice's, which was rounded itself, and so were the parts that earlier notes took: three units and half of one for
    each line are let pass. Stripe's (`by_stripe`) carry Stripe's own
    numbers, which may differ in three ways: a tax is rounded on each line, or on the whole
    (https://docs.stripe.com/tax/calculating#rounding), so half a unit for each line is let pass; it may be owed on part
    of a line only; and a prorated line is a share of its unit price.
    """
    found = [*_parties(document), *_link(document), *_dates(document), *_sums(document)]
    for index, line in enumerate(document.lines):
        if not (by_stripe and line.proration):
            found += _numbers(f"lines[{index}]", line)
    for index, tax in enumerate(document.taxes):
        found += _rate(f"taxes[{index}]", tax, _roundings(document, by_stripe=by_stripe))
    bearing = _borne(document)
    if bearing is None:
        found.append(f"lines: one names a tax of an index that there is not: taxes has {len(document.taxes)}")
    elif not by_stripe:
        found += _bases(document, bearing)
    if not (document.lines or by_stripe):
        found.append("lines: there are none")
    return found
