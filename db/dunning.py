"""Dunning cases: found by what an event is about, written together, and what follows from them for users."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

from db.dunning_own import OWN, own_id, own_name
from db.ledger import hash63
from db.states import CaseStatus

_encode = msgspec.json.Encoder().encode


def _named(names: Collection[str]) -> dict[str, list[Any]]:
    """These invoices, as statements take them: Stripe's by Stripe's id, ours by our own."""
    ours = {name: own_id(name) for name in names}
    return {
        "invoices": [name for name, number in ours.items() if number is None],
        "ours": [number for number in ours.values() if number is not None],
    }


@dataclass(slots=True)
class Case:
    """A row of `dunning_cases`, with what was done in it so far. Amounts are minor units of `currency`, times UTC."""

    stripe_invoice_id: str | None
    invoice_id: int | None
    user_id: int | None
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    livemode: bool
    stripe_account: str
    opened_by: str
    currency: str
    amount_cents: int
    paid_at_opening_cents: int
    policy: str
    steps: list[dict[str, Any]]
    hours: dict[str, Any]
    failed_at: datetime
    opened_at: datetime
    timezone: str | None = None
    status: str = CaseStatus.OPEN
    outcome: str | None = None
    reason: str | None = None
    decline_code: str | None = None
    attempt_count: int | None = None
    next_payment_attempt: datetime | None = None
    done_step: int = -1
    next_step_at: datetime | None = None
    grace_days: int = 0
    paused_by: str | None = None
    paused_until: datetime | None = None
    turn: int = 0
    acting: str | None = None
    final_action: str | None = None
    closed_at: datetime | None = None
    recovered_cents: int | None = None
    credited_cents: int = 0
    recovered_after_step: int | None = None
    id: int = 0
    taken: int = 0
    """How many steps were taken; collapsed and skipped ones are not."""
    last_taken: int | None = None
    """The position of the newest of them."""
    warned_at: datetime | None = None
    """When it was taken."""
    reminders: int = 0
    """How many of them were reminders."""

    @property
    def own(self) -> bool:
        """Whether the invoice is our own: Stripe does not know it."""
        return self.stripe_invoice_id is None

    @property
    def invoice(self) -> str:
        """The name of its invoice: Stripe's id, or `own-17`."""
        return self.stripe_invoice_id or own_name(self.invoice_id or 0)

    @property
    def lock(self) -> str:
        """Whoever changes the case holds this: the events of its customer are entered under the same lock."""
        return self.stripe_customer_id or self.invoice

    @property
    def last(self) -> int:
        """The position of the last step."""
        return len(self.steps) - 1


FIXED = (
    "stripe_invoice_id",
    "invoice_id",
    "user_id",
    "stripe_customer_id",
    "stripe_subscription_id",
    "livemode",
    "stripe_account",
    "opened_by",
    "currency",
    "amount_cents",
    "paid_at_opening_cents",
    "policy",
    "steps",
    "hours",
    "opened_at",
)
"""What a case keeps for ever."""

CHANGING = (
    "timezone",
    "failed_at",
    "status",
    "outcome",
    "reason",
    "decline_code",
    "attempt_count",
    "next_payment_attempt",
    "done_step",
    "next_step_at",
    "grace_days",
    "paused_by",
    "paused_until",
    "turn",
    "acting",
    "final_action",
    "closed_at",
    "recovered_cents",
    "credited_cents",
    "recovered_after_step",
)
"""What changes in the course of it."""

_COLUMNS = (*FIXED, *CHANGING)
_SELECT = f"""
    SELECT c.id, {", ".join(f"c.{name}" for name in _COLUMNS)}, s.taken, s.last_taken, s.warned_at, s.reminders
    FROM dunning_cases c, LATERAL (
        SELECT count(*) AS taken, max(position) AS last_taken, max(taken_at) AS warned_at,
               count(*) FILTER (WHERE letter = 'dunning_reminder') AS reminders
        FROM dunning_steps WHERE case_id = c.id AND outcome = 'taken'
    ) s
"""  # noqa: S608 - the names are constants of this module
_ABOUT = "(c.stripe_invoice_id = ANY(:invoices) OR (c.stripe_invoice_id IS NULL AND c.invoice_id = ANY(:ours)))"
_LISTS = (bindparam("invoices", type_=ARRAY(Text)), bindparam("ours", type_=ARRAY(BigInteger)))
_OF_INVOICES = text(f"{_SELECT} WHERE {_ABOUT} ORDER BY c.id").bindparams(*_LISTS)
_BY_ID = text(f"{_SELECT} WHERE c.id = :id")


async def cases_of(conn: AsyncConnection, invoices: Collection[str]) -> dict[str, Case]:
    """The cases of these invoices, by the invoice's name."""
    rows = (await conn.execute(_OF_INVOICES, _named(invoices))).mappings()
    return {case.invoice: case for case in (Case(**row) for row in rows)}


async def case_by_id(conn: AsyncConnection, case_id: int) -> Case | None:
    """One case."""
    row = (await conn.execute(_BY_ID, {"id": case_id})).mappings().first()
    return None if row is None else Case(**row)


@dataclass(frozen=True, slots=True)
class About:
    """What a batch of events is about, by Stripe's ids."""

    invoices: set[str] = field(default_factory=set[str])
    subscriptions: set[str] = field(default_factory=set[str])
    customers: set[str] = field(default_factory=set[str])
    payments: set[str] = field(default_factory=set[str])
    """Charges and payment intents."""


@dataclass(frozen=True, slots=True)
class Touched:
    """An invoice whose case may have to change (`case_id`), or that may have to get one (None)."""

    invoice: str
    """Its name."""
    lock: str
    case_id: int | None


_MARKED = """
    i.status = 'open' AND i.deleted_at IS NULL AND i.amount_remaining_cents > 0
    AND coalesce(i.payment_failed_at, i.payment_action_required_at, i.overdue_at) IS NOT NULL
    AND NOT EXISTS (SELECT FROM dunning_cases c WHERE c.stripe_invoice_id = i.stripe_invoice_id)
"""
_NAME = f"coalesce(c.stripe_invoice_id, '{OWN}' || c.invoice_id)"
_OWN_NAME = f"'{OWN}' || c.invoice_id"
# Cases are few, and are found by their own indexes; so an event without arrears costs one look into small tables.
_TOUCHED = text(
    f"""
    SELECT c.stripe_invoice_id, coalesce(c.stripe_customer_id, c.stripe_invoice_id), c.id
    FROM dunning_cases c WHERE c.stripe_invoice_id = ANY(:invoices)
    UNION
    SELECT {_OWN_NAME}, coalesce(c.stripe_customer_id, {_OWN_NAME}), c.id
    FROM invoices s JOIN dunning_cases c ON c.stripe_invoice_id IS NULL AND c.invoice_id = s.collects_invoice_id
    WHERE c.status <> 'closed' AND s.stripe_invoice_id = ANY(:invoices)
    UNION
    SELECT c.stripe_invoice_id, coalesce(c.stripe_customer_id, c.stripe_invoice_id), c.id
    FROM dunning_cases c WHERE c.status <> 'closed' AND c.stripe_subscription_id = ANY(:subscriptions)
    UNION
    SELECT {_NAME}, coalesce(c.stripe_customer_id, {_NAME}), c.id
    FROM dunning_cases c WHERE c.status <> 'closed' AND c.stripe_customer_id = ANY(:customers)
    UNION
    SELECT c.stripe_invoice_id, coalesce(c.stripe_customer_id, c.stripe_invoice_id), c.id
    FROM payment_history p JOIN dunning_cases c USING (stripe_invoice_id)
    WHERE c.status <> 'closed' AND (p.stripe_charge_id = ANY(:payments) OR p.stripe_payment_intent_id = ANY(:payments))
    UNION
    SELECT i.stripe_invoice_id, coalesce(i.stripe_customer_id, i.stripe_invoice_id), NULL
    FROM invoices i WHERE i.stripe_invoice_id = ANY(:invoices) AND {_MARKED}
    UNION
    SELECT i.stripe_invoice_id, coalesce(i.stripe_customer_id, i.stripe_invoice_id), NULL
    FROM subscriptions s JOIN invoices i ON i.stripe_invoice_id = s.latest_stripe_invoice_id
    WHERE s.stripe_subscription_id = ANY(:subscriptions) AND {_MARKED}
    """  # noqa: S608 - the condition is a constant of this module
).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in ("invoices", "subscriptions", "customers", "payments")))


async def touched(conn: AsyncConnection, about: About) -> list[Touched]:
    """The invoices in arrears that these objects concern, in the order of their ids."""
    rows = await conn.execute(
        _TOUCHED,
        {
            "invoices": list(about.invoices),
            "subscriptions": list(about.subscriptions),
            "customers": list(about.customers),
            "payments": list(about.payments),
        },
    )
    return sorted((Touched(*row) for row in rows), key=lambda one: one.invoice)


_NEW = ", ".join(_COLUMNS)
_OPEN = text(
    f"INSERT INTO dunning_cases AS c ({_NEW}) SELECT {_NEW}"  # noqa: S608 - constants
    " FROM jsonb_populate_recordset(NULL::dunning_cases, CAST(CAST(:rows AS text) AS jsonb))"
    f" ON CONFLICT DO NOTHING RETURNING {_NAME}, id"
)


async def open_cases(conn: AsyncConnection, cases: Sequence[Case]) -> None:
    """Write new cases, whose locks are held; each gets its id."""
    rows = [{name: getattr(case, name) for name in _COLUMNS} for case in cases]
    ids = {row[0]: row[1] for row in await conn.execute(_OPEN, {"rows": _encode(rows).decode()})}
    for case in cases:
        case.id = ids[case.invoice]


_SAVE = text(
    f"UPDATE dunning_cases c SET {', '.join(f'{name} = r.{name}' for name in CHANGING)}"  # noqa: S608 - constants
    " FROM jsonb_populate_recordset(NULL::dunning_cases, CAST(CAST(:rows AS text) AS jsonb)) r WHERE c.id = r.id"
)


async def save(conn: AsyncConnection, cases: Sequence[Case]) -> None:
    """Write what changed in cases whose locks are held."""
    if cases:
        rows = [{name: getattr(case, name) for name in ("id", *CHANGING)} for case in cases]
        await conn.execute(_SAVE, {"rows": _encode(rows).decode()})


_NOT_APPLIED = text(
    """
    SELECT w.id FROM webhook_events w JOIN queue q ON q.event_id = w.id
    WHERE w.customer_id = :customer ORDER BY w.created_at, w.id LIMIT 1
    """
)


async def not_applied(conn: AsyncConnection, customer: str | None) -> str | None:
    """The oldest event of a customer that the ledger does not know yet, also a parked one; None: it knows all."""
    return (await conn.execute(_NOT_APPLIED, {"customer": customer})).scalar()


async def wait_for(conn: AsyncConnection, case: Case) -> None:
    """Hold the case's customer, waiting for it: for people, who hold nothing else yet and would not ask again."""
    await conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": hash63(case.lock)})


@dataclass(frozen=True, slots=True)
class StepRow:
    """A row of `dunning_steps`."""

    case_id: int
    position: int
    outcome: str
    due_at: datetime
    taken_at: datetime
    letter: str | None = None
    action: str | None = None
    email_id: int | None = None
    read_from: str | None = None
    detail: str | None = None


_STEP = text(
    """
    INSERT INTO dunning_steps (case_id, position, outcome, due_at, taken_at, letter, action, email_id, read_from,
                               detail)
    VALUES (:case_id, :position, :outcome, :due_at, :taken_at, :letter, :action, :email_id, :read_from, :detail)
    """
)


async def add_steps(conn: AsyncConnection, steps: Sequence[StepRow]) -> None:
    """Write what was done at steps: once each, by the unique key."""
    await conn.execute(_STEP, [{name: getattr(step, name) for name in StepRow.__slots__} for step in steps])


async def last_taken_by(conn: AsyncConnection, case_id: int, at: datetime) -> int | None:
    """The newest step that was taken by then; None: none was."""
    statement = text(
        "SELECT max(position) FROM dunning_steps WHERE case_id = :case AND outcome = 'taken' AND taken_at <= :at"
    )
    return (await conn.execute(statement, {"case": case_id, "at": at})).scalar()


async def told_of_step(
    conn: AsyncConnection, case_id: int, position: int, *, email_id: int | None, detail: str | None
) -> None:
    """What came of a step's action at Stripe: its letter, and what there is to say."""
    await conn.execute(
        text(
            "UPDATE dunning_steps SET email_id = :email, detail = :detail "
            "WHERE case_id = :case AND position = :position"
        ),
        {"case": case_id, "position": position, "email": email_id, "detail": detail},
    )


# A final action stands until its invoice is paid or nobody may claim it any more, whatever became of the case.
_STATUSES = text(
    """
    UPDATE users u SET dunning_status = w.status
    FROM (
        SELECT x.customer, CASE
            WHEN bool_or(c.final_action IS NOT NULL AND (c.outcome IS NULL OR c.outcome IN ('lost', 'canceled')))
            THEN 'blocked'
            WHEN bool_or(c.status <> 'closed' AND EXISTS (
                SELECT FROM dunning_steps s WHERE s.case_id = c.id AND s.outcome = 'taken'))
            THEN 'warning' ELSE 'active' END AS status
        FROM unnest(:customers) x (customer) LEFT JOIN dunning_cases c ON c.stripe_customer_id = x.customer
        GROUP BY x.customer
    ) w
    WHERE u.stripe_customer_id = w.customer AND u.dunning_status <> w.status
    """
).bindparams(bindparam("customers", type_=ARRAY(Text)))


async def follow_users(conn: AsyncConnection, cases: Iterable[Case]) -> None:
    """Let `users.dunning_status` follow from all cases of the customers of these, whose locks are held."""
    customers = sorted({case.stripe_customer_id for case in cases if case.stripe_customer_id is not None})
    if customers:
        await conn.execute(_STATUSES, {"customers": customers})


_DUNNED = text(
    f"""
    SELECT {_NAME} FROM dunning_cases c
    WHERE {_ABOUT}
      AND (c.outcome IS NULL OR c.outcome NOT IN ('void', 'refunded', 'disputed'))
      AND EXISTS (SELECT FROM dunning_steps s WHERE s.case_id = c.id AND s.outcome = 'taken')
    """  # noqa: S608 - constants of this module
).bindparams(*_LISTS)


async def was_dunned(conn: AsyncConnection, invoice_ids: Collection[str]) -> set[str]:
    """Those of these invoices (by name) whose customer was written to: paid, they get `recovered`, no receipt.

    The answer is the same before and after the payment has closed the case.
    """
    if not invoice_ids:
        return set()
    return set((await conn.execute(_DUNNED, _named(invoice_ids))).scalars())


async def open_count(conn: AsyncConnection) -> int:
    """How many cases are not closed."""
    return (await conn.execute(text("SELECT count(*) FROM dunning_cases WHERE status <> 'closed'"))).scalar_one()
