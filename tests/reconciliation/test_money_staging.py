"""Where Stripe's rows lie while they are compared: nothing of it stays behind, whoever is killed."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.balance_kept import keep
from db.balance_transactions import SHARED, session, staging
from db.engine import create_engine
from jobs.reconciliation.found import Suspect
from jobs.reconciliation.money import compare_money
from tests.reconciliation.money_kit import HOUR, SINCE, Money, live

TABLES = f"SELECT relname FROM pg_class WHERE starts_with(relname, '{SHARED}')"  # noqa: S608 - our own name


@pytest.fixture
async def money(engine: AsyncEngine) -> Money:
    """Both sides, and nothing has happened."""
    return Money(engine)


async def test_what_a_killed_comparison_left_is_taken_away_by_the_next(money: Money) -> None:
    async with staging(money.engine, shared=True) as living:
        async with staging(money.engine, shared=True) as killed:
            await money.change("SELECT pg_terminate_backend(:pid)", pid=killed.raw.get_server_pid())
        assert {name for (name,) in await money.query(TABLES)} == {living.table, killed.table}
        async with staging(money.engine, shared=True) as third:
            assert {name for (name,) in await money.query(TABLES)} == {living.table, third.table}
    assert await money.query(TABLES) == []


async def test_who_is_interrupted_leaves_nothing(money: Money) -> None:
    money.pay(1000)
    money.later(HOUR)
    stripe, asked = await money.stripe(), asyncio.Event()

    async def silent(path: str, **params: object) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError(path, params)

    money.counter.read = silent  # type: ignore[method-assign] - a Stripe that does not answer
    task = asyncio.create_task(compare_money(money.deps, stripe, SINCE, money.now))
    await asked.wait()
    assert len(await money.query(TABLES)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await money.query(TABLES) == []


@pytest.fixture
async def humble(money: Money, database_url: str) -> AsyncIterator[AsyncEngine]:
    """A role that may read and write, and make no tables but temporary ones."""
    role = f"humble_{uuid.uuid4().hex}"
    async with session(money.engine) as owner:
        await owner.execute(f"CREATE ROLE {role} LOGIN")
        await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        parts = urlsplit(database_url)
        engine = create_engine(parts._replace(netloc=parts.netloc.replace("postgres", role)).geturl())
        yield engine
        await engine.dispose()
        await owner.execute(f"DROP OWNED BY {role}")
        await owner.execute(f"DROP ROLE {role}")


async def test_who_may_make_no_table_finds_the_same(money: Money, humble: AsyncEngine) -> None:
    ids = live(money.till)
    await money.tell()
    money.later(HOUR)
    await money.change("UPDATE charges SET amount_captured_cents = 1 WHERE stripe_charge_id = :id", id=ids["plain"])
    stripe = await money.stripe()
    found = await compare_money(replace(money.deps, engine=humble), stripe, SINCE, money.now)
    assert found.suspects == {Suspect("charge", ids["plain"])}
    assert found.counted["kept"] == len(money.till.account.store.all("balance_transaction"))
    again = await money.compare()
    assert (again.suspects, again.duplicates, again.totals) == (found.suspects, [], found.totals)


async def test_two_that_compare_at_once_keep_each_row_once(money: Money) -> None:
    for _ in range(30):
        money.pay(1000)
    await money.tell()
    money.later(HOUR)
    stripe = await money.stripe()
    several = await asyncio.gather(*(compare_money(money.deps, stripe, SINCE, money.now) for _ in range(3)))
    assert sum(found.counted["kept"] for found in several) == 30
    assert [(found.suspects, found.duplicates) for found in several] == [(set(), [])] * 3
    assert await money.query("SELECT count(*) FROM balance_transactions") == [(30,)]


async def test_hours_that_were_kept_in_part_are_completed(money: Money) -> None:
    """Of three hours one is kept, one is kept in part, and of one nothing is."""
    for _ in range(3):
        money.pay(1000)
        money.pay(2000)
        money.later(HOUR)
    await money.tell()
    assert (await money.compare()).counted["kept"] == 6
    await money.change(
        "DELETE FROM balance_transactions"
        " WHERE stripe_created_at > :last OR (stripe_created_at > :middle AND net_cents > 1000)",
        last=money.now - timedelta(hours=1, seconds=30),
        middle=money.now - timedelta(hours=2, seconds=30),
    )
    kept = await money.query("SELECT count(*) FROM balance_transactions")
    found = await money.compare()
    assert (found.suspects, found.duplicates, found.counted["listed"]) == (set(), [], 6)
    assert found.counted["kept"] == 6 - kept[0][0] > 0
    assert (await money.compare()).counted["kept"] == 0


async def test_without_shared_memory_no_parallel_workers_are_used(money: Money) -> None:
    """Containers have 64 MB of it unless they are told otherwise; PostgreSQL then says that the disk is full."""
    async with session(money.engine) as one:
        await one.execute(
            "CREATE FUNCTION pg_temp.parallel() RETURNS text LANGUAGE plpgsql AS $$ BEGIN "
            "IF current_setting('max_parallel_workers_per_gather') <> '0' THEN "
            "RAISE 'could not resize shared memory segment' USING ERRCODE = 'disk_full'; END IF; RETURN 'alone'; END $$"
        )
        assert [row[0] for row in await one.fetch("SELECT pg_temp.parallel()")] == ["alone"]


async def test_two_that_keep_the_same_rows_in_opposite_order_both_end(money: Money) -> None:
    rows = [(f"txn_{n:06}", "charge", "charge", f"ch_{n:06}", "usd", 100, 30, 70, None, n, n) for n in range(8_000)]
    async with staging(money.engine) as one, staging(money.engine) as other:
        await one.add(rows)
        await other.add(rows[::-1])
        await asyncio.gather(one.flush(), other.flush())
        kept = await asyncio.gather(
            *(
                keep(stage, account="", livemode=False, now=money.now, fresh=fresh)
                for stage, fresh in ((one, True), (other, False))
            )
        )
    assert sum(kept) == len(rows)
    assert await money.query("SELECT count(*) FROM balance_transactions") == [(len(rows),)]


async def test_what_another_role_left_holds_up_nobody(money: Money, humble: AsyncEngine) -> None:
    """Who migrates compared by hand and was killed; the workers' role may not take that table away."""
    money.pay(1000)
    await money.tell()
    money.later(HOUR)
    stripe = await money.stripe()
    async with staging(money.engine, shared=True) as killed:
        await money.change("SELECT pg_terminate_backend(:pid)", pid=killed.raw.get_server_pid())
    found = await compare_money(replace(money.deps, engine=humble), stripe, SINCE, money.now)
    assert (found.counted["kept"], found.suspects) == (1, set())
    assert len(await money.query(TABLES)) == 1
    await money.compare()
    assert await money.query(TABLES) == []


async def test_what_waits_and_is_kept_already_is_not_new(money: Money) -> None:
    """The job that fetches fees keeps rows of the last minutes: a dry run does not count them again."""
    money.pay(1000)
    money.later(HOUR)
    money.pay(2000)
    await money.tell()
    stripe = await money.stripe()
    for dry_run, kept in ((True, 2), (False, 2), (True, 0), (False, 0)):
        found = await compare_money(money.deps, stripe, SINCE, money.now, dry_run=dry_run)
        assert (found.counted["kept"], found.counted["waiting"]) == (kept, 1)
