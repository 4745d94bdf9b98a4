"""One customer's life: what Stripe does when money is asked for, comes, or does not come."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from tests.lives import objects as o
from tests.lives.stripe_world import DAY, HOUR, World

DECLINES = (
    o.Decline("card_declined", "generic_decline", "Your card was declined."),
    o.Decline("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    o.Decline("expired_card", "expired_card", "Your card has expired."),
)

SPANS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY, "year": 365 * DAY}
"""Seconds of a billing interval; these lives have months of 30 days, which nothing but their own books relies on."""


def span(price: o.Price) -> int:
    """Seconds that one period of this price lasts."""
    return SPANS[price.interval or "month"] * price.interval_count


@dataclass(slots=True)
class Life:
    """A customer with what belongs to them; `arrears` is the invoice that waits for its money."""

    world: World
    customer: o.Customer
    currency: str
    prices: list[o.Price]
    coupons: list[o.Coupon]
    method: o.PaymentMethod
    subscription: o.Subscription | None = None
    arrears: o.Invoice | None = None
    challenge: o.Intent | None = None
    pending: list[o.Line] = field(default_factory=list[o.Line])
    tax_rate: int = 0
    vat: o.TaxId | None = None

    @property
    def live(self) -> o.Subscription | None:
        """The subscription, unless it has ended."""
        ended = {"canceled", "incomplete_expired"}
        return self.subscription if self.subscription and self.subscription.status not in ended else None

    def taxed(self, line: o.Line) -> o.Line:
        """The line with its tax, and with what the subscription's discount takes off."""
        discount = self.subscription.discount if self.subscription and line.item else None
        if discount and discount.coupon.percent_off and not line.proration:
            line.discount = int(line.amount * discount.coupon.percent_off) // 100
        elif discount and discount.coupon.amount_off and not line.proration:
            line.discount = min(discount.coupon.amount_off, line.amount)
        line.tax = (line.amount - line.discount) * self.tax_rate // 100
        return line

    def renewal_lines(self, sub: o.Subscription) -> list[o.Line]:
        """A line for each licensed item, and what was prorated since."""
        lines = [
            o.Line(
                id=self.world.new_id("il"),
                description=f"{item.quantity} x {item.price.nickname}",
                amount=int(Fraction(item.price.unit_amount_decimal) * item.quantity),
                quantity=item.quantity,
                period_start=sub.period_start,
                period_end=sub.period_end,
                price=item.price,
                item=item.id,
            )
            for item in sub.items
            if item.price.usage_type == "licensed"
        ]
        taken, self.pending = self.pending, []
        return [self.taxed(line) for line in [*lines, *taken]]

    def bill(
        self, reason: str, lines: list[o.Line], sub: o.Subscription | None = None, collection: str | None = None
    ) -> o.Invoice:
        """Draft an invoice and tell of it."""
        world = self.world
        made = o.Invoice(
            id=world.new_id("in"),
            customer=self.customer,
            currency=self.currency,
            created=world.now,
            period_start=sub.period_start if sub else world.now,
            period_end=sub.period_end if sub else world.now,
            billing_reason=reason,
            lines=lines,
            subscription=sub and sub.id,
            discount=sub and sub.discount,
            collection_method=collection or "charge_automatically",
            due_date=world.now + 30 * DAY if collection == "send_invoice" else None,
        )
        world.invoices.append(made)
        world.tell_invoice("created", made)
        if sub:
            sub.latest_invoice = made.id
        return made

    def finalize(self, invoice: o.Invoice) -> None:
        """The invoice gets its number; if nothing is due it is paid in the same second."""
        world = self.world
        invoice.number = f"{world.tag}-{self.customer.id[-4:]}-{self.customer.invoice_sequence:04d}"
        self.customer.invoice_sequence += 1
        invoice.status, invoice.finalized_at = "open", world.now
        if invoice.amount_due == 0:
            world.tell_invoice("finalized", invoice)
            invoice.status, invoice.paid_at, invoice.attempted = "paid", world.now, True
            self.tell_paid(invoice)
            return
        if invoice.collection_method == "charge_automatically":
            invoice.intent = self.intend(invoice.amount_due, invoice=invoice.id)
        world.tell_invoice("finalized", invoice)

    def tell_paid(self, invoice: o.Invoice) -> None:
        """Three events of one second."""
        for kind in ("updated", "paid", "payment_succeeded"):
            self.world.tell_invoice(kind, invoice)

    def intend(
        self, amount: int, *, invoice: str | None = None, guest: bool = False, capture: str = "automatic"
    ) -> o.Intent:
        """Open a payment intent."""
        intent = o.Intent(
            id=self.world.new_id("pi"),
            amount=amount,
            currency=self.currency,
            status="requires_payment_method",
            created=self.world.now,
            customer=None if guest else self.customer.id,
            invoice=invoice,
            method=self.method,
            capture_method=capture,
        )
        self.world.intents.append(intent)
        self.world.tell_intent("created", intent)
        return intent

    def charge(
        self, intent: o.Intent | None, status: str, *, amount: int | None = None, captured: bool = True
    ) -> o.Charge:
        """One attempt to take money, not told yet. Without an intent it is a charge of the oldest kind."""
        made = o.Charge(
            id=self.world.new_id("ch"),
            amount=amount or (intent.amount if intent else 0),
            currency=self.currency,
            status=status,
            created=self.world.now,
            captured=captured and status != "failed",
            intent=intent and intent.id,
            customer=intent.customer if intent else self.customer.id,
            invoice=intent and intent.invoice,
            method=intent.method if intent else self.method,
        )
        self.world.charges.append(made)
        if intent:
            intent.charges.append(made)
        return made

    def succeed(self, intent: o.Intent) -> o.Charge:
        """The money comes."""
        charge = self.charge(intent, "succeeded")
        self.world.tell_charge("succeeded", charge)
        intent.status, intent.last_error = "succeeded", None
        self.world.tell_intent("succeeded", intent)
        return charge

    def decline(self, intent: o.Intent, why: o.Decline) -> None:
        """The bank says no."""
        charge = self.charge(intent, "failed")
        charge.decline = why
        intent.status, intent.last_error = "requires_payment_method", why
        self.world.tell_charge("failed", charge)
        self.world.tell_intent("payment_failed", intent)

    def settle(self, invoice: o.Invoice) -> None:
        """An invoice's money comes: charge, intent and invoice tell of it, mostly within one second."""
        world, intent = self.world, invoice.intent
        if intent is None:
            intent = invoice.intent = self.intend(invoice.amount_due, invoice=invoice.id)
        self.succeed(intent)
        invoice.status, invoice.paid_at = "paid", world.now
        invoice.attempted, invoice.attempt_count = True, invoice.attempt_count + 1
        invoice.amount_paid, invoice.next_payment_attempt = invoice.amount_due, None
        payment = o.InvoicePayment(
            id=world.new_id("inpay"),
            invoice=invoice.id,
            intent=intent.id,
            amount=invoice.amount_due,
            currency=self.currency,
            created=intent.created,
            status="paid",
            paid_at=world.now,
        )
        world.tell_invoice_payment(payment)
        self.tell_paid(invoice)

    def miss(self, invoice: o.Invoice, why: o.Decline) -> None:
        """An invoice's money does not come; Stripe will try again in three days."""
        if invoice.intent is None:
            invoice.intent = self.intend(invoice.amount_due, invoice=invoice.id)
        self.decline(invoice.intent, why)
        invoice.attempted, invoice.attempt_count = True, invoice.attempt_count + 1
        invoice.next_payment_attempt = self.world.now + 3 * DAY
        self.world.tell_invoice("updated", invoice)
        self.world.tell_invoice("payment_failed", invoice)

    def turn(self, sub: o.Subscription, status: str) -> None:
        """The subscription's status changes and is told."""
        sub.status = status
        self.world.tell_subscription("updated", sub)

    def end(self, sub: o.Subscription, reason: str) -> None:
        """The subscription ends for good."""
        world = self.world
        sub.status, sub.ended_at, sub.cancel_reason = "canceled", world.now, reason
        sub.canceled_at = sub.canceled_at or world.now
        sub.cancel_at_period_end, sub.cancel_at = False, None
        self.pending = []
        if sub.discount:
            discount, sub.discount = sub.discount, None
            world.tell_discount("deleted", discount)
        world.tell_subscription("deleted", sub)

    def change_card(self) -> None:
        """A new card comes, the old one goes."""
        world, old = self.world, self.method
        self.method = o.PaymentMethod(
            id=world.new_id("pm"), customer=self.customer.id, created=world.now, brand="mastercard", last4="4444"
        )
        self.customer.method = self.method
        world.tell_method("attached", self.method)
        world.tell_customer("updated", self.customer)
        old.customer = None
        world.tell_method("detached", old)


Step = Callable[[Life, int], None]
STEPS: dict[str, Step] = {}
"""What can happen in a life, by name. A step that does not apply to the life as it stands does nothing."""


def step(fn: Step) -> Step:
    """Register a step."""
    STEPS[fn.__name__] = fn
    return fn


def _price(world: World, product: o.Product, currency: str, amount: str, interval: str, **more: object) -> o.Price:
    made = o.Price(
        id=world.new_id("price"),
        product=product,
        currency=currency,
        unit_amount_decimal=amount,
        created=world.now,
        interval=interval,
        nickname=f"{product.name} by the {interval}",
    )
    for name, value in more.items():
        setattr(made, name, value)
    world.prices.append(made)
    world.tell_price("created", made)
    return made


def _catalog(world: World, currency: str) -> tuple[list[o.Price], list[o.Coupon]]:
    """What the company sells in a currency; the first customer of the currency brings it about."""
    known = [p for p in world.prices if p.currency == currency]
    if not known:
        product = o.Product(id=world.new_id("prod"), name="Pro", created=world.now)
        world.products.append(product)
        world.tell_product("created", product)
        known = [
            _price(world, product, currency, "1999", "month", lookup_key=f"pro_{currency}"),
            _price(world, product, currency, "4900", "month", metadata={"tier": "business"}),
            _price(world, product, currency, "19900", "year"),
            _price(world, product, currency, "5000", "month", interval_count=3),
            _price(world, product, currency, "1250.5", "month"),
            _price(world, product, currency, "0.5", "month", usage_type="metered"),
        ]
        at = world.now
        world.coupons += [
            o.Coupon(world.new_id("FOREVER"), "forever", at, percent_off=25.0),
            o.Coupon(world.new_id("FIVEOFF"), "forever", at, amount_off=500, currency=currency),
            o.Coupon(world.new_id("HALF3"), "repeating", at, percent_off=50.0, duration_in_months=3),
            o.Coupon(world.new_id("ONCE"), "once", at, percent_off=12.5),
        ]
        for coupon in world.coupons[-4:]:
            world.tell_coupon("created", coupon)
    start = 4 * sorted({p.currency for p in world.prices}, key=[p.currency for p in world.prices].index).index(currency)
    return known, world.coupons[start : start + 4]


def begin(world: World, number: int = 0) -> Life:
    """A new customer appears. `number` decides currency, locale and tax."""
    currency = ("usd", "eur", "jpy")[number % 3]
    prices, coupons = _catalog(world, currency)
    world.wait(HOUR)
    customer = o.Customer(
        id=world.new_id("cus"),
        email=f"life{number}@example.org",
        name=f"Customer {number}",
        created=world.now,
        locale=(None, "de", "ja")[number % 3],
        metadata={"plan": "trial"} if number % 2 else {},
    )
    world.customers.append(customer)
    world.tell_customer("created", customer)
    method = o.PaymentMethod(id=world.new_id("pm"), customer=customer.id, created=world.now)
    world.tell_method("attached", method)
    customer.method = method
    world.tell_customer("updated", customer)
    return Life(world, customer, currency, prices, coupons, method, tax_rate=(0, 19)[number % 2])
