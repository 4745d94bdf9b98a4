"""A letter speaks its reader's language: which one that is, and how amounts, dates and numbers are written in it."""

import io
import re
from copy import copy
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import NumberPattern, format_decimal, format_percent, get_currency_precision, parse_pattern
from babel.support import Translations

from db.money import decimals
from jobs.mail.contexts import Amount, Method, UnitPrice
from worker.settings import LANGUAGES

TEMPLATES = Path(__file__).parents[2] / "templates" / "mail"

NAMES = {
    "ach": "ACH",
    "acss_debit": "PAD",
    "amazon_pay": "Amazon Pay",
    "amex": "American Express",
    "au_becs_debit": "BECS",
    "bacs_debit": "Bacs",
    "cartes_bancaires": "Cartes Bancaires",
    "diners": "Diners Club",
    "eftpos_au": "eftpos",
    "ideal": "iDEAL",
    "jcb": "JCB",
    "mastercard": "Mastercard",
    "p24": "Przelewy24",
    "paypal": "PayPal",
    "sepa_debit": "SEPA",
    "unionpay": "UnionPay",
    "us_bank_account": "ACH",
}
"""How the owners of payment methods write them; Stripe's codes otherwise read well when capitalized."""


_CODE_MEETS_DIGIT = re.compile(r"(?<=[A-Za-z])(?=\d)")
"""CLDR's currencySpacing, which Babel leaves out: https://www.unicode.org/reports/tr35/tr35-numbers.html#Currencies."""


def negotiate(wanted: str | None, default: str = "en") -> Locale:
    """The locale to write in: `wanted` (BCP 47, or Stripe's `preferred_locales`), else `default`, else English.

    A region that is not known falls back to its language: `de-AT`, then `de`, then `default`. Never raises.
    """
    for tag in (wanted, default):
        language, *rest = (tag or "").strip().replace("_", "-").split("-")
        if language.lower() not in LANGUAGES:
            continue
        try:
            return Locale.parse("-".join([language.lower(), *rest]), sep="-")
        except (ValueError, UnknownLocaleError):
            return Locale(language.lower())
    return Locale("en")


@lru_cache(maxsize=len(LANGUAGES))
def catalog(language: str) -> Translations:
    """The sentences of a language, read from `locale/…/mail.po` at first use; English needs none."""
    if language == LANGUAGES[0]:
        return Translations()
    with (TEMPLATES / "locale" / language / "LC_MESSAGES" / "mail.po").open("rb") as file:
        entries = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, entries)
    compiled.seek(0)
    return Translations(compiled, domain="mail")


def _digits(minor: int, currency: str) -> int:
    """Stripe sends ISK and UGX with two decimals that must be 00, and people write none: so they are left out."""
    sent, written = decimals(currency), get_currency_precision(currency.upper())
    return written if written < sent and minor % 10 ** (sent - written) == 0 else sent


def _from_utc(local: datetime) -> str:
    """`UTC`, `UTC+1`, `UTC-3:30`: the names of time zones are ambiguous, and not all locales have short ones."""
    minutes = (local.utcoffset() or timedelta()) // timedelta(minutes=1)
    hours, rest = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    return "UTC" + (f"{sign}{hours}" if minutes else "") + (f":{rest:02}" if rest else "")


@dataclass(frozen=True, slots=True)
class Words:
    """How one reader is written to."""

    FILTERS: ClassVar = (
        "money",
        "price",
        "day",
        "last_day",
        "month",
        "moment",
        "number",
        "percent",
        "seconds",
        "method_name",
    )
    """The methods that templates use as filters."""

    locale: Locale
    timezone: ZoneInfo

    @property
    def tag(self) -> str:
        """The locale as BCP 47 writes it: for `lang`, and for `Content-Language`."""
        return str(self.locale).replace("_", "-")

    @property
    def language(self) -> str:
        """Which catalog the sentences come from."""
        return self.locale.language

    @property
    def gap(self) -> str:
        """What stands between two sentences."""
        return "" if self.language == "ja" else " "

    def _currency(self, value: Decimal, code: str, least: int, most: int) -> str:
        pattern = copy(parse_pattern(self.locale.currency_formats["standard"]))
        assert isinstance(pattern, NumberPattern)
        pattern.frac_prec = (least, most)
        written = pattern.apply(value, self.locale, currency=code.upper(), currency_digits=False)
        return _CODE_MEETS_DIGIT.sub("\N{NO-BREAK SPACE}", written)

    def money(self, amount: Amount) -> str:
        """An amount, with its currency's own digits: `$49.00`, `49,00 €`, `￥4,900`."""
        digits = _digits(amount.amount, amount.currency)
        value = Decimal(amount.amount).scaleb(-decimals(amount.currency))
        return self._currency(value, amount.currency, digits, digits)

    def price(self, price: UnitPrice) -> str:
        """A price per unit, with as many digits as it has, and at least the currency's: `$0.0025`."""
        value = price.amount.scaleb(-decimals(price.currency)).normalize()
        least = decimals(price.currency)
        return self._currency(value, price.currency, least, max(least, -int(value.as_tuple().exponent)))

    def _local(self, at: date) -> date:
        return at.astimezone(self.timezone) if isinstance(at, datetime) else at

    def day(self, at: date) -> str:
        """The day: of an instant, the one that the reader's calendar showed; a date is itself."""
        local = self._local(at)
        written = format_date(local, "long", self.locale)
        # CLDR writes « 1 mars »; French does not.
        return written.replace("1 ", "1er ", 1) if self.language == "fr" and local.day == 1 else written

    def last_day(self, end: datetime) -> str:
        """The last day of a period that ends at `end`, which is where the next one begins."""
        return self.day(end - timedelta(microseconds=1))

    def month(self, on: date) -> str:
        """A month and its year."""
        return format_skeleton("yMMMM", datetime(on.year, on.month, 1, tzinfo=self.timezone), locale=self.locale)

    def moment(self, at: datetime) -> str:
        """Day, hour, minute and distance from UTC, where a deadline is at stake."""
        local = at.astimezone(self.timezone)
        joined = str(self.locale.datetime_formats["medium"])
        clock = format_time(local, "short", tzinfo=self.timezone, locale=self.locale)
        return f"{joined.format(clock, self.day(at))} ({_from_utc(local)})"

    def number(self, value: int) -> str:
        """A count."""
        return format_decimal(value, locale=self.locale)

    def percent(self, value: int) -> str:
        """`value` of a hundred."""
        return format_percent(Decimal(value) / 100, locale=self.locale)

    def seconds(self, value: int) -> str:
        """How long something took, in symbols that are the same in all Latin scripts (ISO 80000-3): `1 min 23 s`."""
        minute, second, between = ("分", "秒", "") if self.language == "ja" else (" min", " s", " ")
        minutes, seconds = divmod(value, 60)
        parts = [f"{self.number(minutes)}{minute}"] * bool(minutes) + [f"{seconds}{second}"]
        return between.join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)

    def method_name(self, method: Method) -> str:
        """A payment method as its owner knows it, without the digits: `Visa`, `SEPA`."""
        return NAMES.get(method.brand, method.brand.replace("_", " ").title())
