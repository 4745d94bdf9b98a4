"""Disputes: a customer asks the bank for the money back, and the bank takes it until it has decided."""

from typing import Literal

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.currencies import refuse_fraction
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, Integer, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources import balance, early_fraud_warnings
from deploy.demo.simulator.store import page

ANSWER_WITHIN, ASK_WITHIN = 20 * DAY, 9 * DAY
"""How long a dispute, and an inquiry, wait for evidence: https://docs.stripe.com/disputes/responding."""

DECIDES = 60 * DAY
"""A bank that no test evidence convinced decides for its customer after so long."""

INQUIRY_ENDS = 120 * DAY
"""An inquiry that does not escalate is closed: https://docs.stripe.com/disputes/how-disputes-work#inquiries."""

SOON = 60
"""Seconds until a test card disputes its payment, and until the bank has read test evidence."""

REASON_CODES = {
    "fraudulent": "10.4",
    "product_not_received": "13.1",
    "subscription_canceled": "13.2",
    "product_unacceptable": "13.3",
    "credit_not_processed": "13.6",
    "duplicate": "12.6",
}
"""Visa's codes by Stripe's reasons: https://docs.stripe.com/disputes/categories."""

EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
    "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip

OPEN = {"needs_response", "under_review", "warning_needs_response", "warning_under_review"}


class Evidence(Part):
    """What speaks for us."""

    access_activity_log: Text = None
    billing_address: Text = None
    cancellation_policy: Text = None
    cancellation_policy_disclosure: Text = None
    cancellation_rebuttal: Text = None
    customer_communication: Text = None
    customer_email_address: Text = None
    customer_name: Text = None
    customer_purchase_ip: Text = None
    customer_signature: Text = None
    duplicate_charge_documentation: Text = None
    duplicate_charge_explanation: Text = None
    duplicate_charge_id: Text = None
    product_description: Text = None
    receipt: Text = None
    refund_policy: Text = None
    refund_policy_disclosure: Text = None
    refund_refusal_explanation: Text = None
    service_date: Text = None
    service_documentation: Text = None
    shipping_address: Text = None
    shipping_carrier: Text = None
    shipping_date: Text = None
    shipping_documentation: Text = None
    shipping_tracking_number: Text = None
    uncategorized_file: Text = None
    uncategorized_text: Text = None


class Update(Form):
    """https://docs.stripe.com/api/disputes/update."""

    evidence: Evidence | None = None
    submit: bool = True
    metadata: Metadata | None = None


class List(ListForm):
    """https://docs.stripe.com/api/disputes/list."""

    charge: str | None = None
    payment_intent: str | None = None


class Open(Form):
    """Why the customer disputes a charge, and how much of it (minor units; none: all)."""

    reason: str = "fraudulent"
    amount: Integer = None
    inquiry: bool = False


class Decide(Form):
    """How the bank decides."""

    outcome: Literal["won", "lost"]


def open_dispute(a: Account, charge: Json, *, reason: str, amount: int | None = None, inquiry: bool = False) -> Json:
    """The customer's bank asks for the money back and takes it at once (an inquiry only asks).

    What was refunded cannot be disputed any more: https://support.stripe.com/questions/dispute-fees-faq. `amount` is
    in minor units, else all the rest. Raises StripeError for a charge that cannot be disputed.
    """
    rest = charge["amount_captured"] - charge["amount_refunded"]
    taken = rest if amount is None else amount
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise StripeError(f"Charge {charge['id']} has not succeeded, so nobody can dispute it.", param="charge")
    if rest == 0:
        raise StripeError(
            f"Charge {charge['id']} has been refunded, so nobody can dispute it.", code="charge_already_refunded"
        )
    if not 0 < taken <= rest:
        raise StripeError(f"A dispute's amount is between 1 and {rest}.", param="amount")
    refuse_fraction(taken, charge["currency"])
    if any(dispute["status"] in OPEN for dispute in a.store.by("dispute", "charge", charge["id"])):
        raise StripeError(f"Charge {charge['id']} is being disputed already.", code="charge_disputed")
    dispute = _make(a, charge, reason, taken, inquiry=inquiry)
    clock = a.clock_of(charge["customer"])
    due_by: int = dispute["evidence_details"]["due_by"]
    charge |= {"disputed": True, "dispute": dispute["id"]}
    if not inquiry:
        _withdraw(a, dispute, charge)
    _emit(a, "charge.dispute.created", dispute)
    if not inquiry:
        _emit(a, "charge.dispute.funds_withdrawn", dispute)
    clock.at(due_by, lambda: _overdue(a, dispute))
    if inquiry:
        clock.at(clock.now + INQUIRY_ENDS, lambda: _close(a, dispute, "warning_closed", only_inquiry=True))
    return dispute


def _make(a: Account, charge: Json, reason: str, amount: int, *, inquiry: bool) -> Json:
    now = a.now(charge["customer"])
    within = ASK_WITHIN if inquiry else ANSWER_WITHIN
    dispute: Json = {
        "id": a.store.new_id("du"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": (now + within) // DAY * DAY + DAY - 1,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": None,
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }
    if (card := charge["payment_method_details"].get("card")) is not None:
        code = REASON_CODES.get(reason)
        dispute["payment_method_details"] = {
            "card": {
                "brand": card["brand"],
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": card["network"],
                "network_reason_code": code.partition(".")[0] if code and inquiry else code,
            },
            "type": "card",
        }
    return a.add(dispute, "charge", "payment_intent")


def _owner(a: Account, dispute: Json) -> str | None:
    return a.store.need("charge", dispute["charge"])["customer"]


def _emit(a: Account, type_: str, dispute: Json) -> None:
    a.emit(type_, dispute, customer=_owner(a, dispute))


def _withdraw(a: Account, dispute: Json, charge: Json) -> None:
    dispute["is_charge_refundable"] = False
    dispute["balance_transactions"].append(
        balance.record(
            a,
            "adjustment",
            dispute,
            -dispute["amount"],
            category="dispute",
            description=f"Chargeback withdrawal for {charge['id']}",
            fee=balance.DISPUTE_FEE,
            fee_description="Dispute fee",
            customer=charge["customer"],
        )
    )


def _reinstate(a: Account, dispute: Json) -> None:
    """The disputed amount comes back; the fee for having received a dispute does not.

    https://support.stripe.com/topics/disputes: what returns with it is the fee for countering, which this account is
    not charged in the first place.
    """
    dispute["balance_transactions"].append(
        balance.record(
            a,
            "adjustment",
            dispute,
            dispute["amount"],
            category="dispute_reversal",
            description=f"Chargeback reversal for {dispute['charge']}",
            customer=_owner(a, dispute),
        )
    )


def _close(a: Account, dispute: Json, status: str, *, only_inquiry: bool = False) -> None:
    """The bank has decided; what is closed stays closed."""
    if dispute["status"] not in OPEN or (only_inquiry and not dispute["status"].startswith("warning")):
        return
    dispute["status"] = status
    if status == "won":
        _reinstate(a, dispute)
    _emit(a, "charge.dispute.closed", dispute)
    if status == "won":
        _emit(a, "charge.dispute.funds_reinstated", dispute)


def close(a: Account, dispute: Json, outcome: str) -> Json:
    """The bank decides: won, or lost. An inquiry is only closed. Raises StripeError for one that is closed."""
    if dispute["status"] not in OPEN:
        raise StripeError(f"This dispute is already closed ({dispute['status']}).")
    _close(a, dispute, "warning_closed" if dispute["status"].startswith("warning") else outcome)
    return dispute


def _overdue(a: Account, dispute: Json) -> None:
    """The day for evidence has passed: what was saved is sent by itself, and without any the dispute is lost."""
    if dispute["status"] not in {"needs_response", "warning_needs_response"}:
        return
    if dispute["evidence_details"]["has_evidence"]:
        _submit(a, dispute)
        _emit(a, "charge.dispute.updated", dispute)
        return
    dispute["evidence_details"]["past_due"] = True
    if dispute["status"] == "needs_response":
        _close(a, dispute, "lost")
    else:
        _emit(a, "charge.dispute.updated", dispute)


def _submit(a: Account, dispute: Json) -> None:
    details, inquiry = dispute["evidence_details"], dispute["status"].startswith("warning")
    details["submission_count"] += 1
    details["submission_method"] = "manual"
    dispute["status"] = "warning_under_review" if inquiry else "under_review"
    clock = a.clock_of(_owner(a, dispute))
    clock.at(clock.now + SOON, lambda: _read(a, dispute))
    if not inquiry:
        clock.at(clock.now + DECIDES, lambda: _close(a, dispute, "lost"))


def _read(a: Account, dispute: Json) -> None:
    """The bank reads the evidence. Test evidence decides at once: https://docs.stripe.com/testing#evidence."""
    if dispute["status"] not in {"under_review", "warning_under_review"}:
        return
    inquiry = dispute["status"].startswith("warning")
    match dispute["evidence"]["uncategorized_text"]:
        case "winning_evidence":
            _close(a, dispute, "warning_closed" if inquiry else "won")
        case "losing_evidence":
            _close(a, dispute, "warning_closed" if inquiry else "lost")
        case "escalate_inquiry_evidence" if inquiry:
            _escalate(a, dispute)
        case _:
            pass


def _escalate(a: Account, dispute: Json) -> None:
    """An inquiry becomes a dispute: now the money is taken."""
    charge = a.store.need("charge", dispute["charge"])
    rest = charge["amount_captured"] - charge["amount_refunded"]
    if rest == 0:  # "Once the payment has been fully refunded, no further funds will be withdrawn"
        _close(a, dispute, "warning_closed")
        return
    now = a.now(charge["customer"])
    dispute["amount"] = min(dispute["amount"], rest)
    dispute["status"] = "needs_response"
    dispute["evidence_details"] |= {"due_by": (now + ANSWER_WITHIN) // DAY * DAY + DAY - 1, "has_evidence": False}
    dispute["evidence"]["uncategorized_text"] = None
    if (details := dispute["payment_method_details"]) is not None:
        details["card"] |= {"case_type": "chargeback", "network_reason_code": REASON_CODES.get(dispute["reason"])}
    _withdraw(a, dispute, charge)
    _emit(a, "charge.dispute.updated", dispute)
    _emit(a, "charge.dispute.funds_withdrawn", dispute)
    a.clock_of(charge["customer"]).at(dispute["evidence_details"]["due_by"], lambda: _overdue(a, dispute))


def after_payment(a: Account, charge: Json, what: str | None) -> None:
    """What the bank of a test card does a moment after a payment: it disputes, asks, or warns."""
    if what is None:
        return
    clock = a.clock_of(charge["customer"])

    def do() -> None:
        if what == "warning":
            early_fraud_warnings.warn(a, charge)
        elif not (charge["refunded"] or charge["disputed"]):
            reason = "fraudulent" if what == "inquiry" else what
            open_dispute(a, charge, reason=reason, inquiry=what == "inquiry")

    clock.at(clock.now + SOON, do)


@route("GET", "/v1/disputes", List)
def listed(a: Account, form: List) -> Json:
    """Disputes, newest first."""
    field = "charge" if form.charge is not None else "payment_intent"
    named = form.charge or form.payment_intent
    rows = a.store.by("dispute", field, named) if named is not None else a.store.all("dispute")
    return page(rows, form, "/v1/disputes")


@route("GET", "/v1/disputes/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A dispute."""
    return a.store.need("dispute", id)


@route("POST", "/v1/disputes/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Save evidence, and send it to the bank unless `submit` is false. It can be sent once."""
    dispute = a.store.need("dispute", id)
    if form.evidence is not None:
        if dispute["status"] not in {"needs_response", "warning_needs_response"}:
            raise StripeError("This dispute's evidence can no longer be updated.")
        dispute["evidence"] |= form.evidence.given(*EVIDENCE)
        dispute["evidence_details"]["has_evidence"] = any(dispute["evidence"][name] for name in EVIDENCE)
        if form.submit and dispute["evidence_details"]["has_evidence"]:
            _submit(a, dispute)
    dispute["metadata"] = merge_metadata(dispute["metadata"], form.metadata)
    _emit(a, "charge.dispute.updated", dispute)
    return dispute


@route("POST", "/v1/disputes/{id}/close")
def close_route(a: Account, form: Form, id: str) -> Json:
    """We accept the dispute: it is lost."""
    return close(a, a.store.need("dispute", id), "lost")


@route("POST", "/_sim/charges/{id}/dispute", Open)
def open_route(a: Account, form: Open, id: str) -> Json:
    """A customer disputes a charge."""
    charge = a.store.need("charge", id)
    return open_dispute(a, charge, reason=form.reason, amount=form.amount, inquiry=form.inquiry)


@route("POST", "/_sim/disputes/{id}/close", Decide)
def decide(a: Account, form: Decide, id: str) -> Json:
    """The bank decides."""
    return close(a, a.store.need("dispute", id), form.outcome)
