"""Events: what happened on the account in the last thirty days, for whoever missed a webhook."""

from typing import Any

from pydantic import Field

from deploy.demo.simulator.account import DAY, Account, Emitted
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import Form, ListForm
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import CURRENT
from deploy.demo.simulator.store import page

KEPT = 30 * DAY
"""Seconds for which events can be asked for: https://docs.stripe.com/api/events."""


class List(ListForm):
    """https://docs.stripe.com/api/events/list."""

    type: str | None = None
    types: list[str] | None = Field(default=None, max_length=20)
    delivery_success: bool | None = None


@route("GET", "/v1/events", List)
def listed(a: Account, form: List) -> Json:
    """Events of the last thirty days, newest first.

    https://docs.stripe.com/webhooks/process-undelivered-events tells how what was missed is found.
    """
    if form.type is not None and form.types is not None:
        raise StripeError("You may only specify one of these parameters: type, types.", param="types")
    patterns = form.types if form.types is not None else [form.type] if form.type is not None else None
    oldest = a.now() - KEPT
    cursor = form.starting_after or form.ending_before
    rows: list[dict[str, Any]] = [
        {"id": event.id, "created": event.created}
        for event in a.events.values()
        if event.id == cursor  # it need not be of those asked for: the last one that came, before what did not come
        or (
            event.created >= oldest
            and (patterns is None or any(matches(pattern, event.type) for pattern in patterns))
            and (form.delivery_success is None or form.delivery_success is (event.id not in a.undelivered))
        )
    ]
    found = page(rows, form, "/v1/events")
    return found | {"data": [shown(a, a.events[row["id"]]) for row in found["data"]]}


@route("GET", "/v1/events/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """An event, as long as it is not older than thirty days."""
    event = a.events.get(id)
    if event is None or event.created < a.now() - KEPT:
        raise missing("event", id)
    return shown(a, event)


def shown(a: Account, event: Emitted) -> Json:
    """The event in the account's version, with the number of endpoints that have not accepted it."""
    return event.body(CURRENT, len(a.undelivered.get(event.id, ())))


def matches(pattern: str, type_: str) -> bool:
    """Whether `pattern` (a type, or a group such as `charge.*`) names the type."""
    return type_.startswith(pattern[:-1]) if pattern.endswith("*") else type_ == pattern
