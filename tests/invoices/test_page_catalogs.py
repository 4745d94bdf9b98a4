"""No sentence of a document is missing in any language, none is left over, and none loses what it must tell."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
from babel.messages import frontend
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

from jobs.invoices.page_words import TEMPLATES, catalog
from worker.settings import LANGUAGES

ROOT = TEMPLATES.parents[1]
TRANSLATED = [language for language in LANGUAGES if language != "en"]
SAME = {"Total", "Subtotal", "Page %(page)s of %(pages)s"}
"""What is written alike in several languages."""


def file_of(language: str) -> Path:
    return TEMPLATES / "locale" / language / "LC_MESSAGES" / "invoice.po"


def said() -> dict[str, set[str]]:
    """Every sentence, found as `pybabel extract` finds it, with where it is."""
    with (TEMPLATES / "babel.cfg").open() as file:
        methods, _ = cast("Any", frontend).parse_mapping_cfg(file)
    found: dict[str, set[str]] = {}
    for pattern, method in methods:
        for path in sorted(ROOT.glob(pattern)):
            for _, message, _, _ in extract_from_file(method, path):
                found.setdefault(cast("str", message), set()).add(path.name)
    return found


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\((\w+)\)s", text))


def read(language: str) -> Catalog:
    with file_of(language).open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def entries(language: str) -> dict[str, str]:
    return {cast("str", each.id): cast("str", each.string) for each in read(language) if each.id}


def test_each_language_has_a_catalog_and_no_other_has() -> None:
    assert {path.parts[-3] for path in TEMPLATES.glob("locale/*/LC_MESSAGES/*.po")} == set(TRANSLATED)
    assert catalog("en").ugettext("Invoice") == "Invoice"
    assert catalog("de").ugettext("Invoice") == "Rechnung"


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_sentence_is_missing_and_none_is_left_over(language: str) -> None:
    sentences, have = said(), entries(language)
    assert len(sentences) > 50
    assert {key: sentences[key] for key in sentences.keys() - have.keys()} == {}
    assert have.keys() - sentences.keys() == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_sentence_is_translated_and_keeps_its_placeholders(language: str) -> None:
    found = read(language)
    assert [message.id for message in found if message.fuzzy] == []
    assert list(found.obsolete) == []
    assert [(message.id, errors) for message, errors in found.check()] == []
    for key, string in entries(language).items():
        assert string.strip() == string != "", key
        assert placeholders(string) == placeholders(key), key
        assert string != key or key in SAME, key
        assert re.sub(r"%\(\w+\)s", "", string).count("%") == 0, key


def test_french_keeps_its_signs_by_their_words() -> None:
    assert [each for each in entries("fr").values() if re.search(r" [:;!?»]|« |'", each)] == []


def test_japanese_is_written_with_its_own_signs() -> None:
    assert [each for each in entries("ja").values() if re.search(r"[.,!?:] |[.,!?:]$", each)] == []


def test_the_po_files_have_no_line_numbers_that_every_change_would_move() -> None:
    for language in TRANSLATED:
        assert "\n#: " not in file_of(language).read_text(encoding="utf-8")
