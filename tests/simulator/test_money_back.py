"""Money goes back: refunds, disputes, fraud warnings."""

import pytest

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.render import CURRENT
from tests.simulator.kit import Json
from tests.simulator.till import Till


def paid(till: Till, amount: int = 10_000, method: str = "pm_card_visa") -> Json:
    """A charge whose money is known."""
    customer, kept = till.customer(method)
    intent = till.pay(amount, customer=customer, method=kept)
    till.later(5)
    till.told()
    return till.charge(intent)


class TestRefunds:
    """https://docs.stripe.com/refunds."""

    def test_a_part_then_the_rest(self) -> None:
        till = Till()
        charge = paid(till)
        first = till.post("/v1/refunds", {"charge": charge["id"], "amount": 3000, "reason": "requested_by_customer"})
        assert till.told() == ["charge.refunded", "refund.created"]
        assert till.last("charge.refunded")["previous_attributes"] == {"amount_refunded": 0}
        assert (first["status"], first["reason"]) == ("succeeded", "requested_by_customer")
        till.later(100)
        assert till.told() == ["refund.updated", "charge.refund.updated"]
        twins = [till.last(name)["previous_attributes"] for name in ("refund.updated", "charge.refund.updated")]
        assert (
            twins[0]
            == twins[1]
            == {"destination_details": {"card": {"reference": None, "reference_status": "pending"}}}
        )
        second = till.post("/v1/refunds", {"payment_intent": charge["payment_intent"]})
        assert second["amount"] == 7000
        whole = till.get(f"/v1/charges/{charge['id']}", {"expand": ["refunds"]})
        assert (whole["refunded"], whole["amount_refunded"]) == (True, 10_000)
        assert [row["id"] for row in whole["refunds"]["data"]] == [second["id"], first["id"]]
        again = till.refused("/v1/refunds", {"charge": charge["id"]})
        assert again["code"] == "charge_already_refunded"

    def test_what_cannot_be_refunded(self) -> None:
        till = Till()
        charge = paid(till)
        error = till.refused("/v1/refunds", {"charge": charge["id"], "amount": 10_001})
        assert "greater than unrefunded amount" in error["message"]
        assert till.refused("/v1/refunds", {"charge": charge["id"], "amount": 0})["param"] == "amount"
        assert till.refused("/v1/refunds", {"charge": "ch_no"})["code"] == "resource_missing"
        assert "should be provided" in till.refused("/v1/refunds")["message"]
        open_ = till.post("/v1/payment_intents", {"amount": 900, "currency": "usd"})
        assert till.refused("/v1/refunds", {"payment_intent": open_["id"]})["param"] == "payment_intent"
        held = till.pay(capture_method="manual")
        assert till.refused("/v1/refunds", {"charge": held["latest_charge"]})["code"] == "charge_not_refundable"

    def test_a_pending_one_arrives(self) -> None:
        till = Till()
        charge = paid(till, method="pm_card_pendingRefund")
        refund = till.post("/v1/refunds", {"charge": charge["id"]})
        assert (refund["status"], refund["pending_reason"]) == ("pending", "processing")
        till.later(3 * DAY)
        done = till.get(f"/v1/refunds/{refund['id']}")
        assert (done["status"], "pending_reason" in done) == ("succeeded", False)

    def test_a_pending_one_is_canceled(self) -> None:
        till = Till()
        charge = paid(till, method="pm_card_pendingRefund")
        refund = till.post("/v1/refunds", {"charge": charge["id"]})
        assert till.post(f"/v1/refunds/{refund['id']}/cancel")["status"] == "canceled"
        assert till.get(f"/v1/charges/{charge['id']}")["amount_refunded"] == 0
        till.later(4 * DAY)
        assert till.get(f"/v1/refunds/{refund['id']}")["status"] == "canceled"
        assert "cannot cancel" in till.refused(f"/v1/refunds/{refund['id']}/cancel")["message"]

    def test_one_that_fails_brings_the_money_back(self) -> None:
        till = Till()
        charge = paid(till, method="pm_card_refundFail")
        refund = till.post("/v1/refunds", {"charge": charge["id"]})
        assert refund["status"] == "succeeded"
        till.later(100)
        till.told()
        till.later(5 * DAY)
        told = [name for name in till.told() if "refund" in name or name == "charge.updated"]
        assert told == ["refund.updated", "charge.refund.updated", "refund.failed", "charge.updated"]
        failed = till.get(f"/v1/refunds/{refund['id']}", {"expand": ["failure_balance_transaction"]})
        assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
        assert failed["failure_balance_transaction"]["net"] == 10_000
        after = till.get(f"/v1/charges/{charge['id']}")
        assert (after["amount_refunded"], after["refunded"]) == (0, False)

    def test_a_bank_fails_it_when_told(self) -> None:
        till = Till()
        charge = paid(till)
        refund = till.post("/v1/refunds", {"charge": charge["id"], "amount": 100})
        till.post(f"/_sim/refunds/{refund['id']}/fail", {"reason": "unknown"})
        till.post(f"/_sim/refunds/{refund['id']}/fail")
        rows = till.get("/v1/balance_transactions", {"source": refund["id"]})["data"]
        assert sorted(row["net"] for row in rows) == [-100, 100]

    def test_lists_and_metadata(self) -> None:
        till = Till()
        charge, other = paid(till), paid(till)
        mine = [till.post("/v1/refunds", {"charge": charge["id"], "amount": 10})["id"] for _ in range(2)]
        till.post("/v1/refunds", {"charge": other["id"], "amount": 10, "metadata": {"a": "1"}})
        for path, params in (
            ("/v1/refunds", {"charge": charge["id"]}),
            ("/v1/refunds", {"payment_intent": charge["payment_intent"]}),
            (f"/v1/charges/{charge['id']}/refunds", {}),
        ):
            assert [row["id"] for row in till.get(path, params)["data"]] == mine[::-1]
        assert len(till.get("/v1/refunds")["data"]) == 3
        till.told()
        assert till.post(f"/v1/refunds/{mine[0]}", {"metadata": {"b": "2"}})["metadata"] == {"b": "2"}
        assert till.told() == ["refund.updated", "charge.refund.updated"]


class TestDisputes:
    """https://docs.stripe.com/disputes/how-disputes-work."""

    def disputed(self, till: Till, **how: object) -> Json:
        charge = paid(till)
        return till.post(f"/_sim/charges/{charge['id']}/dispute", how)

    def test_the_money_is_taken_at_once(self) -> None:
        till = Till()
        dispute = self.disputed(till, reason="product_not_received", amount=4000)
        assert till.told() == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
        (taken,) = dispute["balance_transactions"]
        assert (taken["amount"], taken["fee"], taken["net"]) == (-4000, 1500, -5500)
        card = dispute["payment_method_details"]["card"]
        assert (card["case_type"], card["network_reason_code"]) == ("chargeback", "13.1")
        assert till.get(f"/v1/charges/{dispute['charge']}")["disputed"] is True
        error = till.refused("/v1/refunds", {"charge": dispute["charge"]})
        assert error["code"] == "charge_disputed"
        again = till.refused(f"/_sim/charges/{dispute['charge']}/dispute")
        assert again["code"] == "charge_disputed"
        old = till.get(f"/v1/charges/{dispute['charge']}", stripe_version="2024-06-20")
        assert old["dispute"] == dispute["id"]

    def test_won(self) -> None:
        till = Till()
        dispute = self.disputed(till)
        till.told()
        answered = till.post(f"/v1/disputes/{dispute['id']}", {"evidence": {"uncategorized_text": "winning_evidence"}})
        assert (answered["status"], answered["evidence_details"]["submission_count"]) == ("under_review", 1)
        till.later(DAY)
        told = [name for name in till.told() if "dispute" in name]
        assert told == ["charge.dispute.updated", "charge.dispute.closed", "charge.dispute.funds_reinstated"]
        won = till.get(f"/v1/disputes/{dispute['id']}")
        assert (won["status"], won["balance_transactions"][1]["fee_details"]) == ("won", [])
        assert [(row["amount"], row["fee"], row["net"]) for row in won["balance_transactions"]] == [
            (-10_000, 1500, -11_500),
            (10_000, 0, 10_000),
        ]
        assert "already closed" in till.refused(f"/v1/disputes/{dispute['id']}/close")["message"]

    @pytest.mark.parametrize("how", ["evidence", "accepted", "silence", "unconvinced", "bank"])
    def test_lost(self, how: str) -> None:
        till = Till()
        dispute = self.disputed(till)
        path = f"/v1/disputes/{dispute['id']}"
        if how == "evidence":
            till.post(path, {"evidence": {"uncategorized_text": "losing_evidence"}})
            till.later(100)
        elif how == "accepted":
            till.post(f"{path}/close")
        elif how == "bank":
            till.post(f"/_sim/disputes/{dispute['id']}/close", {"outcome": "lost"})
        else:
            if how == "unconvinced":
                till.post(path, {"evidence": {"customer_name": "Ada"}})
            till.later((22 if how == "silence" else 61) * DAY)
        lost = till.get(path)
        assert (lost["status"], lost["evidence_details"]["past_due"]) == ("lost", how == "silence")
        assert [row["net"] for row in lost["balance_transactions"]] == [-11_500]
        assert till.told()[-1] in {"charge.dispute.closed", "payout.paid", "payout.reconciliation_completed"}

    def test_saved_evidence_is_sent_on_the_last_day(self) -> None:
        till = Till()
        dispute = self.disputed(till)
        path = f"/v1/disputes/{dispute['id']}"
        saved = till.post(path, {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": False})
        assert (saved["status"], saved["evidence_details"]["has_evidence"]) == ("needs_response", True)
        till.later(22 * DAY)
        assert till.get(path)["status"] == "won"
        assert "no longer" in till.refused(path, {"evidence": {"customer_name": "Ada"}})["message"]

    def test_an_inquiry_takes_nothing(self) -> None:
        till = Till()
        dispute = self.disputed(till, inquiry=True)
        assert till.told() == ["charge.dispute.created"]
        assert (dispute["status"], dispute["balance_transactions"]) == ("warning_needs_response", [])
        assert dispute["is_charge_refundable"] is True
        till.post("/v1/refunds", {"charge": dispute["charge"], "amount": 10})
        till.later(121 * DAY)
        closed = till.get(f"/v1/disputes/{dispute['id']}")
        assert (closed["status"], closed["evidence_details"]["past_due"]) == ("warning_closed", True)

    def test_an_inquiry_escalates(self) -> None:
        till = Till()
        dispute = self.disputed(till, inquiry=True)
        path = f"/v1/disputes/{dispute['id']}"
        till.post(path, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}})
        till.told()
        till.later(100)
        assert till.told() == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]
        now = till.get(path)
        assert (now["status"], now["payment_method_details"]["card"]["network_reason_code"]) == (
            "needs_response",
            "10.4",
        )
        till.later(130 * DAY)
        assert till.get(path)["status"] == "lost"

    def test_one_that_was_disputed_already_is_not_disputed_again(self) -> None:
        till = Till()
        charge = till.pay(method="pm_card_createDispute")["latest_charge"]
        till.post(f"/_sim/charges/{charge}/dispute")
        till.later(100)
        assert len(till.get("/v1/disputes", {"charge": charge})["data"]) == 1

    def test_what_was_refunded_is_not_disputed(self) -> None:
        till = Till()
        charge = paid(till)
        path = f"/_sim/charges/{charge['id']}/dispute"
        till.post("/v1/refunds", {"charge": charge["id"], "amount": 1500})
        assert "between 1 and 8500" in till.refused(path, {"amount": 8501})["message"]
        till.post("/v1/refunds", {"charge": charge["id"]})
        assert till.refused(path)["code"] == "charge_already_refunded"
        other = paid(till)
        till.post("/v1/refunds", {"charge": other["id"], "amount": 1500})
        assert till.post(f"/_sim/charges/{other['id']}/dispute")["amount"] == 8500

    @pytest.mark.parametrize(
        ("refunded", "status", "taken"), [(10_000, "warning_closed", 0), (4000, "needs_response", 6000)]
    )
    def test_an_inquiry_that_was_refunded_takes_no_more_than_the_rest(
        self, refunded: int, status: str, taken: int
    ) -> None:
        till = Till()
        dispute = self.disputed(till, inquiry=True, amount=10_000)
        till.post("/v1/refunds", {"charge": dispute["charge"], "amount": refunded})
        till.post(f"/v1/disputes/{dispute['id']}", {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}})
        till.later(100)
        now = till.get(f"/v1/disputes/{dispute['id']}")
        assert (now["status"], -sum(row["amount"] for row in now["balance_transactions"])) == (status, taken)

    def test_a_test_card_disputes_by_itself(self) -> None:
        till = Till()
        charges = {
            name: paid(till, method=f"pm_card_{name}")
            for name in ("createDispute", "createDisputeInquiry", "createIssuerFraudRecord")
        }
        till.later(100)
        statuses = {
            name: [row["status"] for row in till.get("/v1/disputes", {"charge": charge["id"]})["data"]]
            for name, charge in charges.items()
        }
        assert statuses == {
            "createDispute": ["needs_response"],
            "createDisputeInquiry": ["warning_needs_response"],
            "createIssuerFraudRecord": [],
        }
        (warning,) = till.get("/v1/radar/early_fraud_warnings")["data"]
        assert warning["charge"] == charges["createIssuerFraudRecord"]["id"]
        assert till.get(f"/v1/radar/early_fraud_warnings/{warning['id']}") == warning

    def test_an_issuer_warns_when_told(self) -> None:
        till = Till()
        charge = paid(till)
        warning = till.post(f"/_sim/charges/{charge['id']}/fraud_warning", {"fraud_type": "made_with_stolen_card"})
        assert (warning["actionable"], warning["fraud_type"]) == (True, "made_with_stolen_card")
        assert till.told() == ["radar.early_fraud_warning.created"]

    def test_its_events_live_by_the_customers_clock(self) -> None:
        till = Till()
        dispute = self.disputed(till)
        till.later(10 * DAY)
        till.post(f"/_sim/disputes/{dispute['id']}/close", {"outcome": "won"})
        event = [event for event in till.account.events.values() if event.type == "charge.dispute.closed"][-1]
        assert event.body(CURRENT, 0)["created"] == till.account.now()
