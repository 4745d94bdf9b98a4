"""What Stripe really answered, as recorded by others: its objects by kind and version, and its refusals."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from tests.conftest import PAYLOADS

Json = dict[str, Any]

CLOVER = "2025-10-29.clover"
BASIL = "2025-03-31"


@dataclass(frozen=True, slots=True)
class Recorded:
    """An object as Stripe showed it, perhaps inside another."""

    kind: str
    version: str
    shown: Json
    where: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that Stripe refused, and how."""

    method: str
    path: str
    body: str
    version: str
    status: int
    error: Json
    where: str


def inside(value: Any) -> Iterator[tuple[str, Json]]:
    """The object and all objects in it, with their kinds; not those that were deleted."""
    if isinstance(value, dict):
        table = cast("Json", value)
        kind = table.get("object")
        if isinstance(kind, str) and kind != "list" and "deleted" not in table:
            yield kind, table
        for inner in table.values():
            yield from inside(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from inside(inner)


def _found(value: Any, version: str, where: str) -> Iterator[Recorded]:
    for kind, shown in inside(value):
        yield Recorded(kind, version, shown, where)


def calls() -> Iterator[tuple[str, Json]]:
    """All recorded calls, each with the scenario it belongs to."""
    for file in sorted((PAYLOADS / "api-calls").glob("*.json")):
        for call in cast("list[Json]", json.loads(file.read_text())):
            yield file.stem, call


def objects() -> Iterator[Recorded]:
    """All objects that were really answered or sent, of every version."""
    for where, call in calls():
        if call["status"] == 200:
            yield from _found(call["response"], call["stripe_version"], where)
    for file in sorted((PAYLOADS / "objects-clover").glob("*.json")):
        yield from _found(json.loads(file.read_text()), CLOVER, file.stem)
    for file in sorted((PAYLOADS / "events-2020-08-27").glob("*.json")):
        event = json.loads(file.read_text())
        yield from _found(event["data"]["object"], str(event.get("api_version", "2020-08-27")), file.stem)


def refusals() -> Iterator[Refusal]:
    """All refused requests."""
    for where, call in calls():
        if call["status"] != 200:
            path, _, query = call["uri"].removeprefix("https://api.stripe.com").partition("?")
            yield Refusal(
                call["method"].upper(),
                path,
                call["request_body"] or query,
                call["stripe_version"],
                call["status"],
                call["response"]["error"],
                where,
            )
