"""`billing mail preview` shows any letter, with the configured brand, and sends nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from intake.cli import build
from jobs.mail.contexts import LETTERS

IMPORTS = """
import sys
from intake.cli import build
build("mail")
print(*sorted(name for name in sys.modules if name.split(".")[0] in {"stripe", "aiosmtplib"}))
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BILLING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BILLING_BRAND_NAME", "Northwind")
    return tmp_path / "home"


def preview(*words: str) -> Result:
    return CliRunner().invoke(build("mail"), ["mail", "preview", *words], env={"COLUMNS": "200"})


def test_a_letter_is_written_to_a_file_whose_path_is_told(home: Path) -> None:
    told = preview("payment_failed", "--locale", "de")
    subject, path = told.output.splitlines()
    assert told.exit_code == 0
    assert "49,00" in subject
    assert Path(path) == home.resolve() / "previews" / "payment_failed-1.de.html"
    page = Path(path).read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "Northwind" in page


def test_the_text_is_printed(home: Path) -> None:
    told = preview("receipt", "--text", "--timezone", "Asia/Tokyo", "--sample", "2", "--locale", "ja")
    assert told.exit_code == 0
    assert "￥4,900" in told.output
    assert not home.exists()


def test_a_file_of_one_s_choice(tmp_path: Path) -> None:
    assert preview("receipt", "--out", str(tmp_path / "a" / "b.html")).exit_code == 0
    assert (tmp_path / "a" / "b.html").exists()
    (tmp_path / "file").write_text("")
    told = preview("receipt", "--out", str(tmp_path / "file" / "b.html"))
    assert told.exit_code == 2
    assert "--out" in told.output


def test_the_logo_is_seen_in_a_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, picture: bytes) -> None:
    (tmp_path / "logo.png").write_bytes(picture)
    monkeypatch.setenv("BILLING_BRAND_LOGO", str(tmp_path / "logo.png"))
    preview("receipt", "--out", str(tmp_path / "x.html"))
    page = (tmp_path / "x.html").read_text()
    assert "data:image/png;base64," in page
    assert "cid:" not in page


def test_all_letters_are_listed() -> None:
    told = preview("--list")
    assert told.exit_code == 0
    assert all(name in told.output for name in LETTERS)
    listed = json.loads(preview("--list", "--json").output)
    assert [one["letter"] for one in listed["letters"]] == list(LETTERS)
    assert listed["languages"] == ["en", "de", "fr", "es", "ja"]


def test_json_has_all_of_a_letter() -> None:
    told = json.loads(preview("refund", "--json", "--locale", "fr-CA").output)
    assert set(told) == {"subject", "text", "html", "locale"}
    assert told["locale"] == "fr-CA"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["recept"], "did you mean 'receipt'"),
        (["zzz"], "--list"),
        ([], "which letter"),
        (["zzz"], "no letter 'zzz'. `billing"),
        (["recept"], "did you mean 'receipt'? `billing"),
        (["receipt", "--timezone", "Mars/X"], "--timezone Mars/X: is no time zone"),
        (["receipt", "--timezone", "Europe/Berlim"], "did you mean 'Europe/Berlin'?"),
        (["receipt", "--timezone", ""], "is no time zone"),
        (["receipt", "--sample", "99"], "receipt has 4"),
        (["receipt", "--sample", "0"], "--sample"),
    ],
)
def test_wrong_usage_is_explained(words: list[str], told: str) -> None:
    result = preview(*words)
    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize(("asked", "written"), [("xx", "en"), ("pt-BR", "en"), ("de-XX", "de"), ("", "en")])
def test_a_locale_that_there_is_not_is_told(asked: str, written: str) -> None:
    told = preview("receipt", "--locale", asked, "--json")
    assert told.exit_code == 0
    assert json.loads(told.stdout)["locale"] == written
    assert told.stderr == f"--locale {asked}: there is none (en, de, fr, es, ja): {written} is written\n"


@pytest.mark.parametrize("asked", ["de", "fr_ca", "DE-at", "ja-JP"])
def test_a_locale_that_there_is_needs_no_word(asked: str) -> None:
    assert preview("receipt", "--locale", asked, "--text").stderr == ""


def test_a_damaged_logo_is_a_wrong_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.setenv("BILLING_BRAND_LOGO", str(tmp_path / "logo.png"))
    told = preview("receipt")
    assert told.exit_code == 2
    assert "BILLING_BRAND_LOGO" in told.output


@pytest.mark.parametrize(("works", "code"), [(True, 0), (False, 2)])
def test_the_browser_is_opened(works: bool, code: int, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter of the test
    shown = tmp_path / "shown"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {shown}\n' if works else "#!/bin/sh\nexit 1\n")
    browser.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "intake.cli", "mail", "preview", "receipt", "--open"],
        env={**os.environ, "BROWSER": f"{browser} %s", "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    if works:
        assert shown.read_text() == Path(done.stdout.splitlines()[1]).as_uri()
    else:
        assert "no browser" in done.stderr


def test_the_command_loads_neither_a_carrier_nor_stripe_s_sdk() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
