"""A customer's balance and its transactions, as its owner moves and reads them."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.currencies import refuse_fraction
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Text, merge_metadata
from deploy.demo.simulator.invoicing import balances
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources.customers import living
from deploy.demo.simulator.store import page


class Create(Form):
    """https://docs.stripe.com/api/customer_balance_transactions/create."""

    amount: int
    currency: str
    description: Text = None
    metadata: Metadata | None = None


class Update(Form):
    """https://docs.stripe.com/api/customer_balance_transactions/update."""

    description: Text = None
    metadata: Metadata | None = None


@route("POST", "/v1/customers/{id}/balance_transactions", Create)
def create(a: Account, form: Create, id: str) -> Json:
    """Give the customer a credit (a negative amount), or put a debt on the next invoice."""
    customer = living(a, id)
    currency = form.currency.lower()
    balances.refuse(customer, currency, "currency")
    refuse_fraction(form.amount, currency)
    return balances.adjust(
        a,
        customer,
        form.amount,
        type_="adjustment",
        currency=currency,
        description=form.description,
        metadata=merge_metadata({}, form.metadata),
    )


@route("GET", "/v1/customers/{id}/balance_transactions", ListForm)
def listed(a: Account, form: ListForm, id: str) -> Json:
    """What moved the balance, newest first."""
    rows = a.store.by("customer_balance_transaction", "customer", a.store.need("customer", id)["id"])
    return page(rows, form, f"/v1/customers/{id}/balance_transactions")


@route("GET", "/v1/customers/{id}/balance_transactions/{transaction}")
def retrieve(a: Account, form: Form, id: str, transaction: str) -> Json:
    """One of them."""
    return a.store.need("customer_balance_transaction", transaction)


@route("POST", "/v1/customers/{id}/balance_transactions/{transaction}", Update)
def update(a: Account, form: Update, id: str, transaction: str) -> Json:
    """Change its words; the amount stays."""
    found = a.store.need("customer_balance_transaction", transaction)
    found |= form.given("description")
    found["metadata"] = merge_metadata(found["metadata"], form.metadata)
    return found
