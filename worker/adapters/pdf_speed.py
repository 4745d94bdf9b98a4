"""What WeasyPrint works out anew for each document, it works out once for all documents of one look.

Some parts of WeasyPrint 70 are replaced, in rendering processes only; each gives what it replaces gave, byte by byte
(tests/rendering/test_same_as_weasyprint.py compares). The figures are in docs/performance.md.
"""

from importlib import import_module
from typing import Any

from worker.adapters import pdf_speed_draw, pdf_speed_layout

MOST_STYLES = 5_000
"""Computed styles that are kept for one stylesheet; a template has a few dozen."""

css: Any = import_module("weasyprint.css")  # untyped, and inner parts at that
boxes: Any = import_module("weasyprint.formatting_structure.boxes")
percent: Any = import_module("weasyprint.layout.percent")
line_break: Any = import_module("weasyprint.text.line_break")
images: Any = import_module("weasyprint.images")
pydyf: Any = import_module("pydyf")

PARAGRAPHS = frozenset("\n\r\u2029\u2028\x0b\x0c\x85")
"""What ends a paragraph, for Pango or by Unicode."""

REPLACED = tuple(
    import_module(f"weasyprint.{name}")
    for name in (
        "draw", "draw.border", "draw.color", "draw.text", "layout", "layout.absolute", "layout.background",
        "layout.block", "layout.column", "layout.flex", "layout.float", "layout.grid", "layout.inline", "layout.page",
        "layout.percent", "layout.replaced", "layout.table", "text.line_break",
    )
)  # fmt: skip
"""Who has a function that is replaced under its own name."""

_StyleFor: Any = css.StyleFor
_Layout: Any = line_break.Layout
_resolve_percentages: Any = percent.resolve_percentages
_resolve_radii_percentages: Any = percent.resolve_radii_percentages
_is_in_normal_flow: Any = boxes.Box.is_in_normal_flow
_strut: Any = line_break.strut
_set_text: Any = _Layout.set_text
_deactivate: Any = _Layout.deactivate
_reactivate: Any = _Layout.reactivate
_get_x_object: Any = images.RasterImage.get_x_object
_ffi: Any = line_break.ffi
_pango: Any = line_break.pango
_gobject: Any = line_break.gobject


class Look:
    """The computed styles of a set of stylesheets, kept from one document to the next.

    Elements share a style when their parents share one, the same rules match them and they have the same language and
    `style` attribute: so WeasyPrint does within one document, and so it can be done beyond it.
    """

    def __init__(self, *sheets: Any) -> None:
        self.sheets = sheets
        self.forget()

    def forget(self) -> None:
        """Begin anew; documents under way keep theirs."""
        self.styles: dict[tuple[Any, ...], Any] = {}
        self.page_sizes: dict[str, Any] = {"box": None, "area": None}


class RememberingStyleFor(_StyleFor):
    """The styles of one document's elements, from its `Look` where they are there."""

    def __init__(self, html: Any, sheets: Any, hints: bool, font_config: Any, target_collector: Any) -> None:  # noqa: FBT001 - WeasyPrint's own signature
        look: Look | None = getattr(html, "look", None)
        if look is None or hints or {id(sheet) for sheet, *_ in sheets} != {id(sheet) for sheet in look.sheets}:
            _StyleFor.__init__(self, html, sheets, hints, font_config, target_collector)
            return
        if len(look.styles) > MOST_STYLES:
            look.forget()
        self._cascaded_styles: dict[Any, Any] = {}
        self._computed_styles: dict[Any, Any] = {}
        self.initial_page_sizes = look.page_sizes
        self._sheets = sheets
        self.font_config = font_config
        self._root = html.etree_element
        self._base_url = html.base_url
        self._targets = target_collector
        self._own: dict[Any, list[tuple[Any, Any]]] = {}
        for specificity, element, declarations, _ in css.find_style_attributes(self._root, base_url=html.base_url):
            self._own.setdefault(element, []).append((specificity, declarations))
        for wrapper in html.wrapper_element.iter_subtree():
            self._style(look, wrapper)
        self._cascaded_styles.clear()

    def _style(self, look: Look, wrapper: Any) -> None:
        element = wrapper.etree_element
        parent = self._computed_styles[wrapper.parent.etree_element, None] if wrapper.parent else None
        matched: dict[str | None, list[Any]] = {None: []}
        for sheet, origin, sheet_specificity in self._sheets:
            for specificity, _, pseudo, (declarations, layer) in sheet.matcher.match(wrapper):
                order = css.inf if layer is None else sheet.layers.index(layer)
                rule = (id(declarations), specificity, order, origin, sheet_specificity or specificity, declarations)
                matched.setdefault(pseudo, []).append(rule)
        own = self._own.get(element, [])
        attributes = (element.get("lang"), element.get("style"))
        # An anchor is collected for each document, and an svg's size is its own.
        sharable = len(own) == sum(value is not None and value != "" for value in attributes)
        for pseudo, rules in matched.items():
            above = self._computed_styles[element, None] if pseudo else parent
            kept = above is None or getattr(above, "kept", False)
            words = attributes if pseudo is None else None
            key = (id(above), pseudo, words, tuple(rule[:3] for rule in rules))
            shared = kept and (pseudo is not None or sharable)
            if shared and (found := look.styles.get(key)) is not None:
                self._computed_styles[element, pseudo] = found
                continue
            self._cascaded_styles[element, pseudo] = self._cascade(rules, () if pseudo else own)
            self.set_computed_styles(
                element, parent=element if pseudo else wrapper.parent and wrapper.parent.etree_element,
                root=self._root, pseudo_type=pseudo, base_url=self._base_url, target_collector=self._targets,
            )  # fmt: skip
            if shared:
                style = self._computed_styles[element, pseudo]
                style.kept = True
                look.styles[key] = style

    def _cascade(self, rules: Any, own: Any) -> dict[str, Any]:
        style: dict[str, Any] = {}

        def declare(name: str, value: Any, weight: tuple[Any, ...]) -> None:
            if name not in style or style[name][1] <= weight:
                style[name] = value, weight

        for specificity, declarations in own:
            for name, value, importance in css.preprocess_declarations(self._base_url, declarations):
                declare(name, value, (css.declaration_precedence("author", importance), css.inf, specificity))
        for _, _, order, origin, specificity, declarations in rules:
            for name, value, importance in declarations:
                declare(name, value, (css.declaration_precedence(origin, importance), order, specificity))
        return style


class _Text:
    """What Pango needs to know of a style before it can lay out a text."""

    def __init__(self, style: Any) -> None:
        self.context = _ffi.gc(
            _pango.pango_font_map_create_context(style.font_config.font_map), _gobject.g_object_unref
        )
        _pango.pango_context_set_round_glyph_positions(self.context, False)  # noqa: FBT003 - C's own signature
        _pango.pango_context_set_base_dir(self.context, line_break.PANGO_DIRECTION[style["direction"]])
        self.language = self._language(style)
        self.font = line_break.get_font_description(style)
        self.metrics = self._metrics(style["text_decoration_line"] != "none")
        features = line_break.font_features(
            style["font_kerning"], style["font_variant_ligatures"], style["font_variant_position"],
            style["font_variant_caps"], style["font_variant_numeric"], style["font_variant_alternates"],
            style["font_variant_east_asian"], style["font_feature_settings"],
        )  # fmt: skip
        self._features = ",".join(f"{name} {value}" for name, value in features.items()).encode()
        # A list of attributes is changed by texts with spacing, so each of those gets its own.
        spacing = style["word_spacing"] or style["letter_spacing"] not in {"normal", 0}
        self._changing = bool(spacing) or style["overflow_wrap"] in {"anywhere", "break-word"}
        self._attributes = None if self._changing else self._list()

    def _language(self, style: Any) -> Any:
        override = style["font_language_override"]
        name = line_break.LST_TO_ISO.get(override.lower(), override) if override != "normal" else style["lang"]
        if not name:
            return _pango.pango_language_get_default()
        pointer, _owner = line_break.unicode_to_char_p(name)
        language = _pango.pango_language_from_string(pointer)
        _pango.pango_context_set_language(self.context, language)
        return language

    def _metrics(self, decorated: bool) -> dict[str, Any]:  # noqa: FBT001 - the one thing it is asked
        if not decorated:
            return {"ascent": None, "underline_position": None, "strikethrough_position": None}
        metrics = _ffi.gc(
            _pango.pango_context_get_metrics(self.context, self.font, self.language), _pango.pango_font_metrics_unref
        )
        names = (
            "ascent", "underline_position", "strikethrough_position", "underline_thickness", "strikethrough_thickness",
        )  # fmt: skip
        return {
            name: line_break.FROM_UNITS * getattr(_pango, f"pango_font_metrics_get_{name}")(metrics) for name in names
        }

    def _list(self) -> Any:
        attributes = _ffi.gc(_pango.pango_attr_list_new(), _pango.pango_attr_list_unref)
        _pango.pango_attr_list_insert(attributes, _pango.pango_attr_font_features_new(self._features))
        return attributes

    def layout(self) -> Any:
        """A new PangoLayout."""
        made = _ffi.gc(_pango.pango_layout_new(self.context), _gobject.g_object_unref)
        _pango.pango_layout_set_auto_dir(made, False)  # noqa: FBT003 - C's own signature
        _pango.pango_layout_set_font_description(made, self.font)
        if self._features:
            _pango.pango_layout_set_attributes(made, self._list() if self._changing else self._attributes)
        return made


def setup(layout: Any, style: Any) -> None:
    """Instead of `Layout.setup`: fonts and languages are looked up once for each style."""
    text: _Text | None = style.__dict__.get("text")
    if text is None:
        text = style.text = _Text(style)
    known = layout.__dict__
    known.update(text.metrics)
    known.update(style=style, first_line_direction=0, language=text.language, layout=text.layout(), laid_out=None)


def get_first_line(layout: Any) -> tuple[Any, int | None]:
    """Instead of `Layout.get_first_line`: it remembers whether there is but one."""
    inner = layout.layout
    first = _pango.pango_layout_get_line_readonly(inner, 0)
    second = _pango.pango_layout_get_line_readonly(inner, 1)
    layout.first_line_direction = first.resolved_dir
    if second == _ffi.NULL:
        layout.laid_out = layout.text
        return first, None
    layout.laid_out = None
    return first, second.start_index


def set_text(layout: Any, text: str, justify: bool = False) -> None:  # noqa: FBT001, FBT002 - WeasyPrint's own signature
    """Instead of `Layout.set_text`: a text without ends of lines is told to be one now, as drawing would do later."""
    layout.laid_out = None
    if PARAGRAPHS.isdisjoint(text):
        _pango.pango_layout_set_single_paragraph_mode(layout.layout, True)  # noqa: FBT003 - C's own signature
    _set_text(layout, text, justify)


def deactivate(layout: Any) -> None:
    """Instead of `Layout.deactivate`: a text of one line stays laid out until it is drawn."""
    if layout.laid_out is None or layout.laid_out != layout.text or not PARAGRAPHS.isdisjoint(layout.text):
        _deactivate(layout)


def reactivate(layout: Any, style: Any) -> None:
    """Instead of `Layout.reactivate`: nothing is to be done for a text that stayed laid out."""
    if "layout" not in layout.__dict__ or layout.style is not style or layout.justification_spacing:
        _reactivate(layout, style)


def strut(style: Any) -> Any:
    """Instead of `strut`: its answer is kept by the style, not by a text made of fifteen properties."""
    found = style.__dict__.get("strut")
    if found is None:
        found = style.strut = _strut(style)
    return found


FIXED = (
    "margin_left", "margin_right", "margin_top", "margin_bottom",
    "padding_left", "padding_right", "padding_top", "padding_bottom",
    "width", "min_width", "max_width", "height", "min_height", "max_height",
)  # fmt: skip
BORDERS = ("border_top_width", "border_right_width", "border_bottom_width", "border_left_width")


def _fixed(style: Any) -> dict[str, Any] | None:
    """The lengths of a style, where none depends on what is around it."""
    found: dict[str, Any] = {}
    for name in FIXED:
        value = style[name]
        if value is None or value == "auto":
            found[name] = 0 if value == "auto" and name in {"min_width", "min_height"} else value
        elif getattr(value, "unit", None) == "px":
            found[name] = value.value
        else:
            return None
    return found


def resolve_percentages(box: Any, containing_block: Any) -> None:
    """Instead of `resolve_percentages`: where a style has none, its lengths are copied."""
    style = box.style
    kept = style.__dict__
    if "fixed" not in kept:
        kept["fixed"] = _fixed(style)
        kept["borders"] = {name: style[name] for name in BORDERS}
        if kept["fixed"] is not None and style["border_collapse"] != "collapse":
            kept["fixed"] |= kept["borders"]
    fixed = kept["fixed"]
    if fixed is None or isinstance(box, boxes.PageBox):
        _resolve_percentages(box, containing_block)
        return
    known = box.__dict__
    known.update(fixed)
    if style["border_collapse"] == "collapse":
        for name, value in kept["borders"].items():
            if not hasattr(box, name):
                known[name] = value
    if style["box_sizing"] != "content-box":
        percent.adjust_box_sizing(box, "width")
        percent.adjust_box_sizing(box, "height")


CORNERS = tuple(f"border_{corner}_radius" for corner in ("top_left", "top_right", "bottom_right", "bottom_left"))
SQUARE = dict.fromkeys(CORNERS, (0, 0))


def resolve_radii_percentages(box: Any) -> None:
    """Instead of `resolve_radii_percentages`: nearly all boxes have no round corners, which their style tells."""
    kept = box.style.__dict__
    if "square" not in kept:
        kept["square"] = all((0, "px") in box.style[corner] for corner in CORNERS)
    if kept["square"]:
        known = box.__dict__
        known.get("_box", box).__dict__.update(SQUARE)  # a placeholder stands for a box that is out of the flow
    else:
        _resolve_radii_percentages(box)


def is_in_normal_flow(box: Any) -> bool:
    """Instead of `Box.is_in_normal_flow`: the usual case first."""
    style = box.style
    if style["float"] == "none" and style["position"] in {"static", "relative"}:
        return True
    return _is_in_normal_flow(box)


def get_color(style: Any, key: str) -> Any:
    """Instead of `get_color`: a colour is compared with a word only when it is one."""
    value = style[key]
    return style["color"] if type(value) is str and value == "currentcolor" else value


def get_x_object(image: Any, interpolate: Any, dpi_ratio: Any) -> Any:
    """Instead of `RasterImage.get_x_object`: a logo is encoded once, not for each document."""
    if dpi_ratio != 1:
        return _get_x_object(image, interpolate, dpi_ratio)
    kept = image.__dict__.setdefault("x_objects", {})
    if interpolate not in kept:
        made = _get_x_object(image, interpolate, dpi_ratio)
        mask = made.extra.pop("SMask", None)
        kept[interpolate] = (made.stream, made.extra), mask and (mask.stream, mask.extra)
    (stream, extra), mask = kept[interpolate]
    again = pydyf.Stream(list(stream), pydyf.Dictionary(extra))
    if mask:
        again.extra["SMask"] = pydyf.Stream(list(mask[0]), pydyf.Dictionary(mask[1]))
    return again


ALIKE: tuple[Any, ...] = (
    strut, resolve_percentages, resolve_radii_percentages, get_color,
    pdf_speed_layout.avoid_collisions, pdf_speed_layout.draw_outline,
)  # fmt: skip
"""Functions that other modules have imported, under the same name."""


def install() -> None:
    """Put them in WeasyPrint's place, in this process."""
    pdf_speed_draw.install()
    pdf_speed_layout.install()
    css.StyleFor = RememberingStyleFor
    _Layout.setup = setup
    _Layout.get_first_line = get_first_line
    _Layout.set_text = set_text
    _Layout.deactivate = deactivate
    _Layout.reactivate = reactivate
    images.RasterImage.get_x_object = get_x_object
    boxes.Box.is_in_normal_flow = is_in_normal_flow
    for module in REPLACED:
        for own in ALIKE:
            if hasattr(module, own.__name__):
                setattr(module, own.__name__, own)
