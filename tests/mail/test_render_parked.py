"""The letter about a parked invoice names the commands that know it: a partner's others than a subscriber's."""

from html import unescape

import msgspec
import pytest

from jobs.mail.brand import Brand
from jobs.mail.render import render
from jobs.mail.samples import SAMPLES


@pytest.mark.parametrize(
    ("partner", "named", "commands"),
    [
        ("nw_live", "API key: nw_live", "billing partners {} nw_live --period 2026-02"),
        ("user:17", "Customer: Ada GmbH (17)", "billing usage overage {} 17 --period 2026-02"),
    ],
)
@pytest.mark.parametrize("language", ["en", "de"])
def test_a_parked_invoice_tells_the_commands_that_know_it(
    partner: str, named: str, commands: str, language: str, brand: Brand
) -> None:
    """A subscriber's is none that `billing partners` would find."""
    facts = msgspec.to_builtins(SAMPLES["invoice_parked"][0]) | {"partner": partner, "company": "Ada GmbH"}
    told = render("invoice_parked", facts, locale=language, timezone="UTC", brand=brand)
    assert language != "en" or named in told.text
    for form in (told.text, told.html):
        plain = unescape(form)
        assert all(f"{commands.format(verb)} --why '…'" in plain for verb in ("release", "void"))
        assert "user:" not in form


def test_late_usage_of_an_ended_contract_tells_how_to_charge_it(brand: Brand) -> None:
    """It can be neither released nor dropped."""
    late = next(one for one in SAMPLES["invoice_parked"] if msgspec.to_builtins(one).get("late"))
    letter = render("invoice_parked", msgspec.to_builtins(late), locale="en", timezone="UTC", brand=brand)
    for form in (letter.text, unescape(letter.html)):
        assert "To charge it: " in form
        assert "billing partners void nw_live --period 2026-02 --why '…'" in form
        assert "release" not in form


def test_a_parked_invoice_of_nobody_with_a_name_has_the_customer_s_number(brand: Brand) -> None:
    facts = msgspec.to_builtins(SAMPLES["invoice_parked"][1]) | {"partner": "user:17"}
    assert "Customer: 17\n" in render("invoice_parked", facts, locale="en", timezone="UTC", brand=brand).text


def test_a_subscriber_s_name_stays_text(brand: Brand) -> None:
    evil = '<script>alert(1)</script>" onload="x" {{ 7*7 }}'
    facts = msgspec.to_builtins(SAMPLES["invoice_parked"][0]) | {"partner": "user:17", "company": evil}
    letter = render("invoice_parked", facts, locale="en", timezone="UTC", brand=brand)
    assert "<script" not in letter.html
    assert f"Customer: {evil} (17)" in letter.text
