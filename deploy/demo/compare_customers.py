"""Customers, and what belongs to a customer, as the ledger must have them."""

from collections.abc import Iterator

from deploy.demo.compare_rows import Kept, Table, View, part, ref, sub, when


def users(view: View) -> Iterator[Kept]:
    """Every customer; of a deleted one only that it was deleted, for Stripe shows no more."""
    for obj in view.all("customer"):
        if obj.get("deleted"):
            yield Kept(obj["id"], {})
            continue
        address = {name: value for name, value in part(obj, "address").items() if value}
        yield Kept(
            obj["id"],
            {
                "email": obj["email"],
                "name": obj["name"],
                "phone": obj["phone"],
                "description": obj["description"],
                "address": address or None,
                "currency": obj["currency"],
                "locale": next(iter(obj["preferred_locales"] or ()), None),
                "company": obj["metadata"].get("company"),
                "timezone": obj["metadata"].get("timezone"),
                "balance_cents": obj["balance"],
                "delinquent": obj["delinquent"],
                "tax_exempt": obj["tax_exempt"],
                "default_payment_method_id": ref(sub(obj, "invoice_settings", "default_payment_method")),
                "stripe_discount_id": ref(obj.get("discount")),
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def payment_methods(view: View) -> Iterator[Kept]:
    """Stripe tells of a method when it is attached; one that never was may be unknown here."""
    for obj in view.all("payment_method"):
        details = part(obj, obj["type"])
        billing = part(obj, "billing_details")
        yield Kept(
            obj["id"],
            {
                "stripe_customer_id": ref(obj["customer"]),
                "type": obj["type"],
                "brand": details.get("brand") or details.get("bank_name"),
                "last4": details.get("last4"),
                "exp_month": details.get("exp_month"),
                "exp_year": details.get("exp_year"),
                "country": details.get("country"),
                "funding": details.get("funding"),
                "fingerprint": details.get("fingerprint"),
                "billing_email": billing.get("email"),
                "billing_name": billing.get("name"),
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
            told=obj["customer"] is not None or view.first(obj["id"], "payment_method.attached") is not None,
        )


def tax_ids(view: View) -> Iterator[Kept]:
    """Tax numbers and whether they were verified."""
    for obj in view.all("tax_id"):
        yield Kept(
            obj["id"],
            {
                "stripe_customer_id": ref(obj["customer"]),
                "type": obj["type"],
                "value": obj["value"],
                "country": obj["country"],
                "verification_status": sub(obj, "verification", "status"),
                "stripe_created_at": when(obj["created"]),
            },
        )


CUSTOMERS = (
    Table("customer", "users t", "t.stripe_customer_id", users, deleted_by="customer.deleted"),
    Table("payment_method", "payment_methods t", "t.stripe_payment_method_id", payment_methods),
    Table("tax_id", "tax_ids t", "t.stripe_tax_id", tax_ids, deleted_by="customer.tax_id.deleted"),
)
