"""The official SDK talks to a simulated account inside the process, without a network between them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import msgspec
import stripe
from stripe import StripeClient

from deploy.demo.simulator import registry
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.api import Answer, Api, Request
from deploy.demo.simulator.server import serving
from deploy.demo.simulator.simulation import Simulation

Json = dict[str, Any]

START = 1_772_366_400
"""2026-03-01 12:00 UTC, in seconds since 1970."""

KEY = "sk_test_simulated"


class Direct(stripe.HTTPClient):
    """Hands the SDK's requests to `Api.answer`."""

    name = "direct"

    def __init__(self, api: Api) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - the SDK leaves one parameter untyped
        self.api = api
        self.answers: list[Answer] = []

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        parts = urlsplit(url)
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        answer = self.api.answer(Request(method.upper(), parts.path, parts.query, lower, post_data or ""))
        self.answers.append(answer)
        return answer.body.decode(), answer.status, answer.headers

    def close(self) -> None: ...


def new_api(seed: int = 7, start: int = START) -> Api:
    """A fresh account with every resource."""
    registry.discover()
    return Api(Account(seed, start))


def sdk(api: Api, *, version: str | None = None) -> StripeClient:
    """The official client, on `api`; it does not repeat what failed."""
    return StripeClient(KEY, http_client=Direct(api), stripe_version=version)


@asynccontextmanager
async def served(simulation: Simulation, *, retries: int = 0) -> AsyncGenerator[StripeClient]:
    """The official asynchronous client on a simulation that stands at an HTTP address."""
    carrier = stripe.HTTPXClient()
    async with serving(simulation) as address:
        yield StripeClient(KEY, http_client=carrier, base_addresses={"api": address}, max_network_retries=retries)
        await carrier.close_async()


def flat(params: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested parameters in Stripe's form encoding."""
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        full = f"{prefix}[{name}]" if prefix else name
        if isinstance(value, list):
            pairs += flat({str(i): row for i, row in enumerate(cast("list[Any]", value))}, full)
        elif isinstance(value, dict):
            pairs += flat(cast("Json", value), full)
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            pairs.append((full, "" if value is None else text))
    return pairs


def ask(
    api: Api,
    method: str,
    path: str,
    params: Mapping[str, Any] | None = None,
    **headers: str,
) -> tuple[int, Json, dict[str, str]]:
    """A request by hand: status, body, headers. A header's `_` is a `-`; an empty header is left out."""
    sent = {"authorization": f"Bearer {KEY}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    text = urlencode(flat(params or {}))
    query, body = (text, "") if method in {"GET", "DELETE"} else ("", text)
    answer = api.answer(Request(method, path, query, {name: text for name, text in sent.items() if text}, body))
    return answer.status, msgspec.json.decode(answer.body), answer.headers
