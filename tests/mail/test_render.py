"""A letter refuses what does not fit, and its envelope says what it is, to whom, and never more."""

import email
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.mail.brand import Brand
from jobs.mail.contexts import LETTERS, AccessSuspended, Action, Amount, Money, ReconciliationReport, Usage100
from jobs.mail.render import BREAKS, Rendered, message, render
from jobs.mail.samples import EUROS, NOON, SAMPLES
from worker.errors import Refused

RECEIPT: dict[str, Any] = msgspec.to_builtins(SAMPLES["receipt"][0])
LETTER = Rendered("Ihre Zahlung über 49,00 €", "Guten Tag\n", "<p>Guten Tag</p>", "de")


def rendered(name: str = "receipt", facts: dict[str, Any] = RECEIPT, locale: str | None = "en") -> Rendered:
    return render(name, facts, locale=locale, timezone="Europe/Berlin", brand=Brand("Northwind"))


def enveloped(letter: Rendered = LETTER, brand: Brand | None = None, **changes: Any) -> EmailMessage:
    given: dict[str, Any] = {
        "sender": "billing@northwind.example",
        "recipient": "ada@example.com",
        "recipient_name": "Ada Lovelace",
        "message_id": "<dunning.in_1.2@northwind.example>",
        "date": datetime(2026, 3, 5, 12, 30, tzinfo=UTC),
        "brand": brand or Brand("Northwind"),
    }
    return message(letter, **(given | changes))


def about(subject: str) -> Rendered:
    return replace(LETTER, subject=subject)


def decoded(text: str) -> str:
    """A header's text by RFC 2047; Python's new parser keeps blanks between the parts of a name, which are to go."""
    return str(make_header(decode_header(text)))


def recipient(made: EmailMessage) -> tuple[str, str]:
    name, spec = parseaddr(email.message_from_bytes(made.as_bytes())["To"])
    return decoded(name), spec


def read(made: EmailMessage) -> EmailMessage:
    """As the recipient's program reads it."""
    return email.message_from_bytes(made.as_bytes(), policy=SMTP)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("receipt", {"amount": {"amount": 49.0, "currency": "eur"}}, "'receipt' cannot be written: amount.amount:"),
        ("receipt", {"amount": {"amount": 4900, "currency": "€"}}, "'receipt' cannot be written: amount.currency:"),
        ("receipt", {"paid_at": "2026-03-05T12:30:00"}, "'receipt' cannot be written: paid_at:"),
        ("receipt", {"link": "javascript:alert(1)"}, "'receipt' cannot be written: link:"),
        ("receipt", {"link": 'https://example.com/"onclick='}, "'receipt' cannot be written: link:"),
        ("receipt", {"number": None}, "'receipt' cannot be written: number:"),
        ("receipt", {"lines": [{"description": "x"}]}, "'receipt' cannot be written: lines[0]:"),
        ("reciept", {}, "there is no letter 'reciept'; did you mean 'receipt'?"),
        ("x", {}, "there is no letter 'x'"),
    ],
)
def test_facts_that_do_not_fit_are_refused_by_name(name: str, change: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused) as raised:
        rendered(name, RECEIPT | change)
    assert told in raised.value.reason


@pytest.mark.parametrize("name", LETTERS)
def test_each_needed_fact_is_named_when_it_is_missing(name: str) -> None:
    for field in msgspec.structs.fields(LETTERS[name].context):
        if field.required:
            facts = msgspec.to_builtins(SAMPLES[name][0])
            del facts[field.encode_name]
            with pytest.raises(Refused, match=field.encode_name):
                rendered(name, facts)


def test_what_a_newer_version_staged_besides_is_passed_over() -> None:
    assert rendered(facts=RECEIPT | {"something_new": 1}) == rendered()


def test_nothing_suspended_is_nothing_to_write() -> None:
    facts = msgspec.to_builtins(SAMPLES["access_suspended"][0]) | {"action": "none"}
    with pytest.raises(Refused, match="nothing was suspended"):
        rendered("access_suspended", facts)
    with pytest.raises(ValueError, match="nothing was suspended"):
        AccessSuspended(number="1", amount=EUROS, action=Action.NONE, suspended_at=NOON)


def test_what_is_derived_from_facts() -> None:
    assert Amount.of(Money(49, "jpy")) == Amount(49, "jpy")
    usage = msgspec.structs.replace(SAMPLES["usage_100"][1], used=9999)
    assert isinstance(usage, Usage100)
    assert usage.percent == 99
    report = SAMPLES["reconciliation_report"][0]
    assert isinstance(report, ReconciliationReport)
    assert (report.found, report.left, report.totals[0].difference) == (4, 3, Amount(-14_700, "eur"))


@pytest.mark.parametrize("name", LETTERS)
def test_a_stranger_s_text_stays_text(name: str) -> None:
    """Names and descriptions come from outside."""
    evil = '<script>alert(1)</script>" onload="x" {{ 7*7 }} %(amount)s %s'
    facts = msgspec.to_builtins(SAMPLES[name][0])
    if name == "reconciliation_report":
        facts["differences"][0]["name"] = evil
    elif name in {"invoice_parked", "overage_credited"}:
        facts["company"] = evil
    elif name == "books_alarm":
        facts["reasons"] = [evil]
    else:
        facts["name"] = evil
    letter = rendered(name, facts)
    assert "<script" not in letter.html
    assert not re.search(r"<[^>]*onload", letter.html)
    assert "{{ 7*7 }} %(amount)s %s" in letter.html
    assert evil in letter.text


@settings(deadline=None)  # the first reads a catalog
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_name_can_be_written_to(name: str) -> None:
    letter = rendered(facts=RECEIPT | {"name": name}, locale="fr")
    assert "104,72" in letter.text


def test_a_time_zone_that_nobody_knows_does_not_keep_a_letter_back() -> None:
    brand = Brand("Northwind", default_timezone="Asia/Tokyo")
    facts = RECEIPT | {"paid_at": "2026-03-05T20:00:00Z"}
    for zone in ("Mars/Olympus", "../../etc/passwd", "", None):
        assert "March 6, 2026" in render("receipt", facts, locale="en", timezone=zone, brand=brand).text
    facts["paid_at"] = "2026-03-05T23:30:00Z"
    nowhere = Brand("Northwind", default_timezone="Nowhere/At/All")
    assert "March 5, 2026" in render("receipt", facts, locale="en", timezone=None, brand=nowhere).text


def test_the_brand_s_language_is_the_fallback() -> None:
    brand = Brand("Northwind", default_locale="de-AT")
    letter = render("receipt", RECEIPT, locale="it", timezone=None, brand=brand)
    assert (letter.locale, letter.subject) == ("de-AT", "Zahlungsbeleg von Northwind: €\N{NO-BREAK SPACE}104,72")


def test_the_envelope() -> None:
    made = read(enveloped())
    assert {name: str(value) for name, value in made.items() if not name.startswith(("Content-T", "MIME"))} == {
        "From": "Northwind <billing@northwind.example>",
        "To": "Ada Lovelace <ada@example.com>",
        "Subject": "Ihre Zahlung über 49,00 €",
        "Date": "Thu, 05 Mar 2026 12:30:00 +0000",
        "Message-ID": "<dunning.in_1.2@northwind.example>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "List-Id": "<letters.northwind.example>",
        "Content-Language": "de",
    }
    assert made.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in made.iter_parts()] == ["text/plain", "text/html"]
    assert [part.get_content_charset() for part in made.iter_parts()] == ["utf-8", "utf-8"]


def test_transactional_letters_carry_no_unsubscribe() -> None:
    made = enveloped()
    assert not {"List-Unsubscribe", "List-Unsubscribe-Post", "Precedence", "Bcc", "Cc"} & set(made.keys())


@pytest.mark.parametrize("name", LETTERS)
@pytest.mark.parametrize("locale", ["de", "ja"])
def test_what_is_sent_is_what_was_written(name: str, locale: str, branded: Brand) -> None:
    facts = msgspec.to_builtins(SAMPLES[name][0])
    letter = render(name, facts, locale=locale, timezone=None, brand=branded)
    sent = enveloped(letter, branded).as_bytes()
    assert all(len(line) <= 998 and line.isascii() for line in sent.split(b"\r\n"))
    made = email.message_from_bytes(sent, policy=SMTP)
    assert made["Subject"] == letter.subject
    text, html = made.get_body(("plain",)), made.get_body(("html",))
    assert isinstance(text, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert text.get_content().replace("\r\n", "\n") == letter.text
    assert html.get_content().replace("\r\n", "\n").rstrip("\n") == letter.html.rstrip("\n")


def test_the_logo_goes_with_the_letter(branded: Brand) -> None:
    letter = render("receipt", RECEIPT, locale="en", timezone=None, brand=branded)
    made = read(enveloped(letter, branded))
    related = list(made.iter_parts())[1]
    assert related.get_content_type() == "multipart/related"
    html, image = related.iter_parts()
    assert branded.logo
    assert f'src="cid:{branded.logo.cid}"' in html.get_content()
    assert image["Content-ID"] == f"<{branded.logo.cid}>"
    assert image.get_content_type() == "image/png"
    assert image.get_content_disposition() == "inline"
    assert image.get_content() == branded.logo.data


def test_the_same_letter_is_the_same_bytes(branded: Brand) -> None:
    """A copy that is sent after a crash can be told to be one."""
    one, other = (enveloped(rendered(), branded).as_bytes() for _ in range(2))
    assert one == other
    assert one != enveloped(rendered(), branded, message_id="<other@northwind.example>").as_bytes()


def test_replies_go_to_support_when_it_is_an_address(brand: Brand, branded: Brand) -> None:
    assert enveloped(brand=brand)["Reply-To"] == "Northwind <help@northwind.example>"
    assert enveloped(brand=branded)["Reply-To"] is None


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        ("billing@localhost", "Northwind <billing@localhost>"),
        ('"Acme, Billing" <b@acme.example>', '"Acme, Billing" <b@acme.example>'),
        ("Rechnungen <rechnung@müller.example>", "Rechnungen <rechnung@xn--mller-kva.example>"),
    ],
)
def test_senders(sender: str, shown: str) -> None:
    assert str(enveloped(sender=sender)["From"]) == shown


@pytest.mark.parametrize(
    "name",
    [
        "Björk & Söhne, Einkauf",
        "鈴木 一郎",
        'The "Ada" <x@y>',
        "x" * 300,
        "x" * 3000,
        ", " * 190 + "x",
        "Müller und Söhne Großhandelsgesellschaft für Büro- und Geschäftsbedarf mbH & Co. KG",
        "株" * 60,
        "",
        None,
    ],
)
def test_a_name_of_any_kind_reaches_its_owner(name: str | None) -> None:
    assert recipient(enveloped(recipient_name=name)) == (name or "", "ada@example.com")


def test_an_address_beyond_ascii_is_written_as_dns_writes_it() -> None:
    assert enveloped(recipient="ada@bücher.example", recipient_name=None)["To"] == "ada@xn--bcher-kva.example"


BAD = ["\r\nBcc: all@example.com", "\n", "\r", "\v", "\f", "\x00", "\x1c", "\x85", "\u2028", "\u2029", "\x7f", "\ud800"]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    ("field", "header"),
    [
        ("sender", "From"),
        ("recipient", "To"),
        ("message_id", "Message-ID"),
        ("headers", "X-Case"),
        ("letter", "Subject"),
    ],
)
def test_a_header_that_would_break_is_refused_by_name(field: str, header: str, bad: str) -> None:
    broken: dict[str, Any] = {
        "sender": f"a{bad}b@c.example",
        "recipient": f"a{bad}b@c.example",
        "message_id": f"<a{bad}b@c>",
        "headers": {"X-Case": f"a{bad}b"},
        "letter": about(f"a{bad}b"),
    }
    with pytest.raises(Refused, match=f"^{header}: "):
        enveloped(**{field: broken[field]})


@pytest.mark.parametrize("bad", BAD)
def test_a_recipients_name_is_decoration_and_is_cleaned(bad: str) -> None:
    made = enveloped(recipient_name=f"Ada{bad}Lovelace{bad}")
    clean = BREAKS.sub(" ", bad)
    assert recipient(made) == (" ".join(f"Ada{clean}Lovelace{clean}".split()), "ada@example.com")
    assert read(made)["Bcc"] is None


@pytest.mark.parametrize("product", ["Team\r\nBcc: all@example.com", "Team\x0b\u2028Bcc: all@example.com"])
def test_what_a_subject_tells_is_written_in_one_line(product: str, brand: Brand) -> None:
    facts = msgspec.to_builtins(msgspec.structs.replace(SAMPLES["trial_ending"][0], product=product))
    subject = render("trial_ending", facts, locale="en", timezone="UTC", brand=brand).subject
    assert subject.startswith("Your trial of Team Bcc: all@example.com ends on")


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_makes_a_second_header(subject: str, name: str) -> None:
    try:
        made = enveloped(about(subject), recipient_name=name)
    except Refused:
        return
    assert len(read(made).keys()) == len(made.keys())
    assert read(made)["Message-ID"] == "<dunning.in_1.2@northwind.example>"


@settings(deadline=None)
@given(st.lists(st.text("aäß€.:14株😀", min_size=1, max_size=12), min_size=1, max_size=25))
def test_no_blank_is_lost_in_a_long_subject_or_name(parts: list[str]) -> None:
    """Python's own folding makes `14.März` of `14. März`."""
    text = " ".join(parts)
    made = enveloped(about(text), recipient_name=text)
    assert decoded(email.message_from_bytes(made.as_bytes())["Subject"]) == text
    assert recipient(made) == (text, "ada@example.com")
    head = made.as_bytes().partition(b"\r\n\r\n")[0]
    assert all(len(line) <= 78 for line in head.split(b"\r\n"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipient": "nobody"}, "To: 'nobody' is no address"),
        ({"recipient": "a@b@c"}, "To: "),
        ({"recipient": ""}, "To: "),
        ({"recipient": "müller@example.com"}, "To: "),
        ({"recipient": f"a@{'x' * 70}.example"}, "To: "),
        ({"sender": "nobody"}, "From: "),
        ({"message_id": "dunning/in_1/2"}, "Message-ID: "),
        ({"message_id": "<a b@c>"}, "Message-ID: "),
        ({"headers": {"Subject": "x"}}, "Subject: is set by the letter itself"),
        ({"headers": {"X Case": "x"}}, "X Case: "),
        ({"headers": {"X-Case:": "x"}}, "X-Case:: "),
    ],
)
def test_an_envelope_that_cannot_be_sent_is_refused_by_name(change: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused) as raised:
        enveloped(**change)
    assert raised.value.reason.startswith(told)


def test_more_headers_and_a_date_of_another_zone() -> None:
    made = enveloped(headers={"X-Case": "42"}, date=NOON.astimezone() + timedelta(0))
    assert made["X-Case"] == "42"
    assert made["Date"] == "Thu, 05 Mar 2026 12:30:00 +0000"


def test_a_long_message_id_is_never_folded_into_code() -> None:
    identity = f"<{'dunning.' * 20}in_1@northwind.example>"
    assert read(enveloped(message_id=identity))["Message-ID"] == identity
    assert f"Message-ID: {identity}".encode() in enveloped(message_id=identity).as_bytes().replace(b"\r\n ", b" ")


@settings(deadline=None)
@given(st.text(max_size=40), st.text('aZ0.-_@<>,;:()[]\\" \t\né😀', max_size=30))
def test_whatever_stands_as_an_address_is_sent_to_or_refused(sender: str, recipient: str) -> None:
    changes: list[dict[str, Any]] = [
        {"sender": sender},
        {"recipient": recipient},
        {"recipient": f"{recipient}@example.com"},
    ]
    for change in changes:
        try:
            made = enveloped(**change).as_bytes()
        except Refused:
            continue
        assert len(email.message_from_bytes(made, policy=SMTP).keys()) == len(enveloped().keys())


@pytest.mark.parametrize("name", ["receipt", "usage_80", "usage_100", "partner_invoice"])
def test_all_letters_tell_a_period_to_its_last_day(name: str, brand: Brand) -> None:
    told = render(name, msgspec.to_builtins(SAMPLES[name][0]), locale="en", timezone="UTC", brand=brand).text
    (last,) = re.findall(r"^Period: .* to (.*)$", told, re.MULTILINE)
    assert last == ("February 28, 2026" if name == "partner_invoice" else "March 31, 2026")
    if name.startswith("usage"):
        assert "A new one begins on April 1, 2026." in told


@pytest.mark.parametrize(
    ("name", "whole"), [("final_notice", "RS-2026-0042"), ("reconciliation_report", "billing reconcile --repair")]
)
def test_a_phone_breaks_neither_numbers_nor_commands(name: str, whole: str, brand: Brand) -> None:
    told = render(name, msgspec.to_builtins(SAMPLES[name][0]), locale="en", timezone="UTC", brand=brand)
    assert re.search(rf'<span class="whole" style="white-space: nowrap;?">{whole}</span>', told.html)
    assert "whole" not in told.text


def test_the_last_notice_does_not_say_that_it_is_the_last_letter(brand: Brand) -> None:
    """`access_suspended` follows it."""
    facts = msgspec.to_builtins(SAMPLES["final_notice"][0])
    assert "This is our last reminder." in render("final_notice", facts, locale="en", timezone="UTC", brand=brand).text
