"""Stripe's form encoding is read into typed forms; what is wrong is told as Stripe tells it."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from deploy.demo.simulator.errors import Json, StripeError

KEY = re.compile(r"[^\[\]]+|\[[^\[\]]*\]")


def parse(text: str) -> Json:
    """`items[0][price]=p&expand[]=customer` as nested objects and lists. Raises StripeError on a key that is no key."""
    root: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        parts = [part.strip("[]") for part in KEY.findall(name)]
        if not parts or not parts[0]:
            raise StripeError(f"Invalid parameter name: {name}", param=name)
        at = root
        for part, following in pairwise(parts):
            inner = at.setdefault(part or str(len(at)), {})
            if not isinstance(inner, dict):
                raise StripeError(f"Invalid object: {part} is a value and an object ({following})", param=name)
            at = cast("Json", inner)
        at[parts[-1] or str(len(at))] = value
    return {name: _lists(value) for name, value in root.items()}


def _lists(value: Any) -> Any:
    """Objects whose keys count from 0 are lists."""
    if not isinstance(value, dict):
        return value
    table = cast("Json", value)
    if table and all(key.isdecimal() for key in table):
        return [_lists(table[key]) for key in sorted(table, key=int)]
    return {key: _lists(inner) for key, inner in table.items()}


def _unset(value: Any) -> Any:
    """Stripe unsets what is given as an empty text."""
    return None if value == "" else value


def _clearing(value: Any) -> Any:
    """An empty text clears all metadata."""
    return {"": ""} if value == "" else value


Metadata = Annotated[dict[str, str], BeforeValidator(_clearing)]
Text = Annotated[str | None, BeforeValidator(_unset)]
"""A text that an empty one unsets. Look into `model_fields_set` for whether it was given."""

Integer = Annotated[int | None, BeforeValidator(_unset)]


class Form(BaseModel):
    """Parameters of a request; what it does not name is refused, as Stripe does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expand: list[str] = []

    def given(self, *names: str) -> Json:
        """Those of the named parameters that were given, as they were given (unset ones are None)."""
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}


F = TypeVar("F", bound=Form)


class Part(BaseModel):
    """An object inside a form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def given(self, *names: str) -> Json:
        """Those of the named parameters that were given."""
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}


class Range(Part):
    """Bounds of a time, in seconds."""

    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None

    def holds(self, value: int) -> bool:
        """Whether `value` is within."""
        return (
            (self.gt is None or value > self.gt)
            and (self.gte is None or value >= self.gte)
            and (self.lt is None or value < self.lt)
            and (self.lte is None or value <= self.lte)
        )


class ListForm(Form):
    """What every list takes: https://docs.stripe.com/api/pagination."""

    limit: Annotated[int, Field(ge=1, le=100)] = 10
    starting_after: str | None = None
    ending_before: str | None = None
    created: int | Range | None = None

    def holds(self, obj: Mapping[str, Any]) -> bool:
        """Whether the object was created in the range that was asked for."""
        if self.created is None:
            return True
        moment = created(obj)
        return self.created.holds(moment) if isinstance(self.created, Range) else moment == self.created


def created(obj: Mapping[str, Any]) -> int:
    """When an object was made; an invoice item calls it `date`."""
    return obj["created"] if "created" in obj else obj["date"]


def read(form: type[F], values: Json) -> F:
    """The form, or Stripe's words for what is wrong with it."""
    try:
        return form.model_validate(values)
    except ValidationError as error:
        raise _told(error) from None


def _told(error: ValidationError) -> StripeError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if not (isinstance(part, str) and part[:1].isupper())]
    param = place[0] + "".join(f"[{part}]" for part in place[1:]) if place else ""
    match first["type"]:
        case "extra_forbidden":
            return StripeError(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)
        case "missing":
            return StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)
        case "int_parsing" | "int_type":
            return StripeError(f"Invalid integer: {first['input']}", code="parameter_invalid_integer", param=param)
        case "bool_parsing" | "bool_type":
            return StripeError(f"Invalid boolean: {first['input']}", param=param)
        case "greater_than_equal" | "less_than_equal" as bound:
            limit = first.get("ctx", {})["ge" if bound == "greater_than_equal" else "le"]
            return StripeError(
                f"This value must be {bound.removesuffix('_equal').replace('_', ' ')} or equal to {limit}.",
                code="parameter_invalid_integer",
                param=param,
            )
        case _:
            return StripeError(f"Invalid {param}: {first['msg']}", param=param)


def merge_metadata(kept: dict[str, str], given: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata are merged by key; an empty value takes a key away: https://docs.stripe.com/api/metadata."""
    if not given:
        return kept
    if "" in given:
        return {}
    return {key: value for key, value in (kept | dict(given)).items() if value}
