"""Each resource through the official SDK over HTTP: made, read, changed, listed, expanded."""

from typing import Any

import pytest
import stripe
from stripe import StripeClient

from deploy.demo.simulator.simulation import Simulation
from tests.simulator.kit import START

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx

WITHIN = {
    "coupons": {"percent_off": 10, "duration": "once"},
    "customers": {"name": "Ada"},
    "payment_intents": {"amount": 500, "currency": "usd"},
    "products": {"name": "Atlas"},
    "setup_intents": {},
    "tax_rates": {"display_name": "VAT", "percentage": 19, "inclusive": False},
    "webhook_endpoints": {"url": "https://atlas.example/hook", "enabled_events": ["*"]},
}
"""Resources that need nothing else, and what they are made of."""


@pytest.mark.parametrize("name", WITHIN)
async def test_a_resource_is_made_read_changed_and_listed(client: StripeClient, name: str) -> None:
    service: Any = getattr(client.v1, name)
    made = [await service.create_async({**WITHIN[name], "metadata": {"n": str(n), "same": "1"}}) for n in range(3)]
    found = await service.retrieve_async(made[0].id)
    assert found.to_dict() == {name: value for name, value in made[0].to_dict().items() if name != "secret"}
    changed = await service.update_async(made[0].id, {"metadata": {"n": "", "new": "2"}})
    assert changed.metadata.to_dict() == {"same": "1", "new": "2"}
    listed = [one.id async for one in (await service.list_async({"limit": 2})).auto_paging_iter()]
    assert listed == [one.id for one in reversed(made)]


async def subscribed(client: StripeClient) -> Any:
    """A customer with a good card, subscribed to a monthly price, and paid."""
    v1 = client.v1
    customer = await v1.customers.create_async({"name": "Ada", "email": "ada@example.com"})
    method = await v1.payment_methods.attach_async("pm_card_visa", {"customer": customer.id})
    await v1.customers.update_async(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    price = await v1.prices.create_async(
        {"currency": "eur", "unit_amount": 4900, "recurring": {"interval": "month"}, "product_data": {"name": "Team"}}
    )
    return await v1.subscriptions.create_async({"customer": customer.id, "items": [{"price": price.id}]})


async def test_a_subscription_with_all_that_it_brings(client: StripeClient) -> None:
    v1 = client.v1
    subscription = await subscribed(client)
    assert subscription.status == "active"
    invoice = await v1.invoices.retrieve_async(subscription.latest_invoice)
    assert (invoice.status, invoice.amount_paid, invoice.currency) == ("paid", 4900, "eur")
    (line,) = invoice.lines.data
    assert line.pricing is not None
    assert line.pricing.price_details is not None
    assert line.pricing.price_details.price == subscription["items"].data[0].price.id
    (payment,) = (await v1.invoice_payments.list_async({"invoice": str(invoice.id)})).data
    intent = await v1.payment_intents.retrieve_async(str(payment.payment.payment_intent))
    charge = await v1.charges.retrieve_async(str(intent.latest_charge))
    assert (charge.amount, charge.paid, charge.customer) == (4900, True, subscription.customer)
    transaction = await v1.balance_transactions.retrieve_async(str(charge.balance_transaction))
    assert transaction.net == transaction.amount - transaction.fee
    refund = await v1.refunds.create_async({"charge": charge.id, "amount": 900})
    assert refund.status == "succeeded"
    assert (await v1.charges.retrieve_async(charge.id)).amount_refunded == 900
    ended = await v1.subscriptions.cancel_async(subscription.id)
    assert ended.status == "canceled"


async def test_a_list_is_narrowed(client: StripeClient) -> None:
    v1 = client.v1
    subscription = await subscribed(client)
    await subscribed(client)
    mine: Any = {"customer": subscription.customer}
    for service in (v1.invoices, v1.charges, v1.payment_intents, v1.subscriptions):
        whole: Any = await service.list_async()
        own: Any = await service.list_async(mine)
        assert (len(whole.data), len(own.data)) == (2, 1), service
        assert own.data[0].customer == subscription.customer
    assert len((await v1.invoices.list_async({"subscription": subscription.id, "status": "paid"})).data) == 1
    assert len((await v1.events.list_async({"types": ["invoice.paid", "charge.*"]})).data) == 4


class TestExpansion:
    """https://docs.stripe.com/expand."""

    async def test_four_levels_deep(self, client: StripeClient) -> None:
        subscription = await subscribed(client)
        found: Any = await client.v1.subscriptions.retrieve_async(
            subscription.id,
            {"expand": ["latest_invoice.payments.data.payment", "items.data.price.product", "customer"]},
        )
        assert found.customer.email == "ada@example.com"
        assert found["items"].data[0].price.product.name == "Team"
        (payment,) = found.latest_invoice.payments.data
        assert payment.amount_paid == 4900
        intent: Any = await client.v1.payment_intents.retrieve_async(
            payment.payment.payment_intent, {"expand": ["latest_charge.balance_transaction"]}
        )
        assert intent.latest_charge.balance_transaction.amount == 4900

    async def test_rows_of_a_list(self, client: StripeClient) -> None:
        subscription = await subscribed(client)
        found: Any = await client.v1.invoices.list_async(
            {"subscription": subscription.id, "expand": ["data.customer", "data.payments"]}
        )
        assert found.data[0].customer.name == "Ada"
        assert found.data[0].payments.data[0].status == "paid"

    async def test_a_list_that_is_not_shown_otherwise(self, client: StripeClient) -> None:
        subscription = await subscribed(client)
        invoice: Any = await client.v1.invoices.retrieve_async(subscription.latest_invoice)
        assert "payments" not in invoice

    @pytest.mark.parametrize("path", ["colour", "latest_invoice.colour", "customer.a.b.c.d"])
    async def test_a_bad_path(self, client: StripeClient, path: str) -> None:
        subscription = await subscribed(client)
        with pytest.raises(stripe.InvalidRequestError):
            await client.v1.subscriptions.retrieve_async(subscription.id, {"expand": [path]})


class TestOldVersions:
    """The same objects as they were shown before basil."""

    async def test_an_invoice(self, client: StripeClient) -> None:
        subscription = await subscribed(client)
        answer = await client.raw_request_async(  # pyright: ignore[reportUnknownMemberType] - untyped in the SDK
            "get", f"/v1/invoices/{subscription.latest_invoice}", stripe_version="2024-06-20"
        )
        old: Any = answer.data
        assert (old["subscription"], old["paid"]) == (subscription.id, True)
        assert old["charge"].startswith("ch_")
        assert old["payment_intent"].startswith("pi_")
        assert old["lines"]["data"][0]["price"]["unit_amount"] == 4900
        assert "parent" not in old

    async def test_a_subscription(self, client: StripeClient) -> None:
        subscription = await subscribed(client)
        answer = await client.raw_request_async(  # pyright: ignore[reportUnknownMemberType] - untyped in the SDK
            "get", f"/v1/subscriptions/{subscription.id}", stripe_version="2024-06-20"
        )
        old: Any = answer.data
        item = subscription["items"].data[0]
        assert (old["current_period_start"], old["current_period_end"]) == (START, item.current_period_end)
        assert answer.headers["stripe-version"] == "2024-06-20"


async def test_a_test_clock_moves_its_own_customers_only(client: StripeClient, simulation: Simulation) -> None:
    v1 = client.v1
    clock = await v1.test_helpers.test_clocks.create_async({"frozen_time": START, "name": "A year"})
    customer = await v1.customers.create_async({"name": "Ada", "test_clock": clock.id})
    method = await v1.payment_methods.attach_async("pm_card_visa", {"customer": customer.id})
    await v1.customers.update_async(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    price = await v1.prices.create_async(
        {"currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}, "product_data": {"name": "Solo"}}
    )
    await v1.subscriptions.create_async({"customer": customer.id, "items": [{"price": price.id}]})
    other = await subscribed(client)
    await v1.test_helpers.test_clocks.advance_async(clock.id, {"frozen_time": START + 100 * 86_400})
    assert (await v1.test_helpers.test_clocks.retrieve_async(clock.id)).status == "ready"
    assert len((await v1.invoices.list_async({"customer": customer.id, "status": "paid"})).data) == 4
    assert len((await v1.invoices.list_async({"customer": other.customer})).data) == 1
    assert simulation.account.now() == START
