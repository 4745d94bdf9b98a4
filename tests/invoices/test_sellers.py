"""The sellers file: what is read of it, and that every mistake is told at once, by its field and with its fix."""

import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from jobs.invoices.document import Address, TaxId
from jobs.invoices.sellers import FORMATS, read_sellers, sellers_from
from tests.mail.conftest import png
from worker.main import check_configuration
from worker.settings import ConfigurationError, Settings

WHOLE = """
default = "north"

[sellers.north]
name = "Nordlicht GmbH"
address = { line1 = "Torstraße 1", city = "Berlin", postal_code = "10119", country = "de" }
email = "rechnung@nordlicht.example"
phone = "+49 30 5550 1234"
website = "https://nordlicht.example"
registration = "HRB 12345 B, Amtsgericht Charlottenburg"
tax_ids = [{ type = "eu_vat", value = "DE123456789" }]
bank = { holder = "Nordlicht GmbH", iban = "DE89 3704 0044 0532 0130 00", bic = "COBADEFFXXX", name = "Commerzbank" }
logo = "logo.png"
color = "#0B5C4A"
locale = "de"
timezone = "Europe/Berlin"
footer = ["Geschäftsführerin: Ada Lovelace"]
factur_x = true
terms = "net_15"

[sellers.isles]
name = "Northern Isles Ltd"
series = { manual = "isles" }

[series.partner]
format = "API-{year}{month:02}-{number:05}"

[series.isles]
format = "NI/{year}/{number:03}"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "logo.png").write_bytes(png(20, 10))
    written = tmp_path / "sellers.toml"
    written.write_text(WHOLE)
    return written


def mistakes(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        read_sellers(file)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"BILLING_SELLERS_FILE: {file}: ") for line in lines)
    return [line.split(": ", 2)[2] for line in lines]


def test_a_whole_file(file: Path) -> None:
    sellers = sellers_from(Settings(billing_sellers_file=file))
    north = sellers.profile()
    assert north.seller.party.name == "Nordlicht GmbH"
    assert north.seller.party.address == Address("Torstraße 1", None, "Berlin", "10119", None, "DE")
    assert north.seller.party.tax_ids == (TaxId("eu_vat", "DE123456789"),)
    assert north.seller.bank is not None
    assert north.seller.bank.iban == "DE89370400440532013000"
    assert (north.seller.color, north.timezone, north.locale, north.terms) == (
        "#0b5c4a",
        "Europe/Berlin",
        "de",
        "net_15",
    )
    assert north.logo is not None
    assert north.seller.logo == north.logo.sha256
    assert north.seller.factur_x
    isles = sellers.profile("isles")
    assert sellers.series(isles, "manual") == "isles"
    assert sellers.series(isles, "partner") == "partner"
    assert sellers.formats["partner"] == "API-{year}{month:02}-{number:05}"
    assert sellers.formats["overage"] == FORMATS["overage"]


def test_every_mistake_is_told_at_once(file: Path) -> None:
    found = mistakes(
        file,
        """
[sellers.north]
nmae = "Nordlicht"
colour = "#000000"
color = "red"
timezone = "Berlin"
locale = "xx"
terms = "net_31"
address = { country = "Germany" }
bank = { holder = "N", iban = "DE00370400440532013000" }
tax_ids = [{ type = "eu_vat" }]

[series.partner]
format = "API-{yaer}-{number}"
""",
    )
    for said in (
        "sellers.north.name: is missing",
        "sellers.north.nmae: is unknown; did you mean name?",
        "sellers.north.colour: is unknown; did you mean color?",
        "sellers.north.color: is # and six hexadecimal digits",
        "sellers.north.timezone: is no time zone of the IANA database",
        "sellers.north.locale: is one of en, de, fr, es, ja",
        "sellers.north.terms: input should be",
        "sellers.north.address.country: is no country of ISO 3166-1",
        "sellers.north.bank.iban: is no IBAN",
        "sellers.north.tax_ids.0.value: is missing",
        "series.partner.format: {yaer} is unknown: did you mean {year}?",
    ):
        assert any(line.startswith(said) for line in found), (said, found)
    assert len(found) == 11


def test_names_that_lead_nowhere(file: Path) -> None:
    found = mistakes(
        file,
        """
default = "nroth"
[sellers.north]
name = "N"
factur_x = true
logo = "nothing.png"
series = { manual = "isels", partners = "isles" }
[series.isles]
format = "INV-{year}-{number:03}"
""",
    )
    for said in (
        "default: no seller is named 'nroth'; did you mean north?",
        "sellers.north.series.manual: no series is named 'isels'; did you mean isles?",
        "sellers.north.series.partners: is no kind of invoice; did you mean partner?",
        "sellers.north.factur_x: EN 16931 wants address.country and a tax id",
        "sellers.north.logo: nothing.png: No such file or directory",
        "series.manual.format: gives the same numbers as series isles",
    ):
        assert said in "\n".join(found), (said, found)
    assert len(found) == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default = ", "is no TOML"),
        ("", "sellers: is missing"),
        ("[sellers]", "sellers: "),
        ('[sellers.a]\nname = "A"\n[sellers.b]\nname = "B"', "default: is missing: name one of a, b"),
        (
            '[sellers.a]\nname = "A"\nlogo = "sellers.toml"',
            "sellers.a.logo: sellers.toml: is neither PNG, JPEG nor GIF",
        ),
        ('[sellers.a]\nname = "A\\u0007"', "sellers.a.name: is one line"),
    ],
)
def test_files_that_are_none(file: Path, text: str, said: str) -> None:
    assert said in "\n".join(mistakes(file, text))


def test_a_file_that_cannot_be_read_stops_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    settings = Settings(billing_sellers_file=tmp_path / "none.toml", storage_url="az://container")
    with pytest.raises(ConfigurationError, match=r"(?s)BILLING_SELLERS_FILE: .*none\.toml.*\nSTORAGE_URL: "):
        check_configuration(settings)


def test_without_a_file_the_brand_sells(tmp_path: Path) -> None:
    logo = tmp_path / "logo.gif"
    Image.new("P", (2, 2)).save(logo)
    settings = Settings(
        billing_brand_name="Northwind",
        billing_brand_address="Torstraße 1\n10119 Berlin\nGermany",
        billing_brand_logo=logo,
        billing_default_timezone="Europe/Berlin",
    )
    sellers = sellers_from(settings)
    profile = sellers.profile()
    assert profile.seller.party.name == "Northwind"
    assert profile.seller.party.address == Address("Torstraße 1", "10119 Berlin, Germany")
    assert (profile.timezone, profile.logo is not None) == ("Europe/Berlin", True)
    assert sellers.series(profile, "partner") == "partner"
    with pytest.raises(ConfigurationError, match="no seller is named 'nobody'"):
        sellers.profile("nobody")


def bilevel(side: int) -> bytes:
    """A black picture of one bit a pixel: 113 MB of pixels weigh 110 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * ((side // 8 + 1) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "is broken, and cannot be shown"),
        (png(20, 10)[:-20], "is broken, and cannot be shown"),
        (b"GIF89a", "is broken, and cannot be shown"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "is broken, and cannot be shown"),
        (png(4_001, 1), "is more than 4000 pixels wide or high"),
        (bilevel(5_000), "is more than 4000 pixels wide or high"),
        (bilevel(12_000), "is more than 4000 pixels wide or high"),
        (bilevel(30_000), "is more than 4000 pixels wide or high"),
    ],
    ids=["zeros", "cut off", "head of a GIF", "head of a JPEG", "wide", "large", "warned of", "a bomb"],
)
def test_a_logo_that_cannot_be_shown_is_no_logo(file: Path, content: bytes, said: str) -> None:
    (file.parent / "logo.png").write_bytes(content)
    assert mistakes(file, WHOLE) == [f"sellers.north.logo: logo.png: {said}" + mistakes_end(said)]
    with pytest.raises(ConfigurationError, match=f"BILLING_BRAND_LOGO: {said}"):
        sellers_from(Settings(billing_brand_logo=file.parent / "logo.png"))


def mistakes_end(said: str) -> str:
    return ": export it again" if "broken" in said else ": make it smaller"


@pytest.mark.parametrize(
    ("one", "other"),
    [("R-{year}-{number}", "R-{year}-1{number}"), ("R{year}{month:02}{number}", "R{year}{number:04}")],
)
def test_series_whose_numbers_could_meet_are_refused(file: Path, one: str, other: str) -> None:
    found = mistakes(file, f'{WHOLE}\n[series.a]\nformat = "{one}"\n[series.b]\nformat = "{other}"\n')
    assert found == ["series.a.format: gives the same numbers as series b"]


def test_a_changed_file_is_read_again(file: Path) -> None:
    settings = Settings(billing_sellers_file=file)
    assert sellers_from(settings) is sellers_from(settings)
    file.write_text(WHOLE.replace("Nordlicht GmbH", "Nordlicht AG"))
    os.utime(file, ns=(1, 1))
    assert sellers_from(settings).profile().seller.party.name == "Nordlicht AG"
