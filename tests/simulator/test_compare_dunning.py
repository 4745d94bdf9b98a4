"""Dunning that does not fit Stripe's books is not called right: one lie after the other, and its name."""

from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.demo.compare import differences, dunning_figures
from deploy.demo.compare_letters import in_mailbox
from tests.scenarios.acts import customer, latest_invoice, plan, put_card, subscribe
from tests.scenarios.conftest import CALM, at
from tests.scenarios.kit import Stage, stage
from tests.simulator.stories import Played, filled
from worker.adapters.mail_files import Maildir
from worker.embedded import EmbeddedPostgres

HEARD = timedelta(days=2)


async def _play(told: Played, engine: AsyncEngine, url: str) -> None:
    """Ada pays after two letters, Bo never does, Cleo need not, Dora always does, Emil's card has just failed."""
    async with stage(engine, url, at(2026, 1, 5), weather=CALM) as played:
        price = await plan(played, 4900)
        subs = {name: await _subscribed(played, name, price) for name in ("ada", "bo", "cleo", "dora")}
        for name in ("ada", "bo", "cleo"):
            await put_card(played, (await _payer(played, subs[name])), "pm_card_chargeCustomerFail")
        await played.until(2026, 1, 16)
        subs["emil"] = await _subscribed(played, "emil", price)
        await played.until(2026, 2, 5, 14)
        await _days(played, 5)
        for name in ("ada", "bo", "cleo", "dora"):
            told.ids[name] = (await latest_invoice(played, subs[name]))["stripe_invoice_id"]
        await put_card(played, await _payer(played, subs["ada"]), "pm_card_visa")
        await played.v1.invoices.pay_async(told.ids["ada"])
        await played.v1.invoices.void_invoice_async(told.ids["cleo"])
        await put_card(played, await _payer(played, subs["emil"]), "pm_card_chargeCustomerFail")
        await _days(played, 10)
        told.ids["emil"] = (await latest_invoice(played, subs["emil"]))["stripe_invoice_id"]
        told.ids |= {f"{name} herself": await _payer(played, sub) for name, sub in subs.items()}
        await played.books_agree()
        told.end(played)


async def _subscribed(played: Stage, name: str, price: str) -> str:
    return await subscribe(played, await customer(played, f"{name.title()} Falk"), price)


async def _payer(played: Stage, sub: str) -> str:
    return (await played.v1.subscriptions.retrieve_async(sub)).customer


async def _days(played: Stage, count: int) -> None:
    for _ in range(count):
        await played.advance(days=1)
        await played.settle()


@pytest.fixture(scope="module")
def played() -> Played:
    """What `template` fills."""
    return Played()


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, template: str, played: Played) -> str:
    """The ledger at the end of the story: each test has a copy."""
    return filled(postgres, template, played, _play)


async def named(engine: AsyncEngine, played: Played) -> set[tuple[str, str, str]]:
    """Kind, id and field of what differs."""
    found = await differences(engine, played.books, at=played.now, heard=HEARD)
    return {(each.kind, each.id, each.field) for each in found}


async def test_right_books_are_found_right(engine: AsyncEngine, played: Played) -> None:
    assert await differences(engine, played.books, at=played.now, heard=HEARD) == []
    there, here = await dunning_figures(engine, played.books, at=played.now, heard=HEARD)
    assert there == here
    assert (here.failed, here.dunned, here.recovered, here.lost, here.open) == (4, 4, 1, 1, 1)
    assert here.money == {"usd": 4900}


_CASE = "(SELECT id FROM dunning_cases WHERE stripe_invoice_id = '{bo}')"
_NEW_CASE = (
    "INSERT INTO dunning_cases (stripe_invoice_id, stripe_customer_id, opened_by, currency, amount_cents, policy,"
    " steps, hours, failed_at, opened_at) SELECT '{dora}', '{dora herself}', opened_by, currency, amount_cents,"
    " policy, steps, hours, failed_at, opened_at FROM dunning_cases WHERE stripe_invoice_id = '{bo}'"
)
_NEW_LETTER = (
    "INSERT INTO emails (key, message_id, template, recipient, context, status, occurred_at, created_at)"
    " SELECT '{key}', 'x', '{template}', recipient, context, 'sent', now(), created_at FROM emails WHERE key = '{like}'"
)


def _steps(change: str, *wrong: str, name: str = "bo", where: str = "true") -> tuple[str, ...]:
    return f"{change} WHERE {where} AND case_id = {_CASE.replace('bo', name)}", *wrong


def _case(name: str, change: str, *wrong: str) -> tuple[str, ...]:
    sql = f"UPDATE dunning_cases SET {change} WHERE stripe_invoice_id = '{{{name}}}'"  # noqa: S608 - our own names
    return sql, *(one if " " in one else f"dunning_case {{{name}}} {one}" for one in wrong)


def _letter(key: str, change: str, field: str) -> tuple[str, str]:
    return f"UPDATE emails SET {change} WHERE key = '{key}'", f"letter {key} {field}"  # noqa: S608 - our own names


def _another(key: str, template: str, like: str, wrong: str) -> tuple[str, str]:
    made = _NEW_LETTER.replace("{key}", key).replace("{template}", template).replace("{like}", like)
    return made, wrong


CLOSED = "status = 'closed', closed_at = now(), next_step_at = NULL, outcome = "
SUM = "sum of dunning_cases usd recovered"

LIES: tuple[tuple[str, ...], ...] = (
    _case("bo", f"{CLOSED} 'recovered', recovered_cents = 4900", "outcome", SUM),
    _case("bo", f"{CLOSED} 'void'", "outcome"),
    _case("emil", f"{CLOSED} 'lost'", "outcome"),
    _case("bo", "failed_at = failed_at + interval '1 second'", "failed_at"),
    _case("bo", "amount_cents = amount_cents + 1", "amount_cents"),
    _case("bo", "currency = 'eur'", "currency"),
    _case("bo", "done_step = 1", "done_step"),
    _case("bo", "stripe_customer_id = '{ada herself}'", "stripe_customer_id",
          "customer {bo herself} dunning_status", "customer {ada herself} dunning_status"),
    _case("ada", "recovered_cents = recovered_cents - 1", "recovered_cents", SUM),
    _case("ada", "outcome = 'void', recovered_cents = NULL", "outcome", SUM),
    _case("ada", "status = 'open', outcome = NULL, closed_at = NULL, recovered_cents = NULL", "outcome", SUM),
    _case("cleo", "outcome = 'recovered', recovered_cents = 4900", "outcome", SUM),
    ("DELETE FROM dunning_cases WHERE stripe_invoice_id = '{nobody}'",),
    (_NEW_CASE, "dunning_case {dora} exists"),
    _steps("DELETE FROM dunning_steps",
     "dunning_case {bo} done_step", "letter dunning/{bo}/3 exists", "customer {bo herself} dunning_status",
     where="position = 3"),
    _steps("DELETE FROM dunning_steps",
     "dunning_case {bo} done_step", "dunning_step {bo} 1 exists", "dunning_step {bo} 2 exists",
     "letter dunning/{bo}/1 exists", "letter dunning/{bo}/2 exists", "letter dunning/{bo}/3 exists",
     "customer {bo herself} dunning_status", where="position > 0"),
    _steps("UPDATE dunning_steps SET taken_at = taken_at - interval '2 days'",
     "dunning_step {bo} 1 taken_at", where="position = 1"),
    _steps("UPDATE dunning_steps SET position = 7",
     "dunning_step {bo} 7 position",
     "letter dunning/{bo}/3 exists", "customer {bo herself} dunning_status",
     where="position = 3"),
    _steps("UPDATE dunning_steps SET taken_at = taken_at + interval '9 days'",
     "dunning_step {ada} 0 taken_at", where="position = 0", name="ada"),
    ("UPDATE users SET dunning_status = 'active' WHERE stripe_customer_id = '{bo herself}'",
     "customer {bo herself} dunning_status"),
    ("UPDATE users SET dunning_status = 'warning' WHERE stripe_customer_id = '{dora herself}'",
     "customer {dora herself} dunning_status"),
    ("UPDATE dunning_steps SET email_id = NULL; DELETE FROM emails WHERE key = 'dunning/{bo}/2'",
     "letter dunning/{bo}/2 exists"),
    ("DELETE FROM emails WHERE key = 'receipt/{dora}'", "letter receipt/{dora} exists"),
    ("DELETE FROM emails WHERE key = 'recovered/{ada}'", "letter recovered/{ada} exists"),
    _another("dunning/{dora}/0", "payment_failed", "dunning/{bo}/0", "letter dunning/{dora}/0 exists"),
    _another("receipt/{ada}", "receipt", "recovered/{ada}", "letter receipt/{ada} exists"),
    _another("receipt/{bo}", "receipt", "dunning/{bo}/0", "letter receipt/{bo} exists"),
    _another("recovered/{cleo}", "recovered", "dunning/{cleo}/0", "letter recovered/{cleo} exists"),
    _letter("dunning/{bo}/1", "template = 'final_notice'", "template"),
    _letter("dunning/{ada}/0", "created_at = created_at + interval '9 days'", "created_at"),
    _letter("dunning/{bo}/0", "created_at = created_at - interval '3 days'", "created_at"),
    _letter("recovered/{ada}", "created_at = created_at - interval '4 days'", "created_at"),
    _letter("receipt/{dora}", "recipient = 'someone@example.com'", "recipient"),
    _letter("receipt/{dora}", "status = 'queued'", "status"),
    _letter("receipt/{dora}", "template = 'refund'", "template"),
)  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=range(len(LIES)))
async def test_a_lie_is_named(engine: AsyncEngine, played: Played, lie: tuple[str, ...]) -> None:
    known = {**played.ids, "nobody": "in_x"}
    sql, *wrong = (one.format(**known) for one in lie)
    async with engine.begin() as conn:
        for statement in sql.split("; "):
            await conn.execute(text(statement))
    found = {" ".join(one) for one in await named(engine, played)}
    assert found == set(wrong)


async def test_a_case_that_is_missing_is_named(engine: AsyncEngine, played: Played) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("DELETE FROM dunning_steps"))
        await conn.execute(text("DELETE FROM dunning_cases"))
    cases = {one for one in await named(engine, played) if one[0] == "dunning_case"}
    assert cases == {("dunning_case", played.ids[name], "exists") for name in ("ada", "bo", "cleo", "emil")}


async def test_the_mailbox_holds_what_was_sent(engine: AsyncEngine, tmp_path: Path) -> None:
    async with engine.begin() as conn:
        sent = (await conn.execute(text("SELECT key, message_id FROM emails WHERE status = 'sent'"))).all()
    for _, name in sent[1:]:
        await _file(tmp_path, name)
    await _file(tmp_path, "stranger")
    (tmp_path / "new" / "copy.eml").write_bytes(f"Message-ID: <{sent[1].message_id}@example.com>\r\n\r\n".encode())
    found = [(each.id, each.field) for each in await in_mailbox(engine, tmp_path)]
    assert sorted(found) == sorted([(sent[0].key, "exists"), ("stranger", "exists"), (sent[1].key, "files")])


async def _file(folder: Path, name: str) -> None:
    letter = EmailMessage()
    letter["To"], letter["Message-ID"] = "ada@example.com", f"<{name}@example.com>"
    letter.set_content("…")
    await Maildir(folder).send(letter)
