"""Partners use the API, get an invoice a month, and pay it by bank, in time or not."""

from deploy.demo.acts import PartnerCredit, PartnerInvoice, PartnerPays
from deploy.demo.company import API_CALL, NET_DAYS, PARTNERS, Partner, money
from deploy.demo.shop import Customer, Shop
from deploy.demo.stripe_client import Json


def _partner(who: str) -> Partner:
    return PARTNERS[int(who.rpartition(" ")[2])]


def _open_invoices(shop: Shop, customer: Customer) -> list[Json]:
    """Newest first."""
    return shop.stripe.get("/v1/invoices", customer=customer.id, status="open")["data"]


def invoice(shop: Shop, who: str, act: PartnerInvoice) -> str:
    """A month of API calls, and support where it was used."""
    partner = _partner(who)
    customer = shop.customers.get(who) or _contract(shop, who, partner)
    month = shop.stripe.get("/_sim/clock")["now"]
    lines = [(f"API calls, {act.calls:,} thousand", act.calls * API_CALL[partner.currency])]
    if act.support:
        lines.append(("Support by an engineer", act.support))
    for description, amount in lines:
        shop.stripe.post(
            "/v1/invoiceitems",
            customer=customer.id,
            currency=partner.currency,
            amount=amount,
            description=description,
        )
    made = shop.stripe.post(
        "/v1/invoices",
        customer=customer.id,
        collection_method="send_invoice",
        days_until_due=NET_DAYS,
        pending_invoice_items_behavior="include",
        default_tax_rates=shop.catalog.tax(partner.country),
        auto_advance=False,
        metadata={"month": month},
    )
    shop.stripe.post(f"/v1/invoices/{made['id']}/finalize")
    sent = shop.stripe.post(f"/v1/invoices/{made['id']}/send")
    total = money(sent["amount_due"], partner.currency)
    return f"{partner.name}: invoice {sent['number']} over {total} sent, due in {NET_DAYS} days"


def _contract(shop: Shop, who: str, partner: Partner) -> Customer:
    made = shop.stripe.post(
        "/v1/customers",
        name=partner.name,
        email=partner.email,
        address={"country": partner.country},
        metadata={"kind": "api_partner"},
    )
    shop.customers[who] = Customer(made["id"], partner.name, partner.currency, partner.country)
    return shop.customers[who]


def pays(shop: Shop, who: str, act: PartnerPays) -> str | None:
    """A transfer over the oldest open invoice comes in."""
    found = _open_invoices(shop, shop.customers[who])
    if not found:
        return None
    oldest = found[-1]
    shop.stripe.post(f"/_sim/invoices/{oldest['id']}/bank_transfer")
    late = shop.stripe.get("/_sim/clock")["now"] - oldest["due_date"]
    when = f"{late // 86_400} days late" if late > 0 else "in time"
    amount = money(oldest["amount_remaining"], oldest["currency"])
    return f"{_partner(who).name}: {amount} came in by bank for {oldest['number']}, {when}"


def credit(shop: Shop, who: str, act: PartnerCredit) -> str | None:
    """A day of outage is credited on the newest open invoice."""
    found = _open_invoices(shop, shop.customers[who])
    if not found:
        return None
    newest = found[0]
    amount = newest["amount_remaining"] * act.percent // 100
    shop.stripe.post("/v1/credit_notes", invoice=newest["id"], amount=amount, reason="product_unsatisfactory")
    return f"{_partner(who).name}: {money(amount, newest['currency'])} of {newest['number']} credited for an outage"
