"""Tax ids of customers; European and British ones are verified some minutes after they are given."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources.customers import living
from deploy.demo.simulator.store import page

VERIFIED = {"au_abn", "ch_uid", "eu_vat", "gb_vat"}
"""Types that Stripe asks the authorities about: https://docs.stripe.com/invoicing/customer/tax-ids."""

UNKNOWN, UNANSWERED = "111111111", "222222222"
"""Values that in test mode fail and stay pending: https://docs.stripe.com/invoicing/customer/tax-ids#test."""

SOON = 300
"""Seconds until an authority answers."""


class Create(Form):
    """https://docs.stripe.com/api/tax_ids/customer_create."""

    type: str
    value: str


@route("POST", "/v1/customers/{id}/tax_ids", Create)
def create(a: Account, form: Create, id: str) -> Json:
    """A customer's new tax id; its invoices carry it from now on."""
    customer = living(a, id)
    prefix, _, kind = form.type.partition("_")
    if not kind or not form.value:
        raise StripeError(f"Invalid value for {form.type}.", code="tax_id_invalid", param="value")
    country = form.value[:2].upper() if prefix == "eu" else prefix.upper()
    checked = form.type in VERIFIED
    tax_id = a.add(
        {
            "id": a.store.new_id("txi"),
            "object": "tax_id",
            "country": country,
            "created": a.now(id),
            "customer": id,
            "customer_account": None,
            "livemode": False,
            "owner": {"customer": id, "type": "customer"},
            "type": form.type,
            "value": form.value,
            "verification": {
                "status": "pending" if checked else "unavailable",
                "verified_address": None,
                "verified_name": None,
            },
        },
        "customer",
    )
    a.emit("customer.tax_id.created", tax_id)
    if checked and not form.value.endswith(UNANSWERED):
        a.clock_of(id).at(a.now(id) + SOON, lambda: _verify(a, customer, tax_id))
    return tax_id


def _verify(a: Account, customer: Json, tax_id: Json) -> None:
    if a.store.get("tax_id", tax_id["id"]) is None:
        return
    unknown = tax_id["value"].endswith(UNKNOWN)
    tax_id["verification"] |= {
        "status": "unverified" if unknown else "verified",
        "verified_name": None if unknown else customer.get("name"),
    }
    a.updated(tax_id, "customer.tax_id.updated")


@route("GET", "/v1/customers/{id}/tax_ids", ListForm)
def listed(a: Account, form: ListForm, id: str) -> Json:
    """A customer's tax ids, newest first."""
    return page(a.store.by("tax_id", "customer", living(a, id)["id"]), form, f"/v1/customers/{id}/tax_ids")


@route("GET", "/v1/customers/{id}/tax_ids/{tax_id}")
def retrieve(a: Account, form: Form, id: str, tax_id: str) -> Json:
    """One tax id."""
    return a.store.need("tax_id", tax_id)


@route("GET", "/v1/tax_ids/{id}")
def retrieve_alone(a: Account, form: Form, id: str) -> Json:
    """One tax id, whosever it is."""
    return a.store.need("tax_id", id)


@route("DELETE", "/v1/customers/{id}/tax_ids/{tax_id}")
def delete(a: Account, form: Form, id: str, tax_id: str) -> Json:
    """Take it away; invoices that carry it keep it."""
    found = a.store.need("tax_id", tax_id)
    a.store.remove(found)
    a.emit("customer.tax_id.deleted", found)
    return {"id": tax_id, "object": "tax_id", "deleted": True}
