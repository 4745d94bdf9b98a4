"""Every event goes to every endpoint that wants it: signed, in its version, again and again until it is accepted."""

import asyncio
import heapq
import hmac
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from deploy.demo.simulator.account import DAY, Account, Emitted
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.faults import Faults
from deploy.demo.simulator.render import CURRENT

log = logging.getLogger(__name__)

Post = Callable[[str, bytes, dict[str, str]], Awaitable[int]]
"""Posts a body with headers to a URL; the HTTP status of what answered. Raises OSError when nothing did."""

FIRST_GAP, LONGEST_GAP = 300, DAY // 2
"""Seconds to the second attempt, then four times as long each time; Stripe tells no more than "exponential"."""

GIVE_UP = 3 * DAY
"""Stripe tries for up to three days in live mode, where our users are: https://docs.stripe.com/webhooks#retries."""

TIMEOUT = 20.0
"""Seconds that a receiver may take to answer."""

PAUSES = 0.02, 0.25
"""Real seconds between two attempts at a receiver that is away for a moment: doubled from the first to the last."""

OVERLAP = DAY
"""Seconds for which an old secret signs beside the new one: https://docs.stripe.com/webhooks#roll-endpoint-secrets."""

AWAY = 503


class UndeliveredError(Exception):
    """Events are still not accepted though time was given."""


@dataclass(order=True, slots=True)
class Delivery:
    """An event on its way to an endpoint. `due` and `first` are in seconds by the account's clock."""

    due: int
    turn: int
    event: Emitted = field(compare=False)
    endpoint: str = field(compare=False)
    first: int = field(compare=False)
    attempts: int = field(compare=False, default=0)


def sign(body: bytes, secrets: list[str], at: int) -> str:
    """`Stripe-Signature`: a `v1` for each secret, and the `v0` of test mode, which is none.

    https://docs.stripe.com/webhooks#verify-manually; `at` is in seconds since 1970.
    """
    signed = b"%d.%s" % (at, body)
    made = [f"v1={hmac.digest(secret.encode(), signed, 'sha256').hex()}" for secret in secrets]
    return ",".join([f"t={at}", *made, f"v0={hmac.digest(b'test mode', signed, 'sha256').hex()}"])


def rotate(a: Account, endpoint: Json, secret: str, overlap: int = OVERLAP) -> None:
    """Give `endpoint` a new secret; for `overlap` seconds the older ones sign, too."""
    until = a.now() + overlap
    kept = a.store.hidden(endpoint["id"])
    older = [old | {"until": until if old["until"] is None else min(old["until"], until)} for old in kept["secrets"]]
    kept["secrets"] = [{"secret": secret, "until": None}, *older]


def wants(endpoint: Json, type_: str) -> bool:
    """Whether events of this type go to this endpoint."""
    return endpoint["status"] == "enabled" and (
        "*" in endpoint["enabled_events"] or type_ in endpoint["enabled_events"]
    )


class Deliveries:
    """What is on its way. At most `concurrency` are posted at once; with one, strictly in the order of their due times.

    `patience` is for how many real seconds a receiver that is away (no answer, or 503) is asked again before that
    counts as a failed attempt: where simulated days pass in a second, a restart must not cost an event its three days.
    """

    def __init__(
        self,
        account: Account,
        faults: Faults,
        post: Post,
        wall: Callable[[], int],
        *,
        concurrency: int = 16,
        patience: float = 0.0,
    ) -> None:
        """`wall` dates the signatures, in seconds since 1970."""
        self.account = account
        self.faults = faults
        self.concurrency = concurrency
        self.patience = patience
        self.by_itself = False
        """Whether what is due leaves without being told to, as it does while the simulation serves."""

        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self._post = post
        self._wall = wall
        self._turns = 0
        self._waiting: list[Delivery] = []
        self._flying: dict[asyncio.Task[None], Delivery] = {}
        self._again: list[Delivery] = []
        self._hurry = False
        self._broken: BaseException | None = None
        account.on_event.append(self.publish)

    def publish(self, event: Emitted) -> None:
        """Send `event` to all endpoints that want it, as the faults let it."""
        self.counts["events"] += 1
        if (rotation := self.faults.happened()) is not None:
            for endpoint in self.account.store.all("webhook_endpoint"):
                rotate(self.account, endpoint, rotation.secret, rotation.overlap)
        twin = self.faults.twin(event)
        for endpoint in self.account.store.all("webhook_endpoint"):
            if wants(endpoint, event.type):
                self.account.undelivered.setdefault(event.id, set()).add(endpoint["id"])
                for due in self.faults.plan(self.account.now()):
                    self._wait(Delivery(due, 0, event, endpoint["id"], due))
        if twin is not None:
            self.account.publish(twin)
        self._wake()

    def resend(self, event: Emitted) -> int:
        """Send it again, now, whatever became of it; to how many endpoints."""
        now = self.account.now()
        found = [row for row in self.account.store.all("webhook_endpoint") if wants(row, event.type)]
        for endpoint in found:
            self._wait(Delivery(now, 0, event, endpoint["id"], now))
        self._wake()
        return len(found)

    @property
    def next_due(self) -> int | None:
        """When the next attempt is due."""
        return self._waiting[0].due if self._waiting else None

    @property
    def pending(self) -> int:
        """Attempts to come, under way ones included."""
        return len(self._waiting) + len(self._flying) + len(self._again)

    async def room(self) -> None:
        """Let what is due leave; returns when all of it has left, and with a concurrency of one when it has arrived."""
        self._launch()
        while self._flying and (self._due() or len(self._flying) >= self.concurrency):
            await self._landing()
        self._tell()

    async def settle(self) -> None:
        """Deliver all that is due by now."""
        self._launch()
        while self._flying:
            await self._landing()
        self._tell()

    async def flush(self, patience: float) -> None:
        """Deliver all that is pending, however late it would be due, until it is accepted.

        Raises UndeliveredError when nothing has been accepted for `patience` seconds and something is left.
        """
        self._hurry = True
        accepted, end, pause = self.counts["accepted"], time.monotonic() + patience, PAUSES[0]
        try:
            while True:
                await self.settle()
                if self.counts["accepted"] > accepted:
                    accepted, end, pause = self.counts["accepted"], time.monotonic() + patience, PAUSES[0]
                if not self._again:
                    return
                if time.monotonic() > end:
                    raise UndeliveredError(f"{self.pending} deliveries are not accepted: {dict(self.statuses)}")
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSES[1])
                self._retry()
        finally:
            self._hurry = False
            self._retry()

    def start(self) -> None:
        """From now on what is due leaves by itself."""
        self.by_itself = True
        self._launch()

    async def close(self) -> None:
        """Stop what is under way; it waits, with all else, until something delivers again."""
        self.by_itself = False
        flying = dict(self._flying)
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        for task, delivery in flying.items():
            if task.cancelled():
                self._wait(delivery)

    def _wait(self, delivery: Delivery) -> None:
        self._turns += 1
        delivery.turn = self._turns
        heapq.heappush(self._waiting, delivery)

    def _retry(self) -> None:
        for delivery in self._again:
            self._wait(delivery)
        self._again.clear()

    def _due(self) -> bool:
        return bool(self._waiting) and (self._hurry or self._waiting[0].due <= self.account.now())

    def _wake(self) -> None:
        if self.by_itself:
            self._launch()

    def _launch(self) -> None:
        while len(self._flying) < self.concurrency and self._due():
            delivery = heapq.heappop(self._waiting)
            task = asyncio.get_running_loop().create_task(self._deliver(delivery))
            self._flying[task] = delivery
            task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._flying[task]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._broken = error
            log.error("a delivery broke off", exc_info=error)
        self._launch()

    async def _landing(self) -> None:
        await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)

    def _tell(self) -> None:
        if (error := self._broken) is not None:
            self._broken = None
            raise error

    async def _deliver(self, delivery: Delivery) -> None:
        endpoint = self.account.store.get("webhook_endpoint", delivery.endpoint)
        if endpoint is None or endpoint["status"] != "enabled":  # retries end, as at Stripe
            self.counts["endpoint_gone"] += 1
            return
        delivery.attempts += 1
        status = await self._attempt(delivery, endpoint)
        self.statuses[str(status) if status else "no answer"] += 1
        if status is not None and 200 <= status < 300:  # noqa: PLR2004 - HTTP's own numbers for success
            self.counts["accepted"] += 1
            self._accepted(delivery)
            return
        self.counts["failed"] += 1
        if self._hurry:  # attempts of a flush do not use up the three days
            self._again.append(delivery)
            return
        gap = min(FIRST_GAP * 4 ** (delivery.attempts - 1), LONGEST_GAP)
        if delivery.due + gap <= delivery.first + GIVE_UP:
            delivery.due += gap
            self._wait(delivery)
        else:
            self.counts["given_up"] += 1

    async def _attempt(self, delivery: Delivery, endpoint: Json) -> int | None:
        """One attempt; the receiver's status, or None when it did not answer."""
        version = endpoint["api_version"] or CURRENT
        end, pause = time.monotonic() + self.patience, PAUSES[0]
        while True:
            pending = len(self.account.undelivered.get(delivery.event.id, ()))
            version = version if version in delivery.event.objects else CURRENT  # it is older than the endpoint
            body = msgspec.json.format(msgspec.json.encode(delivery.event.body(version, pending)), indent=2)
            headers = {
                "Content-Type": "application/json; charset=utf-8",
                "Cache-Control": "no-cache",
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                "Accept": "*/*; q=0.5, application/xml",
                "Stripe-Signature": sign(body, self._secrets(endpoint), self._wall()),
            }
            status = None
            try:
                async with asyncio.timeout(TIMEOUT):
                    status = await self._post(endpoint["url"], body, headers)
            except (OSError, TimeoutError) as error:
                log.debug("%s did not answer: %r", endpoint["url"], error)
            if status not in {None, AWAY} or time.monotonic() + pause > end:
                return status
            self.counts["receiver_away"] += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSES[1])

    def _secrets(self, endpoint: Json) -> list[str]:
        now = self.account.now()
        kept = self.account.store.hidden(endpoint["id"])["secrets"]
        return [row["secret"] for row in kept if row["until"] is None or now < row["until"]]

    def _accepted(self, delivery: Delivery) -> None:
        missing = self.account.undelivered.get(delivery.event.id)
        if missing is not None:
            missing.discard(delivery.endpoint)
            if not missing:
                del self.account.undelivered[delivery.event.id]
