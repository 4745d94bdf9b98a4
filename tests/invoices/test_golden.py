"""Documents look as they did when somebody last looked at them."""

import pytest
from msgspec.structs import replace
from PIL import Image, ImageChops

from jobs.invoices import samples
from tests.invoices.goldens import FOLDER, NAMES, difference, kept, seen
from tests.invoices.pages import pdf_of, pictures


@pytest.mark.parametrize("name", NAMES)
def test_a_document_looks_as_it_did(name: str) -> None:
    """When a change was meant: see goldens.py."""
    text, picture = seen(name)
    text_then, picture_then = kept(name)
    assert text == text_then
    assert difference(picture, picture_then) is None


def test_no_golden_is_left_over_and_each_is_small() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {f"{name}.{kind}" for name in NAMES for kind in ("txt", "png")}
    assert max(path.stat().st_size for path in FOLDER.iterdir()) < 30_000


def test_what_anybody_would_see_is_seen() -> None:
    paid = samples.american()
    (picture,) = pictures(pdf_of(paid))
    (unstamped,) = pictures(pdf_of(replace(paid, stamp=None)))
    assert difference(picture, unstamped) is not None
    (less,) = pictures(pdf_of(replace(paid, lines=paid.lines[:-1])))
    assert difference(picture, less) is not None
    assert difference(picture, ImageChops.offset(picture, 4, 0)) is not None
    assert difference(picture, picture.crop((0, 0, 10, 10))) is not None


def test_what_nobody_would_see_is_let_pass() -> None:
    (picture,) = pictures(pdf_of(samples.american()))
    assert difference(picture, ImageChops.add(picture, Image.new("L", picture.size, 1))) is None
