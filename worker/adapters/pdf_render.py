"""A page becomes a PDF without network, files or a clock: the same bytes wherever the fonts are the same."""

import logging
import re
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import import_module
from io import BytesIO
from typing import Any
from xml.etree import ElementTree as ET

from worker.adapters import pdf_speed, pdf_speed_layout
from worker.adapters.pdf_page import Attachment, Page
from worker.errors import Refused

MOST_STYLESHEETS = 64
MOST_PICTURES = 64
"""Kept in memory; beyond them, what was kept is forgotten."""

# WeasyPrint has no types; its inner parts are as of version 70, and pyproject.toml pins it.
weasyprint: Any = import_module("weasyprint")
cssselect2: Any = import_module("cssselect2")
urls: Any = import_module("weasyprint.urls")
html_module: Any = import_module("weasyprint.html")
fonts: Any = import_module("weasyprint.text.fonts")
metadata: Any = import_module("weasyprint.pdf.metadata")
build: Any = import_module("weasyprint.formatting_structure.build")
layout: Any = import_module("weasyprint.layout")
counters: Any = import_module("weasyprint.css.counters")

USER_AGENT = """
html, body, div, p, h1, h2, h3, h4, h5, h6, address, article, aside, blockquote, dd, dl, dt, figure, figcaption, footer,
header, hr, main, nav, ol, pre, section, ul { display: block }
head, title, meta, link, style, script, template { display: none }
table { display: table; box-sizing: border-box; border-spacing: 2px; text-indent: initial }
caption { display: table-caption; text-align: center }
colgroup { display: table-column-group }
col { display: table-column }
thead { display: table-header-group; vertical-align: middle }
tbody { display: table-row-group; vertical-align: middle }
tfoot { display: table-footer-group; vertical-align: middle }
tr { display: table-row; vertical-align: inherit }
td, th { display: table-cell; padding: 1px; vertical-align: inherit }
th { font-weight: bold; text-align: center }
li { display: list-item }
b, strong { font-weight: bold }
i, em { font-style: italic }
bdi, bdo { unicode-bidi: isolate }
bdo { unicode-bidi: isolate-override }
[dir=ltr] { direction: ltr; unicode-bidi: isolate }
[dir=rtl] { direction: rtl; unicode-bidi: isolate }
bdi[dir=auto], bdi:not([dir]) { unicode-bidi: plaintext }
br::before { content: "\\A"; white-space: pre-line }
wbr::before { content: "\\200B" }
img, svg { overflow: hidden }
h1 { bookmark-level: 1; bookmark-label: content(text) }
h1, h2, h3 { break-after: avoid }
@page { margin: 75px }
"""
"""What elements are, and no more: margins and sizes are the template's. https://html.spec.whatwg.org/#rendering"""


_URLFetcher: Any = urls.URLFetcher
_DocumentMetadata: Any = metadata.DocumentMetadata


class OnlyData(_URLFetcher):
    """Reads `data:` addresses; a document that asks for anything else is not rendered at all."""

    def __init__(self) -> None:
        _URLFetcher.__init__(self, allowed_protocols=("data",), allow_redirects=False)
        self.refused: list[str] = []

    def fetch(self, url: str, headers: Any = None) -> Any:
        """Raises FatalURLFetchingError, which WeasyPrint swallows within an SVG only: hence `refused`."""
        if url[:5].lower() != "data:":
            self.refused.append(f"it asks for {url[:200]}: nothing but data: addresses is read")
            raise urls.FatalURLFetchingError(self.refused[-1])
        return _URLFetcher.fetch(self, url, headers)


class Complaints(logging.Handler):
    """What WeasyPrint could not do, such as show a broken picture."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Remember it."""
        self.heard.append(re.sub(r"(data:.{40})\S*", r"\1…", record.getMessage()))


class Metadata(_DocumentMetadata):
    """What the PDF says about itself, with a page's own descriptions inside the one RDF element that XMP allows.

    ISO 16684-1 §7.3; WeasyPrint would put a second one beside it.
    """

    xmp: bytes | None = None

    def generate_rdf_metadata(self, *names: Any) -> bytes:
        """The RDF element."""
        rdf: bytes = _DocumentMetadata.generate_rdf_metadata(self, *names)
        end = b"</rdf:RDF>"
        if self.xmp is None:
            return rdf
        return rdf.removesuffix(end) + self.xmp + end


class Markup(weasyprint.HTML):
    """A document as WeasyPrint's layout wants it, made of XML."""

    def __init__(self, page: Page, look: pdf_speed.Look, fetcher: OnlyData, element: Any) -> None:
        root = _parsed(page.html)
        root.set("lang", page.language)
        self.base_url = None
        self.url_fetcher = fetcher
        self.media_type = "print"
        self.wrapper_element = element.from_html_root(root, content_language=None)
        self.etree_element = root
        self.look = look

    def _ua_stylesheets(self, forms: bool = False) -> list[Any]:  # noqa: FBT001, FBT002 - WeasyPrint's own signature
        return [] if forms else [self.look.sheets[0]]

    def _ua_counter_style(self) -> list[Any]:
        return [html_module.UA_COUNTER_STYLE]


def _parsed(html: str) -> ET.Element:
    if "<!DOCTYPE" in html:
        raise Refused("its markup has a doctype, which may define entities")
    try:
        return ET.fromstring(html)  # noqa: S314 - our own builder's markup, and without entities
    except ET.ParseError as error:
        line, column = error.position
        near = html.splitlines()[line - 1][max(0, column - 40) : column + 40] if html.strip() else ""
        raise Refused(f"its markup is not well-formed XML: {error}, near {near!r}") from error


class Renderer:
    """One process's: what is worth keeping from one document to the next."""

    def __init__(self, *, fast: bool = True) -> None:
        """`fast`: replace parts of WeasyPrint, in this process for good; else leave it as it is, for comparing."""
        self._element: Any = cssselect2.ElementWrapper
        if fast:
            pdf_speed.install()
            self._element = pdf_speed_layout.Element
        self._fonts = fonts.FontConfiguration()
        self._fetcher = OnlyData()
        self._user_agent = weasyprint.CSS(string=USER_AGENT, url_fetcher=self._fetcher)
        self._looks: dict[str, pdf_speed.Look] = {}
        self._pictures: dict[str, Any] = {}
        self._complaints = Complaints()
        logger = logging.getLogger("weasyprint")
        logger.handlers = [self._complaints]
        logger.propagate = False
        logging.getLogger("fontTools").setLevel(logging.ERROR)

    def render(self, page: Page) -> bytes:
        """The PDF. Raises Refused when the page cannot be shown as it is meant; else, what is thrown is a bug's."""
        complaints, refused = self._complaints.heard, self._fetcher.refused
        complaints.clear()
        refused.clear()
        try:
            pdf = self._render(page)
        except urls.FatalURLFetchingError as error:
            raise Refused("; ".join(refused) or str(error)) from error
        if refused or complaints:
            raise Refused("; ".join(dict.fromkeys([*refused, *complaints]))[:1000])
        return pdf

    def _render(self, page: Page) -> bytes:
        html = Markup(page, self._look(page.stylesheet), self._fetcher, self._element)
        if len(self._pictures) > MOST_PICTURES:
            self._pictures.clear()
        options: dict[str, Any] = {
            **weasyprint.DEFAULT_OPTIONS,
            "stylesheets": html.look.sheets[1:],
            "cache": self._pictures,
            "pdf_tags": page.tagged,
            "pdf_variant": page.variant,
            "attachments": [_attached(file, page.created) for file in page.attachments],
        }
        if page.variant:
            if page.variant not in VARIANTS:
                raise Refused(f"{page.variant} is no kind of PDF that can be made: {', '.join(VARIANTS)}")
            for name, value in VARIANTS[page.variant][1].items():
                options[name] = options[name] if options.get(name) is not None else value
        counter_style = counters.CounterStyle()
        # These are the steps of Document._render, without looking for metadata in the markup.
        context = weasyprint.Document._build_layout_context(html, self._fonts, counter_style, {}, options)  # noqa: SLF001 - pinned version
        root = build.build_formatting_structure(
            html.etree_element, context.style_for, context.get_image_from_uri, None, context.target_collector,
            counter_style, context.footnotes,
        )  # fmt: skip
        pages = [weasyprint.Page(box) for box in layout.layout_document(html, root, context)]
        document = weasyprint.Document(pages, _metadata(page), self._fetcher, self._fonts, {}, options["output_intent"])
        document._html = html  # noqa: SLF001 - as Document._render does
        return document.write_pdf(**options)

    def _look(self, stylesheet: str) -> pdf_speed.Look:
        if stylesheet not in self._looks:
            if len(self._looks) >= MOST_STYLESHEETS:
                self._looks.clear()
            sheet = weasyprint.CSS(string=stylesheet, url_fetcher=self._fetcher, font_config=self._fonts)
            self._looks[stylesheet] = pdf_speed.Look(self._user_agent, sheet)
        return self._looks[stylesheet]


VARIANTS: dict[str, Any] = import_module("weasyprint.pdf").VARIANTS


def _attached(file: Attachment, created: datetime) -> Any:
    attachment = weasyprint.Attachment(
        string=b"", name=file.name, description=file.description, relationship=file.relationship,
        created=created.astimezone(UTC), modified=created.astimezone(UTC),
    )  # fmt: skip
    # As its own source would be, but for the type, which WeasyPrint guesses from the name.
    attachment.source = nullcontext((BytesIO(file.data), None, None, file.mime))
    return attachment


def _metadata(page: Page) -> Metadata:
    created = page.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    made = Metadata(
        title=page.title, authors=[page.author] if page.author else [], created=created, modified=created,
        lang=page.language,
    )  # fmt: skip
    made.xmp = page.xmp
    return made
