"""Forks a child for every await of a dunning step and its action, kills it there, and lets a second one finish."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from db import queue
from db.engine import create_engine
from jobs.dunning.policies import put, read_policy
from tests.conftest import MovedClock
from tests.crash.kit import DiesAt
from tests.dunning.kit import ADA, Scene, SmallStripe
from tests.events.kit import Json
from tests.lives.driver import clear

MOST_POINTS = 500
WEEK = timedelta(days=7)
START = datetime(2026, 3, 3, 14, 30, tzinfo=UTC)
FINISH = (
    "UPDATE queue SET lease_until = now() - interval '1 second' WHERE lease_token IS NOT NULL",
    "UPDATE queue SET due_at = timestamptz '2026-03-03' WHERE attempts > 0 OR lost > 0",
)
SEEN = """
SELECT jsonb_build_object(
    'case', (SELECT jsonb_build_object('status', status, 'outcome', outcome, 'done_step', done_step, 'acting', acting,
                                       'final_action', final_action) FROM dunning_cases),
    'steps', (SELECT jsonb_agg(jsonb_build_array(position, outcome, email_id IS NOT NULL) ORDER BY position)
              FROM dunning_steps),
    'letters', (SELECT jsonb_agg(key ORDER BY id) FROM emails),
    'user', (SELECT dunning_status FROM users),
    'left', (SELECT count(*) FROM queue q JOIN jobs j ON j.id = q.job_id
             WHERE j.name = 'act_at_stripe' OR (j.name = 'take_step' AND q.due_at <= timestamptz '2026-03-03 14:40')),
    'turns', (SELECT count(*) FROM queue q JOIN jobs j ON j.id = q.job_id JOIN dunning_cases c ON true
              WHERE j.name = 'take_step' AND j.args ->> 'turn' = c.turn::text),
    'parked', (SELECT count(*) FROM queue WHERE dead_reason IS NOT NULL)
)::text
"""


class KeptStripe(SmallStripe):
    """A Stripe that outlives the worker: it stands in a file, and each answer is one more await."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.forgets = False

    def load(self) -> None:
        self.things, acts, self.answers = json.loads(self.file.read_text())
        self.acts = [(method, path, key, params) for method, path, key, params in acts]

    def save(self) -> None:
        self.file.write_text(json.dumps([self.things, self.acts, {} if self.forgets else self.answers]))

    async def retrieve(self, path: str, **params: Any) -> Json:
        await asyncio.sleep(0)
        answer = await super().retrieve(path, **params)
        await asyncio.sleep(0)
        return answer

    async def act(self, method: str, path: str, *, idempotency_key: str, **params: Any) -> Json:
        await asyncio.sleep(0)
        answer = await super().act(method, path, idempotency_key=idempotency_key, **params)
        self.save()
        await asyncio.sleep(0)  # it is done, and nobody has heard of it yet
        return answer


def scene_at(url: str, stripe: KeptStripe, at: datetime = START) -> Scene:
    return Scene(create_engine(url), MovedClock(at), stripe)


async def reset(url: str, stripe: KeptStripe, action: str) -> None:
    """A case whose last step is due, with `action`; a week ago its first one was taken."""
    stripe.things, stripe.acts, stripe.answers = {}, [], {}
    scene = scene_at(url, stripe, START - WEEK)
    await clear(scene.engine)
    last = {"day": WEEK.days, "letter": "final_notice"}
    if action != "none":
        last |= {"letter": "access_suspended", "action": action}
    steps = [{"day": 0, "letter": "payment_failed"}, last]
    async with scene.deps.tx() as tx:
        await tx.conn.exec_driver_sql("DELETE FROM dunning_policies")
        await put(tx.conn, read_policy({"name": action, "steps": steps}), ADA, now=tx.now)
    await scene.begin()
    await scene.fail()
    await scene.work()
    stripe.save()
    await scene.engine.dispose()


async def work(url: str, stripe: KeptStripe) -> None:
    """Claim and run everything in one task, so that each wait is a point of this coroutine."""
    stripe.load()
    scene = scene_at(url, stripe)
    async with scene.runner.autocommit() as conn:
        await queue.sweep(conn, now=scene.clock.now())
    for suspects in (False, True, False):  # what a suspect stages is no suspect
        while rows := await scene.runner.claim("batch", 1, suspects=suspects):
            await scene.runner.run_job(rows[0])
    await scene.engine.dispose()


def forked(url: str, stripe: KeptStripe, n: int | None) -> int:
    """Work in a child, killed at its n-th await. Returns the wait status."""
    child = os.fork()
    if child == 0:

        async def main() -> None:
            await (work(url, stripe) if n is None else DiesAt(work(url, stripe), n))

        asyncio.run(main())
        os._exit(0)
    return os.waitpid(child, 0)[1]


async def look(url: str, stripe: KeptStripe) -> Json:
    """How all stands; and what was leased or failed is made due."""
    stripe.load()
    scene = scene_at(url, stripe)
    [(seen,)] = await scene.query(SEEN)
    async with scene.engine.begin() as conn:
        for statement in FINISH:
            await conn.exec_driver_sql(statement)
    await scene.engine.dispose()
    subscription = stripe.things["sub_1"]
    paused = bool(subscription["pause_collection"])
    keys = [key.partition("/")[2].partition("/")[2] for _, _, key, _ in stripe.acts]
    return {**json.loads(seen), "acts": keys, "subscription": subscription["status"], "paused": paused}


def main(url: str, folder: str, action: str, *, stride: int) -> None:
    """One line of JSON for each point: how all stands after the crash at it, and after a second, whole run.

    At every other point Stripe has forgotten the idempotency key meanwhile: only to look prevents a second action.
    """
    stripe = KeptStripe(Path(folder) / "stripe.json")
    for n in range(1, MOST_POINTS, stride):
        stripe.forgets = n // stride % 2 == 0
        asyncio.run(reset(url, stripe, action))
        status = forked(url, stripe, n)
        crashed = asyncio.run(look(url, stripe))
        finished = 0 if status == 0 else forked(url, stripe, None)
        told = {"point": n, "finished": finished, "crashed": crashed, **asyncio.run(look(url, stripe))}
        sys.stdout.write(json.dumps(told) + "\n")
        if status == 0:
            break


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    main(sys.argv[1], sys.argv[2], sys.argv[3], stride=int(sys.argv[4]))
