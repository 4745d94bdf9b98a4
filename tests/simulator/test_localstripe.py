"""A Stripe that others wrote, in a process of its own, tells of a sale through the real door, worker and ledger."""

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
import stripe
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.intake.kit import SECRET, Client, SpyBell, door, now, serving
from tests.worker.kit import World, until
from worker.registry import discover
from worker.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # the SDK's way with httpx
    pytest.mark.skipif(importlib.util.find_spec("localstripe") is None, reason="localstripe is not installed"),
]

LOCAL = """
import runpy, socket

class Local(socket.socket):  # localstripe would listen on every address of the machine
    def __init__(self, family=-1, *others, **named):
        super().__init__(socket.AF_INET if family == socket.AF_INET6 else family, *others, **named)

    def bind(self, address):
        super().bind(("127.0.0.1", address[1]))

socket.socket = Local
runpy.run_module("localstripe", run_name="__main__")
"""
"""localstripe as a program of its own: it is GPL-3, and no code of ours is ever linked with it."""


@pytest.fixture
async def localstripe() -> AsyncIterator[str]:
    """The address of a fresh localstripe."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOCAL, "--port", "0", "--from-scratch",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while (found := re.search(rb"http://127\.0\.0\.1:\d+", line := await process.stdout.readline())) is None:
            assert line, "localstripe ended before it listened"
    yield found.group().decode()
    process.terminate()
    await process.communicate()  # to the end of its output, so that the pipe is closed before the loop is


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    """The public door; the worker finds by itself what comes in."""
    settings = Settings(
        database_url=database_url,
        redis_url="unix:///nowhere/valkey.sock",
        stripe_webhook_secret=SecretStr(SECRET.decode()),
    )
    async with serving(door(settings, SpyBell())) as made:
        yield made


@pytest.fixture
async def world(engine: AsyncEngine, database_url: str) -> AsyncIterator[World]:
    """A real worker on the door's database."""
    made = World(engine, database_url, registry=discover("jobs"))
    async with made.runner() as runner:
        await runner.start()
        yield made


async def came(world: World, *types: str) -> None:
    """Wait until these events were received and all that was received is processed."""

    async def all_there() -> bool:
        found = dict(await world.rows("SELECT type, bool_and(status = 'processed') FROM webhook_events GROUP BY type"))
        return all(found.get(type_) for type_ in types)

    await until(all_there, why=f"not all of {types} came and were processed")


@asynccontextmanager
async def configured(address: str, client: Client) -> AsyncGenerator[stripe.StripeClient]:
    """The official client on localstripe, whose webhooks go to our door."""
    hook = {"url": f"http://127.0.0.1:{client.port}/payments/webhook", "secret": SECRET.decode()}
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{address}/_config/webhooks/door", data=hook, auth=("sk_test_1", ""))
    assert answer.status_code == 200
    carrier = stripe.HTTPXClient()
    yield stripe.StripeClient("sk_test_1", base_addresses={"api": address}, http_client=carrier)
    await carrier.close_async()


async def sale(stripe_: stripe.StripeClient) -> dict[str, Any]:
    """A customer subscribes to a plan with a good card; the ids of what came of it."""
    v1 = stripe_.v1
    customer = await v1.customers.create_async({"email": "ada@example.com", "name": "Ada Lovelace"})
    card: Any = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "123"}
    method = await v1.payment_methods.create_async({"type": "card", "card": card})
    await v1.payment_methods.attach_async(method.id, {"customer": customer.id})
    await v1.customers.update_async(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    plan: Any = {"id": "team", "amount": 4900, "currency": "eur", "interval": "month", "product": {"name": "Team"}}
    await v1.plans.create_async(plan)
    items: Any = [{"plan": "team"}]
    subscription = await v1.subscriptions.create_async({"customer": customer.id, "items": items})
    invoice = await raw(stripe_, f"/v1/invoices/{subscription.latest_invoice}")
    return {"customer": customer.id, "subscription": subscription.id, "invoice": invoice}


async def raw(stripe_: stripe.StripeClient, path: str) -> dict[str, Any]:
    """An object as localstripe shows it."""
    answer = await cast("Any", stripe_).raw_request_async("get", path)
    return json.loads(json.dumps(answer.data))


async def test_a_sale_at_localstripe_reaches_the_ledger(localstripe: str, client: Client, world: World) -> None:
    async with configured(localstripe, client) as api:
        sold = await sale(api)
        await came(world, "customer.updated", "invoice.payment_succeeded", "customer.subscription.created")
        found = await world.rows(
            "SELECT u.email, s.status, s.stripe_price_id, s.mrr_cents, s.currency FROM users u"
            " JOIN subscriptions s ON s.user_id = u.id WHERE u.stripe_customer_id = :id",
            id=sold["customer"],
        )
        assert found == [("ada@example.com", "active", "team", 4900, "eur")]
        found = await world.rows(
            "SELECT i.status, i.total_cents, i.amount_paid_cents, p.status, p.amount_cents, p.stripe_charge_id"
            " FROM invoices i JOIN payment_history p ON p.invoice_id = i.id WHERE i.stripe_invoice_id = :id",
            id=sold["invoice"]["id"],
        )
        charge = sold["invoice"]["charge"]["id"]
        assert found == [("paid", 4900, 4900, "succeeded", 4900, charge)]

        refund = await api.v1.refunds.create_async({"charge": charge, "amount": 900})
        await tell(client, await raw(api, f"/v1/charges/{charge}"))
        await came(world, "charge.refunded")
        paid = await world.rows(
            "SELECT status, refund_amount_cents FROM payment_history WHERE stripe_charge_id = :id", id=charge
        )
        assert paid == [("partially_refunded", 900)]
        found = await world.rows("SELECT amount_cents, status FROM refunds WHERE stripe_refund_id = :id", id=refund.id)
        assert found == [(900, "succeeded")]


async def tell(client: Client, charge: dict[str, Any]) -> None:
    """It sends nothing of refunds: its charge is told in its stead, as it shows it."""
    event = {
        "id": "evt_told_for_localstripe",
        "object": "event",
        "type": "charge.refunded",
        "api_version": "2017-08-15",
        "created": now(),
        "livemode": False,
        "data": {"object": charge},
    }
    answer = await client.deliver(json.dumps(event, indent=2).encode())
    assert answer.status == 200
