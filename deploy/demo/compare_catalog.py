"""What is sold, and every reduction of it, as the ledger must have them."""

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.demo.compare_rows import Kept, Table, View, decimal, ref, sub, when


def _made_silently(price: Mapping[str, Any]) -> bool:
    """Whether a price was made beside an invoice item that names only an amount: no event tells of such a one."""
    return price["type"] == "one_time" and not price["active"]


def products(view: View) -> Iterator[Kept]:
    """Every product; those of prices that were made silently need not be known."""
    silent = {ref(price["product"]) for price in view.all("price") if _made_silently(price)}
    for obj in view.all("product"):
        names = ("name", "description", "active", "unit_label", "metadata")
        values = {name: obj.get(name) for name in names}
        values |= {"tax_code": ref(obj.get("tax_code")), "stripe_created_at": when(obj["created"])}
        yield Kept(obj["id"], values, told=obj["active"] or obj["id"] not in silent)


def prices(view: View) -> Iterator[Kept]:
    """Every price; a tiered one has no unit amount."""
    for obj in view.all("price"):
        tiered = obj["billing_scheme"] == "tiered"
        yield Kept(
            obj["id"],
            {
                "stripe_product_id": ref(obj["product"]),
                "nickname": obj["nickname"],
                "lookup_key": obj["lookup_key"],
                "active": obj["active"],
                "currency": obj["currency"],
                "unit_amount_decimal": None if tiered else decimal(obj["unit_amount_decimal"]),
                "billing_scheme": obj["billing_scheme"],
                "tiers_mode": obj["tiers_mode"],
                "trial_period_days": sub(obj, "recurring", "trial_period_days"),
                "interval": sub(obj, "recurring", "interval"),
                "interval_count": sub(obj, "recurring", "interval_count"),
                "usage_type": sub(obj, "recurring", "usage_type"),
                "divide_by": sub(obj, "transform_quantity", "divide_by"),
                "divide_round": sub(obj, "transform_quantity", "round"),
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
            told=not _made_silently(obj),
        )


def coupons(view: View) -> Iterator[Kept]:
    """Every coupon. Whether it is still valid is left out: Stripe sends no event when it runs out."""
    for obj in view.all("coupon"):
        yield Kept(
            obj["id"],
            {
                "name": obj["name"],
                "percent_off": decimal(obj["percent_off"]),
                "amount_off_cents": obj["amount_off"],
                "currency": obj["currency"],
                "duration": obj["duration"],
                "duration_in_months": obj["duration_in_months"],
                "redeem_by": when(obj["redeem_by"]),
                "max_redemptions": obj["max_redemptions"],
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def promotion_codes(view: View) -> Iterator[Kept]:
    """Every code."""
    for obj in view.all("promotion_code"):
        yield Kept(
            obj["id"],
            {
                "code": obj["code"],
                "stripe_coupon_id": ref(sub(obj, "promotion", "coupon")),
                "stripe_customer_id": ref(obj["customer"]),
                "active": obj["active"],
                "expires_at": when(obj["expires_at"]),
                "max_redemptions": obj["max_redemptions"],
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def discounts(view: View) -> Iterator[Kept]:
    """Discounts of customers and subscriptions have events of their own; the others are shown by id only."""
    for obj in view.all("discount"):
        yield Kept(
            obj["id"],
            {
                "stripe_coupon_id": ref(sub(obj, "source", "coupon")),
                "stripe_promotion_code_id": ref(obj["promotion_code"]),
                "stripe_customer_id": ref(obj["customer"]),
                "stripe_subscription_id": obj["subscription"],
                "stripe_subscription_item_id": obj["subscription_item"],
                "stripe_invoice_id": obj["invoice"],
                "start_at": when(obj["start"]),
                "end_at": when(obj["end"]),
                "stripe_created_at": when(obj["start"]),
            },
            told=view.first(obj["id"], "customer.discount.created", "customer.discount.deleted") is not None,
        )


CATALOG = (
    Table("product", "products t", "t.stripe_product_id", products, deleted_by="product.deleted"),
    Table("price", "prices t", "t.stripe_price_id", prices, deleted_by="price.deleted"),
    Table("coupon", "coupons t", "t.stripe_coupon_id", coupons, deleted_by="coupon.deleted"),
    Table("promotion_code", "promotion_codes t", "t.stripe_promotion_code_id", promotion_codes),
    Table("discount", "discounts t", "t.stripe_discount_id", discounts, deleted_by="customer.discount.deleted"),
)
