"""Every recorded payload of Stripe is applied without an error, and changes what it should."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import StoredEvent
from jobs.stripe_objects import READERS
from tests.conftest import PAYLOADS
from tests.events.kit import T0, Json, apply, event, outcomes, rows, stored
from tests.events.recorded import CLOVER, DATA, EVENTS, OLD, OPENAPI, Expected
from tests.events.recorded_objects import NOTHING_TO_KEEP, OBJECTS, UNHANDLED_OBJECTS
from worker.registry import Applied

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the recorded payloads are not here")


def _load(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_bytes())


def _names(folder: str) -> list[str]:
    return sorted(f"{folder}/{file.name.removesuffix('.json')}" for file in (PAYLOADS / folder).glob("*.json"))


def _event(name: str) -> StoredEvent:
    """The recorded event itself; a recorded `data` in an envelope of its own."""
    body = _load(name)
    if "type" in body:
        raw = (PAYLOADS / f"{name}.json").read_bytes()
        return stored(body["type"], raw, livemode=body["livemode"], account=body.get("account"))
    event_type = Path(name).name.split("-")[0]
    livemode = body["object"].get("livemode", False)
    wrapped: Json = {"type": event_type, "created": T0, "livemode": livemode, "data": body}
    return stored(event_type, json.dumps(wrapped).encode(), livemode=livemode)


def _is_object(name: str) -> bool:
    return "/object." in name


async def _left(engine: AsyncEngine, expected: list[Expected]) -> None:
    for table, columns in expected:
        found = await rows(engine, table)
        told = [{name: one[name] for name in columns} for one in found]
        assert columns in told, f"{table}: {told}"


@pytest.mark.parametrize("name", sorted(EVENTS))
async def test_an_event_leaves_what_it_tells(engine: AsyncEngine, name: str) -> None:
    (applied,) = await apply(engine, _event(name))
    assert applied.effects["changed"]
    await _left(engine, EVENTS[name])


@pytest.mark.parametrize("name", sorted(OBJECTS))
async def test_an_object_in_an_event_leaves_what_it_tells(engine: AsyncEngine, name: str) -> None:
    event_type, expected = OBJECTS[name]
    obj = _load(name)
    await apply(engine, event(event_type, obj, livemode=obj.get("livemode", False)))
    await _left(engine, expected)


@pytest.mark.parametrize("name", sorted(NOTHING_TO_KEEP))
async def test_an_object_may_say_too_little_to_be_kept(engine: AsyncEngine, name: str) -> None:
    (applied,) = await apply(engine, event(NOTHING_TO_KEEP[name], _load(name)))
    assert applied.effects == {"changed": []}


def test_every_recorded_file_is_expected_somewhere() -> None:
    """A file that is not listed must be of a type, or a kind of object, that nobody handles."""
    files = [name for folder in (OLD, DATA, CLOVER, OPENAPI) for name in _names(folder)]
    unlisted = [name for name in files if name not in {*EVENTS, *OBJECTS, *NOTHING_TO_KEEP}]
    handled = [name for name in unlisted if not _is_object(name) and _event(name).type in READERS]
    kinds = {_load(name)["object"] for name in unlisted if _is_object(name)}
    assert handled == []
    assert kinds <= UNHANDLED_OBJECTS


async def test_all_events_in_one_batch_fail_nowhere_and_the_unhandled_say_why(engine: AsyncEngine) -> None:
    events = [_event(name) for folder in (OLD, DATA) for name in _names(folder) if not _is_object(name)]
    found = await outcomes(engine, *events)
    for one in events:
        outcome = found[one.id]
        assert isinstance(outcome, Applied), (one.type, outcome)
        assert (outcome.ignored is None) == (one.type in READERS), one.type
        if outcome.ignored is not None:
            assert outcome.ignored == f"no handler for {one.type}"


BY_OBJECT = {
    "charge": "charge.updated",
    "coupon": "coupon.updated",
    "credit_note": "credit_note.updated",
    "customer": "customer.updated",
    "discount": "customer.discount.updated",
    "invoice": "invoice.updated",
    "payment_intent": "payment_intent.created",
    "payment_method": "payment_method.updated",
    "price": "price.updated",
    "product": "product.updated",
    "refund": "refund.updated",
    "subscription": "customer.subscription.updated",
    "checkout.session": "checkout.session.completed",
}


def _objects(value: Any) -> list[Json]:
    """Every object of Stripe's in an API answer, at any depth."""
    found: list[Json] = []
    if isinstance(value, dict):
        one = cast("Json", value)
        if one.get("object") in BY_OBJECT and "id" in one:
            found.append(one)
        found += [inner for entry in one.values() for inner in _objects(entry)]
    elif isinstance(value, list):
        found += [inner for entry in cast("list[Any]", value) for inner in _objects(entry)]
    return found


async def test_every_object_of_the_recorded_api_calls_is_applied(engine: AsyncEngine) -> None:
    """583 answers in versions from 2019 to dahlia, with everything that was ever expanded in them."""
    for name in _names("api-calls"):
        events = [
            event(BY_OBJECT[obj["object"]], obj, livemode=bool(obj.get("livemode")))
            for call in _load(name)
            for obj in _objects(call["response"])
            if not (obj.get("deleted") and obj["object"] != "customer")
        ]
        if events:
            await apply(engine, *events)
    assert len(await rows(engine, "subscriptions")) > 20
    assert len(await rows(engine, "payment_history")) > 20
