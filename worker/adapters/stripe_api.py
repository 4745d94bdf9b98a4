"""Stripe's API through Stripe's own SDK; what it answers is plain JSON, and what fails is one of our two verbs."""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal, cast

import stripe

from worker.addresses import redis_url
from worker.deps import assert_outside_transaction
from worker.errors import Refused, Spent, TryLater, Unclear, Unconfigured
from worker.settings import Settings
from worker.stripe_budget import StripeBudget

API_VERSION = "2026-09-30.endive"
"""The shapes that we ask for; readers understand older ones too."""

NETWORK_RETRIES = 2
"""The SDK's own quick retries of what Stripe did not answer, or could not; it retries nothing unless told to."""

TIMEOUT = 20.0
"""Seconds for one request: the SDK would wait 80."""

_NETWORK = re.compile(r"\(Network error: (?:An? )?(.*?)(?: was raised)?\)$")

OK = 200
UNAUTHORIZED = 401
TOO_MANY = 429
FAILED = 500
AWAY = 503

PAUSE = timedelta(seconds=1)
"""After Stripe's limit was reached, when Stripe does not say how long."""

PARKED = "STRIPE_SECRET_KEY is not set: set it for the workers, restart them, and run `billing jobs retry`"


WRONG_KEY = (
    "Stripe does not know STRIPE_SECRET_KEY, or it was rolled: take the account's secret key (sk_… or rk_…)"
    " from https://dashboard.stripe.com/apikeys, set it for the workers, restart them, and run `billing jobs retry`"
)


class NoKey:
    """Stands in for Stripe where no key is configured: what needs the API says so and is parked."""

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        """Never answers. Raises Unconfigured."""
        raise Unconfigured(f"{PARKED} (wanted: GET /v1/{path}{' with parameters' if params else ''})")

    async def read(self, path: str, **params: Any) -> bytes:
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


def _header(headers: Mapping[str, str] | None, wanted: str) -> str:
    return next((value for name, value in (headers or {}).items() if name.lower() == wanted), "")


def _retry_after(headers: Mapping[str, str] | None) -> timedelta | None:
    """Stripe's `Retry-After` in seconds, which the SDK ignores."""
    value = _header(headers, "retry-after")
    return timedelta(seconds=int(value)) if value.isdecimal() else None


def _date(headers: Mapping[str, str]) -> datetime | None:
    """Stripe's clock: https://www.rfc-editor.org/rfc/rfc9110#name-date. None without one, or when it is none."""
    try:
        told = parsedate_to_datetime(_header(headers, "date"))
    except ValueError:
        return None
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


def _pause(status: int, headers: Mapping[str, str]) -> timedelta | None:
    """How long nobody may ask: https://docs.stripe.com/rate-limits. None: the answer is about one object, if at all.

    A 429 without any header is a lock's (`lock_timeout`).
    """
    if status not in {TOO_MANY, AWAY}:
        return None
    reason = _header(headers, "stripe-rate-limited-reason")
    if reason == "resource-specific":
        return None
    return _retry_after(headers) or (PAUSE if reason else None)


def _said(error: stripe.StripeError) -> str:
    """What an error says, on one line; of a broken connection only how it broke, without the SDK's advice.

    JSON may hold what PostgreSQL cannot: NUL, and halves of characters.
    """
    said = " ".join((error.user_message or type(error).__name__).replace("\0", " ").split())
    said = said.encode(errors="replace").decode()
    broke = _NETWORK.search(said)
    return broke[1] if broke is not None else said


def _replayed(status: int | None, headers: Mapping[str, str] | None) -> bool:
    """Whether a failure is the one that Stripe keeps for this idempotency key.

    https://docs.stripe.com/error-low-level#idempotency
    """
    return status is not None and status >= FAILED and _header(headers, "idempotent-replayed") == "true"


def verb(error: stripe.StripeError, path: str, *, method: str = "get") -> TryLater | Refused:
    """What to do about an answer: https://docs.stripe.com/error-handling.

    Limits, outages and conflicts pass; a wrong key, a missing object or a wrong parameter never does. A change that
    was not answered, or failed inside Stripe, may have been made; its idempotency key repeats the failure, and refuses
    whatever is asked otherwise.
    """
    status = error.http_status
    asked = f"{method.upper()} /v1/{path}"
    reason = f"Stripe answered {status or 'nothing'} to {asked}: {_said(error)}"
    if status == UNAUTHORIZED:
        return Refused(f"{reason}. {WRONG_KEY}")
    if status is None or status >= FAILED:
        failed = TryLater if method == "get" else Spent if _replayed(status, error.headers) else Unclear
        return failed(reason, after=_retry_after(error.headers))
    if status in {409, TOO_MANY}:
        return TryLater(reason, after=_retry_after(error.headers))
    return Spent(reason) if isinstance(error, stripe.IdempotencyError) else Refused(reason)


@dataclass(slots=True)
class _Call:
    """What is asked of Stripe in this task: what the SDK's methods do not hand down to the carrier."""

    bulk: bool
    """Whether the answer goes past the SDK, and the call leaves others room."""
    asked: bool = False
    """Whether it was sent before: this is one of the SDK's quick retries."""
    body: bytes = b""


_call: ContextVar[_Call] = ContextVar("call")


class _Carrier(stripe.HTTPXClient):
    """The SDK's own carrier: each request, and each quick retry, waits for its turn; a list's bytes go past the SDK.

    The SDK would make an OrderedDict of each object, which costs many times what msgspec does.
    """

    def __init__(self, budget: StripeBudget | None) -> None:
        super().__init__(timeout=TIMEOUT)  # pyright: ignore[reportUnknownMemberType] - the SDK leaves a parameter untyped
        self._budget = budget
        self.told_at: datetime | None = None

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        call = _call.get()
        if self._budget is not None:
            await self._turn(self._budget, call)
        call.asked = True
        body, status, told = await super().request_async(method, url, headers, post_data)  # pyright: ignore[reportUnknownMemberType] - as above
        if (at := _date(told)) is not None:
            self.told_at = at if self.told_at is None else max(at, self.told_at)
        if self._budget is not None and (pause := _pause(status, told)) is not None:
            await self._budget.pause(pause)
        if call.bulk and status == OK:
            call.body, body = body, b"{}"
        if (status == FAILED and method != "get") or _replayed(status, told):
            told = {**told, "stripe-should-retry": "false"}  # this key would only hear the same again
        return body, status, told

    async def _turn(self, budget: StripeBudget, call: _Call) -> None:
        try:
            await budget.take(bulk=call.bulk)
        except TryLater as busy:
            if not call.asked:
                raise
            # What the first try did is not known, and stays so.
            raise stripe.APIConnectionError(busy.reason, should_retry=False) from busy


class StripeSdk:
    """Stripe's API with a secret key."""

    def __init__(self, key: str, *, base: str | None = None, budget: StripeBudget | None = None) -> None:
        """`base` is another address than Stripe's, for a stand-in. Without a `budget` nothing is held back."""
        stripe.enable_telemetry = False  # its first use would write into the home directory
        self._budget = budget
        self._carrier = _Carrier(budget)
        self._client = stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            max_network_retries=NETWORK_RETRIES,
            base_addresses={"api": base} if base else None,
            http_client=self._carrier,
        )

    @property
    def told_at(self) -> datetime | None:
        """Stripe's present as of its newest answer, in UTC and whole seconds; None before the first one."""
        return self._carrier.told_at

    async def close(self) -> None:
        """Hang up."""
        await self._carrier.close_async()
        if self._budget is not None:
            await self._budget.close()

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        """`GET /v1/{path}`. Raises TryLater when Stripe is away or limits us, Refused when it can never work."""
        return await self._ask("get", path, params)

    async def read(self, path: str, **params: Any) -> bytes:
        """`GET /v1/{path}` as bytes, for lists. Errors are those of `retrieve`; whoever reads a list retries it."""
        call = _Call(bulk=True)
        await self._ask("get", path, {"max_network_retries": 0} | params, call)
        return call.body

    async def act(
        self, method: Literal["post", "delete"], path: str, *, idempotency_key: str, **params: Any
    ) -> dict[str, Any]:
        """Change something. Raises Unclear when it may have been done without our knowing, else as `retrieve`."""
        return await self._ask(method, path, params | {"idempotency_key": idempotency_key})

    async def _ask(self, method: str, path: str, params: dict[str, Any], call: _Call | None = None) -> dict[str, Any]:
        assert_outside_transaction(f"{method.upper()} /v1/{path}")
        mark = _call.set(call or _Call(bulk=False))
        try:
            answer = await cast("Any", self._client).raw_request_async(method, f"/v1/{path}", **params)
        except stripe.StripeError as error:
            raise verb(error, path, method=method) from error
        finally:
            _call.reset(mark)
        return cast("dict[str, Any]", answer.data)


def stripe_api(settings: Settings) -> StripeSdk | NoKey:
    """The API as it is configured."""
    if settings.stripe_secret_key is None:
        return NoKey()
    budget = StripeBudget(redis_url(settings), settings.billing_stripe_requests_per_second)
    return StripeSdk(settings.stripe_secret_key.get_secret_value(), base=settings.stripe_api_base, budget=budget)
