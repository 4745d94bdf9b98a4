"""Credits pay for invoices before money does, and come back when such an invoice is voided."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from db import credits as rows
from db.credits import CreditRow, NewCredit
from db.money import decimals
from db.operators.actions import Actor, write_audit
from db.usage import Owner
from jobs.invoices.codes import CURRENCIES
from jobs.rules import credits as rules
from jobs.rules.documents import LARGEST
from worker.deps import Tx
from worker.errors import Refused, WrongFields

KINDS: Final = ("refund", "promotional", "goodwill", "chargeback")

Plan = Sequence[tuple[CreditRow, int]]
"""How much (minor units) each credit pays."""


async def available(tx: Tx, owner: Owner, currency: str, *, lock: bool = True) -> list[CreditRow]:
    """The credits of `owner` in `currency` (lower case) that can pay now, in the order in which they are spent.

    They are locked until the transaction ends, so that no other invoice spends them; a preview passes `lock=False`.
    Call it before the invoice is issued: credits are locked before invoices, everywhere.
    """
    found = await rows.usable(tx.conn, owner, currency, now=tx.now, lock=lock)
    return [credit for credit, _ in rules.plan(found, LARGEST)]


def plan(credits_: Iterable[CreditRow], due: int) -> list[tuple[CreditRow, int]]:
    """What each credit pays of `due` (minor units): oldest-expiring first, never more than there is, or is due."""
    return rules.plan(credits_, due)


async def record(tx: Tx, invoice_id: int, planned: Plan) -> None:
    """Spend what was planned on the invoice, which was issued with these credits on it.

    Raises Refused when a credit has less than was planned: then it was not locked, and nothing may be committed.
    """
    amounts = {credit.id: amount for credit, amount in planned}
    if await rows.spend(tx.conn, invoice_id, amounts, now=tx.now) != len(amounts):
        raise Refused("a credit was spent or taken back since it was planned: plan again")


async def give_back(tx: Tx, invoice_id: int) -> dict[int, int]:
    """An invoice was voided: its credits can be spent again, unless they expired or were taken back meanwhile.

    Returns the amounts by credit. The caller has called `lock` before it locked the invoice.
    """
    return await rows.give_back(tx.conn, invoice_id, now=tx.now)


async def lock(tx: Tx, invoice_id: int) -> None:
    """Lock the credits that pay for an invoice. Credits are locked before invoices, everywhere."""
    await rows.lock_of_invoice(tx.conn, invoice_id)


def _problems(new: NewCredit, now: datetime) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if new.kind not in KINDS:
        found.append(("kind", not_a_kind(new.kind)))
    if new.currency not in CURRENCIES:
        found.append(("currency", f"{new.currency!r} is none that invoices are written in; for example eur"))
    if not 0 < new.amount_cents <= LARGEST:
        most = money(LARGEST, new.currency)
        found.append(("amount_cents", f"{money(new.amount_cents, new.currency)} is not above 0 and at most {most}"))
    if not new.reason.strip():
        found.append(("why", "is missing: say why, for the customer and for the books"))
    if new.expires_at is not None and new.expires_at <= now:
        found.append(("expires_at", f"{new.expires_at:%Y-%m-%d} is past: nobody could spend it"))
    return found


def not_a_kind(kind: str) -> str:
    """That there is no such kind of credit, and which there are."""
    return f"{kind[:40]!r} is none of {', '.join(KINDS)}"


def nobody(owner: Owner) -> str:
    """That there is no such owner, and where to look."""
    return f"there is no {named(owner)}{': see `billing partners list`' if owner.api_key_prefix is not None else ''}"


async def grant(tx: Tx, new: NewCredit, by: Actor) -> int:
    """Give a credit, and write down who did. Returns its id. Raises WrongFields with all that is wrong, Refused."""
    found = _problems(new, tx.now)
    known = await rows.owner_exists(tx.conn, new.owner)
    if found:
        whose = "user" if new.owner.api_key_prefix is None else "partner"
        raise WrongFields(*found, *([] if known else [(whose, nobody(new.owner))]))
    if not known:
        raise Refused(nobody(new.owner))
    made = await rows.add(tx.conn, new, by=by.who, now=tx.now)
    details = {"kind": new.kind, "amount_cents": new.amount_cents, "currency": new.currency}
    await write_audit(tx.conn, by, "credits.grant", f"credit:{made}", now=tx.now, details=details)
    return made


async def void(tx: Tx, credit_id: int, by: Actor) -> bool:
    """Take back what remains of a credit; what it paid for stays paid. False: it was void already. Raises Refused."""
    credit = await rows.get(tx.conn, credit_id, lock=True)
    if credit is None:
        raise Refused(f"there is no credit {credit_id}: see `billing credits list --all`")
    if credit.voided_at is not None:
        return False
    if not credit.remaining_cents:
        raise Refused(f"credit {credit_id} is used up: there is nothing to take back")
    await rows.void(tx.conn, credit_id, now=tx.now)
    details = {"remaining_cents": credit.remaining_cents, "currency": credit.currency}
    await write_audit(tx.conn, by, "credits.void", f"credit:{credit_id}", now=tx.now, details=details)
    return True


async def take_back(tx: Tx, credit_id: int, invoice_id: int | None, by: Actor) -> None:
    """The invoice or period that brought a credit is voided: the credit goes, and so does what it paid of that invoice.

    Raises Refused when it paid for another invoice.
    """
    credit = await rows.get(tx.conn, credit_id, lock=True)
    if credit is None:
        return
    paid = [
        f"{each['invoice_number']} ({money(each['amount_cents'], credit.currency)})"
        for each in await rows.history(tx.conn, credit_id)
        if each["reversed_at"] is None and each["invoice_id"] != invoice_id
    ]
    if paid:
        raise Refused(
            f"credit {credit_id}, which came with it, paid for {', '.join(paid)}: void that first, or leave this as it"
            " is and correct it by a credit note or a new invoice (`billing invoices credit-note`, `issue`)"
        )
    if credit.voided_at is None:
        await rows.void(tx.conn, credit_id, now=tx.now)
        details = {
            "remaining_cents": credit.remaining_cents,
            "currency": credit.currency,
            "why": "what brought it is void",
        }
        await write_audit(tx.conn, by, "credits.void", f"credit:{credit_id}", now=tx.now, details=details)


def named(owner: Owner) -> str:
    """The owner in words."""
    return f"partner {owner.api_key_prefix}" if owner.api_key_prefix is not None else f"customer {owner.user_id}"


def money(minor: int, currency: str) -> str:
    """Minor units as people write them: `49.00 EUR`."""
    digits = decimals(currency)
    whole, rest = divmod(abs(minor), 10**digits)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole:,}{f'.{rest:0{digits}}' if digits else ''} {currency.upper()}"
