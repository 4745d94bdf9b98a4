"""A document speaks its reader's language: its sentences, amounts, quantities, days and periods."""

import io
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_interval
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import NumberPattern, get_currency_precision, parse_pattern
from babel.support import Translations

from db.money import decimals
from jobs.invoices.document import Document, Period
from jobs.mail.words import negotiate
from worker.settings import LANGUAGES

TEMPLATES = Path(__file__).parents[2] / "templates" / "invoice"
MOMENT = timedelta(microseconds=1)
NO_BREAK = "\N{NO-BREAK SPACE}"


@lru_cache(maxsize=len(LANGUAGES))
def catalog(language: str) -> Translations:
    """The sentences of a language, read from `locale/…/invoice.po` at first use; English needs none."""
    if language == LANGUAGES[0]:
        return Translations()
    with (TEMPLATES / "locale" / language / "LC_MESSAGES" / "invoice.po").open("rb") as file:
        entries = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, entries)
    compiled.seek(0)
    return Translations(compiled, domain="invoice")


@lru_cache(maxsize=64)
def locale_of(tag: str) -> Locale:
    """The locale that a document is written in: its own, else its language's, else English."""
    return negotiate(tag)


@lru_cache(maxsize=512)
def _number(locale: Locale, least: int, most: int) -> NumberPattern:
    pattern = parse_pattern(locale.decimal_formats[None].pattern)
    pattern.frac_prec = (least, most)
    return pattern


@lru_cache(maxsize=512)
def _money(locale: Locale, least: int, most: int) -> NumberPattern:
    pattern = parse_pattern(locale.currency_formats["standard"].pattern)
    pattern.frac_prec = (least, most)
    return pattern


@lru_cache(maxsize=4096)
def _day(locale: Locale, on: date) -> str:
    written = format_date(on, "long", locale)
    # CLDR writes « 1 mars »; French does not.
    return written.replace("1 ", "1er ", 1) if locale.language == "fr" and on.day == 1 else written


@lru_cache(maxsize=4096)
def _span(locale: Locale, first: date, last: date) -> str:
    if first == last:
        return _day(locale, first)
    written = format_interval(
        datetime(first.year, first.month, first.day, tzinfo=UTC),
        datetime(last.year, last.month, last.day, tzinfo=UTC),
        "yMMMd",
        locale=locale,
    )
    return written.replace("\N{THIN SPACE}", NO_BREAK)


def _places(value: Decimal) -> int:
    return max(0, -int(value.normalize().as_tuple().exponent))


class PageWords:
    """How one document is written: in its language, currency and time zone."""

    def __init__(self, document: Document) -> None:
        self.locale = locale_of(document.locale)
        self.timezone = ZoneInfo(document.timezone)
        self.currency = document.currency.upper()
        self.places = decimals(document.currency)
        self.shown = self._shown(document)
        self._amounts: dict[int, str] = {}

    @property
    def tag(self) -> str:
        """The locale as BCP 47 writes it."""
        return str(self.locale).replace("_", "-")

    def _shown(self, document: Document) -> int:
        """Digits of amounts. Stripe sends ISK and UGX with two that must be 00, and people write none: left out then.

        https://docs.stripe.com/currencies#special-cases. It is decided for the whole document, so that columns align.
        """
        written = get_currency_precision(self.currency)
        if written >= self.places:
            return self.places
        step = 10 ** (self.places - written)
        d = document
        amounts = (
            *(line.amount_minor for line in d.lines),
            *(share.minor for line in d.lines for share in line.discounts),
            *(each.minor for each in (*d.discounts, *d.credits)),
            *(part for tax in d.taxes for part in (tax.taxable_minor, tax.amount_minor)),
            *(payment.amount_minor for payment in d.payments),
            *(d.subtotal_minor, d.total_minor, d.due_minor),
        )
        return self.places if any(amount % step for amount in amounts) else written

    def money(self, minor: int) -> str:
        """An amount in the document's currency: `$49.00`, `49,00 €`, `￥4,900`."""
        written = self._amounts.get(minor)
        if written is None:
            written = self._priced(Decimal(minor), self.shown, self.shown)
            self._amounts[minor] = written
        return written

    def price(self, minor: str) -> str:
        """A unit price, a decimal of minor units: with as many digits as it has, at least the currency's."""
        value = Decimal(minor)
        return self._priced(value, self.shown, max(self.shown, _places(value.scaleb(-self.places))))

    def _priced(self, minor: Decimal, least: int, most: int) -> str:
        pattern = _money(self.locale, least, most)
        written = pattern.apply(minor.scaleb(-self.places), self.locale, currency=self.currency, currency_digits=False)
        # CLDR's currencySpacing, which Babel leaves out, between a code and a digit: `KWD 12.500`.
        at = written.find(self.currency)
        after = at + len(self.currency)
        if at >= 0 and written[after : after + 1].isdigit():
            return f"{written[:after]}{NO_BREAK}{written[after:]}"
        return written

    def number(self, text: str) -> str:
        """A quantity, a decimal, with all its digits."""
        value = Decimal(text)
        return _number(self.locale, 0, _places(value)).apply(value, self.locale)

    def percent(self, text: str) -> str:
        """A rate of tax, a decimal: `19 %`, `7.7%`."""
        value = Decimal(text)
        pattern = _percent(self.locale, _places(value))
        return pattern.apply(value.scaleb(-2), self.locale)

    def day(self, on: date) -> str:
        """A date; of an instant, the one that the document's time zone had."""
        return _day(self.locale, on.astimezone(self.timezone).date() if isinstance(on, datetime) else on)

    def span(self, period: Period) -> str:
        """A period by its first and its last day."""
        first = period.start.astimezone(self.timezone).date()
        return _span(self.locale, first, max(first, (period.end - MOMENT).astimezone(self.timezone).date()))

    def country(self, code: str) -> str:
        """A country's name."""
        names = cast("Mapping[str, str]", self.locale.territories)
        return names.get(code.upper(), code)


@lru_cache(maxsize=128)
def _percent(locale: Locale, most: int) -> NumberPattern:
    pattern = parse_pattern(locale.percent_formats[None].pattern)
    pattern.frac_prec = (0, most)
    return pattern
