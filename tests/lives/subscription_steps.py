"""What happens to a subscription: sign-up, trial, renewal, failure and recovery, changes, and its end."""

from fractions import Fraction

from tests.lives import objects as o
from tests.lives.life import DECLINES, Life, span, step
from tests.lives.stripe_world import DAY, HOUR


def _subscribe(life: Life, number: int, status: str) -> o.Subscription:
    world = life.world
    price = life.prices[number % 5]
    items = [o.Item(world.new_id("si"), price, 1 + number % 3, world.now)]
    if number % 4 == 3 and price.interval == "month" and price.interval_count == 1:
        items.append(o.Item(world.new_id("si"), life.prices[5], 1, world.now))
        items.append(o.Item(world.new_id("si"), life.prices[0 if price is life.prices[1] else 1], 2, world.now))
    sub = o.Subscription(
        id=world.new_id("sub"),
        customer=life.customer,
        items=items,
        status=status,
        created=world.now,
        period_start=world.now,
        period_end=world.now + span(price),
        method=life.method.id,
        metadata={"tier": "gold"} if number % 7 == 6 else {},
    )
    world.subscriptions.append(sub)
    life.subscription = sub
    if life.customer.currency is None:
        life.customer.currency = life.currency
        world.tell_customer("updated", life.customer)
    return sub


@step
def sign_up(life: Life, number: int) -> None:
    """By checkout, with all that Stripe tells of it in about two seconds."""
    if life.live or life.customer.deleted:
        return
    world = life.world
    sub = _subscribe(life, number, "incomplete")
    session = o.Session(
        world.new_id("cs"), "subscription", life.customer.id, life.currency, 0, world.now, subscription=sub.id
    )
    world.sessions.append(session)
    invoice = life.bill("subscription_create", life.renewal_lines(sub), sub)
    world.tell_subscription("created", sub)
    life.finalize(invoice)
    world.wait(number % 3)
    life.settle(invoice)
    life.turn(sub, "active")
    world.wait(number % 2)
    session.amount, session.invoice = invoice.total, invoice.id
    session.status, session.payment_status = "complete", "paid"
    world.tell_session("completed", session)


@step
def sign_up_by_3ds(life: Life, number: int) -> None:
    """The bank wants the customer to confirm."""
    if life.live or life.customer.deleted:
        return
    world = life.world
    sub = _subscribe(life, number, "incomplete")
    invoice = life.bill("subscription_create", life.renewal_lines(sub), sub)
    world.tell_subscription("created", sub)
    life.finalize(invoice)
    assert invoice.intent
    invoice.intent.status = "requires_action"
    world.tell_intent("requires_action", invoice.intent)
    invoice.attempted = True
    world.tell_invoice("payment_action_required", invoice)
    life.arrears = invoice


@step
def confirm(life: Life, number: int) -> None:
    """The customer confirms the payment, or lets 23 hours pass."""
    sub, invoice, world = life.live, life.arrears, life.world
    if not sub or not invoice or not invoice.intent or sub.status != "incomplete":
        return
    life.arrears = None
    if number % 2:
        world.wait(23 * HOUR)
        invoice.status, invoice.voided_at = "void", world.now
        world.tell_invoice("voided", invoice)
        invoice.intent.status, invoice.intent.canceled_at = "canceled", world.now
        invoice.intent.cancellation_reason = "void_invoice"
        world.tell_intent("canceled", invoice.intent)
        sub.ended_at = sub.canceled_at = world.now
        life.turn(sub, "incomplete_expired")
        return
    world.wait(90)
    life.settle(invoice)
    life.turn(sub, "active")


@step
def try_out(life: Life, number: int) -> None:
    """A trial, with its invoice over nothing."""
    if life.live or life.customer.deleted:
        return
    world = life.world
    sub = _subscribe(life, number, "trialing")
    sub.trial_start, sub.trial_end = world.now, world.now + 14 * DAY
    sub.period_end = sub.trial_end
    line = o.Line(world.new_id("il"), "Free trial", 0, 1, world.now, sub.trial_end, sub.items[0].price, sub.items[0].id)
    invoice = life.bill("subscription_create", [line], sub)
    world.tell_subscription("created", sub)
    life.finalize(invoice)


@step
def trial_ends(life: Life, number: int) -> None:
    """The trial converts, pauses for want of a card, or ends."""
    sub, world = life.live, life.world
    if not sub or sub.status != "trialing" or not sub.trial_end:
        return
    world.wait(max(sub.trial_end - 3 * DAY - world.now, 1))
    world.tell_subscription("trial_will_end", sub)
    world.wait(max(sub.trial_end - world.now, 1))
    if number % 3 == 1:
        sub.status = "paused"
        world.tell_subscription("updated", sub)
        world.tell_subscription("paused", sub)
    elif number % 3 == 2:
        life.end(sub, "cancellation_requested")
    else:
        _new_period(life, sub)
        invoice = life.bill("subscription_cycle", life.renewal_lines(sub), sub)
        life.turn(sub, "active")
        world.wait(HOUR)
        life.finalize(invoice)
        life.settle(invoice)


@step
def resume(life: Life, _number: int) -> None:
    """A paused trial goes on, as a paid subscription."""
    sub, world = life.live, life.world
    if not sub or sub.status != "paused":
        return
    sub.period_start, sub.period_end = world.now, world.now + span(sub.items[0].price)
    sub.status = "active"
    invoice = life.bill("subscription_update", life.renewal_lines(sub), sub)
    world.tell_subscription("resumed", sub)
    world.tell_subscription("updated", sub)
    life.finalize(invoice)
    life.settle(invoice)


def _new_period(life: Life, sub: o.Subscription) -> None:
    sub.period_start = sub.period_end
    sub.period_end = sub.period_start + span(sub.items[0].price)
    if sub.discount and (sub.discount.end or life.world.now + 1) <= life.world.now:
        discount, sub.discount = sub.discount, None
        life.world.tell_discount("deleted", discount)


def _renewal(life: Life, sub: o.Subscription) -> o.Invoice:
    """Upcoming, the period moves, a draft, and an hour later its finalization."""
    world = life.world
    world.wait(max(sub.period_end - 3 * DAY - world.now, 1))
    kept = list(life.pending)
    preview = o.Invoice(
        "", life.customer, life.currency, world.now, sub.period_start, sub.period_end, "upcoming",
        life.renewal_lines(sub), subscription=sub.id, discount=sub.discount,
    )  # fmt: skip
    world.tell_invoice("upcoming", preview)
    life.pending = kept
    world.wait(max(sub.period_end - world.now, 1))
    _new_period(life, sub)
    invoice = life.bill("subscription_cycle", life.renewal_lines(sub), sub)
    world.tell_subscription("updated", sub)
    world.wait(HOUR)
    life.finalize(invoice)
    return invoice


@step
def renew(life: Life, number: int) -> None:
    """A period ends, and its successor is paid."""
    sub = life.live
    if not sub or sub.status != "active" or sub.cancel_at_period_end:
        return
    invoice = _renewal(life, sub)
    life.world.wait(number % 2)
    if sub.pause_behavior == "void" and invoice.status == "open":
        _void(life, invoice)
    elif invoice.status == "open":
        life.settle(invoice)


def _void(life: Life, invoice: o.Invoice) -> None:
    invoice.status, invoice.voided_at, invoice.next_payment_attempt = "void", life.world.now, None
    life.world.tell_invoice("updated", invoice)
    life.world.tell_invoice("voided", invoice)


@step
def renew_in_vain(life: Life, number: int) -> None:
    """The renewal's card is declined: the subscription is past due."""
    sub = life.live
    if not sub or sub.status != "active" or sub.cancel_at_period_end or sub.pause_behavior:
        return
    invoice = _renewal(life, sub)
    if invoice.status != "open":
        return
    life.miss(invoice, DECLINES[number % 3])
    life.turn(sub, "past_due")
    life.arrears = invoice


@step
def retry_in_vain(life: Life, number: int) -> None:
    """Stripe tries again, the bank says no again."""
    sub, invoice = life.live, life.arrears
    if not sub or sub.status != "past_due" or not invoice or invoice.status != "open":
        return
    life.world.wait(3 * DAY)
    life.miss(invoice, DECLINES[number % 3])


@step
def recover(life: Life, number: int) -> None:
    """The customer brings another card, and the next attempt succeeds."""
    sub, invoice = life.live, life.arrears
    if not sub or sub.status not in {"past_due", "unpaid"} or not invoice or invoice.status != "open":
        return
    if number % 2:
        life.change_card()
        life.world.wait(5)
    assert invoice.intent
    invoice.intent.method = life.method
    life.settle(invoice)
    life.turn(sub, "active")
    life.arrears = None


@step
def exhaust(life: Life, number: int) -> None:
    """The last attempt failed: unpaid or canceled; the invoice stays, is given up, or is voided."""
    sub, invoice, world = life.live, life.arrears, life.world
    if not sub or sub.status != "past_due" or not invoice:
        return
    world.wait(3 * DAY)
    if invoice.status == "open":
        life.miss(invoice, DECLINES[number % 3])
        invoice.next_payment_attempt = None
        world.wait(1)
        world.tell_invoice("updated", invoice)
    if number % 4 < 2:
        life.end(sub, "payment_failed")
    else:
        life.turn(sub, "unpaid")
    if number % 4 == 0 and invoice.status == "open":
        invoice.status, invoice.uncollectible_at = "uncollectible", world.now
        world.tell_invoice("updated", invoice)
        world.tell_invoice("marked_uncollectible", invoice)
    elif number % 4 == 1 and invoice.status == "open":
        _void(life, invoice)


def _prorate(life: Life, sub: o.Subscription, old: o.Price, was: int, item: o.Item) -> None:
    left, whole = max(sub.period_end - life.world.now, 0), sub.period_end - sub.period_start
    for amount, quantity, price, words in (
        (-int(Fraction(old.unit_amount_decimal) * was) * left // whole, was, old, "Unused time"),
        (
            int(Fraction(item.price.unit_amount_decimal) * item.quantity) * left // whole,
            item.quantity,
            item.price,
            "Rest",
        ),
    ):
        life.pending.append(
            o.Line(
                id=life.world.new_id("il"),
                description=words,
                amount=amount,
                quantity=quantity,
                period_start=life.world.now,
                period_end=sub.period_end,
                price=price,
                item=item.id,
                proration=True,
            )
        )


@step
def change_plan(life: Life, number: int) -> None:
    """Up or down, in the middle of the period; invoiced at once, or with the next renewal."""
    sub, world = life.live, life.world
    if not sub or sub.status != "active" or len(sub.items) > 1:
        return
    world.wait(5 * DAY)
    item, old = sub.items[0], sub.items[0].price
    item.price = life.prices[number % 5] if life.prices[number % 5] is not old else life.prices[(number + 1) % 5]
    _prorate(life, sub, old, item.quantity, item)
    if span(item.price) != span(old):
        sub.period_start, sub.period_end = world.now, world.now + span(item.price)
    elif number % 2:
        world.tell_subscription("updated", sub)
        return
    lines, life.pending = life.pending, []
    invoice = life.bill("subscription_update", [life.taxed(line) for line in lines], sub)
    life.finalize(invoice)
    if invoice.status == "open":
        life.settle(invoice)
    world.tell_subscription("updated", sub)


@step
def change_quantity(life: Life, number: int) -> None:
    """More seats, or fewer."""
    sub = life.live
    if not sub or sub.status != "active":
        return
    life.world.wait(DAY)
    item = sub.items[0]
    was, item.quantity = item.quantity, item.quantity % 5 + 1 + number % 2
    _prorate(life, sub, item.price, was, item)
    life.world.tell_subscription("updated", sub)


@step
def give_discount(life: Life, number: int) -> None:
    """A coupon is applied to the subscription."""
    sub, world = life.live, life.world
    if not sub or sub.discount or sub.status not in {"active", "trialing", "past_due"}:
        return
    coupon = life.coupons[number % 4]
    end = world.now + 90 * DAY if coupon.duration == "repeating" else None
    sub.discount = o.Discount(world.new_id("di"), coupon, life.customer.id, sub.id, world.now, end)
    world.tell_discount("created", sub.discount)
    world.tell_subscription("updated", sub)


@step
def end_discount(life: Life, _number: int) -> None:
    """The discount is taken away."""
    sub, world = life.live, life.world
    if not sub or not sub.discount:
        return
    discount, sub.discount = sub.discount, None
    world.tell_discount("deleted", discount)
    world.tell_subscription("updated", sub)


@step
def discount_customer(life: Life, number: int) -> None:
    """A coupon is applied to the whole customer, or taken away again."""
    customer, world = life.customer, life.world
    if customer.deleted:
        return
    if customer.discount:
        discount, customer.discount = customer.discount, None
        world.tell_discount("deleted", discount)
    else:
        coupon = life.coupons[number % 4]
        end = world.now + 90 * DAY if coupon.duration == "repeating" else None
        customer.discount = o.Discount(world.new_id("di"), coupon, customer.id, None, world.now, end)
        world.tell_discount("created", customer.discount)
    world.tell_customer("updated", customer)


@step
def pause_collection(life: Life, number: int) -> None:
    """Collection stops or goes on, the status stays what it was."""
    sub = life.live
    if not sub or sub.status != "active":
        return
    sub.pause_behavior = None if sub.pause_behavior else ("void", "keep_as_draft")[number % 2]
    life.world.tell_subscription("updated", sub)


@step
def cancel_at_period_end(life: Life, _number: int) -> None:
    """The customer gives notice, or takes it back."""
    sub, world = life.live, life.world
    if not sub or sub.status != "active":
        return
    sub.cancel_at_period_end = not sub.cancel_at_period_end
    noticed = sub.cancel_at_period_end
    sub.canceled_at, sub.cancel_at = (world.now, sub.period_end) if noticed else (None, None)
    sub.cancel_reason = "cancellation_requested" if noticed else None
    world.tell_subscription("updated", sub)


@step
def cancel(life: Life, number: int) -> None:
    """At the end of the period when notice was given, else now."""
    sub, world = life.live, life.world
    if not sub or sub.status == "incomplete":
        return
    if sub.cancel_at_period_end:
        world.wait(max(sub.period_end - world.now, 1))
    life.end(sub, "cancellation_requested")
    if number % 3 == 0:  # a note on what has ended is told later, and leaves it ended
        world.wait(DAY)
        sub.metadata = sub.metadata | {"note": "win back"}
        world.tell_subscription("updated", sub)
