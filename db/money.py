"""Money is a whole number of a currency's smallest unit; here it is rounded and divided, and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

ZERO_DECIMAL = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}
)
"""Currencies whose smallest unit is the currency itself: https://docs.stripe.com/currencies#zero-decimal."""

THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
"""Currencies of a thousand units: https://docs.stripe.com/currencies#three-decimal."""


class CurrencyMismatch(ValueError):  # noqa: N818 - named as the fact that it states
    """Amounts of two currencies met; a sum never crosses currencies."""


def decimals(currency: str) -> int:
    """How many decimal digits an amount in `currency` has: 0, 2 or 3. Unknown currencies have 2, as at Stripe."""
    code = currency.lower()
    if code in ZERO_DECIMAL:
        return 0
    return 3 if code in THREE_DECIMAL else 2


def rounded(value: Fraction) -> int:
    """The nearest whole number; a half goes away from zero, so that a credit is the exact mirror of a charge."""
    doubled = 2 * abs(value.numerator) + value.denominator
    whole = doubled // (2 * value.denominator)
    return whole if value >= 0 else -whole


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `weights`, without losing a unit (largest remainder; ties go to the first).

    Raises ValueError when a weight is negative or all are zero.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError(f"weights must not be negative nor all zero: {list(weights)}")
    sign = 1 if total >= 0 else -1
    parts = [divmod(abs(total) * weight, whole) for weight in weights]
    shares = [quotient for quotient, _ in parts]
    by_remainder = sorted(range(len(parts)), key=lambda index: (-parts[index][1], index))
    for index in by_remainder[: abs(total) - sum(shares)]:
        shares[index] += 1
    return [sign * share for share in shares]


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount in minor units with its currency (lower case, as Stripe writes it)."""

    minor: int
    currency: str

    def _other(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} cannot be reckoned together")
        return other.minor

    def __add__(self, other: "Money") -> Self:
        return type(self)(self.minor + self._other(other), self.currency)

    def __sub__(self, other: "Money") -> Self:
        return type(self)(self.minor - self._other(other), self.currency)

    def __neg__(self) -> Self:
        return type(self)(-self.minor, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.minor < self._other(other)

    def __le__(self, other: "Money") -> bool:
        return self.minor <= self._other(other)

    def share(self, part: int, whole: int) -> Self:
        """`part` of `whole` of this amount, rounded. The rest is `self - share`, so that nothing is lost."""
        return type(self)(rounded(Fraction(self.minor * part, whole)), self.currency)

    def split(self, weights: Sequence[int]) -> list[Self]:
        """This amount in parts that add up to it, in proportion to `weights`. Raises ValueError as `allocate` does."""
        return [type(self)(minor, self.currency) for minor in allocate(self.minor, weights)]
