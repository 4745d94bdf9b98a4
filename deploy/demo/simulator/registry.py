"""Which function answers which address, and which follows which event."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ParamSpec

from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import Form

if TYPE_CHECKING:
    from deploy.demo.simulator.account import Account


@dataclass(frozen=True, slots=True)
class Route:
    """An address of the API: its method, its pattern, what it takes and what it does."""

    method: str
    pattern: re.Pattern[str]
    form: type[Form]
    answer: Callable[..., Json]


P = ParamSpec("P")

ROUTES: list[Route] = []
LISTENERS: dict[str, list[Callable[["Account", Json], None]]] = {}


def route(method: str, path: str, form: type[Form] = Form) -> Callable[[Callable[P, Json]], Callable[P, Json]]:
    """Answer `method path`. The function takes the account, the form, and the texts for `{names}` in the path.

    Where two patterns match, the one that was written first wins.
    """
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def keep(answer: Callable[P, Json]) -> Callable[P, Json]:
        ROUTES.append(Route(method, pattern, form, answer))
        return answer

    return keep


def listens(
    *types: str,
) -> Callable[[Callable[["Account", Json], None]], Callable[["Account", Json], None]]:
    """Follow events inside Stripe: called with the object as it is, right after the event was emitted."""

    def keep(follow: Callable[["Account", Json], None]) -> Callable[["Account", Json], None]:
        for type_ in types:
            LISTENERS.setdefault(type_, []).append(follow)
        return follow

    return keep


@cache
def discover() -> None:
    """Import every module of resources, so that their routes and listeners are known."""
    package: Any = import_module("deploy.demo.simulator.resources")
    for module in sorted(found.name for found in iter_modules(package.__path__)):
        import_module(f"deploy.demo.simulator.resources.{module}")
