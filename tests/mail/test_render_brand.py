"""The brand is checked at start, fits every screen, and is read whatever its colour is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.mail.brand import (
    DARK_CARD,
    LIGHT_CARD,
    LOGO_BOX,
    SURFACE,
    TEXT,
    Brand,
    apart,
    brand_from,
    contrast,
    logo_from,
)
from jobs.mail.words import TEMPLATES
from worker.settings import ConfigurationError, load_settings

COLORS = st.integers(0, 0xFFFFFF).map("#{:06x}".format)
GIF = b"GIF89a\x2c\x01\x64\x00\x00\x00\x00;"
JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x40\x00\x80\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"


@given(COLORS)
def test_every_brand_s_button_and_links_can_be_read(color: str) -> None:
    colors = Brand("Northwind", color=color).colors
    assert contrast(colors["brand"], colors["on_brand"]) >= TEXT
    assert contrast(colors["link"], LIGHT_CARD) >= TEXT
    assert contrast(colors["edge"], LIGHT_CARD) >= SURFACE
    assert contrast(colors["night"], DARK_CARD) >= SURFACE
    assert contrast(colors["night"], colors["on_night"]) >= TEXT
    assert contrast(colors["night_link"], DARK_CARD) >= TEXT


def test_a_colour_that_is_fit_is_not_touched() -> None:
    assert apart("#3552d1", LIGHT_CARD, TEXT) == "#3552d1"
    assert apart("#ffd400", LIGHT_CARD, SURFACE) != "#ffd400"
    assert apart("#808080", "#808080", 21) in {"#000000", "#ffffff"}


def test_contrast_is_wcag_s() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#3552d1", "#3552d1") == 1


@pytest.mark.parametrize(
    ("text", "surface"),
    [
        ("#3a404b", LIGHT_CARD),
        ("#5d6470", LIGHT_CARD),
        ("#5d6470", "#f2f3f6"),
        ("#5d6470", "#f4f5f8"),
        ("#5d6470", "#edf8f2"),
        ("#5d6470", "#fdf6e7"),
        ("#5d6470", "#fdf0ef"),
        ("#cfd3da", DARK_CARD),
        ("#a3a9b4", DARK_CARD),
        ("#a3a9b4", "#101216"),
        ("#a3a9b4", "#262a32"),
        ("#a3a9b4", "#15291f"),
        ("#a3a9b4", "#2d2413"),
        ("#a3a9b4", "#331b1a"),
    ],
)
def test_the_letter_s_own_colours_can_be_read(text: str, surface: str) -> None:
    css = (TEMPLATES / "_layout" / "letter.css").read_text()
    assert text in css
    assert surface in css
    assert contrast(text, surface) >= TEXT


@pytest.mark.parametrize(
    ("data", "subtype", "size"),
    [(GIF, "gif", (132, 44)), (JPEG, "jpeg", (88, 44))],
)
def test_a_logo_s_size_is_read(data: bytes, subtype: str, size: tuple[int, int]) -> None:
    logo = logo_from(data)
    assert (logo.subtype, (logo.width, logo.height)) == (subtype, size)


def test_a_logo_is_made_smaller_never_larger(picture: bytes) -> None:
    logo = logo_from(picture)
    assert (logo.width, logo.height) == (LOGO_BOX[0], 44)
    small = logo_from(b"GIF89a\x10\x00\x08\x00")
    assert (small.width, small.height) == (16, 8)
    line = logo_from(b"GIF89a\xff\xff\x01\x00")
    assert (line.width, line.height) == (LOGO_BOX[0], 1)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"GIF8", b"\xff\xd8\xff", JPEG[:12], b"GIF89a\x00\x00\x01\x00"])
def test_a_damaged_logo_is_said_to_be(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="BILLING_BRAND_LOGO: the picture is damaged"):
        logo_from(data)


def test_the_brand_is_what_is_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, picture: bytes) -> None:
    (tmp_path / "logo.png").write_bytes(picture)
    for name, value in {
        "BILLING_BRAND_NAME": "Northwind & Söhne",
        "BILLING_BRAND_LOGO": str(tmp_path / "logo.png"),
        "BILLING_BRAND_COLOR": "#FFD400",
        "BILLING_BRAND_ADDRESS": "Torstraße 1",
        "BILLING_BRAND_SUPPORT_URL": "mailto:help@northwind.example",
        "BILLING_BRAND_URL": "https://northwind.example",
        "BILLING_DEFAULT_LOCALE": "de-AT",
        "BILLING_DEFAULT_TIMEZONE": "Europe/Vienna",
    }.items():
        monkeypatch.setenv(name, value)
    brand = brand_from(load_settings())
    assert brand == Brand(
        "Northwind & Söhne",
        "#ffd400",
        "Torstraße 1",
        "mailto:help@northwind.example",
        "https://northwind.example",
        "de-AT",
        "Europe/Vienna",
        logo_from(picture),
    )
    assert (brand.support_mail, brand.support_shown) == ("help@northwind.example", "help@northwind.example")


def test_without_settings_there_is_a_brand_still() -> None:
    brand = brand_from(load_settings())
    assert brand == Brand("Billing")
    assert (brand.support_mail, brand.support_shown) == (None, None)


def test_every_mistake_is_told_at_once_with_an_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "logo.svg").write_text("<svg/>")
    wrong = {
        "BILLING_BRAND_NAME": "a\tb",
        "BILLING_BRAND_LOGO": str(tmp_path / "logo.svg"),
        "BILLING_BRAND_COLOR": "blue",
        "BILLING_BRAND_SUPPORT_URL": "help@northwind.example",
        "BILLING_BRAND_URL": "northwind.example",
        "BILLING_DEFAULT_LOCALE": "it",
        "BILLING_DEFAULT_TIMEZONE": "Mars/Olympus",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    lines = str(raised.value).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == sorted(wrong)
    assert all("for example" in line for line in lines if not line.startswith("BILLING_BRAND_LOGO"))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "cannot be read"),
        (b"<svg/>", "is neither PNG, JPEG nor GIF"),
        (b"GIF89a" + b"x" * 300_000, "make it smaller"),
    ],
)
def test_a_logo_that_cannot_be_sent_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: bytes | None, told: str
) -> None:
    file = tmp_path / "logo"
    if data is not None:
        file.write_bytes(data)
    monkeypatch.setenv("BILLING_BRAND_LOGO", str(file))
    with pytest.raises(ConfigurationError, match=f"BILLING_BRAND_LOGO: {told}|BILLING_BRAND_LOGO: .*{told}"):
        load_settings()
