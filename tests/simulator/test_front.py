"""The API's front: keys, versions, idempotency, request ids, expansion, as Stripe documents them."""

import base64
from typing import Any

import pytest

from deploy.demo.simulator.api import Answer, Api, Request
from deploy.demo.simulator.render import CURRENT
from tests.simulator.kit import KEY, Json, ask, new_api


@pytest.fixture
def api() -> Api:
    return new_api()


def customers(api: Api) -> int:
    return len(api.account.store.all("customer"))


class TestKeys:
    """https://docs.stripe.com/api/authentication."""

    @pytest.mark.parametrize(
        "header",
        [f"Bearer {KEY}", "Bearer rk_test_1", "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()],
    )
    def test_a_test_key_opens(self, api: Api, header: str) -> None:
        assert ask(api, "GET", "/v1/customers", authorization=header)[0] == 200

    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer sk_live_1234567890", "Bearer pk_test_1", "Basic !"])
    def test_another_does_not(self, api: Api, header: str) -> None:
        status, body, _ = ask(api, "GET", "/v1/customers", authorization=header)
        assert (status, body["error"]["type"]) == (401, "invalid_request_error")

    def test_a_wrong_key_is_not_shown_whole(self, api: Api) -> None:
        _, body, _ = ask(api, "GET", "/v1/customers", authorization="Bearer sk_live_abcdefghijklmnop")
        assert "abcdefgh" not in body["error"]["message"]


class TestVersions:
    """https://docs.stripe.com/api/versioning."""

    def test_the_version_asked_for_is_answered(self, api: Api) -> None:
        assert ask(api, "GET", "/v1/customers")[2]["stripe-version"] == CURRENT
        assert ask(api, "GET", "/v1/customers", stripe_version="2020-08-27")[2]["stripe-version"] == "2020-08-27"

    def test_what_is_no_version_is_refused(self, api: Api) -> None:
        status, body, _ = ask(api, "GET", "/v1/customers", stripe_version="yesterday")
        assert status == 400
        assert "Invalid Stripe API version" in body["error"]["message"]


class TestIdempotency:
    """https://docs.stripe.com/api/idempotent_requests."""

    def test_the_same_key_is_answered_the_same_and_does_nothing(self, api: Api) -> None:
        first = ask(api, "POST", "/v1/customers", {"name": "Ada"}, idempotency_key="k1")
        again = ask(api, "POST", "/v1/customers", {"name": "Ada"}, idempotency_key="k1")
        assert again[:2] == first[:2]
        assert again[2]["idempotent-replayed"] == "true"
        assert again[2]["original-request"] == first[2]["request-id"]
        assert "idempotent-replayed" not in first[2]
        assert customers(api) == 1

    @pytest.mark.parametrize(
        ("path", "params"), [("/v1/customers", {"name": "Eve"}), ("/v1/customers/cus_1", {"name": "Ada"})]
    )
    def test_another_request_under_a_used_key_is_refused(self, api: Api, path: str, params: Json) -> None:
        ask(api, "POST", "/v1/customers", {"name": "Ada"}, idempotency_key="k1")
        status, body, headers = ask(api, "POST", path, params, idempotency_key="k1")
        assert (status, body["error"]["type"]) == (400, "idempotency_error")
        assert headers["idempotency-key"] == "k1"
        assert customers(api) == 1

    def test_an_error_of_the_work_is_kept(self, api: Api) -> None:
        first = ask(api, "POST", "/v1/customers/cus_none", {"name": "Ada"}, idempotency_key="k1")
        again = ask(api, "POST", "/v1/customers/cus_none", {"name": "Ada"}, idempotency_key="k1")
        assert first[0] == 404
        assert again[1] == first[1]
        assert again[2]["idempotent-replayed"] == "true"

    @pytest.mark.parametrize(
        ("params", "headers"), [({"colour": "blue"}, {}), ({"name": "Ada"}, {"authorization": "Bearer none"})]
    )
    def test_what_was_refused_before_the_work_may_be_mended_under_the_same_key(
        self, api: Api, params: Json, headers: dict[str, str]
    ) -> None:
        assert ask(api, "POST", "/v1/customers", params, idempotency_key="k1", **headers)[0] in {400, 401}
        assert ask(api, "POST", "/v1/customers", {"name": "Ada"}, idempotency_key="k1")[0] == 200

    def test_a_failure_of_stripes_own_is_kept(self, api: Api) -> None:
        """500s included: a client that repeats it learns nothing new."""
        request = Request(
            "POST", "/v1/customers", "", {"idempotency-key": "k1", "authorization": f"Bearer {KEY}"}, "name=A"
        )
        api.keep(request, Answer(500, b'{"error": {"type": "api_error"}}'))
        again = api.answer(request)
        assert (again.status, again.headers["idempotent-replayed"]) == (500, "true")
        assert customers(api) == 0

    def test_reading_has_no_keys(self, api: Api) -> None:
        ask(api, "GET", "/v1/customers", idempotency_key="k1")
        assert ask(api, "POST", "/v1/customers", {"name": "Ada"}, idempotency_key="k1")[0] == 200


class TestRequests:
    """https://docs.stripe.com/api/request_ids."""

    def test_each_has_an_id_that_its_events_tell(self, api: Api) -> None:
        _, _, headers = ask(api, "POST", "/v1/customers", {"name": "Ada"}, idempotency_key="k1")
        (event,) = api.account.events.values()
        assert event.body(CURRENT, 1)["request"] == {"id": headers["request-id"], "idempotency_key": "k1"}
        assert ask(api, "GET", "/v1/customers")[2]["request-id"] != headers["request-id"]

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/v1/moonbeams"), ("PUT", "/v1/customers"), ("GET", "/v1/customers/")]
    )
    def test_an_unknown_address_is_told(self, api: Api, method: str, path: str) -> None:
        status, body, headers = ask(api, method, path)
        assert status == 404
        assert body["error"]["message"].startswith(f"Unrecognized request URL ({method}: {path})")
        assert headers["request-id"] in body["error"]["request_log_url"]

    def test_what_is_not_there_is_a_404_that_names_it(self, api: Api) -> None:
        status, body, _ = ask(api, "GET", "/v1/customers/cus_none")
        error: dict[str, Any] = body["error"]
        assert (status, error["code"], error["param"]) == (404, "resource_missing", "id")
        assert error["message"] == "No such customer: 'cus_none'"
        assert error["doc_url"].endswith("/resource-missing")


class TestExpansion:
    """https://docs.stripe.com/api/expanding_objects."""

    @pytest.mark.parametrize("path", ["moon", "id", "name", "moon.beam"])
    def test_what_cannot_be_expanded_is_told(self, api: Api, path: str) -> None:
        _, made, _ = ask(api, "POST", "/v1/customers", {"name": "Ada"})
        status, body, _ = ask(api, "GET", f"/v1/customers/{made['id']}", {"expand": [path]})
        assert status == 400
        assert body["error"]["message"] == f"This property cannot be expanded ({path.partition('.')[0]})."

    def test_a_list_hints_at_its_rows(self, api: Api) -> None:
        _, body, _ = ask(api, "GET", "/v1/customers", {"expand": ["test_clock"]})
        assert "data.test_clock" in body["error"]["message"]

    def test_four_levels_are_the_most(self, api: Api) -> None:
        """https://docs.stripe.com/expand#limits; a list's `data` is one of them."""
        _, body, _ = ask(api, "GET", "/v1/customers", {"expand": ["data.items.data.price.product"]})
        assert body["error"]["code"] == "property_expansion_max_depth"

    def test_what_is_null_stays_null(self, api: Api) -> None:
        _, made, _ = ask(api, "POST", "/v1/customers", {"name": "Ada", "expand": ["test_clock"]})
        assert made["test_clock"] is None
