"""The official SDK over HTTP, unchanged: errors become its own exceptions, and keys repeat answers."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe
from stripe import StripeClient

from deploy.demo.simulator.faults import read_script
from deploy.demo.simulator.render import CURRENT
from deploy.demo.simulator.server import serving
from deploy.demo.simulator.simulation import Simulation
from tests.intake.kit import now
from tests.simulator.kit import KEY, START, served

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the SDK's way with httpx


def headers(obj: Any) -> dict[str, str]:
    """The answer's headers."""
    return {name.lower(): value for name, value in obj.last_response.headers.items()}


class TestErrors:
    """https://docs.stripe.com/api/errors/handling?lang=python."""

    async def test_a_missing_object(self, client: StripeClient) -> None:
        with pytest.raises(stripe.InvalidRequestError) as told:
            await client.v1.customers.retrieve_async("cus_none")
        error: Any = told.value
        assert (error.http_status, error.code, error.param) == (404, "resource_missing", "id")
        assert error.request_id.startswith("req_")

    async def test_an_unknown_parameter(self, client: StripeClient) -> None:
        wrong: Any = {"colour": "blue"}
        with pytest.raises(stripe.InvalidRequestError) as told:
            await client.v1.customers.create_async(wrong)
        error: Any = told.value
        assert (error.http_status, error.code, error.param) == (400, "parameter_unknown", "colour")

    async def test_a_wrong_key(self, client: StripeClient) -> None:
        with pytest.raises(stripe.AuthenticationError):
            await client.v1.customers.list_async({}, {"api_key": "sk_live_123"})

    async def test_a_declined_card(self, client: StripeClient) -> None:
        customer = await client.v1.customers.create_async({"name": "Ada"})
        with pytest.raises(stripe.CardError) as told:
            await client.v1.payment_methods.attach_async("pm_card_chargeDeclined", {"customer": customer.id})
        error: Any = told.value
        assert (error.http_status, error.code, error.error.decline_code) == (402, "card_declined", "generic_decline")
        assert error.user_message == "Your card was declined."

    @pytest.mark.parametrize(
        ("method", "code", "decline_code"),
        [
            ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
            ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
            ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
            ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ],
    )
    async def test_a_declined_payment(self, client: StripeClient, method: str, code: str, decline_code: str) -> None:
        with pytest.raises(stripe.CardError) as told:
            await client.v1.payment_intents.create_async(
                {"amount": 2000, "currency": "usd", "payment_method": method, "confirm": True}
            )
        error: Any = told.value
        assert (error.http_status, error.code, error.error.decline_code) == (402, code, decline_code)
        assert error.error.payment_intent.status == "requires_payment_method"
        assert error.error.charge == error.error.payment_intent.latest_charge


class TestIdempotency:
    """https://docs.stripe.com/api/idempotent_requests?lang=python."""

    async def test_a_repeated_key(self, client: StripeClient) -> None:
        first = await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
        again = await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
        assert again.id == first.id
        assert headers(again)["idempotent-replayed"] == "true"
        assert headers(again)["original-request"] == headers(first)["request-id"]
        assert len((await client.v1.customers.list_async()).data) == 1

    async def test_a_key_with_other_parameters(self, client: StripeClient) -> None:
        await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
        with pytest.raises(stripe.IdempotencyError):
            await client.v1.customers.create_async({"name": "Eve"}, {"idempotency_key": "k1"})

    async def test_a_stored_failure(self, client: StripeClient, simulation: Simulation) -> None:
        simulation.faults.follow(read_script({"api": [{"kind": "error", "nth": [1]}]}))
        for _ in range(2):
            with pytest.raises(stripe.APIError) as told:
                await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
            assert told.value.http_status == 500
        assert (await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k2"})).id

    async def test_an_answer_lost_on_the_way_is_had_again_with_the_key(
        self, client: StripeClient, simulation: Simulation
    ) -> None:
        simulation.faults.follow(read_script({"api": [{"kind": "drop_after", "nth": [1]}]}))
        with pytest.raises(stripe.APIConnectionError):
            await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
        again = await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
        assert headers(again)["idempotent-replayed"] == "true"
        assert len(simulation.account.store.all("customer")) == 1


class TestFaults:
    """What the SDK makes of a busy or broken Stripe."""

    async def test_a_limit(self, client: StripeClient, simulation: Simulation) -> None:
        rule = {"kind": "rate_limit", "nth": [1], "retry_after": 7}
        simulation.faults.follow(read_script({"api": [rule]}))
        with pytest.raises(stripe.RateLimitError) as told:
            await client.v1.customers.list_async()
        assert told.value.headers is not None
        assert {name.lower(): value for name, value in told.value.headers.items()}["retry-after"] == "7"
        assert (await client.v1.customers.list_async()).data == []

    async def test_a_broken_connection_is_asked_again_under_the_same_key(self, simulation: Simulation) -> None:
        simulation.faults.follow(read_script({"api": [{"kind": "drop_after", "nth": [1]}]}))
        async with served(simulation, retries=2) as patient:
            made = await patient.v1.customers.create_async({"name": "Ada"})
        assert made.name == "Ada"
        assert len(simulation.account.store.all("customer")) == 1


async def test_the_synchronous_client_speaks_with_it_too(simulation: Simulation) -> None:
    def speak(address: str) -> list[str | None]:
        carrier = stripe.RequestsClient()
        client = StripeClient(KEY, base_addresses={"api": address}, http_client=carrier)
        for name in ("Ada", "Grace", "Edsger"):
            client.v1.customers.create({"name": name})
        names = [one.name for one in client.v1.customers.list({"limit": 1}).auto_paging_iter()]
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.customers.retrieve("cus_none")
        carrier.close()
        return names

    async with serving(simulation) as address:
        assert await asyncio.to_thread(speak, address) == ["Edsger", "Grace", "Ada"]


async def test_a_request_is_told_by_its_event(client: StripeClient) -> None:
    made = await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
    (event,) = (await client.v1.events.list_async({"type": "customer.created"})).data
    assert event.request is not None
    assert (event.request.id, event.request.idempotency_key) == (headers(made)["request-id"], "k1")
    assert event.data.object["id"] == made.id


class Receiver:
    """Somebody's webhook address: accepts all, and keeps what came."""

    def __init__(self) -> None:
        self.came: list[tuple[bytes, dict[str, str]]] = []
        self.status = 200

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                named = dict(re.findall(r"(?m)^([\w-]+): *(.*?)\r$", head))
                sent = {name.lower(): value for name, value in named.items()}
                self.came.append((await reader.readexactly(int(sent["content-length"])), sent))
                writer.write(f"HTTP/1.1 {self.status} x\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    """A receiver and its URL."""
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    yield made, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    server.close()


class TestWebhooks:
    """https://docs.stripe.com/webhooks#verify-official-libraries."""

    async def test_a_delivered_webhook_is_verified_by_the_sdk(self, receiver: tuple[Receiver, str]) -> None:
        kept, url = receiver
        simulation = Simulation(7, START, wall=now)
        old, new = simulation.endpoint(url, version="2020-08-27"), simulation.endpoint(url, version=CURRENT)
        async with served(simulation) as client:
            made = await client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
            await simulation.flush()
        assert len(kept.came) == 2
        events: dict[str | None, stripe.Event] = {}
        for body, sent in kept.came:
            for endpoint in (old, new):
                with contextlib.suppress(stripe.SignatureVerificationError):
                    event = stripe.Webhook.construct_event(body, sent["stripe-signature"], endpoint["secret"])  # pyright: ignore[reportUnknownMemberType] - untyped in the SDK
                    assert event.api_version == endpoint["api_version"]
                    events[event.api_version] = event
            assert sent["content-type"].startswith("application/json")
        assert events.keys() == {"2020-08-27", CURRENT}
        for event in events.values():
            assert (event.type, event.data.object["id"], event.created) == ("customer.created", made.id, START)
            assert event.request is not None
            assert event.request.idempotency_key == "k1"

    async def test_what_is_not_accepted_can_be_asked_for(self, receiver: tuple[Receiver, str]) -> None:
        """`delivery_success` tells what to replay: https://docs.stripe.com/webhooks/process-undelivered-events."""
        kept, url = receiver
        kept.status = 500
        simulation = Simulation(7, START, wall=now)
        simulation.endpoint(url)
        async with served(simulation) as client:
            await client.v1.customers.create_async({"name": "Ada"})
            await simulation.settle()
            assert len((await client.v1.events.list_async({"delivery_success": False})).data) == 1
            kept.status = 200
            await simulation.flush()
            assert len((await client.v1.events.list_async({"delivery_success": False})).data) == 0
            (event,) = (await client.v1.events.list_async({"delivery_success": True})).data
            assert event.pending_webhooks == 0
