"""Things go wrong on purpose, by a seeded script: processes die, Redis forgets, webhooks come late and in disorder."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from deploy.demo.stripe_client import StripeClient
from intake.commands.machine import Machine
from worker.embedded import EmbeddedValkey

DECK = {
    "kill a worker": 6, "kill the door": 3, "wipe Redis": 4, "kill Redis": 3, "disorder": 6, "API faults": 4, "roll": 1,
}  # fmt: skip
"""How often each deed is done while the history is played. What dies often is started again ever more slowly."""

LIVE_SECONDS = 12, 25
"""Real seconds between two deeds while the clock runs at a watchable pace, at least and at most."""

DAY = 86_400


@dataclass(slots=True)
class Chaos:
    """Does the deeds; all of them are told."""

    seed: int
    machine: Machine
    stripe: StripeClient
    next_secret: str
    """What the door also accepts from the beginning: the signing secret is rolled to it once."""

    done: Counter[str] = field(default_factory=Counter[str])
    chance: random.Random = field(init=False)
    _script: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed}.chaos")

    def plan(self, start: int, end: int) -> list[tuple[int, str]]:
        """The deck, dealt over the time from `start` to `end` (seconds since 1970), in order."""
        deck = [deed for deed, times in DECK.items() for _ in range(times)]
        dealt = sorted((self.chance.randint(start, end - DAY), deed) for deed in deck)
        return [(start, "disorder"), *dealt]

    def any(self) -> str:
        """A deed for the live part, where secrets are left alone."""
        deeds = [deed for deed in DECK if deed != "roll"]
        return self.chance.choices(deeds, weights=[DECK[deed] for deed in deeds])[0]

    def do(self, deed: str) -> str:
        """Do it. Returns what was done."""
        acts: dict[str, Callable[[], str | None]] = {
            "kill a worker": self._kill_worker,
            "kill the door": lambda: self._kill_role("intake"),
            "wipe Redis": self._wipe,
            "kill Redis": self._kill_redis,
            "disorder": self._disorder,
            "API faults": self._api_faults,
            "roll": self._roll,
        }
        told = acts[deed]()
        if told is None:
            return f"{deed}: it was dead already"
        self.done[deed] += 1
        return told

    def calm(self) -> None:
        """End all faults of Stripe's, for the last comparison."""
        self._script = {}
        self.stripe.post_json("/_sim/faults", {})

    def _kill_worker(self) -> str | None:
        workers = [role for role in self.machine.supervisor.roles if role.name.startswith("worker-")]
        return self._kill_role(min(workers, key=lambda role: (role.deaths, role.name)).name)  # each dies as often

    def _kill_role(self, name: str) -> str | None:
        process = next((role.process for role in self.machine.supervisor.roles if role.name == name), None)
        if process is None or process.poll() is not None:
            return None
        process.kill()
        return f"{name} (process {process.pid}) killed with SIGKILL"

    def _redis(self) -> EmbeddedValkey:
        return next(server for server in self.machine.servers.running if isinstance(server, EmbeddedValkey))

    def _wipe(self) -> str | None:
        with redis.Redis(unix_socket_path=str(self._redis().socket), socket_timeout=5) as client:
            try:
                client.flushall()  # pyright: ignore[reportUnknownMemberType] - redis leaves its options untyped
            except redis.RedisError:
                return None
        return "Redis wiped with FLUSHALL"

    def _kill_redis(self) -> str | None:
        process = self._redis().process
        if process is None or process.poll() is not None:
            return None
        process.kill()
        return f"Redis (process {process.pid}) killed with SIGKILL"

    def _disorder(self) -> str:
        duplicate, reorder = self.chance.choice((5, 15, 30)), self.chance.choice((20, 50, 80))
        delay, twin = self.chance.choice((2, 5, 10)), self.chance.choice((0, 3, 6))
        drop = self.chance.choice((0, 2, 5))
        self._script["webhooks"] = {
            "duplicate": {"p": duplicate / 100, "copies": self.chance.randint(1, 3), "within": 2 * DAY},
            "reorder": {"p": reorder / 100, "within": self.chance.choice((60, 3600, 6 * 3600))},
            "delay": {"p": delay / 100, "up_to": 3 * DAY},
            "twin": {"p": twin / 100},
            "burst": {"p": 0.001, "seconds": 8 * 3600},
            "drop": {"p": drop / 1000},
        }
        self._follow()
        return (
            f"from now on {duplicate} % of webhooks come again, {reorder} % out of order, "
            f"{delay} % up to three days late, {twin} % under a second id, {drop / 10:g} % never"
        )

    def _api_faults(self) -> str:
        often = self.chance.choice((1, 2, 4))
        kinds = ("rate_limit", "error", "drop_before", "drop_after")
        self._script["api"] = [{"kind": kind, "p": often / 100} for kind in kinds]
        self._follow()
        return f"Stripe's API fails: {often} % each of 429, of 500, of connections lost before and after the work"

    def _follow(self) -> None:
        self.stripe.post_json("/_sim/faults", self._script | {"seed": self.chance.randrange(2**31)})

    def _roll(self) -> str:
        for endpoint in self.stripe.get("/v1/webhook_endpoints")["data"]:
            self.stripe.post(f"/_sim/webhook_endpoints/{endpoint['id']}/rotate", secret=self.next_secret)
        return "the signing secret is rolled; for a day both sign"


def told(done: Counter[str]) -> Sequence[str]:
    """The deeds and how often, the most frequent first."""
    return [f"{deed}: {times}" for deed, times in done.most_common()]
