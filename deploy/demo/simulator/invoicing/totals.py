"""What an invoice comes to: discounts line by line, then taxes line by line, then the sums."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from deploy.demo.simulator.amounts import percent, share, spread

FINE = 10_000
"""Tax rates have at most four decimals: https://docs.stripe.com/api/tax_rates/create."""


@dataclass(frozen=True, slots=True)
class Discount:
    """What a coupon takes off. `amount_off` is in the invoice's minor units; `products` limits it, if given."""

    id: str
    percent_off: Decimal | None = None
    amount_off: int | None = None
    products: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """A tax rate in per cent; an inclusive one is within the price."""

    id: str
    percentage: Decimal
    inclusive: bool = False


@dataclass(frozen=True, slots=True)
class Tax:
    """What one rate takes of one line. `reason` is Stripe's `taxability_reason`."""

    rate: Rate
    amount: int
    taxable: int
    reason: str


@dataclass(slots=True)
class Line:
    """A line's arithmetic, in minor units."""

    amount: int
    discountable: bool = True
    product: str | None = None
    own: tuple[Discount, ...] = ()
    rates: tuple[Rate, ...] = ()
    discounts: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    taxes: list[Tax] = field(default_factory=list[Tax])

    @property
    def net(self) -> int:
        """After all discounts, before exclusive taxes."""
        return self.amount - sum(amount for _, amount in self.discounts)


@dataclass(frozen=True, slots=True)
class Totals:
    """An invoice's sums, by Stripe's names. A subtotal has the discounts of its lines in it, not the invoice's."""

    subtotal: int
    subtotal_excluding_tax: int
    total_excluding_tax: int
    total: int
    discounts: dict[str, int]
    taxes: list[Tax]


def add_up(lines: Sequence[Line], discounts: Sequence[Discount], exempt: str | None, grain: int = 1) -> Totals:
    """Discount and tax the lines (in place) and sum them up.

    `exempt` is the reason why no tax is taken: `customer_exempt` or `reverse_charge`. Lines that lie on the `grain` of
    their currency have discounts and taxes that do.
    """
    for line in lines:
        for discount in line.own:
            _take(discount, [line], grain)
    subtotal = sum(line.net for line in lines)
    within = sum(line.net - _bare(line.net, line.rates, grain) for line in lines) if exempt is None else 0
    for discount in discounts:
        _take(discount, lines, grain)
    for line in lines:
        line.taxes = _taxes(line, exempt, grain)
    net = sum(line.net for line in lines)
    taxes = [tax for line in lines for tax in line.taxes]
    return Totals(
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal - within,
        total_excluding_tax=net - sum(tax.amount for tax in taxes if tax.rate.inclusive),
        total=net + sum(tax.amount for tax in taxes if not tax.rate.inclusive),
        discounts=_by_discount(lines),
        taxes=taxes,
    )


def _take(discount: Discount, lines: Sequence[Line], grain: int) -> None:
    """Several discounts apply one after the other, each to what the ones before have left."""
    fits = [
        line
        for line in lines
        if line.discountable and line.net > 0 and (discount.products is None or line.product in discount.products)
    ]
    left = [line.net for line in fits]
    if discount.percent_off is not None:
        parts = [percent(amount, discount.percent_off, grain) for amount in left]
    else:
        parts = spread(min(discount.amount_off or 0, sum(left)), left, grain)
    for line, part in zip(fits, parts, strict=True):
        line.discounts.append((discount.id, part))


def _bare(net: int, rates: Sequence[Rate], grain: int) -> int:
    """`net` without the taxes that are within it."""
    within = sum(int(rate.percentage * FINE) for rate in rates if rate.inclusive)
    return share(net, 100 * FINE, 100 * FINE + within, grain) if within else net


def _taxes(line: Line, exempt: str | None, grain: int) -> list[Tax]:
    if exempt is not None:
        return [Tax(rate, 0, 0, exempt) for rate in line.rates]
    bare = _bare(line.net, line.rates, grain)
    inclusive = [rate for rate in line.rates if rate.inclusive]
    parts = spread(line.net - bare, [int(rate.percentage * FINE) for rate in inclusive], grain)
    amounts = dict(zip((rate.id for rate in inclusive), parts, strict=True))
    amounts |= {rate.id: percent(bare, rate.percentage, grain) for rate in line.rates if not rate.inclusive}
    return [Tax(rate, amounts[rate.id], bare, "not_available") for rate in line.rates]


def _by_discount(lines: Sequence[Line]) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in lines:
        for discount, amount in line.discounts:
            found[discount] = found.get(discount, 0) + amount
    return found
