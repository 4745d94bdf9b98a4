"""Tax rates: per cent on top of an amount, or within it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Text, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.store import page

TaxType = Literal["vat", "sales_tax", "gst", "hst", "pst", "qst", "jct", "rst", "igst", "service_tax"]


class Create(Form):
    """https://docs.stripe.com/api/tax_rates/create."""

    display_name: str
    inclusive: bool
    percentage: Annotated[float, Field(ge=0, le=100)]
    active: bool = True
    country: str | None = None
    description: str | None = None
    jurisdiction: str | None = None
    metadata: Metadata | None = None
    state: str | None = None
    tax_type: TaxType | None = None


class Update(Form):
    """https://docs.stripe.com/api/tax_rates/update: the percentage never changes."""

    active: bool | None = None
    country: str | None = None
    description: Text = None
    display_name: str | None = None
    jurisdiction: Text = None
    metadata: Metadata | None = None
    state: str | None = None
    tax_type: TaxType | None = None


class List(ListForm):
    """https://docs.stripe.com/api/tax_rates/list."""

    active: bool | None = None
    inclusive: bool | None = None


@route("POST", "/v1/tax_rates", Create)
def create(a: Account, form: Create) -> Json:
    """A new rate."""
    rate = a.add(
        {
            "id": a.store.new_id("txr"),
            "object": "tax_rate",
            "active": form.active,
            "country": form.country,
            "created": a.now(),
            "description": form.description,
            "display_name": form.display_name,
            "effective_percentage": None,
            "flat_amount": None,
            "inclusive": form.inclusive,
            "jurisdiction": form.jurisdiction,
            "jurisdiction_level": None,
            "livemode": False,
            "metadata": merge_metadata({}, form.metadata),
            "percentage": form.percentage,
            "rate_type": "percentage",
            "state": form.state,
            "tax_type": form.tax_type,
        }
    )
    a.emit("tax_rate.created", rate)
    return rate


@route("GET", "/v1/tax_rates", List)
def listed(a: Account, form: List) -> Json:
    """Rates, newest first."""
    wanted = form.given("active", "inclusive")
    rows = [row for row in a.store.all("tax_rate") if all(row[name] == value for name, value in wanted.items())]
    return page(rows, form, "/v1/tax_rates")


@route("GET", "/v1/tax_rates/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One rate."""
    return a.store.need("tax_rate", id)


@route("POST", "/v1/tax_rates/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what it is called, or retire it; invoices that carry it keep it."""
    rate = a.store.need("tax_rate", id)
    rate |= form.given("active", "country", "description", "display_name", "jurisdiction", "state", "tax_type")
    rate["metadata"] = merge_metadata(rate["metadata"], form.metadata)
    a.updated(rate)
    return rate


def usable(a: Account, ids: Sequence[str], param: str) -> list[Json]:
    """The rates, as subscriptions hold them. Raises StripeError for an unknown or an inactive one."""
    rates = [a.store.need("tax_rate", id_, param) for id_ in ids]
    for rate in rates:
        if not rate["active"]:
            raise StripeError(f"The tax rate {rate['id']} is inactive and cannot be used.", param=param)
    return rates
