"""Letters that nobody was sent: samples of each kind, for the preview, for the translators, and for the tests."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from jobs.mail import contexts as c
from jobs.mail.contexts import Action, Amount, Context, Line, Method, Span, UnitPrice

ADA = "Ada Lovelace"
NUMBER = "RS-2026-0042"
PAGE = "https://invoice.stripe.com/i/acct_1032D82eZvKYlo2C/test_YWNjdF8xMDMy"
PORTAL = "https://billing.stripe.com/p/session/test_YWNjdF8xMDMy"
DASHBOARD = "https://dashboard.stripe.com/test"
VISA = Method(brand="visa", last4="4242")
SEPA = Method(brand="sepa_debit", last4="3000")
NOON = datetime(2026, 3, 5, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = Span(first=datetime(2026, 3, 1, tzinfo=UTC), last=datetime(2026, 4, 1, tzinfo=UTC))
EUROS = Amount(4900, "eur")
DOLLARS = Amount(129_900, "usd")
YEN = Amount(4900, "jpy")
DINARS = Amount(12_500, "kwd")


def _failed(
    amount: Amount, code: str | None, *, hard: bool, attempts: int, again: int | None, method: Method | None = VISA
) -> c.PaymentFailed:
    return c.PaymentFailed(
        name=ADA,
        number=NUMBER,
        amount=amount,
        link=PAGE,
        hard=hard,
        decline_code=code,
        attempt_count=attempts,
        next_payment_attempt=None if again is None else NOON + again * DAY,
        method=method,
    )


def _reminder(
    reminder: int, days: int, amount: Amount, action: Action, *, again: int | None = 2, name: str | None = ADA
) -> c.DunningReminder:
    return c.DunningReminder(
        name=name,
        number=NUMBER,
        amount=amount,
        link=PAGE,
        due_since=NOON - days * DAY,
        days_overdue=days,
        action=action,
        final_on=None if action is Action.NONE else NOON + (14 - days) * DAY,
        reminder=reminder,
        next_payment_attempt=None if again is None else NOON + again * DAY,
    )


def _final(action: Action, amount: Amount = EUROS) -> c.FinalNotice:
    return c.FinalNotice(
        name=ADA,
        number=NUMBER,
        amount=amount,
        link=PAGE,
        due_since=NOON - 11 * DAY,
        days_overdue=11,
        action=action,
        final_on=None if action is Action.NONE else NOON + 3 * DAY,
    )


def _suspended(action: Action) -> c.AccessSuspended:
    return c.AccessSuspended(
        name=ADA, number=NUMBER, amount=EUROS, link=PAGE, action=action, suspended_at=NOON, product="Team"
    )


def _trial(
    interval: Literal["day", "week", "month", "year"], count: int, amount: Amount, method: Method | None
) -> c.TrialEnding:
    return c.TrialEnding(
        name=ADA,
        product="Team",
        trial_end=NOON + 3 * DAY,
        amount=amount,
        interval=interval,
        interval_count=count,
        method=method,
        link=PORTAL,
    )


def _dispute(reason: str, *, due: bool = True) -> c.DisputeNotice:
    return c.DisputeNotice(
        amount=DOLLARS,
        reason=reason,
        dispute="dp_1032HU2eZvKYlo2C0FuZb3X7",
        payment="ch_3PvCJ72eZvKYlo2C1fPmLLFe",
        link=f"{DASHBOARD}/disputes/dp_1032HU2eZvKYlo2C0FuZb3X7",
        payment_link=f"{DASHBOARD}/payments/ch_3PvCJ72eZvKYlo2C1fPmLLFe",
        evidence_due_by=NOON + 9 * DAY if due else None,
        name=ADA,
        email="ada@example.com",
        number=NUMBER,
    )


def _books(
    *found: c.Difference, short: int = 0, notes: Sequence[str] = (), settled: bool = True
) -> c.ReconciliationReport:
    euros, yen = Amount(48_211_350, "eur"), Amount(9_120_000, "jpy")
    return c.ReconciliationReport(
        since=NOON - DAY,
        until=NOON,
        finished_at=NOON + timedelta(minutes=4),
        run_seconds=83,
        compared=12_408,
        totals=[
            c.Totals(here=Amount(euros.amount - short, "eur"), there=euros),
            c.Totals(here=yen, there=yen),
        ],
        differences=list(found),
        run=17,
        mode="live",
        account="acct_1Q2w3e4r",
        notes=list(notes),
        settled=settled,
        link="https://billing.example.com/reconciliation/17",
    )


METERED = UnitPrice(amount=Decimal("0.25"), currency="usd")
BUNDLED = UnitPrice(amount=Decimal(200), currency="eur", per=1000)

SAMPLES: Mapping[str, tuple[Context, ...]] = MappingProxyType(
    {
        "receipt": (
            c.Receipt(
                name=ADA,
                number=NUMBER,
                amount=Amount(10_472, "eur"),
                link=PAGE,
                paid_at=NOON,
                method=VISA,
                period=MONTH,
                lines=[
                    Line(description="Team, 5 seats", amount=Amount(9500, "eur")),
                    Line(description="Additional storage", amount=Amount(300, "eur")),
                ],
                subtotal=Amount(9800, "eur"),
                discount=Amount(-1000, "eur"),
                tax=Amount(1672, "eur"),
                total=Amount(10_472, "eur"),
                pdf_link=f"{PAGE}/pdf",
            ),
            c.Receipt(number=NUMBER, amount=YEN, paid_at=NOON),
            c.Receipt(
                name="Björk & Söhne <Einkauf>", number=NUMBER, amount=DINARS, paid_at=NOON, method=SEPA, link=PAGE
            ),
            c.Receipt(number=NUMBER, amount=EUROS, paid_at=NOON, remaining=EUROS, link=PAGE, attached=True),
        ),
        "payment_failed": (
            _failed(EUROS, "insufficient_funds", hard=False, attempts=1, again=3),
            _failed(EUROS, "stolen_card", hard=True, attempts=1, again=None),
            _failed(DOLLARS, "generic_decline", hard=False, attempts=4, again=None),
            _failed(YEN, "expired_card", hard=True, attempts=2, again=5, method=None),
            _failed(EUROS, "card_velocity_exceeded", hard=False, attempts=2, again=1),
            _failed(EUROS, "incorrect_cvc", hard=False, attempts=1, again=1),
            _failed(EUROS, "authentication_required", hard=False, attempts=1, again=1),
            _failed(EUROS, "card_not_supported", hard=True, attempts=1, again=None),
            _failed(EUROS, "processing_error", hard=False, attempts=1, again=1),
            _failed(EUROS, "invalid_account", hard=True, attempts=1, again=None, method=SEPA),
            _failed(EUROS, None, hard=False, attempts=0, again=1, method=None),
        ),
        "action_required": (
            c.ActionRequired(
                name=ADA, number=NUMBER, amount=EUROS, link=PAGE, expires_at=NOON + timedelta(hours=23), method=VISA
            ),
            c.ActionRequired(number=NUMBER, amount=YEN, link=PAGE),
        ),
        "dunning_reminder": (
            _reminder(1, 3, EUROS, Action.BLOCK),
            _reminder(2, 7, DOLLARS, Action.CANCEL, again=None),
            _reminder(3, 10, YEN, Action.PAUSE, again=1),
            _reminder(1, 1, DINARS, Action.NONE, again=None, name=None),
        ),
        "final_notice": tuple(_final(action) for action in Action),
        "access_suspended": (_suspended(Action.BLOCK), _suspended(Action.CANCEL), _suspended(Action.PAUSE)),
        "recovered": (
            c.Recovered(name=ADA, number=NUMBER, amount=EUROS, link=PAGE, paid_at=NOON, restored=True, method=VISA),
            c.Recovered(number=NUMBER, amount=YEN, paid_at=NOON, restored=False),
        ),
        "trial_ending": (
            _trial("month", 1, EUROS, VISA),
            _trial("year", 1, DOLLARS, None),
            _trial("month", 3, YEN, SEPA),
            _trial("day", 1, EUROS, VISA),
            _trial("day", 10, EUROS, VISA),
            _trial("week", 1, EUROS, VISA),
            _trial("week", 2, EUROS, VISA),
            _trial("year", 2, EUROS, VISA),
        ),
        "card_expiring": (
            c.CardExpiring(
                name=ADA,
                method=VISA,
                expires=date(2026, 3, 31),
                next_charge_at=NOON + 27 * DAY,
                next_amount=EUROS,
                link=PORTAL,
            ),
            c.CardExpiring(method=Method(brand="amex", last4="0005"), expires=date(2026, 12, 1)),
        ),
        "refund": (
            c.Refund(
                name=ADA,
                amount=EUROS,
                full=True,
                payment=EUROS,
                paid_at=NOON - 6 * DAY,
                refunded_at=NOON,
                number=NUMBER,
                method=VISA,
                link=PAGE,
            ),
            c.Refund(amount=YEN, full=False, payment=Amount(9800, "jpy"), paid_at=NOON - 40 * DAY, refunded_at=NOON),
        ),
        "dispute_notice": (
            _dispute("fraudulent"),
            *(
                _dispute(reason)
                for reason in (
                    "duplicate",
                    "product_not_received",
                    "product_unacceptable",
                    "subscription_canceled",
                    "credit_not_processed",
                    "unrecognized",
                )
            ),
            _dispute("bank_cannot_process", due=False),
        ),
        "partner_invoice": (
            c.PartnerInvoice(
                name="Grace Hopper",
                number="AP-2026-0007",
                amount=Amount(297_500, "eur"),
                link=PAGE,
                period=c.Days(first=date(2026, 2, 1), last=date(2026, 2, 28)),
                due_on=date(2026, 3, 31),
                lines=[
                    Line(description="API Partner: 1,000,000 calls", amount=Amount(200_000, "eur")),
                    Line(description="250,000 further calls", amount=Amount(50_000, "eur")),
                ],
                tax=Amount(47_500, "eur"),
                attached=True,
            ),
            c.PartnerInvoice(
                number="AP-2026-0008",
                amount=YEN,
                period=c.Days(first=date(2026, 2, 1), last=date(2026, 2, 28)),
                due_on=date(2026, 3, 31),
            ),
        ),
        "credit_note": (
            c.CreditNote(
                name="Grace Hopper",
                number="CN-2026-0003",
                invoice="API-202602-0007",
                amount=Amount(59_500, "eur"),
                reason="An outage on 14 February",
                set_off=Amount(20_000, "eur"),
                kept=Amount(39_500, "eur"),
                link=PAGE,
                attached=True,
            ),
            c.CreditNote(number="CN-2026-0004", invoice="API-202602-0008", amount=YEN, paid_out=YEN),
        ),
        "invoice_overdue": (
            c.InvoiceOverdue(name=ADA, number=NUMBER, amount=DOLLARS, link=PAGE, due_on=NOON - 7 * DAY, days_overdue=7),
            c.InvoiceOverdue(number=NUMBER, amount=YEN, due_on=NOON - DAY, days_overdue=1),
            c.InvoiceOverdue(
                name=ADA,
                number=NUMBER,
                amount=EUROS,
                due_on=NOON - 3 * DAY,
                days_overdue=3,
                attached=True,
                account=c.Account(
                    holder="Nordlicht GmbH",
                    iban="DE89\xa03704\xa00044\xa00532\xa00130\xa000",
                    bic="COBADEFF",
                    bank="Commerzbank",
                ),
            ),
        ),
        "usage_80": (
            c.Usage80(name="Grace Hopper", used=812_345, limit=1_000_000, period=MONTH, overage=BUNDLED, link=PORTAL),
            c.Usage80(used=8100, limit=10_000, period=MONTH, overage=None),
            c.Usage80(used=8100, limit=10_000, period=MONTH, overage=None, refused=False),
        ),
        "usage_100": (
            c.Usage100(
                name="Grace Hopper", used=1_000_412, limit=1_000_000, period=MONTH, overage=METERED, link=PORTAL
            ),
            c.Usage100(used=10_000, limit=10_000, period=MONTH, overage=None),
            c.Usage100(used=10_000, limit=10_000, period=MONTH, overage=None, refused=False),
        ),
        "invoice_parked": (
            c.InvoiceParked(
                partner="nw_live",
                company="Nordwind Analytics GmbH",
                month="2026-02",
                amount=Amount(1_297_500, "eur"),
                reasons=["12,975.00 EUR is over 5 times what the last 3 invoices came to on average (2,310.00 EUR)"],
                link=PAGE,
            ),
            c.InvoiceParked(
                partner="hopper",
                month="2026-02",
                reasons=["currency: 'xyz' is no currency that Stripe can be paid in", "tiers: are missing"],
            ),
            c.InvoiceParked(
                partner="nw_live",
                company="Nordwind Analytics GmbH",
                month="2026-02",
                reasons=["usage of 2026-02 came after its invoice, and the contract has ended: 250.00 EUR are missing"],
                late=True,
                charge="billing partners void nw_live --period 2026-02 --why '…'",
                link=PAGE,
            ),
            c.InvoiceParked(
                partner="user:17",
                company="Ada GmbH",
                month="2026-02",
                amount=Amount(4_900, "eur"),
                reasons=["the customer was deleted at Stripe: release it if it is still to be charged, or void it"],
                link=PAGE,
            ),
        ),
        "overage_credited": (
            c.OverageCredited(
                customer=17,
                company="Ada GmbH",
                month="2026-02",
                amount=Amount(1_190, "eur"),
                credit=42,
                reason="2026-02 comes to 0.00 EUR by the plan that became known late, and 10.00 EUR was charged"
                " (before discounts and taxes)",
                link=PAGE,
            ),
        ),
        "reconciliation_report": (
            _books(
                c.Difference(name="missing_here", count=3, repaired=1),
                c.Difference(name="amount", count=1),
                short=14_700,
                settled=False,
            ),
            _books(),
            _books(c.Difference(name="status", count=1, repaired=1)),
            _books(c.Difference(name="missing_here", count=1), settled=False),
            _books(notes=["3 events of Stripe's had never come; fetched from its list of events and applied"]),
            _books(
                notes=["invoice in_1Q2w3e4r could not be compared: Stripe answered 500 to GET /v1/invoices"],
                settled=False,
            ),
            _books(
                *(
                    c.Difference(name=name, count=1)
                    for name in ("missing_there", "currency", "period", "fee", "refund", "duplicate")
                ),
                settled=False,
            ),
        ),
        "books_alarm": (
            c.BooksAlarm(
                about="comparison",
                reasons=["Stripe answered 401 to GET /v1/events: Invalid API Key provided"],
                command="billing reconcile list",
                account="acct_1Q2w3e4r",
                link="https://billing.example.com/reconciliation",
            ),
            c.BooksAlarm(
                about="invariants",
                reasons=["charges-have-payments, 2 rows. Each charge has its row in the payment history."],
                command="billing verify",
            ),
        ),
    }
)
"""By letter; the first of each is the usual case. Numbers, links and people are made up."""
