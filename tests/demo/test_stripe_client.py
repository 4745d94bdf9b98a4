"""What is lost on the way is asked again, and nothing is done twice."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest

from deploy.demo.simulator.forms import parse
from deploy.demo.stripe_client import TRIES, RefusedError, StoppedError, StripeClient, UnreachableError, encoded


class Moody(ThreadingHTTPServer):
    """A server that answers by a script of statuses (0 hangs up), and keeps what it was asked."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = list(statuses)
        self.keys: list[str | None] = []
        self.bodies: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Answers for `Moody`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        server.keys.append(self.headers["Idempotency-Key"])
        server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        status = server.statuses.pop(0) if server.statuses else 200
        if status == 0:
            self.close_connection = True
            return
        body = json.dumps({"id": "cus_1"} if status == 200 else {"error": {"message": "no", "code": "c"}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
        """Say nothing."""


@contextmanager
def answering(*statuses: int) -> Generator[tuple[StripeClient, Moody]]:
    server = Moody(*statuses)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    client = StripeClient(f"http://127.0.0.1:{server.server_port}", "sk_test_x", "test")
    try:
        yield client, server
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("first", [0, 409, 429])
def test_what_was_not_done_or_not_answered_is_asked_again_under_its_key(first: int) -> None:
    with answering(first, first) as (client, server):
        assert client.post("/v1/customers", name="Ada")["id"] == "cus_1"
        assert server.keys == ["test-1"] * 3
        assert client.repeated == 2
        client.post("/v1/customers", name="Ada")
        assert server.keys[-1] == "test-2"


def test_a_500_is_asked_again_under_another_key() -> None:
    """Stripe keeps its 500s: the old key would only bring the same answer."""
    with answering(500) as (client, server):
        client.post("/v1/customers", name="Ada")
        assert server.keys == ["test-1", "test-2"]


def test_a_no_is_told_at_once() -> None:
    with answering(402) as (client, server):
        with pytest.raises(RefusedError) as refused:
            client.post("/v1/charges", amount=1)
        assert (refused.value.status, refused.value.error["code"]) == (402, "c")
        assert len(server.keys) == 1


def test_it_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.demo.stripe_client.LONGEST_WAIT", 0.001)
    with answering(*[500] * TRIES) as (client, server), pytest.raises(UnreachableError, match=f"{TRIES} times"):
        client.post("/v1/customers")
    assert len(server.keys) == TRIES


def test_who_is_told_to_stop_asks_no_more() -> None:
    with answering() as (client, server):
        client.stopping.set()
        with pytest.raises(StoppedError):
            client.post("/v1/customers")
        assert server.keys == []


def test_parameters_are_encoded_as_stripe_reads_them() -> None:
    given = {
        "items": [{"price": "p", "quantity": 2}],
        "cancel_at_period_end": True,
        "metadata": {"company": "Café Père Noé"},
        "coupon": None,
        "description": "",
        "expand": ["latest_invoice"],
    }
    text = encoded(given)
    assert ("items[0][quantity]", "2") in parse_qsl(text, keep_blank_values=True)
    assert parse(text) == {
        "items": [{"price": "p", "quantity": "2"}],
        "cancel_at_period_end": "true",
        "metadata": {"company": "Café Père Noé"},
        "description": "",
        "expand": ["latest_invoice"],
    }
