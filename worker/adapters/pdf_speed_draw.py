"""Texts, backgrounds and objects are put into a PDF as WeasyPrint would, with less work for each.

For pdf_speed.py, which says what holds for all that is replaced.
"""

from importlib import import_module
from typing import Any

background: Any = import_module("weasyprint.layout.background")  # untyped, and inner parts at that
color: Any = import_module("weasyprint.draw.color")
fonts: Any = import_module("weasyprint.text.fonts")
pango: Any = import_module("weasyprint.text.ffi")
percent: Any = import_module("weasyprint.layout.percent")
stream_module: Any = import_module("weasyprint.pdf.stream")
text: Any = import_module("weasyprint.draw.text")
pydyf: Any = import_module("pydyf")

_to_bytes: Any = pydyf._to_bytes  # noqa: SLF001 - pinned version
_stream_data: Any = pydyf.Stream.data
_page_references: Any = pydyf.PDF.page_references
_draw_first_line: Any = text.draw_first_line
_layout_box_backgrounds: Any = background.layout_box_backgrounds
_ffi: Any = pango.ffi
_pango: Any = pango.pango
_gobject: Any = pango.gobject
_ffi.cdef("void * g_object_ref (void *object);")

INTEGERS = 5
"""What Pango tells of a glyph: its number, its width, two offsets, and flags."""

INTEGERS_OF: Any = _ffi.typeof("int *")
FITTING = bool(_ffi.sizeof("PangoGlyphInfo") == INTEGERS * _ffi.sizeof("int"))
EMPTY = int(_pango.PANGO_GLYPH_EMPTY)
"""Numbers from here on are no glyphs of a font."""

RELIABLE_SIZES = 14802
"""From this version on, Pango tells a font's size rightly, says WeasyPrint."""
RELIABLE = bool(_pango.pango_version() >= RELIABLE_SIZES)

MOST_FONTS = 1_000
"""Fonts in a size, whose names are kept."""


def to_bytes(item: object) -> bytes:
    """Instead of `pydyf._to_bytes`: the usual types first."""
    if type(item) is bytes:
        return item
    if type(item) is str:
        return item.encode("ascii")
    if type(item) is float:
        return b"%d" % int(item) if item.is_integer() else f"{item:f}".rstrip("0").encode("ascii")
    if type(item) is int:
        return b"%d" % item
    return _to_bytes(item)


def dictionary_data(dictionary: Any) -> bytes:
    """Instead of `Dictionary.data`."""
    return b"<<%b>>" % b"".join([b"/%b %b" % (to_bytes(key), to_bytes(value)) for key, value in dictionary.items()])


def array_data(array: Any) -> bytes:
    """Instead of `Array.data`."""
    return b"[%b]" % b" ".join([to_bytes(item) for item in array])


def stream_data(stream: Any) -> bytes:
    """Instead of `Stream.data`: its lines are joined at once.

    PDF/A's file id asks for all that was compressed and written a moment ago, so that is kept.
    """
    kept = stream.__dict__
    if "made" not in kept:
        lines = kept["stream"]
        kept["stream"] = [b"\n".join([line if type(line) is bytes else to_bytes(line) for line in lines])]
        kept["made"] = _stream_data.fget(stream)
        kept["stream"] = lines
    return kept["made"]


def page_references(pdf: Any) -> tuple[bytes, ...]:
    """Instead of `PDF.page_references`: each tag asks for them, and pages are only ever added."""
    kept = pdf.__dict__
    count = pdf.pages["Count"]
    if kept.get("references_of") != count:
        kept["references_of"], kept["references"] = count, _page_references.fget(pdf)
    return kept["references"]


class Faces:
    """What WeasyPrint calls each of Pango's fonts. Each is held, so that no other one gets its address."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Any, float, Any]] = {}

    def named(self, pango_font: Any) -> tuple[Any, float]:
        """Its key and its size in points."""
        found = self._known.get(pango_font)
        if found is None:
            if len(self._known) > MOST_FONTS:
                self._known.clear()
            key, _, size = fonts.get_pango_font_key(pango_font)
            held = _ffi.gc(_gobject.g_object_ref(pango_font), _gobject.g_object_unref)
            found = self._known[pango_font] = key, size, held
        return found[0], found[1]


FACES = Faces()


def add_font(stream: Any, pango_font: Any) -> tuple[Any, float]:
    """Instead of `Stream.add_font`: a font is described once."""
    key, size = FACES.named(pango_font)
    if key not in stream._fonts:  # noqa: SLF001 - pinned version
        _, description, _ = fonts.get_pango_font_key(pango_font)  # a font may change it
        stream._fonts[key] = stream_module.Font(pango_font, description, size)  # noqa: SLF001 - see above
    return stream._fonts[key], size  # noqa: SLF001 - see above


def draw_first_line(stream: Any, textbox: Any, text_overflow: str, block_ellipsis: Any, matrix: Any) -> Any:
    """Instead of `draw_first_line`: glyphs that stand on the line, of a font without pictures, are written at once."""
    unusual = text_overflow == "ellipsis" or block_ellipsis != "none" or textbox.style["font_size"] < 1
    if unusual or not textbox.text.strip():
        return _draw_first_line(stream, textbox, text_overflow, block_ellipsis, matrix)
    layout = textbox.pango_layout
    _pango.pango_layout_set_single_paragraph_mode(layout.layout, True)  # noqa: FBT003 - C's own signature
    first_line, _ = layout.get_first_line()
    runs = _runs(stream, textbox, first_line)
    if runs is None:
        return _draw_first_line(stream, textbox, text_overflow, block_ellipsis, matrix)
    stream.set_text_matrix(*matrix.values)
    last = len(runs) - 1
    for number, (name, size, glyphs) in enumerate(runs):
        stream.set_font_size(name, size)
        if glyphs or number == last:
            stream.show_text(glyphs)
    return []


def _runs(stream: Any, textbox: Any, line: Any) -> list[tuple[str, float, str]] | None:
    """A line's glyphs, as they are written, by font; None when they need more than that."""
    runs: list[tuple[str, float, str]] = []
    before = None
    run = line.runs[0]
    while run != _ffi.NULL:
        item = run.data
        run = run.next
        pango_font = item.item.analysis.font
        same = before is not None and pango_font == before
        before = pango_font
        font, size = add_font(stream, pango_font)
        if font.bitmap or font.png or font.svg or font.colr:
            return None
        written = _written(stream, textbox, item, font, size)
        if written is None:
            return None
        if same:
            runs[-1] = (font.hash, size, runs[-1][2] + written)
        else:
            runs.append((font.hash, size, written))
    return runs or None


def _written(stream: Any, textbox: Any, item: Any, font: Any, size: float) -> str | None:
    count = item.glyphs.num_glyphs
    if not count:
        return ""
    numbers = _ffi.unpack(_ffi.cast(INTEGERS_OF, item.glyphs.glyphs), count * INTEGERS)
    ids = numbers[::INTEGERS]
    if max(ids) >= EMPTY or min(ids) < 0 or any(numbers[2::INTEGERS]) or any(numbers[3::INTEGERS]):
        return None
    known = font.__dict__.setdefault("written", {}).setdefault(size, {})
    parts: list[str] = []
    for place, glyph in enumerate(zip(ids, numbers[1::INTEGERS], strict=True)):
        part = known.get(glyph)
        if part is None:
            _meaning(textbox, item, font, place, glyph[0])
            part = known[glyph] = _glyph(stream, item, font, size, glyph)
        parts.append(part)
    written = "<" + "".join(parts)
    return written[:-1] if written[-1] == "<" else written + ">"


def _meaning(textbox: Any, item: Any, font: Any, place: int, glyph: int) -> None:
    """Which characters a glyph stands for."""
    if glyph in font.to_unicode:
        return
    clusters, length = item.glyphs.log_clusters, item.item.length
    backwards = bool(item.item.analysis.level % 2)
    ends = place == (0 if backwards else item.glyphs.num_glyphs - 1)
    end = length if ends else clusters[place - 1 if backwards else place + 1]
    offset = item.item.offset
    characters = textbox.pango_layout.text.encode()[offset + clusters[place] : offset + end]
    font.to_unicode[glyph] = characters.decode()


def _glyph(stream: Any, item: Any, font: Any, size: float, told: tuple[int, int]) -> str:
    """A glyph, and how much farther or nearer the next one is than its font says; `told`: its number and width."""
    glyph, width = told
    own = font.widths.get(glyph)
    if own is None:
        _pango.pango_font_get_glyph_extents(item.item.analysis.font, glyph, stream.ink_rect, stream.logical_rect)
        own = font.widths[glyph] = round(stream.logical_rect.width * 1000 * pango.FROM_UNITS / size)
    kerning = own - width * 1000 * pango.FROM_UNITS / size
    return f"{glyph:04x}>{int(kerning)}<" if kerning else f"{glyph:04x}"


def layout_box_backgrounds(
    page: Any,
    box: Any,
    get_image: Any,
    layout_children: bool = True,  # noqa: FBT001, FBT002 - WeasyPrint's own signature
    style: Any = None,
) -> None:
    """Instead of `layout_box_backgrounds`: nearly all boxes have none, which their style tells."""
    if style is not None or box is page:
        _layout_box_backgrounds(page, box, get_image, layout_children, style)
        return
    kept = box.style.__dict__
    if "bare" not in kept:
        kept["bare"] = _bare(box.style)
    if not kept["bare"]:
        _layout_box_backgrounds(page, box, get_image, layout_children)
        return
    background.resolve_radii_percentages(box)
    if layout_children:
        for child in box.all_children():
            layout_box_backgrounds(page, child, get_image)
    box.background = None


def _bare(style: Any) -> bool:
    return (
        style["border_image_source"][0] == "none"
        and style["mask_border_source"][0] == "none"
        and style["visibility"] != "hidden"
        and all(kind != "url" and not value for kind, value in style["background_image"])
        and color.get_color(style, "background_color").alpha == 0
        and not style["box_shadow"]
    )


def install() -> None:
    """Put them in WeasyPrint's place, in this process."""
    pydyf._to_bytes = to_bytes  # noqa: SLF001 - pinned version
    pydyf.Dictionary.data = property(dictionary_data)
    pydyf.Array.data = property(array_data)
    pydyf.Stream.data = property(stream_data)
    pydyf.PDF.page_references = property(page_references)
    stream_module.Stream.add_font = add_font
    background.layout_box_backgrounds = layout_box_backgrounds
    if FITTING and RELIABLE:
        text.draw_first_line = draw_first_line
