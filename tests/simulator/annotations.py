"""Whether a JSON object is what the official SDK's annotations say that Stripe sends."""

import ast
import inspect
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, ForwardRef, Literal, Union, cast, get_args, get_origin

from stripe import ListObject, StripeObject

Json = dict[str, Any]

LIST_FIELDS = {"total_count": int}
"""What lists inside objects show besides what the SDK's `ListObject` names."""

UNNAMED = {"charge": {"destination", "dispute", "order"}, "subscription": {"plan", "quantity"}}
"""What Stripe's recorded answers show besides what the SDK names: left from before, without a promise."""


def violations(obj: Json, path: str | None = None) -> list[str]:
    """All that Stripe would not send so: a key it does not have, a field missing, a value of another type or enum.

    The SDK tells enums as `Union[Literal[…], str]`, open to what is to come; what we send must be among those it names.
    """
    kind = str(obj.get("object"))
    found = classes().get(kind)
    if found is None:
        return [f"{path or kind}: no object of Stripe's"]
    return _object(obj, found, path or kind)


@cache
def classes() -> dict[str, type[StripeObject]]:
    """The SDK's class for each value of `object`."""
    table = cast("dict[str, tuple[str, str]]", import_module("stripe._object_classes").OBJECT_CLASSES)
    return {name: getattr(import_module(module), attribute) for name, (module, attribute) in table.items()}


def fields(cls: type[StripeObject]) -> dict[str, Any]:
    """The annotated fields, as the wire names them."""
    renamed = cast("dict[str, str]", getattr(cls, "_field_remappings", {}))
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, StripeObject) and base is not StripeObject:
            found |= inspect.get_annotations(base)
    shown = {name: kind for name, kind in found.items() if name[0] != "_" and get_origin(kind) is not ClassVar}
    return {renamed.get(name, name): kind for name, kind in shown.items()}


@cache
def _imports(module: str) -> dict[str, tuple[str, str]]:
    """What a module of the SDK imports for the type checker only: name → (module, attribute)."""
    source = Path(str(import_module(module).__file__)).read_text()
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _resolved(reference: str, module: str) -> Any:
    name, *inner = reference.split(".")
    home: Any = import_module(module)
    if hasattr(home, name):
        found = getattr(home, name)
    else:
        where, attribute = _imports(module)[name]
        found = getattr(import_module(where), attribute)
    for part in inner:
        found = getattr(found, part)
    return found


def _object(value: Json, cls: type[StripeObject], path: str) -> list[str]:
    annotated = fields(cls)
    unnamed = UNNAMED.get(str(value.get("object")), set[str]())
    told = [f"{path}.{name}: not a field of {cls.__qualname__}" for name in value.keys() - annotated.keys() - unnamed]
    if value.get("deleted") is True:
        annotated = {name: annotated[name] for name in ("id", "object", "deleted") if name in annotated}
    for name, kind in annotated.items():
        if name in value:
            told += _value(value[name], kind, cls.__module__, f"{path}.{name}")
        elif not _optional(kind):
            told.append(f"{path}.{name}: missing")
    return told


def _optional(kind: Any) -> bool:
    return get_origin(kind) is Union and NoneType in get_args(kind)


def _value(value: Any, kind: Any, module: str, path: str) -> list[str]:
    if isinstance(kind, ForwardRef | str):
        kind = _resolved(kind if isinstance(kind, str) else kind.__forward_arg__, module)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Union:
        told = _union(value, args, module, path)
    elif origin is Literal:
        told = [] if value in args else [f"{path}: {value!r} is none of {', '.join(map(repr, args))}"]
    elif origin is not None:
        told = _container(value, origin, args, module, path)
    elif inspect.isclass(kind) and issubclass(kind, StripeObject):
        whole = isinstance(value, dict)
        told = (
            _object(cast("Json", value), kind, path)
            if whole
            else [f"{path}: {_named(value)} where {kind.__qualname__} belongs"]
        )
    elif kind is Any or kind is object or _plain(value, kind):
        told = []
    else:
        told = [f"{path}: {_named(value)} where {kind.__name__} belongs"]
    return told


def _union(value: Any, kinds: tuple[Any, ...], module: str, path: str) -> list[str]:
    if value is None:
        return [] if NoneType in kinds else [f"{path}: null where {_names(kinds)} belongs"]
    some = [kind for kind in kinds if kind is not NoneType]
    if any(get_origin(kind) is Literal for kind in some) and isinstance(value, str):
        some = [kind for kind in some if kind is not str]
    if isinstance(value, dict):
        some = [kind for kind in some if kind not in {str, int, float, bool}] or some
    tried = [_value(value, kind, module, path) for kind in some]
    return min(tried, key=lambda found: (len(found), found))


def _container(value: Any, origin: Any, args: tuple[Any, ...], module: str, path: str) -> list[str]:
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {_named(value)} where a list belongs"]
        rows = cast("list[Any]", value)
        return [told for i, row in enumerate(rows) for told in _value(row, args[0], module, f"{path}[{i}]")]
    if not isinstance(value, dict):
        return [f"{path}: {_named(value)} where an object belongs"]
    table = cast("Json", value)
    if origin is ListObject:
        return _listed(table, args[0], module, path)
    inner = args[-1]  # Dict[str, X], UntypedStripeObject[X]
    return [told for name, one in table.items() for told in _value(one, inner, module, f"{path}.{name}")]


def _listed(value: Json, row: Any, module: str, path: str) -> list[str]:
    wanted = {"object": Literal["list"], "data": list[row], "has_more": bool, "url": str}
    told = [f"{path}.{name}: missing" for name in wanted if name not in value]
    for name, inner in value.items():
        kind = (wanted | LIST_FIELDS).get(name)
        if kind is None:
            told.append(f"{path}.{name}: not a field of a list")
        else:
            told += _value(inner, kind, module, f"{path}.{name}")
    return told


def _plain(value: Any, kind: type) -> bool:
    if kind is Decimal:
        return isinstance(value, str) and _decimal(value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _named(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _names(kinds: tuple[Any, ...]) -> str:
    return " or ".join(str(getattr(kind, "__name__", kind)) for kind in kinds)
