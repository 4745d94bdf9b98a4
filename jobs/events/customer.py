"""A customer changed at Stripe, or what belongs to one: our user follows."""

from collections.abc import Iterator

from db.ledger import Fact, Row
from jobs.events.discount import discount_facts
from jobs.stripe_objects import Obj, StripeEvent, handles, masked, snapshot, stub


@handles("customer.created", "customer.updated", "customer.deleted")
def customer(event: StripeEvent) -> Iterator[Fact]:
    """The user follows. A deleted one keeps its data here, with `deleted_at`."""
    obj = event.object
    gone: Row = {"deleted_at": event.at} if event.type == "customer.deleted" else {}
    if obj.flag("deleted"):
        yield stub(event, "users", (obj.id(),), **gone)
        return
    metadata = obj.metadata()
    locales = [name for name in obj.entries("preferred_locales") if isinstance(name, str)]
    values: Row = {
        "email": obj.words("email"),
        "name": obj.words("name"),
        "company": metadata.get("company"),
        "phone": obj.words("phone"),
        "description": obj.words("description"),
        "address": _address(obj.sub("address")),
        "currency": obj.text("currency"),
        "locale": masked(locales[0]) if locales else None,
        "timezone": metadata.get("timezone"),
        "balance_cents": obj.integer("balance") if "balance" in obj else obj.integer("account_balance"),
        "delinquent": obj.flag("delinquent"),
        "tax_exempt": obj.text("tax_exempt"),
        "default_payment_method_id": obj.sub("invoice_settings").ref("default_payment_method")
        or obj.ref("default_source"),
        "stripe_discount_id": None,
        "metadata": metadata,
        "stripe_created_at": obj.time("created"),
    }
    for fact in discount_facts(event, obj.sub("discount"), stripe_customer_id=obj.id()):
        if fact.table == "discounts":
            values["stripe_discount_id"] = fact.key[0]
        yield fact
    yield snapshot(event, "users", (obj.id(),), values, sums=(obj.number("next_invoice_sequence"),), sticky=gone)


def _address(obj: Obj) -> Row | None:
    found = {name: masked(value) for name, value in obj.json.items() if isinstance(value, str) and value}
    return found or None


@handles(
    "payment_method.attached",
    "payment_method.detached",
    "payment_method.updated",
    "payment_method.automatically_updated",
)
def payment_method(event: StripeEvent) -> Iterator[Fact]:
    """The payment method follows: brand, last four digits and expiry, never more of its number."""
    obj = event.object
    kind = obj.text("type") or "card"
    details = obj.sub(kind)
    billing = obj.sub("billing_details")
    if (owner := obj.ref("customer")) is not None:
        yield stub(event, "users", (owner,))
    values: Row = {
        "stripe_customer_id": owner,
        "type": kind,
        "brand": details.text("brand") or details.words("bank_name"),
        "last4": details.text("last4"),
        "exp_month": details.integer("exp_month"),
        "exp_year": details.integer("exp_year"),
        "country": details.text("country"),
        "funding": details.text("funding"),
        "fingerprint": details.text("fingerprint"),
        "billing_email": billing.words("email"),
        "billing_name": billing.words("name"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    sums = (details.number("exp_year"), details.number("exp_month"))
    yield snapshot(event, "payment_methods", (obj.id(),), values, sums=sums)


@handles("mandate.updated")
def mandate(event: StripeEvent) -> Iterator[Fact]:
    """The mandate's state follows: without an active one a bank account cannot be debited."""
    obj = event.object
    values: Row = {
        "stripe_payment_method_id": obj.ref("payment_method"),
        "status": obj.text("status"),
        "type": obj.text("type"),
    }
    yield snapshot(event, "mandates", (obj.id(),), values)


@handles("customer.tax_id.created", "customer.tax_id.updated", "customer.tax_id.deleted")
def tax_id(event: StripeEvent) -> Iterator[Fact]:
    """The customer's tax number follows, with the result of its verification."""
    obj = event.object
    gone: Row = {"deleted_at": event.at} if event.type == "customer.tax_id.deleted" else {}
    if (owner := obj.ref("customer")) is not None:
        yield stub(event, "users", (owner,))
    if obj.flag("deleted"):
        yield stub(event, "tax_ids", (obj.id(),), **gone)
        return
    values: Row = {
        "stripe_customer_id": owner,
        "type": obj.text("type"),
        "value": obj.text("value"),
        "country": obj.text("country"),
        "verification_status": obj.sub("verification").text("status"),
        "stripe_created_at": obj.time("created"),
    }
    yield snapshot(event, "tax_ids", (obj.id(),), values, sticky=gone)
