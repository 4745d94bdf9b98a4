"""The rules of the house that no linter knows."""

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("db", "worker", "jobs", "intake")
LONGEST = 450
CLOCK = Path("worker/clock.py")
"""The one file that may ask the machine for the time."""

PRESENT = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
}
MONEY = (Path("db/money.py"), Path("jobs/rules"))


def ours(*folders: str) -> list[Path]:
    """The Python files under `folders`, relative to the root."""
    return sorted(file.relative_to(ROOT) for folder in folders for file in (ROOT / folder).rglob("*.py"))


def calls(file: Path, *words: str) -> Iterator[tuple[int, str, str]]:
    """Line, the last part of what a function is taken from, and its name; for each call in `file`.

    A file without any of these words is not even parsed.
    """
    text = (ROOT / file).read_text()
    for node in ast.walk(ast.parse(text)) if any(word in text for word in words) else ():
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name):
                    yield node.lineno, "", name
                case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                    yield node.lineno, owner, name
                case _:
                    pass


def imported(file: Path, word: str) -> Iterator[tuple[int, str]]:
    """Line and full name of each import in `file`. A file without `word` is not even parsed."""
    text = (ROOT / file).read_text()
    for node in ast.walk(ast.parse(text)) if word in text else ():
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def begins_with_a_text(file: Path) -> bool:
    """Whether the first thing in `file` that is no comment is a text that says something."""
    with (ROOT / file).open() as lines:
        for token in tokenize.generate_tokens(lines.readline):
            if token.type not in {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING}:
                return token.type == tokenize.STRING and bool(ast.literal_eval(token.string))
    return False


def test_time_comes_in_by_a_clock() -> None:
    asked = [
        f"{file}:{line}: {owner}.{name}()"
        for file in ours(*PACKAGES)
        if file != CLOCK
        for line, owner, name in calls(file, *{called for _, called in PRESENT})
        if (owner, name) in PRESENT
    ]
    assert asked == []


def test_money_is_never_a_float_and_is_rounded_in_one_place() -> None:
    files = [file for file in ours("db", "jobs") if any(file.is_relative_to(place) for place in MONEY)]
    loose = [
        f"{file}:{line}: {name}()"
        for file in files
        for line, owner, name in calls(file, "float", "round")
        if owner == "" and name in {"float", "round"}
    ]
    assert loose == []


def test_nothing_is_mocked() -> None:
    mocked = [
        f"{file}:{line}: {name}"
        for file in ours(*PACKAGES, "tests", "deploy")
        for line, name in imported(file, "mock")
        if name.startswith(("unittest.mock", "mock.", "pytest_mock"))
    ]
    assert mocked == []


def test_packages_do_nothing_by_being_imported() -> None:
    assert [str(file) for file in ours(*PACKAGES) if file.name == "__init__.py" and (ROOT / file).read_text()] == []


def test_every_folder_of_modules_is_a_package() -> None:
    """`discover` and the wheel would pass over one that is not."""
    folders = {file.parent for file in ours(*PACKAGES) if "migrations" not in file.parts}
    assert sorted(str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()) == []


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "deploy"])
def test_a_file_is_short_enough_to_be_read(folder: str) -> None:
    """But for migrations, which are written once and only run."""
    files = [file for file in ours(folder) if "versions" not in file.parts]
    long = {str(file): length for file in files if (length := len((ROOT / file).read_text().splitlines())) > LONGEST}
    assert long == {}


def test_every_module_says_what_happens_in_it() -> None:
    silent = [
        str(file)
        for file in ours(*PACKAGES, "tests", "deploy")
        if (ROOT / file).read_text() and not begins_with_a_text(file)
    ]
    assert silent == []


def test_exceptions_from_the_linters_are_specific_and_argued() -> None:
    """`noqa: CODE - why`, `pyright: ignore[code] - why`."""
    bare: list[str] = []
    for file in ours(*PACKAGES, "tests", "deploy"):
        if file == Path(__file__).relative_to(ROOT):
            continue
        for number, line in enumerate((ROOT / file).read_text().splitlines(), 1):
            for mark in ("# noqa", "# pyright: ignore", "# type: ignore"):
                _, found, rest = line.partition(mark)
                if found and (" - " not in rest or not rest.startswith((":", "["))):
                    bare.append(f"{file}:{number}: {line.strip()}")
    assert bare == []


def test_nothing_is_left_for_later() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")
    left = [
        f"{file}:{number}"
        for file in ours(*PACKAGES, "deploy")
        for number, line in enumerate((ROOT / file).read_text().splitlines(), 1)
        if any(mark in line for mark in marks)
    ]
    assert left == []
