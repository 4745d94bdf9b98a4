"""What Stripe refused in the recordings, the simulator refuses alike: status, type, code and parameter."""

from urllib.parse import parse_qsl

import pytest

from deploy.demo.simulator.api import Api
from tests.conftest import PAYLOADS
from tests.simulator import recordings
from tests.simulator.kit import Json, ask, new_api

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the recorded payloads are not here")

GONE = {
    "test_get_upcoming_invoice": "the address is gone since basil",
    "test_fails_when_subscribing_with_no_payment_method": "subscribing by plan",
    "test_handles_exception_when_creating_a_subscription": "subscribing by plan",
}
"""What the simulator does not have."""

FIELDS = ("type", "code", "decline_code", "param")


def refusals() -> list[recordings.Refusal]:
    """Those that can be asked again."""
    return [one for one in recordings.refusals() if one.where not in GONE] if PAYLOADS.is_dir() else []


def _like(api: Api, recorded: recordings.Refusal) -> Json:
    """The recorded parameters, with our customer and price where Stripe knew theirs."""
    params: Json = dict(parse_qsl(recorded.body))
    if "customer" in params:
        params["customer"] = ask(api, "POST", "/v1/customers", {"name": "Ada"})[1]["id"]
    if params.get("items[0][price]", "invalid") != "invalid":
        price = {
            "currency": "usd",
            "unit_amount": 100,
            "recurring": {"interval": "month"},
            "product_data": {"name": "A"},
        }
        params["items[0][price]"] = ask(api, "POST", "/v1/prices", price)[1]["id"]
    return params


@pytest.mark.parametrize("recorded", refusals(), ids=lambda one: one.where)
def test_a_like_request_is_refused_alike(recorded: recordings.Refusal) -> None:
    api = new_api()
    headers = {"stripe_version": recorded.version}
    params = _like(api, recorded)
    if recorded.status == 401:
        headers["authorization"] = "Bearer sk_live_unknown"
    status, body, _ = ask(api, recorded.method, recorded.path, params, **headers)
    assert status == recorded.status, body
    assert {name: body["error"].get(name) for name in FIELDS} == {name: recorded.error.get(name) for name in FIELDS}
