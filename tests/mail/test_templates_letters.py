"""Every letter, in every language, with every sample: alike in both forms, complete, and loading nothing from afar."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from jobs.mail.brand import Brand
from jobs.mail.contexts import LETTERS, Audience
from jobs.mail.render import Rendered, render
from jobs.mail.samples import SAMPLES
from worker.settings import LANGUAGES

VOID = {"meta", "br", "img", "link", "hr"}
INLINE = {"a", "b", "span"}
NEEDED = {"html", "head", "body", "title", "h1", "table", "style"}


class Page(HTMLParser):
    """What a reader of the HTML sees, and what a mail program would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.style = ""
        self.preheader = ""
        self._open: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if tag == "a":
            self.links.append(given["href"])
        if tag not in INLINE:
            self.words.append(" ")
        if tag not in VOID:
            self._open.append((tag, given.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag not in INLINE:
            self.words.append(" ")
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = {tag for tag, _ in self._open}
        if "style" in inside:
            self.style += data
        elif "preheader" in {name for _, name in self._open}:
            self.preheader += data
        elif "title" not in inside:
            self.words.append(data)


def words(text: str) -> set[str]:
    """What is told, without what only arranges it."""
    return {word.strip(":") for word in text.replace("\N{FULLWIDTH COLON}", " ").split()} - {"", "--", "-"}


def letters() -> list[tuple[str, int]]:
    return [(name, number) for name, samples in SAMPLES.items() for number in range(len(samples))]


def written(name: str, number: int, locale: str, brand: Brand) -> Rendered:
    facts = msgspec.json.decode(msgspec.json.encode(SAMPLES[name][number]))
    return render(name, facts, locale=locale, timezone="Europe/Berlin", brand=brand)


def test_each_letter_has_samples_of_its_own_kind() -> None:
    assert list(SAMPLES) == list(LETTERS)
    for name, samples in SAMPLES.items():
        assert samples
        assert {type(sample) for sample in samples} == {LETTERS[name].context}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("name", "number"), letters())
def test_text_and_html_tell_the_same(name: str, number: int, language: str, brand: Brand) -> None:
    letter = written(name, number, language, brand)
    page = Page(letter.html)
    mail = {link for link in page.links if link.startswith("mailto:")}
    web = set(page.links) - mail
    in_text = set(re.findall(r"https?://[^\s<>]+", letter.text))
    assert web == in_text
    assert all(link.removeprefix("mailto:") in letter.text for link in mail)
    shown = "".join(page.words)
    without_links = re.sub(r"https?://[^\s<>]+", " ", letter.text)
    assert words(re.sub(r"https?://[^\s<>]+", " ", shown)) == words(without_links)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("name", "number"), letters())
def test_nothing_is_loaded_nothing_is_left_open(name: str, number: int, language: str, branded: Brand) -> None:
    letter = written(name, number, language, branded)
    page = Page(letter.html)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form", "input", "base"} == set()
    assert all(given.get("src", "cid:").startswith(("cid:", "data:")) for _, given in page.tags)
    assert not any({"srcset", "background", "onclick"} & given.keys() for _, given in page.tags)
    assert "url(" not in letter.html
    assert "@import" not in letter.html
    assert all(link.startswith(("https://", "http://", "mailto:")) for link in page.links)
    for text in (letter.subject, letter.text, "".join(page.words), page.preheader):
        assert not re.search(r"\{\{|\}\}|\{%|%\(|\bNone\b|Undefined|<Macro|&amp;|&lt;", text), text
    assert "\n" not in letter.subject
    assert letter.subject == letter.subject.strip() != ""
    assert page.preheader.strip("\u034f\u200c\N{NO-BREAK SPACE} \n")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", LETTERS)
def test_the_html_is_made_for_mail_programs_and_for_ears(name: str, language: str, branded: Brand) -> None:
    letter = written(name, 0, language, branded)
    page = Page(letter.html)
    tags = dict(page.tags)
    assert tags.keys() >= NEEDED
    assert tags["html"]["lang"] == letter.locale
    assert sum(tag == "h1" for tag, _ in page.tags) == 1
    assert all(given["alt"] for tag, given in page.tags if tag == "img")
    tables = [given for tag, given in page.tags if tag == "table"]
    assert all(given.get("role") == "presentation" or given["class"].startswith("facts") for given in tables)
    assert "prefers-color-scheme: dark" in page.style
    assert "max-width: 520px" in page.style
    assert "color-scheme: light dark" in page.style or 'content="light dark"' in letter.html
    assert all("style" in given for tag, given in page.tags if tag in {"h1", "p", "td"} and given.get("class") != "pad")
    assert len(letter.html.encode()) < 100_000, "Gmail clips what is larger than 102 kB"


@pytest.mark.parametrize("name", LETTERS)
def test_there_is_one_button(name: str, brand: Brand) -> None:
    assert written(name, 0, "en", brand).html.count('class="press"') == 1


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [name for name, one in LETTERS.items() if one.audience is not Audience.OPERATOR])
def test_the_subject_says_what_and_how_much(name: str, language: str, brand: Brand) -> None:
    subject = written(name, 0, language, brand).subject
    assert re.search(r"\d", subject), subject
    assert len(subject) <= 100, subject


def test_languages_differ(brand: Brand) -> None:
    for name in LETTERS:
        texts = {written(name, 0, language, brand).text for language in LANGUAGES}
        assert len(texts) == len(LANGUAGES)


def test_a_letter_is_short(brand: Brand) -> None:
    """It is read between two other things."""
    long = {name: n for name in LETTERS if (n := len(written(name, 0, "en", brand).text.split())) > 190}
    assert long == {}


def test_the_page_of_letters_has_each_and_to_whom_it_goes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "letters.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert rows == {name: letter.audience.value for name, letter in LETTERS.items()}
