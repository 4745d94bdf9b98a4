"""The controls of the simulation: its clock, its faults, its books; what no real Stripe lets anybody touch."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from deploy.demo.simulator import forms, page
from deploy.demo.simulator.api import Answer, Request
from deploy.demo.simulator.books import books
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.faults import ScriptError, read_script
from deploy.demo.simulator.forms import Form
from deploy.demo.simulator.simulation import PATIENCE, BackwardsError, Simulation
from deploy.demo.simulator.webhooks import OVERLAP, UndeliveredError, rotate

NOT_OURS = Answer(0, b"")
"""Nothing that these controls know; the API may: customers and banks act under `/_sim/`, too."""

Act = Callable[[Simulation, Json, dict[str, str]], Awaitable[Json | bytes]]

CONTROLS: list[tuple[str, re.Pattern[str], Act]] = []


def controls(method: str, path: str) -> Callable[[Act], Act]:
    """Answer `method path`. The function takes the simulation, the parameters, and the texts for `{names}`."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def keep(act: Act) -> Act:
        CONTROLS.append((method, pattern, act))
        return act

    return keep


async def answer(simulation: Simulation, request: Request) -> Answer:
    """Do what is asked, or tell what is wrong with it; NOT_OURS for an unknown address."""
    if (request.method, request.path) == ("GET", "/"):
        return Answer(200, page.show(simulation).encode(), {"content-type": "text/html; charset=utf-8"})
    for method, pattern, act in CONTROLS:
        if method != request.method or (found := pattern.fullmatch(request.path)) is None:
            continue
        status = 200
        try:
            told = await act(simulation, _parameters(request), found.groupdict())
        except StripeError as error:
            status, told = error.status, {"error": error.body}
        except ScriptError as error:
            status, told = 400, {"error": {"type": "invalid_request_error", "message": str(error)}}
        except UndeliveredError as error:
            status, told = 504, {"error": {"type": "api_error", "message": str(error)}}
        body = told if isinstance(told, bytes) else msgspec.json.encode(told)
        return Answer(status, body, {"content-type": "application/json"})
    return NOT_OURS


def _parameters(request: Request) -> Json:
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            found = msgspec.json.decode(request.body)
        except msgspec.DecodeError as error:
            raise StripeError(f"The body is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise StripeError("The body must be a JSON object")
        return found  # pyright: ignore[reportUnknownVariableType] - JSON's objects have texts for keys
    return forms.parse(request.body if request.method == "POST" else request.query)


class Move(Form):
    """Where the clock goes: `to` a time, or `by` so many seconds; `wait` for what is due to be delivered."""

    to: int | None = None
    by: Annotated[int | None, Field(ge=0)] = None
    wait: bool = True


class Flush(Form):
    """For how many seconds without progress a flush goes on."""

    patience: Annotated[float, Field(ge=0)] = PATIENCE


class Choices(Form):
    """What an account's owner may choose: see `account.Settings`."""

    finalize_after: Annotated[int | None, Field(ge=0)] = None
    retries: tuple[int, ...] | None = None
    after_retries: Literal["cancel", "unpaid", "past_due"] | None = None
    invoice_after_retries: Literal["open", "uncollectible", "void"] | None = None
    incomplete_expires: Annotated[int | None, Field(ge=0)] = None
    upcoming: Annotated[int | None, Field(ge=0)] = None


class Rotate(Form):
    """A new secret, made up if it is not given, and for how many seconds the old one signs, too."""

    secret: str | None = None
    overlap: Annotated[int, Field(ge=0)] = OVERLAP


def _clock(s: Simulation) -> Json:
    return {"now": s.account.now(), "start": s.account.start, "next_due": s.account.clock.next_due}


@controls("GET", "/_sim/clock")
async def clock(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """The account's time, and when the next thing happens by itself."""
    return _clock(s)


@controls("POST", "/_sim/clock")
async def move(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """Move time; the answer comes when everything on the way has happened."""
    form = forms.read(Move, given)
    if (form.to is None) == (form.by is None):
        raise StripeError("Give either `to` or `by`.", param="to")
    if form.to is None:
        await s.pass_by(form.by or 0, wait=form.wait)
        return _clock(s)
    try:
        await s.advance(form.to, wait=form.wait)
    except BackwardsError as error:
        raise StripeError(str(error), param="to") from None
    return _clock(s)


@controls("POST", "/_sim/flush")
async def flush(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """Deliver all that is pending, until it is accepted; the clock stands still."""
    await s.flush(forms.read(Flush, given).patience)
    return _deliveries(s)


@controls("GET", "/_sim/books")
async def all_books(s: Simulation, given: Json, names: dict[str, str]) -> bytes:
    """All objects by kind, as they are at one moment, and what only events have told."""
    return msgspec.json.encode(books(s.account))


def _deliveries(s: Simulation) -> Json:
    deliveries = s.deliveries
    return {
        "pending": deliveries.pending,
        "next_due": deliveries.next_due,
        "undelivered_events": len(s.account.undelivered),
        "counts": dict(deliveries.counts),
        "faults": dict(s.faults.counts),
        "statuses": dict(deliveries.statuses),
    }


@controls("GET", "/_sim/deliveries")
async def delivered(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """What was delivered, what is pending, and what the faults did."""
    return _deliveries(s)


@controls("POST", "/_sim/faults")
async def faults(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """Follow a script from now on; an empty one ends all faults."""
    script = read_script(given)
    s.faults.follow(script)
    return script.model_dump(mode="json")


@controls("GET", "/_sim/faults")
async def script(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """The script that is followed."""
    return s.faults.script.model_dump(mode="json")


@controls("POST", "/_sim/settings")
async def settings(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """Choose as in Stripe's dashboard."""
    for name, value in forms.read(Choices, given).model_dump(exclude_unset=True, exclude={"expand"}).items():
        setattr(s.account.settings, name, value)
    return asdict(s.account.settings)


@controls("POST", "/_sim/events/{id}/resend")
async def resend(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """Send an event again, as the dashboard's button does."""
    event = s.account.events.get(names["id"])
    if event is None:
        raise missing("event", names["id"])
    return {"id": event.id, "endpoints": s.deliveries.resend(event)}


@controls("POST", "/_sim/webhook_endpoints/{id}/rotate")
async def roll(s: Simulation, given: Json, names: dict[str, str]) -> Json:
    """Roll an endpoint's secret, as the dashboard's button does; tells the new one."""
    form, endpoint = forms.read(Rotate, given), s.account.store.need("webhook_endpoint", names["id"])
    secret = form.secret or f"whsec_{s.account.store.letters(32)}"
    rotate(s.account, endpoint, secret, form.overlap)
    return endpoint | {"secret": secret}


def known() -> list[tuple[str, str]]:
    """Method and address of every control, for documentation."""
    found: list[tuple[str, Any]] = [(method, pattern.pattern) for method, pattern, _ in CONTROLS]
    return [(method, re.sub(r"\(\?P<(\w+)>\[\^/\]\+\)", r"{\1}", path)) for method, path in found]
