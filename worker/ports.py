"""What the business needs of the outside world, as Protocols; the adapters and the fakes are held to one contract."""

from datetime import datetime
from email.message import EmailMessage
from typing import Any, Literal, Protocol, runtime_checkable


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

    async def read(self, path: str, **params: Any) -> bytes:
        """`GET /v1/{path}` as the very bytes that Stripe sent, for lists. Errors are those of `retrieve`.

        Whoever reads much leaves others room: it waits for its turn in the budget that all workers share.
        """
        ...

    async def act(
        self, method: Literal["post", "delete"], path: str, *, idempotency_key: str, **params: Any
    ) -> dict[str, Any]:
        """Change something at Stripe. `idempotency_key` names the logical attempt, and is the same for its retries.

        Raises Unclear when no answer came, or Stripe failed inside: it may have been done. Else as `retrieve`.
        """
        ...


@runtime_checkable
class Dated(Protocol):
    """What tells its own time: Stripe does with each answer, few of those do that stand in for it."""

    @property
    def told_at(self) -> datetime | None:
        """The newest time that it told, in UTC; None before its first answer."""
        ...


class Mailer(Protocol):
    """Hands letters over to whoever carries them."""

    async def send(self, message: EmailMessage) -> str | None:
        """Hand one letter over, to the one address of its `To`. Returns the carrier's id for it, if it gave one.

        Raises TryLater when the carrier is away or busy and does not have the letter, Unclear when it may have it,
        Undeliverable when the address is refused for good, and Refused when the letter or our configuration is.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Pdf(Protocol):
    """Makes a PDF of a document, in a process of its own."""

    async def render(self, document: bytes) -> bytes:
        """The PDF of a document (JSON); the same document gives the same bytes.

        Raises Refused when the document cannot be rendered or takes too much time or memory, TryLater when nobody is
        there to render it.
        """
        ...

    async def close(self) -> None:
        """End its processes."""
        ...


class Files(Protocol):
    """Keeps files under names; what was written once is never overwritten."""

    async def create(self, name: str, content: bytes, *, media_type: str) -> bool:
        """Write a new file. False when one of this name exists, which is left as it is.

        Raises TryLater when the storage is away or full; nothing is half-written then.
        """
        ...

    async def read(self, name: str) -> bytes:
        """The file's content. Raises FileNotFoundError when there is none, TryLater when the storage is away."""
        ...

    def url(self, name: str) -> str:
        """The address of a file, for people and books: `s3://bucket/prefix/name`, `file:///…`."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
