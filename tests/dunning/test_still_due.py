"""A dunning letter that waited for its carrier does not reach somebody who has paid meanwhile."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import emails
from db.operators.actions import NotAllowedError
from jobs.dunning import operate
from tests.conftest import MovedClock
from tests.dunning.kit import ADA, TUESDAY, Scene
from tests.mail.carriers import FakeMailer
from tests.mail.post import Post
from worker.deps import Deps
from worker.errors import Refused, TryLater


@dataclass
class Office(Post):
    """The scene's books and Stripe, with a carrier that may be away."""

    scene: Any = field(kw_only=True)

    @property
    def deps(self) -> Deps:
        return Deps(
            engine=self.engine,
            clock=self.clock,
            stripe=self.scene.deps.stripe,
            mailer=self.mailer,
            settings=self.settings,
        )


@pytest.fixture
async def scene(engine: AsyncEngine) -> Scene:
    """A customer whose payment failed, and whose first letter waits."""
    made = Scene(engine, MovedClock(TUESDAY))
    await made.begin()
    await made.fail()
    await made.work()
    return made


@pytest.fixture
def carrier() -> FakeMailer:
    """A carrier that is busy at first."""
    return FakeMailer([TryLater("451 busy")])


@pytest.fixture
def office(scene: Scene, carrier: FakeMailer) -> Office:
    """Where letters are sent from."""
    return Office(scene.engine, scene.clock, carrier, scene=scene)


def subjects(carrier: FakeMailer) -> list[str]:
    """What was sent."""
    return [str(letter["subject"]) for letter in carrier.letters()]


async def test_451_then_paid_then_the_carrier_is_back(scene: Scene, office: Office, carrier: FakeMailer) -> None:
    await office.work()
    await scene.deliver(scene.pay())
    await office.work_on()
    assert (await office.letter("dunning/in_1/0"))["status"] == "suppressed"
    assert "recovered" in (await office.letter("dunning/in_1/0"))["reason"]
    assert len(carrier.letters()) == 1  # the thanks


async def test_paid_at_stripe_and_its_event_is_still_to_come(scene: Scene, office: Office, carrier: FakeMailer) -> None:
    await office.work()
    scene.pay()  # nobody tells us
    scene.clock.move(timedelta(hours=2))
    await office.work_on()
    assert (await office.letter("dunning/in_1/0"))["status"] == "suppressed"
    assert (await scene.case())["outcome"] == "recovered"
    assert len(carrier.letters()) == 1


async def test_without_a_change_it_is_sent_late(scene: Scene, office: Office, carrier: FakeMailer) -> None:
    await office.work()
    scene.clock.move(timedelta(hours=2))
    await office.work_on()
    assert (await office.letter("dunning/in_1/0"))["status"] == "sent"
    assert len(carrier.letters()) == 1


async def test_it_waits_while_stripe_cannot_be_asked(scene: Scene, office: Office, carrier: FakeMailer) -> None:
    await office.work()
    scene.clock.move(timedelta(hours=2))
    scene.stripe.away = True
    await office.work()
    assert (await office.letter("dunning/in_1/0"))["status"] == "queued"
    scene.stripe.away = False
    await office.work_on()
    assert (await office.letter("dunning/in_1/0"))["status"] == "sent"
    assert len(carrier.letters()) == 1


async def test_void_or_paused_meanwhile(scene: Scene, office: Office, carrier: FakeMailer) -> None:
    await office.work()
    async with scene.deps.tx() as tx:
        await operate.pause(tx, "in_1", ADA)
    await office.work_on()
    assert (await office.letter("dunning/in_1/0"))["reason"].startswith("dunning is paused")
    assert subjects(carrier) == []


async def test_a_parked_letter_is_not_sent_again_after_payment(
    scene: Scene, office: Office, carrier: FakeMailer
) -> None:
    carrier.answers = [Refused("554 no")]
    await office.work()
    letter = await office.letter("dunning/in_1/0")
    assert letter["status"] == "dead"
    await scene.deliver(scene.pay())
    await office.work_on()
    async with scene.engine.begin() as conn:
        with pytest.raises(NotAllowedError, match="nobody who has paid is dunned"):
            await emails.resend(conn, str(letter["id"]), ADA, now=scene.clock.now())
    await office.execute("UPDATE queue SET dead_reason = NULL, due_at = :now WHERE job_id = :job",
                         now=scene.clock.now(), job=letter["job_id"])  # fmt: skip
    await office.execute("UPDATE jobs SET status = 'queued' WHERE id = :job", job=letter["job_id"])
    await office.work_on()
    assert (await office.letter("dunning/in_1/0"))["status"] == "suppressed"
    assert len(carrier.letters()) == 1


async def test_the_last_word_of_a_lost_case_is_sent(scene: Scene, office: Office, carrier: FakeMailer) -> None:
    carrier.answers = []
    await office.execute(
        "UPDATE dunning_cases SET status = 'closed', outcome = 'lost', reason = 'canceled by us', closed_at = :now, "
        "next_step_at = NULL",
        now=scene.clock.now(),
    )
    await office.work_on()
    assert (await office.letter("dunning/in_1/0"))["status"] == "sent"
