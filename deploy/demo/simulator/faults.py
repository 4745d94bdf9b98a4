"""What goes wrong between Stripe and its user, by a seeded script: events come late or never, answers get lost."""

import difflib
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec
from pydantic import Field, ValidationError

from deploy.demo.simulator.account import DAY, Emitted
from deploy.demo.simulator.api import Answer, Request
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import Part
from deploy.demo.simulator.store import ALPHABET

Chance = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[int, Field(ge=0)]

LATEST = 3 * DAY
"""Stripe may deliver three days late: https://docs.stripe.com/webhooks#retries."""


class ScriptError(ValueError):
    """A fault script that cannot be followed; it says where and why."""


class Duplicate(Part):
    """The same event comes again: one to `copies` more times, each up to `within` seconds later."""

    p: Chance
    copies: Annotated[int, Field(ge=1, le=20)] = 1
    within: Seconds = 3600


class Reorder(Part):
    """An event comes up to `within` seconds late, so that later ones overtake it."""

    p: Chance
    within: Seconds = 60


class Delay(Part):
    """An event comes up to `up_to` seconds late."""

    p: Chance
    up_to: Annotated[int, Field(ge=1, le=LATEST)] = LATEST


class Drop(Part):
    """An event never comes; the events list knows it as not delivered."""

    p: Chance


class Burst(Part):
    """Now and then all events are held back for `seconds`, and then come at once."""

    p: Chance
    seconds: Annotated[int, Field(ge=1, le=LATEST)]


class Twin(Part):
    """The same change comes under two event ids: https://docs.stripe.com/webhooks#handle-duplicate-events."""

    p: Chance


class Rotate(Part):
    """After `after` events every endpoint's secret becomes `secret`; for `overlap` seconds the old one signs, too."""

    after: Annotated[int, Field(ge=1)]
    secret: Annotated[str, Field(pattern=r"^whsec_\w+$")]
    overlap: Seconds = DAY


class WebhookFaults(Part):
    """What happens to events on their way."""

    duplicate: Duplicate | None = None
    reorder: Reorder | None = None
    delay: Delay | None = None
    drop: Drop | None = None
    burst: Burst | None = None
    twin: Twin | None = None
    rotate: Rotate | None = None


class Kind(StrEnum):
    """What happens to a request."""

    RATE_LIMIT = "rate_limit"
    """429; nothing is done, and no key remembers it."""

    ERROR = "error"
    """500; kept under the idempotency key, as Stripe does."""

    TIMEOUT = "timeout"
    """No answer for `seconds`, then the connection ends; nothing was done."""

    DROP_BEFORE = "drop_before"
    """The connection ends; nothing was done."""

    DROP_AFTER = "drop_after"
    """The work was done, then the connection ends; its idempotency key replays the answer."""


class ApiFault(Part):
    """Requests that match `method` and `path` (`*` for any text) go wrong: with chance `p`, or the `nth` of them."""

    kind: Kind
    method: str = "*"
    path: str = "*"
    p: Chance = 0
    nth: tuple[Annotated[int, Field(ge=1)], ...] = ()
    times: Annotated[int, Field(ge=1)] | None = None
    """No more often than this."""

    retry_after: Seconds | None = None
    should_retry: bool | None = None
    seconds: Annotated[float, Field(ge=0, le=600)] = 30


class Script(Part):
    """All that goes wrong. An empty one: nothing does. Without a `seed` it is the simulation's."""

    seed: int | None = None
    webhooks: WebhookFaults = WebhookFaults()
    api: tuple[ApiFault, ...] = ()


KNOWN = sorted({
    name
    for part in (Script, WebhookFaults, ApiFault, Duplicate, Reorder, Delay, Drop, Burst, Twin, Rotate)
    for name in part.model_fields
})  # fmt: skip


def read_script(script: Any) -> Script:
    """A script from JSON. Raises ScriptError, which names each place and what may have been meant."""
    try:
        return Script.model_validate(script)
    except ValidationError as error:
        raise ScriptError("; ".join(_told(wrong) for wrong in error.errors())) from None


def _told(wrong: Any) -> str:
    place = ".".join(str(part) for part in wrong["loc"]) or "the script"
    if wrong["type"] != "extra_forbidden":
        return f"{place}: {wrong['msg']}"
    meant = difflib.get_close_matches(str(wrong["loc"][-1]), KNOWN, n=1)
    return f"{place} is not known" + (f": did you mean {meant[0]}?" if meant else "")


@dataclass(slots=True)
class Faults:
    """Follows a script. What it decides depends on the seed and on how many events and requests there were before."""

    seed: int
    script: Script = field(default_factory=Script)
    counts: Counter[str] = field(default_factory=Counter[str])
    _deliveries: int = 0
    _events: int = 0
    _held_until: int = 0
    _ids: int = 0
    _twins: set[str] = field(default_factory=set[str])
    _matched: Counter[int] = field(default_factory=Counter[int])
    _done: Counter[int] = field(default_factory=Counter[int])

    def follow(self, script: Script) -> None:
        """From now on by this script; what was counted stays."""
        self.script = script
        self._deliveries = self._events = self._held_until = 0
        self._matched.clear()
        self._done.clear()

    def _chance(self, *what: object) -> random.Random:
        seed = self.seed if self.script.seed is None else self.script.seed
        return random.Random("/".join(map(str, (seed, *what))))

    def _letters(self, length: int) -> str:
        """For an id: never the same twice, however often a script begins anew."""
        self._ids += 1
        return "".join(random.Random(f"{self.seed}/id/{self._ids}").choices(ALPHABET, k=length))

    def plan(self, now: int) -> list[int]:
        """When one event comes to one endpoint: at these times, none when it never does."""
        self._deliveries += 1
        rules = self.script.webhooks
        if rules == _NONE:
            return [now]
        chance = self._chance("delivery", self._deliveries)
        if rules.drop is not None and chance.random() < rules.drop.p:
            self.counts["dropped"] += 1
            return []
        due = now
        if rules.delay is not None and chance.random() < rules.delay.p:
            self.counts["delayed"] += 1
            due += chance.randint(1, rules.delay.up_to)
        if rules.reorder is not None and chance.random() < rules.reorder.p:
            self.counts["reordered"] += 1
            due += chance.randint(0, rules.reorder.within)
        due = max(due, self._held(now, chance))
        dues = [due]
        if rules.duplicate is not None and chance.random() < rules.duplicate.p:
            copies = chance.randint(1, rules.duplicate.copies)
            self.counts["duplicated"] += copies
            dues += [due + chance.randint(0, rules.duplicate.within) for _ in range(copies)]
        return dues

    def _held(self, now: int, chance: random.Random) -> int:
        burst = self.script.webhooks.burst
        if burst is None:
            return now
        if now >= self._held_until and chance.random() < burst.p:
            self._held_until = now + burst.seconds
            self.counts["bursts"] += 1
        if now >= self._held_until:
            return now
        self.counts["held"] += 1
        return self._held_until

    def twin(self, event: Emitted) -> Emitted | None:
        """The same change under another id, if there is to be one."""
        rule = self.script.webhooks.twin
        if rule is None or event.id in self._twins:
            return None
        chance = self._chance("twin", self._events)
        if chance.random() >= rule.p:
            return None
        self.counts["twins"] += 1
        id_ = f"evt_1{self._letters(23)}"
        self._twins.add(id_)
        return replace(event, id=id_)

    def happened(self) -> Rotate | None:
        """One more event happened; the secret's rotation, if it is due with this one."""
        self._events += 1
        rotate = self.script.webhooks.rotate
        if rotate is None or self._events != rotate.after:
            return None
        self.counts["rotated"] += 1
        return rotate

    def on_request(self, method: str, path: str) -> ApiFault | None:
        """What goes wrong with this request, if anything does. The first rule that applies wins."""
        hit: ApiFault | None = None
        for number, rule in enumerate(self.script.api):
            if rule.method not in {"*", method} or not fnmatchcase(path, rule.path):
                continue
            self._matched[number] += 1
            nth = self._matched[number]
            if hit is not None or (rule.times is not None and self._done[number] >= rule.times):
                continue
            if nth in rule.nth or self._chance("request", number, nth).random() < rule.p:
                self._done[number] += 1
                self.counts[f"api_{rule.kind}"] += 1
                hit = rule
        return hit

    def answer(self, fault: ApiFault, request: Request) -> Answer:
        """The answer of a Stripe that is too busy (429) or broken (500)."""
        headers = {"request-id": f"req_{self._letters(14)}", "content-type": "application/json"}
        if (key := request.headers.get("idempotency-key")) is not None and request.method == "POST":
            headers["idempotency-key"] = key
        if fault.retry_after is not None:
            headers["retry-after"] = str(fault.retry_after)
        if fault.should_retry is not None:
            headers["stripe-should-retry"] = str(fault.should_retry).lower()
        status, error = _ERRORS[fault.kind]
        return Answer(status, msgspec.json.format(msgspec.json.encode({"error": error}), indent=2), headers)


_NONE = WebhookFaults()

_ERRORS: dict[Kind, tuple[int, Json]] = {
    Kind.RATE_LIMIT: (
        429,
        {
            "type": "invalid_request_error",
            "code": "rate_limit",
            "doc_url": "https://stripe.com/docs/error-codes/rate-limit",
            "message": "Request rate limit exceeded. Learn more about rate limits here "
            "https://stripe.com/docs/rate-limits.",
        },
    ),
    Kind.ERROR: (
        500,
        {
            "type": "api_error",
            "message": "An unknown error occurred. Contact support@stripe.com with any questions.",
        },
    ),
}
