"""What happens to money: purchases, declines, authorisations, refunds, disputes."""

from tests.lives import objects as o
from tests.lives.life import DECLINES, Life, step
from tests.lives.stripe_world import DAY, HOUR


@step
def buy(life: Life, number: int) -> None:
    """A purchase without an invoice: at once, or after one or two declines, with or without a checkout page."""
    if life.customer.deleted:
        return
    world = life.world
    intent = life.intend(2500 + 100 * number, guest=number % 5 == 4)
    session = None
    if number % 2:
        session = o.Session(
            world.new_id("cs"), "payment", intent.customer, life.currency, intent.amount, world.now, intent=intent.id
        )
        world.sessions.append(session)
    for attempt in range(number % 3):
        world.wait(20)
        life.decline(intent, DECLINES[attempt])
    world.wait(number % 2 * 30)
    life.succeed(intent)
    if session:
        session.status, session.payment_status = "complete", "paid"
        world.tell_session("completed", session)


@step
def abandon(life: Life, number: int) -> None:
    """A purchase that is given up: before any charge, after declines, or with the checkout page expired."""
    if life.customer.deleted:
        return
    world = life.world
    intent = life.intend(4200)
    session = o.Session(
        world.new_id("cs"), "payment", life.customer.id, life.currency, intent.amount, world.now, intent=intent.id
    )
    world.sessions.append(session)
    for attempt in range(number % 3):
        world.wait(15)
        life.decline(intent, DECLINES[attempt])
    if number % 4 == 0:
        return  # nobody ever hears of it again
    world.wait(DAY)
    session.status = "expired"
    world.tell_session("expired", session)
    intent.status, intent.canceled_at, intent.cancellation_reason = "canceled", world.now, "abandoned"
    world.tell_intent("canceled", intent)


@step
def buy_by_3ds(life: Life, number: int) -> None:
    """The bank wants the customer to confirm a purchase, and then agrees or does not."""
    if life.customer.deleted:
        return
    world = life.world
    intent = life.intend(7700)
    world.wait(number % 2)
    intent.status = "requires_action"
    world.tell_intent("requires_action", intent)
    world.wait(45)
    if number % 3 == 0:  # the challenge fails: no charge was ever made
        refused = o.Decline("payment_intent_authentication_failure", "authentication_required", "Not authenticated.")
        intent.status, intent.last_error = "requires_payment_method", refused
        world.tell_intent("payment_failed", intent)
        return
    life.succeed(intent)


@step
def pay_by_bank(life: Life, number: int) -> None:
    """A bank debit: pending for days, then the money comes or does not."""
    if life.customer.deleted:
        return
    world = life.world
    intent = life.intend(9900)
    intent.method = o.PaymentMethod(
        world.new_id("pm"), life.customer.id, world.now, "us_bank_account", brand="", last4="6789"
    )
    charge = life.charge(intent, "pending")
    intent.status = "processing"
    world.tell_charge("pending", charge)
    world.tell_intent("processing", intent)
    if number % 3 == 2:
        return  # still on its way
    world.wait(4 * DAY)
    if number % 3 == 1:
        charge.status, charge.captured = "failed", False
        charge.decline = o.Decline("insufficient_funds", "insufficient_funds", "The account has too little money.")
        intent.status, intent.last_error = "requires_payment_method", charge.decline
        world.tell_charge("failed", charge)
        world.tell_intent("payment_failed", intent)
        return
    charge.status, intent.status = "succeeded", "succeeded"
    world.tell_charge("succeeded", charge)
    world.tell_intent("succeeded", intent)


@step
def authorize(life: Life, number: int) -> None:
    """Money is reserved; then taken, released, or the reservation expires."""
    if life.customer.deleted:
        return
    world = life.world
    intent = life.intend(5500, capture="manual")
    charge = life.charge(intent, "succeeded", captured=False)
    intent.status = "requires_capture"
    world.tell_charge("succeeded", charge)
    if number % 4 == 3:
        return
    world.wait((HOUR, DAY, 7 * DAY)[number % 3])
    if number % 3 == 0:
        charge.captured, intent.status = True, "succeeded"
        world.tell_charge("captured", charge)
        world.tell_intent("succeeded", intent)
        return
    charge.expired, charge.amount_refunded = True, charge.amount
    world.tell_charge("expired" if number % 3 == 2 else "refunded", charge)
    intent.status, intent.canceled_at = "canceled", world.now
    intent.cancellation_reason = "automatic" if number % 3 == 2 else "requested_by_customer"
    world.tell_intent("canceled", intent)


@step
def charge_directly(life: Life, number: int) -> None:
    """A charge of the oldest kind, without an intent; sometimes of a guest."""
    if life.customer.deleted:
        return
    charge = life.charge(None, "failed" if number % 3 == 2 else "succeeded", amount=1500 + number)
    if number % 2:
        charge.customer = None
    if charge.status == "failed":
        charge.decline = DECLINES[number % 2]
    life.world.tell_charge(charge.status, charge)


def _own(life: Life, number: int, *, disputed: bool = False) -> o.Charge | None:
    """One of this customer's charges whose money came, or None."""
    mine = [
        c
        for c in life.world.charges
        if c.customer == life.customer.id
        and c.status == "succeeded"
        and c.captured
        and (c.dispute is not None) == disputed
        and (disputed or c.amount_refunded < c.amount)
    ]
    return mine[number % len(mine)] if mine else None


def _send_back(life: Life, charge: o.Charge, amount: int, status: str = "succeeded") -> o.Refund:
    world = life.world
    refund = o.Refund(
        id=world.new_id("re"),
        charge=charge.id,
        intent=charge.intent,
        amount=amount,
        currency=charge.currency,
        status=status,
        reason=("requested_by_customer", "duplicate", None)[amount % 3],
        created=world.now,
    )
    charge.amount_refunded += amount
    charge.refunds.append(refund)
    world.refunds.append(refund)
    world.tell_charge("refunded", charge)
    world.tell_refund("created", refund)
    return refund


@step
def refund_part(life: Life, number: int) -> None:
    """Some of the money goes back; sometimes two parts within one second, sometimes pending for a day."""
    charge = _own(life, number)
    if charge is None:
        return
    world = life.world
    left = charge.amount - charge.amount_refunded
    refund = _send_back(life, charge, max(left // 3, 1), "pending" if number % 4 == 1 else "succeeded")
    if number % 3 == 0 and left > 5:
        _send_back(life, charge, left // 4)
    if refund.status == "pending":
        world.wait(DAY)
        refund.status = "succeeded"
        world.tell_refund("updated", refund)


@step
def refund_rest(life: Life, number: int) -> None:
    """All that is left goes back."""
    charge = _own(life, number)
    if charge is None:
        return
    refund = _send_back(life, charge, charge.amount - charge.amount_refunded)
    life.world.tell_refund("updated", refund)


@step
def refund_bounces(life: Life, number: int) -> None:
    """The customer's bank refuses a refund: the money is ours again."""
    mine = {c.id: c for c in life.world.charges if c.customer == life.customer.id}
    sent = [r for r in life.world.refunds if r.status == "succeeded" and r.charge in mine]
    if not sent:
        return
    world, refund = life.world, sent[number % len(sent)]
    world.wait(2 * DAY)
    charge = mine[refund.charge]
    refund.status, refund.failure_reason = "failed", "expired_or_canceled_card"
    charge.amount_refunded -= refund.amount
    world.tell_refund("updated", refund)
    world.tell_refund("failed", refund)
    if number % 2:
        world.tell_charge("updated", charge)


@step
def dispute(life: Life, number: int) -> None:
    """A bank takes the money back, or only asks; sometimes a warning came first."""
    charge = _own(life, number)
    if charge is None:
        return
    world = life.world
    if number % 4 == 0:
        warning = o.FraudWarning(world.new_id("issfr"), charge.id, charge.intent, world.now)
        world.tell_fraud_warning("created", warning)
        world.wait(DAY)
        warning.actionable = False
        world.tell_fraud_warning("updated", warning)
    made = o.Dispute(
        id=world.new_id("dp"),
        charge=charge.id,
        intent=charge.intent,
        amount=charge.amount - charge.amount_refunded,
        currency=charge.currency,
        status="warning_needs_response" if number % 3 == 2 else "needs_response",
        reason="fraudulent",
        created=world.now,
    )
    charge.dispute = made
    world.disputes.append(made)
    world.tell_dispute("created", made)
    if not made.status.startswith("warning"):
        world.tell_dispute("funds_withdrawn", made)
    if number % 2:
        world.tell_charge("updated", charge)


@step
def dispute_goes_on(life: Life, number: int) -> None:
    """Evidence is sent in; the bank then decides, or an inquiry is closed."""
    charge = _own(life, number, disputed=True)
    if charge is None or charge.dispute is None:
        return
    world, made = life.world, charge.dispute
    if made.status in {"won", "lost", "warning_closed"}:
        return
    inquiry = made.status.startswith("warning")
    world.wait(3 * DAY)
    made.status = "warning_under_review" if inquiry else "under_review"
    world.tell_dispute("updated", made)
    if number % 4 == 3:
        return  # undecided
    world.wait(30 * DAY)
    made.status = "warning_closed" if inquiry else ("won", "lost")[number % 2]
    world.tell_dispute("closed", made)
    if made.status == "won":
        world.tell_dispute("funds_reinstated", made)
