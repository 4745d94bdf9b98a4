"""Letters are handed to SendGrid over HTTPS: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send."""

import base64
from collections.abc import Iterable, Mapping
from datetime import timedelta
from email.message import EmailMessage
from email.utils import parseaddr, parsedate_to_datetime
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import httpx

from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater, Unclear

TIMEOUT = 20.0
"""Seconds for one answer."""

OURS = frozenset(
    {"from", "to", "subject", "reply-to", "date", "mime-version", "content-type", "content-transfer-encoding"}
)
"""Headers that SendGrid makes itself from what we tell it beside."""


class SendGridMailer:
    """One SendGrid account."""

    def __init__(self, url: str) -> None:
        """`sendgrid://KEY`; a stand-in is named after the key: `sendgrid://KEY@127.0.0.1:8080`."""
        parts = urlsplit(url)
        key = unquote(parts.username or parts.netloc)
        if not key:
            raise ValueError("names no API key; for example sendgrid://SG.…")
        base = f"http://{parts.hostname}:{parts.port}" if parts.username else "https://api.sendgrid.com"
        self._client = httpx.AsyncClient(
            base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT, trust_env=False
        )

    async def send(self, message: EmailMessage) -> str | None:
        """Hand it over. Returns `X-Message-Id`, which SendGrid's events begin with."""
        assert_outside_transaction("sending a letter")
        try:
            answer = await self._client.post("/v3/mail/send", json=payload(message))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise TryLater(f"SendGrid cannot be reached: {error or type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise Unclear(f"SendGrid did not answer: {error or type(error).__name__}") from error
        if answer.is_success:
            return answer.headers.get("X-Message-Id")
        raise _verb(answer)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _verb(answer: httpx.Response) -> TryLater | Refused:
    said = f"SendGrid answered {answer.status_code}: {answer.text[:500]}"
    match answer.status_code:
        case httpx.codes.TOO_MANY_REQUESTS:
            return TryLater(said, after=_until_reset(answer.headers))
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
            return Refused(f"{said}: the key in MAIL_URL is wrong, or may not send as MAIL_FROM")
        case code if code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return TryLater(said)
        case _:
            return Refused(said)


def _until_reset(headers: httpx.Headers) -> timedelta | None:
    """How long until the limit is lifted, by the server's own clock: both times are in its answer."""
    reset, date = headers.get("X-RateLimit-Reset", ""), headers.get("Date")
    if not reset.isdecimal() or date is None:
        return None
    return max(timedelta(seconds=1), timedelta(seconds=int(reset) - parsedate_to_datetime(date).timestamp()))


def payload(message: EmailMessage) -> Mapping[str, Any]:
    """The letter as SendGrid's JSON: text first, then HTML, as its page demands."""
    body: dict[str, Any] = {
        "personalizations": [{"to": [_person(str(message["to"]))]}],
        "from": _person(str(message["from"])),
        "subject": str(message["subject"]),
        "content": [
            {"type": part.get_content_type(), "value": part.get_content()}
            for part in _bodies(message, ("plain", "html"))
        ],
        "headers": {name: str(value) for name, value in message.items() if name.lower() not in OURS},
        "custom_args": {"message_id": str(message["message-id"]).strip("<>")},
        "tracking_settings": {"click_tracking": {"enable": False}, "open_tracking": {"enable": False}},
    }
    if message["reply-to"]:
        body["reply_to"] = _person(str(message["reply-to"]))
    if attached := [_attachment(part) for part in message.walk() if part.get_content_disposition() is not None]:
        body["attachments"] = attached
    return body


def _person(header: str) -> dict[str, str]:
    name, address = parseaddr(header)
    return {"email": address, "name": name} if name else {"email": address}


def _bodies(message: EmailMessage, kinds: Iterable[str]) -> Iterable[EmailMessage]:
    for kind in kinds:
        if (part := message.get_body((kind,))) is not None:  # pyright: ignore[reportArgumentType] - typeshed wants the literals
            yield cast("EmailMessage", part)


def _attachment(part: Any) -> Mapping[str, str]:
    found = {
        "content": base64.b64encode(part.get_payload(decode=True)).decode(),
        "type": part.get_content_type(),
        "filename": part.get_filename() or "attachment",
        "disposition": part.get_content_disposition(),
    }
    if (content_id := part["content-id"]) is not None:
        found["content_id"] = str(content_id).strip("<>")
    return found
