"""What a frozen document says becomes a page that can be printed: in a process of its own, where nothing is fetched."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, time
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.ext import InternationalizationExtension
from msgspec import Struct

from jobs.invoices import facturx
from jobs.invoices.document import Document, Kind, Stamp
from jobs.invoices.page_address import right_to_left
from jobs.invoices.page_content import content
from jobs.invoices.page_text import clean
from jobs.invoices.page_words import TEMPLATES, PageWords, catalog
from worker.adapters.pdf_page import Page
from worker.errors import Refused

LETTER_PAPER = frozenset({"US", "CA", "MX", "CL", "CO", "CR", "DO", "GT", "PA", "PH", "PR", "SV", "VE"})
"""Where paper is 8.5 by 11 inches: https://www.unicode.org/cldr/charts/latest/supplemental/territory_information.html."""

_CSS = (TEMPLATES / "document.css").read_text(encoding="utf-8")
STYLES = {size: f"@page {{ size: {size} }}\n{_CSS}" for size in ("A4", "letter")}
"""The two stylesheets that there are."""

PICTURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


class Request(Struct, frozen=True, omit_defaults=True):
    """What a renderer is sent: all that the page needs, so that it looks nothing up."""

    document: Document
    assets: dict[str, bytes] = {}
    stamp: Stamp | None = None


_READ = msgspec.json.Decoder(Request)


def request(document: Document, assets: Mapping[str, bytes], *, stamp: Stamp | None = None) -> bytes:
    """What `Pdf.render` is given: `document`, those of `assets` (by SHA-256, hex) that it shows, and a stamp.

    `stamp` takes the place of the document's own: COPY for one that is rendered again, DRAFT for a preview. The same
    arguments give the same bytes. Raises Refused when the seller's logo is not among `assets`.
    """
    logo = document.seller.logo
    if logo is not None and logo not in assets:
        raise Refused(f"the logo {logo} of {document.seller.party.name} is not kept")
    return msgspec.json.encode(Request(document, {} if logo is None else {logo: assets[logo]}, stamp))


def _turned(text: str) -> str:
    return " r" if right_to_left(text) else ""


@cache
def _template(language: str) -> tuple[Template, Any]:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[InternationalizationExtension],
    )
    said = catalog(language)
    install: Any = getattr(environment, "install_gettext_callables")  # noqa: B009 - the extension adds it at run time
    install(said.ugettext, said.ungettext, newstyle=False)
    environment.filters["rtl"] = _turned
    return environment.get_template("document.xml"), said.ugettext


def _logo(sent: Request) -> str | None:
    name = sent.document.seller.logo
    if name is None:
        return None
    data = sent.assets[name]
    kind = next((kind for magic, kind in PICTURES.items() if data.startswith(magic)), None)
    if kind is None:
        raise Refused("the seller's logo is neither PNG nor JPEG nor GIF")
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def build(data: bytes) -> Page:
    """The page of a `request`. Raises Refused when it is none, or when Factur-X is wanted and cannot say it."""
    try:
        sent = _READ.decode(data)
    except msgspec.DecodeError as error:
        raise Refused(f"this is no document: {error}") from error
    document = sent.document
    stamp = sent.stamp or document.stamp
    words = PageWords(document)
    template, say = _template(words.locale.language)
    shown = content(document, words, say, stamp)
    html = clean(template.render(shown, lang=words.tag, logo=_logo(sent)))
    country = (document.seller.party.address.country or "").upper()
    page = Page(
        html=html,
        stylesheet=STYLES["letter" if country in LETTER_PAPER else "A4"],
        title=clean(shown["title"]),
        language=words.tag,
        author=clean(document.seller.party.name),
        created=datetime.combine(document.issued_on, time(), ZoneInfo(document.timezone)),
    )
    if document.seller.factur_x and document.kind is not Kind.RECEIPT and stamp is not Stamp.DRAFT:
        return facturx.embedded(page, document, say)
    return page
