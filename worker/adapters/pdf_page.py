"""What a builder hands to the renderer: one document's markup, its look, and what its PDF says about itself.

For who writes a builder (`build(document: bytes) -> Page`, named by a string such as `jobs.invoices.page:build`):

- It runs in a rendering process, never in the worker: load templates, locales and logos once, at import.
- `html` is read by an XML parser, fifty times as fast as an HTML parser: every tag closed (`<br/>`, `<td></td>`),
  every attribute quoted, `&amp; &lt; &gt; &quot;` and numeric references only (no `&nbsp;`: write the character), no
  doctype, no namespace but `<svg xmlns="http://www.w3.org/2000/svg">`. Jinja's autoescaping suffices. Characters that
  XML forbids (U+0000 and other controls) must be dropped by the builder; else the document is refused.
- `stylesheet` is one string for all documents of a template: it is parsed once and kept by its text. What differs
  between sellers (a colour) is worth a stylesheet per seller, never one per document. `<style>` and `<link>` in
  `html` are slow and not needed; `style="…"` is fine for a few elements.
- Fast layout: `table-layout: fixed` with `<col>` widths or widths on the first row; no flex, no grid, no `var()`; put
  `font` on `html`, from where page margins inherit it. Few fonts, weights and font-feature-settings: each used one is
  embedded. Selectors of one class or one tag are cheapest.
- `border-collapse: separate; border-spacing: 0` costs a twentieth less than `collapse`.
- A picture needs `alt` (an `svg` a `<title>`), and a link its anchor: what WeasyPrint reports as an error refuses the
  document, so that nothing is left out without a word.
- The user-agent stylesheet is cut down to blocks, tables, lists and headings without margins or sizes: say what you
  want.
- Nothing is fetched: `data:` addresses only (logos), whose decoded picture is kept too.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file within the PDF, such as Factur-X's XML."""

    name: str
    mime: str
    data: bytes
    relationship: str = "Unspecified"
    """How it relates to the document, by ISO 32000-2 §7.11.3: `Data`, `Source`, `Alternative`, `Supplement`, …"""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """All that a PDF is made of; equal values give equal bytes."""

    html: str
    """Well-formed XML: `<html>…</html>`."""
    stylesheet: str
    title: str
    language: str
    """BCP 47: `de`, `pt-BR`, `ja`; it chooses hyphenation, quotes and the shapes of Han characters."""
    created: datetime
    """The document's own date, with a time zone: the clock of the rendering machine is never read."""
    author: str = ""
    """Who issues the document."""
    tagged: bool = True
    """Structure for screen readers (PDF/UA's base)."""
    variant: str | None = None
    """WeasyPrint's name of a standard: `pdf/a-3b`, `pdf/ua-1`, …; None for plain PDF 1.7."""
    attachments: tuple[Attachment, ...] = ()
    xmp: bytes | None = None
    """Whole `<rdf:Description>` elements, UTF-8, put into the XMP packet (Factur-X's schema and values)."""
