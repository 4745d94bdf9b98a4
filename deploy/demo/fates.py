"""Whose payments failed, and what became of them, each with a letter to open."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.demo.company import money

Row: TypeAlias = Mapping[str, Any]

WHAT = ("failed", "dunned", "recovered", "lost")
"""In the order in which it happens to somebody: who is lost was dunned before, and failed."""

GIVEN_UP = ("lost", "canceled")

SHOWN = 3
"""Customers of each kind that are named."""

# A letter's key is `dunning/<invoice>/<step>` or `recovered/<invoice>`; a Maildir calls its file the provider's id.
_LETTERS = text(
    """
    SELECT c.id AS case, c.outcome, c.amount_cents, c.currency, u.name, u.company, u.email,
           split_part(e.key, '/', 1) AS kind, e.provider_id AS file
    FROM dunning_cases c
    JOIN emails e ON split_part(e.key, '/', 2) = c.stripe_invoice_id AND e.key ~ '^(dunning|recovered)/'
    LEFT JOIN users u ON u.id = c.user_id
    WHERE e.status = 'sent' AND e.provider_id IS NOT NULL
    ORDER BY c.failed_at, c.id, e.created_at, e.id
    """
)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one invoice; `file` is the name of the letter that tells of it, in the mailbox's `new`."""

    what: str
    who: str
    amount: str
    file: str


async def read(engine: AsyncEngine) -> list[Fate]:
    """All of them, the oldest failure first."""
    async with engine.connect() as conn:
        rows: list[Row] = [dict(row) for row in (await conn.execute(_LETTERS)).mappings()]
    return [fate for _, case in groupby(rows, key=lambda row: row["case"]) for fate in of_case(list(case))]


def of_case(letters: Sequence[Row]) -> Iterator[Fate]:
    """What happened to one customer, from the letters of one case in the order in which they were written."""
    first = letters[0]
    who = first["name"] or first["email"] or "somebody who was deleted"
    who += f" ({first['company']})" if first["company"] and first["company"] != first["name"] else ""
    amount = money(first["amount_cents"], first["currency"])
    steps = [one["file"] for one in letters if one["kind"] == "dunning"]
    thanks = [one["file"] for one in letters if one["kind"] == "recovered"]
    if steps:
        yield Fate("failed", who, amount, steps[0])
    if len(steps) > 1:
        yield Fate("dunned", who, amount, steps[-1])
    if thanks and first["outcome"] == "recovered":
        yield Fate("recovered", who, amount, thanks[-1])
    if steps and first["outcome"] in GIVEN_UP:
        yield Fate("lost", who, amount, steps[-1])


def lines(found: Iterable[Fate], mailbox: Path) -> Iterator[str]:
    """What the summary prints of them, each with the path of its letter."""
    every = list(found)
    for what in WHAT:
        those = [fate for fate in every if fate.what == what]
        more = f", {SHOWN} of {len(those)}" if len(those) > SHOWN else ""
        yield f"{what}{more}:" if those else f"{what}: nobody"
        for fate in those[:SHOWN]:
            yield f"  {fate.who}, {fate.amount}: {mailbox / 'new' / fate.file}"
