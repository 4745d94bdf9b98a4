"""A customer fills in the checkout page and pays; a declined card leaves the page open."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.checkout.forms import Complete, Create
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.invoicing.settling import intent_of
from deploy.demo.simulator.invoicing.shape import subscription_of
from deploy.demo.simulator.registry import listens
from deploy.demo.simulator.resources import (
    customers,
    payment_intents,
    payment_methods,
    promotion_codes,
    setup_intents,
    subscriptions,
)
from deploy.demo.simulator.resources.discounts import Asked
from deploy.demo.simulator.subscribing import forms as subscribing


def complete(a: Account, session: Json, form: Complete) -> Json:
    """The customer sends the page off. Raises StripeError (402) for a decline: the page stays open."""
    if session["status"] != "open":
        raise StripeError(f"This Checkout Session is {session['status']}: its page takes no more payments.")
    _redeem(a, session, form)
    _meet(a, session, form)
    match session["mode"]:
        case "subscription":
            _subscribe(a, session, form)
        case "payment":
            _pay(a, session, form)
        case _:
            method = setup_intents.Confirm(payment_method=form.payment_method)
            setup_intents.confirm(a, method, session["setup_intent"])
    return session


def _redeem(a: Account, session: Json, form: Complete) -> None:
    if form.promotion_code is None:
        return
    if not session["allow_promotion_codes"]:
        raise StripeError("This session takes no promotion codes.", param="promotion_code")
    hidden = a.store.hidden(session["id"])
    words = form.promotion_code.upper()
    code = next((row for row in a.store.all("promotion_code") if row["active"] and row["code"].upper() == words), None)
    if code is None:
        raise StripeError("This code is invalid.", code="promotion_code_invalid", param="promotion_code")
    promotion_codes.need(a, code["id"], session["customer"], "promotion_code")
    hidden["discounts"] = (Asked(promotion_code=code["id"]),)
    hidden["reckon"]()


def _meet(a: Account, session: Json, form: Complete) -> None:
    """The customer is known, or becomes one."""
    hidden = a.store.hidden(session["id"])
    email = form.email or session["customer_email"] or hidden.get("email")
    hidden |= {"email": email, "name": form.name, "country": form.country}
    wanted = session["mode"] == "subscription" or session["customer_creation"] == "always"
    if hidden.get("customer") is None and wanted:
        made = customers.create(a, customers.Create.model_validate({"email": email, "name": form.name}))
        hidden["customer"] = made["id"]


def _subscribe(a: Account, session: Json, form: Complete) -> None:
    """Subscribe, or try the first invoice of the subscription again with another card."""
    hidden = a.store.hidden(session["id"])
    customer = customers.living(a, hidden["customer"], "customer")
    method = payment_methods.attach(a, form.payment_method, customer)["id"]
    if "subscription" not in hidden:
        rows = [a.store.hidden(price["id"]) for _, price in hidden["basket"]]
        for row in rows:
            row["in_basket"] = True  # a price made for this page is inactive for everybody else
        try:
            made = subscriptions.create(a, _wanted(hidden["form"], session, hidden, method))
        finally:
            for row in rows:
                del row["in_basket"]
        hidden["subscription"] = made["id"]
        a.store.hidden(made["id"])["checkout_session"] = session["id"]
    subscription = a.store.need("subscription", hidden["subscription"])
    subscription["default_payment_method"] = method
    if subscription["status"] in {"active", "trialing"}:  # nothing had to be paid
        _done(a, session)
        return
    invoice = a.store.get("invoice", subscription["latest_invoice"] or "")
    intent = intent_of(a, invoice) if invoice else None
    if intent is None or subscription["status"] != "incomplete":
        raise StripeError("This session's subscription has expired.")
    payment_intents.confirm(a, payment_intents.Confirm(payment_method=method), intent["id"])
    if intent["status"] == "processing":
        _done(a, session, paid=False)


def _wanted(asked: Create, session: Json, hidden: Json, method: str) -> subscribing.Create:
    """The subscription that the page sells: what recurs is its items, what does not stands on its first invoice."""
    rows = [(row, price) for row, price in hidden["basket"]]
    values = asked.subscription_data.model_dump(exclude_unset=True)
    return subscribing.Create.model_validate(
        values
        | {
            "customer": hidden["customer"],
            "currency": session["currency"],
            "items": [
                {"price": price["id"], "quantity": row.quantity, "tax_rates": row.tax_rates or None}
                for row, price in rows
                if price["type"] == "recurring"
            ],
            "add_invoice_items": [
                {"price": price["id"], "quantity": row.quantity, "tax_rates": row.tax_rates or None}
                for row, price in rows
                if price["type"] == "one_time"
            ],
            "default_payment_method": method,
            "discounts": [row.model_dump(exclude_unset=True) for row in hidden["discounts"]] or None,
            "payment_behavior": "default_incomplete",
        }
    )


def _pay(a: Account, session: Json, form: Complete) -> None:
    hidden = a.store.hidden(session["id"])
    if session["amount_total"] == 0:
        _done(a, session)
        return
    if "payment_intent" not in hidden:
        data = hidden["form"].payment_intent_data.model_dump(exclude_unset=True)
        made = payment_intents.create(
            a,
            payment_intents.Create.model_validate(
                data
                | {
                    "amount": session["amount_total"],
                    "currency": session["currency"],
                    "customer": hidden.get("customer"),
                }
            ),
        )
        hidden["payment_intent"] = made["id"]
        a.store.hidden(made["id"])["checkout_session"] = session["id"]
    method = payment_intents.Confirm(payment_method=form.payment_method)
    intent = payment_intents.confirm(a, method, hidden["payment_intent"])
    if intent["status"] in {"processing", "requires_capture"}:
        _done(a, session, paid=False)


def _of(a: Account, id: str | None) -> Json | None:
    return a.store.get("checkout.session", a.store.hidden(id).get("checkout_session") or "") if id else None


@listens("invoice.payment_succeeded")
def invoiced(a: Account, invoice: Json) -> None:
    """The first invoice is paid, at once or after 3D Secure."""
    if (session := _of(a, subscription_of(invoice))) is not None:
        _came(a, session)


@listens("payment_intent.succeeded")
def received(a: Account, intent: Json) -> None:
    """The payment came, at once, after 3D Secure, or days later from a bank account."""
    if (session := _of(a, intent["id"])) is not None:
        _came(a, session)


def _came(a: Account, session: Json) -> None:
    """All of it is there, at once or later than the page was sent off."""
    if session["status"] == "open":
        _done(a, session)
    elif session["payment_status"] == "unpaid":
        session["payment_status"] = "paid"
        a.emit("checkout.session.async_payment_succeeded", session)


@listens("payment_intent.payment_failed")
def refused(a: Account, intent: Json) -> None:
    """A bank account's money did not come after all."""
    invoice = a.store.get("invoice", a.store.hidden(intent["id"]).get("invoice") or "")
    session = _of(a, intent["id"] if invoice is None else subscription_of(invoice))
    if session is not None and session["status"] == "complete" and session["payment_status"] == "unpaid":
        a.emit("checkout.session.async_payment_failed", session)


@listens("setup_intent.succeeded")
def saved(a: Account, intent: Json) -> None:
    """The card is saved."""
    session = _of(a, intent["id"])
    if session is not None and session["status"] == "open":
        _done(a, session)


def _done(a: Account, session: Json, *, paid: bool = True) -> None:
    hidden = a.store.hidden(session["id"])
    subscription = a.store.get("subscription", hidden.get("subscription") or "")
    free = session["mode"] == "setup" or session["amount_total"] == 0
    session |= {
        "customer": hidden.get("customer"),
        "customer_details": _details(a, session, hidden),
        "invoice": subscription["latest_invoice"] if subscription else None,
        "payment_intent": hidden.get("payment_intent"),
        "payment_status": "no_payment_required" if free else "paid" if paid else "unpaid",
        "status": "complete",
        "subscription": subscription["id"] if subscription else None,
        "url": None,
    }
    a.emit("checkout.session.completed", session)


def _details(a: Account, session: Json, hidden: Json) -> Json:
    customer = a.store.get("customer", hidden.get("customer") or "") or {}
    return {
        "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
        | {"country": hidden["country"]},
        "business_name": None,
        "email": hidden["email"] or customer.get("email"),
        "individual_name": None,
        "name": hidden["name"] or customer.get("name"),
        "phone": None,
        "tax_exempt": customer.get("tax_exempt", "none"),
        "tax_ids": [],
    }
