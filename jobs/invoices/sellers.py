"""Who sells, how their documents look, and how they are numbered: read from one file, checked as a whole."""

import hashlib
import io
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jobs.invoices.codes import COUNTRIES
from jobs.invoices.document import Address, Bank, Party, Seller, TaxId
from jobs.rules import numbering
from worker.settings import ConfigurationError, Settings

OwnKind = Literal["partner", "overage", "manual"]
Terms = Literal["due_on_receipt", "net_15", "net_30", "net_60", "end_of_month"]

FORMATS: Mapping[str, str] = {
    "partner": "API-{year}{month:02}-{number:04}",
    "overage": "OVR-{year}{month:02}-{number:04}",
    "manual": "INV-{year}-{number:04}",
    "credit_note": "CN-{year}-{number:04}",
}
"""The series that there always are: for each kind of invoice of ours, and credit notes; a file may rewrite them."""

LARGEST_LOGO = 256 * 1024
LONGEST_SIDE = 4_000
"""Pixels. A few kilobytes can unfold to gigabytes; printed in 300 dpi this is wider than the page."""
_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def _text(value: str) -> str:
    if not value.strip() or any(ord(char) < ord(" ") for char in value):
        raise ValueError("is one line, without control characters, and not empty")
    return value.strip()


def _iban(value: str) -> str:
    """ISO 13616: country, two check digits, and 97 must leave 1."""
    iban = value.replace(" ", "").upper()
    digits = "".join(str(int(char, 36)) for char in iban[4:] + iban[:4] if char.isascii() and char.isalnum())
    if not 15 <= len(iban) <= 34 or not iban.isalnum() or not iban.isascii() or int(digits) % 97 != 1:  # noqa: PLR2004 - the standard's own
        raise ValueError("is no IBAN: its check digits do not fit; copy it again")
    return iban


def _country(value: str) -> str:
    if value.upper() not in COUNTRIES:
        raise ValueError("is no country of ISO 3166-1: two letters, such as DE")
    return value.upper()


def _same_as(field: str) -> AfterValidator:
    """Held to what the environment's variable of the same meaning is held to."""
    like: TypeAdapter[str] = TypeAdapter(Settings.model_fields[field].rebuild_annotation())

    def check(value: str) -> str:
        try:
            return like.validate_python(value)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    return AfterValidator(check)


def _format(value: str) -> str:
    found = numbering.problems(value)
    if found:
        raise ValueError("; ".join(found))
    return value


Text = Annotated[str, Field(max_length=200), AfterValidator(_text)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Address(_Table):
    line1: Text | None = None
    line2: Text | None = None
    city: Text | None = None
    postal_code: Text | None = None
    state: Text | None = None
    country: Annotated[str, AfterValidator(_country)] | None = None


class _TaxId(_Table):
    type: Annotated[str, Field(pattern=r"^[a-z]{2}[a-z0-9_]*$")]
    value: Text


class _Bank(_Table):
    holder: Text
    iban: Annotated[str, AfterValidator(_iban)] | None = None
    bic: Annotated[str, Field(pattern=r"^[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?$")] | None = None
    name: Text | None = None
    account: Text | None = None


class _Seller(_Table):
    name: Text
    address: _Address = _Address()
    email: Annotated[str, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$")] | None = None
    phone: Text | None = None
    website: Annotated[str, Field(pattern=r"^https?://[^\s<>\"]+$")] | None = None
    registration: Text | None = None
    tax_ids: tuple[_TaxId, ...] = ()
    bank: _Bank | None = None
    logo: Path | None = None
    color: Annotated[str, _same_as("billing_brand_color")] = "#3552d1"
    locale: Annotated[str, _same_as("billing_default_locale")] = "en"
    timezone: Annotated[str, _same_as("billing_default_timezone")] = "UTC"
    footer: tuple[Text, ...] = ()
    factur_x: bool = False
    terms: Terms = "net_30"
    series: dict[str, str] = {}


class _Series(_Table):
    format: Annotated[str, AfterValidator(_format)]


class _File(_Table):
    default: str | None = None
    sellers: Annotated[dict[str, _Seller], Field(min_length=1)]
    series: dict[str, _Series] = {}


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture, kept with the documents that show it."""

    sha256: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class SellerProfile:
    """A seller with what their documents need beside what they show."""

    name: str
    seller: Seller
    logo: Logo | None
    locale: str
    timezone: str
    terms: Terms
    series: Mapping[str, str]
    """Which series their invoices of a kind are numbered in."""


@dataclass(frozen=True, slots=True)
class Sellers:
    """All of the file."""

    profiles: Mapping[str, SellerProfile]
    default: str
    formats: Mapping[str, str]

    def profile(self, name: str | None = None) -> SellerProfile:
        """The seller `name`, or the default one. Raises ConfigurationError naming the nearest."""
        wanted = name or self.default
        if wanted not in self.profiles:
            raise ConfigurationError(f"no seller is named {wanted!r}{_meant(wanted, self.profiles)}")
        return self.profiles[wanted]

    def series(self, profile: SellerProfile, kind: str, name: str | None = None) -> str:
        """The series that an invoice of `kind` is numbered in. Raises ConfigurationError naming the nearest."""
        wanted = name or profile.series.get(kind, kind)
        if wanted not in self.formats:
            raise ConfigurationError(f"no series is named {wanted!r}{_meant(wanted, self.formats)}")
        return wanted


def _meant(name: str, names: Mapping[str, Any]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else f": there are {', '.join(sorted(names))}"


def _logo(path: Path) -> Logo:
    content = path.read_bytes()
    media_type = next((kind for head, kind in _PICTURES.items() if content.startswith(head)), None)
    if media_type is None:
        raise ValueError("is neither PNG, JPEG nor GIF")
    if len(content) > LARGEST_LOGO:
        raise ValueError(f"has {len(content)} bytes: make it smaller than {LARGEST_LOGO}")
    _seen(content)
    return Logo(hashlib.sha256(content).hexdigest(), media_type, content)


def _seen(content: bytes) -> None:
    """Look at a picture as the renderer will, while a mistake costs no number. Raises ValueError saying what it is."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "GIF")) as picture:
            size = picture.size
            if max(size) <= LONGEST_SIDE:
                picture.verify()
        if max(size) <= LONGEST_SIDE:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "GIF")) as picture:
                picture.load()  # `verify` looks at the frame of the file, this at each pixel
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        size = (LONGEST_SIDE + 1,)
    except Exception as error:  # whatever its decoders stumble over
        raise ValueError("is broken, and cannot be shown: export it again") from error
    if max(size) > LONGEST_SIDE:
        raise ValueError(f"is more than {LONGEST_SIDE} pixels wide or high: make it smaller")


def _profile(name: str, table: _Seller, folder: Path) -> SellerProfile:
    """Raises ConfigurationError when the logo is none."""
    try:
        logo = _logo(folder / table.logo) if table.logo is not None else None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"sellers.{name}.logo: {table.logo}: {reason}") from None
    party = Party(
        name=table.name,
        address=Address(**table.address.model_dump()),
        email=table.email,
        phone=table.phone,
        tax_ids=tuple(TaxId(each.type, each.value) for each in table.tax_ids),
        registration=table.registration,
        website=table.website,
    )
    seller = Seller(
        party=party,
        color=table.color,
        logo=logo.sha256 if logo else None,
        bank=Bank(**table.bank.model_dump()) if table.bank else None,
        footer=table.footer,
        factur_x=table.factur_x,
    )
    return SellerProfile(name, seller, logo, table.locale, table.timezone, table.terms, {**table.series})


def _said(error: Any, known: Mapping[str, type[_Table]]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    said = str(error["msg"]).removeprefix("Value error, ")
    match error["type"]:
        case "extra_forbidden":
            fields = [field for table in known.values() for field in table.model_fields]
            near = get_close_matches(str(error["loc"][-1]), fields, n=1)
            return f"{where}: is unknown" + (f"; did you mean {near[0]}?" if near else "")
        case "missing":
            return f"{where}: is missing"
        case _:
            return f"{where}: {said[:1].lower()}{said[1:]}"


def _crossed(file: _File) -> list[str]:
    """What no field tells by itself: names that lead nowhere, and series that would meet."""
    found: list[str] = []
    formats = {**FORMATS, **{name: series.format for name, series in file.series.items()}}
    if file.default is not None and file.default not in file.sellers:
        found.append(f"default: no seller is named {file.default!r}{_meant(file.default, file.sellers)}")
    if file.default is None and len(file.sellers) > 1:
        found.append(f"default: is missing: name one of {', '.join(file.sellers)}")
    for name, seller in file.sellers.items():
        found += [
            f"sellers.{name}.series.{kind}: no series is named {series!r}{_meant(series, formats)}"
            for kind, series in seller.series.items()
            if series not in formats
        ]
        found += [
            f"sellers.{name}.series.{kind}: is no kind of invoice{_meant(kind, FORMATS)}"
            for kind in seller.series
            if kind not in FORMATS
        ]
        if seller.factur_x and (seller.address.country is None or not seller.tax_ids):
            found.append(f"sellers.{name}.factur_x: EN 16931 wants address.country and a tax id of the seller")
    found += [f"series.{one}.format: gives the same numbers as series {two}" for one, two in numbering.alike(formats)]
    return found


def read_sellers(path: Path) -> Sellers:
    """The sellers of a TOML file. Raises ConfigurationError with one line for each mistake: field and fix."""
    begins = f"BILLING_SELLERS_FILE: {path}: "
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{begins}cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{begins}is no TOML: {error}") from None
    tables = {"": _File, "seller": _Seller, "address": _Address, "bank": _Bank, "tax_id": _TaxId, "series": _Series}
    try:
        file = _File.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError("\n".join(begins + _said(each, tables) for each in error.errors())) from None
    found = _crossed(file)
    profiles: dict[str, SellerProfile] = {}
    for name, table in file.sellers.items():
        try:
            profiles[name] = _profile(name, table, path.parent)
        except ConfigurationError as error:
            found.append(str(error))
    if found:
        raise ConfigurationError("\n".join(begins + each for each in found))
    default = file.default or next(iter(profiles))
    return Sellers(profiles, default, {**FORMATS, **{name: one.format for name, one in file.series.items()}})


def _of_brand(settings: Settings) -> Sellers:
    """Without a file the letters' own brand sells: its name, colour, logo, and address as it is written."""
    lines = [line.strip() for line in (settings.billing_brand_address or "").splitlines() if line.strip()]
    try:
        logo = _logo(settings.billing_brand_logo) if settings.billing_brand_logo is not None else None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"BILLING_BRAND_LOGO: {error}") from None
    party = Party(
        name=settings.billing_brand_name,
        address=Address(line1=lines[0] if lines else None, line2=", ".join(lines[1:]) or None),
        website=settings.billing_brand_url,
    )
    seller = Seller(party=party, color=settings.billing_brand_color, logo=logo.sha256 if logo else None)
    profile = SellerProfile(
        "default", seller, logo, settings.billing_default_locale, settings.billing_default_timezone, "net_30", {}
    )
    return Sellers({"default": profile}, "default", FORMATS)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Sellers:  # noqa: ARG001 - the key of the cache
    return read_sellers(path)


def sellers_from(settings: Settings) -> Sellers:
    """The sellers as they are configured; a changed file is read again. Raises ConfigurationError."""
    path = settings.billing_sellers_file
    if path is None:
        return _of_brand(settings)
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise ConfigurationError(f"BILLING_SELLERS_FILE: {path}: cannot be read ({error.strerror})") from None
    return _read(path, changed)
