"""What a change within a period gives back, and what it costs: by the second, as Stripe counts.

https://docs.stripe.com/billing/subscriptions/prorations.
"""

from deploy.demo.simulator.amounts import share


def unused(amount: int, period: tuple[int, int], at: int, grain: int = 1) -> int:
    """The part of `amount` (minor units, on the grain) for the time from `at` to the period's end."""
    start, end = period
    if end <= start:
        return 0
    return share(amount, end - min(max(at, start), end), end - start, grain)


def used(amount: int, period: tuple[int, int], at: int, grain: int = 1) -> int:
    """The rest, by subtraction: the two are always `amount`."""
    return amount - unused(amount, period, at, grain)
