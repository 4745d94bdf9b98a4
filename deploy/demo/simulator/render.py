"""How an object is shown: in the current shape or as an older API version had it, and expanded where asked."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.store import KINDS

if TYPE_CHECKING:
    from deploy.demo.simulator.account import Account

CURRENT = "2026-10-28.endive"
"""The version of the account and of the SDK that we pin."""

DEEPEST = 4
"""Properties in a path to expand, a list's `data` among them: https://docs.stripe.com/expand#limits."""

SHOWN = 10
"""Rows of a list inside an object that Stripe shows."""

OLDER: dict[str, Callable[["Account", Json], None]] = {}
"""By kind: turns an object of the current shape into that of before basil (2025-03-31), in place."""

INCLUDABLE: dict[tuple[str, str], Callable[["Account", Json], Any]] = {}
"""What an object shows only when it is expanded, such as an invoice's `payments`."""

BASIL = "2025-03-31"


def before_basil(kind: str) -> Callable[[Callable[["Account", Json], None]], Callable[["Account", Json], None]]:
    """How objects of this kind looked before basil."""

    def keep(turn: Callable[["Account", Json], None]) -> Callable[["Account", Json], None]:
        OLDER[kind] = turn
        return turn

    return keep


def includable(kind: str, field: str) -> Callable[[Callable[["Account", Json], Any]], Callable[["Account", Json], Any]]:
    """What is shown only when it is expanded: a list, an object, or plain values."""

    def keep(show: Callable[["Account", Json], Any]) -> Callable[["Account", Json], Any]:
        INCLUDABLE[kind, field] = show
        return show

    return keep


def render(account: "Account", obj: Json, version: str) -> Json:
    """A copy of `obj` as `version` shows it."""
    if obj.get("object") == "list":  # a page of a listing: all its rows
        return obj | {"data": [render(account, row, version) for row in obj["data"]]}
    shown = cast("Json", _copy(obj))
    for inner in shown.values():
        if isinstance(inner, dict) and cast("Json", inner).get("object") == "list":
            _shorten(cast("Json", inner))
    if version < BASIL and shown["object"] != "event":  # events stay in the version that they were made in
        _turn(account, shown)
    return shown


def _copy(value: Any) -> Any:
    """Five times as quick as any walk."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _shorten(rows: Json) -> None:
    if len(rows["data"]) > SHOWN:
        rows |= {"data": rows["data"][:SHOWN], "has_more": True}


def _turn(account: "Account", value: Any) -> None:
    """Objects inside first, so that each turn finds its parts in their older shape."""
    if isinstance(value, dict):
        table = cast("Json", value)
        for inner in list(table.values()):
            _turn(account, inner)
        if (turn := OLDER.get(str(table.get("object")))) is not None:
            turn(account, table)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            _turn(account, inner)


def expand(account: "Account", shown: Json, paths: list[str], version: str) -> Json:
    """Put whole objects in the place of ids. Raises StripeError for a path that cannot be expanded."""
    for path in paths:
        if path.count(".") >= DEEPEST:
            raise StripeError(
                f"You cannot expand more than {DEEPEST} levels of a property. Property: {path}",
                code="property_expansion_max_depth",
            )
        _expand(account, shown, path.split("."), version, path)
    return shown


def _expand(account: "Account", at: Any, parts: list[str], version: str, path: str) -> None:
    if isinstance(at, list):
        for inner in cast("list[Any]", at):
            _expand(account, inner, parts, version, path)
        return
    if not isinstance(at, dict):
        return
    table, (name, *rest) = cast("Json", at), parts
    show = INCLUDABLE.get((str(table.get("object")), name))
    if name == "id" or (name not in table and show is None):
        raise _not_expandable(table, name)
    value = table.get(name)
    if show is not None and value is None:
        source = account.store.need(str(table["object"]), str(table["id"]))
        made = show(account, source)  # an object, or plain values such as a price's tiers
        table[name] = value = render(account, made, version) if "object" in (made or ()) else _copy(made)
    elif isinstance(value, str):
        table[name] = value = _whole(account, value, version)
        if isinstance(value, str) and value.split("_", 1)[0] not in KINDS:
            raise _not_expandable(table, name)
    elif isinstance(value, list):
        table[name] = value = [
            _whole(account, inner, version) if isinstance(inner, str) else inner for inner in cast("list[Any]", value)
        ]
    if rest:
        _expand(account, value, rest, version, path)


def _not_expandable(table: Json, name: str) -> StripeError:
    hint = f" You may want to try expanding 'data.{name}' instead." if table.get("object") == "list" else ""
    return StripeError(f"This property cannot be expanded ({name}).{hint}")


def _whole(account: "Account", id: str, version: str) -> Any:
    kind = KINDS.get(id.split("_", 1)[0]) or ("coupon" if account.store.get("coupon", id) else "")
    found = account.store.get(kind, id)
    return render(account, found, version) if found is not None else id
