"""Subscribers over their plans are invoiced once a month, by the plans that held, with the ledger's own customer."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.money import rounded
from db.operators.actions import Actor
from db.usage import Owner
from db.usage_invoices import of_invoice
from jobs.invoices.document import Document
from jobs.partners.explain import reckon
from jobs.rules.plan_spans import Plan
from jobs.rules.pricing import Part, rate
from jobs.usage.overage import invoice_overage
from jobs.usage.overage_release import invoice, look, void
from jobs.usage.plans import terms
from tests.usage.books import NOVEMBER, Books
from tests.usage.overage_kit import INVOICES, equipped, run_month
from worker.errors import Held, Refused

DECEMBER = datetime(2026, 12, 1, 7, tzinfo=UTC)
ADA = Actor("ada", "a test")


@pytest.fixture
def books(books: Books) -> Books:
    return equipped(books)


async def test_a_month_over_the_plan_is_invoiced_once(books: Books) -> None:
    await books.plan(tax_percent=19)
    user = await books.subscriber(company="Ada GmbH")
    await books.insert(
        "tax_ids", {"stripe_tax_id": "txi_1", "stripe_customer_id": "cus_1", "type": "eu_vat", "value": "DE123456789"}
    )
    await books.use(Owner(user_id=user), 1000, NOVEMBER)
    await books.use(Owner(user_id=user), "250", NOVEMBER + timedelta(days=20), type_="deed.lookup")
    await books.use(Owner(user_id=user), 999, NOVEMBER + timedelta(days=20), billable=False)
    books.clock.time = datetime(2026, 12, 1, 4, 59, tzinfo=UTC)  # in Berlin November ended six hours ago, but a minute
    assert await run_month(books) == []
    books.clock.move(timedelta(minutes=1))
    (found,) = await run_month(books)
    assert found["invoice_number"] == "OVR-202612-0001"
    assert (found["own_key"], found["user_id"], found["api_key_prefix"]) == (f"overage/{user}/2026-11", user, None)
    assert (found["subtotal_cents"], found["tax_cents"], found["total_cents"]) == (125, 24, 149)
    assert (found["status"], found["currency"], found["customer_email"]) == ("open", "eur", "ada1@example.com")
    assert [line["amount_cents"] for line in found["line_items"]] == [0, 125]
    (document,) = await books.rows("SELECT content FROM documents")
    assert document["content"]["buyer"]["name"] == "Ada GmbH"
    assert document["content"]["buyer"]["tax_ids"] == [{"type": "eu_vat", "value": "DE123456789"}]
    books.clock.move(timedelta(hours=1))
    assert await run_month(books) == [found]
    (row,) = await books.rows("SELECT status, kind, contract_ids, billed_cents FROM usage_invoices")
    assert (row["status"], row["kind"], row["contract_ids"], row["billed_cents"]) == ("issued", "overage", [], 125)


async def test_a_month_within_the_plan_has_no_invoice_and_takes_no_number(books: Books) -> None:
    await books.plan()
    user = await books.subscriber()
    await books.use(Owner(user_id=user), 1000)
    books.clock.time = DECEMBER
    assert await run_month(books) == []
    assert [row["status"] for row in await books.rows("SELECT status FROM usage_invoices")] == ["empty"]


async def test_a_change_of_plan_within_the_month_is_charged_by_each_ones_share(books: Books) -> None:
    await books.plan()
    await books.plan("price_large", included_units=6000, package_price_cents=20)
    user = await books.subscriber(timezone="UTC")
    await books.became(datetime(2026, 1, 1, tzinfo=UTC), "price_small")
    await books.became(datetime(2026, 11, 16, tzinfo=UTC), "price_large")
    await books.use_many(Owner(user_id=user), [(700, NOVEMBER), (3500, datetime(2026, 11, 16, tzinfo=UTC))])
    books.clock.time = DECEMBER
    (found,) = await run_month(books)
    # half a month of each: 500 of 700 are included, and 3,000 of 3,500
    assert [line["amount_cents"] for line in found["line_items"]] == [0, 100, 0, 100]


async def test_who_has_no_plan_is_never_charged(books: Books) -> None:
    user = await books.subscriber(price="price_other")
    await books.use(Owner(user_id=user), 10**6)
    books.clock.time = DECEMBER
    assert await run_month(books) == []
    await books.plan()
    assert await run_month(books) == []
    assert await books.rows("SELECT id FROM usage_invoices") == []


async def test_usage_that_comes_late_is_charged_with_the_next_month(books: Books) -> None:
    await books.plan()
    user = await books.subscriber(timezone="UTC")
    await books.use(Owner(user_id=user), 900, NOVEMBER)
    books.clock.time = DECEMBER
    assert await run_month(books) == []
    await books.use(Owner(user_id=user), 300, NOVEMBER)
    await books.use(Owner(user_id=user), 1100, DECEMBER)
    books.clock.time = datetime(2027, 1, 1, 7, tzinfo=UTC)
    (found,) = await run_month(books)
    assert [line["amount_cents"] for line in found["line_items"]] == [0, 50, 100]
    rows = await books.rows("SELECT billed_cents FROM usage_invoices ORDER BY period_start")
    assert [row["billed_cents"] for row in rows] == [100, 50]


async def test_credits_pay_first(books: Books) -> None:
    await books.plan()
    user = await books.subscriber()
    await books.insert(
        "credits",
        {
            "user_id": user, "kind": "goodwill", "currency": "eur", "amount_cents": 60, "remaining_cents": 60,
            "reason": "sorry", "created_at": "2026-11-01T00:00:00Z", "created_by": "ada",
        },
    )  # fmt: skip
    await books.use(Owner(user_id=user), 1200)
    books.clock.time = DECEMBER
    (found,) = await run_month(books)
    assert found["total_cents"] == 100
    assert await books.rows("SELECT remaining_cents FROM credits") == [{"remaining_cents": 0}]
    assert await books.rows("SELECT amount_due_cents FROM invoices") == [{"amount_due_cents": 40}]


async def test_what_looks_wrong_is_parked_and_released_or_voided_by_hand(books: Books) -> None:
    await books.plan()
    user = await books.subscriber(timezone="UTC", deleted_at="2026-11-30T00:00:00Z")
    await books.use(Owner(user_id=user), 1100, NOVEMBER)
    books.clock.time = DECEMBER
    assert await run_month(books) == []
    (row,) = await books.rows("SELECT status, reasons FROM usage_invoices")
    assert (row["status"], [one["guard"] for one in row["reasons"]]) == ("parked", ["deleted"])
    assert [mail["recipient"] for mail in await books.rows("SELECT recipient FROM emails")] == ["operators"]
    async with books.deps.tx() as tx:
        with pytest.raises(Refused, match="parked: release it"):
            await invoice(tx, user, "2026-11", books.settings, ADA, release=False)
        done = await invoice(tx, user, "2026-11", books.settings, ADA, release=True)
    assert done.status == "issued"
    async with books.deps.tx() as tx:
        assert await void(tx, user, "2026-11", books.settings, ADA) == "issued"
    books.clock.move(timedelta(hours=1))
    assert [each["status"] for each in await run_month(books)] == ["void"]  # no schedule does it by itself
    async with books.deps.tx() as tx:
        again = await invoice(tx, user, "2026-11", books.settings, ADA, release=False)
    assert again.status == "parked"


async def test_a_preview_is_the_very_invoice_and_it_can_be_explained(books: Books) -> None:
    await books.plan(tax_percent=Decimal("7.7"), package_rounding="up")
    user = await books.subscriber()
    await books.use(Owner(user_id=user), "1234.5", NOVEMBER)
    books.clock.time = DECEMBER
    async with books.deps.tx() as tx:
        month, prepared = await look(tx, user, "2026-11", books.settings)
    assert month.name == "2026-11"
    assert prepared.says is not None
    (found,) = await run_month(books)
    assert (prepared.says.total_minor, prepared.says.tax_minor) == (found["total_cents"], found["tax_cents"])
    (issued,) = await books.rows("SELECT invoice_id, content FROM documents")
    async with books.deps.tx() as tx:
        row = await of_invoice(tx.conn, issued["invoice_id"])
    assert row is not None
    told = reckon(row, msgspec.convert(issued["content"], Document, strict=False))
    assert told.differences == []
    assert [line.amount for line in told.lines] == [0, 150]


async def test_two_at_once_make_one_invoice(books: Books) -> None:
    await books.plan()
    user = await books.subscriber()
    await books.use(Owner(user_id=user), 1200)
    books.clock.time = DECEMBER
    twins = [books.work(invoice_overage, user_id=user, period="2026-11") for _ in range(4)]
    ended = await asyncio.gather(*twins, return_exceptions=True)
    assert all(one is None or isinstance(one, Held) for one in ended), ended
    assert len(await books.rows(INVOICES)) == 1
    await books.work(invoice_overage, user_id=user, period="2026-11")
    assert len(await books.rows(INVOICES)) == 1


@given(
    cuts=st.lists(st.integers(1, 30 * 24 - 1), max_size=3, unique=True),
    used=st.lists(st.tuples(st.integers(0, 30 * 24 * 60 - 1), st.integers(0, 900)), max_size=12),
)
@settings(max_examples=40)
def test_a_renewal_at_the_same_price_changes_no_amount(cuts: list[int], used: list[tuple[int, int]]) -> None:
    """However often a month is divided by events that change nothing, it costs what it did."""
    end = datetime(2026, 12, 1, tzinfo=UTC)
    small = Plan(
        ids=(1,), stripe_price_id="p", valid_from=date(2026, 1, 1), currency="eur", included_units=1000,
        package_size=100, package_price_cents=33, package_rounding="exact", tax_name="VAT", tax_percent=None,
    )  # fmt: skip
    edges = [NOVEMBER, *(NOVEMBER + timedelta(hours=cut) for cut in sorted(cuts)), end]
    parts = [
        Part(
            terms=terms(small),
            start=begin,
            end=stop,
            usage={
                "call": sum(
                    (Decimal(n) for at, n in used if begin <= NOVEMBER + timedelta(minutes=at) < stop), Decimal(0)
                )
            },
        )
        for begin, stop in pairwise(edges)
    ]
    total = sum(units for _, units in used)
    expected = rounded(Fraction(max(0, total - 1000) * 33, 100))
    assert rate(NOVEMBER, end, 1, parts).subtotal == expected
