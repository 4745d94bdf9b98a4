"""Lines, taxes, discounts and parties of Stripe's invoices and credit notes, in old and new shapes, as we show them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from db.money import rounded
from jobs.invoices.document import Address, Amount, Line, Party, Period, Seller, Tax, TaxCategory, TaxId
from jobs.invoices.from_stripe_words import Word, word
from jobs.stripe_objects import Json, Obj


@dataclass(frozen=True, slots=True)
class Known:
    """What a document needs and Stripe's object does not tell: who sells, how the customer reads, and what ids mean."""

    seller: Seller
    locale: str
    timezone: str
    tax_rates: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Tax rates (https://docs.stripe.com/api/tax_rates/object) by id: newer shapes tell the id only."""
    coupons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names of coupons by id of the coupon, or of a discount."""

    def day(self, seconds: int) -> date:
        """The day that `seconds` since 1970 fall on."""
        return datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(self.timezone)).date()

    def word(self, which: Word, **values: str) -> str:
        """A word of ours in the customer's language."""
        return word(which, self.locale, **values)


def instant(obj: Obj, field_: str) -> datetime | None:
    """A time, in UTC."""
    told = obj.time(field_)
    return datetime.fromisoformat(told) if told is not None else None


def period(obj: Obj) -> Period | None:
    """A line's period; None where it is but a moment."""
    start, end = instant(obj, "start"), instant(obj, "end")
    return Period(start, end) if start is not None and end is not None and start < end else None


# Parties


def buyer(obj: Obj) -> Party:
    """Who the invoice is to, as Stripe froze it when it was finalized."""
    ids = [
        TaxId(one.link("type") or "unknown", value)
        for one in obj.each("customer_tax_ids")
        if (value := one.link("value"))
    ]
    return Party(
        name=obj.words("customer_name") or obj.link("customer_email") or obj.ref("customer") or "?",
        address=address(obj.sub("customer_address")),
        email=obj.link("customer_email"),
        phone=obj.link("customer_phone"),
        tax_ids=tuple(ids),
    )


def address(obj: Obj) -> Address:
    """A postal address; Stripe's empty parts are none."""
    names = ("line1", "line2", "city", "postal_code", "state", "country")
    return Address(**{name: obj.words(name) or None for name in names})


# Discounts


def discount_id(entry: Obj) -> str | None:
    """Which discount an amount is of."""
    return entry.ref("discount")


def coupon_name(entry: Obj, known: Known) -> str:
    """The name of a discount's coupon: shown in whole, known by id, or `Discount`."""
    discount = entry.sub("discount")
    coupon = discount.sub("coupon")
    if not coupon.json:
        coupon = discount.sub("source").sub("coupon")
    if (name := coupon.words("name")) is not None:
        return name
    ids = (coupon.ref("id"), discount.ref("coupon"), discount.sub("source").ref("coupon"), discount_id(entry))
    found = next((known.coupons[one] for one in ids if one is not None and one in known.coupons), None)
    return found or known.word(Word.DISCOUNT)


def own_discounts(line: Obj, of_invoice: Sequence[str]) -> set[str]:
    """The discounts that are the line's own: Stripe takes them off before its subtotal.

    https://docs.stripe.com/api/invoices/object#invoice_object-subtotal
    """
    return set(line.refs("discounts")) - set(of_invoice)


def amounts(
    entries: Iterator[Obj], names: Mapping[str | None, str], known: Known
) -> Iterator[tuple[str | None, Amount]]:
    """Discounts above zero with their names, each with its id."""
    for entry in entries:
        which = discount_id(entry)
        if (minor := entry.number("amount")) > 0:
            yield which, Amount(names.get(which) or coupon_name(entry, known), minor)


# Taxes

_SILENT = frozenset({"not_collecting", "not_supported", "not_available"})
"""Taxability reasons that are no statement about the sale: nothing is shown of them."""

_CATEGORIES = {
    "reverse_charge": TaxCategory.REVERSE_CHARGE,
    "zero_rated": TaxCategory.ZERO,
    "customer_exempt": TaxCategory.EXEMPT,
    "product_exempt": TaxCategory.EXEMPT,
    "product_exempt_holiday": TaxCategory.EXEMPT,
    "excluded_territory": TaxCategory.EXPORT,
    "jurisdiction_unsupported": TaxCategory.OUTSIDE,
    "not_subject_to_tax": TaxCategory.OUTSIDE,
}
"""https://docs.stripe.com/tax/zero-tax#zero-tax-amounts; all other reasons are of a tax that is taken."""


@dataclass(frozen=True, slots=True)
class RawTax:
    """One amount of tax, of the whole or of a line, in one shape."""

    rate: str | None
    minor: int
    taxable: int | None
    inclusive: bool
    reason: str | None
    shown: Obj
    """The rate in whole, where Stripe shows it; else empty."""


def taxes_in(obj: Obj) -> list[RawTax]:
    """What taxes an invoice, a credit note or a line of either tells: `total_taxes` and `taxes` since basil."""
    for name in ("total_taxes", "taxes", "total_tax_amounts", "tax_amounts"):
        if name in obj:
            return [_raw(entry) for entry in obj.each(name)]
    return []


def _raw(entry: Obj) -> RawTax:
    details = entry.sub("tax_rate_details") if "tax_rate_details" in entry else entry
    behavior = entry.text("tax_behavior")
    return RawTax(
        rate=details.ref("tax_rate"),
        minor=entry.number("amount"),
        taxable=entry.integer("taxable_amount"),
        inclusive=behavior == "inclusive" if behavior is not None else bool(entry.flag("inclusive")),
        reason=entry.text("taxability_reason"),
        shown=details.sub("tax_rate"),
    )


def shown_rates(obj: Obj) -> dict[str, Json]:
    """The tax rates that stand somewhere in an invoice or a credit note in whole, by id."""
    found = [*obj.each("default_tax_rates"), *(tax.shown for tax in taxes_in(obj))]
    for entry in obj.each("lines"):
        found += [*entry.each("tax_rates"), *(tax.shown for tax in taxes_in(entry))]
    return {name: rate.json for rate in found if (name := rate.ref("id")) is not None}


def rate_ids(obj: Obj) -> set[str]:
    """The tax rates that are told by id only, and must be looked up for their names."""
    found = [*taxes_in(obj), *(tax for entry in obj.each("lines") for tax in taxes_in(entry))]
    return {tax.rate for tax in found if tax.rate is not None} - set(shown_rates(obj))


@dataclass(frozen=True, slots=True)
class Taxes:
    """The taxes of a document, and which of them a line's are."""

    shown: tuple[Tax, ...]
    places: Mapping[tuple[str | None, bool], int]

    def of(self, line: Obj) -> tuple[int, ...]:
        """Which taxes a line bears."""
        keys = [(tax.rate, tax.inclusive) for tax in taxes_in(line)]
        return tuple(sorted({self.places[key] for key in keys if key in self.places}))


def taxes(obj: Obj, known: Known, *, taxable: int) -> Taxes:
    """Taxes by rate. `taxable` is what is taxed where Stripe does not tell it (a shape before 2023).

    Where the customer owes the tax (reverse charge) and Stripe reckoned none, that itself is told.
    """
    merged: dict[tuple[str | None, bool], list[RawTax]] = {}
    for raw in taxes_in(obj):
        merged.setdefault((raw.rate, raw.inclusive), []).append(raw)
    shown: list[Tax] = []
    places: dict[tuple[str | None, bool], int] = {}
    rates = {**known.tax_rates, **shown_rates(obj)}
    reverse = obj.text("customer_tax_exempt") == "reverse"
    for key, raws in merged.items():
        minor = sum(raw.minor for raw in raws)
        if minor == 0 and all(raw.reason in _SILENT for raw in raws) and not reverse:
            continue
        places[key] = len(shown)
        shown.append(
            _tax(
                raws,
                Obj(rates.get(key[0] or "", {}), "tax_rate"),
                known.word(Word.TAX),
                minor,
                taxable,
                reverse=reverse,
            )
        )
    if not shown and reverse:
        shown.append(Tax(known.word(Word.VAT), taxable, 0, percent="0", category=TaxCategory.REVERSE_CHARGE))
    return Taxes(tuple(shown), places)


def _tax(raws: Sequence[RawTax], rate: Obj, unnamed: str, minor: int, taxable: int, *, reverse: bool) -> Tax:
    first = raws[0]
    told = [raw.taxable for raw in raws if raw.taxable is not None]
    percent, category = _percent(rate), TaxCategory.STANDARD
    if minor == 0:
        none = TaxCategory.ZERO if percent == "0" else TaxCategory.STANDARD
        category = TaxCategory.REVERSE_CHARGE if reverse else _CATEGORIES.get(first.reason or "", none)
    return Tax(
        name=rate.words("display_name") or unnamed,
        taxable_minor=sum(told) if told else taxable,
        amount_minor=minor,
        percent=percent if category is TaxCategory.STANDARD else "0",
        inclusive=first.inclusive,
        category=category,
        jurisdiction=rate.words("jurisdiction") or rate.text("country"),
    )


def _percent(rate: Obj) -> str | None:
    """What was really taken: Stripe Tax tells it apart from the rate by law where the two differ."""
    if rate.text("rate_type") == "flat_amount":
        return None
    return rate.decimal("effective_percentage") or rate.decimal("percentage")


# Lines


def unit_price(line: Obj, *, amount: int, quantity: str | None) -> str | None:
    """The price of one, where it and the quantity make the amount: not so with tiers, packages and prorations."""
    told = [
        line.sub("pricing").decimal("unit_amount_decimal"),
        line.decimal("unit_amount_decimal"),
        line.sub("price").decimal("unit_amount_decimal"),
        line.sub("plan").decimal("amount_decimal"),
        line.sub("plan").decimal("amount"),
    ]
    price = next((one for one in told if one is not None), None)
    if price is None or quantity is None:
        return None
    return price if rounded(Fraction(Decimal(price)) * Fraction(Decimal(quantity))) == amount else None


def line(obj: Obj, known: Known, *, bears: Taxes, discounts: tuple[Amount, ...] = ()) -> Line:
    """One line of an invoice or a credit note, before discounts and the taxes that come on top."""
    amount = obj.number("amount")
    quantity = obj.decimal("quantity_decimal") or obj.decimal("quantity")
    named = (obj.words("description"), obj.sub("plan").words("nickname"), obj.sub("price").words("nickname"))
    parent = obj.sub("parent")
    flags = [parent.sub(name).flag("proration") for name in ("subscription_item_details", "invoice_item_details")]
    return Line(
        description=next((name for name in named if name), None) or known.word(Word.ITEM),
        amount_minor=amount,
        quantity=quantity,
        unit_price_minor=unit_price(obj, amount=amount, quantity=quantity),
        period=period(obj.sub("period")),
        discounts=discounts,
        taxes=bears.of(obj),
        proration=any(flags) or bool(obj.flag("proration")),
    )


_REFERENCE = re.compile(
    r"\b(p\.?o\.?|purchase order|order|cost cent(?:er|re)|your reference|bestell\w*|kostenstelle|"
    r"bon de commande|commande|pedido|orden de compra)\b|注文",
    re.IGNORECASE,
)
"""What people call the field for the customer's own number (https://docs.stripe.com/invoicing/customize#custom-fields)."""


def said(obj: Obj) -> dict[str, Any]:
    """What the merchant wrote on it: the customer's reference, and notes."""
    reference: str | None = None
    notes = [obj.words("description")]
    for one in obj.each("custom_fields"):
        name, value = one.words("name") or "", one.words("value")
        if value and reference is None and _REFERENCE.search(name):
            reference = value
        elif value:
            notes.append(f"{name}: {value}")
    notes.append(obj.words("footer"))
    return {"buyer_reference": reference, "notes": tuple(note for note in notes if note)}
