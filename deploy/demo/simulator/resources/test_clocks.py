"""Test clocks: some customers live in a time of their own, which their maker moves."""

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Text
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources import deleted_customers
from deploy.demo.simulator.store import page
from deploy.demo.simulator.timers import Clock

KIND = "test_helpers.test_clock"

LIFE = 30 * DAY
"""Stripe deletes a test clock after thirty days: https://docs.stripe.com/billing/testing/test-clocks."""


class Create(Form):
    """https://docs.stripe.com/api/test_clocks/create."""

    frozen_time: int
    name: Text = None


class Advance(Form):
    """https://docs.stripe.com/api/test_clocks/advance."""

    frozen_time: int


@route("POST", "/v1/test_helpers/test_clocks", Create)
def create(a: Account, form: Create) -> Json:
    """A clock that stands at `frozen_time` until it is advanced."""
    clock = a.add(
        {
            "id": a.store.new_id("clock"),
            "object": KIND,
            "created": a.now(),
            "deletes_after": a.now() + LIFE,
            "frozen_time": form.frozen_time,
            "livemode": False,
            "name": form.name,
            "status": "ready",
            "status_details": {},
        }
    )
    a.clocks[clock["id"]] = Clock(form.frozen_time)
    a.clock.at(clock["deletes_after"], lambda: _forget(a, clock))
    a.emit(f"{KIND}.created", clock)
    return clock


@route("GET", "/v1/test_helpers/test_clocks", ListForm)
def listed(a: Account, form: ListForm) -> Json:
    """Test clocks, newest first."""
    return page(a.store.all(KIND), form, "/v1/test_helpers/test_clocks")


@route("GET", "/v1/test_helpers/test_clocks/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A test clock."""
    return a.store.need(KIND, id)


@route("POST", "/v1/test_helpers/test_clocks/{id}/advance", Advance)
def advance(a: Account, form: Advance, id: str) -> Json:
    """Move the clock: what is due on the way happens to its customers.

    The answer says `advancing`, as Stripe's does; whoever asks next finds it `ready`.
    """
    clock = a.store.need(KIND, id)
    if form.frozen_time <= clock["frozen_time"]:
        raise StripeError(
            "The frozen_time must be after the test clock's current frozen time "
            f"({form.frozen_time} is not after {clock['frozen_time']}).",
            param="frozen_time",
        )
    a.asked, asked = None, a.asked  # time brings what happens now, not the request
    clock |= {"status": "advancing", "status_details": {"advancing": {"target_frozen_time": form.frozen_time}}}
    answer = dict(clock)
    a.emit(f"{KIND}.advancing", clock)
    a.clocks[id].move(form.frozen_time)
    clock |= {"frozen_time": form.frozen_time, "status": "ready", "status_details": {}}
    a.emit(f"{KIND}.ready", clock)
    a.asked = asked
    return answer


@route("DELETE", "/v1/test_helpers/test_clocks/{id}")
def delete(a: Account, form: Form, id: str) -> Json:
    """Forget the clock, and its customers with it."""
    clock = a.store.need(KIND, id)
    _forget(a, clock)
    return {"id": id, "object": KIND, "deleted": True}


def _forget(a: Account, clock: Json) -> None:
    if a.store.get(KIND, clock["id"]) is None:
        return
    for customer in a.store.all("customer"):
        if customer.get("test_clock") == clock["id"] and "deleted" not in customer:
            deleted_customers.delete(a, Form(), customer["id"])
    a.store.remove(clock)
    a.emit(f"{KIND}.deleted", clock)
