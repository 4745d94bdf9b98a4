"""docs/mail.md tells each state of a letter and each outcome that is counted, and its numbers are the code's."""

import re
from pathlib import Path

from db.operators.emails import LetterState
from db.states import EmailStatus
from jobs.mail import send_letter
from worker.adapters import mail_smtp

PAGE = (Path(__file__).parents[2] / "docs" / "mail.md").read_text()


def rows(after: str) -> set[str]:
    """The names in the first column of the table that follows."""
    table = PAGE.partition(after)[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    return {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_each_state_is_told() -> None:
    assert rows("## What is promised") == set(LetterState) >= set(EmailStatus)


def test_each_outcome_is_told() -> None:
    source = Path(send_letter.__file__).read_text()
    counted = set(re.findall(r'_count\(letter, "(\w+)"', source)) | {"sent", "bounced", "suppressed", "dead"}
    assert rows("## The metric") >= counted


def test_the_numbers_are_the_codes() -> None:
    assert f"{send_letter.TRIES} tries" in PAGE
    for seconds in (mail_smtp.TIMEOUT, mail_smtp.PREPARATION, mail_smtp.ACCEPTANCE, mail_smtp.IDLE):
        assert f"{seconds:g} s" in PAGE
