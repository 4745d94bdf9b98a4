"""A preview is the very invoice, but for its number; and it leaves nothing behind."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from db.usage import Owner, new_usage
from jobs.invoices.document import Document
from jobs.partners.explain import explained
from tests.conftest import MovedClock
from tests.partners.run_kit import Firm, at
from worker.errors import Refused

_NAMES = count(1)
OCTOBER = at("2026-10-01 00:00")


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = OCTOBER
    return Firm(engine, clock, tmp_path)


async def rows(firm: Firm) -> list[dict[str, Any]]:
    """How many rows there are of anything that an invoice writes."""
    tables = ("usage_invoices", "invoices", "documents", "jobs", "emails", "credits", "invoice_series", "audit_log")
    counted = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in tables)  # noqa: S608 - names of our own
    return await firm.query(f"SELECT {counted}")


def plain(document: Document) -> dict[str, Any]:
    """What it says, without the limits that a draft's fields are held to."""
    told: dict[str, Any] = msgspec.to_builtins(document)
    return told


TIERS = st.lists(
    st.tuples(st.integers(1, 500), st.decimals("0.01", 50, places=2), st.integers(0, 500)), min_size=1, max_size=3
)


@st.composite
def agreements(draw: st.DrawFn) -> dict[str, Any]:
    """What a salesperson may agree."""
    model = draw(st.sampled_from(["flat", "per_deed", "per_request", "hybrid", "tiered"]))
    agreed: dict[str, Any] = {
        "pricing_model": model,
        "monthly_flat_fee_cents": draw(st.integers(1 if model == "flat" else 0, 10**6)),
        "timezone": draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])),
        "currency": draw(st.sampled_from(["eur", "jpy", "kwd"])),
        "contract_start_date": date(2026, 10, draw(st.integers(1, 20))),
        "locale": draw(st.sampled_from(["en", "de", "fr-CH", "es", "ja", None])),
        "seller": draw(st.sampled_from(["north", "isles", None])),
        "payment_terms": draw(st.sampled_from(["immediate", "net_15", "net_30", "net_60", "end_of_month"])),
        "tax_percent": str(draw(st.sampled_from(["0", "7.7", "19"]))),
        "discount_percent": draw(st.sampled_from([None, "10", "33.3333", "100"])),
        "alarm_factor": 0,
    }
    if draw(st.booleans()):
        agreed["contract_end_date"] = date(2026, 10, draw(st.integers(20, 31)))
    if model in {"per_deed", "hybrid"}:
        agreed["per_deed_price_cents"] = draw(st.integers(1, 10**4))
    if model in {"per_request", "hybrid"}:
        agreed["per_1000_requests_cents"] = draw(st.integers(1, 10**4))
        agreed["package_rounding"] = draw(st.sampled_from(["exact", "up", "down"]))
        agreed["package_size"] = draw(st.sampled_from([1, 7, 1_000]))
    if model == "tiered":
        edge = 0
        tiers: list[dict[str, Any]] = []
        for size, price, fee in draw(TIERS):
            edge += size
            tiers.append({"up_to": edge, "unit_price_cents": str(price), "flat_fee_cents": fee})
        tiers[-1]["up_to"] = None
        agreed |= {"tiers": tiers, "tier_mode": draw(st.sampled_from(["graduated", "volume"]))}
    if model != "flat":
        agreed["included_units"] = draw(st.sampled_from([0, 0, 5, 100]))
    agreed["minimum_commitment_cents"] = draw(st.sampled_from([0, 0, 5_000]))
    least = max(agreed["monthly_flat_fee_cents"], agreed["minimum_commitment_cents"])
    agreed["cap_cents"] = draw(st.sampled_from([None, None, least + 1_000]))
    return agreed


USAGE = st.lists(
    st.tuples(
        st.integers(0, 31 * 24 * 3_600 - 1),
        st.decimals(0, 2_000, places=3),
        st.sampled_from(["api.request", "deed.created"]),
        st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(agreed=agreements(), usage=USAGE, credit=st.sampled_from([0, 0, 700]), late=st.booleans())
async def test_preview_invoice_and_reckoning_again_are_one(
    firm: Firm, agreed: dict[str, Any], usage: list[tuple[int, Decimal, str, bool]], credit: int, *, late: bool
) -> None:
    prefix = f"p{next(_NAMES)}"
    firm.clock.time = OCTOBER
    await firm.contract(prefix, **agreed)
    events = [
        new_usage(
            Owner(api_key_prefix=prefix), str(number), kind, received_at=OCTOBER, billable=billable, cost_units=units,
            occurred_at=OCTOBER + timedelta(seconds=second),
        )
        for number, (second, units, kind, billable) in enumerate(usage)
    ]  # fmt: skip
    half = len(events) // 2 if late else len(events)
    await firm.add(events[:half])
    if credit:
        await firm.execute(
            "INSERT INTO credits (api_key_prefix, kind, currency, amount_cents, remaining_cents, reason, created_at,"
            " created_by) VALUES (:prefix, 'goodwill', :currency, :cents, :cents, 'sorry', :now, 'ada')",
            prefix=prefix,
            currency=agreed["currency"],
            cents=credit,
            now=OCTOBER,
        )
    for month, then, more in (("2026-10", "2026-11-02 12:00", events[half:]), ("2026-11", "2026-12-02 12:00", [])):
        if month == "2026-11" and "contract_end_date" in agreed:
            break
        firm.clock.time = at(then)
        before = await rows(firm)
        seen = await firm.preview(month, prefix)
        assert await rows(firm) == before, "a preview leaves nothing"
        done = (await firm.invoice_now(month, prefix)).settled
        if done.status == "parked":
            assert {one.guard for one in seen.concerns if one.stops} == {"zero"}
            done = (await firm.release(month, prefix)).settled
        if done.issued is None:
            assert (done.status, seen.says) == ("empty", None)
        else:
            assert seen.says is not None
            issued = await firm.says(done.issued.number)
            assert plain(msgspec.structs.replace(seen.says, number=issued.number)) == plain(issued)
            async with firm.deps.tx() as tx:
                again = await explained(tx, done.issued.invoice_id)
            assert again.differences == []
            assert sum(line.amount for line in again.lines) == issued.subtotal_minor
            again_seen = await firm.preview(month, prefix)
            assert again_seen.says is not None
            assert plain(again_seen.says)["lines"] == plain(issued)["lines"], "an issued one is shown as it was issued"
        await firm.add(more)


async def test_the_running_month_up_to_now(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=1_000)
    await firm.use("2026-10-05 12:00", 1_000)
    firm.clock.time = at("2026-10-06 12:00")
    seen = await firm.preview()
    assert (seen.running, seen.period.name, seen.says and seen.says.total_minor) == (True, "2026-10", 1_250)
    assert seen.says is not None
    assert seen.says.number == "DRAFT"
    assert seen.explained == [
        "10.00 EUR a month = 10.00 EUR",
        "1,000 requests ÷ 1,000 \N{MULTIPLICATION SIGN} 2.50 EUR = 2.50 EUR",
    ]
    with pytest.raises(Refused, match=r"2026-10 of nw ends on 2026-11-01T00:00Z: see `billing partners preview nw`"):
        await firm.invoice_now("2026-10")


async def test_what_there_is_not_is_said(firm: Firm) -> None:
    with pytest.raises(Refused, match="there is no contract with nw"):
        await firm.preview("2026-10")
    await firm.contract(contract_start_date=date(2026, 11, 1))
    with pytest.raises(Refused, match="begins on 2026-11-01: there is no period yet"):
        await firm.preview()
    firm.clock.time = at("2027-01-06 12:00")
    with pytest.raises(Refused, match="no period 2026-10: its periods are 2026-11 to 2027-01"):
        await firm.preview("2026-10")
    with pytest.raises(Refused, match="write its month, such as 2026-10"):
        await firm.preview("October")
