"""An invoice of ours before it has a number: what is charged, taxed and given off, and what that comes to."""

from calendar import monthrange
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from db.money import allocate, rounded
from jobs.invoices.document import Amount, Document, Kind, Line, Party, Period, Stamp, Tax, TaxCategory
from jobs.invoices.sellers import OwnKind, SellerProfile, Terms
from worker.errors import Refused

Words = Annotated[str, Meta(min_length=1)]
Whole = Annotated[int, Meta(ge=-(10**15), le=10**15)]
Above = Annotated[int, Meta(ge=1, le=10**15)]


class DraftLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is charged: `quantity` times `unit_price_minor`, or `amount_minor`. Prices are minor units."""

    description: Words
    quantity: Decimal | None = None
    unit_price_minor: Decimal | None = None
    amount_minor: Whole | None = None
    unit: str | None = None
    details: tuple[str, ...] = ()
    period: Period | None = None
    taxes: tuple[int, ...] | None = None
    """Which of the draft's taxes apply, counted from 0; None: all of them."""


class DraftDiscount(Struct, frozen=True, forbid_unknown_fields=True):
    """What is given off all lines: so much (minor units), or so many percent of what earlier discounts left.

    As at Stripe: https://docs.stripe.com/billing/subscriptions/coupons#stacking.
    """

    name: Words
    minor: Above | None = None
    percent: Decimal | None = None


class DraftTax(Struct, frozen=True, forbid_unknown_fields=True):
    """A rate: `percent` of what its lines come to."""

    name: Words
    percent: Decimal
    inclusive: bool = False
    category: TaxCategory = TaxCategory.STANDARD
    jurisdiction: str | None = None


class Draft(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an invoice of ours is made of. Amounts are minor units of `currency` (lower case)."""

    kind: OwnKind
    currency: Annotated[str, Meta(pattern="^[a-z]{3}$")]
    buyer: Party
    lines: Annotated[tuple[DraftLine, ...], Meta(min_length=1)]
    key: str | None = None
    """Names what it is for (`partner/nw_live/2026-11`): the same thing is invoiced once. None: it is of its own."""
    seller: str | None = None
    series: str | None = None
    user_id: int | None = None
    api_key_prefix: str | None = None
    locale: str | None = None
    timezone: str | None = None
    """The buyer's, for the letter; days on the document are the seller's."""
    discounts: tuple[DraftDiscount, ...] = ()
    taxes: tuple[DraftTax, ...] = ()
    credits: tuple[Amount, ...] = ()
    terms: Terms | None = None
    period: Period | None = None
    buyer_reference: str | None = None
    pay_url: Annotated[str, Meta(pattern=r"^https?://[^\s<>\"]+$")] | None = None
    notes: tuple[str, ...] = ()
    legal: tuple[str, ...] = ()
    memo: str | None = None
    """For ourselves; no document shows it."""
    mail: bool = True


def due_on(issued_on: date, terms: Terms) -> date:
    """The last day on which it is paid in time. `end_of_month`: of the month that it is issued in."""
    match terms:
        case "due_on_receipt":
            return issued_on
        case "end_of_month":
            return issued_on.replace(day=monthrange(issued_on.year, issued_on.month)[1])
        case _:
            return issued_on + timedelta(days=int(terms.removeprefix("net_")))


def _plain(value: Decimal | None) -> str | None:
    """A decimal without an exponent, and without zeros that say nothing."""
    if value is None:
        return None
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _amount(line: DraftLine, place: str) -> int:
    if line.quantity is None or line.unit_price_minor is None:
        if line.amount_minor is None:
            raise Refused(f"{place}: give amount_minor, or quantity and unit_price_minor")
        return line.amount_minor
    if not (line.quantity.is_finite() and line.unit_price_minor.is_finite()):
        raise Refused(f"{place}: quantity and unit_price_minor are numbers")
    amount = rounded(Fraction(line.quantity) * Fraction(line.unit_price_minor))
    if line.amount_minor not in {None, amount}:
        raise Refused(f"{place}: amount_minor is {line.amount_minor}, but quantity times price is {amount}")
    return amount


def _discounts(draft: Draft, amounts: Sequence[int]) -> tuple[tuple[Amount, ...], list[list[Amount]]]:
    """The discounts in minor units, and each line's share of them: by what it costs, to the cent."""
    weights = [max(amount, 0) for amount in amounts]
    left, rest = list(weights), max(sum(amounts), 0)
    whole: list[Amount] = []
    shares: list[list[Amount]] = [[] for _ in amounts]
    for index, each in enumerate(draft.discounts):
        place = f"discounts[{index}] ({each.name})"
        if (each.minor is None) == (each.percent is None):
            raise Refused(f"{place}: give either minor or percent")
        minor = each.minor
        if each.percent is not None:
            if not 0 < each.percent <= 100:  # noqa: PLR2004 - percent
                raise Refused(f"{place}: percent is above 0 and at most 100")
            minor = rounded(Fraction(each.percent) * rest / 100)
        if minor is None or minor > rest:
            raise Refused(f"{place}: is more than what is left to charge, {rest}")
        if not minor:
            continue
        rest -= minor
        whole.append(Amount(each.name, minor))
        for line, share in enumerate(allocate(minor, left)):
            left[line] -= share
            if share:
                shares[line].append(Amount(each.name, share))
    return tuple(whole), shares


def _bearing(draft: Draft, lines: int) -> list[frozenset[int]]:
    """The lines that bear each tax."""
    everything = tuple(range(len(draft.taxes)))
    found: list[set[int]] = [set() for _ in draft.taxes]
    for number, line in enumerate(draft.lines[:lines]):
        for tax in everything if line.taxes is None else line.taxes:
            if not 0 <= tax < len(found):
                raise Refused(f"lines[{number}].taxes: there is no tax {tax}: the draft has {len(found)}")
            found[tax].add(number)
    for index, borne in enumerate(found):
        if not borne:
            raise Refused(f"taxes[{index}] ({draft.taxes[index].name}): no line bears it")
    return [frozenset(each) for each in found]


def _taxes(draft: Draft, net: Sequence[int]) -> tuple[Tax, ...]:
    """Each rate is rounded once, on what its lines come to after discounts."""
    bearing = _bearing(draft, len(net))
    made: dict[int, Tax] = {}
    for index, (tax, borne) in enumerate(zip(draft.taxes, bearing, strict=True)):
        place = f"taxes[{index}] ({tax.name})"
        if not (tax.percent.is_finite() and 0 <= tax.percent <= 100):  # noqa: PLR2004 - percent
            raise Refused(f"{place}: percent is between 0 and 100")
        contained = [i for i, other in enumerate(draft.taxes) if other.inclusive and bearing[i] & borne]
        if any(bearing[i] != borne for i in contained):
            raise Refused(f"{place}: some of its lines contain a tax that others of them do not: divide the rate")
        if len(contained) > 1:  # each would be rounded, and none would be its rate of what is left to the cent
            raise Refused(f"{place}: the prices of its lines contain two taxes: write them as one rate")
        gross = sum(net[line] for line in borne)
        rates = sum((Fraction(draft.taxes[i].percent) for i in contained), Fraction(0))
        before = Fraction(gross * 100) / (100 + rates)
        amounts = {i: rounded(before * Fraction(draft.taxes[i].percent) / 100) for i in contained}
        taxable = gross - sum(amounts.values())
        amount = amounts[index] if tax.inclusive else rounded(Fraction(tax.percent) * taxable / 100)
        made[index] = Tax(
            name=tax.name,
            taxable_minor=taxable,
            amount_minor=amount,
            percent=_plain(tax.percent),
            inclusive=tax.inclusive,
            category=tax.category,
            jurisdiction=tax.jurisdiction,
        )
    return tuple(made[index] for index in range(len(draft.taxes)))


def _lines(draft: Draft, amounts: Sequence[int], shares: Sequence[Sequence[Amount]]) -> tuple[Line, ...]:
    everything = tuple(range(len(draft.taxes)))
    return tuple(
        Line(
            description=line.description,
            amount_minor=amount,
            quantity=_plain(line.quantity),
            unit=line.unit,
            unit_price_minor=_plain(line.unit_price_minor),
            details=line.details,
            period=line.period,
            discounts=tuple(share),
            taxes=everything if line.taxes is None else line.taxes,
        )
        for line, amount, share in zip(draft.lines, amounts, shares, strict=True)
    )


def document(
    draft: Draft, profile: SellerProfile, *, number: str, now: datetime, stamp: Stamp | None = None
) -> Document:
    """What the invoice will say when it is issued at `now` (aware) as `number`. Raises Refused naming the field."""
    amounts = [_amount(line, f"lines[{index}]") for index, line in enumerate(draft.lines)]
    discounts, shares = _discounts(draft, amounts)
    net = [amount - sum(each.minor for each in share) for amount, share in zip(amounts, shares, strict=True)]
    taxes = _taxes(draft, net)
    subtotal, discount = sum(amounts), sum(each.minor for each in discounts)
    total = subtotal - discount + sum(tax.amount_minor for tax in taxes if not tax.inclusive)
    if total < 0:
        raise Refused(f"the total is {total}: what is given back is a credit note, not an invoice")
    credited = sum(each.minor for each in draft.credits)
    issued_on = now.astimezone(ZoneInfo(profile.timezone)).date()
    terms = draft.terms or profile.terms
    return Document(
        kind=Kind.INVOICE,
        number=number,
        currency=draft.currency,
        locale=draft.locale or profile.locale,
        timezone=profile.timezone,
        issued_on=issued_on,
        seller=profile.seller,
        buyer=draft.buyer,
        lines=_lines(draft, amounts, shares),
        subtotal_minor=subtotal,
        total_minor=total,
        due_minor=max(0, total - credited),
        discount_minor=discount,
        tax_minor=sum(tax.amount_minor for tax in taxes),
        discounts=discounts,
        taxes=taxes,
        credits=draft.credits,
        due_on=due_on(issued_on, terms),
        period=draft.period,
        buyer_reference=draft.buyer_reference,
        terms=terms,
        pay_url=draft.pay_url,
        notes=draft.notes,
        legal=draft.legal,
        stamp=stamp,
    )


def read_draft(raw: bytes) -> Draft:
    """A draft from JSON. Raises Refused naming the field that is wrong, and what it should be."""
    try:
        return msgspec.json.decode(raw, type=Draft)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$.")
        raise Refused(f"{where.rstrip('`') or 'the invoice'}: {said[:1].lower()}{said[1:]}") from error
    except msgspec.DecodeError as error:
        raise Refused(f"this is no JSON: {error}") from error
