"""Facts are entered into the books: merged into rows, and what follows from the rows is derived, all under locks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from db import invoices, ledger, subscriptions
from db import payments as payment_rows
from db.ledger import TABLES, Address, Fact, Row
from jobs.derive import payments, worth
from jobs.derive.changes import Change, differences
from worker.deps import Tx

LOCKED = (
    "stripe_customer_id",
    "stripe_subscription_id",
    "stripe_invoice_id",
    "stripe_payment_intent_id",
    "stripe_charge_id",
    "payment_id",
)
"""Columns that name an object from which others are derived: whoever writes about it holds its lock."""

ABOUT = {
    name: (
        tuple(place for place, column in enumerate(table.key) if column in LOCKED),
        tuple(column for column in (*table.plain, *table.sticky) if column in LOCKED),
    )
    for name, table in TABLES.items()
}
"""By table: which parts of the key and which columns name such objects."""

PAYMENT_TABLES = frozenset({"payment_intents", "charges", "refunds", "disputes", "invoice_payments"})


@dataclass(slots=True)
class Entry:
    """What one event tells, on its way into the books."""

    id: str
    facts: Sequence[Fact]
    ids: set[str] = field(default_factory=set[str])
    coupons: set[str] = field(default_factory=set[str])
    payments: set[str] = field(default_factory=set[str])
    changes: list[Row] = field(default_factory=list[Row])
    staged: list[Row] = field(default_factory=list[Row])
    stale: bool = False

    def __post_init__(self) -> None:
        """Note which objects the facts are about, and which coupons they only use."""
        told: set[str] = set()
        for fact in self.facts:
            keys, names = ABOUT[fact.table]
            about = {fact.key[place] for place in keys}
            about |= {found for name in names if (found := fact.values.get(name) or fact.sticky.get(name)) is not None}
            self.ids |= about
            if fact.table in PAYMENT_TABLES:
                self.payments |= about
            if (number := fact.values.get("stripe_number")) is not None:
                self.ids.add(number_lock(fact.sticky["stripe_account"], number, livemode=fact.sticky["livemode"]))
            if fact.table == "coupons":
                told.add(coupon_lock(*fact.key))
            elif fact.table == "discounts" and (coupon := fact.values.get("stripe_coupon_id")) is not None:
                self.coupons.add(coupon_lock(coupon, fact.sticky["stripe_account"], fact.sticky["livemode"]))
        self.ids |= told - self.coupons

    def effects(self) -> Row:
        """The event's story, as it is kept with it."""
        told: Row = {"changed": self.changes}
        if self.staged:
            told["staged"] = self.staged
        if self.stale:
            told["stale"] = True
        return told


def told_key(key: ledger.Key) -> str:
    """A key as an operator reads it; the account and mode of a price are told by its columns."""
    return " ".join(part for part in key if isinstance(part, str) and part)


def number_lock(account: str, number: str, *, livemode: bool) -> str:
    """What to lock before an invoice number is given out."""
    return f"number:{account}:{livemode}:{number}"


def coupon_lock(coupon: str, account: str, livemode: bool) -> str:  # noqa: FBT001 - the parts of a coupon's key
    """What to lock before a coupon changes; who writes a discount of it shares the lock with others who do."""
    return f"coupon:{account}:{livemode}:{coupon}"


async def hold(conn: AsyncConnection, entries: Sequence[Entry]) -> list[Entry]:
    """Lock what the entries are about, without waiting. Returns those that got all that they need.

    Facts about a refund or dispute may name only the charge; its intent's attempts are derived together, so the intent
    is locked too. An invoice that is not there yet is locked, because whoever brings it links its payments. A coupon
    and a discount of it are not entered at once: neither would see the other, and nobody would measure what it lowers.
    """
    got, shared = await ledger.try_locks(
        conn,
        {name for entry in entries for name in entry.ids},
        shared={name for entry in entries for name in entry.coupons},
    )
    free = [entry for entry in entries if entry.ids <= got and entry.coupons <= shared]
    named = {name for entry in free for name in entry.payments}
    if not named:
        return free
    intents = await payment_rows.intents_of(conn, named)
    for entry in free:
        more = {intents[name] for name in entry.payments if name in intents}
        entry.ids |= more
        entry.payments |= more
    free, got = await _hold_more(conn, free, got)
    absent = await payment_rows.absent_invoices(conn, {name for entry in free for name in entry.payments})
    for payment, invoice in absent:
        for entry in free:
            if payment in entry.payments:
                entry.ids.add(invoice)
    free, _ = await _hold_more(conn, free, got)
    return free


async def _hold_more(conn: AsyncConnection, entries: list[Entry], got: set[str]) -> tuple[list[Entry], set[str]]:
    lacking = {name for entry in entries for name in entry.ids} - got
    if lacking:
        got = got | await ledger.try_lock(conn, lacking)
        entries = [entry for entry in entries if entry.ids <= got]
    return entries, got


@dataclass(slots=True)
class Merged:
    """The rows as they were, and as they are after the facts."""

    before: Mapping[Address, Row]
    rows: dict[Address, Row]
    changed: dict[str, dict[Address, Row]]

    def fold(self, entries: Iterable[Entry]) -> None:
        """Merge fact after fact in memory, and note for each event what it changed."""
        for entry in entries:
            newest = True
            for fact in entry.facts:
                old = self.rows.get(fact.address)
                new = ledger.merge(old, fact)
                if old is not None and fact.version and fact.version < old["version"]:
                    newest = False
                if new == old:
                    continue
                self.rows[fact.address] = new
                self.changed.setdefault(fact.table, {})[fact.address] = new
                fields = differences(old, new, (*TABLES[fact.table].plain, *TABLES[fact.table].sticky))
                if fields or old is None:
                    entry.changes.append({"table": fact.table, "key": told_key(fact.key), "fields": fields})
            entry.stale = not newest and not entry.changes

    def of(self, table: str) -> Iterable[tuple[Row | None, Row]]:
        """The changed rows of `table`, each as it was and as it is."""
        return [(self.before.get(address), row) for address, row in self.changed.get(table, {}).items()]


_USER_IDS = text("SELECT stripe_customer_id, id FROM users WHERE stripe_customer_id = ANY(:customers)").bindparams(
    bindparam("customers", type_=ARRAY(Text))
)


async def enter(tx: Tx, entries: Sequence[Entry]) -> worth.Wanted:
    """Merge the facts of `entries`, whose locks are held, and derive what follows.

    Each entry learns what it changed. Returns what has to be staged.
    """
    before = await ledger.read(tx.conn, {fact.address for entry in entries for fact in entry.facts})
    merged = Merged(before, dict(before), {})
    merged.fold(entries)
    await _write(tx, merged)
    changes = await _derive_payments(tx, merged)
    more, wanted = await _derive_worth(tx, merged, entries)
    for change in (*changes, *more):
        if (entry := last_about(entries, change.ids)) is not None:
            entry.changes.append(change.told())
            entry.stale = False
    return wanted


def last_about(entries: Sequence[Entry], ids: frozenset[str]) -> Entry | None:
    """The entry to which a change is told: the last that is about the same objects."""
    return next((entry for entry in reversed(entries) if not ids.isdisjoint(entry.ids)), None)


async def _write(tx: Tx, merged: Merged) -> None:
    users: dict[str, int] | None = None
    for name, table in TABLES.items():
        rows = list(merged.changed.get(name, {}).values())
        if not rows:
            continue
        if "user_id" in table.own:
            users = await _user_ids(tx.conn, merged) if users is None else users
            for row in rows:
                row["user_id"] = users.get(row["stripe_customer_id"])
        if name == "invoices":
            await invoices.assign_numbers(tx.conn, rows)
        await ledger.write(tx.conn, name, rows, now=tx.now)


async def _user_ids(conn: AsyncConnection, merged: Merged) -> dict[str, int]:
    """Our ids of the customers that changed rows point to; customers are written first, as stubs at least."""
    found: dict[str, int] = {}
    new: set[str] = set()
    for table in ("subscriptions", "invoices"):
        for row in merged.changed.get(table, {}).values():
            customer = row["stripe_customer_id"]
            if customer is not None:
                user = merged.before.get(("users", (customer,)))
                if user is None:
                    new.add(customer)
                else:
                    found[customer] = user["id"]
    if new:
        rows = await conn.execute(_USER_IDS, {"customers": list(new)})
        found |= {row[0]: row[1] for row in rows}
    return found


async def _derive_payments(tx: Tx, merged: Merged) -> list[Change]:
    intents: set[str] = set()
    charges: set[str] = set()
    for table, changed in merged.changed.items():
        for row in changed.values():
            payments.touched(table, row, intents, charges)
    changes: list[Change] = []
    if intents or charges:
        known = await payment_rows.intents_of(tx.conn, charges) if charges else {}
        changes = await payments.derive(tx.conn, intents=intents | set(known.values()), charges=charges, now=tx.now)
    arrived = [row["stripe_invoice_id"] for old, row in merged.of("invoices") if old is None]
    if arrived:
        await payment_rows.link_invoices(tx.conn, arrived, now=tx.now)
    return changes


PRICED_BY = (
    "stripe_coupon_id",
    "stripe_customer_id",
    "stripe_subscription_id",
    "stripe_subscription_item_id",
    "start_at",
    "end_at",
    "deleted_at",
)
"""What a change of a discount must touch to change the past worth of subscriptions."""


def _differ(old: Row | None, new: Row, columns: Iterable[str]) -> bool:
    return old is None or any(old[name] != new[name] for name in columns)


async def _derive_worth(tx: Tx, merged: Merged, entries: Sequence[Entry]) -> tuple[list[Change], worth.Wanted]:
    rows = {row["stripe_subscription_id"]: row for _, row in merged.of("subscriptions")}
    await _follow_items(tx.conn, merged)
    states = [
        worth.history_row(fact)
        for entry in entries
        for fact in entry.facts
        if fact.table == "subscriptions" and fact.version
    ]
    discounts = [row for old, row in merged.of("discounts") if _differ(old, row, PRICED_BY)]
    repriced = {row["stripe_customer_id"] for row in discounts} - {None}
    named = {row["stripe_subscription_id"] for row in discounts} - {None}
    seen = {
        row["stripe_customer_id"]
        for old, row in merged.of("users")
        if _differ(old, row, ("version",)) and row["version"]
    }
    seen |= {row["stripe_customer_id"] for _, row in merged.of("discounts")} - {None}
    whole: set[str] = set()
    if repriced or named or seen:
        for row in await subscriptions.affected(tx.conn, repriced=repriced, subscriptions=named, changed=seen):
            rows[row["stripe_subscription_id"]] = row
            if row["stripe_customer_id"] in repriced or row["stripe_subscription_id"] in named:
                whole.add(row["stripe_subscription_id"])
    if not rows and not states:
        changes, wanted = [], worth.Wanted()
    else:
        changes, wanted = await worth.derive(tx.conn, rows=rows.values(), new_states=states, whole=whole, now=tx.now)
    return changes, await _with_coupons(tx.conn, merged, wanted)


async def _with_coupons(conn: AsyncConnection, merged: Merged, wanted: worth.Wanted) -> worth.Wanted:
    """Coupons that changed concern subscriptions of customers whose locks we do not hold: a job measures these."""
    columns = ("percent_off", "amount_off_cents", "currency", "duration")
    changed = {
        (row["stripe_coupon_id"], row["stripe_account"], row["livemode"]): ".".join(map(str, row["version"]))
        for old, row in merged.of("coupons")
        if row["version"] and _differ(old, row, columns)
    }
    if not changed:
        return wanted
    new = [row["stripe_discount_id"] for _, row in merged.of("discounts")]
    used = await subscriptions.coupons_in_use(conn, {key[0] for key in changed}, besides=new)
    remeasured = {key: version for key, version in changed.items() if key in used}
    return worth.Wanted(wanted.coupons, wanted.discounts, wanted.due, remeasured)


async def _follow_items(conn: AsyncConnection, merged: Merged) -> None:
    rows: list[Row] = []
    shrunk: list[str] = []
    for old, new in merged.of("subscriptions"):
        had: list[Any] = [] if old is None else old["items"]
        if had == new["items"]:
            continue
        rows += worth.item_rows(new)
        if {item["id"] for item in had} - {item["id"] for item in new["items"]}:
            shrunk.append(new["stripe_subscription_id"])
    if rows or shrunk:
        await subscriptions.write_items(conn, rows, shrunk=shrunk)
