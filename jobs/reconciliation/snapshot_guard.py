"""Whether an answer of Stripe's may be held against our rows: it must be newer than they are, and of the same books."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from db.ledger import Address, Fact, Row, Version
from jobs.reconciliation.answers import Link
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.snapshot_columns import NAMES
from jobs.rules.versions import SEEN_AT
from worker.errors import Refused

Versions: TypeAlias = dict[Address, Version]
"""Versions of rows that were seen before Stripe was asked."""


class Newer(Exception):  # noqa: N818 - a fact about our row
    """The books have been told of something that happened, or may have, after Stripe was asked: ask again."""


def refuse_others(stripe: Stripe, kind: str, name: str, row: Row) -> None:
    """Ids that merchants choose are there in both modes. Raises Refused for a row of another mode or account."""
    whose = (row["livemode"], row["stripe_account"])
    if whose == (stripe.livemode, stripe.account) or (whose == (False, "") and not row.get("version", True)):
        return
    mode, account = "live" if whose[0] else "test", whose[1] or "our own account"
    raise Refused(f"{kind} {name} is of {account} in {mode} mode here, and not of what is compared: it is left alone")


def check(
    stripe: Stripe, facts: Iterable[Fact], copies: Mapping[Address, Row], links: Collection[Link], known: Versions
) -> None:
    """Whether the answer is at least as new as the rows. Raises Newer; Refused for rows of another mode or account.

    A row of the very second of the newest event may tell of what happened after Stripe was asked about the object, and
    so may one of the `links` that Stripe did not list: they must be `known` with that version. What is not, is from now
    on, for when Stripe is asked again.
    """
    as_of = int(stripe.as_of.timestamp())
    told: dict[Address, list[Version]] = {}
    for fact in facts:
        if fact.version:
            told.setdefault(fact.address, []).append(fact.version)
    changed: list[Address] = []
    for (table, key), row in copies.items():
        refuse_others(stripe, NAMES[table], str(key[0]), row)
        version = row["version"]
        seen_at = version[SEEN_AT] if version else 0
        if seen_at > as_of:
            seen = datetime.fromtimestamp(seen_at, UTC)
            raise Newer(f"{table} {key[0]} was seen as of {seen:%Y-%m-%d %H:%M:%S}, after all that Stripe lists")
        versions = told.get((table, key), [])
        doubtful = seen_at == as_of and versions and version not in versions
        if (doubtful or key in links) and known.get((table, key)) != version:
            known[table, key] = version
            changed.append((table, key))
    if changed:
        raise Newer(f"{changed[0][0]} {changed[0][1][0]} changed while Stripe was asked: look again later")
