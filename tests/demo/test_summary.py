"""The last line says how many differences there are, and the exit code whether there is any reason to worry."""

import asyncio
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.demo import summary
from deploy.demo.company import Catalog
from deploy.demo.compare_rows import Difference
from deploy.demo.fates import Fate
from deploy.demo.ledger import Ledger
from deploy.demo.screen import Screen
from deploy.demo.shop import Shop
from deploy.demo.story import Story
from deploy.demo.stripe_client import StripeClient
from tests.scenarios.acts import customer, plan, subscribe
from tests.scenarios.kit import Stage, Weather, stage


def ask(played: Stage, database_url: str, mailbox: Path) -> summary.Outcome:
    """What the demo does at its end."""
    client = StripeClient(played.address, "sk_test_x", "test")
    with Ledger(database_url, "redis://127.0.0.1:1", played.clock.now) as ledger:
        made = summary.outcome(
            ledger,
            Story(Shop(client, Catalog())),
            seed=7,
            seconds=1.5,
            mailbox=mailbox,
            deeds=None,
            differences=ledger.differences(client.get("/_sim/books"), int(played.clock.now().timestamp())),
        )
    client.close()
    return made


def shown(told: summary.Outcome) -> Sequence[str]:
    out = io.StringIO()
    summary.show(Screen(Console(file=out, width=120, soft_wrap=True)), told)
    return [line.rstrip() for line in out.getvalue().splitlines()]


async def test_one_wrong_row_is_named_and_exits_1(engine: AsyncEngine, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "letter").touch()
    async with stage(engine, database_url, datetime(2026, 1, 5, tzinfo=UTC), weather=Weather("calm", 7)) as played:
        await subscribe(played, await customer(played, "Ada Byron"), await plan(played, 9000))
        await played.books_agree()

        right = await asyncio.to_thread(ask, played, database_url, tmp_path)
        assert (right.exit_code, shown(right)[-1]) == (0, "differences: 0")
        assert right.counts["customers"] == right.counts["subscriptions"] == right.counts["of these paid"] == 1
        assert (right.mrr, right.mails, right.dead) == ({"usd": 9000}, 1, 0)
        assert any(line.startswith("MRR in USD") and line.endswith("$90.00") for line in shown(right))

        async with engine.begin() as conn:
            await conn.execute(text("UPDATE invoices SET amount_paid_cents = amount_paid_cents - 1"))
        wrong = await asyncio.to_thread(ask, played, database_url, tmp_path)
        assert (wrong.exit_code, shown(wrong)[-1]) == (1, f"differences: {len(wrong.differences)}")
        assert any("amount_paid_cents: Stripe 9000, here 8999" in line for line in shown(wrong))

        assert any(line.startswith(f"mailbox: {tmp_path}") for line in shown(right))
        lost = replace(right, fates=[Fate("lost", "Ada Byron", "$90.00", "a.eml")])
        assert f"  Ada Byron, $90.00: {tmp_path / 'new' / 'a.eml'}" in shown(lost)
        assert "recovered: nobody" in shown(lost)

        worry = replace(right, refused=2)
        assert (worry.exit_code, shown(worry)[-1]) == (1, "differences: 2")
        many = replace(
            right, differences=[Difference("invoice", f"in_{n}", "status", "paid", "open") for n in range(25)]
        )
        assert shown(many)[-2:] == ["and 5 more", "differences: 25"]
        assert len([line for line in shown(many) if line.startswith("invoice in_")]) == 20
