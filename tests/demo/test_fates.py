"""Who failed, was dunned, recovered and was lost is told, each with the letter that tells of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.demo.fates import WHAT, Fate, lines, of_case


def letter(file: str, kind: str = "dunning", outcome: str | None = None, **person: Any) -> Mapping[str, Any]:
    who: dict[str, Any] = {"name": "Mina Okafor", "company": "Lumen Labs", "email": "mina@lumen-labs.test"} | person
    return {"case": 1, "kind": kind, "file": file, "outcome": outcome, "amount_cents": 11840, "currency": "usd"} | who


def told(*letters: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(fate.what, fate.file) for fate in of_case(letters)]


def test_a_case_tells_what_happened_and_shows_the_letter() -> None:
    assert told(letter("a")) == [("failed", "a")]
    assert told(letter("a"), letter("b"), letter("c")) == [("failed", "a"), ("dunned", "c")]
    ended = {"outcome": "recovered"}
    assert told(letter("a", **ended), letter("b", **ended), letter("t", "recovered", **ended)) == [
        ("failed", "a"),
        ("dunned", "b"),
        ("recovered", "t"),
    ]
    assert told(letter("a", outcome="lost"), letter("b", outcome="lost"))[-1] == ("lost", "b")
    assert told(letter("a", outcome="canceled"))[-1] == ("lost", "a")


def test_money_that_was_disputed_later_is_not_called_recovered() -> None:
    assert told(letter("a", outcome="disputed"), letter("t", "recovered", outcome="disputed")) == [("failed", "a")]


def test_people_are_called_by_what_is_known_of_them() -> None:
    def who(**person: Any) -> str:
        return next(of_case([letter("a", **person)])).who

    assert who() == "Mina Okafor (Lumen Labs)"
    assert who(company=None) == "Mina Okafor"
    assert who(name="Lumen Labs") == "Lumen Labs"
    assert who(name=None, company=None) == "mina@lumen-labs.test"
    assert who(name=None, company=None, email=None) == "somebody who was deleted"


def test_the_list_is_short_and_names_whole_paths() -> None:
    mailbox = Path("/home/you/.billing/demo/mail")
    found = [Fate("failed", f"Customer {n}", "$1.00", f"{n}.eml") for n in range(5)]
    printed = list(lines(found, mailbox))
    assert printed[0] == "failed, 3 of 5:"
    assert printed[1] == "  Customer 0, $1.00: /home/you/.billing/demo/mail/new/0.eml"
    assert printed[4:] == [f"{what}: nobody" for what in WHAT[1:]]
