"""What stands on a partner's invoice is said in the partner's language, chosen when the invoice is drafted."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.numbers import format_decimal

from db.money import decimals
from jobs.invoices.page_words import catalog
from jobs.mail.contexts import Amount, UnitPrice
from jobs.mail.words import Words, negotiate
from jobs.rules.pricing import AMOUNTS, RatedLine, described


def _(sentence: str) -> str:
    """Marks a sentence for `pybabel extract`; `LineWords` translates it."""
    return sentence


SAID: Mapping[str, str] = {
    "flat_fee": _("Monthly fee"),
    "flat_fee_share": _("Monthly fee, pro rata"),
    "deeds": _("Deeds"),
    "requests": _("Requests"),
    "requests_packages": _("Requests, in packages of %(package)s"),
    "included_deed": _("Included deeds"),
    "included_request": _("Included requests"),
    "included_unit": _("Included units"),
    "tier": _("Tier %(tier)s: %(from)s to %(up_to)s"),
    "tier_last": _("Tier %(tier)s: %(from)s and more"),
    "tier_fee": _("Fee of tier %(tier)s"),
    "minimum": _("Minimum commitment of %(minimum)s"),
    "cap": _("Cap of %(cap)s"),
    "adjustment": _("Usage of %(month)s that was reported late"),
}
"""The rules' own keys (`jobs.rules.pricing.TEXTS`), as sentences."""

UNITS: Mapping[str, str] = {
    "deed": _("deeds"),
    "request": _("requests"),
    "unit": _("units"),
    "package": _("packages"),
    "month": _("months"),
}
SHARES: Mapping[str, str] = {
    "days": _("For %(part)s of %(whole)s days"),
    "hours": _("For %(part)s of %(whole)s hours"),
    "seconds": _("For %(part)s of %(whole)s seconds"),
}
PACKAGE_PRICE = _("%(price)s for %(package)s requests")
INCLUDED = _("Used: %(units)s, included: %(included)s")
CHARGED = _("Charged otherwise: %(charges)s")
LATE = _("With all usage known now: %(now)s; charged before: %(before)s")
REPLANNED = _("Plan of %(month)s that became known late")
DISCOUNT = _("Discount")
CREDIT = _("Credit: %(reason)s")
CREDIT_PLAIN = _("Credit")
LONGEST = 200
"""Characters of a name on an invoice."""


class LineWords:
    """How one partner's lines are written."""

    def __init__(self, locale: str | None, currency: str) -> None:
        """Write in `locale` (BCP 47; English where there is none), and amounts in `currency`."""
        self._words = Words(negotiate(locale), ZoneInfo("UTC"))
        self._catalog = catalog(self._words.language)
        self.currency = currency

    def say(self, sentence: str, **values: str) -> str:
        """A sentence with its values."""
        said: str = self._catalog.ugettext(sentence)
        return said % values if values else said

    def money(self, minor: int | str) -> str:
        """An amount of minor units: `1.234,50 €`; a price may have more digits than the currency."""
        value = Decimal(minor)
        if value == value.to_integral_value():
            return self._words.money(Amount(int(value), self.currency))
        return self._words.price(UnitPrice(amount=value, currency=self.currency))

    def count(self, number: str) -> str:
        """A quantity, with all its digits; a fraction without an end as it is."""
        if "/" in number:
            return number
        return format_decimal(Decimal(number), locale=self._words.locale, decimal_quantization=False)

    def month(self, first: date) -> str:
        """A month and its year."""
        return self._words.month(datetime(first.year, first.month, 1, tzinfo=UTC))

    def unit(self, name: str | None) -> str | None:
        """What is counted."""
        return self.say(UNITS[name]) if name is not None else None

    def description(self, line: RatedLine, month: date) -> str:
        """What a line is for; `month` is the first of what a late one is about."""
        key, numbers = described(line)
        values = {name: self.money(one) if name in AMOUNTS else self.count(one) for name, one in numbers.items()}
        if key == "adjustment":
            values["month"] = self.month(month)
        return self.say(SAID[key], **values)

    def details(self, line: RatedLine) -> tuple[str, ...]:
        """What a reader needs beside quantity and price to reckon a line again."""
        facts = line.facts
        found: list[str] = []
        if "share" in facts:
            part, _slash, whole = facts["share"].partition("/")
            found.append(self.say(SHARES[facts["share_unit"]], part=self.count(part), whole=self.count(whole)))
        match line.kind:
            case "requests" if "packages" not in facts and facts["package"] != "1":
                price = self.money(facts["price"])
                found.append(self.say(PACKAGE_PRICE, price=price, package=self.count(facts["package"])))
            case "included":
                units, included = self.count(facts["units"]), self.count(facts["included"])
                found.append(self.say(INCLUDED, units=units, included=included))
            case "minimum" | "cap":
                found.append(self.say(CHARGED, charges=self.money(facts["charges"])))
            case "adjustment":
                found.append(self.say(LATE, now=self.money(facts["now"]), before=self.money(facts["before"])))
            case _:
                pass
        return tuple(found)

    def replanned(self, month: date) -> str:
        """Of what a month's plan turned out to be."""
        return self.say(REPLANNED, month=self.month(month))

    def less(self, what: str, line: RatedLine, credit: int | None) -> str:
        """That a closed month comes to less by what became known late: its sums, and what came back as a credit."""
        said = f"{what}. {' '.join(self.details(line))}"
        return said if credit is None else f"{said}. {self.say(CREDIT, reason=self.money(credit))}"

    def discount(self, percent: Decimal) -> str:
        """The name of what the contract gives off."""
        return f"{self.say(DISCOUNT)} ({percent.normalize():f} %)"

    def credit(self, reason: str) -> str:
        """The name of a credit, with why it was given."""
        told = " ".join(reason.split())
        return self.say(CREDIT, reason=told)[:LONGEST] if told else self.say(CREDIT_PLAIN)


def plain_money(minor: int, currency: str) -> str:
    """Minor units for operators: `1,234.50 EUR`."""
    digits = decimals(currency)
    return f"{Decimal(minor).scaleb(-digits):,.{digits}f} {currency.upper()}"
