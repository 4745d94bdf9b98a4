"""One attempt to charge a payment intent: what the bank says, what the customer answers, and what is told of it."""

from collections.abc import Mapping
from datetime import UTC, datetime

from deploy.demo.simulator import bank
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.cards import BANK_FAILURES, Decline, decline
from deploy.demo.simulator.currencies import refuse_fraction
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.resources import balance, charges, disputes, payment_methods, refunds

DEBIT_TAKES = {"us_bank_account": 4, "sepa_debit": 5}
"""Business days until a debit is known to have succeeded or failed: https://docs.stripe.com/payments/ach-direct-debit."""

DEBIT_ERRORS = {"account_closed", "debit_not_authorized", "insufficient_funds", "no_account"}
"""Failures of a debit that are error codes, too: https://docs.stripe.com/error-codes. Others are told in general."""

CHARGEABLE = {"requires_payment_method", "requires_confirmation", "requires_action"}
CANCELABLE = (*sorted(CHARGEABLE), "requires_capture", "processing")

AUTHENTICATION_FAILED = Decline(
    "payment_intent_authentication_failure",
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod "
    "to attempt to fulfill this PaymentIntent again.",
    advice=None,
)


def attempt(a: Account, intent: Json, method: str, *, off_session: bool) -> Json:
    """Charge the whole intent once with a payment method of the store (or of Stripe's test names).

    The intent tells how it went: succeeded, requires_capture, processing, requires_action, or requires_payment_method
    with its `last_payment_error`. One that is paid, canceled or being debited stays as it is. Raises StripeError for
    a payment method that cannot be used at all, never for a decline.
    """
    if intent["status"] not in CHARGEABLE:
        return intent
    found = payment_methods.resolve(a, method, intent["customer"])
    intent |= {"payment_method": found["id"], "next_action": None}
    if found["type"] != "card":
        return _debit(a, intent, found)
    answer = bank.ask(a, found, off_session=off_session)
    if answer.challenge and off_session and a.store.hidden(intent["id"]).get("invoice") is None:
        return fail(a, intent, found, decline("authentication_required"))
    if answer.challenge:
        return _challenge(a, intent)
    if answer.decline is not None:
        return fail(a, intent, found, answer.decline)
    return _succeed(a, intent, found, secured=False)


def _challenge(a: Account, intent: Json) -> Json:
    back = a.store.hidden(intent["id"]).get("return_url")
    intent |= {"status": "requires_action", "next_action": next_action(a, back)}
    a.emit("payment_intent.requires_action", intent)
    return intent


def next_action(a: Account, return_url: str | None) -> Json:
    """How the customer's browser goes on to 3D Secure."""
    attempted = f"payatt_1{a.store.letters(23)}"
    if return_url is not None:
        url = f"https://hooks.stripe.com/3d_secure_2/hosted?merchant=acct_test&payment_attempt={attempted}"
        return {"redirect_to_url": {"return_url": return_url, "url": url}, "type": "redirect_to_url"}
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"three_d_secure_2_source": attempted, "type": "stripe_3ds2_fingerprint"},
    }


def authenticate(a: Account, intent: Json, succeeds: bool) -> Json:  # noqa: FBT001 - what the customer answers is the call's whole point
    """The customer answers 3D Secure: the charge is made, or the payment method is refused."""
    if intent["status"] != "requires_action":
        raise unexpected(intent, f"This PaymentIntent has a status of {intent['status']}: nothing is to authenticate.")
    method = a.store.need("payment_method", intent["payment_method"])
    if not succeeds:
        return _refuse(a, intent, method, AUTHENTICATION_FAILED, {"type": "invalid_request_error"})
    answer = bank.ask(a, method, off_session=False, authenticated=True)
    if answer.decline is not None:
        return fail(a, intent, method, answer.decline)
    a.store.hidden(method["id"])["set_up"] = True
    return _succeed(a, intent, method, secured=True)


def _refuse(a: Account, intent: Json, method: Json, reason: Decline, more: Mapping[str, str]) -> Json:
    """Another payment method is needed; the error stays on the intent."""
    shown = method | {"billing_details": dict(method["billing_details"])}
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": bank.refused(reason).body | {"payment_method": shown} | dict(more),
    }
    a.emit("payment_intent.payment_failed", intent)
    return intent


def fail(a: Account, intent: Json, method: Json, reason: Decline) -> Json:
    """The bank declined: a failed charge, and an intent that needs another payment method."""
    charge = charges.make(a, intent, method, captured=False, status="failed")
    intent["latest_charge"] = charge["id"]
    charges.declined(a, charge, reason)
    return _refuse(a, intent, method, reason, {"charge": charge["id"]})


def _succeed(a: Account, intent: Json, method: Json, *, secured: bool) -> Json:
    _kept_by_customer(a, intent, method)
    held = intent["capture_method"] == "manual"
    charge = charges.make(a, intent, method, captured=not held, status="succeeded", secured=secured)
    intent |= {
        "status": "requires_capture" if held else "succeeded",
        "latest_charge": charge["id"],
        "amount_capturable": intent["amount"] if held else 0,
        "amount_received": 0 if held else intent["amount"],
        "next_action": None,
        "last_payment_error": None,
    }
    if intent["capture_method"] == "automatic":
        charges.settle(a, charge)
    a.emit("charge.succeeded", charge)
    if held:
        a.emit("payment_intent.amount_capturable_updated", intent)
        clock = a.clock_of(intent["customer"])
        clock.at(clock.now + charges.HOLDS, lambda: _expire(a, intent))
        return intent
    a.emit("payment_intent.succeeded", intent)
    if intent["capture_method"] == "automatic_async":
        charges.settle_soon(a, charge)
    disputes.after_payment(a, charge, charges.disputes_by_itself(a, method))
    return intent


def _kept_by_customer(a: Account, intent: Json, method: Json) -> None:
    """A method that is not kept can be used once; `setup_future_usage` has the customer keep it."""
    if method["customer"] is not None:
        return
    if intent["setup_future_usage"] is not None and intent["customer"] is not None:
        payment_methods.attach(a, method["id"], a.store.need("customer", intent["customer"]))
    else:
        a.store.hidden(method["id"])["spent"] = True


def _debit(a: Account, intent: Json, method: Json) -> Json:
    """A bank account is debited over days; until then the charge is pending."""
    failure = bank.ask_account(a, method)
    _kept_by_customer(a, intent, method)
    charge = charges.make(a, intent, method, captured=True, status="pending")
    intent |= {"status": "processing", "latest_charge": charge["id"], "last_payment_error": None}
    clock = a.clock_of(intent["customer"])
    due = balance.business_days(clock.now, DEBIT_TAKES[method["type"]])
    day = datetime.fromtimestamp(due, UTC).date()
    charge["payment_method_details"][method["type"]]["expected_debit_date"] = day.isoformat()
    a.emit("payment_intent.processing", intent)
    a.emit("charge.pending", charge)
    if bank.account_of(a, method).ends:
        clock.at(due, lambda: _debited(a, intent, charge, method, failure))
    return intent


def _debited(a: Account, intent: Json, charge: Json, method: Json, failure: str | None) -> None:
    if intent["status"] != "processing" or charge["status"] != "pending":
        return
    if failure is not None:
        message = BANK_FAILURES.get(failure, BANK_FAILURES["generic_could_not_process"])
        charges.declined(a, charge, Decline(failure, message, advice=None))
        code = failure if failure in DEBIT_ERRORS else "payment_intent_payment_attempt_failed"
        _refuse(a, intent, method, Decline(code, message, advice=None), {"charge": charge["id"]})
        return
    charge |= {
        "status": "succeeded",
        "paid": True,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{a.store.letters(40)}",
    }
    intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    charges.settle(a, charge)
    a.emit("charge.succeeded", charge)
    a.emit("payment_intent.succeeded", intent)
    disputes.after_payment(a, charge, charges.disputes_by_itself(a, method))


def capture(a: Account, intent: Json, amount: int | None = None) -> Json:
    """Take the money that was held, or a part of it. Raises StripeError where nothing is held, or less."""
    if intent["status"] != "requires_capture":
        raise unexpected(
            intent,
            f"This PaymentIntent could not be captured because it has a status of {intent['status']}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
        )
    taken = intent["amount_capturable"] if amount is None else amount
    if not 0 < taken <= intent["amount_capturable"]:
        raise StripeError(
            f"The amount_to_capture parameter ({taken}) must be between 1 and the amount that can be captured "
            f"({intent['amount_capturable']}).",
            code="amount_too_large" if taken > 0 else "parameter_invalid_integer",
            param="amount_to_capture",
        )
    refuse_fraction(taken, intent["currency"], "amount_to_capture")
    charge = a.store.need("charge", intent["latest_charge"])
    method = a.store.need("payment_method", charge["payment_method"])
    charge |= {"captured": True, "amount_captured": taken}
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": taken}
    charges.settle(a, charge)
    a.emit("charge.captured", charge)
    a.emit("payment_intent.succeeded", intent)
    disputes.after_payment(a, charge, charges.disputes_by_itself(a, method))
    return intent


def cancel(a: Account, intent: Json, reason: str | None) -> Json:
    """No more attempts; what is held is released. Raises StripeError for one that is paid or canceled."""
    if intent["status"] not in CANCELABLE:
        raise unexpected(
            intent,
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
            f"with one of the following statuses may be canceled: {', '.join(CANCELABLE)}.",
        )
    was, intent["status"] = intent["status"], "canceled"
    intent |= {
        "canceled_at": a.now(intent["customer"]),
        "cancellation_reason": reason,
        "amount_capturable": 0,
        "next_action": None,
    }
    charge = a.store.get("charge", intent["latest_charge"] or "")
    if was == "requires_capture" and charge is not None:
        refunds.release(a, charge, "expired_uncaptured_charge" if reason == "expired" else None)
    elif was == "processing" and charge is not None:
        charges.declined(a, charge, Decline("canceled", "The payment was canceled.", advice=None))
    a.emit("payment_intent.canceled", intent)
    return intent


def _expire(a: Account, intent: Json) -> None:
    if intent["status"] == "requires_capture":
        a.emit("charge.expired", a.store.need("charge", intent["latest_charge"]))
        cancel(a, intent, "expired")


def unexpected(intent: Json, message: str) -> StripeError:
    """The intent's state forbids it; the answer shows the intent."""
    error = StripeError(message, code=f"{intent['object']}_unexpected_state")
    error.body[intent["object"]] = dict(intent)
    return error
