"""What part of an invoice's price and taxes a credit note gives back: several notes add up to it, to the cent."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from db.money import allocate, rounded


@dataclass(frozen=True, slots=True)
class Group:
    """The lines of an invoice that bear the same taxes. Amounts are minor units.

    `price` is what they come to after discounts, as the invoice prints it: with the taxes that prices contain.
    `taxes` are these lines' shares of the invoice's taxes, and `on_top` tells which of them `price` does not contain.
    """

    price: int
    taxes: tuple[int, ...] = ()
    on_top: tuple[bool, ...] = ()

    @property
    def total(self) -> int:
        """What is paid for the lines."""
        return self.price + on_top(self, self.taxes)


@dataclass(frozen=True, slots=True)
class Part:
    """What of a group is given back: of its price, and of each of its taxes."""

    price: int
    taxes: tuple[int, ...] = ()


def on_top(group: Group, taxes: Sequence[int]) -> int:
    """What these parts of the group's taxes add to its price."""
    return sum(tax for tax, added in zip(taxes, group.on_top, strict=True) if added)


def given(group: Group, part: Part) -> int:
    """What a customer gets back with `part`."""
    return part.price + on_top(group, part.taxes)


def nothing(group: Group) -> Part:
    """The part that no note has taken yet."""
    return Part(0, (0,) * len(group.taxes))


def together(first: Part, second: Part) -> Part:
    """Both parts as one."""
    return Part(
        first.price + second.price, tuple(one + two for one, two in zip(first.taxes, second.taxes, strict=True))
    )


def rest(group: Group, taken: Part) -> Part:
    """All that earlier notes have left."""
    return Part(
        group.price - taken.price, tuple(all_ - had for all_, had in zip(group.taxes, taken.taxes, strict=True))
    )


def by_total(group: Group, taken: Part, amount: int) -> Part:
    """The part by which the customer gets `amount` back, after earlier notes have `taken` theirs.

    Each tax is rounded on all notes together, so that the last one leaves nothing over. Raises ValueError when it is
    more than is left, or so little that it cannot be divided.
    """
    left = group.total - given(group, taken)
    if not 0 < amount <= left:
        raise ValueError(f"{amount} is not between 1 and the {left} that are left")
    reached = group.total - left + amount
    taxes = tuple(
        max(0, rounded(Fraction(reached * all_, group.total)) - had)
        for all_, had in zip(group.taxes, taken.taxes, strict=True)
    )
    price = amount - on_top(group, taxes)
    if price < sum(taxes) - on_top(group, taxes):
        raise ValueError(f"{amount} is too little to be divided into a price and its taxes")
    return Part(price, taxes)


def by_price(group: Group, taken: Part, amount: int) -> Part:
    """The part that takes `amount` off the price as it is printed, and its taxes. Raises ValueError as `by_total`."""
    left = group.price - taken.price
    if not 0 < amount <= left:
        raise ValueError(f"{amount} is not between 1 and the {left} that are left")
    reached = taken.price + amount
    taxes = tuple(
        max(0, rounded(Fraction(reached * all_, group.price)) - had)
        for all_, had in zip(group.taxes, taken.taxes, strict=True)
    )
    return Part(amount, taxes)


def divide(groups: Sequence[Group], taken: Sequence[Part], amount: int) -> list[Part]:
    """`amount` (with taxes) over the groups, by what is left of each. Raises ValueError as `by_total` does."""
    left = [max(0, group.total - given(group, had)) for group, had in zip(groups, taken, strict=True)]
    if not 0 < amount <= sum(left):
        raise ValueError(f"{amount} is not between 1 and the {sum(left)} that are left")
    return [
        by_total(group, had, share) if share else nothing(group)
        for group, had, share in zip(groups, taken, allocate(amount, left), strict=True)
    ]
