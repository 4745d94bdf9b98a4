"""No sentence is missing in any language, none is left over, and none loses what it must tell."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
from babel.messages import frontend
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from jobs.mail.contexts import LETTERS
from jobs.mail.words import TEMPLATES
from worker.settings import LANGUAGES

TRANSLATED = [language for language in LANGUAGES if language != "en"]
Sentence = str | tuple[str, str]
SAME = {"Stripe", "Total", "Plan", "Subtotal", "Client", "E-mail", "Partner", "%(label)s: %(value)s"}
"""What is written alike in several languages."""


def said() -> dict[Sentence, set[str]]:
    """Every sentence of the templates, found as `pybabel extract` finds it, with where it is."""
    with (TEMPLATES / "babel.cfg").open() as file:
        methods, options = cast("Any", frontend).parse_mapping_cfg(file)
    found: dict[Sentence, set[str]] = {}
    for where, _, message, _, _ in extract_from_dir(TEMPLATES, methods, options, directory_filter=lambda _: True):
        sentence: Any = message if isinstance(message, str) else tuple(part for part in message if part)
        found.setdefault(sentence, set()).add(str(where))
    return found


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\((\w+)\)s", text))


@pytest.fixture(scope="module")
def sentences() -> dict[Sentence, set[str]]:
    return said()


def read(language: str) -> Catalog:
    with (TEMPLATES / "locale" / language / "LC_MESSAGES" / "mail.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def entries(language: str) -> dict[Sentence, tuple[str, ...]]:
    found: dict[Sentence, tuple[str, ...]] = {}
    for message in read(language):
        if message.id:
            key: Any = message.id if isinstance(message.id, str) else tuple(message.id)
            strings: Any = message.string
            found[key] = (strings,) if isinstance(strings, str) else tuple(strings)
    return found


def test_the_names_of_letters_lie_in_rows() -> None:
    """Renaming one orphans what is staged."""
    assert list(LETTERS) == [
        "receipt",
        "payment_failed",
        "action_required",
        "dunning_reminder",
        "final_notice",
        "access_suspended",
        "recovered",
        "trial_ending",
        "card_expiring",
        "refund",
        "dispute_notice",
        "partner_invoice",
        "credit_note",
        "invoice_overdue",
        "usage_80",
        "usage_100",
        "invoice_parked",
        "overage_credited",
        "reconciliation_report",
        "books_alarm",
    ]


def test_each_letter_has_its_templates_and_there_are_no_others() -> None:
    folders = {path.name for path in TEMPLATES.iterdir() if path.is_dir() and path.name not in {"_layout", "locale"}}
    assert folders == set(LETTERS)
    for name in LETTERS:
        files = {path.name for path in (TEMPLATES / name).iterdir()}
        assert {"subject.txt", "body.txt", "body.html"} <= files


def test_no_piece_hides_a_fact() -> None:
    """A macro that is named as a field of a letter would be written in the field's place."""
    for name, letter in LETTERS.items():
        template = (TEMPLATES / name / "content.jinja").read_text()
        named = set(re.findall(r"macro (\w+)\(", template))
        for imported in re.findall(r"import ([\w, ]+) with context", template):
            named |= {each.strip() for each in imported.split(",")}
        assert named & set(letter.context.__struct_fields__) == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_sentence_is_missing_and_none_is_left_over(language: str, sentences: dict[Sentence, set[str]]) -> None:
    have = entries(language)
    assert {key: sentences[key] for key in sentences.keys() - have.keys()} == {}
    assert have.keys() - sentences.keys() == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_sentence_is_translated_and_keeps_its_placeholders(language: str) -> None:
    catalog = read(language)
    assert [message.id for message in catalog if message.fuzzy] == []
    assert list(catalog.obsolete) == []
    for key, strings in entries(language).items():
        originals = (key,) if isinstance(key, str) else key
        assert len(strings) == (1 if isinstance(key, str) else catalog.num_plurals), key
        for string in strings:
            assert string.strip(), key
            assert placeholders(string) == placeholders(originals[0]), key
            assert string == string.strip(), key
            assert string not in originals or string in SAME or len(string) < 4, key
            assert re.sub(r"%\(\w+\)s", "", string).count("%") == 0, key


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_translations_pass_babel_s_own_checks(language: str) -> None:
    assert [(message.id, errors) for message, errors in read(language).check()] == []


def test_french_keeps_its_signs_by_their_words() -> None:
    loose = [string for strings in entries("fr").values() for string in strings if re.search(r" [:;!?»]|« |'", string)]
    assert loose == []


def test_japanese_is_written_with_its_own_signs() -> None:
    loose = [
        string for strings in entries("ja").values() for string in strings if re.search(r"[.,!?] |[.,!?]$", string)
    ]
    assert loose == []


def test_the_reader_is_addressed_formally() -> None:
    familiar = {
        "de": r"\b([Dd]u|[Dd]ich|[Dd]ir|[Dd]eine?[nmrs]?|[Ee]uch|[Ee]ure?)\b",
        "fr": r"\b(tu|toi|ton|tes)\b",
        "es": r"\b(tú|tu|tus|te|ti|vuestr[oa]s?)\b",
    }
    for language, pattern in familiar.items():
        assert [s for strings in entries(language).values() for s in strings if re.search(pattern, s)] == []


def test_the_po_files_have_no_line_numbers_that_every_change_would_move() -> None:
    for language in TRANSLATED:
        text = Path(TEMPLATES / "locale" / language / "LC_MESSAGES" / "mail.po").read_text(encoding="utf-8")
        assert "\n#: " not in text
