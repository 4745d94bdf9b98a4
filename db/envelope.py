"""What is read of an event before it is remembered: as little as the inbox has columns for."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

import msgspec

from db.inbox import NewEvent

MAX_ID = 255
"""Characters: Stripe's own bound of an object id (https://docs.stripe.com/upgrades#what-changes-does-stripe-consider-to-be-backward-compatible)."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, in seconds since 1970: what a timestamp can still hold."""


class MalformedError(Exception):
    """Stripe signed it, but it is no event that can be remembered; `str` is a word for the metric."""


class _Expanded(msgspec.Struct, frozen=True):
    id: str | None = None


class _Object(msgspec.Struct, frozen=True):
    id: str | None = None
    object: str | None = None
    customer: str | _Expanded | None = None


class _Data(msgspec.Struct, frozen=True):
    object: _Object = _Object()


class _Envelope(msgspec.Struct):
    id: str
    type: str
    data: _Data = _Data()
    created: int | msgspec.UnsetType = msgspec.UNSET
    livemode: bool = False
    object: str | None = None
    api_version: str | None = None
    account: str | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


def read(body: bytes, received_at: datetime) -> NewEvent:
    """Read the envelope of a signed `body`. Raises MalformedError.

    What Stripe signed is kept: U+0000 and lone surrogates, which PostgreSQL's text cannot hold, become U+FFFD in the
    columns and stay as they are in the payload. Fields that only serve searching (`object_id`, `customer_id`,
    `api_version`) are left out when they, or the object that they stand in, are unusable: whoever handles the event
    says what is wrong with it. The others make the event malformed. Stripe always tells
    `created` and `livemode`; where one is missing the event is dated by its receipt, and counts as one of test mode.

    Thin events (`v2.core.event`: https://docs.stripe.com/event-destinations#thin-events) carry no object and are sent
    only to destinations that ask for them: they are refused, and the refusals are counted, so that such a destination
    shows as failing at Stripe instead of being acknowledged and never acted upon.
    """
    try:
        str(body, "utf-8")  # msgspec skips over what it does not read, and with it over bytes that are no text
        envelope = _decode(body)
    except UnicodeDecodeError:
        raise MalformedError("not_utf8") from None
    except (msgspec.MsgspecError, RecursionError):
        return _read_slowly(body, received_at)
    if envelope.object == "v2.core.event":
        raise MalformedError("thin_event")
    item = envelope.data.object
    customer = item.customer.id if isinstance(item.customer, _Expanded) else item.customer
    return _event(
        body,
        received_at,
        id_=envelope.id,
        type_=envelope.type,
        created=envelope.created,
        livemode=envelope.livemode,
        account=envelope.account,
        api_version=envelope.api_version,
        object_id=item.id,
        customer=item.id if item.object == "customer" else customer,
    )


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")


def _read_slowly(body: bytes, received_at: datetime) -> NewEvent:
    """What the fast way refused: lone surrogates (which are JSON), fields of other types, and what is no event."""
    try:
        found: Any = json.loads(str(body, "utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MalformedError("not_json") from None
    event = _mapping(found)
    if event.get("object") == "v2.core.event":
        raise MalformedError("thin_event")
    item = _mapping_or_empty(_mapping_or_empty(event.get("data")).get("object"))
    customer: Any = item.get("customer")
    if isinstance(customer, dict):
        customer = cast("dict[str, Any]", customer).get("id")
    return _event(
        body,
        received_at,
        id_=event.get("id"),
        type_=event.get("type"),
        created=event.get("created", msgspec.UNSET),
        livemode=event.get("livemode", False),
        account=event.get("account"),
        api_version=event.get("api_version"),
        object_id=item.get("id"),
        customer=item.get("id") if item.get("object") == "customer" else customer,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError("not_an_event")
    return cast("dict[str, Any]", value)


def _mapping_or_empty(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _storable(text: str) -> str:
    """`text` as PostgreSQL can hold it."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _needed(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        raise MalformedError("not_an_event")
    return _storable(value)


def _helpful(value: Any) -> str | None:
    return _storable(value) if isinstance(value, str) and 0 < len(value) <= MAX_ID else None


def _event(
    body: bytes,
    received_at: datetime,
    *,
    id_: Any,
    type_: Any,
    created: Any,
    livemode: Any,
    account: Any,
    api_version: Any,
    object_id: Any,
    customer: Any,
) -> NewEvent:
    """The one place where values are judged, whichever way they were read."""
    stored_id = _needed(id_)
    if stored_id != id_:
        raise MalformedError("not_an_event")  # an identity is never altered
    if created is msgspec.UNSET:
        created_at = received_at
    elif type(created) is int and 0 <= created <= LAST_SECOND:
        created_at = datetime.fromtimestamp(created, UTC)
    else:
        raise MalformedError("absurd_created")
    if type(livemode) is not bool:
        raise MalformedError("not_an_event")
    return NewEvent(
        stored_id,
        _needed(type_),
        _helpful(api_version),
        livemode,
        None if account is None else _needed(account),
        _helpful(object_id),
        _helpful(customer),
        body,
        created_at,
        received_at,
    )
