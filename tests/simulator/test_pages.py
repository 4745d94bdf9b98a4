"""Lists: newest first, a page at a time, in both directions, without a row twice or lost."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stripe import StripeClient

from deploy.demo.simulator.errors import StripeError
from deploy.demo.simulator.forms import ListForm, Range
from deploy.demo.simulator.store import KINDS, SHORT, Store, listing, page
from tests.simulator.kit import Json, ask, new_api, sdk

TIMES = st.lists(st.integers(1, 6), max_size=40)


def rows(times: list[int]) -> list[Json]:
    """Objects in the order they were made; Stripe's seconds never go back."""
    return [{"id": f"cus_{number}", "object": "customer", "created": time} for number, time in enumerate(sorted(times))]


@given(times=TIMES, limit=st.integers(1, 100), backwards=st.booleans())
def test_page_by_page_each_object_comes_once_newest_first(times: list[int], limit: int, backwards: bool) -> None:  # noqa: FBT001 - Hypothesis draws it
    made = rows(times)
    wanted = [row["id"] for row in reversed(made)]
    seen: list[str] = []
    cursor: str | None = made[0]["id"] if backwards and made else None
    while True:
        form = ListForm.model_validate({"limit": limit, "ending_before" if backwards else "starting_after": cursor})
        found = page(made, form, "/v1/customers")
        ids = [row["id"] for row in found["data"]]
        seen = ids + seen if backwards else seen + ids
        assert len(ids) <= limit
        if not found["has_more"]:
            break
        cursor = ids[0] if backwards else ids[-1]
    assert seen == (wanted[:-1] if backwards else wanted)


@given(times=TIMES, low=st.integers(0, 7), high=st.integers(0, 7))
def test_a_list_is_cut_to_the_range_asked_for(times: list[int], low: int, high: int) -> None:
    form = ListForm(limit=100, created=Range(gte=low, lt=high))
    found = page(rows(times), form, "/v1/customers")["data"]
    assert sorted(row["created"] for row in found) == sorted(time for time in times if low <= time < high)
    form = ListForm(limit=100, created=low)
    assert len(page(rows(times), form, "/v1/customers")["data"]) == times.count(low)


def test_a_cursor_must_be_of_the_list() -> None:
    for cursor in ("starting_after", "ending_before"):
        with pytest.raises(StripeError) as told:
            page(rows([1, 2]), ListForm.model_validate({cursor: "cus_9"}), "/v1/customers")
        assert (told.value.status, told.value.body["code"], told.value.body["param"]) == (
            400,
            "resource_missing",
            cursor,
        )


def test_one_cursor_at_a_time() -> None:
    with pytest.raises(StripeError, match="Please pass in only one"):
        page(rows([1, 2]), ListForm(starting_after="cus_0", ending_before="cus_1"), "/v1/customers")


def filled(count: int) -> StripeClient:
    """A client of an account with so many customers."""
    api = new_api()
    for number in range(count):
        assert ask(api, "POST", "/v1/customers", {"name": f"Customer {number}"})[0] == 200
    return sdk(api)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 25), limit=st.integers(1, 30))
def test_the_sdk_pages_through_all_by_itself(count: int, limit: int) -> None:
    client = filled(count)
    forwards = [one.name for one in client.v1.customers.list({"limit": limit}).auto_paging_iter()]
    assert forwards == [f"Customer {number}" for number in reversed(range(count))]
    if count:
        oldest = client.v1.customers.list({"limit": 100}).data[-1].id
        backwards = client.v1.customers.list({"limit": limit, "ending_before": oldest}).auto_paging_iter()
        assert [one.name for one in backwards] == [f"Customer {number}" for number in range(1, count)]


def test_a_list_inside_an_object_shows_its_first_ten() -> None:
    whole = listing(rows([1] * 12), "/v1/invoices/in_1/lines")
    assert (whole["total_count"], whole["has_more"]) == (12, False)


class TestStore:
    """Objects by kind and id."""

    def test_ids_look_like_stripes(self) -> None:
        store = Store(random.Random(1))  # noqa: S311 - ids guard nothing here
        for prefix in KINDS:
            made = store.new_id(prefix)
            name, letters = made.split("_")
            assert name == prefix
            assert len(letters) == (14 if prefix in SHORT else 24)
            assert letters.isalnum()
        assert len(store.new_id("cs_test")) == len("cs_test_") + 58

    def test_what_is_indexed_is_found_until_it_is_removed(self) -> None:
        store = Store(random.Random(1))  # noqa: S311 - ids guard nothing here
        charge = store.add(
            {"id": "ch_1", "object": "charge", "customer": "cus_1", "invoice": None}, "customer", "invoice"
        )
        assert store.by("charge", "customer", "cus_1") == [charge]
        assert store.by("charge", "invoice", None) == []
        store.remove(charge)
        assert store.by("charge", "customer", "cus_1") == []
        assert store.get("charge", "ch_1") is None

    def test_what_is_not_there_is_told_with_the_parameter(self) -> None:
        store = Store(random.Random(1))  # noqa: S311 - ids guard nothing here
        with pytest.raises(StripeError) as told:
            store.need("charge", "ch_1")
        assert told.value.status == 404
        with pytest.raises(StripeError) as told:
            store.need("charge", "ch_1", "charge")
        assert (told.value.status, told.value.body["param"]) == (400, "charge")
