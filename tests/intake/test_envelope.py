"""An event's envelope is read the same fast and slowly, and nothing that was signed breaks the reader."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import envelope
from db.envelope import MalformedError, read
from db.inbox import NewEvent
from tests.intake.kit import body, event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
slowly = envelope._read_slowly  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the oracle of the fast way


def attempt(reader: Any, raw: bytes) -> NewEvent | str:
    try:
        return reader(raw, NOW)
    except MalformedError as error:
        return str(error)


def test_the_columns() -> None:
    raw = body(account="acct_1")
    assert read(raw, NOW) == NewEvent(
        "evt_1",
        "invoice.paid",
        "2026-10-28.endive",
        False,  # noqa: FBT003 - a row
        "acct_1",
        "in_1",
        "cus_1",
        raw,
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        NOW,
    )


@pytest.mark.parametrize(
    ("item", "object_id", "customer"),
    [
        ({"id": "cus_9", "object": "customer"}, "cus_9", "cus_9"),
        ({"id": "in_1", "object": "invoice", "customer": "cus_1"}, "in_1", "cus_1"),
        ({"id": "in_1", "object": "invoice", "customer": {"id": "cus_2", "object": "customer"}}, "in_1", "cus_2"),
        ({"id": "in_1", "object": "invoice", "customer": None}, "in_1", None),
        ({"object": "invoice", "customer": "cus_1"}, None, "cus_1"),
        ({"object": "balance"}, None, None),
        ({"id": 7, "object": "invoice", "customer": ["cus_1"]}, None, None),
        ({"id": "x" * 256, "customer": "y" * 256}, None, None),
        ({"id": "", "customer": {"id": 5}}, None, None),
    ],
)
def test_object_and_customer(item: dict[str, Any], object_id: str | None, customer: str | None) -> None:
    found = read(body(data={"object": item}), NOW)
    assert (found.object_id, found.customer_id) == (object_id, customer)


LEFT_OUT = object()

THIN = (
    b'{"id":"evt_1","type":"v1.billing.meter.no_meter_found","object":"v2.core.event",'
    b'"created":"2026-03-01T12:00:00.000Z","livemode":false}'
)


@pytest.mark.parametrize(
    ("field", "value", "outcome"),
    [
        ("id", LEFT_OUT, "not_an_event"),
        ("id", None, "not_an_event"),
        ("id", 1, "not_an_event"),
        ("id", "", "not_an_event"),
        ("id", "evt_" + "x" * 252, "not_an_event"),
        ("id", "evt_\0", "not_an_event"),
        ("id", "evt_\ud800", "not_an_event"),
        ("type", LEFT_OUT, "not_an_event"),
        ("type", ["invoice.paid"], "not_an_event"),
        ("type", "x" * 256, "not_an_event"),
        ("account", 5, "not_an_event"),
        ("livemode", "false", "not_an_event"),
        ("livemode", None, "not_an_event"),
        ("created", 1.5, "absurd_created"),
        ("created", 1772366400.0, "absurd_created"),
        ("created", True, "absurd_created"),
        ("created", "1772366400", "absurd_created"),
        ("created", -1, "absurd_created"),
        ("created", 253_402_300_800, "absurd_created"),
        ("created", 10**400, "absurd_created"),
        ("object", "v2.core.event", "thin_event"),
    ],
)
def test_no_event(field: str, value: object, outcome: str) -> None:
    made = event() | {field: value}
    if value is LEFT_OUT:
        del made[field]
    assert attempt(read, json.dumps(made).encode()) == outcome


@pytest.mark.parametrize("data", [LEFT_OUT, None, [], {"object": []}, {"object": None}, {"object": {"customer": []}}])
def test_odd_data_is_remembered_and_judged_by_its_handler(data: object) -> None:
    made = event() | {"data": data}
    if data is LEFT_OUT:
        del made["data"]
    found = read(json.dumps(made).encode(), NOW)
    assert (found.object_id, found.customer_id) == (None, None)


@pytest.mark.parametrize("field", ["created", "livemode", "api_version", "account"])
def test_what_may_be_missing(field: str) -> None:
    """Stripe always sends these; an event that lacks one is dated by its receipt, and counts as one of test mode."""
    made = event()
    made.pop(field, None)
    found = read(json.dumps(made).encode(), NOW)
    assert found.created_at == NOW
    assert not found.livemode


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (b"", "not_json"),
        (b"null", "not_an_event"),
        (b"[]", "not_an_event"),
        (b'"evt_1"', "not_an_event"),
        (b"[" * 500_000, "not_json"),
        (b'{"data":' * 100_000, "not_json"),
        (b"\xef\xbb\xbf" + body(), "not_json"),
        (body().replace(b"cus_1", b"cus_\xff"), "not_utf8"),
        (body().replace(b'"cus_1"', b"NaN"), "not_json"),
        (body() + b"x", "not_json"),
        (body().decode().encode("utf-16"), "not_utf8"),
        (THIN, "thin_event"),
    ],
)
def test_no_json(raw: bytes, outcome: str) -> None:
    assert attempt(read, raw) == outcome


def test_characters_that_postgresql_cannot_hold() -> None:
    odd = body(account="acct_\0", data={"object": {"id": "in_\ud800", "customer": "cus_\0\udfff", "note": "\ud800"}})
    assert b"\\ud800" in odd
    found = read(odd, NOW)
    assert found.payload == odd
    assert (found.account, found.object_id, found.customer_id) == ("acct_\ufffd", "in_\ufffd", "cus_\ufffd\ufffd")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["id", "type", "created", "livemode", "account", "api_version", "data", "object", "extra"])
texts = st.text(st.characters(), max_size=20)  # lone surrogates too


@given(
    changes=st.dictionaries(fields, json_values | texts, max_size=3),
    item=st.dictionaries(st.sampled_from(["id", "customer", "object", "x"]), json_values | texts, max_size=4),
    ascii_=st.booleans(),
)
def test_fast_and_slow_agree(changes: dict[str, Any], item: dict[str, Any], ascii_: bool) -> None:  # noqa: FBT001 - drawn
    made = event() | {"data": {"object": item}} | changes
    raw = json.dumps(made, ensure_ascii=ascii_).encode("utf-8", "replace")
    found = attempt(read, raw)
    assert found == attempt(slowly, raw)
    if isinstance(found, NewEvent):
        assert found.payload == raw
        for text in found:
            if isinstance(text, str):
                assert "\0" not in text.encode().decode()  # and it can be encoded: no surrogates


@given(raw=st.binary(max_size=200))
def test_nonsense_is_malformed(raw: bytes) -> None:
    assert isinstance(attempt(read, raw), str)
