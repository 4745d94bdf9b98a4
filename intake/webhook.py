"""Stripe tells us what happened: an event is checked, remembered, announced to the workers, and then acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

import structlog

from db import envelope
from db.envelope import MalformedError
from db.inbox import NewEvent
from intake import signature
from intake.batcher import UnavailableError
from intake.server import WHOLE_BODY
from intake.signature import BadSignatureError
from worker.ports import Clock
from worker.settings import StripeMode
from worker.telemetry import count_webhook

log = structlog.get_logger()

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PATH: Final = "/payments/webhook"

MAX_BODY = 1024 * 1024
"""Bytes of a body at most. Stripe's events are some kilobytes; the largest seen have some hundred."""

BODY_TIMEOUT = 10.0
"""Seconds in which a body must have come."""

RETRY_AFTER = 5
"""Seconds that a caller is asked to wait; Stripe keeps its own schedule and ignores it."""


class Inbox(Protocol):
    """Remembers events."""

    async def remember(self, event: NewEvent, /) -> bool:
        """Return after the commit; True if the event was there before. Raises UnavailableError."""
        ...


class RejectionError(Exception):
    """The request gets `status`; `outcome` is for metrics and logs, the caller is told `told` and no more."""

    def __init__(self, status: int, outcome: str, told: str, *, type_: str | None = None, close: bool = False) -> None:
        super().__init__(outcome)
        self.status = status
        self.outcome = outcome
        self.told = told
        self.type = type_
        self.close = close


def _answer(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> tuple[Message, Message]:
    start: Message = {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *headers,
        ],
    }
    return start, {"type": "http.response.body", "body": body}


_ACCEPTED = _answer(200, b'{"received":true,"duplicate":false}')
_DUPLICATE = _answer(200, b'{"received":true,"duplicate":true}')


class Webhook:
    """`POST /payments/webhook` as a bare ASGI app: a framework around it would cost more than all that it does."""

    def __init__(
        self,
        inbox: Inbox,
        clock: Clock,
        secrets: Sequence[bytes],
        *,
        mode: StripeMode = StripeMode.ANY,
        body_timeout: float = BODY_TIMEOUT,
    ) -> None:
        """Without `secrets` every request is refused; `body_timeout` is in seconds."""
        self._inbox = inbox
        self._clock = clock
        self._secrets = secrets
        self._mode = mode
        self._body_timeout = body_timeout
        self._complaints: dict[str, tuple[float, int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            event = await self._admit(scope, receive)
            duplicate = await self._remember(event)
        except RejectionError as rejection:
            count_webhook(rejection.type, rejection.outcome)
            self._complain(rejection)
            start, body = _refusal(rejection)
        else:
            count_webhook(event.type, "duplicate" if duplicate else "accepted")
            start, body = _DUPLICATE if duplicate else _ACCEPTED
        await send(start)
        await send(body)

    async def _admit(self, scope: Scope, receive: Receive) -> NewEvent:
        """The event in the request, if Stripe signed it and it is meant for us. Raises RejectionError."""
        if scope["method"] != "POST":
            raise RejectionError(405, "method", "use POST")
        if not self._secrets:
            raise RejectionError(503, "unconfigured", "STRIPE_WEBHOOK_SECRET is not set")
        signed: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"stripe-signature":
                signed = value
            elif name == b"content-length" and int(value) > MAX_BODY:
                raise RejectionError(413, "too_large", "the body is larger than 1 MiB")
        body = await read_body(scope, receive, self._body_timeout)
        now = self._clock.now()
        try:
            signature.verify(signed, body, self._secrets, now=now.timestamp())
        except BadSignatureError as error:
            raise RejectionError(400, error.reason, "bad request") from None
        try:
            event = envelope.read(body, now)
        except MalformedError as error:
            raise RejectionError(400, str(error), "bad request") from None
        if self._mode is not StripeMode.ANY and event.livemode is not (self._mode is StripeMode.LIVE):
            raise RejectionError(400, "wrong_mode", "bad request", type_=event.type)
        return event

    async def _remember(self, event: NewEvent) -> bool:
        try:
            return await self._inbox.remember(event)
        except UnavailableError as error:
            log.debug("not remembered", id=event.id, why=str(error))
            raise RejectionError(503, "unavailable", "try again later", type_=event.type) from None

    def _complain(self, rejection: RejectionError) -> None:
        """Log a rejection, each kind at most once in a second: a stranger must not be able to fill our disk."""
        now = asyncio.get_running_loop().time()
        last, unsaid = self._complaints.get(rejection.outcome, (now - 1, 0))
        if now - last < 1:
            self._complaints[rejection.outcome] = (last, unsaid + 1)
            return
        self._complaints[rejection.outcome] = (now, 0)
        log.warning(
            "webhook refused", outcome=rejection.outcome, status=rejection.status, type=rejection.type, more=unsaid
        )


async def read_body(scope: Scope, receive: Receive, timeout: float) -> bytes:  # noqa: ASYNC109 - most bodies have come, and need none
    """A request's body. `timeout` is in seconds. Raises RejectionError when it is too large, too slow or breaks off."""
    if WHOLE_BODY in scope.get("extensions", ()):
        return await _whole(receive)
    try:
        async with asyncio.timeout(timeout):
            return await _whole(receive)
    except TimeoutError:
        raise RejectionError(408, "slow", "the body came too slowly", close=True) from None


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RejectionError(400, "disconnected", "bad request", close=True)
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            raise RejectionError(413, "too_large", "the body is larger than 1 MiB")
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _refusal(rejection: RejectionError) -> tuple[Message, Message]:
    headers: list[tuple[bytes, bytes]] = []
    if rejection.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"POST"))
    if rejection.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", str(RETRY_AFTER).encode()))
    if rejection.close:
        headers.append((b"connection", b"close"))
    return _answer(rejection.status, b'{"error":"%s"}' % rejection.told.encode(), *headers)


OPENAPI: Final[dict[str, Any]] = {
    "post": {
        "summary": "Take in an event of Stripe",
        "description": "Answers 200 after the event is committed; what then happens to it is a worker's work.",
        "operationId": "stripe_webhook",
        "tags": ["webhook"],
        "parameters": [
            {
                "name": "Stripe-Signature",
                "in": "header",
                "required": True,
                "schema": {"type": "string"},
                "example": "t=1765432100,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
            }
        ],
        "requestBody": {
            "required": True,
            "description": "A snapshot event, at most 1 MiB: https://docs.stripe.com/api/events/object",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "responses": {
            "200": {
                "description": "The event is committed.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["received", "duplicate"],
                            "properties": {
                                "received": {"type": "boolean", "const": True},
                                "duplicate": {"type": "boolean", "description": "It was remembered before."},
                            },
                        }
                    }
                },
            },
            "400": {"description": "Not signed by Stripe, not now, of the other mode, or not an event."},
            "405": {"description": "Another method than POST."},
            "408": {"description": "The body did not come within 10 s."},
            "413": {"description": "The body is larger than 1 MiB."},
            "503": {"description": "The database is away (`Retry-After`), or no signing secret is configured."},
        },
    }
}
