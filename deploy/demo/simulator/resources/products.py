"""Products: what is sold; prices say for how much."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.store import page


def _none(value: Any) -> Any:
    return [] if value == "" else value


Texts = Annotated[list[str] | None, BeforeValidator(_none)]


class Feature(Part):
    """A line of a pricing table."""

    name: str


class Write(Form):
    """What a product can be made of, and changed in."""

    active: bool | None = None
    description: Text = None
    images: Texts = None
    marketing_features: list[Feature] | None = None
    metadata: Metadata | None = None
    shippable: bool | None = None
    statement_descriptor: str | None = None
    tax_code: Text = None
    unit_label: Text = None
    url: Text = None


class Create(Write):
    """https://docs.stripe.com/api/products/create."""

    name: str
    id: str | None = None
    type: Literal["good", "service"] = "service"


class Update(Write):
    """https://docs.stripe.com/api/products/update."""

    name: str | None = None
    default_price: Text = None


class List(ListForm):
    """https://docs.stripe.com/api/products/list."""

    active: bool | None = None
    ids: list[str] | None = None


@route("POST", "/v1/products", Create)
def create(a: Account, form: Create) -> Json:
    """A new product; its maker may choose its id."""
    if form.id is not None and a.store.get("product", form.id) is not None:
        raise StripeError(f"Product already exists: {form.id}", code="resource_already_exists", param="id")
    product = a.add(
        {
            "id": form.id or a.store.new_id("prod"),
            "object": "product",
            "active": True,
            "created": a.now(),
            "default_price": None,
            "description": None,
            "images": [],
            "livemode": False,
            "marketing_features": [],
            "metadata": {},
            "name": form.name,
            "package_dimensions": None,
            "shippable": None,
            "statement_descriptor": None,
            "tax_code": None,
            "tax_details": None,
            "type": form.type,
            "unit_label": None,
            "updated": a.now(),
            "url": None,
        }
    )
    _write(product, form)
    a.emit("product.created", product)
    return product


def _write(product: Json, form: Write) -> None:
    product |= form.given(
        "active", "description", "images", "shippable", "statement_descriptor", "tax_code", "unit_label", "url"
    )
    if form.marketing_features is not None:
        product["marketing_features"] = [{"name": feature.name} for feature in form.marketing_features]
    product["metadata"] = merge_metadata(product["metadata"], form.metadata)


@route("GET", "/v1/products", List)
def listed(a: Account, form: List) -> Json:
    """Products, newest first."""
    rows = a.store.all("product")
    if form.active is not None:
        rows = [row for row in rows if row["active"] == form.active]
    if form.ids is not None:
        rows = [row for row in rows if row["id"] in form.ids]
    return page(rows, form, "/v1/products")


@route("GET", "/v1/products/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One product."""
    return a.store.need("product", id)


@route("POST", "/v1/products/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what is given."""
    product = a.store.need("product", id)
    if form.default_price is not None:
        price = a.store.need("price", form.default_price, "default_price")
        if price["product"] != id:
            raise StripeError(
                f"The price `{price['id']}` cannot be the default price of product `{id}`: it belongs to another.",
                param="default_price",
            )
    product |= form.given("name", "default_price")
    _write(product, form)
    product["updated"] = a.now()
    a.updated(product)
    return product


@route("DELETE", "/v1/products/{id}")
def delete(a: Account, form: Form, id: str) -> Json:
    """Forget a product that never had a price."""
    product = a.store.need("product", id)
    if any(price["product"] == id for price in a.store.all("price")):
        raise StripeError("This product cannot be deleted because it has one or more user-created prices.")
    a.store.remove(product)
    a.emit("product.deleted", product)
    return {"id": id, "object": "product", "deleted": True}
