"""Credits, promotion codes, payments and credit notes in operators' words: the same at the terminal and the API."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection

from db import credits as rows
from db import promotions
from db.credits import CreditRow
from db.operators import invoices
from db.operators.actions import NotAllowedError, UnknownIdsError
from db.operators.filters import BadFilterError, moment, plain
from db.promotions import PromoCode
from db.usage import Owner
from intake.overview import jsonable, without_secrets
from jobs.rules.credits import state
from worker.deps import Tx

if TYPE_CHECKING:
    from db.manual_payments import Standing
    from jobs.invoices.credit_note import Credited
    from jobs.invoices.pay import Recorded
    from jobs.invoices.void_payment import Voided

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
YEARS = range(2000, 2201)
"""As for contracts. The years 1 and 9999 have times that are none in UTC."""


def owner(partner: str | None, user: int | None) -> Owner:
    """Whose it is. Raises BadFilterError unless it is exactly one of the two."""
    if (partner is None) == (user is None):
        raise BadFilterError("partner", "name a partner by its prefix, or a customer by its id (user)")
    plain("partner", partner)
    return Owner(api_key_prefix=partner, user_id=user)


def kind(typed: str | None) -> str | None:
    """A kind of credit. Raises BadFilterError with those that there are."""
    from jobs.partners.credits import KINDS, not_a_kind  # noqa: PLC0415 - who lists all credits needs no business

    found = plain("kind", typed)
    if found is not None and found not in KINDS:
        raise BadFilterError("kind", not_a_kind(found))
    return found


def percent(field: str, typed: str | None) -> Decimal | None:
    """`20`, `12.5`. Raises BadFilterError."""
    if typed is None:
        return None
    try:
        return Decimal(typed.strip().removesuffix("%").strip())
    except InvalidOperation:
        raise BadFilterError(field, f"{typed!r} is no percentage: write 20 or 12.5") from None


def through(field: str, typed: str | None, now: datetime) -> datetime | None:
    """Until when something holds: a date means until the end of that day (UTC). Raises BadFilterError."""
    at = _sensible(field, moment(field, typed, now))
    if at is not None and typed is not None and _DATE.fullmatch(typed.strip()):
        at += timedelta(days=1)
    return at


def last_day(ends_at: str | None) -> str:
    """The last day (UTC) on which something holds that ends at this time (ISO 8601); nothing where it never ends."""
    return "" if ends_at is None else f"{datetime.fromisoformat(ends_at) - timedelta(microseconds=1):%Y-%m-%d}"


def arrived(field: str, typed: str | None, now: datetime) -> datetime:
    """When money arrived: a date means noon of that day (UTC), which is that day for most; by default now.

    Raises BadFilterError.
    """
    at = moment(field, typed, now)
    if at is None or typed is None:
        return now
    if _DATE.fullmatch(typed.strip()):
        return min(at + timedelta(hours=12), max(at, now))
    return at


def aware(field: str, at: datetime | None) -> datetime | None:
    """A time that says of which zone it is. Raises BadFilterError for one that does not."""
    if at is not None and at.tzinfo is None:
        raise BadFilterError(field, "is a time without its zone: write 2026-03-01T12:00:00Z")
    return _sensible(field, at)


def _sensible(field: str, at: datetime | None) -> datetime | None:
    if at is not None and at.year not in YEARS:
        raise BadFilterError(field, f"lies outside of the years {YEARS[0]} to {YEARS[-1]}: correct the year")
    return at


def credit_json(credit: CreditRow, now: datetime) -> dict[str, Any]:
    """A credit as JSON, with its state: open, used, expired or void."""
    plain: Mapping[str, Any] = {name: getattr(credit, name) for name in CreditRow.__dataclass_fields__}
    return jsonable({**plain, "reason": without_secrets(credit.reason), "state": state(credit, now)})


async def credit_story(conn: AsyncConnection, credit_id: int, now: datetime) -> dict[str, Any]:
    """A credit, with all that it paid for. Raises UnknownIdsError."""
    found = await rows.get(conn, credit_id)
    if found is None:
        raise UnknownIdsError("credit", [str(credit_id)])
    return {**credit_json(found, now), "applications": jsonable(await rows.history(conn, credit_id))}


def promo_json(promo: PromoCode) -> dict[str, Any]:
    """A code as JSON, with what it gives in words."""
    from jobs.partners.promotions import gives  # noqa: PLC0415 - who lists credits needs no business

    plain: Mapping[str, Any] = {name: getattr(promo, name) for name in PromoCode.__dataclass_fields__}
    return jsonable({**plain, "percent": None if promo.percent is None else str(promo.percent), "gives": gives(promo)})


async def promo_story(conn: AsyncConnection, *, limit: int) -> list[dict[str, Any]]:
    """All codes, newest first."""
    return [promo_json(one) for one in await promotions.listing(conn, limit=limit)]


async def own_invoice(tx: Tx, ref: str) -> Mapping[str, Any]:
    """The row of an invoice of ours, by any of its names. Raises UnknownIdsError, NotAllowedError."""
    found = await invoices.find(tx.conn, ref)
    if found.invoice is None:
        raise NotAllowedError([f"{found.target} is no invoice"])
    if found.invoice["kind"] is None:
        raise NotAllowedError([f"{found.target} is Stripe's: it is paid and credited at Stripe"])
    return found.invoice


def recorded_json(done: "Recorded") -> dict[str, Any]:
    """A payment that was recorded, and how its invoice stands then, as JSON."""
    return {
        "payment_id": done.payment_id,
        "new": done.new,
        "over_cents": done.over,
        "credit_id": done.credit_id,
        "receipt_document_id": done.receipt_id,
        "invoice": _stands_json(done.invoice),
    }


def voided_json(done: "Voided") -> dict[str, Any]:
    """A payment that was voided, and how its invoice stands then, as JSON."""
    return {
        "payment_id": done.payment.id,
        "reference": done.payment.reference,
        "amount_cents": done.payment.amount_cents,
        "new": done.new,
        "credit_id": done.payment.credit_id,
        "receipt_document_id": done.receipt_id,
        "invoice": _stands_json(done.invoice),
    }


def _stands_json(stands: "Standing") -> dict[str, Any]:
    return {
        "id": stands.id,
        "number": stands.number,
        "status": stands.status,
        "currency": stands.currency,
        "amount_due_cents": stands.due,
        "amount_paid_cents": stands.paid,
        "credited_cents": stands.credited,
        "amount_remaining_cents": stands.remaining,
    }


def credited_json(done: "Credited") -> dict[str, Any]:
    """A credit note that was written, as JSON."""
    return {
        "id": done.id,
        "number": done.number,
        "document_id": done.document_id,
        "currency": done.currency,
        "total_cents": done.total,
        "tax_cents": done.says.tax_minor,
        "set_off_cents": done.set_off,
        "paid_out_cents": done.paid_out,
        "kept_cents": done.kept,
        "credit_ids": list(done.credit_ids),
        "lines": _lines(done),
    }


def _lines(done: "Credited") -> Sequence[Mapping[str, Any]]:
    return [
        {"description": line.description, "amount_cents": line.amount_minor, "details": list(line.details)}
        for line in done.says.lines
    ]
