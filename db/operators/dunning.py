"""Operators look at the invoices that are dunned, and read the story of one: its steps, letters, and who did what."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

from db.dunning_own import OWN, own_id
from db.operators.actions import UnknownIdsError
from db.operators.filters import BadFilterError, one_of, period, plain
from db.states import CaseOutcome, CaseStatus

ALL = "all"
"""Every case, also those that are closed."""

MOST_COPIES = 20
"""So many of the copies that were sent of one letter on purpose are shown."""

Case = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Cases by what is known of them; None leaves a field open. `since` ≤ opened < `until`."""

    statuses: tuple[str, ...]
    outcome: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def read(
        cls,
        *,
        now: datetime,
        status: str | None = None,
        outcome: str | None = None,
        customer: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> "CaseFilter":
        """The filter that was typed: without a status or outcome, those that are not closed. Raises BadFilterError."""
        ended = one_of("outcome", outcome, CaseOutcome)
        if status == ALL or (not status and ended is not None):
            statuses = tuple(one.value for one in CaseStatus)
        else:
            chosen = one_of("status", status, CaseStatus)
            statuses = (CaseStatus.OPEN.value, CaseStatus.PAUSED.value) if chosen is None else (chosen.value,)
        if ended is not None and CaseStatus.CLOSED.value not in statuses:
            raise BadFilterError("outcome", "only closed cases have one: leave --status out")
        return cls(
            statuses,
            ended and ended.value,
            plain("customer", customer),
            *period(since, until, now),
        )


_NAME = f"coalesce(c.stripe_invoice_id, '{OWN}' || c.invoice_id)"
_COLUMNS = f"""
    c.id, {_NAME} AS invoice, c.stripe_invoice_id, c.invoice_id, i.kind, i.invoice_number, i.api_key_prefix,
    c.stripe_customer_id, c.stripe_subscription_id, coalesce(u.name, i.own_name) AS name,
    coalesce(u.email, i.own_email) AS email, u.dunning_status, c.status, c.outcome, c.reason, c.opened_by, c.currency,
    c.amount_cents, i.status AS invoice_status, i.amount_remaining_cents, c.decline_code, c.attempt_count,
    c.next_payment_attempt, c.policy, jsonb_array_length(c.steps) AS steps_total, c.done_step, c.next_step_at,
    c.grace_days, c.paused_by, c.paused_until, c.acting, c.final_action, c.failed_at, c.opened_at, c.closed_at,
    c.recovered_cents, c.recovered_after_step, c.timezone
"""
_FROM = """
    FROM dunning_cases c LEFT JOIN users u ON u.id = c.user_id LEFT JOIN LATERAL (
        SELECT kind, invoice_number, api_key_prefix, status, amount_remaining_cents, NULL AS own_name, NULL AS own_email
        FROM invoices WHERE stripe_invoice_id = c.stripe_invoice_id
        UNION ALL
        SELECT kind, invoice_number, api_key_prefix, status, amount_remaining_cents, customer_name, customer_email
        FROM invoices WHERE c.stripe_invoice_id IS NULL AND id = c.invoice_id
    ) i ON true
"""
_LIST = text(
    f"""
    SELECT {_COLUMNS} {_FROM}
    WHERE c.status = ANY(:statuses) AND (CAST(:outcome AS text) IS NULL OR c.outcome = :outcome)
      AND (CAST(:customer AS text) IS NULL OR c.stripe_customer_id = :customer OR i.api_key_prefix = :customer)
      AND (CAST(:since AS timestamptz) IS NULL OR c.opened_at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR c.opened_at < :until)
      AND (CAST(:after AS bigint) IS NULL OR c.id < :after)
    ORDER BY c.id DESC LIMIT :limit
    """
)
_ONE = text(f"SELECT {_COLUMNS}, c.steps AS policy_steps, c.hours AS policy_hours {_FROM} WHERE c.id = :id")
_CASE_OF = text(
    "SELECT id FROM dunning_cases WHERE stripe_invoice_id = :invoice"
    " OR (stripe_invoice_id IS NULL AND invoice_id = CAST(:ours AS bigint))"
)
_TAKEN = text(
    """
    SELECT s.position, s.outcome, s.letter, s.action, s.due_at, s.taken_at, s.read_from, s.detail, s.email_id,
           e.status AS email_status
    FROM dunning_steps s LEFT JOIN emails e ON e.id = s.email_id WHERE s.case_id = :id ORDER BY s.position
    """
)
_LETTERS = text(
    """
    SELECT id, key, template, recipient, status, reason, subject, created_at, sent_at FROM emails
    WHERE stripe_invoice_id = :invoice OR key = ANY(:keys) ORDER BY id
    """
).bindparams(bindparam("keys", type_=ARRAY(Text)))
_DOCUMENTS = text("SELECT id FROM documents WHERE invoice_id = :id")
_AUDIT = text(
    """
    SELECT created_at, who, action, why FROM audit_log
    WHERE target = :invoice AND action LIKE 'dunning.%' ORDER BY id
    """
)
_FIND = text(
    """
    SELECT coalesce(stripe_invoice_id, :own || id) FROM invoices
    WHERE (stripe_invoice_id = :ref OR invoice_number = :ref OR stripe_number = :ref OR id = CAST(:id AS bigint))
      AND (stripe_invoice_id IS NOT NULL OR (kind IS NOT NULL AND invoice_number IS NOT NULL))
    ORDER BY coalesce(stripe_invoice_id = :ref, false) DESC, coalesce(id = :named, false) DESC,
             coalesce(invoice_number = :ref, false) DESC, id DESC LIMIT 1
    """
).bindparams(bindparam("id", type_=BigInteger), bindparam("named", type_=BigInteger), bindparam("own", type_=Text))


async def list_cases(conn: AsyncConnection, wanted: CaseFilter, *, limit: int, after: int | None = None) -> list[Case]:
    """The cases that match, newest first; `after` is the last id of the page before."""
    rows = await conn.execute(
        _LIST,
        {
            "statuses": list(wanted.statuses),
            "outcome": wanted.outcome,
            "customer": wanted.customer,
            "since": wanted.since,
            "until": wanted.until,
            "after": after,
            "limit": limit,
        },
    )
    return [dict(row) for row in rows.mappings()]


async def invoice_of(conn: AsyncConnection, ref: str) -> str:
    """The name of an invoice, by Stripe's id, its number, or our id. Raises UnknownIdsError.

    Stripe's are named by Stripe's id; our own are `own-17`, by our id.
    """
    name = plain("id", ref) or ""
    named = own_id(name)
    id_ = named or (int(name) if re.fullmatch(r"[0-9]{1,18}", name) else None)
    found = (await conn.execute(_FIND, {"ref": name, "id": id_, "named": named, "own": OWN})).scalar()
    if found is None:
        raise UnknownIdsError("invoice", [ref])
    return found


async def case_story(conn: AsyncConnection, invoice: str) -> Case:
    """All that is known of the case of an invoice of this name. Raises UnknownIdsError when it has none."""
    ours = own_id(invoice)
    case_id = (await conn.execute(_CASE_OF, {"invoice": invoice, "ours": ours})).scalar()
    if case_id is None:
        raise UnknownIdsError("dunning case", [invoice])
    row = (await conn.execute(_ONE, {"id": case_id})).mappings().one()
    keys = await _keys_of(conn, invoice, ours, len(row["policy_steps"]))
    return {
        **dict(row),
        "taken": _rows(await conn.execute(_TAKEN, {"id": case_id})),
        "letters": _rows(await conn.execute(_LETTERS, {"invoice": invoice, "keys": keys})),
        "audit": _rows(await conn.execute(_AUDIT, {"invoice": invoice})),
    }


async def _keys_of(conn: AsyncConnection, invoice: str, ours: int | None, steps: int) -> list[str]:
    """The keys that letters about an invoice of ours may have; Stripe's are found by Stripe's id."""
    if ours is None:
        return []
    papers = (await conn.execute(_DOCUMENTS, {"id": ours})).scalars()
    keys = [f"document/{one}" for one in papers]
    keys += [*(f"dunning/{invoice}/{position}" for position in range(steps)), f"recovered/{invoice}"]
    return keys + [f"{key}/again/{copy}" for key in keys for copy in range(1, MOST_COPIES + 1)]


def _rows(found: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in found.mappings()]
