"""Where WeasyPrint looks for floats, stylesheets or classes that a document of ours does not have, little is done.

For pdf_speed.py, which says what holds for all that is replaced.
"""

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any

boxes: Any = import_module("weasyprint.formatting_structure.boxes")  # untyped, and inner parts at that
css: Any = import_module("weasyprint.css")
cssselect2: Any = import_module("cssselect2")
compiler: Any = import_module("cssselect2.compiler")
floats: Any = import_module("weasyprint.layout.float")
border: Any = import_module("weasyprint.draw.border")
line_break: Any = import_module("weasyprint.text.line_break")

SHEETS = ("style", "link")
"""Elements that bring a stylesheet, by their local names."""

_ElementWrapper: Any = cssselect2.ElementWrapper
_find_stylesheets: Any = css.find_stylesheets
_avoid_collisions: Any = floats.avoid_collisions
_draw_outline: Any = border.draw_outline
_ffi: Any = line_break.ffi
_pango: Any = line_break.pango

CHARACTERS: Any = _ffi.typeof("char[]")
EXTENTS: Any = _ffi.new("PangoRectangle *")
"""Where Pango writes how large a line is: it is read at once, in the one thread that there is."""


@lru_cache(maxsize=1_000)
def _classes(words: str) -> frozenset[str]:
    return frozenset(compiler.split_whitespace(words))


class Element(_ElementWrapper):
    """An element as selectors see it: what they ask for first is looked up at once, without a lock for each answer."""

    def __init__(self, element: Any, *place: Any, **more: Any) -> None:
        _ElementWrapper.__init__(self, element, *place, **more)
        namespace, _, name = element.tag.rpartition("}")
        self.__dict__.update(
            etree_children=[*element],  # an XML parser leaves out comments
            id=element.get("id"),
            classes=_classes(element.get("class", "")),
            local_name=name,
            namespace_url=namespace[1:],
        )


def find_stylesheets(wrapper: Any, *how: Any) -> Iterator[Any]:
    """Instead of `find_stylesheets`: elements are wrapped for it only where one of them has a stylesheet."""
    for element in wrapper.etree_element.iter():
        if element.tag.rpartition("}")[2].lower() in SHEETS:
            return _find_stylesheets(wrapper, *how)
    return iter(())


def descendants(box: Any, placeholders: bool = False) -> Iterator[Any]:  # noqa: FBT001, FBT002 - WeasyPrint's own signature
    """Instead of `Box.descendants`: one generator, not one for each box above."""
    waiting = [box]
    while waiting:
        one = waiting.pop()
        if isinstance(one, boxes.Box):
            yield one
            waiting.extend(reversed(one.children))
        elif placeholders:
            yield from one.descendants(placeholders)
        else:
            yield one


def avoid_collisions(context: Any, box: Any, containing_block: Any, outer: bool = True) -> Any:  # noqa: FBT001, FBT002 - WeasyPrint's own signature
    """Instead of `avoid_collisions`: where nothing floats, there is nothing to avoid."""
    if context.excluded_shapes or box.style["float"] != "none" or containing_block.style["direction"] != "ltr":
        return _avoid_collisions(context, box, containing_block, outer)
    # In the order in which WeasyPrint adds them up: a float may differ in its last digit otherwise.
    left = containing_block.content_box_x()
    right = left + containing_block.width
    if outer:
        return left, box.position_y, right - left
    left += box.margin_left
    return left - box.margin_left, box.border_box_y() - box.margin_top, right - box.margin_right - left


def line_size(line: Any, style: Any) -> tuple[float, float]:
    """Instead of `line_size`: Pango writes to the same place each time."""
    _pango.pango_layout_line_get_extents(line, _ffi.NULL, EXTENTS)
    width = EXTENTS.width * line_break.FROM_UNITS
    if style["letter_spacing"] != "normal":
        width += style["letter_spacing"]
    return width, EXTENTS.height * line_break.FROM_UNITS


def unicode_to_char_p(string: str) -> tuple[Any, bytes]:
    """Instead of `unicode_to_char_p`: C's type is not looked up by its name."""
    characters = string.encode().replace(b"\x00", b"")
    return _ffi.new(CHARACTERS, characters), characters


def draw_outline(stream: Any, box: Any) -> None:
    """Instead of `draw_outline`: nearly all boxes have none, which their style tells."""
    kept = box.style.__dict__
    if "outlined" not in kept:
        kept["outlined"] = bool(box.style["outline_width"])
    if kept["outlined"]:
        _draw_outline(stream, box)
        return
    for child in box.children:
        if isinstance(child, boxes.Box):
            draw_outline(stream, child)


def install() -> None:
    """Put them in WeasyPrint's place, in this process."""
    css.find_stylesheets = find_stylesheets
    boxes.Box.descendants = descendants
    line_break.line_size = line_size
    line_break.unicode_to_char_p = unicode_to_char_p
