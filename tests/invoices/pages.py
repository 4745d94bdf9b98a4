"""Documents as PDFs, read back: their text, their fonts, their pictures."""

import io
from functools import cache
from typing import Any

import pypdf
import pypdfium2
from fontTools.ttLib import TTFont
from PIL.Image import Image

from jobs.invoices.document import Document, Stamp
from jobs.invoices.page import build, request
from jobs.invoices.samples_parts import ASSETS
from worker.adapters.pdf_render import Renderer

PdfDocument: Any = pypdfium2.PdfDocument


@cache
def renderer() -> Renderer:
    """One for all tests: reading stylesheets takes longer than a page."""
    return Renderer()


def pdf_of(document: Document, *, stamp: Stamp | None = None) -> bytes:
    """The PDF of a document, as the child process makes it."""
    return renderer().render(build(request(document, ASSETS, stamp=stamp)))


def texts(pdf: bytes) -> list[str]:
    """The text of each page, its blanks made one."""
    document = PdfDocument(pdf)
    try:
        return [" ".join(str(page.get_textpage().get_text_bounded()).split()) for page in document]
    finally:
        document.close()


def pictures(pdf: bytes, scale: float = 0.5) -> list[Image]:
    """Each page as grey pixels, `scale` of them to a point."""
    document = PdfDocument(pdf)
    try:
        return [page.render(scale=scale).to_pil().convert("L") for page in document]
    finally:
        document.close()


def fonts(pdf: bytes) -> dict[str, bytes]:
    """The embedded fonts, by their names."""
    found: dict[str, bytes] = {}
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    for page in reader.pages:
        resources: Any = page["/Resources"]
        for each in resources.get("/Font", {}).values():
            descendant = each.get_object()["/DescendantFonts"][0].get_object()
            descriptor = descendant["/FontDescriptor"].get_object()
            for kind in ("/FontFile2", "/FontFile3"):
                if kind in descriptor:
                    found[str(descriptor["/FontName"])] = descriptor[kind].get_object().get_data()
    return found


def glyphs(pdf: bytes) -> set[int]:
    """The numbers of all glyphs that are drawn; 0 is .notdef, the box of what a font does not have."""
    used: set[int] = set()
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    for page in reader.pages:
        operations: Any = page.get_contents()
        for operands, operator in operations.operations:
            if operator in {b"Tj", b"TJ"}:
                parts: list[Any] = operands[0] if operator == b"TJ" else operands
                for part in parts:
                    if isinstance(part, (bytes, str)):
                        raw: Any = getattr(part, "original_bytes", part)
                        used |= {int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)}
    return used


def names_of(fonts_of: dict[str, bytes]) -> set[str]:
    """What embedded fonts are called, without the mark of their subset."""
    return {name.rpartition("+")[2].lstrip("/") for name in fonts_of}


def outlines(font: bytes) -> int:
    """How many glyphs an embedded font has."""
    return int(TTFont(io.BytesIO(font))["maxp"].numGlyphs)
