"""Invoices of our own that are not paid by their day are followed up as Stripe's are, and Stripe is not asked."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import ledger
from db.dunning import was_dunned
from db.operators.figures import figures
from jobs.dunning import operate, own_overdue
from jobs.dunning.follow import follow_own
from jobs.invoices.pay import record
from jobs.invoices.void import void
from tests.dunning.kit import ADA
from tests.dunning.own import OwnScene, seller
from tests.events import objects
from tests.events.kit import rows
from worker.deps import Tx

LOST = "nothing came in the 30 days after the last step"


@pytest.fixture
async def scene(engine: AsyncEngine, tmp_path: Path) -> OwnScene:
    """A seller with a partner in London, on a Monday morning."""
    made = seller(engine, tmp_path)
    await made.contract()
    return made


async def user(scene: OwnScene) -> int:
    """A subscriber in Berlin, whom Stripe knows."""
    await scene.begin()
    [(found,)] = await scene.query("SELECT id FROM users WHERE stripe_customer_id = 'cus_1'")
    return found


async def test_from_its_day_to_the_end_of_it(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 17, 22)
    assert await rows(scene.engine, "dunning_cases") == []
    await scene.until(2026, 11, 17, 23)
    case = await scene.own()
    assert (case["opened_by"], case["status"], case["amount_cents"]) == ("overdue", "open", 12_000)
    assert case["failed_at"] == "2026-11-17T22:59:59+00:00"
    assert case["stripe_invoice_id"] is None
    assert case["timezone"] == "Europe/London"
    assert case["next_step_at"] == "2026-11-18T08:00:00+00:00"
    assert await scene.templates() == [], "no day ends with a letter in the night"
    await scene.until(2027, 1, 20)
    assert await scene.templates() == ["invoice_overdue", "invoice_overdue", "final_notice"]
    days = [letter["created_at"][:10] for letter in await scene.mails()]
    assert days == ["2026-11-18", "2026-11-23", "2026-11-25"]
    assert [letter["context"].get("days_overdue") for letter in await scene.mails()] == [1, 6, 8]
    found = await scene.query(
        "SELECT position, outcome, letter, read_from, detail FROM dunning_steps ORDER BY position"
    )
    assert [one[:4] for one in found[:3]] == [
        (0, "taken", "invoice_overdue", "ledger"),
        (1, "taken", "invoice_overdue", "ledger"),
        (2, "taken", "final_notice", "ledger"),
    ]
    assert found[3][:3] == (3, "skipped", None)
    assert "nobody to block" in found[3][4]
    case = await scene.own()
    assert (case["outcome"], case["reason"], case["final_action"]) == ("lost", LOST, None)
    assert case["closed_at"][:10] == "2027-01-01"
    [(status, since)] = await scene.query("SELECT status, marked_uncollectible_at FROM invoices")
    assert (status, since.date().isoformat()) == ("uncollectible", "2027-01-01")
    assert (scene.stripe.asked, scene.stripe.acts, await scene.parked()) == ([], [], [])


async def test_who_pays_is_thanked_and_written_to_no_more(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 24)
    await scene.paid()
    case = await scene.own()
    assert (case["outcome"], case["recovered_cents"], case["recovered_after_step"]) == ("recovered", 12_000, 1)
    await scene.days(60)
    assert await scene.templates() == ["invoice_overdue", "invoice_overdue", "recovered"]
    async with scene.engine.connect() as conn:
        assert await was_dunned(conn, [f"own-{scene.ids['nw']}", "own-999", "in_1"]) == {f"own-{scene.ids['nw']}"}
        told = await figures(conn)
    assert (told["recovered"], told["decided"], told["rate_bp"]) == (1, 1, 10_000)
    assert told["median_seconds"] == 6 * 86_400 + 13 * 3_600 + 1


async def test_who_pays_in_time_never_hears_of_it(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 17, 12)
    await scene.paid()
    await scene.days(60)
    assert await rows(scene.engine, "dunning_cases") == []
    assert await scene.templates() == []


async def test_what_is_lost_is_recovered_when_it_is_paid_after_all(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2027, 1, 20)
    await scene.paid()
    assert (await scene.own())["outcome"] == "recovered"
    assert (await scene.templates())[-1] == "recovered"


async def test_a_part_is_paid_and_the_rest_is_asked_for(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 19)
    await scene.ledger(amount_paid_cents=4_500, amount_remaining_cents=7_500)
    await scene.until(2026, 11, 24)
    amounts = [letter["context"]["amount"]["amount"] for letter in await scene.mails()]
    assert amounts == [12_000, 7_500]
    await scene.paid()
    assert (await scene.own())["recovered_cents"] == 12_000


async def test_what_is_credited_was_no_payment(scene: OwnScene) -> None:
    await scene.issue()
    await scene.issue("part")
    await scene.ledger("part", amount_paid_cents=5_000, amount_remaining_cents=7_000)
    await scene.until(2026, 11, 19)
    assert (await scene.own("part"))["paid_at_opening_cents"] == 5_000
    at = scene.clock.now()
    await scene.ledger(status="paid", amount_remaining_cents=0, paid_at=at)
    await scene.ledger("part", status="paid", amount_remaining_cents=0, paid_at=at)
    for key in ("nw", "part"):
        case = await scene.own(key)
        assert (case["outcome"], case["reason"]) == ("void", "the invoice was credited")
        assert await scene.templates(key) == ["invoice_overdue"]


async def test_what_is_voided_is_asked_for_no_more(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 19)
    async with scene.deps.tx() as tx:
        await void(tx, scene.ids["nw"], reason="a wrong price")
        await follow_own(tx, scene.ids["nw"])
    await scene.days(30)
    assert (await scene.own())["outcome"] == "void"
    assert await scene.templates() == ["invoice_overdue"]


async def test_a_subscriber_is_warned_blocked_and_let_in_again(scene: OwnScene) -> None:
    await scene.issue(kind="overage", user_id=await user(scene), api_key_prefix=None)
    await scene.until(2026, 11, 20)
    assert await scene.status() == "warning"
    await scene.until(2026, 12, 4)
    assert await scene.templates() == ["invoice_overdue", "invoice_overdue", "final_notice", "access_suspended"]
    final = (await scene.mails())[2]["context"]
    assert (final["action"], final["final_on"]) == ("block", "2026-12-02T08:00:00+01:00")
    assert await scene.status() == "blocked"
    await scene.paid()
    assert await scene.status() == "active"
    assert (await scene.mails())[-1]["context"]["restored"] is True


@pytest.mark.parametrize("action", ["cancel_at_stripe", "pause_collection"])
async def test_what_only_stripe_can_do_is_skipped_and_never_announced(scene: OwnScene, action: str) -> None:
    steps = [
        {"day": 0, "letter": "payment_failed"},
        {"day": 7, "letter": "final_notice"},
        {"day": 14, "letter": "access_suspended", "action": action},
    ]
    await scene.query_and_commit(
        "INSERT INTO dunning_policies (name, position, applies_to, steps, hours, updated_at, updated_by) VALUES"
        " ('by hand', 1, '{\"collection_method\": \"send_invoice\"}', CAST(:steps AS jsonb),"
        ' \'{"opens": "09:00", "closes": "17:00", "weekends": true}\', now(), \'a test\')',
        steps=str(steps).replace("'", '"'),
    )
    await scene.issue(kind="overage", user_id=await user(scene), api_key_prefix=None)
    await scene.until(2027, 1, 20)
    assert (await scene.own())["policy"] == "by hand"
    assert await scene.templates() == ["invoice_overdue", "final_notice"]
    final = (await scene.mails())[1]["context"]
    assert (final["action"], final["final_on"]) == ("none", None)
    [(detail,)] = await scene.query("SELECT detail FROM dunning_steps WHERE outcome = 'skipped'")
    assert "has no subscription" in detail
    assert (scene.stripe.acts, (await scene.own())["outcome"]) == ([], "lost")


async def collected(scene: OwnScene, status: str) -> None:
    """Stripe's invoice that collects ours is mirrored so."""
    await scene.query_and_commit(
        "INSERT INTO invoices (stripe_invoice_id, collects_invoice_id, status, currency, amount_due_cents,"
        " amount_remaining_cents) VALUES ('in_9', :ours, :status, 'eur', 12000, 12000)"
        " ON CONFLICT (stripe_invoice_id) DO UPDATE SET status = excluded.status",
        ours=scene.ids["nw"],
        status=status,
    )


async def test_while_an_invoice_at_stripe_collects_it_that_one_is_dunned(scene: OwnScene) -> None:
    await scene.issue()
    await collected(scene, "open")
    await scene.until(2026, 11, 20)
    assert await rows(scene.engine, "dunning_cases") == []
    await collected(scene, "void")
    await scene.days(1)
    assert await scene.templates() == ["invoice_overdue"]


async def test_a_case_rests_while_stripe_collects_and_its_money_counts_once(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 19)
    await collected(scene, "open")
    await scene.days(8)
    case = await scene.own()
    assert (case["status"], case["paused_by"]) == ("paused", "stripe")
    assert "Stripe's invoice in_9 collects it" in case["reason"]
    assert await scene.templates() == ["invoice_overdue"]
    await scene.query_and_commit(
        "INSERT INTO dunning_cases (stripe_invoice_id, opened_by, currency, amount_cents, policy, steps, hours,"
        " failed_at, opened_at) SELECT 'in_9', 'overdue', currency, amount_cents, policy, steps, hours, failed_at,"
        " opened_at FROM dunning_cases"
    )
    async with scene.engine.connect() as conn:
        told = await figures(conn)
    assert [(one["currency"], one["open_cents"]) for one in told["currencies"]] == [("eur", 12_000)]
    await collected(scene, "paid")
    await scene.paid()
    assert (await scene.own())["outcome"] == "recovered"
    assert await scene.templates() == ["invoice_overdue"], "thanks come for the invoice at Stripe"


async def test_a_case_goes_on_when_stripes_invoice_is_voided(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 19)
    await collected(scene, "open")
    await scene.until(2026, 11, 24)
    assert (await scene.own())["status"] == "paused"
    await scene.tell("invoice.voided", objects.invoice("in_9", status="void", currency="eur"))
    assert (await scene.own())["status"] == "open"
    await scene.days(2)
    assert await scene.templates() == ["invoice_overdue", "invoice_overdue", "final_notice"]


async def test_what_stripe_gave_up_is_given_up(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 19)
    await collected(scene, "uncollectible")
    await scene.until(2026, 11, 24)
    assert (await scene.own())["outcome"] == "lost"
    assert await scene.query("SELECT status FROM invoices WHERE kind IS NOT NULL") == [("uncollectible",)]


async def test_each_gets_one_case_however_often_and_wherever_it_is_looked_for(scene: OwnScene) -> None:
    for number in range(3):
        await scene.issue(str(number))
    scene.clock.time = datetime(2026, 11, 18, 12, tzinfo=UTC)
    call = {"period": scene.clock.now().isoformat()}
    await asyncio.gather(*(own_overdue.open_own_cases.run(scene.deps, call) for _ in range(4)))
    await scene.look()
    cases = await rows(scene.engine, "dunning_cases")
    assert sorted(case["invoice_id"] for case in cases) == sorted(scene.ids.values())
    assert [await scene.templates(str(number)) for number in range(3)] == [["invoice_overdue"]] * 3
    with pytest.raises(IntegrityError):
        await scene.query_and_commit(
            "INSERT INTO dunning_cases (invoice_id, opened_by, currency, amount_cents, policy, steps, hours, failed_at,"
            " opened_at) SELECT invoice_id, opened_by, currency, amount_cents, policy, steps, hours, failed_at,"
            " opened_at FROM dunning_cases"
        )


async def test_a_run_is_bounded_oldest_first_and_nobody_exempt_stands_in_the_way(
    scene: OwnScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_overdue, "AT_ONCE", 2)
    monkeypatch.setattr(own_overdue, "MOST", 4)
    exempt = await user(scene)
    await scene.query_and_commit("""UPDATE users SET metadata = '{"dunning": "Off "}'""")
    await scene.issue("exempt", kind="overage", user_id=exempt, api_key_prefix=None)
    for number in range(5):
        await scene.issue(str(number))
        scene.clock.move(timedelta(days=1))
    scene.clock.move(timedelta(days=20))
    await scene.look()
    opened = [case["invoice_id"] for case in await rows(scene.engine, "dunning_cases")]
    assert opened == [scene.ids[str(number)] for number in range(4)]
    await scene.look()
    assert len(await rows(scene.engine, "dunning_cases")) == 5
    assert await scene.templates("exempt") == []


async def test_what_is_found_long_after_its_day_waits_for_an_operator(scene: OwnScene) -> None:
    name = await scene.issue()
    scene.clock.move(timedelta(days=60))
    await scene.days(10, step=1)
    case = await scene.own()
    assert (case["status"], case["paused_by"], await scene.templates()) == ("paused", "operator", [])
    assert "nobody was told in time: it was due 44 days ago" in case["reason"]
    async with scene.deps.tx() as tx:
        await operate.resume(tx, name, ADA)
    await scene.days(4)
    assert await scene.templates() == ["invoice_overdue", "invoice_overdue"]


async def test_a_case_that_rests_before_its_first_letter_is_no_old_news(scene: OwnScene) -> None:
    name = await scene.issue()
    await scene.until(2026, 11, 17, 23)
    async with scene.deps.tx() as tx:
        await operate.pause(tx, name, ADA, until=scene.clock.now() + timedelta(days=12))
    await scene.days(14)
    assert (await scene.own())["status"] == "open"
    assert await scene.templates() == ["final_notice"]


@pytest.mark.parametrize(
    ("change", "outcome"), [("deleted_at = now()", "canceled"), ("""metadata = '{"dunning": "off"}'""", "exempt")]
)
async def test_who_is_gone_or_exempt_is_written_to_no_more(scene: OwnScene, change: str, outcome: str) -> None:
    await scene.issue(kind="overage", user_id=await user(scene), api_key_prefix=None)
    await scene.until(2026, 11, 19)
    await scene.query_and_commit(f"UPDATE users SET {change}")  # noqa: S608 - words of this test
    await scene.days(40)
    assert (await scene.own())["outcome"] == outcome
    assert await scene.templates() == ["invoice_overdue"]


async def test_an_event_of_the_customer_reaches_the_case(scene: OwnScene) -> None:
    await scene.issue(kind="overage", user_id=await user(scene), api_key_prefix=None)
    await scene.until(2026, 11, 19)
    await scene.change("customer.updated", "cus_1", metadata={"dunning": "off"})
    assert (await scene.own())["outcome"] == "exempt"


async def test_where_another_worker_holds_the_case_it_follows_right_after(scene: OwnScene) -> None:
    name = await scene.issue()
    await scene.until(2026, 11, 19)
    async with scene.deps.tx() as tx:
        assert await ledger.try_lock(tx.conn, {name}) == {name}
        async with scene.engine.begin() as conn:
            statement = text(
                "UPDATE invoices SET status = 'paid', amount_paid_cents = 12000, amount_remaining_cents = 0"
            )
            await conn.execute(statement)
        await _followed(scene)
        assert (await scene.own())["status"] == "open"
    await scene.work()
    assert (await scene.own())["outcome"] == "recovered"


async def _followed(scene: OwnScene) -> None:
    async with scene.engine.begin() as conn:
        await follow_own(Tx(conn, scene.clock.now(), scene.clock.now()), scene.ids["nw"])


async def test_money_that_is_recorded_closes_the_case(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 19)
    for reference, amount in (("first", 4_500), ("second", 7_500)):
        async with scene.deps.tx() as tx:
            await record(tx, scene.ids["nw"], amount, method="transfer", reference=reference, paid_at=tx.now, by=ADA)
        scene.clock.move(timedelta(days=1))
    case = await scene.own()
    assert (case["outcome"], case["recovered_cents"]) == ("recovered", 12_000)
    assert await scene.templates() == ["invoice_overdue", "recovered"]


async def test_an_invoice_without_a_case_is_none_of_its_business(scene: OwnScene) -> None:
    await scene.issue()
    await scene.paid()
    assert await rows(scene.engine, "dunning_cases") == []
