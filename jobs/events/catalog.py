"""A price, a product, a coupon or a promotion code changed at Stripe: our catalogue follows."""

from collections.abc import Iterator

from db.ledger import Fact, Row, Version, fingerprint
from jobs.rules import versions
from jobs.stripe_objects import Obj, StripeEvent, handles, snapshot, snapshot_of


@handles("product.created", "product.updated", "product.deleted")
def product(event: StripeEvent) -> Iterator[Fact]:
    """The product follows."""
    obj = event.object
    values: Row = {
        "name": obj.words("name"),
        "description": obj.words("description"),
        "active": obj.flag("active"),
        "unit_label": obj.words("unit_label"),
        "tax_code": obj.ref("tax_code"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    version = versions.version(
        created=event.created, event_type=event.type, content=fingerprint(values), sums=(obj.number("updated"),)
    )
    yield snapshot_of(event, "products", obj.id(), _unless_gone(event, values, version))


def _unless_gone(event: StripeEvent, values: Row, version: Version) -> tuple[Row, Version, Row]:
    """Stripe renders what is deleted as `{id, deleted}` or as a whole; the former says nothing about the columns."""
    sticky: Row = {"deleted_at": event.at} if event.type.endswith(".deleted") else {}
    return ({}, (), sticky) if event.object.flag("deleted") else (values, version, sticky)


def price_values(obj: Obj) -> Row:
    """The columns of a price, from Stripe's `price` or its older twin `plan`, or from shapes between the two."""
    recurring = obj.sub("recurring")
    transform = obj.sub("transform_quantity") if "transform_quantity" in obj else obj.sub("transform_usage")
    amounts = ("unit_amount_decimal", "unit_amount", "amount_decimal", "amount")
    per_unit = obj.text("billing_scheme") != "tiered"
    return {
        "stripe_product_id": obj.ref("product"),
        "nickname": obj.words("nickname"),
        "lookup_key": obj.text("lookup_key"),
        "active": obj.flag("active"),
        "currency": obj.text("currency"),
        "unit_amount_decimal": next((obj.decimal(name) for name in amounts if name in obj), None) if per_unit else None,
        "billing_scheme": obj.text("billing_scheme"),
        "tiers_mode": obj.text("tiers_mode"),
        "interval": recurring.text("interval") or obj.text("interval"),
        "interval_count": recurring.integer("interval_count") or obj.integer("interval_count"),
        "usage_type": recurring.text("usage_type") or obj.text("usage_type"),
        "trial_period_days": recurring.integer("trial_period_days") or obj.integer("trial_period_days"),
        "divide_by": transform.integer("divide_by"),
        "divide_round": transform.text("round"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }


@handles("price.created", "price.updated", "price.deleted", "plan.created", "plan.updated", "plan.deleted")
def price(event: StripeEvent) -> Iterator[Fact]:
    """The price follows; `plan` events tell of the same row, and `price` events outrank them."""
    values = price_values(event.object)
    version = versions.price_version(
        rendering=versions.OWN_PLAN if event.type.startswith("plan.") else versions.OWN_PRICE,
        created=event.created,
        event_type=event.type,
        content=fingerprint(values),
    )
    yield snapshot_of(event, "prices", event.object.id(), _unless_gone(event, values, version))


def inlined_price(event: StripeEvent, holder: Obj) -> Iterator[Fact]:
    """The price that an item or a line shows."""
    for field, rendering in (("price", versions.INLINED_PRICE), ("plan", versions.INLINED_PLAN)):
        obj = holder.sub(field)
        if "id" in obj:
            values = price_values(obj)
            version = versions.price_version(
                rendering=rendering, created=0, event_type="inlined", content=fingerprint(values)
            )
            yield snapshot_of(event, "prices", obj.id(), (values, version, {}))
            return


def coupon_values(obj: Obj) -> Row:
    """The columns of a coupon."""
    return {
        "name": obj.words("name"),
        "percent_off": obj.decimal("percent_off"),
        "amount_off_cents": obj.integer("amount_off"),
        "currency": obj.text("currency"),
        "duration": obj.text("duration"),
        "duration_in_months": obj.integer("duration_in_months"),
        "redeem_by": obj.time("redeem_by"),
        "max_redemptions": obj.integer("max_redemptions"),
        "valid": obj.flag("valid"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }


@handles("coupon.created", "coupon.updated", "coupon.deleted")
def coupon(event: StripeEvent) -> Iterator[Fact]:
    """The coupon follows; a deleted one still applies where it was redeemed."""
    values = coupon_values(event.object)
    version = versions.price_version(
        rendering=versions.OWN_PRICE, created=event.created, event_type=event.type, content=fingerprint(values)
    )
    yield snapshot_of(event, "coupons", event.object.id(), _unless_gone(event, values, version))


def inlined_coupon(event: StripeEvent, obj: Obj) -> Iterator[Fact]:
    """The coupon that a discount shows, when it shows more than the id."""
    if "duration" in obj:
        values = coupon_values(obj)
        version = versions.price_version(
            rendering=versions.INLINED_PRICE, created=0, event_type="inlined", content=fingerprint(values)
        )
        yield snapshot_of(event, "coupons", obj.id(), (values, version, {}))


@handles("promotion_code.created", "promotion_code.updated")
def promotion_code(event: StripeEvent) -> Iterator[Fact]:
    """The code follows, and so does what it shows of its coupon."""
    obj = event.object
    holder = obj.sub("promotion") if "promotion" in obj else obj
    values: Row = {
        "code": obj.text("code"),
        "stripe_coupon_id": holder.ref("coupon"),
        "stripe_customer_id": obj.ref("customer"),
        "active": obj.flag("active"),
        "expires_at": obj.time("expires_at"),
        "max_redemptions": obj.integer("max_redemptions"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    yield snapshot(event, "promotion_codes", (obj.id(),), values, sums=(obj.number("times_redeemed"),))
    yield from inlined_coupon(event, holder.sub("coupon"))
