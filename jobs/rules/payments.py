"""What a customer's attempts to pay came to: one row for each attempt, whatever order the facts came in.

A payment attempt is a charge. An intent without a charge has one row of its own, which its first charge takes over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from db.states import PaymentStatus

NOT_REFUNDED = frozenset({"failed", "canceled"})
"""States of a refund in which the money stays with us: https://docs.stripe.com/refunds#failed-refunds."""

SETTLED_DISPUTE = frozenset({"won", "warning_closed", "prevented", "charge_refunded"})
"""States of a dispute that leave the payment as it was. All others are open, or lost; unknown ones count as open."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment intent, as far as its payments need it. Times are Stripe's."""

    id: str
    status: str
    amount: int
    currency: str
    created: datetime
    latest_charge: str | None = None
    customer: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    decline_code: str | None = None
    payment_method: str | None = None
    payment_method_id: str | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge. `seen_at` is when Stripe showed it so, in seconds; without `amount` only its id is known."""

    id: str
    seen_at: int = 0
    status: str | None = None
    amount: int | None = None
    currency: str | None = None
    created: datetime | None = None
    captured: bool = False
    amount_refunded: int = 0
    refunded: bool = False
    customer: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    decline_code: str | None = None
    payment_method: str | None = None
    payment_method_id: str | None = None
    card_brand: str | None = None
    card_last4: str | None = None
    fee: int | None = None
    net: int | None = None
    settled_in: str | None = None
    refund_seen_at: datetime | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund of a charge; `created` and `failed_at` are Stripe's, in seconds."""

    id: str
    charge: str | None
    amount: int
    status: str
    created: int
    reason: str | None = None
    failed_at: int | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute of a charge."""

    id: str
    charge: str | None
    status: str
    created: int


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """One payment attempt, as the payment history shows it. Amounts are minor units of `currency`."""

    charge: str | None
    intent: str | None
    customer: str | None
    amount: int
    currency: str
    status: PaymentStatus
    created: datetime
    captured: bool = False
    failure_code: str | None = None
    failure_message: str | None = None
    decline_code: str | None = None
    payment_method: str | None = None
    payment_method_id: str | None = None
    card_brand: str | None = None
    card_last4: str | None = None
    fee: int | None = None
    net: int | None = None
    settled_in: str | None = None
    refund_amount: int = 0
    refunded_at: int | None = None
    refund_reason: str | None = None
    dispute_status: str | None = None


def payment_rows(
    intent: Intent | None, charges: Sequence[Charge], refunds: Sequence[Refund], disputes: Sequence[Dispute]
) -> list[PaymentRow]:
    """The attempts of one intent, or the one charge that has no intent; oldest first."""
    rows = [
        row
        for charge in charges
        if (row := _of_charge(intent, charge, _refunds_of(charge, intent, refunds), disputes)) is not None
    ]
    if not rows and intent is not None:
        rows = [_of_intent(intent, None, _intent_status(intent))]
    return sorted(rows, key=lambda row: (row.created, row.charge or ""))


def _refunds_of(charge: Charge, intent: Intent | None, refunds: Sequence[Refund]) -> list[Refund]:
    """A refund that names only the intent is of the charge that succeeded, which is the intent's latest."""
    latest = intent is not None and intent.latest_charge == charge.id
    return [refund for refund in refunds if refund.charge == charge.id or (refund.charge is None and latest)]


def _intent_status(intent: Intent) -> PaymentStatus:
    if intent.status == "succeeded":
        return PaymentStatus.SUCCEEDED
    failed = intent.status == "canceled" or (
        intent.status == "requires_payment_method" and intent.failure_code is not None
    )
    return PaymentStatus.FAILED if failed else PaymentStatus.PENDING


def _attempt_status(intent: Intent, charge_id: str) -> PaymentStatus:
    """An attempt that only its intent has told of: the latest one stands as the intent does, all before it failed."""
    if intent.latest_charge != charge_id:
        return PaymentStatus.FAILED
    if intent.status == "succeeded":
        return PaymentStatus.SUCCEEDED
    return PaymentStatus.PENDING if intent.status in {"processing", "requires_capture"} else PaymentStatus.FAILED


def _of_intent(intent: Intent, charge_id: str | None, status: PaymentStatus) -> PaymentRow:
    failed = status is PaymentStatus.FAILED
    return PaymentRow(
        charge=charge_id,
        intent=intent.id,
        customer=intent.customer,
        amount=intent.amount,
        currency=intent.currency,
        status=status,
        created=intent.created,
        captured=status is PaymentStatus.SUCCEEDED,
        failure_code=intent.failure_code if failed else None,
        failure_message=intent.failure_message if failed else None,
        decline_code=intent.decline_code if failed else None,
        payment_method=intent.payment_method,
        payment_method_id=intent.payment_method_id,
    )


def _of_charge(
    intent: Intent | None, charge: Charge, refunds: Sequence[Refund], disputes: Sequence[Dispute]
) -> PaymentRow | None:
    if charge.amount is None or charge.currency is None or charge.created is None:
        if intent is None:
            return None
        stands = _attempt_status(intent, charge.id)
        if stands is not PaymentStatus.SUCCEEDED:
            return _of_intent(intent, charge.id, stands)
        return _of_charge(intent, _as_intended(intent, charge), refunds, disputes)
    total = refunded_total(charge, refunds)
    status = _charge_status(charge, total, canceled=intent is not None and intent.status == "canceled")
    dispute = decisive(charge.id, disputes)
    if dispute is not None and dispute.status not in SETTLED_DISPUTE and status not in UNPAID:
        status = PaymentStatus.DISPUTED
    counted = sorted(
        (refund for refund in refunds if refund.status not in NOT_REFUNDED),
        key=lambda refund: (refund.created, refund.id),
    )
    seen = int(charge.refund_seen_at.timestamp()) if charge.refund_seen_at is not None else None
    released = status in UNPAID
    return PaymentRow(
        charge=charge.id,
        intent=intent.id if intent is not None else None,
        customer=charge.customer or (intent.customer if intent is not None else None),
        amount=charge.amount,
        currency=charge.currency,
        status=status,
        created=charge.created,
        captured=charge.captured,
        failure_code=charge.failure_code,
        failure_message=charge.failure_message,
        decline_code=charge.decline_code,
        payment_method=charge.payment_method,
        payment_method_id=charge.payment_method_id,
        card_brand=charge.card_brand,
        card_last4=charge.card_last4,
        fee=charge.fee,
        net=charge.net,
        settled_in=charge.settled_in,
        refund_amount=0 if released else total,
        refunded_at=None if released or not total else (counted[-1].created if counted else seen),
        refund_reason=None if released or not total else next((r.reason for r in reversed(counted) if r.reason), None),
        dispute_status=dispute.status if dispute is not None else None,
    )


def _as_intended(intent: Intent, charge: Charge) -> Charge:
    """The charge of which only an intent that succeeded has told: it can be refunded and disputed like any other."""
    return replace(
        charge,
        status="succeeded",
        amount=intent.amount,
        currency=intent.currency,
        created=intent.created,
        captured=True,
        payment_method=intent.payment_method,
        payment_method_id=intent.payment_method_id,
    )


UNPAID = frozenset({PaymentStatus.PENDING, PaymentStatus.FAILED})
"""No money has come: nothing to give back or to dispute."""


def _charge_status(charge: Charge, refunded: int, *, canceled: bool) -> PaymentStatus:
    if charge.status == "failed":
        return PaymentStatus.FAILED
    if charge.status != "succeeded":
        return PaymentStatus.PENDING
    if not charge.captured:  # authorised only; what Stripe calls its refund is the release of the authorisation
        released = charge.expired or canceled or charge.refunded or charge.amount_refunded > 0
        return PaymentStatus.FAILED if released else PaymentStatus.PENDING
    amount = charge.amount or 0
    if refunded >= amount > 0 or (charge.refunded and refunded >= charge.amount_refunded):
        return PaymentStatus.REFUNDED
    return PaymentStatus.PARTIALLY_REFUNDED if refunded > 0 else PaymentStatus.SUCCEEDED


def refunded_total(charge: Charge, refunds: Sequence[Refund]) -> int:
    """How much of `charge` was given back, in minor units, at least 0.

    Stripe's own sum in the charge's snapshot is right as of the snapshot: what came after it is added, what failed
    after it is taken off. In the snapshot's own second the refund objects that we know decide.
    """
    at = charge.seen_at
    counted = [refund for refund in refunds if refund.status not in NOT_REFUNDED]
    failed = [(refund, refund.failed_at or 0) for refund in refunds if refund.status in NOT_REFUNDED]
    known = sum(refund.amount for refund in counted if refund.created <= at)
    failed_later = sum(refund.amount for refund, when in failed if refund.created <= at < when)
    failed_then = sum(refund.amount for refund, when in failed if refund.created <= at == when)
    total = max(charge.amount_refunded, known + failed_later) - failed_later
    total -= min(failed_then, max(total - known, 0))
    return max(total + sum(refund.amount for refund in counted if refund.created > at), 0)


def decisive(charge_id: str, disputes: Sequence[Dispute]) -> Dispute | None:
    """The dispute that tells how the charge stands: an open or lost one before settled ones, then the latest."""
    own = [dispute for dispute in disputes if dispute.charge == charge_id]
    return max(
        own, key=lambda dispute: (dispute.status not in SETTLED_DISPUTE, dispute.created, dispute.id), default=None
    )
