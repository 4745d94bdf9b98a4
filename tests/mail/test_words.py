"""The reader's language is found, and amounts, dates and numbers are written as it is done there."""

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.money import decimals
from jobs.mail.contexts import Amount, Method, UnitPrice
from jobs.mail.words import TEMPLATES, Words, catalog, negotiate
from worker.settings import LANGUAGES

BERLIN = ZoneInfo("Europe/Berlin")
LATE = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)


def words(locale: str, zone: ZoneInfo = BERLIN) -> Words:
    return Words(negotiate(locale), zone)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("wanted", "default", "found"),
    [
        ("de", "en", "de"),
        ("de-AT", "en", "de-AT"),
        ("de_CH", "en", "de-CH"),
        ("de-XX", "en", "de"),
        ("EN-gb", "de", "en-GB"),
        ("es-419", "en", "es-419"),
        ("ja-JP-u-ca-japanese", "en", "ja"),
        ("it-IT", "fr-CA", "fr-CA"),
        ("zh-Hans", "de", "de"),
        ("auto", "de", "de"),
        (None, "ja", "ja"),
        ("", "es", "es"),
        ("../../etc/passwd", "de", "de"),
        ("pt-BR", "xx", "en"),
    ],
)
def test_a_locale_falls_back_to_its_language_then_to_the_brand_then_to_english(
    wanted: str | None, default: str, found: str
) -> None:
    assert str(negotiate(wanted, default)).replace("_", "-") == found


@given(st.text())
def test_whatever_a_customer_s_locale_holds_a_language_is_found(wanted: str) -> None:
    assert negotiate(wanted).language in LANGUAGES


def test_each_language_has_a_catalog_and_no_other_has() -> None:
    found = {path.parts[-3] for path in TEMPLATES.glob("locale/*/LC_MESSAGES/mail.po")}
    assert found == set(LANGUAGES) - {"en"}


def test_english_needs_no_catalog() -> None:
    assert catalog("en").ugettext("Pay now") == "Pay now"
    assert catalog("de").ugettext("Pay now") == "Jetzt bezahlen"


@pytest.mark.parametrize(
    ("locale", "amount", "written"),
    [
        ("en", Amount(4900, "usd"), "$49.00"),
        ("en", Amount(-4900, "usd"), "-$49.00"),
        ("en", Amount(0, "eur"), "€0.00"),
        ("de", Amount(123_456_789, "eur"), "1.234.567,89 €"),
        ("de-AT", Amount(4900, "eur"), "€ 49,00"),
        ("de-CH", Amount(123_450, "chf"), "CHF 1\N{RIGHT SINGLE QUOTATION MARK}234.50"),
        ("fr", Amount(123_450, "eur"), "1 234,50 €"),
        ("es", Amount(123_450, "eur"), "1.234,50 €"),
        ("ja", Amount(4900, "jpy"), "￥4,900"),
        ("en", Amount(4900, "jpy"), "¥4,900"),
        ("en", Amount(12_500, "kwd"), "KWD 12.500"),
        ("en", Amount(500_000, "ugx"), "UGX 5,000"),
        ("en", Amount(500_050, "isk"), "ISK 5,000.50"),
        ("en", Amount(123_45, "huf"), "HUF 123.45"),
        ("en", Amount(10**15, "eur"), "€10,000,000,000,000.00"),
    ],
)
def test_amounts_have_their_currency_s_digits(locale: str, amount: Amount, written: str) -> None:
    assert plain(words(locale).money(amount)) == written


@given(
    minor=st.integers(-(10**15), 10**15),
    currency=st.sampled_from(["eur", "jpy", "kwd", "isk", "ugx", "huf", "clp", "zzz"]),
    locale=st.sampled_from(["en", "de", "fr", "es", "ja"]),
)
def test_no_unit_of_an_amount_is_lost_in_writing(minor: int, currency: str, locale: str) -> None:
    written = words(locale).money(Amount(minor, currency))
    digits = "".join(char for char in written if char.isdigit())
    assert int(digits) in {abs(minor), abs(minor) // 10 ** decimals(currency)}
    assert int(digits) == abs(minor) or abs(minor) % 10 ** decimals(currency) == 0
    assert ("-" in written) == (minor < 0)


@pytest.mark.parametrize(
    ("price", "written"),
    [
        (UnitPrice(amount=Decimal("0.25"), currency="usd"), "$0.0025"),
        (UnitPrice(amount=Decimal(200), currency="usd"), "$2.00"),
        (UnitPrice(amount=Decimal("1E+3"), currency="usd"), "$10.00"),
        (UnitPrice(amount=Decimal("0.5"), currency="jpy"), "¥0.5"),
        (UnitPrice(amount=Decimal("1.000000000001"), currency="eur"), "€0.01000000000001"),
    ],
)
def test_a_price_per_unit_keeps_all_its_digits(price: UnitPrice, written: str) -> None:
    assert words("en").price(price) == written


def test_an_instant_is_the_day_on_the_reader_s_calendar() -> None:
    assert words("en").day(LATE) == "April 1, 2026"
    assert words("en", ZoneInfo("America/New_York")).day(LATE) == "March 31, 2026"
    assert words("en").day(date(2026, 3, 31)) == "March 31, 2026"


@pytest.mark.parametrize(
    ("locale", "day", "moment", "month"),
    [
        ("en", "April 1, 2026", "April 1, 2026, 1:30 AM (UTC+2)", "April 2026"),
        ("en-GB", "1 April 2026", "1 April 2026, 01:30 (UTC+2)", "April 2026"),
        ("de", "1. April 2026", "1. April 2026, 01:30 (UTC+2)", "April 2026"),
        ("fr", "1er avril 2026", "1er avril 2026, 01:30 (UTC+2)", "avril 2026"),
        ("es", "1 de abril de 2026", "1 de abril de 2026, 1:30 (UTC+2)", "abril de 2026"),
        ("ja", "2026年4月1日", "2026年4月1日 1:30 (UTC+2)", "2026年4月"),
    ],
)
def test_dates_are_written_as_in_the_language(locale: str, day: str, moment: str, month: str) -> None:
    said = words(locale)
    assert (said.day(LATE), plain(said.moment(LATE)), said.month(date(2026, 4, 30))) == (day, moment, month)


def test_only_the_first_of_a_month_is_an_ordinal_in_french() -> None:
    said = words("fr")
    assert [said.day(date(2026, 3, day)) for day in (1, 11, 21, 31)] == [
        "1er mars 2026",
        "11 mars 2026",
        "21 mars 2026",
        "31 mars 2026",
    ]


@pytest.mark.parametrize(
    ("zone", "told"),
    [("UTC", "(UTC)"), ("Asia/Kolkata", "(UTC+5:30)"), ("America/St_Johns", "(UTC-2:30)"), ("Asia/Tokyo", "(UTC+9)")],
)
def test_a_moment_tells_its_distance_from_utc(zone: str, told: str) -> None:
    assert words("en", ZoneInfo(zone)).moment(LATE).endswith(told)


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [("UTC", "March 1, 2026", "March 31, 2026"), ("America/New_York", "February 28, 2026", "March 31, 2026")],
)
def test_a_period_is_told_from_its_first_day_to_its_last(zone: str, first: str, last: str) -> None:
    begin, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    read = words("en", ZoneInfo(zone))
    assert (read.day(begin), read.last_day(end)) == (first, last)


def test_small_words() -> None:
    assert plain(words("de").percent(80)) == "80 %"
    assert words("ja").percent(80) == "80%"
    assert words("de").number(1_000_000) == "1.000.000"
    assert [plain(words("en").seconds(value)) for value in (0, 59, 83, 3600)] == [
        "0 s",
        "59 s",
        "1 min 23 s",
        "60 min 0 s",
    ]
    assert [words("ja").seconds(value) for value in (0, 83, 60_000)] == ["0秒", "1分23秒", "1,000分0秒"]
    assert [words("en").method_name(Method(brand=brand)) for brand in ("visa", "amex", "sepa_debit", "new_method")] == [
        "Visa",
        "American Express",
        "SEPA",
        "New Method",
    ]
