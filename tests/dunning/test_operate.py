"""An operator steps in; each time it is written down who did it and why, and the next turn is staged."""

from datetime import timedelta

import pytest

from db.operators.actions import NotAllowedError, UnknownIdsError
from db.states import CaseOutcome
from jobs.dunning import operate
from jobs.dunning.preview import preview
from tests.dunning.kit import ADA, TUESDAY, Scene
from tests.events.kit import rows


async def test_a_paused_case_sends_nothing_and_goes_on_when_it_is_resumed(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    async with scene.deps.tx() as tx:
        await operate.pause(tx, "in_1", ADA)
    await scene.fail()  # an event changes nothing about it
    await scene.days(8)
    assert await scene.letters() == ["payment_failed"]
    case = await scene.case()
    assert (case["status"], case["paused_by"], case["reason"]) == ("paused", "operator", "ada: a test")
    assert await scene.status() == "warning"
    async with scene.deps.tx() as tx:
        await operate.resume(tx, "in_1", ADA)
    await scene.work()
    assert await scene.letters() == ["payment_failed", "final_notice"]
    told = await rows(scene.engine, "audit_log")
    assert [(one["who"], one["action"], one["target"], one["why"]) for one in told] == [
        ("ada", "dunning.pause", "in_1", "a test"),
        ("ada", "dunning.resume", "in_1", "a test"),
    ]


async def test_a_pause_may_end_by_itself(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    async with scene.deps.tx() as tx:
        await operate.pause(tx, "in_1", ADA, until=TUESDAY + timedelta(days=5))
    await scene.days(4.9)
    assert await scene.letters() == ["payment_failed"]
    await scene.days(2)
    assert await scene.letters() == ["payment_failed", "dunning_reminder"]


async def test_payment_closes_a_paused_case(scene: Scene) -> None:
    await scene.fail()
    async with scene.deps.tx() as tx:
        await operate.pause(tx, "in_1", ADA)
    await scene.deliver(scene.pay())
    assert (await scene.case())["outcome"] == "recovered"


async def test_a_step_is_skipped(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    async with scene.deps.tx() as tx:
        await operate.skip(tx, "in_1", ADA, position=1)
    await scene.days(8)
    assert await scene.letters() == ["payment_failed", "final_notice"]
    assert await scene.steps() == [(0, "taken"), (1, "skipped"), (2, "taken")]


async def test_all_steps_may_be_skipped(scene: Scene) -> None:
    await scene.fail()
    for position in range(4):
        async with scene.deps.tx() as tx:
            await operate.skip(tx, "in_1", ADA, position=position)
    with pytest.raises(NotAllowedError, match="no step is left"):
        async with scene.deps.tx() as tx:
            await operate.skip(tx, "in_1", ADA, position=4)
    await scene.days(29, step=4)
    assert await scene.letters() == []
    assert await scene.status() == "active"
    await scene.days(4, step=1)
    assert (await scene.case())["outcome"] == "lost"


async def test_a_step_is_sent_now(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.clock.move(timedelta(hours=12))  # in the middle of the night
    async with scene.deps.tx() as tx:
        await operate.send_now(tx, "in_1", ADA, position=1)
    await scene.work()
    assert await scene.letters() == ["payment_failed", "dunning_reminder"]
    await scene.days(4)
    assert await scene.letters() == ["payment_failed", "dunning_reminder"]


async def test_sending_now_does_not_write_to_whoever_has_paid(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.pay()
    async with scene.deps.tx() as tx:
        await operate.send_now(tx, "in_1", ADA, position=1)
    await scene.work()
    assert await scene.letters() == ["payment_failed", "recovered"]


async def test_grace_puts_off_what_is_left(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    async with scene.deps.tx() as tx:
        await operate.extend(tx, "in_1", ADA, days=10)
    await scene.days(12)
    assert await scene.letters() == ["payment_failed"]
    await scene.days(2)
    assert await scene.letters() == ["payment_failed", "dunning_reminder"]


async def test_a_case_is_let_be(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    async with scene.deps.tx() as tx:
        await operate.let_be(tx, "in_1", ADA)
    await scene.days(8)
    assert (await scene.case())["outcome"] == "exempt"
    assert await scene.status() == "active"
    assert await scene.letters() == ["payment_failed"]


async def test_what_cannot_be_done_is_refused_with_the_reason(scene: Scene) -> None:
    async with scene.deps.tx() as tx:
        with pytest.raises(UnknownIdsError):
            await operate.pause(tx, "in_1", ADA)
    await scene.fail()
    async with scene.deps.tx() as tx:
        with pytest.raises(NotAllowedError, match="is not paused"):
            await operate.resume(tx, "in_1", ADA)
        with pytest.raises(NotAllowedError, match="is past"):
            await operate.pause(tx, "in_1", ADA, until=TUESDAY)
        with pytest.raises(NotAllowedError, match="between 1 and 365"):
            await operate.extend(tx, "in_1", ADA, days=0)
        with pytest.raises(NotAllowedError, match="told by Stripe"):
            await operate.let_be(tx, "in_1", ADA, outcome=CaseOutcome.RECOVERED)
        await operate.pause(tx, "in_1", ADA)
        with pytest.raises(NotAllowedError, match="paused already"):
            await operate.pause(tx, "in_1", ADA)
        with pytest.raises(NotAllowedError, match="resume it first"):
            await operate.send_now(tx, "in_1", ADA, position=1)
    await scene.deliver(scene.pay())
    async with scene.deps.tx() as tx:
        with pytest.raises(NotAllowedError, match="is closed"):
            await operate.resume(tx, "in_1", ADA)


async def test_the_preview_is_what_then_happens(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    async with scene.engine.connect() as conn:
        told = await preview(conn, "in_1", scene.clock.now())
        assert await preview(conn, "in_9", scene.clock.now()) is None
    assert told is not None
    assert [(one.position, one.letter, one.action) for one in told.steps] == [
        (1, "dunning_reminder", "none"),
        (2, "final_notice", "none"),
        (3, "access_suspended", "mark_blocked"),
    ]
    await scene.days(15, step=0.05)
    done = await scene.query("SELECT due_at FROM dunning_steps WHERE position > 0 ORDER BY position")
    assert [one.at for one in told.steps] == [one[0] for one in done]
    assert told.given_up_at == told.steps[-1].at + timedelta(days=30)


async def test_the_preview_of_what_is_paused_closed_or_not_begun(scene: Scene) -> None:
    await scene.tell("invoice.finalized", scene.invoice())
    async with scene.engine.connect() as conn:
        before = await preview(conn, "in_1", scene.clock.now())
    assert before is not None
    assert before.why == "no payment of it failed: as if one failed now"
    assert len(before.steps) == 4
    await scene.fail()
    async with scene.deps.tx() as tx:
        await operate.pause(tx, "in_1", ADA)
        paused = await preview(tx.conn, "in_1", tx.now)
    assert paused is not None
    assert (paused.steps, paused.why) == ((), "paused: ada: a test")
    await scene.deliver(scene.pay())
    async with scene.engine.connect() as conn:
        closed = await preview(conn, "in_1", scene.clock.now())
    assert closed is not None
    assert closed.why == "closed: the invoice is paid"
