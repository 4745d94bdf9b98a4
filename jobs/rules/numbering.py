"""How invoice numbers are written: a series counts from 1 in each year, without gaps, and no two numbers are alike."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import combinations
from zoneinfo import ZoneInfo

_FIELD = re.compile(r"\{([^{}]*)\}")
_KNOWN = {"year": r"year", "month": r"month:02", "number": r"number(:0[1-9])?"}
_LONGEST = 40
_PARTS = re.compile(r"([^{}])|\{([^{}]*)\}")
_DIGITS = frozenset("0123456789")


@dataclass(frozen=True, slots=True)
class _Part:
    """One place of a number, or any number of them."""

    chars: frozenset[str]
    repeated: bool = False


_END = _Part(frozenset())


def problems(template: str) -> list[str]:
    """What is wrong with a number's format, such as `API-{year}{month:02}-{number:04}`; none when it can be used.

    The count begins anew each year, so that a number without its year would come twice.
    """
    found: list[str] = []
    fields: list[str] = _FIELD.findall(template)
    for field in fields:
        name = field.partition(":")[0]
        if name not in _KNOWN:
            near = get_close_matches(name, _KNOWN, n=1, cutoff=0.5)
            meant = f"did you mean {{{near[0]}}}?" if near else "there are {year}, {month:02} and {number:04}"
            found.append(f"{{{field}}} is unknown: {meant}")
        elif not re.fullmatch(_KNOWN[name], field):
            how = {"year": "{year}", "month": "{month:02}", "number": "{number} or {number:04}"}[name]
            found.append(f"{{{field}}} is written {how}")
    names = [field.partition(":")[0] for field in fields]
    found += [f"{{{name}}} is missing: two numbers would be alike" for name in ("year", "number") if name not in names]
    found += [f"{{{name}}} comes twice" for name in _KNOWN if names.count(name) > 1]
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        found.append("a brace stands alone")
    elif not re.fullmatch(r"[A-Za-z0-9./_-]*", rest):
        found.append("beside its fields it has letters of a-z, digits, and . / _ - only, so that every bank takes it")
    if len(rest) > _LONGEST:
        found.append(f"it is longer than {_LONGEST} characters")
    return found


def alike(templates: Mapping[str, str]) -> list[tuple[str, str]]:
    """Series (by name, with their formats) of which some number might be the same: now, or once both are long."""
    sound = {name: _parts(template) for name, template in templates.items() if not problems(template)}
    return [(one, other) for (one, first), (other, second) in combinations(sound.items(), 2) if _meet(first, second)]


def _parts(template: str) -> list[_Part]:
    """The characters that each place of a number can have."""
    parts: list[_Part] = []
    for literal, field in _PARTS.findall(template):
        name, _, width = field.partition(":")
        match name:
            case "":
                parts.append(_Part(frozenset(literal)))
            case "year":
                parts += [_Part(_DIGITS)] * 4
            case "month":
                parts += [_Part(frozenset("01")), _Part(_DIGITS)]
            case _:
                parts += [*[_Part(_DIGITS)] * int(width or 1), _Part(_DIGITS, repeated=True)]
    return parts


def _meet(first: Sequence[_Part], second: Sequence[_Part]) -> bool:
    """Whether some text is written by both: they are read along each other, place by place."""
    ahead = [(0, 0)]
    seen = set(ahead)
    while ahead:
        one, other = ahead.pop()
        if (one, other) == (len(first), len(second)):
            return True
        mine = first[one] if one < len(first) else _END
        its = second[other] if other < len(second) else _END
        steps = [(one + 1, other)] if mine.repeated else []
        steps += [(one, other + 1)] if its.repeated else []
        if mine.chars & its.chars:
            steps.append((one if mine.repeated else one + 1, other if its.repeated else other + 1))
        ahead += [step for step in steps if step not in seen]
        seen.update(steps)
    return False


@dataclass(frozen=True, slots=True)
class Moment:
    """When a number is given out, by the seller's days."""

    year: int
    month: int


def moment(now: datetime, timezone: str) -> Moment:
    """The year and month of `now` (aware) where the seller is: on 31 December at 23:30 UTC it may be January there."""
    local = now.astimezone(ZoneInfo(timezone))
    return Moment(local.year, local.month)


def number(template: str, at: Moment, count: int) -> str:
    """The `count`-th number of a year; a count that outgrows its zeros is written out."""
    return template.format(year=at.year, month=at.month, number=count)
