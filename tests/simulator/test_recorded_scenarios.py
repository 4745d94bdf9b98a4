"""What Stripe answered to whole scenarios (subscribe, swap, pause, decline, refund), the simulator answers too."""

import re

import pytest

from tests.conftest import PAYLOADS
from tests.simulator.recordings import CLOVER, Json, calls
from tests.simulator.replay import Replay, differences

pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the recorded payloads are not here")

CANNOT = {
    "test_billing_portal_session": "the customer portal is not simulated",
    "test_checkout_payment_session": "sells a price that the recording does not show",
    "test_checkout_subscription_session": "sells a price that the recording does not show",
    "test_connect_account": "Connect is not simulated",
    "test_connect_account_customer": "Connect is not simulated",
    "test_connect_customer_is_not_on_parent_account": "Connect is not simulated",
    "test_connect_destination_charge": "Connect is not simulated",
    "test_connect_direct_charge": "Connect is not simulated",
    "test_connect_transfer": "Connect is not simulated",
    "test_stripe_subscription_and_one_time_charge": "sells a price that the recording does not show",
    "test_the_method_exits_early_if_the_invoice_status_matches_the_latest_invoice_status": "asked with a wrong key",
}
"""Scenarios that the simulator cannot play, each with its reason; `test_stripe_saves_*` has foreign ways to pay."""

CHANCE = "risk_score authorization_code network_transaction_id fingerprint last4 invoice_prefix number"
"""Made up anew in each account."""

THEIR_ACCOUNT = (
    "account_name available_on calculated_statement_descriptor payment_method_types payment_method_options rendering "
    "payment_method_configuration_details branding_settings exp_year exp_month times_redeemed supported"
)
"""As the recorded account was set up: its name, its payouts, its ways to pay, its page size, its test cards."""

EXPECTED = re.compile(rf"\.({'|'.join(f'{CHANCE} {THEIR_ACCOUNT}'.split())})(\.|\[|:)")


def scenarios() -> dict[str, list[Json]]:
    """Those of clover and later that can be played."""
    found: dict[str, list[Json]] = {}
    for where, call in calls():
        found.setdefault(where, []).append(call)
    return {
        where: made
        for where, made in found.items()
        if all(call["stripe_version"] >= CLOVER for call in made)
        and where not in CANNOT
        and not where.startswith("test_stripe_saves_")
    }


SCENARIOS = scenarios() if PAYLOADS.is_dir() else {}


@pytest.mark.parametrize("where", SCENARIOS)
def test_a_scenario_is_answered_as_it_was(where: str) -> None:
    told = Replay(SCENARIOS[where]).play()
    assert [one for one in told if not EXPECTED.search(one)] == []


def test_there_are_enough_of_them() -> None:
    assert len(SCENARIOS) >= 35
    assert sum(len(made) for made in SCENARIOS.values()) >= 200


def test_differences_are_found() -> None:
    recorded: Json = {
        "id": "in_12345678901234",
        "total": 5,
        "paid": True,
        "created": 1_762_799_186,
        "rows": [1, 2],
        "a": None,
    }
    same = recorded | {"id": "in_98765432109876", "created": 1_762_799_180, "newer": 1}
    assert list(differences(recorded, same, "invoice")) == []
    other = {"id": "in_12345678901234", "total": 6, "paid": 1, "created": 1_762_000_000, "rows": [1], "a": 0}
    assert len(list(differences(recorded, other, "invoice"))) == 5
