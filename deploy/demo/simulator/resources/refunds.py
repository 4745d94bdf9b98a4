"""Refunds: money goes back to the customer, sometimes later, sometimes it comes back again."""

from collections.abc import Mapping
from typing import Literal

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.bank import card_of
from deploy.demo.simulator.currencies import refuse_fraction
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources import balance
from deploy.demo.simulator.store import page

REFERENCED = 60
"""Seconds until the bank's reference number is known, and a refund is updated with it."""

PENDING = 3 * DAY
"""How long the test card of pending refunds keeps them so."""

FAILS = 5 * DAY
"""How long after the test card of failing refunds says yes it says no."""

DESTINATIONS: dict[str, tuple[str, Json]] = {
    "card": (
        "card",
        {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"},
    ),
    "us_bank_account": ("us_bank_transfer", {"reference": None, "reference_status": "pending"}),
    "sepa_debit": ("eu_bank_transfer", {"reference": None, "reference_status": "pending"}),
}
"""Where the money goes, by how it came."""

Reason = Literal["duplicate", "fraudulent", "requested_by_customer"]


class Create(Form):
    """https://docs.stripe.com/api/refunds/create."""

    charge: str | None = None
    payment_intent: str | None = None
    amount: int | None = None
    reason: Reason | None = None
    metadata: Metadata | None = None


class Update(Form):
    """https://docs.stripe.com/api/refunds/update."""

    metadata: Metadata | None = None


class List(ListForm):
    """https://docs.stripe.com/api/refunds/list."""

    charge: str | None = None
    payment_intent: str | None = None


class Fail(Form):
    """Why the bank sent the money back."""

    reason: Literal[
        "lost_or_stolen_card", "expired_or_canceled_card", "charge_for_pending_refund_disputed", "declined", "unknown"
    ] = "expired_or_canceled_card"


def create(
    a: Account, charge: Json, amount: int, *, reason: str | None = None, metadata: Mapping[str, str] | None = None
) -> Json:
    """Give back `amount` minor units of a charge. Raises StripeError where that cannot be."""
    _allow(a, charge, amount)
    card = card_of(a, a.store.need("payment_method", charge["payment_method"])) if _is_card(charge) else None
    pending = card is None or card.refund == "pending"
    status = "pending" if pending else "succeeded"
    refund = _make(a, charge, amount, reason=reason, status=status, metadata=metadata)
    bought = a.store.get("balance_transaction", charge["balance_transaction"] or "")
    refund["balance_transaction"] = balance.record(
        a,
        "refund" if _is_card(charge) else "payment_refund",
        refund,
        -amount,
        category="refund",
        description="REFUND FOR " + ("CHARGE" if _is_card(charge) else "PAYMENT") + _told(charge),
        available_on=bought["available_on"] if bought else None,
        customer=charge["customer"],
    )["id"]
    _give_back(a, charge, refund)
    clock, now = a.clock_of(charge["customer"]), a.now(charge["customer"])
    clock.at(now + (PENDING if pending else REFERENCED), lambda: _arrive(a, refund))
    if card is not None and card.refund == "fails":
        clock.at(now + FAILS, lambda: fail(a, refund, "expired_or_canceled_card"))
    return refund


def _is_card(charge: Json) -> bool:
    return charge["payment_method_details"]["type"] == "card"


def _told(charge: Json) -> str:
    return f" ({charge['description']})" if charge["description"] else ""


def _allow(a: Account, charge: Json, amount: int) -> None:
    name, left = charge["id"], charge["amount_captured"] - charge["amount_refunded"]
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise StripeError(
            f"Charge {name} has not succeeded, so it cannot be refunded.", code="charge_not_refundable", param="charge"
        )
    disputes = a.store.by("dispute", "charge", name)
    if any(not dispute["is_charge_refundable"] for dispute in disputes):
        raise StripeError(
            f"Charge {name} has been charged back; cannot issue a refund.", code="charge_disputed", param="charge"
        )
    if left == 0:
        raise StripeError(f"Charge {name} has already been refunded.", code="charge_already_refunded")
    if amount < 1:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    refuse_fraction(amount, charge["currency"])
    if amount > left:
        raise StripeError(
            f"Refund amount ({amount} {charge['currency']}) is greater than unrefunded amount on charge "
            f"({left} {charge['currency']})",
            param="amount",
        )


def _make(
    a: Account, charge: Json, amount: int, *, reason: str | None, status: str, metadata: Mapping[str, str] | None = None
) -> Json:
    card = _is_card(charge)
    kind, reference = DESTINATIONS[charge["payment_method_details"]["type"]]
    refund: Json = {
        "id": a.store.new_id("re" if card else "pyr"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": a.now(charge["customer"]),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {kind: dict(reference), "type": kind},
        "metadata": merge_metadata({}, metadata),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    if status == "pending":
        refund["pending_reason"] = "processing"
    return a.add(refund, "charge", "payment_intent")


def _give_back(a: Account, charge: Json, refund: Json) -> None:
    charge["amount_refunded"] += refund["amount"]
    charge["refunded"] = charge["amount_refunded"] == (charge["amount_captured"] or charge["amount"])
    a.emit("charge.refunded", charge)
    a.emit("refund.created", refund)


def release(a: Account, charge: Json, reason: str | None = None) -> Json:
    """An authorization that is never captured is told as refunded; no money had moved."""
    refund = _make(a, charge, charge["amount"], reason=reason, status="succeeded")
    refund["destination_details"]["card"] = {"type": "reversal"}
    _give_back(a, charge, refund)
    return refund


def _arrive(a: Account, refund: Json) -> None:
    """The bank has the money."""
    if refund["status"] not in {"pending", "succeeded"}:
        return
    refund["status"] = "succeeded"
    refund.pop("pending_reason", None)
    destination = refund["destination_details"]
    reference = f"{a.chance.randrange(10**23):023d}"
    destination[destination["type"]] |= {"reference": reference, "reference_status": "available"}
    _tell(a, refund)


def _tell(a: Account, refund: Json) -> None:
    event = a.emit("refund.updated", refund)
    a.emit("charge.refund.updated", refund, twin=event)


def _take_back(a: Account, refund: Json, status: str) -> None:
    """The money is ours again."""
    charge = a.store.need("charge", refund["charge"])
    refund["status"] = status
    refund.pop("pending_reason", None)
    refund["failure_balance_transaction"] = balance.record(
        a,
        "refund_failure" if _is_card(charge) else "payment_failure_refund",
        refund,
        refund["amount"],
        category="refund_failure",
        description="REFUND FAILURE" + _told(charge),
        customer=charge["customer"],
    )["id"]
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    _tell(a, refund)
    if status == "failed":
        a.emit("refund.failed", refund)
    a.updated(charge)


def fail(a: Account, refund: Json, reason: str) -> None:
    """The bank could not take the money back: https://docs.stripe.com/refunds#failed-refunds. Once is enough."""
    if refund["status"] in {"pending", "succeeded"} and refund["balance_transaction"] is not None:
        refund["failure_reason"] = reason
        _take_back(a, refund, "failed")


@route("POST", "/v1/refunds", Create)
def create_route(a: Account, form: Create) -> Json:
    """Refund a charge, or an intent's; without an amount all that is left."""
    if form.charge is None and form.payment_intent is None:
        raise StripeError("One of the following params should be provided for this request: payment_intent or charge.")
    if form.charge is not None:
        charge = a.store.need("charge", form.charge, "charge")
    else:
        intent = a.store.need("payment_intent", form.payment_intent or "", "payment_intent")
        latest = a.store.get("charge", intent["latest_charge"] or "")
        if latest is None or latest["status"] != "succeeded":
            raise StripeError(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                code="payment_intent_unexpected_state",
                param="payment_intent",
            )
        charge = latest
    amount = form.amount if form.amount is not None else charge["amount_captured"] - charge["amount_refunded"]
    return create(a, charge, amount, reason=form.reason, metadata=form.metadata)


@route("GET", "/v1/refunds", List)
def listed(a: Account, form: List) -> Json:
    """Refunds, newest first."""
    return _page(a, form, "/v1/refunds")


def _page(a: Account, form: List, url: str) -> Json:
    if form.charge is not None:
        rows = a.store.by("refund", "charge", form.charge)
    elif form.payment_intent is not None:
        rows = a.store.by("refund", "payment_intent", form.payment_intent)
    else:
        rows = a.store.all("refund")
    return page(rows, form, url)


@route("GET", "/v1/charges/{id}/refunds", ListForm)
def listed_of_charge(a: Account, form: ListForm, id: str) -> Json:
    """A charge's refunds, newest first."""
    a.store.need("charge", id)
    return page(a.store.by("refund", "charge", id), form, f"/v1/charges/{id}/refunds")


@route("GET", "/v1/refunds/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A refund."""
    return a.store.need("refund", id)


@route("POST", "/v1/refunds/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change its metadata."""
    refund = a.store.need("refund", id)
    before, refund["metadata"] = refund["metadata"], merge_metadata(refund["metadata"], form.metadata)
    if refund["metadata"] != before:
        _tell(a, refund)
    return refund


@route("POST", "/v1/refunds/{id}/cancel")
def cancel(a: Account, form: Form, id: str) -> Json:
    """Cancel a refund that is still on its way."""
    refund = a.store.need("refund", id)
    if refund["status"] != "pending":
        raise StripeError(f"You cannot cancel this refund because it has a status of {refund['status']}.")
    _take_back(a, refund, "canceled")
    return refund


@route("POST", "/_sim/refunds/{id}/fail", Fail)
def fail_route(a: Account, form: Fail, id: str) -> Json:
    """The bank sends the money back."""
    refund = a.store.need("refund", id)
    fail(a, refund, form.reason)
    return refund
