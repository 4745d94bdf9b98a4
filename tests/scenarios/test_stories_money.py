"""Stories of money that comes late, goes back, or is of another country."""

from typing import Any

from tests.scenarios.acts import customer, latest_charge, latest_invoice, plan, subscribe
from tests.scenarios.conftest import Opened, at
from tests.scenarios.kit import Json, Stage


async def payment(stage: Stage, charge: str) -> Json:
    """The ledger's row of a charge."""
    return await stage.row("payment_history", stripe_charge_id=charge)


async def test_a_dispute_is_lost(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Carl Jensen")
        await subscribe(stage, payer, await plan(stage, 4900))
        charge = await latest_charge(stage, payer)
        await stage.advance(days=20)
        dispute = await stage.act(f"charges/{charge}/dispute", reason="fraudulent")
        await stage.books_agree()
        assert (await payment(stage, charge))["status"] == "disputed"
        assert (await stage.row("disputes"))["funds_withdrawn_at"] is not None
        await stage.advance(days=9)
        await stage.act(f"disputes/{dispute['id']}/close", outcome="lost")
        await stage.books_agree()
        lost = await payment(stage, charge)
        assert (lost["status"], lost["dispute_status"], lost["refund_amount_cents"]) == ("disputed", "lost", 0)
        assert (await stage.row("disputes"))["closed_at"] is not None


async def test_a_dispute_is_won_after_a_partial_refund(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Lena Fischer")
        await subscribe(stage, payer, await plan(stage, 9000))
        charge = await latest_charge(stage, payer)
        await stage.v1.refunds.create_async({"charge": charge, "amount": 2000})
        await stage.advance(days=3)
        dispute = await stage.act(f"charges/{charge}/dispute", reason="product_unacceptable", amount=7000)
        await stage.books_agree()
        open_ = await payment(stage, charge)
        assert (open_["status"], open_["refund_amount_cents"]) == ("disputed", 2000)
        evidence = {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": True}
        await stage.v1.disputes.update_async(dispute["id"], evidence)
        await stage.advance(days=10)
        if (await stage.v1.disputes.retrieve_async(dispute["id"])).status != "won":
            await stage.act(f"disputes/{dispute['id']}/close", outcome="won")
        await stage.books_agree()
        won = await payment(stage, charge)
        assert (won["status"], won["dispute_status"]) == ("partially_refunded", "won")
        assert (await stage.row("disputes"))["funds_reinstated_at"] is not None


async def test_a_partial_refund_is_followed_by_the_rest(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Sven Aalto")
        await subscribe(stage, payer, await plan(stage, 9000))
        charge = await latest_charge(stage, payer)
        await stage.v1.refunds.create_async({"charge": charge, "amount": 2500})
        await stage.books_agree()
        part = await payment(stage, charge)
        assert (part["status"], part["refund_amount_cents"]) == ("partially_refunded", 2500)
        await stage.advance(days=2)
        rest = await stage.v1.refunds.create_async({"charge": charge, "reason": "requested_by_customer"})
        assert rest.amount == 6500
        await stage.books_agree()
        whole = await payment(stage, charge)
        assert (whole["status"], whole["refund_amount_cents"]) == ("refunded", 9000)
        assert whole["refunded_at"].startswith("2026-01-07")
        await stage.advance(days=4)
        await stage.act(f"refunds/{rest.id}/fail")
        await stage.books_agree()
        again = await payment(stage, charge)
        assert (again["status"], again["refund_amount_cents"]) == ("partially_refunded", 2500)


async def test_a_partner_pays_late_by_bank(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        partner = await customer(stage, "Northwind Data", card=None)
        terms: dict[str, Any] = {"collection_method": "send_invoice", "days_until_due": 30}
        sub = await subscribe(stage, partner, await plan(stage, 250_000, "API"), **terms)
        await stage.advance(hours=2)
        await stage.books_agree()
        first = await latest_invoice(stage, sub)
        assert (first["status"], first["collection_method"]) == ("open", "send_invoice")
        assert first["sent_at"] is not None
        assert first["due_date"].startswith("2026-02-04")
        await stage.until(2026, 2, 4, 20)
        await stage.books_agree()
        first = await stage.row("invoices", stripe_invoice_id=first["stripe_invoice_id"])
        assert first["overdue_at"].startswith("2026-02-04")
        assert first["amount_remaining_cents"] == 250_000
        await stage.until(2026, 2, 12)
        await stage.act(f"invoices/{first['stripe_invoice_id']}/bank_transfer")
        await stage.books_agree()
        first = await stage.row("invoices", stripe_invoice_id=first["stripe_invoice_id"])
        assert (first["status"], first["amount_paid_cents"]) == ("paid", 250_000)
        assert first["paid_at"].startswith("2026-02-12")
        assert await stage.rows("charges") == []


async def test_a_credit_note_gives_money_back(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Wanda Kowalska")
        sub = await subscribe(stage, payer, await plan(stage, 9000))
        invoice = (await stage.v1.subscriptions.retrieve_async(sub)).latest_invoice
        await stage.advance(days=5)
        note = await stage.v1.credit_notes.create_async(
            {"invoice": invoice, "amount": 3000, "refund_amount": 3000, "reason": "order_change"}
        )
        await stage.books_agree()
        row = await stage.row("credit_notes", stripe_credit_note_id=note.id)
        assert (row["status"], row["total_cents"], row["type"]) == ("issued", 3000, "post_payment")
        refund = await stage.row("refunds")
        assert row["refund_ids"] == [refund["stripe_refund_id"]]
        back = await payment(stage, await latest_charge(stage, payer))
        assert (back["status"], back["refund_amount_cents"]) == ("partially_refunded", 3000)
        credited = await latest_invoice(stage, sub)
        assert (credited["status"], credited["post_payment_credit_cents"]) == ("paid", 3000)


async def test_a_credit_note_lowers_an_open_invoice(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        partner = await customer(stage, "Harbor Analytics", card=None)
        terms: dict[str, Any] = {"collection_method": "send_invoice", "days_until_due": 14}
        sub = await subscribe(stage, partner, await plan(stage, 100_000, "API"), **terms)
        await stage.advance(hours=2)
        invoice = (await stage.v1.subscriptions.retrieve_async(sub)).latest_invoice
        await stage.v1.credit_notes.create_async({"invoice": invoice, "amount": 40_000})
        await stage.books_agree()
        row = await latest_invoice(stage, sub)
        assert (row["status"], row["amount_remaining_cents"]) == ("open", 60_000)
        assert row["pre_payment_credit_cents"] == 40_000
        await stage.act(f"invoices/{invoice}/bank_transfer")
        await stage.books_agree()
        row = await latest_invoice(stage, sub)
        assert (row["status"], row["amount_paid_cents"]) == ("paid", 60_000)


async def test_customers_pay_in_yen_and_dinar(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        yen = await subscribe(stage, await customer(stage, "Kenji Mori"), await plan(stage, 1480, currency="jpy"))
        dinar = await subscribe(stage, await customer(stage, "Dana Salem"), await plan(stage, 12_500, currency="kwd"))
        await stage.until(2026, 3, 6)
        await stage.books_agree()
        for sub, amount, currency in ((yen, 1480, "jpy"), (dinar, 12_500, "kwd")):
            row = await stage.row("subscriptions", stripe_subscription_id=sub)
            assert (row["mrr_cents"], row["currency"]) == (amount, currency)
            paid = await stage.rows("payment_history", currency=currency, status="succeeded")
            assert [one["amount_cents"] for one in paid] == [amount] * 3


async def test_sums_never_cross_currencies(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        prices = {code: await plan(stage, 1000 + n, currency=code) for n, code in enumerate(("usd", "eur", "gbp"))}
        for number in range(6):
            code = ("usd", "eur", "gbp")[number % 3]
            owner = await customer(stage, f"Customer{number}")
            await subscribe(stage, owner, prices[code], quantity=number + 1)
        await stage.until(2026, 2, 6)
        await stage.books_agree()
        found = await stage.query("SELECT currency, sum(amount_paid_cents)::bigint FROM invoices GROUP BY 1 ORDER BY 1")
        assert found == [("eur", 2 * 1001 * 7), ("gbp", 2 * 1002 * 9), ("usd", 2 * 1000 * 5)]


async def test_a_customer_is_deleted(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        owner = await customer(stage, "Gone Tomorrow")
        sub = await subscribe(stage, owner, await plan(stage, 4900))
        await stage.advance(days=8)
        await stage.v1.customers.delete_async(owner)
        await stage.books_agree()
        row = await stage.row("users", stripe_customer_id=owner)
        assert row["deleted_at"].startswith("2026-01-13")
        assert row["name"] == "Gone Tomorrow"
        ended = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (ended["status"], ended["mrr_cents"]) == ("canceled", 0)
