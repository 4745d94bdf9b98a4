"""How documents looked when somebody last looked at them: their text, and their first page as a small grey picture.

Renew them after a change that was meant, and look at each (`git diff` shows the texts):
`.venv/bin/python -m tests.invoices.goldens [NAME …]`
"""

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from jobs.invoices.samples import SAMPLES
from tests.invoices.pages import pdf_of, pictures, texts

FOLDER = Path(__file__).parent / "golden"
NAMES = (
    "invoice",
    "german",
    "reverse_charge",
    "spanish",
    "japanese",
    "american",
    "credit_note",
    "receipt",
    "kuwaiti",
    "void",
)
GREYS = 16
COARSE = 4
"""Pictures are compared at a quarter of their size, so that another version of a font's hinting changes nothing."""

FAINT, PLAIN = 1.5, 32
"""Steps of grey, of 255: how far pictures may differ on average, and what one point may."""

FEW = 0.002
"""The share of points that may differ plainly: a word is more, in a page of words."""


def seen(name: str) -> tuple[str, Image.Image]:
    """The text of a sample's pages, and the picture of its first."""
    pdf = pdf_of(SAMPLES[name]())
    return "\n\n".join(texts(pdf)) + "\n", pictures(pdf)[0]


def difference(one: Image.Image, other: Image.Image) -> str | None:
    """How two pictures differ, in words; None when nobody would see it."""
    if one.size != other.size:
        return f"{one.size} is not {other.size}"
    small = (max(1, one.width // COARSE), max(1, one.height // COARSE))
    coarse: list[Any] = [one, other]
    between: Image.Image = ImageChops.difference(*(each.resize(small, Image.Resampling.BOX) for each in coarse))
    counts = between.histogram()
    points = sum(counts)
    mean = sum(step * count for step, count in enumerate(counts)) / points
    plain = sum(counts[PLAIN:]) / points
    if mean <= FAINT and plain <= FEW:
        return None
    return f"differs by {mean:.2f} steps of grey on average, and plainly in {plain:.2%} of it"


def kept(name: str) -> tuple[str, Image.Image]:
    """What was kept."""
    picture = Image.open(io.BytesIO((FOLDER / f"{name}.png").read_bytes())).convert("L")
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8"), picture


def renew(names: tuple[str, ...]) -> None:
    """Keep how documents look now."""
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        text, picture = seen(name)
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")
        picture.quantize(GREYS).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    renew(tuple(sys.argv[1:]) or NAMES)
