"""Letters carry the business's own name, logo and colour, and stay readable whatever colour that is."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from struct import unpack
from typing import Literal

from worker.settings import ConfigurationError, Settings

WHITE, BLACK = "#ffffff", "#000000"
LIGHT_CARD, DARK_CARD = "#ffffff", "#1b1e24"
"""What letters are written on, by day and by night; `_layout/letter.css` has the same."""

TEXT, SURFACE = 4.5, 3.0
"""The least contrast of text and of surfaces: https://www.w3.org/TR/WCAG22/#contrast-minimum and #non-text-contrast."""

LOGO_BOX = (220, 44)
"""Width and height in CSS pixels that a logo may take; it is made smaller to fit, never larger."""


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def luminance(color: str) -> float:
    """How bright `#rrggbb` is, 0 to 1: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    shares = [channel / 255 for channel in _channels(color)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]  # noqa: PLR2004 - WCAG's own constants
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def text_on(background: str) -> str:
    """Black or white, whichever is read better on `background`; the better one always reaches 4.5."""
    return max(WHITE, BLACK, key=lambda color: contrast(color, background))


def apart(color: str, background: str, ratio: float) -> str:
    """`color`, moved towards black or white no further than it must be to stand out from `background` by `ratio`."""
    goal = _channels(text_on(background))
    for step in range(21):
        mixed = [(have * (20 - step) + want * step) // 20 for have, want in zip(_channels(color), goal, strict=True)]
        candidate = "#{:02x}{:02x}{:02x}".format(*mixed)
        if contrast(candidate, background) >= ratio:
            return candidate
    return text_on(background)


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture that is sent with each letter. `width` and `height` are those at which it is shown, in CSS pixels."""

    data: bytes
    subtype: Literal["png", "jpeg", "gif"]
    width: int
    height: int

    @property
    def cid(self) -> str:
        """Its Content-ID, without angle brackets; the same picture always has the same."""
        return f"logo.{sha256(self.data).hexdigest()[:16]}@letters.invalid"


@dataclass(frozen=True)
class Brand:
    """Whose letters these are. `color` is `#rrggbb`, `support_url` is `mailto:` or `https:`."""

    name: str
    color: str = "#3552d1"
    address: str | None = None
    support_url: str | None = None
    url: str | None = None
    default_locale: str = "en"
    default_timezone: str = "UTC"
    logo: Logo | None = None

    @cached_property
    def colors(self) -> dict[str, str]:
        """The brand's colour as it can be used: for surfaces and text, by day and by night."""
        night = apart(self.color, DARK_CARD, SURFACE)
        return {
            "brand": self.color,
            "on_brand": text_on(self.color),
            "edge": apart(self.color, LIGHT_CARD, SURFACE),
            "link": apart(self.color, LIGHT_CARD, TEXT),
            "night": night,
            "on_night": text_on(night),
            "night_link": apart(self.color, DARK_CARD, TEXT),
        }

    @property
    def support_mail(self) -> str | None:
        """The address of support, when it is one."""
        url = self.support_url or ""
        return url.removeprefix("mailto:") if url.startswith("mailto:") else None

    @property
    def support_shown(self) -> str | None:
        """How support is written in a letter: the address, or the page."""
        return self.support_mail or self.support_url


def _pixels_of_jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height stand in the start-of-frame segment (ITU-T T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004 - each marker begins with it
        marker, length = data[at + 1], unpack(">H", data[at + 2 : at + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # noqa: PLR2004 - SOF0 to SOF15
            height, width = unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None


def _pixels(data: bytes) -> tuple[Literal["png", "jpeg", "gif"], tuple[int, int] | None]:
    if data.startswith(b"\x89PNG"):
        return "png", unpack(">II", data[16:24]) if len(data) >= 24 else None  # noqa: PLR2004 - the end of IHDR's sizes
    if data.startswith(b"GIF8"):
        return "gif", unpack("<HH", data[6:10]) if len(data) >= 10 else None  # noqa: PLR2004 - the screen descriptor
    return "jpeg", _pixels_of_jpeg(data)


def logo_from(data: bytes) -> Logo:
    """A PNG, JPEG or GIF as a logo. Raises ConfigurationError when its size cannot be told."""
    subtype, pixels = _pixels(data)
    if not pixels or min(pixels) < 1:
        raise ConfigurationError("BILLING_BRAND_LOGO: the picture is damaged, its width and height cannot be read")
    (width, height), (most_wide, most_high) = pixels, LOGO_BOX
    if width > most_wide:
        width, height = most_wide, max(1, height * most_wide // width)
    if height > most_high:
        width, height = max(1, width * most_high // height), most_high
    return Logo(data, subtype, width, height)


@lru_cache(maxsize=4)
def _logo(file: Path) -> Logo:
    return logo_from(file.read_bytes())


def brand_from(settings: Settings) -> Brand:
    """The configured brand; its logo is read once in a process. Raises ConfigurationError when the logo is damaged."""
    file = settings.billing_brand_logo
    return Brand(
        name=settings.billing_brand_name,
        color=settings.billing_brand_color,
        address=settings.billing_brand_address,
        support_url=settings.billing_brand_support_url,
        url=settings.billing_brand_url,
        default_locale=settings.billing_default_locale,
        default_timezone=settings.billing_default_timezone,
        logo=_logo(file) if file else None,
    )
