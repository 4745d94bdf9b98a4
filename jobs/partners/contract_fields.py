"""What a salesperson wrote into a field of a contract is read, or it is said how to write it."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeAlias, cast
from zoneinfo import available_timezones

from msgspec import Struct

from db.money import decimals
from jobs.invoices.codes import COUNTRIES, CURRENCIES
from jobs.invoices.document import Address, TaxId
from jobs.invoices.draft_limits import FIRST_YEAR, LAST_YEAR
from jobs.invoices.mailable import unmailable
from jobs.rules.documents import LARGEST, PLACES
from worker.settings import LANGUAGES

Reader: TypeAlias = Callable[[Any, str], Any]
"""Takes what was written, and the contract's currency (empty where it is wrong itself). Raises WrongError."""

PERCENT_PLACES = 4
"""Of a percentage, as the database keeps it."""

LARGEST_COUNT = 10**12
"""Beyond that no number of units, requests or days is meant."""

FLOAT_DIGITS = 15
"""So many decimal digits every double keeps (DBL_DIG)."""

MOST_TIERS, MOST_PATTERNS, MOST_TAX_IDS = 100, 100, 10
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_AMOUNT = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]{3})")


class WrongError(ValueError):
    """A field is not as it should be: each mistake as (place within the field, what to write)."""

    def __init__(self, *told: tuple[str, str]) -> None:
        """A place is empty where the field itself is meant, else `[2].up_to` or `.country`."""
        super().__init__("; ".join(said for _, said in told))
        self.told = told


class ContractTier(Struct, frozen=True):
    """A step of the price list: what each unit costs up to so many, and what reaching it costs. Minor units."""

    up_to: int | None
    """The last unit of the tier, counted from the first of all; None: it goes on without end."""
    unit_price_cents: Decimal
    flat_fee_cents: int = 0


def near(typed: str, known: Sequence[str]) -> str:
    """`; did you mean …?`, or nothing."""
    found = get_close_matches(typed.lower(), [one.lower() for one in known], n=1)
    return f"; did you mean {next(one for one in known if one.lower() == found[0])!r}?" if found else ""


def _said(message: str) -> WrongError:
    return WrongError(("", message))


def text(longest: int, *, lines: bool = False) -> Reader:
    """A line of text, or several."""

    def read(value: Any, _: str) -> str:
        if not isinstance(value, str):
            raise _said(f"is a text, and not {value!r}")
        if any("\ud800" <= char <= "\udfff" or (char < " " and not (lines and char in "\n\t\r")) for char in value):
            raise _said("holds a character that cannot be written" + ("" if lines else " in one line") + ": remove it")
        if len(value) > longest:
            raise _said(f"has {len(value)} characters: shorten it to {longest}")
        return value.strip()

    return read


def _numbers(word: str) -> list[str]:
    """Whoever wrote `net_7` means 7 days, and no other number that looks like it."""
    return re.findall(r"[0-9]+", word)


def choice(*known: str) -> Reader:
    """One of a few words."""

    def read(value: Any, _: str) -> str:
        if value not in known:
            same = [one for one in known if _numbers(one) == _numbers(value)] if isinstance(value, str) else []
            hint = near(value, same) if same else ""
            raise _said(f"{value!r} is not known{hint or ':'} it is one of {', '.join(known)}")
        return value

    return read


def prefix(value: Any, _: str) -> str:
    """What a partner's keys begin with."""
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise _said(
            f"{value!r} is no prefix of keys: write letters, digits, _ and -, at most 64, first a letter or a digit,"
            " such as nw_live"
        )
    return value


def currency(value: Any, _: str) -> str:
    """A currency that Stripe can be paid in, in lower case."""
    code = value.strip().lower() if isinstance(value, str) else ""
    if code not in CURRENCIES:
        raise _said(f"{value!r} is no currency that Stripe can be paid in: write three letters, such as eur or usd")
    return code


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime", "posixrules", "Factory"}


def time_zone(value: Any, _: str) -> str:
    """A time zone of the IANA database."""
    if value not in _zones():
        hint = near(value, sorted(_zones())) if isinstance(value, str) else ""
        raise _said(f"{value!r} is no time zone of the IANA database{hint or ': for example Europe/Berlin or UTC'}")
    return value


def locale(value: Any, _: str) -> str:
    """A language that invoices are written in, with or without a region."""
    if not isinstance(value, str) or not re.fullmatch(rf"({'|'.join(LANGUAGES)})([-_][A-Za-z0-9]{{2,8}})*", value):
        raise _said(f"{value!r} is none of {', '.join(LANGUAGES)}, with a region or without: for example de or de-AT")
    return value


def day(value: Any, _: str) -> date:
    """A day of the calendar: `2026-11-01`."""
    if isinstance(value, date) and not isinstance(value, datetime):
        found = value
    else:
        try:
            if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value.strip(), re.ASCII):
                raise ValueError  # noqa: TRY301 - said below, as for a day that there is not
            found = date.fromisoformat(value.strip())
        except ValueError:
            raise _said(f"{_shown(value)} is no day: write year, month and day, such as 2026-11-01") from None
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise _said(f"{found} lies outside of the years {FIRST_YEAR} to {LAST_YEAR}: correct the year")
    return found


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Decimal | date) else repr(value)


def switch(value: Any, _: str) -> bool:
    """Yes or no."""
    match value.strip().lower() if isinstance(value, str) else value:
        case True | "true" | "yes" | "on":
            return True
        case False | "false" | "no" | "off":
            return False
        case _:
            raise _said(f"{_shown(value)} is neither true nor false")


def number(value: Any, places: int, example: str) -> Decimal:
    """A number that was written as one or as text. Raises WrongError.

    A float comes of a number in JSON: up to 15 digits its shortest writing is what was written, and no more is taken.
    """
    if isinstance(value, float):
        value = _of_float(value, example)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) and len(value) <= 40:  # noqa: PLR2004 - longer ones are none
        value = value.strip()
    elif isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _said(f"{_shown(value)} is no number: write {example}")
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise _said(f"{_shown(value)} is no number: write {example}") from None
    exponent = found.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > 40 or found.adjusted() > 40:  # noqa: PLR2004 - short to write, but none lives to see it multiplied
        raise _said(f"{_shown(value)[:40]} is no number that is meant: write {example}")
    found = _short(found)
    if -cast("int", found.as_tuple().exponent) > places:
        raise _said(
            f"{found:f} has more than {places} decimal places: round it" if places else _not_whole(found, example)
        )
    return found


def _of_float(value: float, example: str) -> Decimal:
    written = Decimal(repr(value))
    if len(written.as_tuple().digits) > FLOAT_DIGITS:
        raise _said(f"{value!r} has more digits than a number in JSON keeps: write it as a text, such as {example}")
    return written


def _not_whole(value: Decimal, example: str) -> str:
    return f"{value:f} is no whole number: write {example}"


def _short(value: Decimal) -> Decimal:
    """The same number without zeros that say nothing and without an exponent, so that equal ones are written alike."""
    plain = f"{value:f}"
    return Decimal(plain.rstrip("0").rstrip(".") if "." in plain else plain) if value else Decimal(0)


def count(least: int, most: int = LARGEST_COUNT) -> Reader:
    """A whole number between these."""

    def read(value: Any, _: str) -> int:
        found = int(number(value, 0, f"a whole number, such as {max(least, 1_000 if most > 1_000 else 1)}"))  # noqa: PLR2004 - an example
        if found < least:
            raise _said(f"is {found}: write at least {least}")
        if found > most:
            raise _said(f"is {found}: write at most {most}")
        return found

    return read


def percent(value: Any, _: str) -> Decimal:
    """A percentage between 0 and 100."""
    said = value.strip().removesuffix("%").strip() if isinstance(value, str) else value
    found = number(said, PERCENT_PLACES, "a percentage, such as 19 or '7.7'")
    if not 0 <= found <= 100:  # noqa: PLR2004 - percent
        raise _said(f"is {found:f}: write a percentage between 0 and 100")
    return found


def example_of(code: str, minor: int = 250) -> str:
    """`250 (minor units) or '2.50 EUR'`."""
    shown = code or "usd"
    digits = decimals(shown)
    return f"{minor} (minor units) or '{Decimal(minor).scaleb(-digits):.{digits}f} {shown.upper()}'"


def price(value: Any, code: str) -> Decimal:
    """An amount in minor units of currency `code`, which may be a part of one; or major ones with the currency."""
    said = re.fullmatch(_AMOUNT, value.strip()) if isinstance(value, str) else None
    if said is not None:
        if code not in {"", said[2].lower()}:
            raise _said(f"{value!r} is not in {code.upper()}, the contract's currency: write {example_of(code)}")
        found = _short(number(said[1], PLACES + 3, example_of(code)).scaleb(decimals(code)))
    else:
        found = number(value, PLACES, f"{example_of(code)}, without separators of thousands")
    if found < 0:
        raise _said(f"is {found:f}: an amount is not below 0; what is given back is a credit or a discount")
    if found > LARGEST:
        raise _said(f"is {found:f}: that is beyond what an invoice can show")
    return found


def amount(value: Any, code: str) -> int:
    """An amount in whole minor units of currency `code`."""
    found = price(value, code)
    if found != found.to_integral_value():
        if isinstance(value, str) and _AMOUNT.fullmatch(value.strip()):
            raise _said(
                f"{value!r} is finer than {code.upper()} is: price a larger package (package_size), or use tiers"
            )
        raise _said(f"{_shown(value)} is not clear: write {example_of(code)}")
    return int(found)


def _table(value: Any, known: Mapping[str, str], what: str) -> dict[str, Any]:
    """A table of named values. Raises WrongError for names that are unknown."""
    if not isinstance(value, Mapping):
        raise _said(f"is {what}: write {', '.join(known.values())}")
    given = cast("Mapping[Any, Any]", value)
    wrong = [(f".{name}", f"is unknown{near(str(name), tuple(known))}") for name in given if name not in known]
    if wrong:
        raise WrongError(*wrong)
    return {str(name): one for name, one in given.items() if one is not None and one != ""}


def _each(value: Any, most: int, what: str, read: Callable[[Any], Any]) -> tuple[Any, ...]:
    """A list, each read; all their mistakes are told, each with its index. Raises WrongError."""
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise _said(f"is a list of {what}")
    given = cast("Sequence[Any]", value)
    if len(given) > most:
        raise _said(f"has {len(given)} entries: at most {most} are possible")
    found: list[Any] = []
    wrong: list[tuple[str, str]] = []
    for index, one in enumerate(given):
        try:
            found.append(read(one))
        except WrongError as error:
            wrong += [(f"[{index}]{place}", said) for place, said in error.told]
    if wrong:
        raise WrongError(*wrong)
    return tuple(found)


def _parts(given: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The values of a table; all their mistakes are told, each with its name. Raises WrongError."""
    found: dict[str, Any] = {}
    wrong: list[tuple[str, str]] = []
    for name, read in readers.items():
        if name in given:
            try:
                found[name] = read(given[name])
            except WrongError as error:
                wrong += [(f".{name}{place}", said) for place, said in error.told]
    if wrong:
        raise WrongError(*wrong)
    return found


_TIER = {"up_to": "up_to", "unit_price_cents": "unit_price_cents", "flat_fee_cents": "flat_fee_cents"}


def tiers(value: Any, code: str) -> tuple[ContractTier, ...]:
    """The steps of a price list; that they are in order, and the last without end, the rules of pricing tell."""

    def tier(one: Any) -> ContractTier:
        given = _table(one, _TIER, "a tier")
        if not given.keys() & {"unit_price_cents", "flat_fee_cents"}:
            raise WrongError((".unit_price_cents", f"is missing: what one unit costs, {example_of(code, 50)}"))
        readers: dict[str, Callable[[Any], Any]] = {
            "up_to": lambda edge: count(1)(edge, code),
            "unit_price_cents": lambda each: price(each, code),
            "flat_fee_cents": lambda fee: amount(fee, code),
        }
        read = _parts(given, readers)
        return ContractTier(read.get("up_to"), read.get("unit_price_cents", Decimal(0)), read.get("flat_fee_cents", 0))

    return _each(value, MOST_TIERS, "tiers, each with up_to, unit_price_cents and flat_fee_cents", tier)


def patterns(value: Any, _: str) -> tuple[str, ...]:
    """Event types, with `*` and `?`; one text may hold several, with commas between."""
    given = [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value

    def pattern(one: Any) -> str:
        found: str = text(200)(one, "")
        if not found or " " in found:
            raise _said(f"{one!r} is no event type: write such as *deed* or land.deed.created")
        return found

    return _each(given, MOST_PATTERNS, "event types, such as ['*deed*']", pattern)


_ADDRESS = ("line1", "line2", "city", "postal_code", "state", "country")


def country(value: Any) -> str:
    """A country of ISO 3166-1, in capitals."""
    code = value.strip().upper() if isinstance(value, str) else ""
    if code not in COUNTRIES:
        raise _said(f"{value!r} is no country of ISO 3166-1: write two letters, such as DE")
    return code


def address(value: Any, _: str) -> Address:
    """A postal address in its parts."""
    given = _table(value, {name: name for name in _ADDRESS}, "an address in parts")
    readers: dict[str, Callable[[Any], Any]] = {name: lambda part: text(200)(part, "") for name in _ADDRESS[:-1]}
    return Address(**_parts(given, {**readers, "country": country}))


def tax_ids(value: Any, _: str) -> tuple[TaxId, ...]:
    """Numbers by which tax offices know the partner; a text is `type:number`."""

    def kind(one: Any) -> str:
        if not isinstance(one, str) or not re.fullmatch("[a-z]{2}[a-z0-9_]*", one):
            raise _said(f"{one!r} is no type of Stripe's: write such as eu_vat, gb_vat or us_ein")
        return one

    def tax_id(one: Any) -> TaxId:
        if isinstance(one, str):
            type_, _, written = one.partition(":")
            one = {"type": type_, "value": written}
        given = _table(one, {"type": "type", "value": "value"}, "a tax id")
        missing = [(f".{name}", "is missing") for name in ("type", "value") if name not in given]
        if missing:
            raise WrongError(*missing)
        return TaxId(**_parts(given, {"type": kind, "value": lambda written: text(200)(written, "")}))

    return _each(value, MOST_TAX_IDS, "tax ids, each with type and value, such as eu_vat and DE123456789", tax_id)


def email(value: Any, _: str) -> str:
    """An address that a letter can be sent to."""
    said = value.strip() if isinstance(value, str) else ""
    why = unmailable(said)
    if why:
        raise _said(f"{why}: write such as billing@example.com")
    return said


def customer(value: Any, _: str) -> str:
    """A customer's id at Stripe."""
    if not isinstance(value, str) or not re.fullmatch("cus_[A-Za-z0-9_]{1,200}", value):
        raise _said(f"{value!r} is no customer of Stripe's: copy the id from its dashboard, cus_…")
    return value
