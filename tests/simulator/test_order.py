"""Events come in Stripe's order: the sequences that its documentation tells, and no others between them."""

from deploy.demo.simulator.account import DAY
from tests.simulator.life import Life

URLS = {"success_url": "https://atlas.example/thanks"}
BANKING = ("balance.", "payout.")
"""Payouts have days of their own."""

FINALIZED = ["invoice.finalized", "payment_intent.created"]
PAID = [
    "charge.succeeded", "payment_intent.succeeded", "invoice_payment.paid", "invoice.updated", "invoice.paid",
    "invoice.payment_succeeded",
]  # fmt: skip
FAILED = ["charge.failed", "payment_intent.payment_failed", "invoice.updated", "invoice.payment_failed"]
PAST_DUE = ["customer.updated", "customer.subscription.updated"]
"""The customer is delinquent."""

BEGUN = ["customer.subscription.created", "customer.updated", "invoice.created"]
"""The customer has a currency from now on."""

RENEWED = ["invoice.upcoming", "customer.subscription.updated", "invoice.created"]


class Ear:
    """Hears what a life's events are, from now on."""

    def __init__(self, life: Life) -> None:
        self._events = life.api.account.events
        self._heard = len(self._events)

    def heard(self) -> list[str]:
        """The types since the last time."""
        new = [event.type for event in list(self._events.values())[self._heard :]]
        self._heard = len(self._events)
        return [type_ for type_ in new if not type_.startswith(BANKING)]


def test_sign_up_by_checkout_and_renewal() -> None:
    life = Life()
    price, ear = life.price(2000), Ear(life)
    ear.heard()
    session = life.post("checkout/sessions", mode="subscription", line_items=[{"price": price, "quantity": 1}], **URLS)
    life.post(f"/_sim/checkout/sessions/{session['id']}/complete", payment_method="pm_card_visa")
    begun = ["customer.created", "payment_method.attached", *BEGUN, *FINALIZED, *PAID]
    assert ear.heard() == [*begun, "customer.subscription.updated", "checkout.session.completed"]
    life.wait(31 + 2 / 24)
    assert ear.heard() == [*RENEWED, *FINALIZED, *PAID]


def failing() -> tuple[Life, str]:
    """A subscriber whose new card attaches, and then declines."""
    life = Life()
    customer = life.customer("Niklaus Wirth")
    life.subscribe(customer, life.price(2000))
    use(life, customer["id"], "pm_card_chargeCustomerFail")
    return life, customer["id"]


def use(life: Life, customer: str, card: str) -> None:
    """The customer changes the card."""
    method = life.post(f"payment_methods/{card}/attach", customer=customer)
    life.post(f"customers/{customer}", invoice_settings={"default_payment_method": method["id"]})


def test_a_failed_renewal_is_recovered_with_another_card() -> None:
    life, customer = failing()
    ear = Ear(life)
    life.wait(31 + 2 / 24)
    assert ear.heard() == [*RENEWED, *FINALIZED, *FAILED, *PAST_DUE]
    life.wait(3)
    assert ear.heard() == FAILED
    use(life, customer, "pm_card_visa")
    assert ear.heard() == ["payment_method.attached", "customer.updated"]
    life.wait(5)
    assert ear.heard() == [*PAID, *PAST_DUE]


def test_when_all_retries_fail_the_subscription_ends() -> None:
    life, _ = failing()
    life.wait(31 + 2 / 24)
    ear = Ear(life)
    life.wait(16)
    assert ear.heard() == [*FAILED * 3, "invoice.updated", "customer.subscription.deleted"]


def test_nobody_answers_3d_secure() -> None:
    life = Life()
    customer, price = life.customer("Margaret Hamilton", "pm_card_authenticationRequired"), life.price(2000)
    ear = Ear(life)
    life.subscribe(customer, price)
    asked = ["payment_intent.requires_action", "invoice.updated", "invoice.payment_action_required"]
    assert ear.heard() == [*BEGUN, *FINALIZED, *asked]
    life.wait(1)
    ended = ["payment_intent.canceled", "invoice.updated", "invoice.voided"]
    assert ear.heard() == ["customer.subscription.updated", *ended]


def test_a_trial_and_a_cancellation_at_the_periods_end() -> None:
    life = Life()
    customer, price = life.customer("Alan Kay"), life.price(2000)
    ear = Ear(life)
    subscription = life.subscribe(customer, price, trial_period_days=14)
    free = ["invoice.finalized", "invoice.updated", "invoice.paid", "invoice.payment_succeeded"]
    assert ear.heard() == [*BEGUN, *free]
    life.wait(14 + 2 / 24)
    turned = ["customer.subscription.trial_will_end", "customer.subscription.updated", "invoice.created"]
    assert ear.heard() == ["invoice.upcoming", *turned, *FINALIZED, *PAID]
    life.post(f"subscriptions/{subscription['id']}", cancel_at_period_end=True)
    life.wait(32)
    assert ear.heard() == ["customer.subscription.updated", "customer.subscription.deleted"]


def test_a_refund_and_a_dispute() -> None:
    life = Life()
    paid = life.post("payment_intents", amount=8000, currency="usd", confirm=True, payment_method="pm_card_visa")
    life.api.account.clock.move(life.api.account.now() + DAY)
    ear = Ear(life)
    life.post("refunds", payment_intent=paid["id"], amount=100)
    assert ear.heard() == ["charge.refunded", "refund.created"]
    dispute = life.post(f"/_sim/charges/{paid['latest_charge']}/dispute", reason="fraudulent")
    assert ear.heard() == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    life.post(f"/_sim/disputes/{dispute['id']}/close", outcome="won")
    assert ear.heard() == ["charge.dispute.closed", "charge.dispute.funds_reinstated"]
