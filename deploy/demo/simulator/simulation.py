"""The simulated Stripe as a whole: an account, its API, its webhooks, and a clock that moves all of it."""

import asyncio
from collections.abc import Callable

from deploy.demo.simulator import registry
from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.api import Api
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.faults import Faults
from deploy.demo.simulator.posting import Poster
from deploy.demo.simulator.resources.events import KEPT
from deploy.demo.simulator.resources.webhook_endpoints import add_endpoint
from deploy.demo.simulator.webhooks import Deliveries, Post

PATIENCE = 60.0
"""Seconds without any accepted delivery after which a flush gives up."""


class BackwardsError(ValueError):
    """Time was to go back."""


class Simulation:
    """One account that lives. The same seed, start and calls make the same objects and events."""

    def __init__(
        self,
        seed: int,
        start: int,
        *,
        post: Post | None = None,
        wall: Callable[[], int] | None = None,
        concurrency: int = 16,
        patience: float = 0.0,
        forget: bool = False,
    ) -> None:
        """`start` is in seconds since 1970.

        `post` delivers webhooks, by HTTP if it is not given. `wall` dates their signatures, by the account's clock if
        it is not given: hand in the receiver's. `concurrency` and `patience` are those of `Deliveries`. `forget`:
        events that Stripe's API would no longer show are not kept.
        """
        registry.discover()
        self.account = Account(seed, start)
        self.api = Api(self.account)
        self.faults = Faults(seed)
        self._poster = Poster()
        self.deliveries = Deliveries(
            self.account,
            self.faults,
            post or self._poster,
            wall or self.account.now,
            concurrency=concurrency,
            patience=patience,
        )
        self._forget = forget
        self._moving = asyncio.Lock()

    def endpoint(
        self, url: str, *, secret: str | None = None, version: str | None = None, events: tuple[str, ...] = ("*",)
    ) -> Json:
        """Deliver to `url` from now on; the endpoint, with its secret."""
        return add_endpoint(self.account, url=url, events=list(events), version=version, secret=secret)

    async def advance(self, to: int, *, wait: bool = True) -> None:
        """Move the account's clock to `to` (seconds since 1970): what is due on the way happens, each at its time.

        Deliveries leave when they are due, and the clock waits for them as their concurrency demands. With `wait` all
        that are due by then have been tried on return. Raises BackwardsError, a ValueError.
        """
        async with self._moving:
            await self._move(to)
        await self._moved(wait=wait)

    async def pass_by(self, seconds: int, *, wait: bool = True) -> None:
        """Let so many seconds pass, from whatever time it is then."""
        async with self._moving:
            await self._move(self.account.now() + seconds)
        await self._moved(wait=wait)

    async def _moved(self, *, wait: bool) -> None:
        if wait:
            await self.settle()
        if self._forget:
            self._forget_old_events()

    async def _move(self, to: int) -> None:
        clock = self.account.clock
        if to < clock.now:
            raise BackwardsError(f"time does not go back: from {clock.now} to {to}")
        while (due := self._next_due()) is not None and due <= to:
            clock.move(max(due, clock.now))
            await self.deliveries.room()
            await asyncio.sleep(0)  # a long move lets requests in
        clock.move(to)

    def _next_due(self) -> int | None:
        dues = [due for due in (self.account.clock.next_due, self.deliveries.next_due) if due is not None]
        return min(dues, default=None)

    async def settle(self) -> None:
        """Everything that is due now is delivered, or has been tried."""
        await self.deliveries.settle()

    async def flush(self, patience: float = PATIENCE) -> None:
        """Everything that is pending is delivered and accepted, however late it would be due; the clock stands still.

        Raises UndeliveredError when nothing is accepted for `patience` seconds.
        """
        await self.deliveries.flush(patience)

    def _forget_old_events(self) -> None:
        oldest = self.account.now() - KEPT - DAY
        for id_, event in list(self.account.events.items()):
            if event.created >= oldest:
                break
            if id_ not in self.account.undelivered:
                del self.account.events[id_]

    async def close(self) -> None:
        """Stop deliveries and hang up."""
        await self.deliveries.close()
        self._poster.close()
