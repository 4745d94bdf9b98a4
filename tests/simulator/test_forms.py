"""What a client encodes is read again, and what is wrong is told in Stripe's words."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.simulator import forms
from deploy.demo.simulator.errors import StripeError
from deploy.demo.simulator.forms import Form, Integer, ListForm, Metadata, Part, Range, Text, merge_metadata
from tests.simulator.kit import Json, flat

NAME = st.text("abcdefgh_", min_size=1, max_size=6)
VALUES = st.recursive(
    st.text(max_size=8),
    lambda inner: (
        st.dictionaries(NAME, inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=12)  # "10" after "9"
    ),
    max_leaves=20,
)


class Row(Part):
    """A part with a parameter that must be there."""

    price: str
    quantity: int = 1


class Example(Form):
    """One parameter of each sort."""

    items: list[Row] | None = None
    metadata: Metadata | None = None
    prorate: bool = False
    name: Text = None
    days: Integer = None


@given(params=st.dictionaries(NAME, VALUES, max_size=4))
def test_what_is_encoded_is_read_again(params: Json) -> None:
    assert forms.parse(urlencode(flat(params))) == params


def test_lists_without_numbers_are_lists() -> None:
    assert forms.parse("expand[]=a&expand[]=b") == {"expand": ["a", "b"]}
    assert forms.parse("items[][price]=p") == {"items": [{"price": "p"}]}


@pytest.mark.parametrize("text", ["[]=1", "=1", "a=1&a[b]=2"])
def test_a_key_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(StripeError) as told:
        forms.parse(text)
    assert told.value.status == 400


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("colour=blue", "parameter_unknown", "colour"),
        ("items[0][price]=p&items[0][colour]=blue", "parameter_unknown", "items[0][colour]"),
        ("items[0][quantity]=2", "parameter_missing", "items[0][price]"),
        ("items[0][price]=p&items[0][quantity]=two", "parameter_invalid_integer", "items[0][quantity]"),
        ("prorate=perhaps", None, "prorate"),
        ("items=p", None, "items"),
    ],
)
def test_what_is_wrong_is_told_with_its_parameter(text: str, code: str | None, param: str) -> None:
    with pytest.raises(StripeError) as told:
        forms.read(Example, forms.parse(text))
    body = told.value.body
    assert (told.value.status, body["type"], body.get("code"), body["param"]) == (
        400,
        "invalid_request_error",
        code,
        param,
    )


@pytest.mark.parametrize("limit", ["0", "101", "-1", "many"])
def test_a_page_has_one_to_a_hundred_rows(limit: str) -> None:
    with pytest.raises(StripeError) as told:
        forms.read(ListForm, {"limit": limit})
    assert (told.value.body["code"], told.value.body["param"]) == ("parameter_invalid_integer", "limit")


def test_an_empty_text_unsets_and_is_told_from_nothing() -> None:
    form = forms.read(Example, forms.parse("name=&days="))
    assert form.given("name", "days", "prorate") == {"name": None, "days": None}


def test_true_and_false_are_read_as_the_sdk_writes_them() -> None:
    assert forms.read(Example, forms.parse("prorate=true")).prorate is True
    assert forms.read(Example, forms.parse("prorate=false")).prorate is False


KEYS = st.text("abc", min_size=1, max_size=2)


@given(kept=st.dictionaries(KEYS, KEYS), given_=st.dictionaries(KEYS, st.just("") | KEYS))
def test_metadata_are_merged_by_key(kept: dict[str, str], given_: dict[str, str]) -> None:
    merged = merge_metadata(kept, given_)
    assert {key: value for key, value in merged.items() if key not in given_} == {
        key: value for key, value in kept.items() if key not in given_
    }
    assert {key: merged.get(key, "") for key in given_} == given_


def test_an_empty_metadata_clears_them() -> None:
    form = forms.read(Example, forms.parse("metadata="))
    assert merge_metadata({"a": "1"}, form.metadata) == {}
    assert merge_metadata({"a": "1"}, None) == {"a": "1"}


@given(value=st.integers(-5, 5), bound=st.integers(-5, 5))
def test_a_range_holds_what_is_in_it(value: int, bound: int) -> None:
    assert Range(gt=bound).holds(value) is (value > bound)
    assert Range(gte=bound).holds(value) is (value >= bound)
    assert Range(lt=bound).holds(value) is (value < bound)
    assert Range(lte=bound).holds(value) is (value <= bound)
