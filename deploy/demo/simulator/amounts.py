"""The simulator's own arithmetic of money: integers in minor units, shared with nothing that it tests."""

from decimal import ROUND_HALF_UP, Decimal


def share(amount: int, part: int, whole: int) -> int:
    """`amount * part / whole` in minor units, half away from zero. Raises ZeroDivisionError for no whole."""
    return int((Decimal(amount) * part / whole).quantize(Decimal(1), ROUND_HALF_UP))


def percent(amount: int, rate: Decimal | float | str) -> int:
    """`rate` per cent of `amount`, in minor units, half away from zero."""
    return int((Decimal(amount) * Decimal(str(rate)) / 100).quantize(Decimal(1), ROUND_HALF_UP))


def times(unit_amount_decimal: str, quantity: int) -> int:
    """What `quantity` units cost at a price that may hold fractions of a minor unit, rounded once."""
    return int((Decimal(unit_amount_decimal) * quantity).quantize(Decimal(1), ROUND_HALF_UP))


def spread(amount: int, weights: list[int]) -> list[int]:
    """`amount` by `weights`, to the last unit: what rounding leaves goes to the largest remainders, then the first.

    Weights of no sum get nothing but what is left, which the first takes.
    """
    whole = sum(weights)
    if not weights:
        return []
    if whole == 0:
        return [amount, *([0] * (len(weights) - 1))]
    parts = [amount * weight // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-((amount * weights[i]) % whole), i))
    for i in order[: amount - sum(parts)]:
        parts[i] += 1
    return parts
