"""What to do when Stripe only repeats, for an idempotency key, how an earlier try failed."""

from collections.abc import Awaitable, Callable

from worker.errors import Spent

KEYS = 50
"""Keys in a row that may be spent: more than any job has tries in a day, for which Stripe keeps them."""


async def with_new_key(run: Callable[[int], Awaitable[None]]) -> None:
    """Run `run(0)`, and with the next number as long as the key of the last one is spent.

    `run` looks at Stripe before it acts, and makes its keys of the number. A failure that is new ends this: what is
    tried again later comes here again, finds the same keys spent, and takes the next one. Raises Spent after `KEYS`.
    """
    for number in range(KEYS):
        try:
            await run(number)
        except Spent:
            if number == KEYS - 1:
                raise
        else:
            return
