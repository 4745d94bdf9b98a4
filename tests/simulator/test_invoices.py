"""The life of an invoice at the simulated Stripe, by the clock and by its owner's hand."""

import pytest

from tests.simulator.invoices_kit import DAY, HOUR, Seller

PAID = [
    "invoice.finalized",
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "invoice_payment.paid",
    "invoice.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
]


@pytest.fixture
def seller() -> Seller:
    return Seller()


def test_a_draft_that_advances_is_finalized_and_paid_after_an_hour(seller: Seller) -> None:
    customer = seller.customer()
    draft = seller.invoice(customer, 1999, auto_advance=True)
    assert (draft["status"], draft["number"], draft["amount_due"]) == ("draft", None, 1999)
    assert draft["automatically_finalizes_at"] == draft["next_payment_attempt"] == draft["created"] + HOUR
    seller.heard()
    seller.later(HOUR - 1)
    assert seller.heard() == []
    seller.later(1)
    assert seller.heard() == PAID
    paid = seller.see(draft)
    assert (paid["status"], paid["attempt_count"], paid["attempted"]) == ("paid", 1, True)
    assert (paid["amount_paid"], paid["amount_remaining"], paid["auto_advance"]) == (1999, 0, False)
    assert paid["number"] == f"{customer['invoice_prefix']}-0001"
    assert paid["status_transitions"]["paid_at"] == paid["effective_at"] == draft["created"] + HOUR


def test_a_draft_waits_for_its_owner_by_default(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(), 500)
    seller.later(30 * DAY)
    assert seller.see(draft)["status"] == "draft"
    finalized = seller.post(f"/v1/invoices/{draft['id']}/finalize")
    assert (finalized["status"], finalized["attempted"], finalized["next_payment_attempt"]) == ("open", False, None)
    seller.later(DAY)
    assert seller.see(draft)["status"] == "open"


def test_a_finalized_invoice_that_advances_is_attempted_within_the_hour(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(), 500)
    seller.post(f"/v1/invoices/{draft['id']}/finalize", auto_advance=True)
    seller.later(HOUR)
    assert seller.see(draft)["status"] == "paid"


def test_numbers_have_no_gaps(seller: Seller) -> None:
    customer = seller.customer()
    drafts = [seller.invoice(customer, 700) for _ in range(4)]
    seller.delete(f"/v1/invoices/{drafts[1]['id']}")
    numbers = [seller.post(f"/v1/invoices/{drafts[i]['id']}/pay")["number"] for i in (3, 0, 2)]
    assert [number[-4:] for number in numbers] == ["0001", "0002", "0003"]


def test_a_failing_card_is_retried_by_the_schedule_and_then_given_up(seller: Seller) -> None:
    draft = seller.invoice(seller.customer("pm_card_chargeCustomerFail"), 3000, auto_advance=True)
    seller.a.settings.invoice_after_retries = "uncollectible"
    seller.later(HOUR)
    failed = seller.see(draft)
    assert (failed["status"], failed["attempt_count"]) == ("open", 1)
    heard: list[str] = []
    for count, wait in enumerate(seller.a.settings.retries, start=2):
        before = seller.see(draft)
        assert before["next_payment_attempt"] == seller.a.now() + wait
        seller.heard()
        seller.later(wait)
        assert seller.see(draft)["attempt_count"] == count
        heard = seller.heard()
        assert heard[:4] == [
            "charge.failed",
            "payment_intent.payment_failed",
            "invoice.updated",
            "invoice.payment_failed",
        ]
    assert seller.told("invoice.payment_failed")["object"]["next_payment_attempt"] is None
    assert heard[4:] == ["invoice.updated", "invoice.marked_uncollectible"]
    last = seller.see(draft)
    assert last["status_details"] == {"uncollectible": {"reason": "max_payment_attempts"}}
    payments = seller.get("/v1/invoice_payments", invoice=draft["id"])["data"]
    assert [row["status"] for row in payments] == ["open"]
    assert len(seller.a.store.by("charge", "customer", draft["customer"])) == 4


def test_after_the_last_retry_an_invoice_may_stay_open(seller: Seller) -> None:
    draft = seller.invoice(seller.customer("pm_card_chargeCustomerFail"), 3000, auto_advance=True)
    seller.later(60 * DAY)
    last = seller.see(draft)
    assert (last["status"], last["auto_advance"], last["next_payment_attempt"]) == ("open", False, None)


def test_after_the_last_retry_an_invoice_may_be_void(seller: Seller) -> None:
    draft = seller.invoice(seller.customer("pm_card_chargeCustomerFail"), 3000, auto_advance=True)
    seller.a.settings.invoice_after_retries = "void"
    seller.later(60 * DAY)
    assert seller.see(draft)["status"] == "void"
    assert seller.get("/v1/invoice_payments", invoice=draft["id"])["data"][0]["status"] == "canceled"


def test_a_bank_that_wants_the_customer_where_nobody_is_there_is_told_as_a_failure(seller: Seller) -> None:
    seller.invoice(seller.customer("pm_card_authenticationRequired"), 3000, auto_advance=True)
    seller.heard()
    seller.later(HOUR)
    heard = seller.heard()
    assert heard.index("invoice.payment_action_required") < heard.index("invoice.payment_failed")
    assert seller.told("invoice.payment_action_required")["object"]["attempt_count"] == 0
    failed = seller.told("invoice.payment_failed")["object"]
    assert (failed["attempt_count"], failed["next_payment_attempt"] is None) == (1, False)


def test_a_changed_card_recovers_the_invoice_on_a_retry(seller: Seller) -> None:
    customer = seller.customer("pm_card_chargeCustomerFail")
    draft = seller.invoice(customer, 3000, auto_advance=True)
    seller.later(HOUR)
    seller.card(customer, "pm_card_visa")
    seller.later(seller.a.settings.retries[0])
    paid = seller.see(draft)
    assert (paid["status"], paid["attempt_count"]) == ("paid", 2)


def test_attempts_by_hand_do_not_move_the_schedule(seller: Seller) -> None:
    draft = seller.invoice(seller.customer("pm_card_chargeCustomerFail"), 3000, auto_advance=True)
    seller.later(HOUR)
    before = seller.see(draft)
    error = seller.refused(f"/v1/invoices/{draft['id']}/pay")
    assert (error["status"], error["type"], error["code"]) == (402, "card_error", "card_declined")
    after = seller.see(draft)
    assert after["attempt_count"] == before["attempt_count"] == 1
    assert after["next_payment_attempt"] == before["next_payment_attempt"]


def test_without_any_payment_method_the_attempt_fails_without_a_charge(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(None), 3000, auto_advance=True)
    seller.heard()
    seller.later(HOUR)
    assert seller.heard() == [
        "invoice.finalized",
        "payment_intent.created",
        "invoice.updated",
        "invoice.payment_failed",
    ]
    assert seller.see(draft)["attempt_count"] == 1
    assert "default_payment_method" in seller.refused(f"/v1/invoices/{draft['id']}/pay")["message"]


def test_a_payment_that_wants_the_customer_is_told_and_then_made(seller: Seller) -> None:
    draft = seller.invoice(seller.customer("pm_card_threeDSecure2Required"), 4200)
    error = seller.refused(f"/v1/invoices/{draft['id']}/pay", off_session=False)
    assert (error["status"], error["code"]) == (402, "invoice_payment_intent_requires_action")
    assert "invoice.payment_action_required" in seller.heard()
    payment = seller.get("/v1/invoice_payments", invoice=draft["id"])["data"][0]
    seller.post(f"/_sim/payment_intents/{payment['payment']['payment_intent']}/authenticate", outcome="succeed")
    assert seller.heard()[-4:] == PAID[-4:]
    assert seller.see(draft)["status"] == "paid"


def test_nothing_due_is_paid_at_once_without_an_intent(seller: Seller) -> None:
    draft = seller.invoice(seller.customer())
    seller.heard()
    paid = seller.post(f"/v1/invoices/{draft['id']}/finalize")
    assert (paid["status"], paid["attempted"], paid["attempt_count"]) == ("paid", True, 0)
    assert seller.heard() == ["invoice.finalized", "invoice.updated", "invoice.paid", "invoice.payment_succeeded"]


def test_too_little_to_charge_is_carried_to_the_next_invoice(seller: Seller) -> None:
    customer = seller.customer()
    small = seller.post(f"/v1/invoices/{seller.invoice(customer, 30)['id']}/finalize")
    assert (small["status"], small["amount_due"], small["ending_balance"]) == ("paid", 0, 30)
    following = seller.invoice(customer, 100)
    assert (following["starting_balance"], following["amount_due"]) == (30, 130)


def test_a_sent_invoice_is_mailed_reminded_overdue_and_paid_by_the_bank(seller: Seller) -> None:
    draft = seller.invoice(
        seller.customer(), 90_000, collection_method="send_invoice", days_until_due=30, auto_advance=True
    )
    assert draft["due_date"] == draft["created"] + 30 * DAY
    assert (draft["next_payment_attempt"], draft["automatically_finalizes_at"]) == (None, draft["created"] + HOUR)
    seller.heard()
    seller.later(HOUR)
    assert seller.heard() == ["invoice.finalized", "payment_intent.created", "invoice.sent"]
    sent = seller.see(draft)
    assert sent["due_date"] == sent["effective_at"] + 30 * DAY
    seller.later(23 * DAY)
    assert seller.heard() == ["invoice.will_be_due"]
    seller.later(7 * DAY)
    assert seller.heard() == ["invoice.overdue"]
    assert "remaining" in seller.refused(f"/_sim/invoices/{draft['id']}/bank_transfer", amount=1)["message"]
    paid = seller.post(f"/_sim/invoices/{draft['id']}/bank_transfer", amount=90_000)
    assert (paid["status"], paid["amount_paid"], paid["amount_paid_off_stripe"]) == ("paid", 90_000, 90_000)
    assert paid["attempted"] is False
    assert seller.heard() == ["payment_intent.canceled", "invoice.updated", "invoice.paid"]
    assert seller.see(draft, version="2024-06-20")["paid_out_of_band"] is True
    assert "only pass in open invoices" in seller.refused(f"/_sim/invoices/{draft['id']}/bank_transfer")["message"]


def test_a_void_invoice_gives_its_balance_back_and_cancels_its_intent(seller: Seller) -> None:
    customer = seller.customer()
    path = f"/v1/customers/{customer['id']}"
    seller.post(f"{path}/balance_transactions", amount=-300, currency="usd")
    draft = seller.invoice(customer, 1000)
    opened = seller.post(f"/v1/invoices/{draft['id']}/finalize")
    assert (opened["amount_due"], opened["starting_balance"], opened["ending_balance"]) == (700, -300, 0)
    assert seller.get(path)["balance"] == 0
    seller.heard()
    void = seller.post(f"/v1/invoices/{draft['id']}/void")
    assert (void["status"], void["amount_due"], void["auto_advance"]) == ("void", 700, False)
    assert seller.get(path)["balance"] == -300
    assert seller.heard() == [
        "payment_intent.canceled",
        "customer.updated",
        "invoice.updated",
        "invoice.voided",
    ]
    moved = seller.get(f"{path}/balance_transactions")["data"]
    assert [row["type"] for row in moved] == ["unapplied_from_invoice", "applied_to_invoice", "adjustment"]


def test_an_uncollectible_invoice_can_still_be_paid(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(), 1000)
    seller.post(f"/v1/invoices/{draft['id']}/finalize")
    given_up = seller.post(f"/v1/invoices/{draft['id']}/mark_uncollectible")
    assert given_up["status_transitions"]["marked_uncollectible_at"] == seller.a.now()
    paid = seller.post(f"/v1/invoices/{draft['id']}/pay")
    assert (paid["status"], paid["status_details"]) == ("paid", None)


def test_sending_a_draft_finalizes_it(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(), 1000, collection_method="send_invoice", days_until_due=7)
    seller.heard()
    assert seller.post(f"/v1/invoices/{draft['id']}/send")["status"] == "open"
    assert seller.heard() == ["invoice.finalized", "payment_intent.created", "invoice.sent"]
    seller.post(f"/v1/invoices/{draft['id']}/send")
    assert seller.heard() == ["invoice.sent"]


def test_bank_debits_are_on_their_way_for_days(seller: Seller) -> None:
    customer = seller.customer("pm_usBankAccount_success")
    draft = seller.invoice(customer, 5000)
    processing = seller.post(f"/v1/invoices/{draft['id']}/pay")
    assert (processing["status"], processing["attempted"], processing["attempt_count"]) == ("open", True, 1)
    assert "processing" in seller.refused(f"/v1/invoices/{draft['id']}/void")["message"]
    seller.later(10 * DAY)
    paid = seller.see(draft)
    assert (paid["status"], paid["attempt_count"]) == ("paid", 1)


def test_the_same_seed_makes_the_same_invoices() -> None:
    def play() -> list[bytes]:
        seller = Seller(seed=3)
        customer = seller.customer("pm_card_chargeCustomerFail")
        seller.invoice(customer, 1500, 20, auto_advance=True)
        seller.later(60 * DAY)
        return [event.objects["2026-10-28.endive"] for event in seller.a.events.values()]

    assert play() == play()
