"""The letters about money: each that somebody was owed is there once, under its right name, and no other is."""

import asyncio
from collections.abc import Iterator, Mapping
from email.parser import BytesHeaderParser
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from deploy.demo.compare_dunning import A_MOVE, Debt, Dunning, Row, charges_of
from deploy.demo.compare_rows import Difference, Either, View, ref, when

MEANT: Mapping[str, tuple[str, ...]] = {
    "payment_failed": ("payment_failed", "action_required", "invoice_overdue"),
    "dunning_reminder": ("dunning_reminder", "invoice_overdue"),
}
"""As which letters a step's may go out; all others go as they are called (docs/dunning.md)."""

UNDER_WAY = ("queued", "sending")

_LETTERS = text(
    """
    SELECT key, template, recipient, status, created_at FROM emails
    WHERE key ~ '^(dunning|receipt|recovered)/' AND key !~ '^(dunning|recovered)/own-' ORDER BY key
    """
)
_UNSENT = text("SELECT key, status, reason FROM emails WHERE status IN ('queued', 'sending', 'dead') ORDER BY key")
_SENT = text("SELECT key, message_id FROM emails WHERE status = 'sent' ORDER BY key")


async def differences(conn: AsyncConnection, found: Dunning) -> list[Difference]:
    """Where letters are missing, too many, too late, called by a wrong name, or not sent."""
    letters = {row["key"]: dict(row) for row in (await conn.execute(_LETTERS)).mappings()}
    unsent = (await conn.execute(_UNSENT)).mappings().all()
    wrong = [Difference("letter", row["key"], "status", "sent", row["status"]) for row in unsent]
    asked: set[str] = set()
    for debt, case in _pairs(found):
        wrong += _of_steps(found, debt, case, letters, asked)
    wrong += _thanks(found, letters, asked)
    surplus = sorted(letters.keys() - asked)
    return [*wrong, *(Difference("letter", key, "exists", there=False, here=True) for key in surplus)]


def _pairs(found: Dunning) -> Iterator[tuple[Debt, Row]]:
    for id_, case in found.cases.items():
        if (debt := found.debts.get(id_)) is not None:
            yield debt, case


def _of_steps(
    found: Dunning, debt: Debt, case: Row, letters: Mapping[str, Row], asked: set[str]
) -> Iterator[Difference]:
    """Exactly one letter for each step that was taken; the last one waits until its action is done at Stripe."""
    whom = _readers(found.view, debt.invoice)
    for one in case["done"]:
        key = f"dunning/{debt.id}/{one['position']}"
        letter = letters.get(key)
        if one["outcome"] != "taken" or one["position"] >= len(case["steps"]):
            continue
        asked.add(key)
        step = case["steps"][one["position"]]
        waits = step["action"] in {"cancel_at_stripe", "pause_collection"} and case["final_action"] is None
        if letter is None:
            if whom and not waits and step["action"] == "none":
                yield Difference("letter", key, "exists", there=True, here=False)
            continue
        names = MEANT.get(step["letter"], (step["letter"],))
        if letter["template"] not in names:
            yield Difference("letter", key, "template", Either(names), letter["template"])
        yield from _to(key, whom, letter)
        if letter["created_at"] < debt.since - A_MOVE:
            yield Difference("letter", key, "created_at", f"not before {debt.since}", letter["created_at"])
        if debt.ends[0] is not None and letter["created_at"] > debt.until + A_MOVE:
            yield Difference("letter", key, "created_at", f"settled on {debt.until}", letter["created_at"])


def _thanks(found: Dunning, letters: Mapping[str, Row], asked: set[str]) -> Iterator[Difference]:
    """Who has paid hears of it once: by `recovered` if dunning had written before, else by a receipt."""
    for invoice in found.view.all("invoice"):
        id_ = invoice["id"]
        case = found.cases.get(id_)
        written = case is not None and any(one["outcome"] == "taken" for one in case["done"])
        receipt, recovered = f"receipt/{id_}", f"recovered/{id_}"
        owed = _owed(found, invoice, case, written=written)
        asked |= owed
        there = sorted({receipt, recovered} & letters.keys())
        whom = _readers(found.view, invoice)
        if owed and whom and not owed & set(there):
            yield Difference("letter", min(owed), "exists", there=True, here=False)
        if len(owed) > 1 and len(there) > 1:
            yield Difference("letter", id_, "thanks", 1, len(there))
        paid_at = when(invoice["status_transitions"]["paid_at"])
        for key in there:
            letter = letters[key]
            yield from _to(key, whom, letter)
            name = key.partition("/")[0]
            if letter["template"] != name:
                yield Difference("letter", key, "template", name, letter["template"])
            if paid_at is not None and letter["created_at"] < paid_at - A_MOVE:
                yield Difference("letter", key, "created_at", f"not before {paid_at}", letter["created_at"])


def _owed(found: Dunning, invoice: Row, case: Row | None, *, written: bool) -> set[str]:
    """Which letters thank for a paid invoice: any of several, where its payment was taken back meanwhile."""
    receipt, recovered = f"receipt/{invoice['id']}", f"recovered/{invoice['id']}"
    if invoice["status"] != "paid":
        return set()
    paid = invoice["amount_paid"] > 0
    if case is None or not written:
        return {receipt} if paid else set()
    if any(charge["disputed"] or charge["amount_refunded"] for charge in charges_of(found.view, invoice["id"])):
        return {receipt, recovered}
    debt = found.debts.get(invoice["id"])
    return {recovered} if paid or (debt is not None and debt.ends == ("recovered",)) else set()


def _readers(view: View, invoice: Row) -> set[str]:
    """Whom letters about an invoice may go to; empty for somebody without an address, or who was deleted."""
    customer = view.whole("customer", ref(invoice["customer"]))
    if not customer.get("email"):
        return set()
    return {customer["email"], invoice["customer_email"] or customer["email"]}


def _to(key: str, whom: set[str], letter: Row) -> Iterator[Difference]:
    if whom and letter["recipient"] not in whom:
        yield Difference("letter", key, "recipient", Either(tuple(sorted(whom))), letter["recipient"])


def _files(folder: Path) -> dict[str, int]:
    """How many files there are of each Message-ID (what is left of its `@`)."""
    found: dict[str, int] = {}
    for file in sorted(folder.glob("new/*")):
        with file.open("rb") as read:
            header = str(BytesHeaderParser().parse(read)["message-id"] or file.name)
        name = header.strip().removeprefix("<").partition("@")[0]
        found[name] = found.get(name, 0) + 1
    return found


async def in_mailbox(engine: AsyncEngine, folder: Path) -> list[Difference]:
    """Where the files in a Maildir are not exactly the letters that the ledger calls sent."""
    async with engine.connect() as conn:
        sent = {row.message_id: row.key for row in await conn.execute(_SENT)}
    found = await asyncio.to_thread(_files, folder)
    missing = [Difference("mail", sent[name], "exists", there=False, here=True) for name in sent.keys() - found.keys()]
    other = [Difference("mail", name, "exists", there=True, here=False) for name in found.keys() - sent.keys()]
    twice = [Difference("mail", sent.get(name, name), "files", count, 1) for name, count in found.items() if count > 1]
    return sorted([*missing, *other, *twice], key=lambda each: (each.kind, each.id, each.field))
