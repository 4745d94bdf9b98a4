"""Events reach every endpoint that wants them: signed, in its version, until they are accepted."""

import asyncio

import msgspec
import pytest

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.resources import webhook_endpoints as endpoints
from deploy.demo.simulator.simulation import Simulation
from deploy.demo.simulator.webhooks import GIVE_UP, UndeliveredError, rotate
from tests.simulator.kit import START, ask, sdk
from tests.simulator.receiver import Got, Inbox, receiving

HOOK = "http://127.0.0.1:9/hook"
SECRET = "whsec_first"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def simulation(inbox: Inbox, *, concurrency: int = 1, patience: float = 0.0) -> Simulation:
    """One endpoint that hears of everything, in strict order."""
    made = Simulation(7, START, post=inbox, concurrency=concurrency, patience=patience)
    made.endpoint(HOOK, secret=SECRET)
    return made


def customers(s: Simulation, count: int) -> None:
    """So many events happen."""
    for number in range(count):
        assert ask(s.api, "POST", "/v1/customers", {"name": f"Customer {number}"})[0] == 200


class TestDelivery:
    """An event leaves."""

    async def test_each_endpoint_gets_the_event_in_its_own_version(self) -> None:
        inbox = Inbox()
        s = simulation(inbox)
        s.endpoint("http://127.0.0.1:9/old", version="2024-06-20")
        customers(s, 1)
        await s.settle()
        assert [(got.url, got.event["api_version"]) for got in inbox.got] == [
            (HOOK, "2026-10-28.endive"),
            ("http://127.0.0.1:9/old", "2024-06-20"),
        ]
        assert inbox.ids[0] == inbox.ids[1]
        assert [got.event["pending_webhooks"] for got in inbox.got] == [2, 1]

    async def test_the_body_is_pretty_printed_and_signed_as_stripes_library_checks_it(self) -> None:
        inbox = Inbox()
        s = Simulation(7, START, post=inbox, wall=lambda: START + 5)
        s.endpoint(HOOK, secret=SECRET)
        customers(s, 1)
        await s.settle()
        (got,) = inbox.got
        assert got.body.startswith(b'{\n  "id": "evt_1')
        assert got.headers["Stripe-Signature"].startswith(f"t={START + 5},v1=")
        assert ",v0=" in got.headers["Stripe-Signature"]
        assert got.headers["User-Agent"].startswith("Stripe/1.0")
        assert got.signed_by(SECRET)
        assert not got.signed_by("whsec_other")

    async def test_an_endpoint_hears_only_of_what_it_asked_for(self) -> None:
        inbox = Inbox()
        s = Simulation(7, START, post=inbox)
        s.endpoint(HOOK, events=("customer.updated",))
        customers(s, 1)
        (customer,) = s.account.store.all("customer")
        ask(s.api, "POST", f"/v1/customers/{customer['id']}", {"name": "Another"})
        await s.settle()
        assert inbox.types == ["customer.updated"]
        assert s.account.undelivered == {}

    async def test_one_at_a_time_keeps_the_order(self) -> None:
        inbox = Inbox()
        s = simulation(inbox)
        customers(s, 30)
        await s.settle()
        assert inbox.ids == list(s.account.events)
        assert inbox.most_at_once == 1

    async def test_no_more_are_posted_at_once_than_allowed(self) -> None:
        inbox = Inbox()
        s = simulation(inbox, concurrency=4)
        customers(s, 30)
        await s.settle()
        assert sorted(inbox.ids) == sorted(s.account.events)
        assert inbox.most_at_once == 4

    async def test_a_bug_of_whoever_posts_is_not_swallowed(self) -> None:
        def broken(_got: Got) -> int:
            raise LookupError("a bug")

        s = simulation(Inbox(broken))
        customers(s, 1)
        with pytest.raises(LookupError, match="a bug"):
            await s.settle()


class TestRetries:
    """An endpoint does not accept it."""

    async def test_attempts_grow_rarer_and_end_after_three_days(self) -> None:
        times: list[int] = []

        def down(_got: Got) -> int:
            times.append(s.account.now() - START)
            return 500

        s = simulation(Inbox(down))
        customers(s, 1)
        await s.advance(START + 30 * DAY)
        assert times[:5] == [0, 300, 1500, 6300, 25500]
        assert max(times) <= GIVE_UP
        assert max(times) > GIVE_UP - DAY
        assert s.deliveries.counts["given_up"] == 1
        assert s.deliveries.pending == 0
        (event,) = s.account.events
        assert s.account.undelivered == {event: {s.account.store.all("webhook_endpoint")[0]["id"]}}

    @pytest.mark.parametrize("status", [301, 302, 400, 404, 410, 500, 503, None])
    async def test_anything_but_2xx_is_tried_again(self, status: int | None) -> None:
        inbox = Inbox(lambda _got: status if len(inbox.got) == 1 else 204)
        s = simulation(inbox)
        customers(s, 1)
        await s.settle()
        assert len(s.account.undelivered) == 1
        await s.advance(START + 300)
        assert len(inbox.got) == 2
        assert s.account.undelivered == {}

    async def test_each_attempt_is_signed_anew(self) -> None:
        inbox = Inbox(lambda _got: 500 if len(inbox.got) == 1 else 200)
        s = simulation(inbox)
        customers(s, 1)
        await s.advance(START + 300)
        assert [got.headers["Stripe-Signature"].split(",")[0] for got in inbox.got] == [
            f"t={START}",
            f"t={START + 300}",
        ]

    async def test_a_receiver_that_is_away_for_a_moment_costs_no_attempt(self) -> None:
        inbox = Inbox(lambda _got: [None, 503, 200][len(inbox.got) - 1])
        s = simulation(inbox, patience=10)
        customers(s, 1)
        await s.settle()
        assert dict(s.deliveries.counts) == {"events": 1, "receiver_away": 2, "accepted": 1}

    async def test_a_disabled_endpoint_is_not_tried_again(self) -> None:
        inbox = Inbox(lambda _got: 500)
        s = simulation(inbox)
        customers(s, 1)
        await s.settle()
        (endpoint,) = s.account.store.all("webhook_endpoint")
        ask(s.api, "POST", f"/v1/webhook_endpoints/{endpoint['id']}", {"disabled": True})
        customers(s, 1)
        await s.advance(START + DAY)
        assert len(inbox.got) == 1


class TestFlush:
    """A test or a demo wants everything delivered now."""

    async def test_what_is_late_comes_at_once_while_the_clock_stands_still(self) -> None:
        inbox = Inbox(lambda _got: 500 if len(inbox.got) <= 3 else 200)
        s = simulation(inbox)
        customers(s, 2)
        await s.settle()
        assert s.deliveries.next_due == START + 300
        await s.flush(patience=10)
        assert s.account.now() == START
        assert s.account.undelivered == {}
        assert s.deliveries.pending == 0

    async def test_it_gives_up_when_nothing_is_accepted_any_more(self) -> None:
        s = simulation(Inbox(lambda _got: None))
        customers(s, 3)
        with pytest.raises(UndeliveredError, match="3 deliveries are not accepted"):
            await s.flush(patience=0.1)
        assert s.deliveries.pending == 3
        assert s.deliveries.next_due == START

    async def test_attempts_of_a_flush_do_not_use_up_the_three_days(self) -> None:
        inbox = Inbox(lambda _got: 500 if len(inbox.got) < 12 else 200)
        s = simulation(inbox)
        customers(s, 1)
        await s.flush(patience=30)
        assert s.deliveries.counts["accepted"] == 1
        assert s.deliveries.counts["given_up"] == 0


class TestClose:
    """The simulation stops in the middle of its work."""

    async def test_what_was_under_way_is_delivered_later(self) -> None:
        begun, hangs = asyncio.Event(), True

        async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
            begun.set()
            if hangs:
                await asyncio.Event().wait()
            return 200

        s = Simulation(7, START, post=post, concurrency=2)
        s.endpoint(HOOK)
        s.deliveries.start()
        customers(s, 5)
        await begun.wait()
        await s.close()
        assert (s.deliveries.pending, len(s.account.undelivered)) == (5, 5)
        hangs = False
        await s.settle()
        assert (s.deliveries.pending, len(s.account.undelivered)) == (0, 0)


class TestSecrets:
    """A secret is rolled."""

    async def test_while_a_secret_is_rolled_both_sign(self) -> None:
        inbox = Inbox()
        s = simulation(inbox)
        rotate(s.account, s.account.store.all("webhook_endpoint")[0], "whsec_second")
        customers(s, 1)
        await s.advance(START + DAY - 1)
        customers(s, 1)
        await s.settle()
        await s.advance(START + DAY)
        customers(s, 1)
        await s.settle()
        assert [len(got.signatures) for got in inbox.got] == [2, 2, 1]
        assert [got.signed_by(SECRET) for got in inbox.got] == [True, True, False]
        assert all(got.signed_by("whsec_second") for got in inbox.got)

    async def test_rolling_twice_lets_the_oldest_end_when_it_was_to_end(self) -> None:
        inbox = Inbox()
        s = simulation(inbox)
        (endpoint,) = s.account.store.all("webhook_endpoint")
        rotate(s.account, endpoint, "whsec_second", overlap=60)
        rotate(s.account, endpoint, "whsec_third", overlap=3600)
        await s.advance(START + 60)
        customers(s, 1)
        await s.settle()
        assert [inbox.got[0].signed_by(text) for text in (SECRET, "whsec_second", "whsec_third")] == [False, True, True]


class TestEndpoints:
    """Endpoints as the API keeps them."""

    def test_the_secret_is_told_once(self) -> None:
        s = simulation(Inbox())
        _, made, _ = ask(s.api, "POST", "/v1/webhook_endpoints", {"url": HOOK, "enabled_events": ["*"]})
        assert made["secret"].startswith("whsec_")
        _, again, _ = ask(s.api, "GET", f"/v1/webhook_endpoints/{made['id']}")
        assert "secret" not in again
        _, listed, _ = ask(s.api, "GET", "/v1/webhook_endpoints")
        assert listed["data"][0]["id"] == made["id"]
        assert all("secret" not in row for row in listed["data"])

    async def test_events_do_not_wait_for_an_endpoint_that_is_gone(self) -> None:
        s = simulation(Inbox(lambda _got: 500))
        customers(s, 1)
        await s.settle()
        (endpoint,) = s.account.store.all("webhook_endpoint")
        assert ask(s.api, "DELETE", f"/v1/webhook_endpoints/{endpoint['id']}")[1]["deleted"] is True
        assert s.account.undelivered == {}
        await s.advance(START + DAY)
        assert s.deliveries.counts["endpoint_gone"] == 1

    @pytest.mark.parametrize(
        ("given", "param"),
        [
            ({"url": "stripe.test/hook", "enabled_events": ["*"]}, "url"),
            ({"url": HOOK}, "enabled_events"),
            ({"url": HOOK, "enabled_events": ["Invoice Paid"]}, "enabled_events"),
            ({"url": HOOK, "enabled_events": ["*"], "api_version": "yesterday"}, "api_version"),
        ],
    )
    def test_what_cannot_be_is_refused(self, given: dict[str, object], param: str) -> None:
        s = simulation(Inbox())
        status, body, _ = ask(s.api, "POST", "/v1/webhook_endpoints", given)
        assert (status, body["error"]["param"]) == (400, param)
        assert len(s.account.store.all("webhook_endpoint")) == 1

    async def test_an_event_older_than_an_endpoint_comes_in_the_accounts_version(self) -> None:
        inbox = Inbox()
        s = Simulation(7, START, post=inbox)
        customers(s, 1)
        endpoints.add_endpoint(s.account, url=HOOK, events=["*"], version="2024-06-20")
        (event,) = s.account.events.values()
        assert s.deliveries.resend(event) == 1
        await s.settle()
        assert inbox.got[0].event["api_version"] == "2026-10-28.endive"

    def test_the_sdk_changes_an_endpoint(self) -> None:
        s = simulation(Inbox())
        (endpoint,) = s.account.store.all("webhook_endpoint")
        changed = sdk(s.api).v1.webhook_endpoints.update(
            endpoint["id"], {"enabled_events": ["invoice.paid"], "metadata": {"team": "billing"}}
        )
        assert changed.enabled_events == ["invoice.paid"]
        assert changed.metadata["team"] == "billing"
        assert changed.status == "enabled"


class TestOverTheNetwork:
    """Real sockets on both sides."""

    async def test_connections_are_kept(self) -> None:
        async with receiving(lambda _number: OK) as receiver:
            s = Simulation(7, START)
            s.endpoint(receiver.url)
            customers(s, 5)
            await s.settle()
            await s.close()
        assert s.deliveries.counts["accepted"] == 5
        assert receiver.connections <= 5
        customers_in_row = [message.split(b"\r\n\r\n", 1)[1] for message in receiver.requests]
        assert sorted(msgspec.json.decode(body)["id"] for body in customers_in_row) == sorted(s.account.events)
        assert receiver.requests[0].startswith(b"POST /hooks?from=stripe HTTP/1.1\r\nHost: 127.0.0.1:")

    async def test_one_connection_serves_one_after_another(self) -> None:
        async with receiving(lambda _number: OK) as receiver:
            s = Simulation(7, START, concurrency=1)
            s.endpoint(receiver.url)
            customers(s, 5)
            await s.settle()
            await s.close()
        assert receiver.connections == 1

    @pytest.mark.parametrize(
        "bad",
        [
            None,
            b"not HTTP at all\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ],
    )
    async def test_a_receiver_that_misbehaves_gets_it_again(self, bad: bytes | None) -> None:
        async with receiving(lambda number: bad if number == 1 else OK) as receiver:
            s = Simulation(7, START, concurrency=1)
            s.endpoint(receiver.url)
            customers(s, 1)
            await s.settle()
            assert s.deliveries.counts["failed"] == 1
            await s.advance(START + 300)
            await s.close()
        assert s.deliveries.counts["accepted"] == 1

    async def test_a_receiver_that_closes_after_each_answer_is_reached_anew(self) -> None:
        once = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        async with receiving(lambda _number: once) as receiver:
            s = Simulation(7, START, concurrency=1)
            s.endpoint(receiver.url)
            customers(s, 3)
            await s.settle()
            await s.close()
        assert s.deliveries.counts["accepted"] == 3
        assert receiver.connections == 3

    async def test_nobody_listens(self) -> None:
        async with receiving(lambda _number: OK) as receiver:
            url = receiver.url
        s = Simulation(7, START)
        s.endpoint(url)
        customers(s, 1)
        await s.settle()
        assert s.deliveries.statuses == {"no answer": 1}
        await s.close()
