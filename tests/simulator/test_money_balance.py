"""The balance: fees, days until money is available, payouts; nothing is lost on the way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.resources.balance import business_days
from tests.simulator.kit import START, Json, ask
from tests.simulator.till import Till


def transactions(till: Till, **params: str) -> list[Json]:
    return till.get("/v1/balance_transactions", params | {"limit": 100})["data"]


def balances(till: Till) -> dict[str, tuple[int, int]]:
    """Available and pending, by currency."""
    shown = till.get("/v1/balance")
    pending = {row["currency"]: row["amount"] for row in shown["pending"]}
    return {row["currency"]: (row["amount"], pending[row["currency"]]) for row in shown["available"]}


@pytest.mark.parametrize(
    ("method", "amount", "currency", "fee"),
    [
        ("pm_card_visa", 1000, "usd", 59),
        ("pm_card_visa", 10_000, "eur", 315),
        ("pm_card_gb", 10_000, "usd", 470),
        ("pm_card_visa", 5000, "jpy", 185),
        ("pm_card_visa", 50, "usd", 31),
    ],
)
def test_what_stripe_keeps(method: str, amount: int, currency: str, fee: int) -> None:
    till = Till()
    till.pay(amount, currency, method)
    till.later(5)
    (row,) = transactions(till)
    assert (row["fee"], row["net"], row["currency"]) == (fee, amount - fee, currency)
    assert sum(part["amount"] for part in row["fee_details"]) == fee


def test_two_business_days_skip_the_weekend() -> None:
    sunday_noon = START
    friday, monday = sunday_noon - 2 * DAY, sunday_noon + DAY
    assert [(business_days(day, 2) - START // DAY * DAY) // DAY for day in (friday, sunday_noon, monday)] == [2, 2, 3]


def test_money_becomes_available_and_is_paid_out() -> None:
    till = Till()
    till.pay(1000)
    till.pay(2000)
    till.pay(3000, "eur")
    till.later(5)
    assert balances(till) == {"eur": (0, 2888), "usd": (0, 941 + 1912)}
    till.told()
    till.later(2 * DAY)
    assert till.told() == ["balance.available", "payout.created", "payout.created", "payout.updated", "payout.updated"]
    shown = till.last("balance.available")["object"]
    assert "id" not in shown
    till.later(3 * DAY)
    assert till.told().count("payout.paid") == 2
    payouts = {row["currency"]: row for row in till.get("/v1/payouts", {"status": "paid"})["data"]}
    assert {currency: row["amount"] for currency, row in payouts.items()} == {"eur": 2888, "usd": 2853}
    inside = transactions(till, payout=payouts["usd"]["id"])
    assert sum(row["net"] for row in inside) == 0
    assert sorted(row["type"] for row in inside) == ["charge", "charge", "payout"]
    assert payouts["usd"]["reconciliation_status"] == "completed"
    assert balances(till) == {"eur": (0, 0), "usd": (0, 0)}


def test_bypassing_pending() -> None:
    till = Till()
    till.pay(1000, method="pm_card_bypassPending")
    till.later(5)
    assert balances(till) == {"usd": (941, 0)}


def test_a_payout_by_hand() -> None:
    till = Till()
    till.pay(10_000, method="pm_card_bypassPending")
    till.later(5)
    assert till.refused("/v1/payouts", {"amount": 9681, "currency": "usd"})["code"] == "balance_insufficient"
    payout = till.post("/v1/payouts", {"amount": 5000, "currency": "usd", "metadata": {"a": "1"}})
    assert (payout["automatic"], payout["status"]) == (False, "pending")
    assert balances(till) == {"usd": (4680, 0)}
    assert till.post(f"/v1/payouts/{payout['id']}", {"metadata": {"b": "2"}})["metadata"] == {"a": "1", "b": "2"}
    canceled = till.post(f"/v1/payouts/{payout['id']}/cancel")
    assert (canceled["status"], balances(till)) == ("canceled", {"usd": (9680, 0)})
    assert "only be canceled" in till.refused(f"/v1/payouts/{payout['id']}/cancel")["message"]


def test_a_payout_that_fails_comes_back_and_is_made_again() -> None:
    till = Till()
    till.pay(10_000)
    till.later(8 * DAY)
    (payout,) = till.get("/v1/payouts")["data"]
    till.told()
    failed = till.post(f"/_sim/payouts/{payout['id']}/fail", {"failure_code": "no_account"})
    assert till.told() == ["payout.failed"]
    assert (failed["status"], failed["failure_code"]) == ("failed", "no_account")
    till.later(5 * DAY)
    second, first = till.get("/v1/payouts")["data"]
    assert (first["status"], second["status"], second["amount"]) == ("failed", "paid", 9680)
    assert sum(row["net"] for row in transactions(till, payout=second["id"])) == 0
    assert "failed already" in till.refused(f"/_sim/payouts/{payout['id']}/fail")["message"]


def test_forints_are_paid_out_whole() -> None:
    till = Till()
    till.pay(1_000_001, "huf")
    till.later(8 * DAY)
    (payout,) = till.get("/v1/payouts")["data"]
    assert payout["amount"] % 100 == 0
    assert balances(till)["huf"][0] in range(100)


def test_transactions_by_type_and_by_source() -> None:
    till = Till()
    intent = till.pay(1000)
    till.later(5)
    refund = till.post("/v1/refunds", {"payment_intent": intent["id"], "amount": 400})
    assert [row["type"] for row in transactions(till)] == ["refund", "charge"]
    (row,) = transactions(till, type="refund")
    assert (row["source"], row["net"], row["fee_details"]) == (refund["id"], -400, [])
    assert till.get(f"/v1/balance_transactions/{row['id']}", {"expand": ["source.charge"]})["source"]["charge"]["id"]
    assert transactions(till, currency="eur") == []
    status, _, _ = ask(till.api, "GET", "/v1/balance_transactions/txn_no")
    assert status == 404


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["pay", "refund", "dispute", "win", "fail", "wait"]),
        st.integers(50, 90_000),
        st.sampled_from(["usd", "eur", "jpy"]),
    ),
    max_size=25,
)


def step(till: Till, what: str, number: int, currency: str) -> None:
    """Something happens to some of the money, or is refused."""
    store = till.account.store
    if what == "pay":
        till.pay(number, currency)
    elif what == "wait":
        till.later(number * 10)
    elif what in {"fail", "win"}:
        kind, path = ("refund", "/_sim/refunds/{}/fail") if what == "fail" else ("dispute", "/_sim/disputes/{}/close")
        for row in store.all(kind)[:1]:
            ask(till.api, "POST", path.format(row["id"]), {"outcome": "won"} if what == "win" else {})
    elif charges := [row["id"] for row in store.all("charge")]:
        chosen = charges[number % len(charges)]
        path = "/v1/refunds" if what == "refund" else f"/_sim/charges/{chosen}/dispute"
        ask(till.api, "POST", path, {"charge": chosen, "amount": number} if what == "refund" else {})


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_the_balance_is_the_sum_of_its_transactions(steps: list[tuple[str, int, str]]) -> None:
    """Whatever happens to the money, each currency's balance is what its transactions say."""
    till = Till()
    for what, number, currency in steps:
        step(till, what, number, currency)
    rows = till.account.store.all("balance_transaction")
    for currency, (available, pending) in balances(till).items():
        mine = [row for row in rows if row["currency"] == currency]
        assert available == sum(row["net"] for row in mine if row["status"] == "available")
        assert pending == sum(row["net"] for row in mine if row["status"] == "pending")
    for charge in till.account.store.all("charge"):
        refunds = till.account.store.by("refund", "charge", charge["id"])
        kept = sum(row["amount"] for row in refunds if row["status"] in {"pending", "succeeded"})
        assert charge["amount_refunded"] == kept <= charge["amount"]
