"""A document can make the renderer read nothing: no file, no address, by whatever way it asks."""

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rendering.builders import STYLE, page
from worker.adapters.pdf_page import Page
from worker.adapters.pdf_render import Renderer
from worker.errors import Refused

POINT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PIXEL = f"data:image/png;base64,{POINT}"


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secret") / "secret.png"
    file.write_bytes(base64.b64decode(POINT))
    return file


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and the paths that it was asked for."""
    asked: list[str] = []

    class Door(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Door) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{door.server_address[1]}/x", asked
        door.shutdown()


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">{}</svg>'
WAYS = {
    "img": '<img src="{}"/>',
    "object": '<object data="{}" type="image/png"></object>',
    "embed": '<embed src="{}" type="image/png"/>',
    "link stylesheet": '<link rel="stylesheet" href="{}"/>',
    "style import": '<style>@import url("{}");</style>',
    "style attribute": '<p style="background-image: url({})">text</p>',
    "list image": '<ul><li style="list-style-image: url({})">text</li></ul>',
    "content": '<style>p::before {{ content: url("{}") }}</style><p>text</p>',
    "font face": '<style>@font-face {{ font-family: Mine; src: url("{}") }}</style><p>text</p>',
    "attachment link": '<a rel="attachment" href="{}">text</a>',
    "svg image": SVG.format('<image href="{}" width="9" height="9"/>'),
    "svg xlink": SVG.format('<image xlink:href="{}" width="9" height="9"/>'),
    "svg use": SVG.format('<use href="{}#a"/>'),
}


def rendered_or_refused(renderer: Renderer, asked: Page) -> str:
    try:
        renderer.render(asked)
    except Refused as refused:
        return refused.reason
    return ""


@pytest.mark.parametrize("way", WAYS)
def test_neither_files_nor_addresses_are_read(
    renderer: Renderer, server: tuple[str, list[str]], secret: Path, way: str
) -> None:
    address, asked = server
    for target in (address, secret.as_uri(), "ftp://127.0.0.1/x", address.upper().replace("X", "x")):
        reason = rendered_or_refused(renderer, page(WAYS[way].format(target)))
        if way != "svg use":  # an element of another file is never looked up
            assert "nothing but data: addresses is read" in reason, (way, target, reason)
    assert asked == []


@pytest.mark.parametrize("way", ["img", "object", "link stylesheet"])
def test_a_path_is_relative_to_nothing(
    renderer: Renderer, secret: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(secret.parent)
    for target in (secret.name, str(secret), f"//{secret}", f"./{secret.name}"):
        reason = rendered_or_refused(renderer, page(WAYS[way].format(target)))
        assert "Relative URI" in reason or "nothing but data:" in reason, (way, target, reason)


@pytest.mark.parametrize("rule", ['@import url("{}");', "@font-face {{ font-family: Mine; src: url({}) }}"])
def test_nor_by_the_stylesheet(renderer: Renderer, secret: Path, rule: str) -> None:
    asked = page("<p>text</p>", stylesheet=rule.format(secret.as_uri()) + STYLE)
    assert "nothing but data:" in rendered_or_refused(renderer, asked)


def test_nor_by_a_picture_within_a_picture(renderer: Renderer, secret: Path) -> None:
    picture = SVG.format(f'<image href="{secret.as_uri()}" width="9" height="9"/>')
    data = base64.b64encode(picture.encode()).decode()
    assert "nothing but data:" in rendered_or_refused(renderer, page(f'<img src="data:image/svg+xml;base64,{data}"/>'))


def test_what_is_in_the_document_itself_is_shown(renderer: Renderer) -> None:
    with_picture = renderer.render(page(f'<p>text</p><img src="{PIXEL}" alt="A dot"/>'))
    assert b"/Image" in with_picture
    with pytest.raises(Refused, match="Failed to load image"):
        renderer.render(page('<img src="data:image/png;base64,AAAA" alt="Nothing"/>'))


def test_a_picture_without_words_for_those_who_cannot_see_it_is_refused(renderer: Renderer) -> None:
    with pytest.raises(Refused, match="has no required alt description"):
        renderer.render(page(f'<img src="{PIXEL}"/>'))


def test_entities_are_not_expanded(renderer: Renderer, secret: Path) -> None:
    bomb = f'<!DOCTYPE html [<!ENTITY e SYSTEM "{secret.as_uri()}">]><html><body>&e;</body></html>'
    asked = Page(html=bomb, stylesheet=STYLE, title="", language="en", created=page("").created)
    with pytest.raises(Refused, match="doctype"):
        renderer.render(asked)
