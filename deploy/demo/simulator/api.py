"""The API's front: addresses, keys, versions, idempotency and request ids, as Stripe's own front does it."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

import msgspec

from deploy.demo.simulator import forms
from deploy.demo.simulator.account import Account, Asked
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form
from deploy.demo.simulator.registry import ROUTES
from deploy.demo.simulator.render import CURRENT, expand, render

VERSION = re.compile(r"20\d\d-\d\d-\d\d(\.\w+)?")


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Kept:
    """The answer that an idempotency key has: https://docs.stripe.com/api/idempotent_requests."""

    method: str
    path: str
    body: str
    answer: Answer


@dataclass(slots=True)
class Api:
    """Answers requests on one account."""

    account: Account
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])

    def answer(self, request: Request) -> Answer:
        """Do what is asked. Never raises StripeError: it is an answer, too."""
        id_ = self.account.store.new_id("req")
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        headers = {"request-id": id_, "content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = key
            if (kept := self.kept.get(key)) is not None:
                return _again(kept, request, headers)
        begun = False
        try:
            version = self._version(request)
            headers["stripe-version"] = version
            work, form = _understood(request)
            begun = True
            asked = None if request.path.startswith("/_sim/") else Asked(id_, key)  # customers and banks ask nobody
            shown = self._do(work, form, asked, version)
            answer = Answer(200, _json(shown), headers)
        except StripeError as error:
            body = {"error": error.body | {"request_log_url": f"https://dashboard.stripe.com/test/logs/{id_}"}}
            answer = Answer(error.status, _json(body), headers)
        # As at Stripe, an answer is kept once the work has begun: what was refused before it may be asked again.
        if key is not None and begun and answer.status not in {409, 429}:
            self.kept[key] = Kept(request.method, request.path, request.body, answer)
        return answer

    def keep(self, request: Request, answer: Answer) -> Answer:
        """Keep an answer that a fault made, under the request's idempotency key."""
        if request.method == "POST" and (key := request.headers.get("idempotency-key")) is not None:
            self.kept.setdefault(key, Kept(request.method, request.path, request.body, answer))
        return answer

    def _version(self, request: Request) -> str:
        _authorize(request.headers.get("authorization", ""))
        version = request.headers.get("stripe-version", CURRENT)
        if not VERSION.fullmatch(version):
            raise StripeError(f"Invalid Stripe API version: {version}")
        return version

    def _do(self, work: Callable[[Account, Form], Json], form: Form, asked: Asked | None, version: str) -> Json:
        self.account.asked = asked
        try:
            made = work(self.account, form)
        finally:
            self.account.asked = None
        return expand(self.account, render(self.account, made, version), form.expand, version)


def _understood(request: Request) -> tuple[Callable[[Account, Form], Json], Form]:
    """What is to be done, and with what. Raises StripeError for an unknown address and for wrong parameters."""
    for route in ROUTES:
        if route.method == request.method and (found := route.pattern.fullmatch(request.path)) is not None:
            values = forms.parse(request.query if request.method in {"GET", "DELETE"} else request.body)
            names = {name: unquote(value) for name, value in found.groupdict().items()}
            return partial(route.answer, **names), forms.read(route.form, values)
    raise StripeError(
        f"Unrecognized request URL ({request.method}: {request.path}). If you are trying to list objects, remove "
        "the trailing slash. If you are trying to retrieve an object, make sure you passed a valid (non-empty) "
        "identifier in your code.",
        status=404,
    )


def _authorize(header: str) -> None:
    scheme, _, given = header.partition(" ")
    key = given.strip()
    if scheme.lower() == "basic":
        key = base64.b64decode(key + "==").decode("ascii", "replace").partition(":")[0]
    if not key:
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    if not key.startswith(("sk_test_", "rk_test_")):
        raise StripeError(f"Invalid API Key provided: {key[:8]}{'*' * 8}{key[-4:]}", status=401)


def _again(kept: Kept, request: Request, headers: dict[str, str]) -> Answer:
    if (kept.method, kept.path, kept.body) == (request.method, request.path, request.body):
        replayed = {"idempotent-replayed": "true", "original-request": kept.answer.headers.get("request-id", "")}
        return Answer(kept.answer.status, kept.answer.body, kept.answer.headers | headers | replayed)
    what = "for a different endpoint" if kept.path != request.path else "with different parameters"
    body = {
        "error": {
            "type": "idempotency_error",
            "message": (
                "Keys for idempotent requests can only be used with the same parameters they were first used with "
                f"({what}). Try using a key other than '{headers['idempotency-key']}' if you meant to execute a "
                "different request."
            ),
        }
    }
    return Answer(400, _json(body), headers)


def _json(body: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(body), indent=2)
