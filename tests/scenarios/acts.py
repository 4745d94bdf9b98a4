"""What companies do with Stripe day by day, in one line each."""

from typing import Any

from tests.scenarios.kit import Json, Stage


async def plan(
    stage: Stage, amount: int, name: str = "Team", *, currency: str = "usd", every: str = "month", **more: Any
) -> str:
    """A product with one price, in minor units per seat; the price's id."""
    product = await stage.v1.products.create_async({"name": name})
    return await price(stage, product.id, amount, currency=currency, every=every, **more)


async def price(
    stage: Stage, product: str, amount: int, *, currency: str = "usd", every: str = "month", **more: Any
) -> str:
    """Another price of a product."""
    made = await stage.v1.prices.create_async(
        {"product": product, "unit_amount": amount, "currency": currency, "recurring": {"interval": every}, **more}
    )
    return made.id


async def customer(stage: Stage, name: str, *, card: str | None = "pm_card_visa", **more: Any) -> str:
    """A customer with a card to be charged by default; the customer's id."""
    email = f"{name.split(maxsplit=1)[0].lower()}@example.com"
    made = await stage.v1.customers.create_async({"name": name, "email": email, **more})
    if card is not None:
        await put_card(stage, made.id, card)
    return made.id


async def put_card(stage: Stage, customer: str, card: str) -> str:
    """The customer puts in a card, which is charged from now on; the payment method's id."""
    method = await stage.v1.payment_methods.attach_async(card, {"customer": customer})
    await stage.v1.customers.update_async(customer, {"invoice_settings": {"default_payment_method": method.id}})
    return method.id


async def subscribe(stage: Stage, customer: str, price: str, *, quantity: int = 1, **more: Any) -> str:
    """The customer subscribes; the subscription's id."""
    made = await stage.v1.subscriptions.create_async(
        {"customer": customer, "items": [{"price": price, "quantity": quantity}], **more}
    )
    return made.id


async def item_of(stage: Stage, subscription: str) -> str:
    """The id of a subscription's first item."""
    found = await stage.v1.subscription_items.list_async({"subscription": subscription})
    return found.data[0].id


async def latest_invoice(stage: Stage, subscription: str) -> Json:
    """The ledger's row of the subscription's latest invoice."""
    found = await stage.row("subscriptions", stripe_subscription_id=subscription)
    return await stage.row("invoices", stripe_invoice_id=found["latest_stripe_invoice_id"])


async def latest_charge(stage: Stage, customer: str) -> str:
    """The id of the customer's latest charge."""
    found = await stage.v1.charges.list_async({"customer": customer, "limit": 1})
    return found.data[0].id
