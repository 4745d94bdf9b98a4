"""Every list of the API, over a rich life: newest first, whole at any page size, from either end."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo.simulator import registry
from tests.simulator.annotations import violations
from tests.simulator.kit import Json, ask
from tests.simulator.life import lived

registry.discover()

LISTS = sorted(
    route.pattern.pattern
    for route in registry.ROUTES
    if route.method == "GET"
    and "limit" in route.form.model_fields
    and "(?P" not in route.pattern.pattern
    and "preview" not in route.pattern.pattern
)
"""The addresses of lists that stand by themselves."""


def made(row: Json) -> int:
    """When; an invoice item calls it its date."""
    return int(row["date"] if row["object"] == "invoiceitem" else row["created"])


def needed(path: str) -> Json:
    """What some lists cannot be asked without."""
    if path == "/v1/subscription_items":
        return {"subscription": lived().api.account.store.all("subscription")[0]["id"]}
    return {}


def page(path: str, **params: Any) -> Json:
    """One page."""
    status, body, _ = ask(lived().api, "GET", path, needed(path) | params)
    assert status == 200, body
    return body


def walk(path: str, limit: int, *, backwards: bool = False, start: str | None = None) -> list[Json]:
    """All rows, page by page; backwards from the row `start`."""
    seen: list[Json] = []
    cursor, name = start, "ending_before" if backwards else "starting_after"
    while True:
        found = page(path, limit=limit, **({name: cursor} if cursor else {}))
        rows: list[Json] = found["data"]
        seen = rows + seen if backwards else seen + rows
        if not found["has_more"]:
            return seen
        cursor = rows[0]["id"] if backwards else rows[-1]["id"]


@cache
def whole(path: str) -> list[str]:
    """The ids of all rows, as the largest pages give them."""
    return [row["id"] for row in walk(path, 100)]


def test_there_are_lists() -> None:
    assert {"/v1/invoices", "/v1/charges", "/v1/events", "/v1/subscriptions", "/v1/refunds"} < set(LISTS)
    assert [path for path in LISTS if path != "/v1/payment_methods" and not whole(path)] == []


@pytest.mark.parametrize("path", LISTS)
def test_rows_are_newest_first_each_once_and_of_stripes_shape(path: str) -> None:
    rows = walk(path, 100)
    created = [made(row) for row in rows]
    assert created == sorted(created, reverse=True)
    assert len({row["id"] for row in rows}) == len(rows)
    assert [told for row in rows for told in violations(row)] == []
    assert {name: value for name, value in page(path).items() if name != "data"} == {
        "object": "list",
        "has_more": len(rows) > 10,
        "url": path,
    }


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(LISTS), limit=st.integers(1, 100), backwards=st.booleans())
def test_any_page_size_from_either_end_gives_the_same(path: str, limit: int, backwards: bool) -> None:  # noqa: FBT001 - Hypothesis draws it
    wanted = whole(path)
    if not backwards:
        assert [row["id"] for row in walk(path, limit)] == wanted
    elif wanted:
        assert [row["id"] for row in walk(path, limit, backwards=True, start=wanted[-1])] == wanted[:-1]


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_cut_to_the_time_asked_for(path: str) -> None:
    rows = walk(path, 100)
    if rows and path != "/v1/subscription_items":
        middle = made(rows[len(rows) // 2])
        status, body, _ = ask(lived().api, "GET", path, {"limit": 100, "created": {"gte": middle, "lte": middle}})
        assert status == 200
        assert {row["id"] for row in body["data"]} <= {row["id"] for row in rows if made(row) == middle}
        assert body["data"]
