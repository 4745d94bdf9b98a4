"""The fonts that invoices are written in are there, and who lacks them is told what to do."""

import runpy
from pathlib import Path

import pytest

from worker.adapters import pdf_fonts

ROOT = Path(__file__).parents[2]


def test_this_machine_has_what_pdfs_need() -> None:
    """`make` has installed it before it ran this."""
    assert pdf_fonts.missing() == []


def test_what_is_missing_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_fonts, "FONTS", ("Noto Sans", "Noto Sans Klingon"))
    monkeypatch.setattr(pdf_fonts, "LIBRARIES", {"libnowhere.so.0": "nowhere"})
    library, font = pdf_fonts.missing()
    assert library.startswith("the library nowhere: `python3 deploy/system_libraries.py`")
    assert font.startswith("the font Noto Sans Klingon: `python3 deploy/system_libraries.py`")


def test_the_set_up_installs_the_same_libraries_and_fonts() -> None:
    set_up = runpy.run_path(str(ROOT / "deploy" / "system_libraries.py"))
    assert {library.soname: library.name for library in set_up["LIBRARIES"]} == pdf_fonts.LIBRARIES
    assert tuple(font.family for font in set_up["FONTS"]) == pdf_fonts.FONTS
    assert set_up["missing"]() == []
