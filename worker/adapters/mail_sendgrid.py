"""Letters are handed to SendGrid over HTTPS: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send."""

import base64
import re
from collections.abc import Mapping
from datetime import timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx

from worker.adapters.mail_address import mailbox, person
from worker.adapters.mail_events import MESSAGE_ID
from worker.adapters.mail_url import account
from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater, Unclear, Undeliverable

TIMEOUT = 30.0
"""Seconds for one answer."""

OURS = frozenset(
    {"from", "to", "subject", "reply-to", "date", "mime-version", "content-type", "content-transfer-encoding"}
)
"""Headers that SendGrid makes itself from what we tell it beside."""

NEVER_REACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
NEVER_ASKED = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)

MAY_SEND = "mail.send"
"""What the key must be allowed to do."""


class SendGridMailer:
    """One SendGrid account."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """`url` is `sendgrid://KEY` or `sendgrid://KEY@host`. Raises ValueError saying what is wrong with it."""
        to = account(url)
        self._client = httpx.AsyncClient(
            base_url=to.base, headers={"Authorization": f"Bearer {to.key}"}, timeout=timeout, trust_env=False
        )

    async def send(self, message: EmailMessage) -> str | None:
        """Hand it over. Returns `X-Message-Id`, with which the `sg_message_id` of SendGrid's events begins."""
        assert_outside_transaction("sending a letter")
        body = payload(message)
        answer = await self._ask("POST", "/v3/mail/send", json=body)
        if answer.is_success:
            return answer.headers.get("X-Message-Id")
        raise _verb(answer)

    async def check(self) -> str:
        """Ask what the key may do, without a letter. Returns what was found; raises as `send` does."""
        answer = await self._ask("GET", "/v3/scopes")
        if not answer.is_success:
            raise _verb(answer)
        if MAY_SEND not in cast("Mapping[str, list[str]]", answer.json()).get("scopes", []):
            raise Refused(f"SendGrid's key in MAIL_URL may not send letters: it has not the scope {MAY_SEND}")
        return "SendGrid answers; the key may send letters"

    async def _ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, **body)
        except NEVER_REACHED as error:
            raise TryLater(f"SendGrid cannot be reached: {error or type(error).__name__}") from error
        except NEVER_ASKED as error:
            raise Refused(f"SendGrid cannot be asked as MAIL_URL says: {error or type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise Unclear(f"SendGrid did not answer: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _verb(answer: httpx.Response) -> TryLater | Refused:
    """What to do: https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/responses."""
    said = f"SendGrid answered {answer.status_code}: {answer.text[:500]}"
    match answer.status_code:
        case httpx.codes.TOO_MANY_REQUESTS:
            return TryLater(said, after=until_reset(answer.headers))
        case httpx.codes.SERVICE_UNAVAILABLE | httpx.codes.REQUEST_TIMEOUT:
            return TryLater(said)
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
            return Refused(f"{said}: the key in MAIL_URL is wrong, or may not send as MAIL_FROM")
        case httpx.codes.BAD_REQUEST if _names_the_recipient(answer):
            return Undeliverable(said)
        case code if code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return Unclear(said)
        case _:
            return Refused(said)


def _names_the_recipient(answer: httpx.Response) -> bool:
    """Whether it is the address of `To` that SendGrid cannot read: `{"errors": [{"message", "field"}]}`."""
    try:
        errors = answer.json()["errors"]
        fields = [str(error.get("field")) for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(fields) and all(re.fullmatch(r"personalizations\.\d+\.to(\.\d+(\.email)?)?", field) for field in fields)


def until_reset(headers: httpx.Headers) -> timedelta | None:
    """How long until the limit is lifted, by the server's own clock: both times are in its answer."""
    wait = headers.get("Retry-After", "")
    if wait.isdecimal():
        return timedelta(seconds=min(int(wait), 3600))
    reset, date = headers.get("X-RateLimit-Reset", ""), headers.get("Date", "")
    try:
        seconds = int(reset) - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    return timedelta(seconds=min(max(1, seconds), 3600))


def payload(message: EmailMessage) -> Mapping[str, Any]:
    """The letter as SendGrid's JSON: text first, then HTML, as its page demands."""
    body: dict[str, Any] = {
        "personalizations": [{"to": [_person(message, "To")]}],
        "from": _person(message, "From"),
        "subject": str(message["subject"]),
        "content": [
            {"type": part.get_content_type(), "value": part.get_content()}
            for part in (message.get_body(("plain",)), message.get_body(("html",)))
            if part is not None
        ],
        "headers": {name: str(value) for name, value in message.items() if name.lower() not in OURS},
        "custom_args": {MESSAGE_ID: str(message["message-id"]).strip("<>")},
        "tracking_settings": {
            kind: {"enable": False}
            for kind in ("click_tracking", "open_tracking", "subscription_tracking", "ganalytics")
        },
    }
    if message["reply-to"]:
        body["reply_to"] = _person(message, "Reply-To")
    if attached := [_attachment(part) for part in message.walk() if part.get_content_disposition() is not None]:
        body["attachments"] = attached
    return body


def _person(message: EmailMessage, header: str) -> dict[str, str]:
    name, address = person(message, header).display_name, mailbox(message, header)
    return {"email": address, "name": name} if name else {"email": address}


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
