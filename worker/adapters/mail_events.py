"""SendGrid tells what became of letters; of each event only what concerns a letter is kept.

The events' fields: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

MESSAGE_ID = "billing_message_id"
"""The name under which each event tells our Message-ID: a custom argument that was sent with the letter."""

ADDRESS_FAULTS = frozenset({"bounced address", "spam reporting address", "unsubscribed address", "invalid"})
"""Reasons of `dropped` that speak of the address; the others (quota, content) speak of us."""

LONGEST = 1000
"""Characters that are kept of a text of SendGrid's."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class MailEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one letter, as its carrier tells it. `at` is in seconds since 1970.

    `address_refused`: no letter will ever arrive there; `returned`: this one did not.
    """

    outcome: Literal["address_refused", "returned", "delivered"]
    reason: str
    at: int
    message_id: str | None
    provider_ids: list[str]


class NoEventsError(Exception):
    """The body is no list of events."""


def read_events(body: bytes) -> list[MailEvent]:
    """The events of one request that tell of a letter's end, oldest first. Raises NoEventsError."""
    try:
        found = msgspec.convert(json.loads(body), list[dict[str, Any]])  # msgspec's own reader takes no lone surrogates
    except (ValueError, RecursionError) as error:
        raise NoEventsError(str(error)) from error
    events = [event for one in found if (event := _event(one)) is not None]
    return sorted(events, key=lambda event: event.at)


def _event(told: Mapping[str, Any]) -> MailEvent | None:
    outcome, reason = _outcome(told)
    at = told.get("timestamp")
    message_id, provider_ids = (
        _text(told, MESSAGE_ID).partition("@")[0] or None,
        _prefixes(_text(told, "sg_message_id")),
    )
    if outcome is None or not (message_id or provider_ids) or not isinstance(at, int) or not 0 <= at < 1 << 33:
        return None
    return MailEvent(outcome=outcome, reason=reason, at=at, message_id=message_id, provider_ids=provider_ids)


def _outcome(told: Mapping[str, Any]) -> tuple[Literal["address_refused", "returned", "delivered"] | None, str]:
    kind, reason = _text(told, "event"), _text(told, "reason")
    said = " ".join(part for part in (_text(told, "status"), reason) if part)
    match kind:
        case "bounce" if _text(told, "type") == "blocked":  # by a policy or for a while: the address is good
            return "returned", f"blocked: {said}"
        case "bounce":
            return "address_refused", f"bounced: {said}"
        case "dropped":
            fault = reason.lower() in ADDRESS_FAULTS
            return "address_refused" if fault else "returned", f"dropped by SendGrid: {said}"
        case "spamreport":
            return "address_refused", "its reader reported it as spam"
        case "delivered":
            return "delivered", ""
        case _:
            return None, ""


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    return _UNSTORABLE.sub("\ufffd", value[:LONGEST]) if isinstance(value, str) else ""


def _prefixes(sg_message_id: str) -> list[str]:
    """What `X-Message-Id` may have been: `sg_message_id` begins with it, and goes on after a dot."""
    parts = sg_message_id.split(".")[:8]
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)] if sg_message_id else []


def as_arguments(events: Iterable[MailEvent]) -> list[dict[str, Any]]:
    """The events as JSON, for the job that records them."""
    return [msgspec.to_builtins(event) for event in events]
