"""How an amount came about, so that a person can reckon it again by hand; and what the invoice's line says."""

from collections.abc import Mapping
from decimal import Decimal

from db.money import decimals
from jobs.rules.pricing_terms import RatedLine

TEXTS: Mapping[str, str] = {
    "flat_fee": "Monthly fee",
    "flat_fee_share": "Monthly fee, pro rata",
    "deeds": "Deeds",
    "requests": "Requests",
    "requests_packages": "Requests, in packages of {package}",
    "included_deed": "Included deeds",
    "included_request": "Included requests",
    "included_unit": "Included units",
    "tier": "Tier {tier}: {from} to {up_to}",
    "tier_last": "Tier {tier}: {from} and more",
    "tier_fee": "Fee of tier {tier}",
    "minimum": "Minimum commitment of {minimum}",
    "cap": "Cap of {cap}",
    "adjustment": "Usage reported late",
}
"""What a line says, by its key; `{minimum}` and `{cap}` are amounts, the others counts."""

OVER = "\N{DIVISION SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"

AMOUNTS = frozenset({"minimum", "cap"})
"""Which of the numbers in `TEXTS` are minor units."""


def described(line: RatedLine) -> tuple[str, dict[str, str]]:
    """The key of `TEXTS` for a line, and the plain numbers that go into it: amounts in minor units, counts in units."""
    facts = line.facts
    match line.kind:
        case "flat_fee":
            found = ("flat_fee_share" if "share" in facts else "flat_fee"), dict[str, str]()
        case "requests" if "packages" in facts:
            found = "requests_packages", {"package": facts["package"]}
        case "included":
            found = f"included_{line.unit}", dict[str, str]()
        case "tier":
            found = _tier(facts)
        case "minimum" | "cap":
            found = line.kind, {line.kind: facts[line.kind]}
        case _:
            found = line.kind, dict[str, str]()
    return found


def _tier(facts: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    if "flat_fee" in facts:
        return "tier_fee", {"tier": facts["tier"]}
    told = {"tier": facts["tier"], "from": _first(facts)}
    return ("tier", told | {"up_to": facts["up_to"]}) if facts["up_to"] else ("tier_last", told)


def _first(facts: Mapping[str, str]) -> str:
    """The first whole unit of a tier, as people count."""
    return str(int(facts["from"]) + 1)


def number(text: str) -> str:
    """A count with its thousands apart: `12,345.5`."""
    return f"{Decimal(text):,f}"


def counted(count: int, thing: str) -> str:
    """`1 line`, `1,234 lines`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def amount(minor: Decimal | int | str, currency: str) -> str:
    """Minor units as people write them, `1,234.50 USD`; a price may have more digits than the currency: `0.0005 USD`.

    Exact, whatever decimal context holds.
    """
    places = decimals(currency)
    sign, digits, exponent = Decimal(minor).as_tuple()
    whole, _, rest = f"{Decimal((sign, digits, int(exponent) - places)):,f}".partition(".")
    rest = rest.rstrip("0").ljust(places, "0")
    return f"{whole}{'.' if rest else ''}{rest} {currency.upper()}"


def text(line: RatedLine) -> str:
    """What a line says, in English."""
    key, told = described(line)
    money = line.facts["currency"]
    return TEXTS[key].format(**{k: amount(v, money) if k in AMOUNTS else number(v) for k, v in told.items()})


def explain(line: RatedLine) -> str:
    """One line's arithmetic in English, from its facts alone: what was counted, times what, is what."""
    facts, money = line.facts, line.facts["currency"]
    return f"{_reckoning(line, facts, money)} = {amount(line.amount, money)}"


def _reckoning(line: RatedLine, facts: Mapping[str, str], money: str) -> str:
    match line.kind:
        case "flat_fee":
            told = _of_month(amount(facts["monthly"], money), facts)
            told += ", divided without losing anything" if "divided" in facts else ""
        case "deeds":
            told = f"{_counted(facts, 'deeds')} {TIMES} {amount(facts['price'], money)}"
        case "requests":
            told = _requests(facts, money)
        case "included":
            told = _included(facts, f"{line.unit}s")
        case "tier":
            told = _tier_reckoning(facts, money)
        case "minimum" | "cap":
            told = _limit(line.kind, facts, money)
        case _:  # an adjustment
            told = f"{amount(facts['now'], money)} with all that is known now - {amount(facts['before'], money)} before"
    return told


def _included(facts: Mapping[str, str], units: str) -> str:
    month = _of_month(f"{number(facts['included_month'])} {units}", facts)
    free = f"{month}, rounded up: {number(facts['included'])}" if "share" in facts else month
    return f"{number(facts['taken'])} of {number(facts['units'])} {units} are included ({free}) {TIMES} 0"


def _of_month(what: str, facts: Mapping[str, str]) -> str:
    """A month's sum, times the months, times the share of the period: `46 of 92 days`."""
    months = "" if facts["months"] == "1" else f" {TIMES} {facts['months']} months"
    part, _, whole = facts.get("share", "").partition("/")
    share = f" {TIMES} {number(part)} of {number(whole)} {facts['share_unit']}" if whole else ""
    return f"{what} a month{months}{share}"


def _counted(facts: Mapping[str, str], name: str) -> str:
    if facts["taken"] == "0":
        return f"{number(facts['charged'])} {name}"
    return f"({number(facts['units'])} {name} - {number(facts['taken'])} included)"


def _requests(facts: Mapping[str, str], money: str) -> str:
    counted, price, size = _counted(facts, "requests"), amount(facts["price"], money), number(facts["package"])
    if "packages" not in facts:
        return f"{counted} {OVER} {size} {TIMES} {price}"
    return f"{counted} {OVER} {size}, rounded {facts['rounding']}: {number(facts['packages'])} {TIMES} {price}"


def _tier_reckoning(facts: Mapping[str, str], money: str) -> str:
    if "flat_fee" in facts:
        return f"fee of tier {facts['tier']}, which is reached"
    reach = (
        f"{number(_first(facts))} to {number(facts['up_to'])}" if facts["up_to"] else f"over {number(facts['from'])}"
    )
    units = f"all {number(facts['units'])} units" if facts["mode"] == "volume" else f"{number(facts['units'])} units"
    return f"tier {facts['tier']} ({reach}): {units} {TIMES} {amount(facts['price'], money)}"


def _limit(name: str, facts: Mapping[str, str], money: str) -> str:
    agreed = f"{name} of {_of_month(amount(facts[f'{name}_month'], money), facts)}"
    whole = agreed if facts[name] == facts[f"{name}_month"] else f"{agreed} is {amount(facts[name], money)}"
    return f"{whole} - {amount(facts['charges'], money)} charged"
