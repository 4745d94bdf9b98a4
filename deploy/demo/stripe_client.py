"""The company talks to its Stripe over HTTP, as its own software would; what fails on the way is tried again."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

Json = dict[str, Any]

TRIES = 10
"""How often one request is made before it is given up."""

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
"""Seconds before a request is made again: doubled each time, up to the longest."""

TIMEOUT = 20.0
"""Seconds that an answer may take."""

PATIENT = 600.0
"""Seconds that a move of the clock may take: it answers when what fell due was delivered."""

CONFLICT, LIMITED, FAULTY = 409, 429, 500


class RefusedError(Exception):
    """Stripe answered, and the answer was no: `status`, and Stripe's own `error` object."""

    def __init__(self, request: str, status: int, error: Json) -> None:
        """`request` is the method and path, for whoever reads the message."""
        super().__init__(f"{request}: {status} {error.get('message') or error}")
        self.status = status
        self.error = error


class UnreachableError(Exception):
    """There was no answer, however often the request was made."""


class StoppedError(Exception):
    """The demo was told to stop."""


@dataclass(slots=True)
class StripeClient:
    """One connection to the simulated Stripe; used by one thread.

    Every POST has an idempotency key of its own, which its repetitions share, so that work whose answer was lost is not
    done twice: https://docs.stripe.com/api/idempotent_requests.
    """

    address: str
    secret_key: str
    name: str
    """Begins the idempotency keys."""

    stopping: threading.Event = field(default_factory=threading.Event, repr=False)
    """Once it is set, every request raises StoppedError."""

    before_write: Callable[[], None] = lambda: None
    """Called before each POST that changes something; the clock's own moves are not among them."""

    repeated: int = 0
    """How many requests had to be made again."""

    _keys: int = 0
    _connection: HTTPConnection | None = field(default=None, repr=False)

    def get(self, path: str, **parameters: Any) -> Json:
        """`GET path`. Raises RefusedError, UnreachableError."""
        query = encoded(parameters)
        return self._ask("GET", f"{path}?{query}" if query else path)

    def post(self, path: str, **parameters: Any) -> Json:
        """`POST path`. Raises RefusedError, UnreachableError."""
        self.before_write()
        return self._ask("POST", path, encoded(parameters), keyed=not path.startswith("/_sim/"))

    def delete(self, path: str, **parameters: Any) -> Json:
        """`DELETE path`. Raises RefusedError, UnreachableError."""
        query = encoded(parameters)
        return self._ask("DELETE", f"{path}?{query}" if query else path)

    def post_json(self, path: str, body: Mapping[str, Any]) -> Json:
        """`POST path` with a JSON body, as the simulator's control routes take scripts. Raises as `post`."""
        return self._ask("POST", path, json.dumps(body), content_type="application/json", keyed=False)

    def move_clock(self, to: int) -> int:
        """Move Stripe's clock to `to` (seconds since 1970), and wait until what fell due was delivered once.

        Returns where it stands, which is never before `to`.
        """
        return int(self._ask("POST", "/_sim/clock", encoded({"to": to, "wait": True}), patience=PATIENT)["now"])

    def flush(self) -> Json:
        """Deliver all that is still to be delivered, however late it would be due."""
        return self._ask("POST", "/_sim/flush", patience=PATIENT)

    def _ask(
        self,
        method: str,
        target: str,
        body: str = "",
        *,
        content_type: str = "application/x-www-form-urlencoded",
        keyed: bool = False,
        patience: float = TIMEOUT,
    ) -> Json:
        headers = {"Authorization": f"Bearer {self.secret_key}", "Content-Type": content_type}
        if keyed:
            headers["Idempotency-Key"] = self._new_key()
        request = f"{method} {target.partition('?')[0]}"
        last = "no answer"
        for attempt in range(TRIES):
            if attempt:
                self.repeated += 1
            if self.stopping.wait(min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT) if attempt else 0):
                raise StoppedError
            try:
                status, answer = self._once(method, target, body, headers, patience)
            except (OSError, HTTPException, ValueError) as error:
                self.close()
                last = repr(error)
                continue
            if status in {CONFLICT, LIMITED} or status >= FAULTY:
                last = f"{status} {answer.get('error', {}).get('message', '')}"
                if keyed and status >= FAULTY:  # Stripe keeps a 500 under its key, and would only repeat it
                    headers["Idempotency-Key"] = self._new_key()
                continue
            if status >= 400:  # noqa: PLR2004 - HTTP's errors begin here
                raise RefusedError(request, status, answer.get("error", answer))
            return answer
        raise UnreachableError(f"{request} was tried {TRIES} times: {last}")

    def _new_key(self) -> str:
        self._keys += 1
        return f"{self.name}-{self._keys}"

    def _once(
        self, method: str, target: str, body: str, headers: Mapping[str, str], patience: float
    ) -> tuple[int, Json]:
        connection = self._connection
        if connection is None:
            connection = self._connection = HTTPConnection(urlsplit(self.address).netloc, timeout=TIMEOUT)
            connection.connect()
        connection.sock.settimeout(patience)
        connection.request(method, target, body.encode(), dict(headers))
        answer = connection.getresponse()
        read = answer.read()
        if answer.will_close:
            self.close()
        return answer.status, cast("Json", json.loads(read)) if read else {}

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def encoded(parameters: Mapping[str, Any]) -> str:
    """Stripe's form encoding: `items[0][price]=p`; what is None is left out, an empty text unsets."""
    return urlencode(list(_pairs(parameters)))


def _pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            yield from _pairs(inner, f"{name}[{key}]" if name else key)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for place, inner in enumerate(cast("Sequence[Any]", value)):
            yield from _pairs(inner, f"{name}[{place}]")
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    else:
        yield name, str(value)
