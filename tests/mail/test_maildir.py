"""A Maildir holds letters as files that a person opens; each letter is new there once."""

import asyncio
import os
import re
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.mail.carriers import letter, parsed
from worker.adapters.mail import mailer
from worker.adapters.mail_files import Maildir, file_name
from worker.errors import Refused, TryLater


def files(folder: Path) -> list[Path]:
    return sorted((folder / "new").iterdir())


async def test_a_letter_is_a_file_that_says_when_and_to_whom(tmp_path: Path) -> None:
    name = await Maildir(tmp_path / "mail").send(letter())
    (file,) = files(tmp_path / "mail")
    assert file.name == name
    assert re.fullmatch(r"20260301-120000-ada@example\.com-[0-9a-f]{10}\.eml", name)
    assert list((tmp_path / "mail" / "tmp").iterdir()) == []
    assert file.stat().st_mode & 0o077 == 0 or (tmp_path / "mail" / "new").stat().st_mode & 0o077 == 0
    assert parsed(file.read_bytes())["subject"] == "Ihre Rechnung über 49,00 €"


async def test_copies_of_a_letter_are_one_file_even_at_once(tmp_path: Path) -> None:
    box, sent = Maildir(tmp_path), letter(size=200_000)
    await asyncio.gather(*(box.send(sent) for _ in range(8)))
    (file,) = files(tmp_path)
    assert file.read_bytes() == sent.as_bytes()


@pytest.mark.parametrize(
    "to", ["../../etc/passwd@example.com", "a/b@example.com", f"{'ж' * 60}@example.com", '"a\\\\b c"@example.com']
)
async def test_no_address_leads_out_of_the_folder(tmp_path: Path, to: str) -> None:
    name = await Maildir(tmp_path).send(letter(to=f"<{to}>"))
    assert [file.name for file in files(tmp_path)] == [name]
    assert len(name.encode()) < 255
    assert "/" not in name


async def test_a_folder_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file where a folder should be")
    with pytest.raises(TryLater, match="mend MAIL_URL"):
        await Maildir(tmp_path / "mail").send(letter())
    with pytest.raises(Refused, match="no letter can be written"):
        await Maildir(tmp_path / "mail").check()


async def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    box = Maildir(tmp_path)
    (tmp_path / "new" / file_name(letter())).mkdir(parents=True)
    with pytest.raises(TryLater, match="make room"):
        await box.send(letter())
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_the_check_makes_nothing(tmp_path: Path) -> None:
    assert "reach nobody" in await Maildir(tmp_path / "a" / "b").check()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are all that is asked


async def test_without_mail_url_letters_are_under_home(tmp_path: Path) -> None:
    carrier = mailer(None, tmp_path)
    await carrier.send(letter())
    assert len(files(tmp_path / "mail")) == 1


def test_an_unknown_scheme_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pigeon: is none of"):
        mailer("pigeon://coop", tmp_path)


async def test_a_letter_without_a_date_has_a_name_too(tmp_path: Path) -> None:
    made = letter()
    del made["date"]
    assert isinstance(made, EmailMessage)
    assert (await Maildir(tmp_path).send(made)).startswith("undated-")
