"""A seller of invoices of its own, for tests of what becomes of those that are not paid by their day."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from jobs.dunning.follow import follow_own
from jobs.dunning.own_overdue import open_own_cases
from jobs.invoices.document import Party
from jobs.invoices.drafts import Draft, DraftLine
from jobs.invoices.issue import issue
from jobs.invoices.sellers import sellers_from
from jobs.mail.brand import brand_from
from jobs.mail.render import Rendered, render
from tests.conftest import MovedClock
from tests.dunning.kit import Scene
from tests.events.kit import Json, row, rows
from worker.settings import Settings

SELLERS = """
default = "north"

[sellers.north]
name = "Nordlicht GmbH"
address = { line1 = "Torstraße 1", city = "Berlin", postal_code = "10119", country = "DE" }
tax_ids = [{ type = "eu_vat", value = "DE123456789" }]
timezone = "Europe/Berlin"
locale = "de"
terms = "net_15"
bank = { holder = "Nordlicht GmbH", iban = "DE89370400440532013000", bic = "COBADEFFXXX", name = "Commerzbank" }
"""
MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC)
"""Net 15 from here is Tuesday 17 November."""
GRACE = Party("Hopper Analytics Ltd", email="grace@hopper.example")
PDF = b"%PDF-1.7\n%%EOF\n"


@dataclass
class OwnScene(Scene):
    """A seller who issues invoices of its own; the worker looks for overdue ones as the schedule does."""

    ids: dict[str, int] = field(default_factory=dict[str, int])
    numbers: dict[str, str] = field(default_factory=dict[str, str])

    async def issue(self, key: str = "nw", *, stored: bool = True, **changes: Any) -> str:
        """An invoice over 120.00. Returns the name that dunning has for it."""
        draft = Draft(
            kind="partner",
            currency="eur",
            buyer=GRACE,
            lines=(DraftLine("API calls", quantity=Decimal(48000), unit_price_minor=Decimal("0.25")),),
            api_key_prefix="nw_live",
            key=f"partner/{key}",
        )
        async with self.deps.tx() as tx:
            made = await issue(
                tx, msgspec.structs.replace(draft, **changes), sellers_from(self.settings), livemode=False
            )
            if stored and made.document_id is not None:
                await documents.stored(tx.conn, made.document_id, sha256="0" * 64, size=len(PDF), now=tx.now)
        self.ids[key], self.numbers[key] = made.invoice_id, made.number
        return f"own-{made.invoice_id}"

    async def contract(self, **changes: Any) -> None:
        """What is agreed with the partner."""
        values = {"billing_email": "accounts@hopper.example", "locale": "en", "timezone": "Europe/London"} | changes
        names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
        await self.query_and_commit(
            "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, contract_start_date,"  # noqa: S608 - names of our own
            f" {names}) VALUES ('nw_live', 'Hopper', 'flat', '2026-01-01', {places})",
            **values,
        )

    async def look(self) -> None:
        """The schedule's hour has come; then the worker works."""
        await open_own_cases.run(self.deps, {"period": self.clock.now().isoformat()})
        await self.work()

    async def days(self, days: float, *, step: float = 0.25) -> None:
        """Let days pass: every few hours it is looked for what is overdue, and the worker works."""
        end = self.clock.now() + timedelta(days=days)
        await self.look()
        while self.clock.now() < end:
            self.clock.time = min(self.clock.now() + timedelta(days=step), end)
            await self.look()

    async def until(self, year: int, month: int, day: int, hour: int = 12) -> None:
        """Let time pass until then (UTC)."""
        await self.days((datetime(year, month, day, hour, tzinfo=UTC) - self.clock.now()) / timedelta(days=1))

    async def own(self, key: str = "nw") -> Json:
        """The case."""
        return await row(self.engine, "dunning_cases", invoice_id=self.ids[key])

    async def mails(self, key: str = "nw") -> list[Json]:
        """The dunning letters about an invoice, oldest first."""
        name = f"own-{self.ids[key]}"
        return [one for one in await rows(self.engine, "emails") if one["key"].split("/")[1] == name]

    async def templates(self, key: str = "nw") -> list[str]:
        """What they are."""
        return [one["template"] for one in await self.mails(key)]

    async def ledger(self, key: str = "nw", **changes: Any) -> None:
        """Somebody changes the invoice, and tells dunning, in one transaction."""
        changed = ", ".join(f"{name} = :{name}" for name in changes)
        async with self.deps.tx() as tx:
            statement = text(f"UPDATE invoices SET {changed} WHERE id = :id")  # noqa: S608 - names of our own
            await tx.conn.execute(statement, changes | {"id": self.ids[key]})
            await follow_own(tx, self.ids[key])

    async def paid(self, key: str = "nw", amount: int = 12_000) -> None:
        """The money came now, all of it."""
        await self.ledger(
            key, status="paid", amount_paid_cents=amount, amount_remaining_cents=0, paid_at=self.clock.now()
        )

    def written(self, letter: Json) -> Rendered:
        """A letter as it is sent."""
        return render(
            letter["template"],
            letter["context"],
            locale=letter["locale"],
            timezone=letter["timezone"],
            brand=brand_from(self.settings),
        )


def seller(engine: AsyncEngine, folder: Path) -> OwnScene:
    """Nordlicht, which keeps its files in `folder`, on a Monday morning."""
    file = folder / "sellers.toml"
    file.write_text(SELLERS)
    settings = Settings(billing_home=folder, billing_sellers_file=file, mail_from="Nordlicht <billing@north.example>")
    return OwnScene(engine, MovedClock(MONDAY), settings=settings)
