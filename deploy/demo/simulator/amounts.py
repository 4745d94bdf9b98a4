"""The simulator's own arithmetic of money: integers in minor units, shared with nothing that it tests.

`grain` is what an amount of the currency must be a multiple of: see `currencies.grain`.
"""

from decimal import ROUND_HALF_UP, Decimal


def whole(amount: Decimal, grain: int = 1) -> int:
    """The nearest multiple of `grain`, half away from zero."""
    return int((amount / grain).quantize(Decimal(1), ROUND_HALF_UP)) * grain


def share(amount: int, part: int, of: int, grain: int = 1) -> int:
    """`amount * part / of` in minor units, rounded to the grain. Raises ZeroDivisionError for no whole."""
    return whole(Decimal(amount) * part / of, grain)


def percent(amount: int, rate: Decimal | float | str, grain: int = 1) -> int:
    """`rate` per cent of `amount`, in minor units, rounded to the grain."""
    return whole(Decimal(amount) * Decimal(str(rate)) / 100, grain)


def times(unit_amount_decimal: str, quantity: int, grain: int = 1) -> int:
    """What `quantity` units cost at a price that may hold fractions of a minor unit, rounded once, to the grain."""
    return whole(Decimal(unit_amount_decimal) * quantity, grain)


def spread(amount: int, weights: list[int], grain: int = 1) -> list[int]:
    """`amount` by `weights`, to the last grain: what rounding leaves goes to the largest remainders, then the first.

    Weights of no sum get nothing but what is left, which the first takes. `amount` lies on the grain.
    """
    total, units = sum(weights), amount // grain
    if not weights:
        return []
    if total == 0:
        return [amount, *([0] * (len(weights) - 1))]
    parts = [units * weight // total for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-((units * weights[i]) % total), i))
    for i in order[: units - sum(parts)]:
        parts[i] += 1
    return [part * grain for part in parts]
