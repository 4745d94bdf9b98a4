"""Checkout sessions: a page of Stripe's on which a customer pays, subscribes, or leaves a card."""

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.checkout import basket, completing
from deploy.demo.simulator.checkout.forms import Complete, Create, LineItem, List, Update
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil, includable
from deploy.demo.simulator.resources import customers, discounts, prices, setup_intents, tax_rates
from deploy.demo.simulator.store import listing, page

SHORTEST, LONGEST = 30 * 60, DAY
"""How long a page can be open, in seconds: https://docs.stripe.com/api/checkout/sessions/create."""


@route("POST", "/v1/checkout/sessions", Create)
def create(a: Account, form: Create) -> Json:
    """A new page, open for a day unless told otherwise."""
    now = a.now(form.customer)
    currency = _refuse(a, form, now)
    chosen = [(row, _price(a, row)) for row in form.line_items]
    session = _blank(a, form, now)
    session["currency"] = currency or (chosen[0][1]["currency"] if chosen else None)
    hidden = a.store.hidden(session["id"])
    hidden |= {
        "form": form,
        "basket": chosen,
        "discounts": form.discounts,
        "customer": form.customer,
        "reckon": lambda: _reckon(a, session),
    }
    _reckon(a, session)
    if form.mode == "setup":
        values = form.setup_intent_data.model_dump(exclude_unset=True) | {"customer": form.customer}
        intent = setup_intents.create(a, setup_intents.Create.model_validate(values))
        a.store.hidden(intent["id"])["checkout_session"] = session["id"]
        session["setup_intent"] = intent["id"]
    a.add(session)
    a.clock_of(form.customer).at(session["expires_at"], lambda: _expire(a, session))
    return session


def _refuse(a: Account, form: Create, now: int) -> str | None:
    """The currency, where a price or the request tells it. Raises StripeError for what cannot be sold."""
    if form.customer is not None:
        customers.living(a, form.customer, "customer")
    if (form.mode == "setup") != (not form.line_items):
        raise StripeError("`line_items` are for `payment` and `subscription` mode.", param="line_items")
    if form.customer is not None and form.customer_email is not None:
        raise StripeError("You may only specify one of these parameters: customer, customer_email.", param="customer")
    if form.expires_at is not None and not now + SHORTEST <= form.expires_at <= now + LONGEST:
        raise StripeError(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    currency = _refuse_rows(a, form)
    if form.discounts:
        wanted = list(form.discounts)
        discounts.refuse(a, wanted, customer=form.customer, currency=currency or "", param="discounts")
    return currency


def _refuse_rows(a: Account, form: Create) -> str | None:
    currency = form.currency.lower() if form.currency else None
    kinds: set[str] = set()
    for place, row in enumerate(form.line_items):
        param = f"line_items[{place}]"
        tax_rates.usable(a, row.tax_rates, f"{param}[tax_rates]")
        if row.price is not None:
            price = prices.usable(a, row.price, f"{param}[price]")
            kind, found = price["type"], price["currency"]
        elif row.price_data is not None:
            if row.price_data.product is not None:
                a.store.need("product", row.price_data.product, f"{param}[price_data][product]")
            kind, found = "recurring" if row.price_data.recurring else "one_time", row.price_data.currency.lower()
        else:
            raise StripeError("Missing required param: price.", code="parameter_missing", param=f"{param}[price]")
        if currency not in {None, found}:
            raise StripeError("All line items must have the same currency.", param="line_items")
        currency = found
        kinds.add(kind)
    _refuse_kinds(form.mode, kinds)
    return currency


def _refuse_kinds(mode: str, kinds: set[str]) -> None:
    if mode == "payment" and "recurring" in kinds:
        raise StripeError(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use "
            "only one-time prices.",
            param="mode",
        )
    if mode == "subscription" and "recurring" not in kinds:
        raise StripeError(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
            param="line_items",
        )


def _price(a: Account, row: LineItem) -> Json:
    if row.price is not None:
        return a.store.need("price", row.price)
    assert row.price_data is not None
    return prices.inline(a, row.price_data, recurring=False)


def _reckon(a: Account, session: Json) -> None:
    """What the basket comes to, with the discounts as they stand."""
    hidden = a.store.hidden(session["id"])
    if session["mode"] == "setup":
        hidden["rows"] = []
        return
    data = hidden["form"].subscription_data
    trial = data.trial_end is not None or data.trial_period_days is not None
    shown = [{"coupon": row.coupon, "promotion_code": row.promotion_code} for row in hidden["discounts"]]
    coupons = [_coupon(a, row) for row in shown]
    customer = a.store.get("customer", hidden["customer"] or "") or {}
    exempt = {"exempt": "customer_exempt", "reverse": "reverse_charge"}.get(customer.get("tax_exempt", "none"))
    hidden["rows"] = basket.line_items(a, hidden["basket"], coupons, trial=trial, exempt=exempt)
    session |= basket.sums(hidden["rows"]) | {"discounts": shown}


def _coupon(a: Account, row: Json) -> Json:
    if row["promotion_code"] is None:
        return a.store.need("coupon", row["coupon"])
    return a.store.need("coupon", a.store.need("promotion_code", row["promotion_code"])["promotion"]["coupon"])


def _blank(a: Account, form: Create, now: int) -> Json:
    id_ = a.store.new_id("cs_test")
    setup, payment = form.mode == "setup", form.mode == "payment"
    customer = a.store.get("customer", form.customer or "") or {}
    details: Json = {
        "address": None, "business_name": None, "email": customer.get("email") or form.customer_email,
        "individual_name": None, "name": None, "phone": None, "tax_exempt": None if setup else "none", "tax_ids": None,
    }  # fmt: skip
    creation = None if customer or not payment else form.customer_creation or "if_required"
    return {
        "id": id_,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": not setup},
        "after_expiration": None,
        "allow_promotion_codes": form.allow_promotion_codes,
        "amount_subtotal": None,
        "amount_total": None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": form.billing_address_collection,
        "branding_settings": None,
        "cancel_url": form.cancel_url,
        "client_reference_id": form.client_reference_id,
        "client_secret": None,
        "collected_information": {"business_name": None, "individual_name": None, "shipping_details": None},
        "consent": None,
        "consent_collection": None,
        "created": now,
        "currency": None,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer": form.customer,
        "customer_account": None,
        "customer_creation": "always" if form.mode == "subscription" and not customer else creation,
        "customer_details": details if customer or form.customer_email else None,
        "customer_email": form.customer_email,
        "discounts": None if setup else [],
        "expires_at": form.expires_at or now + LONGEST,
        "integration_identifier": None,
        "invoice": None,
        "invoice_creation": _invoice_creation() if payment else None,
        "livemode": False,
        "locale": form.locale,
        "metadata": merge_metadata({}, form.metadata),
        "mode": form.mode,
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": form.payment_method_collection or ("if_required" if payment else "always"),
        "payment_method_configuration_details": {"id": f"pmc_1{a.store.letters(23)}", "parent": None},
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": form.payment_method_types or ["card", "link"],
        "payment_status": "no_payment_required" if setup else "unpaid",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None
        if setup
        else {
            "allow_redisplay_filters": ["always"],
            "payment_method_remove": "disabled",
            "payment_method_save": None,
        },
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": form.submit_type,
        "subscription": None,
        "success_url": form.success_url,
        "total_details": None,
        "ui_mode": "hosted_page",
        "url": f"https://checkout.stripe.com/c/pay/{id_}#{a.store.letters(40)}",
        "wallet_options": None,
    }


def _invoice_creation() -> Json:
    data = dict.fromkeys(("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options"))
    return {"enabled": False, "invoice_data": {**data, "metadata": {}}}


@route("GET", "/v1/checkout/sessions", List)
def listed(a: Account, form: List) -> Json:
    """Sessions, newest first."""
    wanted = form.given("customer", "payment_intent", "status", "subscription")
    rows = [row for row in a.store.all("checkout.session") if all(row[name] == value for name, value in wanted.items())]
    return page(rows, form, "/v1/checkout/sessions")


@route("GET", "/v1/checkout/sessions/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One session."""
    return a.store.need("checkout.session", id)


@route("POST", "/v1/checkout/sessions/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change its metadata."""
    session = a.store.need("checkout.session", id)
    session["metadata"] = merge_metadata(session["metadata"], form.metadata)
    return session


@route("GET", "/v1/checkout/sessions/{id}/line_items", ListForm)
def line_items_page(a: Account, form: ListForm, id: str) -> Json:
    """What is in the basket."""
    session = a.store.need("checkout.session", id)
    rows = [row | {"created": session["created"]} for row in reversed(a.store.hidden(id)["rows"])]
    found = page(rows, form, f"/v1/checkout/sessions/{id}/line_items")
    for row in found["data"]:
        del row["created"]
    return found


@before_basil("checkout.session")
def older(a: Account, session: Json) -> None:
    """Before basil a session showed its shipping by itself, and a page of Stripe's was merely `hosted`."""
    session["shipping_details"] = session.pop("collected_information")["shipping_details"]
    session["ui_mode"] = "hosted"


@includable("checkout.session", "line_items")
def line_items(a: Account, session: Json) -> Json:
    """What is in the basket, shown when it is asked for."""
    rows: list[Json] = a.store.hidden(session["id"])["rows"]
    shown = listing(rows, f"/v1/checkout/sessions/{session['id']}/line_items")
    del shown["total_count"]
    return shown


@route("POST", "/v1/checkout/sessions/{id}/expire")
def expire(a: Account, form: Form, id: str) -> Json:
    """Close the page before anybody has paid."""
    session = a.store.need("checkout.session", id)
    if session["status"] != "open":
        raise StripeError(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"{session['status']}."
        )
    _expire(a, session)
    return session


def _expire(a: Account, session: Json) -> None:
    if session["status"] == "open":
        session |= {"status": "expired", "url": None}
        a.emit("checkout.session.expired", session)


@route("POST", "/_sim/checkout/sessions/{id}/complete", Complete)
def complete(a: Account, form: Complete, id: str) -> Json:
    """The customer sends the page off with a test card; a decline is the answer 402, and the page stays open."""
    return completing.complete(a, a.store.need("checkout.session", id), form)
