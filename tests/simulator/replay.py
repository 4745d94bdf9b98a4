"""A recorded scenario is asked of the simulator, request by request, and the answers are laid side by side."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from deploy.demo.simulator.api import Api, Request
from tests.simulator.kit import KEY, new_api
from tests.simulator.recordings import Json, inside

SEEDED = {"price", "plan", "product", "coupon"}
"""What was there before the recording began."""

SLOW = 120
"""Seconds that a recording may have taken; the simulator's clock stands meanwhile."""

MADE_UP = re.compile(r"https?://\S+|\b[a-z]+_(test_)?[A-Za-z0-9]{14,}(_secret_\w+)?")
"""Ids, addresses and secrets, which no two accounts share."""

NAMED = re.compile(r"\d+ (?:(\w+) )?\u00d7 (.+?)(?: \(at .*)?$")
"""How a line of an invoice tells the unit and the name of the product that it sells."""


@dataclass
class Replay:
    """One scenario. `differences` are told as `object.field: recorded, ours`."""

    calls: list[Json]
    api: Api = field(default_factory=new_api)
    ids: dict[str, str] = field(default_factory=dict[str, str])

    def play(self) -> Iterator[str]:
        """Ask all, and tell the differences."""
        self._seed()
        for call in self.calls:
            status, ours = self._ask(call)
            if status != call["status"]:
                yield f"{call['method']} {call['uri'][22:80]}: {call['status']}, {status} {ours}"
                return
            if status == 200:
                self._learn(call["response"], ours)
                yield from differences(call["response"], ours, str(call["response"]["object"]))

    def _seed(self) -> None:
        account = self.api.account
        found = [one for call in self.calls for one in inside(call["response"])]
        for kind, obj in found:
            if kind in SEEDED and account.store.get(kind, obj["id"]) is None:
                account.add(json.loads(json.dumps(obj)))
        names = self._names(found)
        for id_ in {obj["product"] for kind, obj in found if kind == "price" and isinstance(obj["product"], str)}:
            unit, name = names.get(id_, (None, "Plan"))
            product: Json = {"id": id_, "object": "product", "created": 1, "active": True, "name": name,
                             "metadata": {}, "default_price": None, "tax_code": None, "unit_label": unit}  # fmt: skip
            account.add(product)
        made = (obj["created"] for kind, obj in found if kind in {"customer", "subscription", "payment_intent"})
        account.clock.now = min(made, default=account.clock.now)

    @staticmethod
    def _names(found: list[tuple[str, Json]]) -> dict[str, tuple[str | None, str]]:
        """The products' units and names, which only lines of invoices tell."""
        lines = [obj for kind, obj in found if kind == "line_item" and obj.get("pricing")]
        named = [
            (line["pricing"]["price_details"]["product"], NAMED.search(line["description"] or "")) for line in lines
        ]
        return {product: (match.group(1), match.group(2)) for product, match in named if match is not None}

    def _ask(self, call: Json) -> tuple[int, Json]:
        path, _, query = self._ours(call["uri"].removeprefix("https://api.stripe.com")).partition("?")
        headers = {"authorization": f"Bearer {KEY}", "stripe-version": call["stripe_version"]}
        body = self._ours(call["request_body"] or "")
        answer = self.api.answer(Request(call["method"].upper(), path, query, headers, body))
        return answer.status, msgspec.json.decode(answer.body)

    def _ours(self, text: str) -> str:
        for theirs in sorted(self.ids, key=len, reverse=True):
            text = text.replace(theirs, self.ids[theirs])
        return text

    def _learn(self, recorded: Any, ours: Any) -> None:
        """Which of our ids stands for which of theirs."""
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for name, value in cast("Json", recorded).items():
                self._learn(value, cast("Json", ours).get(name))
        elif isinstance(recorded, list) and isinstance(ours, list):
            for one, other in zip(cast("list[Any]", recorded), cast("list[Any]", ours), strict=False):
                self._learn(one, other)
        elif isinstance(recorded, str) and isinstance(ours, str) and MADE_UP.fullmatch(recorded):
            self.ids.setdefault(recorded, ours)


def differences(recorded: Any, ours: Any, path: str) -> Iterator[str]:
    """Where our answer says something else. What only ours has is not looked at: versions differ."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        mine = cast("Json", ours)
        for name, value in cast("Json", recorded).items():
            if name in mine:
                yield from differences(value, mine[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: absent"
    elif isinstance(recorded, list) and isinstance(ours, list):
        rows, others = cast("list[Any]", recorded), cast("list[Any]", ours)
        if len(rows) != len(others):
            yield f"{path}: {len(rows)} rows, {len(others)}"
        for one, other in zip(rows, others, strict=False):
            yield from differences(one, other, f"{path}[]")
    elif not _same(recorded, ours):
        yield f"{path}: {recorded!r}, {ours!r}"


def _same(recorded: Any, ours: Any) -> bool:
    if isinstance(recorded, bool) or isinstance(ours, bool) or recorded is None or ours is None:
        return recorded is ours
    if isinstance(recorded, str) and isinstance(ours, str):
        return MADE_UP.sub("…", recorded) == MADE_UP.sub("…", ours)
    if isinstance(recorded, int | float) and isinstance(ours, int | float):
        return recorded == ours or (recorded > 1_000_000_000 and abs(recorded - ours) <= SLOW)
    return False
