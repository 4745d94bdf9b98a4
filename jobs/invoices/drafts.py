"""An invoice of ours before it has a number: what is charged, taxed and given off, and what that comes to."""

from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from db.money import allocate, rounded
from jobs.invoices.codes import CURRENCIES
from jobs.invoices.document import (
    Amount,
    Document,
    Kind,
    Line,
    Party,
    Period,
    Stamp,
    Tax,
    TaxCategory,
)
from jobs.invoices.draft_limits import (
    FIRST_YEAR,
    LAST_YEAR,
    Above,
    LimitedAmount,
    LimitedParty,
    LimitedPeriod,
    Long,
    Name,
    Short,
    Which,
    Whole,
    Words,
    unwritable,
)
from jobs.invoices.page_text import clean
from jobs.invoices.sellers import OwnKind, SellerProfile, Terms
from jobs.partners.credits import money
from jobs.rules.documents import LARGEST, out_of_bounds
from worker.errors import Refused


class DraftLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is charged: `quantity` times `unit_price_minor`, or `amount_minor`. Prices are minor units."""

    description: Words
    quantity: Decimal | None = None
    unit_price_minor: Decimal | None = None
    amount_minor: Whole | None = None
    unit: Short | None = None
    details: Annotated[tuple[Words, ...], Meta(max_length=100)] = ()
    period: Period | None = None
    taxes: Annotated[tuple[Which, ...], Meta(max_length=20)] | None = None
    """Which of the draft's taxes apply, counted from 0; None: all of them."""


class DraftDiscount(Struct, frozen=True, forbid_unknown_fields=True):
    """What is given off all lines: so much (minor units), or so many percent of what earlier discounts left.

    As at Stripe: https://docs.stripe.com/billing/subscriptions/coupons#stacking.
    """

    name: Name
    minor: Above | None = None
    percent: Decimal | None = None


class DraftTax(Struct, frozen=True, forbid_unknown_fields=True):
    """A rate: `percent` of what its lines come to."""

    name: Name
    percent: Decimal
    inclusive: bool = False
    category: TaxCategory = TaxCategory.STANDARD
    jurisdiction: Short | None = None


class Draft(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an invoice of ours is made of. Amounts are minor units of `currency` (lower case)."""

    kind: OwnKind
    currency: Annotated[str, Meta(pattern=r"^[a-z]{3}\Z")]
    buyer: Party
    lines: Annotated[tuple[DraftLine, ...], Meta(min_length=1, max_length=5_000)]
    key: Name | None = None
    """Names what it is for (`partner/nw_live/2026-11`): the same thing is invoiced once. None: it is of its own."""
    seller: Short | None = None
    series: Short | None = None
    user_id: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    api_key_prefix: Short | None = None
    locale: Short | None = None
    timezone: Short | None = None
    """The buyer's, for the letter; days on the document are the seller's."""
    discounts: Annotated[tuple[DraftDiscount, ...], Meta(max_length=20)] = ()
    taxes: Annotated[tuple[DraftTax, ...], Meta(max_length=20)] = ()
    credits: Annotated[tuple[Amount, ...], Meta(max_length=100)] = ()
    terms: Terms | None = None
    period: Period | None = None
    buyer_reference: Short | None = None
    pay_url: Annotated[str, Meta(max_length=2_000, pattern=r"^https?://[^\s<>\"]+\Z")] | None = None
    notes: Annotated[tuple[Long, ...], Meta(max_length=50)] = ()
    legal: Annotated[tuple[Long, ...], Meta(max_length=50)] = ()
    memo: Long | None = None
    """For ourselves; no document shows it."""
    mail: bool = True


class _Line(DraftLine, frozen=True, forbid_unknown_fields=True):
    period: LimitedPeriod | None = None


class _Checked(Draft, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A draft within its limits: what documents share with Stripe's has none by itself."""

    buyer: LimitedParty
    lines: Annotated[tuple[_Line, ...], Meta(min_length=1, max_length=5_000)]
    credits: Annotated[tuple[LimitedAmount, ...], Meta(max_length=100)] = ()
    period: LimitedPeriod | None = None


def _said(error: msgspec.ValidationError) -> str:
    said, _, where = str(error).partition(" - at `$.")
    return f"{where.rstrip('`') or 'the invoice'}: {said[:1].lower()}{said[1:]}"


def _named(draft: Draft) -> Iterator[tuple[str, str]]:
    yield from ((f"lines[{index}].description", each.description) for index, each in enumerate(draft.lines))
    yield from ((f"discounts[{index}].name", each.name) for index, each in enumerate(draft.discounts))
    yield from ((f"taxes[{index}].name", each.name) for index, each in enumerate(draft.taxes))
    yield from ((f"credits[{index}].name", each.name) for index, each in enumerate(draft.credits))


def _decimals(draft: Draft) -> Iterator[tuple[str, Decimal | None]]:
    for index, line in enumerate(draft.lines):
        yield f"lines[{index}].quantity", line.quantity
        yield f"lines[{index}].unit_price_minor", line.unit_price_minor
    yield from ((f"discounts[{index}].percent", each.percent) for index, each in enumerate(draft.discounts))
    yield from ((f"taxes[{index}].percent", each.percent) for index, each in enumerate(draft.taxes))


def _periods(draft: Draft) -> Iterator[tuple[str, Period | None]]:
    yield "period", draft.period
    yield from ((f"lines[{index}].period", line.period) for index, line in enumerate(draft.lines))


def checked(draft: Draft) -> Draft:
    """`draft` with every field held to its type and limits, as if it came from a file. Raises Refused with all."""
    plain = msgspec.to_builtins(draft)
    found = list(unwritable(plain, ""))
    try:
        read = msgspec.convert(plain, _Checked)
    except msgspec.ValidationError as error:
        raise Refused("; ".join([*found, _said(error)])) from error
    if read.currency not in CURRENCIES:
        found.append(f"currency: {read.currency!r} is none that Stripe can be paid in")
    found += [f"{place} is empty" for place, name in _named(read) if not clean(name).strip()]
    for place, value in _decimals(read):
        wrong = None if value is None else out_of_bounds(value)
        if wrong:
            found.append(f"{place} {wrong}")
    for place, period in _periods(read):
        if period is not None and not all(FIRST_YEAR <= at.year <= LAST_YEAR for at in (period.start, period.end)):
            found.append(f"{place}: lies outside of the years {FIRST_YEAR} to {LAST_YEAR}")
    if found:
        raise Refused("; ".join(found))
    return read


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


def _category(tax: DraftTax) -> TaxCategory:
    """A standard rate of nothing is category Z by another name (EN 16931, BR-S-5 and BR-Z-5)."""
    return TaxCategory.ZERO if tax.category is TaxCategory.STANDARD and not tax.percent else tax.category


def _within(sums: Mapping[str, int]) -> None:
    """Raises Refused where reckoning led further than a document goes."""
    found = [
        f"{name} comes to {value}, which is beyond {LARGEST}" for name, value in sums.items() if abs(value) > LARGEST
    ]
    if found:
        raise Refused("; ".join(found))


def _taxes(draft: Draft, net: Sequence[int]) -> tuple[Tax, ...]:
    """Each rate is rounded once, on what its lines come to after discounts."""
    bearing = _bearing(draft, len(net))
    made: dict[int, Tax] = {}
    for index, (tax, borne) in enumerate(zip(draft.taxes, bearing, strict=True)):
        place = f"taxes[{index}] ({tax.name})"
        if not 0 <= tax.percent <= 100:  # noqa: PLR2004 - percent
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
            category=_category(tax),
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
    """What the invoice will say when it is issued at `now` (aware) as `number`. Raises Refused naming the field.

    `draft` has been `checked`.
    """
    amounts = [_amount(line, f"lines[{index}]") for index, line in enumerate(draft.lines)]
    _within({f"lines[{index}]": amount for index, amount in enumerate(amounts)} | {"subtotal": sum(amounts)})
    discounts, shares = _discounts(draft, amounts)
    net = [amount - sum(each.minor for each in share) for amount, share in zip(amounts, shares, strict=True)]
    taxes = _taxes(draft, net)
    subtotal, discount = sum(amounts), sum(each.minor for each in discounts)
    total = subtotal - discount + sum(tax.amount_minor for tax in taxes if not tax.inclusive)
    if total < 0:
        raise Refused(
            f"the total is {money(total, draft.currency)}: what is given back is a credit note, not an invoice"
        )
    credited = sum(each.minor for each in draft.credits)
    _within({"total": total, "credits": credited, "due": total - credited})
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
        return msgspec.json.decode(raw, type=_Checked)
    except msgspec.ValidationError as error:
        raise Refused(_said(error)) from error
    except msgspec.DecodeError as error:
        raise Refused(f"this is no JSON: {error}") from error
