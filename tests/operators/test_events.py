"""`billing events`: what came in is found, told, set going again, and put away."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from db import queue
from db.operators import events
from db.operators.actions import Actor
from db.operators.filters import EventFilter
from db.states import EventStatus
from tests.operators.books import Billing, Books, as_json, leased

CARD = "4242 4242 4242 4242"
QUEUE = "SELECT event_id, priority, due_at, attempts, lost, lease_token, dead_reason, dead_at FROM queue ORDER BY id"


async def ids(run: Billing, *words: str) -> list[str]:
    return [row["id"] for row in await as_json(run, "events", "list", *words)]


async def states(books: Books) -> dict[str, str]:
    return {row["id"]: row["status"] for row in await books.rows("SELECT id, status FROM webhook_events")}


async def test_listing_newest_first_and_filtered(books: Books, billing: Billing) -> None:
    now = datetime.now(UTC)
    await books.event("evt_1", "processed", received_at=now - timedelta(days=2), customer_id="cus_1")
    await books.event("evt_2", "dead", received_at=now - timedelta(hours=1), type="invoice.payment_failed")
    await books.event(
        "evt_3", "ignored", received_at=now - timedelta(minutes=5), type="customer.created", account="acct_1"
    )
    await books.event("evt_4", received_at=now, type="invoiceXpaid", object_id="in_1")
    await books.event("evt_5", received_at=now, livemode=False)
    assert await ids(billing) == ["evt_5", "evt_4", "evt_3", "evt_2", "evt_1"]
    assert await ids(billing, "--limit", "2") == ["evt_5", "evt_4"]
    assert await ids(billing, "--status", "dead") == ["evt_2"]
    assert await ids(billing, "--status", "received") == ["evt_5", "evt_4"]
    assert await ids(billing, "--type", "invoice.*") == ["evt_5", "evt_2", "evt_1"]
    assert await ids(billing, "--type", "invoice_paid") == []
    assert await ids(billing, "--type", "invoice?paid") == ["evt_5", "evt_4", "evt_1"]
    assert await ids(billing, "--customer", "cus_1") == ["evt_1"]
    assert await ids(billing, "--account", "acct_1") == ["evt_3"]
    assert await ids(billing, "--object", "in_1") == ["evt_4"]
    assert await ids(billing, "--since", "2h", "--until", "10m") == ["evt_2"]
    assert await ids(billing, "--since", (now - timedelta(days=3)).isoformat(), "--until", "1d") == ["evt_1"]
    (dead,) = await as_json(billing, "events", "list", "--status", "dead")
    assert dead["dead_reason"] == "exhausted"
    assert dead["attempts"] == 3
    assert dead["last_error"] == "KeyError: 'customer'"
    assert dead["received_at"].endswith("Z")


async def test_filters_are_only_values(books: Books, billing: Billing) -> None:
    await books.event("evt_1", customer_id="cus_1")
    for evil in ("' OR 1=1 --", "evt_1'; DROP TABLE jobs; --", "%", "_", "\\", "*'"):
        for option in ("--customer", "--type"):
            assert await ids(billing, option, evil) == []
    assert await states(books) == {"evt_1": "received"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--status", "ded"), "--status: 'ded' is not known: did you mean 'dead'?"),
        (("--since", "last week"), "--since: 'last week' is no time: write an age (30m, 2h, 7d)"),
        (("--since", "1h", "--until", "2h"), "--until: is not after --since"),
        (("--limit", "0"), "--limit: is not between 1 and 1000"),
        (("--type", "a\x00b"), "--type: holds a character that is no text"),
    ],
)
async def test_a_bad_filter_is_named_with_its_fix(billing: Billing, words: tuple[str, ...], said: str) -> None:
    result = await billing("events", "list", *words)
    assert result.exit_code == 2
    assert said in result.stderr


async def test_a_type_that_nobody_sent_is_guessed(books: Books, billing: Billing) -> None:
    await books.event("evt_1")
    result = await billing("events", "list", "--type", "invoce.paid")
    assert result.exit_code == 0
    assert "no event matches; did you mean 'invoice.paid'?" in result.stdout


async def story(books: Books) -> None:
    payload = {"id": "evt_1", "data": {"object": {"client_secret": "abc", "note": CARD, "key": "sk_live_abcdefghijk"}}}
    await books.event(
        "evt_1",
        "dead",
        payload=json.dumps(payload, indent=2).encode(),
        effects={"changed": [{"table": "invoices", "key": "in_1", "fields": {"status": ["open", "paid"]}}]},
    )
    await books.attempt(
        event_id="evt_1", name="invoice.paid", worker="w1", outcome="failed", error="KeyError: 'customer'",
        fingerprint="f00d", traceback='Traceback:\n  File "x.py", line 3\nKeyError',
        next_at=datetime(2026, 3, 1, tzinfo=UTC),
    )  # fmt: skip
    await books.job("retrying", name="measure", staged_by="evt_1")


async def test_one_events_whole_story(books: Books, billing: Billing) -> None:
    await story(books)
    await billing("events", "retry", "evt_1", "--why", "the handler is mended", "--who", "ada")
    told = await as_json(billing, "events", "show", "evt_1")
    assert told["type"] == "invoice.paid"
    assert told["payload"] == {
        "id": "evt_1",
        "data": {"object": {"client_secret": "[secret]", "note": "[card number]", "key": "sk_[secret]"}},
    }
    (attempt,) = told["history"]
    assert attempt["error"] == "KeyError: 'customer'"
    assert "line 3" in attempt["traceback"]
    assert told["changed"] == [{"table": "invoices", "key": "in_1", "fields": {"status": ["open", "paid"]}}]
    assert [(job["name"], job["status"]) for job in told["staged"]] == [("measure", "retrying")]
    assert [(one["who"], one["action"], one["why"]) for one in told["audit"]] == [
        ("ada", "events.retry", "the handler is mended")
    ]


async def test_the_story_for_people(books: Books, billing: Billing) -> None:
    await story(books)
    shown = (await billing("events", "show", "evt_1")).stdout
    for part in (
        "invoice.paid",
        "exhausted",
        "f00d",
        "line 3",
        "status: open → paid",
        "measure",
        "billing events retry",
    ):
        assert part in shown
    for secret in (CARD, "sk_live_abcdefghijk", '"abc"'):
        assert secret not in shown


async def test_a_late_event_says_that_it_changed_nothing(books: Books, billing: Billing) -> None:
    await books.event("evt_1", "processed", effects={"stale": True})
    assert "a newer state of its object was known already" in (await billing("events", "show", "evt_1")).stdout


async def test_the_payload_is_the_very_bytes(books: Books, billing: Billing) -> None:
    body = b'{\n  "id": "evt_1",  "x": "\xff\xfe\\u0000\\ud800"\r\n}'
    await books.event("evt_1", payload=body)
    assert (await billing("events", "show", "evt_1", "--payload")).stdout_bytes == body
    assert "\ufffd" in (await billing("events", "show", "evt_1")).stdout


async def test_nothing_that_came_from_outside_steers_the_terminal(books: Books, billing: Billing) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202e[red]x[/red]\x9b31m"
    await books.event("evt_1", "dead", type=evil, last_error=evil, payload=json.dumps({"a": evil}).encode())
    await books.attempt(event_id="evt_1", name="x", outcome="failed", error=evil, traceback=evil)
    for words in (("list",), ("show", "evt_1")):
        shown = (await billing("events", *words)).stdout
        assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}
        assert "[red]x[/red]" in shown


@pytest.mark.parametrize("command", [("show",), ("retry",), ("discard",), ("show", "--payload")])
async def test_unknown_ids_are_named(books: Books, billing: Billing, command: tuple[str, ...]) -> None:
    await books.event("evt_1", "dead")
    names = ["evt_9"] if "show" in command else ["evt_1", "evt_9", "evt_8"]
    result = await billing("events", command[0], *names, *command[1:])
    assert result.exit_code == 1
    assert (
        f"no such event: {', '.join(name for name in names if name != 'evt_1')}; nothing was changed" in result.stderr
    )
    assert await states(books) == {"evt_1": "dead"}
    assert await books.rows("SELECT * FROM audit_log") == []


MATRIX = [
    ("received", False, 0), ("received", True, 0), ("retrying", False, 0), ("dead", False, 0), ("dead", True, 0),
    ("ignored", False, 0), ("ignored", True, 0), ("processed", False, 1), ("processed", True, 0),
]  # fmt: skip


@pytest.mark.parametrize(("status", "again", "code"), MATRIX)
async def test_retry_by_state(books: Books, billing: Billing, status: str, code: int, *, again: bool) -> None:
    await books.event("evt_1", status, due_at=datetime.now(UTC) + timedelta(hours=3), lost=2)
    result = await billing("events", "retry", "evt_1", *(["--again"] if again else []))
    assert result.exit_code == code
    rows = await books.rows(QUEUE)
    if code:
        assert "evt_1 is already processed: --again applies it once more" in result.stderr
        assert rows == []
        assert await states(books) == {"evt_1": status}
        return
    (row,) = rows
    assert row.pop("due_at") <= datetime.now(UTC)
    assert row == {
        "event_id": "evt_1", "priority": 0, "attempts": 0, "lost": 0,
        "lease_token": None, "dead_reason": None, "dead_at": None,
    }  # fmt: skip
    (event,) = await books.rows("SELECT status, attempts, last_error, processed_at FROM webhook_events")
    assert event == {"status": "received", "attempts": 0, "last_error": None, "processed_at": None}


async def test_what_a_worker_holds_is_left_alone(books: Books, billing: Billing) -> None:
    await books.event("evt_1", **leased())
    await books.event("evt_2", "dead")
    result = await billing("events", "retry", "evt_1", "evt_2")
    assert result.exit_code == 1
    assert "evt_1 is running now" in result.stderr
    assert await states(books) == {"evt_1": "received", "evt_2": "dead"}


async def test_a_lease_that_ran_out_is_taken_over(books: Books, billing: Billing) -> None:
    await books.event("evt_1", **leased(-1))
    assert (await billing("events", "retry", "evt_1")).exit_code == 0
    (row,) = await books.rows(QUEUE)
    assert row["lease_token"] is None


async def test_a_thousand_dead_events_go_behind_the_live_ones(books: Books, billing: Billing) -> None:
    await books.run(
        "WITH e AS (INSERT INTO webhook_events (id, type, livemode, payload, created_at, received_at, status) "
        "SELECT 'evt_' || i, 'invoice.paid', true, '', now(), now(), 'dead' FROM generate_series(1, 1000) i "
        "RETURNING id, type) INSERT INTO queue (queue, name, event_id, due_at, attempts, dead_reason, dead_at) "
        "SELECT 'events', type, id, now(), 15, 'exhausted', now() FROM e"
    )
    await books.event("evt_live")
    await books.event("evt_other", "dead", type="charge.failed")
    shown = await billing("events", "retry", "--status", "dead", "--type", "invoice.*", "--dry-run")
    assert "1,000 events would be retried; nothing was changed" in shown.stdout
    assert len(await books.rows("SELECT 1 FROM queue WHERE dead_reason IS NOT NULL")) == 1001
    told = await as_json(
        billing, "events", "retry", "--status", "dead", "--type", "invoice.*", "--since", "1h", "--why", "x"
    )
    assert told["matched"] == told["retried"] == 1000
    counts = await books.rows(
        "SELECT priority, dead_reason, count(*) AS n FROM queue GROUP BY 1, 2 ORDER BY 1, 2 NULLS FIRST"
    )
    assert counts == [
        {"priority": 0, "dead_reason": None, "n": 1},
        {"priority": 0, "dead_reason": "exhausted", "n": 1},
        {"priority": queue.BULK, "dead_reason": None, "n": 1000},
    ]
    (audit,) = await books.rows("SELECT who, action, target, why, details FROM audit_log")
    assert audit["action"] == "events.retry"
    assert audit["target"] == "1000 events"
    assert "@" in audit["who"]
    assert audit["why"] == "x"
    assert audit["details"]["count"] == 1000
    assert audit["details"]["filter"]["type"] == "invoice.*"
    assert audit["details"]["filter"]["status"] == "dead"


async def test_a_worker_takes_live_events_before_retried_ones(books: Books, billing: Billing) -> None:
    for number in range(30):
        await books.event(f"evt_{number}", "dead", due_at=datetime.now(UTC) - timedelta(days=1))
    assert (await as_json(billing, "events", "retry", "--status", "dead"))["retried"] == 30
    for number in range(5):
        await books.event(f"evt_live_{number}", due_at=datetime.now(UTC))
    async with books.engine.begin() as conn:
        claimed = await queue.claim(
            conn, queue="events", limit=5, worker="w1", lease=timedelta(seconds=15), now=datetime.now(UTC)
        )
    assert {row.event_id for row in claimed} == {f"evt_live_{number}" for number in range(5)}


async def test_a_filter_without_status_means_the_dead(books: Books, billing: Billing) -> None:
    await books.event("evt_1", "dead")
    await books.event("evt_2", "processed")
    await books.event("evt_3")
    assert (await as_json(billing, "events", "retry", "--type", "invoice.paid"))["ids"] == ["evt_1"]


async def test_processed_events_by_a_filter_need_again(books: Books, billing: Billing) -> None:
    await books.event("evt_1", "processed")
    refused = await billing("events", "retry", "--status", "processed")
    assert refused.exit_code == 2
    assert "--status: processed events were already applied: --again" in refused.stderr
    told = await as_json(billing, "events", "retry", "--status", "processed", "--again")
    assert told["retried"] == 1


@pytest.mark.parametrize("command", ["retry", "discard"])
async def test_everything_is_never_meant(books: Books, billing: Billing, command: str) -> None:
    await books.event("evt_1", "dead")
    nothing = await billing("events", command)
    assert nothing.exit_code == 2
    assert "name ids, or say which" in nothing.stderr
    both = await billing("events", command, "evt_1", "--type", "x")
    assert both.exit_code == 2
    assert "not both" in both.stderr
    assert await states(books) == {"evt_1": "dead"}


@pytest.mark.parametrize(
    "words", [("retry", "evt_1"), ("discard", "evt_1"), ("retry", "--status", "dead"), ("discard", "--status", "dead")]
)
async def test_a_dry_run_changes_nothing(books: Books, billing: Billing, words: tuple[str, ...]) -> None:
    await books.event("evt_1", "dead")
    before = await books.rows(QUEUE)
    result = await billing("events", *words, "--dry-run")
    assert result.exit_code == 0
    assert "1 event would be" in result.stdout
    assert await books.rows(QUEUE) == before
    assert await states(books) == {"evt_1": "dead"}
    assert await books.rows("SELECT * FROM audit_log") == []


async def test_discarding_keeps_the_payload_and_the_reason(books: Books, billing: Billing) -> None:
    await books.event("evt_1", "dead", payload=b"{}")
    result = await billing("events", "discard", "evt_1", "--why", "refunded by hand", "--who", "ada")
    assert result.exit_code == 0
    (event,) = await books.rows("SELECT status, last_error, payload, processed_at FROM webhook_events")
    assert event["status"] == EventStatus.IGNORED
    assert event["last_error"] == "discarded by ada: refunded by hand"
    assert event["payload"] == b"{}"
    assert event["processed_at"] is not None
    assert await books.rows(QUEUE) == []
    assert (await as_json(billing, "events", "retry", "evt_1"))["retried"] == 1


@pytest.mark.parametrize("status", ["received", "retrying", "processed", "ignored"])
async def test_only_dead_events_are_discarded(books: Books, billing: Billing, status: str) -> None:
    await books.event("evt_1", status)
    result = await billing("events", "discard", "evt_1")
    assert result.exit_code == 1
    assert f"evt_1 is {status}: only dead events are discarded" in result.stderr
    assert (await billing("events", "discard", "--status", status)).exit_code == 2
    assert await states(books) == {"evt_1": status}


async def test_a_type_is_paused_and_resumed(books: Books, billing: Billing) -> None:
    for _ in range(2):
        assert (await billing("events", "pause", "--type", "invoice.paid", "--why", "bad deploy")).exit_code == 0
    (pause,) = await books.rows("SELECT scope, target, why FROM pauses")
    assert pause == {"scope": "name", "target": "invoice.paid", "why": "bad deploy"}
    assert (await billing("events", "resume", "--type", "invoice.paid", "--dry-run")).exit_code == 0
    assert len(await books.rows("SELECT 1 FROM pauses")) == 1
    assert (await billing("events", "resume", "--type", "invoice.paid")).exit_code == 0
    assert await books.rows("SELECT 1 FROM pauses") == []
    audit = await books.rows("SELECT action, target FROM audit_log ORDER BY id")
    assert [(one["action"], one["target"]) for one in audit] == [
        ("pause", "name:invoice.paid"), ("resume", "name:invoice.paid")
    ]  # fmt: skip
    refused = await billing("events", "pause", "--type", "invoice.*")
    assert refused.exit_code == 2
    assert "only exact names can be paused" in refused.stderr


async def test_a_backfill_needs_a_key_and_a_beginning(billing: Billing) -> None:
    result = await billing("events", "backfill", "--since", "2026-03-01")
    assert result.exit_code == 2
    assert "STRIPE_SECRET_KEY is not set" in result.stderr
    result = await billing("events", "backfill")
    assert result.exit_code == 2
    assert "--since is missing" in result.stderr


async def test_two_operators_at_once_retry_each_event_once(books: Books) -> None:
    names = tuple(f"evt_{number:02}" for number in range(50))
    for number, name in enumerate(names):
        await books.event(name, "processed" if number % 2 else "dead")

    async def retry() -> tuple[str, ...]:
        async with books.engine.begin() as conn:
            done = await events.retry(conn, EventFilter(ids=names), Actor("ada"), now=datetime.now(UTC), again=True)
            return done.ids

    told = await asyncio.gather(*(retry() for _ in range(4)))
    assert {name for ids in told for name in ids} == set(names)
    assert len(await books.rows("SELECT 1 FROM queue")) == 50
    assert set((await states(books)).values()) == {"received"}
