"""Stripe's API through Stripe's own SDK; what it answers is plain JSON, and what fails is one of our two verbs."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, cast

import stripe

from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater, Unclear, Unconfigured
from worker.settings import Settings

API_VERSION = "2026-09-30.endive"
"""The shapes that we ask for; readers understand older ones too."""

NETWORK_RETRIES = 2
"""The SDK's own quick retries of broken connections and 409s; it retries nothing unless told to."""

TIMEOUT = 20.0
"""Seconds for one request: the SDK would wait 80."""

PARKED = "STRIPE_SECRET_KEY is not set: set it for the workers, restart them, and run `billing jobs retry`"


class NoKey:
    """Stands in for Stripe where no key is configured: what needs the API says so and is parked."""

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        """Never answers. Raises Unconfigured."""
        raise Unconfigured(f"{PARKED} (wanted: GET /v1/{path}{' with parameters' if params else ''})")

    async def act(
        self, method: Literal["post", "delete"], path: str, *, idempotency_key: str, **params: Any
    ) -> dict[str, Any]:
        """Never answers. Raises Unconfigured."""
        wanted = f"{method.upper()} /v1/{path} as {idempotency_key}, {len(params)} parameters"
        raise Unconfigured(f"{PARKED} (wanted: {wanted})")

    async def close(self) -> None:
        """Nothing is held open."""


def _retry_after(headers: Mapping[str, str] | None) -> timedelta | None:
    """Stripe's `Retry-After` in seconds, which the SDK ignores."""
    value = next((value for name, value in (headers or {}).items() if name.lower() == "retry-after"), "")
    return timedelta(seconds=int(value)) if value.isdecimal() else None


def verb(error: stripe.StripeError, path: str, *, method: str = "get") -> TryLater | Refused:
    """What to do about an answer: https://docs.stripe.com/error-handling.

    Limits, outages and conflicts pass; a wrong key, a missing object or a wrong parameter never does. A change that
    was not answered, or failed inside Stripe, may have been made.
    """
    status = error.http_status
    asked = f"{method.upper()} /v1/{path}"
    reason = f"Stripe answered {status or 'nothing'} to {asked}: {error.user_message or type(error).__name__}"
    if status is None or status >= 500:  # noqa: PLR2004 - HTTP's server errors
        failed = TryLater if method == "get" else Unclear
        return failed(reason, after=_retry_after(error.headers))
    if status in {409, 429}:
        return TryLater(reason, after=_retry_after(error.headers))
    return Refused(reason)


class StripeSdk:
    """Stripe's API with a secret key."""

    def __init__(self, key: str, *, base: str | None = None) -> None:
        """`base` is another address than Stripe's, for a stand-in."""
        stripe.enable_telemetry = False  # its first use would write into the home directory
        self._carrier = stripe.HTTPXClient(timeout=TIMEOUT)
        self._client = stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            max_network_retries=NETWORK_RETRIES,
            base_addresses={"api": base} if base else None,
            http_client=self._carrier,
        )

    async def close(self) -> None:
        """Hang up."""
        await self._carrier.close_async()

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        """`GET /v1/{path}`. Raises TryLater when Stripe is away or limits us, Refused when it can never work."""
        return await self._ask("get", path, params)

    async def act(
        self, method: Literal["post", "delete"], path: str, *, idempotency_key: str, **params: Any
    ) -> dict[str, Any]:
        """Change something. Raises Unclear when it may have been done without our knowing, else as `retrieve`."""
        return await self._ask(method, path, params | {"idempotency_key": idempotency_key})

    async def _ask(self, method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
        assert_outside_transaction(f"{method.upper()} /v1/{path}")
        try:
            answer = await cast("Any", self._client).raw_request_async(method, f"/v1/{path}", **params)
        except stripe.StripeError as error:
            raise verb(error, path, method=method) from error
        return cast("dict[str, Any]", answer.data)


def stripe_api(settings: Settings) -> StripeSdk | NoKey:
    """The API as it is configured."""
    if settings.stripe_secret_key is None:
        return NoKey()
    return StripeSdk(settings.stripe_secret_key.get_secret_value(), base=settings.stripe_api_base)
