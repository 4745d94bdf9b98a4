"""How long failed work waits: exponential with full jitter, so that many failures do not come back at once."""

from datetime import timedelta

BASE = timedelta(seconds=2)
CAP = timedelta(hours=1)


def ceiling(attempt: int, *, base: timedelta = BASE, cap: timedelta = CAP) -> timedelta:
    """The longest wait after failure number `attempt` (1 is the first)."""
    doublings = min(attempt - 1, 40)  # beyond that the cap rules anyway, and timedelta would overflow
    return min(cap, base * 2**doublings)


def delay(attempt: int, chance: float, *, base: timedelta = BASE, cap: timedelta = CAP) -> timedelta:
    """The wait after failure number `attempt`; `chance` is uniform in [0, 1).

    Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """
    return ceiling(attempt, base=base, cap=cap) * chance
