"""What the business needs of the outside world, as Protocols; the adapters and the fakes are held to one contract."""

from datetime import datetime
from typing import Any, Protocol


class Clock(Protocol):
    """Tells the time; a test hands in one that it moves."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        ...


class StripeApi(Protocol):
    """Stripe's API, as far as we read it. Answers are plain JSON objects, never SDK objects."""

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        """`GET /v1/{path}`. Raises TryLater when Stripe is away or limits us, Refused when it can never work."""
        ...
