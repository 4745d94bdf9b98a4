"""An office with a partner: credits, payments and credit notes are made as the business makes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from db.credits import NewCredit
from db.operators.actions import Actor
from db.usage import Owner
from jobs.invoices import credit_note, pay
from jobs.invoices.credit_note import Credited, PaidOut
from jobs.invoices.credit_note_parts import LinePart
from jobs.invoices.document import Amount
from jobs.invoices.drafts import Draft
from jobs.invoices.issue import Issued, issue
from jobs.invoices.pay import Recorded
from jobs.partners import credits as credits_
from tests.invoices.office import Office, draft
from worker.deps import Tx

ADA = Actor("ada", "a test")
PARTNER = Owner(api_key_prefix="hopper")
DAY = timedelta(days=1)


@dataclass
class Firm(Office):
    """The office, and a partner."""

    async def contract(self, prefix: str = "hopper", **more: object) -> None:
        values = {
            "api_key_prefix": prefix,
            "company": "Hopper Analytics Ltd",
            "pricing_model": "flat",
            "contract_start_date": self.clock.now().date(),
            **more,
        }
        columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
        await self.execute(f"INSERT INTO api_partner_contracts ({columns}) VALUES ({places})", **values)  # noqa: S608 - names of this test's own

    async def grant(self, minor: int, kind: str = "goodwill", days: int | None = None, **more: Any) -> int:
        """A credit in GBP to the partner; `days` until it expires."""
        async with self.deps.tx() as tx:
            ends = None if days is None else tx.now + days * DAY
            new = NewCredit(owner=more.pop("owner", PARTNER), kind=kind, currency=more.pop("currency", "gbp"),
                            amount_cents=minor, reason="for a test", expires_at=ends)  # fmt: skip
            return await credits_.grant(tx, new, ADA)

    async def bill(self, key: str | None = None, **changes: Any) -> Issued:
        """An invoice of 120.00 GBP to the partner, 20.00 of it VAT; credits pay what they can."""
        async with self.deps.tx() as tx:
            return await self.bill_in(tx, draft(key, **{"api_key_prefix": "hopper", **changes}))

    async def bill_in(self, tx: Tx, one: Draft, *, total: int = 12_000) -> Issued:
        planned = credits_.plan(await credits_.available(tx, PARTNER, one.currency), total)
        on_it = tuple(Amount(credit.kind, minor) for credit, minor in planned)
        issued = await issue(tx, msgspec.structs.replace(one, credits=on_it), self.sellers, livemode=False)
        if issued.new:
            await credits_.record(tx, issued.invoice_id, planned)
        return issued

    async def paid(self, issued: Issued, minor: int, reference: str = "tx 1", **more: Any) -> Recorded:
        async with self.deps.tx() as tx:
            values: dict[str, Any] = {"method": "bank_transfer", "paid_at": tx.now, "by": ADA, **more}
            return await pay.record(tx, issued.invoice_id, minor, reference=reference, **values)

    async def credit(
        self, issued: Issued, amount: int | None = None, *,
        lines: Sequence[LinePart] = (), paid_out: PaidOut | None = None,
    ) -> Credited:  # fmt: skip
        async with self.deps.tx() as tx:
            return await credit_note.credit(
                tx, issued.invoice_id, self.sellers, reason="an outage", by=ADA, amount=amount, lines=lines,
                paid_out=paid_out,
            )  # fmt: skip

    async def stands(self, issued: Issued) -> tuple[str, int, int, int]:
        """Status, paid, taken off by credit notes, remaining."""
        row = await self.invoice_row(issued)
        assert row["amount_due_cents"] == (
            row["amount_paid_cents"] + (row["pre_payment_credit_cents"] or 0) + row["amount_remaining_cents"]
        )
        return (
            row["status"],
            row["amount_paid_cents"],
            row["pre_payment_credit_cents"] or 0,
            row["amount_remaining_cents"],
        )

    async def invoice_row(self, issued: Issued) -> Mapping[str, Any]:
        (row,) = await self.query("SELECT * FROM invoices WHERE id = :id", id=issued.invoice_id)
        return row

    async def credits(self) -> list[tuple[str, int, int]]:
        """Kind, given, left; by id."""
        rows = await self.query("SELECT kind, amount_cents, remaining_cents FROM credits ORDER BY id")
        return [(row["kind"], row["amount_cents"], row["remaining_cents"]) for row in rows]

    async def audit(self) -> list[str]:
        return [row["action"] for row in await self.query("SELECT action FROM audit_log ORDER BY id")]
