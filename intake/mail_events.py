"""SendGrid tells what became of our letters: what it signed is staged as a job, and then acknowledged."""

import asyncio
import hashlib
from base64 import b64decode
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from fastapi import APIRouter, Header, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import queue
from db.states import QueueName
from intake.batcher import Bell
from intake.webhook import BODY_TIMEOUT, MAX_BODY, RETRY_AFTER, RejectionError
from worker.adapters.mail_events import MailEvent, NoEventsError, as_arguments, read_events
from worker.ports import Clock
from worker.telemetry import count_webhook

log = structlog.get_logger()

PATH: Final = "/mail/sendgrid"

JOB: Final = "record_mail_events"
"""The job that records them, by its name: the door knows no business."""

OLDEST = 26 * 3600
"""Seconds. SendGrid sends a request again for 24 hours until we take it; a replay within them changes nothing twice."""

NEWEST = 300
"""Seconds that SendGrid's clock may be ahead of ours."""

DEADLINE = 2.5
"""Seconds that staging may take."""

LABEL = "sendgrid"
"""Stands for the type in `billing_webhooks_total`."""


class Signed:
    """Checks that SendGrid signed a request: ECDSA over its timestamp and the very bytes of its body.

    https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys` are public keys as DER, any of which may have been used."""
        found = [load_der_public_key(key) for key in keys]
        self._keys = [key for key in found if isinstance(key, EllipticCurvePublicKey)]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def verify(self, body: bytes, signature: str | None, timestamp: str | None, *, now: float) -> None:
        """`now` is in seconds since 1970. Raises RejectionError when it was not signed, or not lately."""
        if not signature or not timestamp:
            raise RejectionError(400, "missing_signature", "bad request")
        if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12:  # noqa: PLR2004 - beyond all calendars
            raise RejectionError(400, "malformed_signature", "bad request")
        try:
            made = b64decode(signature, validate=True)
        except ValueError:
            raise RejectionError(400, "malformed_signature", "bad request") from None
        if not any(_made_by(key, made, timestamp.encode() + body) for key in self._keys):
            raise RejectionError(400, "wrong_signature", "bad request")
        age = now - int(timestamp)
        if age > OLDEST:
            raise RejectionError(400, "stale", "bad request")
        if age < -NEWEST:
            raise RejectionError(400, "future", "bad request")


def _made_by(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


async def _whole(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY:
                    raise RejectionError(413, "too_large", "the body is larger than 1 MiB")
                parts.append(part)
    except TimeoutError:
        raise RejectionError(408, "slow", "the body came too slowly", close=True) from None
    return b"".join(parts)


def router(engine: AsyncEngine, clock: Clock, keys: Sequence[bytes], bell: Bell) -> APIRouter:
    """`POST /mail/sendgrid`. Without `keys` every request is refused."""
    made, signed = APIRouter(tags=["mail"]), Signed(keys)

    async def admit(request: Request, signature: str | None, timestamp: str | None) -> tuple[bytes, list[MailEvent]]:
        if not signed:
            raise RejectionError(503, "unconfigured", "SENDGRID_WEBHOOK_KEY is not set")
        if int(request.headers.get("content-length", "0")) > MAX_BODY:
            raise RejectionError(413, "too_large", "the body is larger than 1 MiB")
        body = await _whole(request)
        signed.verify(body, signature, timestamp, now=clock.now().timestamp())
        try:
            return body, read_events(body)
        except NoEventsError:
            raise RejectionError(400, "not_json", "bad request") from None

    async def stage(body: bytes, events: Sequence[MailEvent]) -> None:
        now = clock.now()
        try:
            async with asyncio.timeout(DEADLINE), engine.begin() as conn:
                await queue.stage_job(
                    conn,
                    name=JOB,
                    queue=QueueName.MAIL,
                    args={"events": as_arguments(events)},
                    now=now,
                    due_at=now,
                    unique_key=f"{JOB}/{hashlib.sha256(body).hexdigest()}",
                    staged_by=LABEL,
                )
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("SendGrid's events could not be staged; it sends them again", error=type(error).__name__)
            raise RejectionError(503, "unavailable", "try again later") from None
        bell.ring(QueueName.MAIL)

    @made.post(PATH, summary="Take in what SendGrid tells of our letters", responses=ANSWERS)
    async def take(  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        request: Request,
        signature: Annotated[str | None, Header(alias="X-Twilio-Email-Event-Webhook-Signature")] = None,
        timestamp: Annotated[str | None, Header(alias="X-Twilio-Email-Event-Webhook-Timestamp")] = None,
    ) -> Response:
        """Answers 200 after the events are committed as a job's work; those that tell nothing new to us are dropped."""
        try:
            body, events = await admit(request, signature, timestamp)
            if events:
                await stage(body, events)
        except RejectionError as rejection:
            count_webhook(LABEL, rejection.outcome)
            return _refusal(rejection)
        count_webhook(LABEL, "accepted" if events else "ignored")
        return Response(b'{"received":true}', media_type="application/json")

    return made


def _refusal(rejection: RejectionError) -> Response:
    headers: dict[str, str] = {}
    if rejection.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(RETRY_AFTER)
    if rejection.close:
        headers["connection"] = "close"
    told = b'{"error":"%s"}' % rejection.told.encode()
    return Response(told, rejection.status, headers, media_type="application/json")


ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The events are committed."},
    400: {"description": "Not signed by SendGrid, not lately, or no list of events."},
    408: {"description": "The body did not come within 10 s."},
    413: {"description": "The body is larger than 1 MiB."},
    503: {"description": "The database is away (`Retry-After`), or SENDGRID_WEBHOOK_KEY is not set."},
}
