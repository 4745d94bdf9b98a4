"""What each recorded payload of Stripe should leave in the ledger, told by hand from the payload."""

from typing import Any

Columns = dict[str, Any]
Expected = tuple[str, Columns]

OLD = "events-2020-08-27"
DATA = "event-data"
CLOVER = "objects-clover"
OPENAPI = "objects-openapi-2026-07-29"

CH, PI, CUS = "ch_000000000000000000000000", "pi_000000000000000000000000", "cus_00000000000000"
SUB, INV = "sub_000000000000000000000000", "in_000000000000000000000000"

PAID_OLD_INVOICE: list[Expected] = [
    (
        "invoices",
        {
            "stripe_invoice_id": INV,
            "status": "paid",
            "total_cents": 2000,
            "amount_paid_cents": 2000,
            "amount_due_cents": 2000,
            "tax_cents": 0,
            "paid_at": "2022-03-26T18:40:13+00:00",
            "billing_reason": "manual",
        },
    ),
    ("users", {"stripe_customer_id": CUS}),
    ("invoice_payments", {"stripe_invoice_id": INV, "payment_id": PI}),
]

EVENTS: dict[str, list[Expected]] = {
    f"{OLD}/charge.captured": [
        ("charges", {"stripe_charge_id": CH, "captured": True, "amount_captured_cents": 100, "card_last4": "4242"}),
        ("payment_history", {"stripe_charge_id": CH, "status": "succeeded", "amount_cents": 100, "card_brand": "visa"}),
    ],
    f"{OLD}/charge.dispute.closed": [
        ("disputes", {"stripe_charge_id": "ch_00000000000000", "status": "won", "amount_cents": 1000}),
    ],
    f"{OLD}/charge.dispute.created": [
        (
            "disputes",
            {
                "stripe_dispute_id": "dp_000000000000000000000000",
                "status": "warning_needs_response",
                "reason": "fraudulent",
                "evidence_due_by": "2022-04-04T23:59:59+00:00",
            },
        ),
    ],
    f"{OLD}/charge.dispute.funds_reinstated": [
        ("disputes", {"amount_cents": 25000, "funds_reinstated_at": "2012-01-18T02:24:38+00:00"}),
    ],
    f"{OLD}/charge.dispute.funds_withdrawn": [
        ("disputes", {"amount_cents": 25000, "funds_withdrawn_at": "2012-01-18T02:24:38+00:00"}),
    ],
    f"{OLD}/charge.dispute.updated": [("disputes", {"status": "under_review", "reason": "general"})],
    f"{OLD}/charge.failed": [
        (
            "payment_history",
            {
                "stripe_charge_id": CH,
                "stripe_payment_intent_id": PI,
                "status": "failed",
                "failure_code": "card_declined",
                "decline_code": "generic_decline",
                "failure_message": "Your card was declined.",
                "card_last4": "0002",
            },
        ),
    ],
    f"{OLD}/charge.refund.updated": [
        ("refunds", {"stripe_charge_id": CH, "amount_cents": 100, "metadata": {"order_id": "6735"}}),
    ],
    f"{OLD}/charge.refunded": [
        ("refunds", {"stripe_refund_id": "re_000000000000000000000000", "amount_cents": 100, "status": "succeeded"}),
        (
            "payment_history",
            {
                "status": "refunded",
                "refund_amount_cents": 100,
                "refunded_at": "2022-03-26T18:39:09+00:00",
                "amount_cents": 100,
            },
        ),
    ],
    f"{OLD}/charge.succeeded": [
        ("payment_history", {"stripe_charge_id": CH, "status": "succeeded", "amount_cents": 2000, "currency": "usd"}),
    ],
    f"{OLD}/charge.updated": [
        ("payment_history", {"status": "succeeded", "amount_cents": 1000, "stripe_invoice_id": "in_00000000000000"}),
        ("invoice_payments", {"stripe_invoice_id": "in_00000000000000", "payment_id": "ch_00000000000000"}),
    ],
    f"{OLD}/checkout.session.completed-payment_mode": [
        (
            "checkout_sessions",
            {
                "mode": "payment",
                "status": "complete",
                "payment_status": "paid",
                "amount_total_cents": 25000,
                "stripe_payment_intent_id": "pi_00000000000000",
                "customer_email": "example@example.com",
            },
        ),
    ],
    f"{OLD}/checkout.session.completed-setup_mode": [
        ("checkout_sessions", {"mode": "setup", "payment_status": "no_payment_required", "amount_total_cents": None}),
    ],
    f"{OLD}/checkout.session.completed": [
        ("checkout_sessions", {"status": "complete", "completed_at": "2022-03-26T18:39:19+00:00"}),
    ],
    f"{OLD}/coupon.created": [
        (
            "coupons",
            {
                "stripe_coupon_id": "25OFF_00000000000000",
                "percent_off": 25,
                "duration": "repeating",
                "duration_in_months": 3,
                "deleted_at": None,
            },
        ),
    ],
    f"{OLD}/coupon.deleted": [("coupons", {"deleted_at": "2012-01-18T02:24:38+00:00"})],
    f"{OLD}/customer.created": [
        ("users", {"stripe_customer_id": CUS, "description": "(created by Stripe CLI)", "dunning_status": "active"}),
    ],
    f"{OLD}/customer.deleted": [("users", {"stripe_customer_id": CUS, "deleted_at": "2022-03-26T18:39:21+00:00"})],
    f"{OLD}/customer.discount.created": [
        ("discounts", {"stripe_customer_id": CUS, "stripe_coupon_id": "25OFF_00000000000000", "deleted_at": None}),
        ("coupons", {"percent_off": 25}),
    ],
    f"{OLD}/customer.discount.deleted": [
        ("discounts", {"deleted_at": "2012-01-18T02:24:38+00:00", "end_at": "2014-01-06T17:28:32+00:00"}),
    ],
    f"{OLD}/customer.discount.updated": [("discounts", {"end_at": "2014-01-06T17:28:29+00:00"})],
    f"{OLD}/customer.subscription.created": [
        (
            "subscriptions",
            {
                "stripe_subscription_id": SUB,
                "stripe_customer_id": CUS,
                "status": "active",
                "mrr_cents": 1500,
                "mrr_incomplete": False,
                "quantity": 1,
                "billing_cycle": "monthly",
                "current_period_end": "2022-04-26T18:41:50+00:00",
            },
        ),
        ("subscription_items", {"stripe_subscription_id": SUB, "unit_amount_decimal": 1500, "position": 0}),
        ("subscription_history", {"stripe_subscription_id": SUB, "mrr_cents": 1500, "status": "active"}),
        ("prices", {"stripe_price_id": "price_000000000000000000000000", "interval": "month"}),
    ],
    f"{OLD}/customer.subscription.deleted": [
        ("subscriptions", {"status": "canceled", "mrr_cents": 0, "canceled_at": "2022-03-26T18:41:37+00:00"}),
    ],
    f"{OLD}/customer.subscription.updated": [("subscriptions", {"status": "active", "mrr_cents": 1500})],
    f"{OLD}/customer.updated": [("users", {"currency": "usd", "default_payment_method_id": "card_" + "0" * 24})],
    f"{OLD}/invoice.created": [
        (
            "invoices",
            {
                "status": "draft",
                "amount_due_cents": 1500,
                "invoice_number": None,
                "stripe_subscription_id": SUB,
                "line_items_complete": True,
                "next_payment_attempt": "2022-03-26T19:41:50+00:00",
            },
        ),
    ],
    f"{OLD}/invoice.finalized": [("invoices", {"status": "paid", "invoice_number": "EE1DF78D-0001"})],
    f"{OLD}/invoice.paid": PAID_OLD_INVOICE,
    f"{OLD}/invoice.payment_succeeded": PAID_OLD_INVOICE,
    f"{OLD}/invoice.payment_action_required": [
        ("invoices", {"status": "open", "payment_action_required_at": "2022-03-26T18:40:04+00:00"}),
    ],
    f"{OLD}/invoice.payment_failed": [
        ("invoices", {"status": "open", "payment_failed_at": "2022-03-26T18:40:09+00:00", "attempt_count": 1}),
    ],
    f"{OLD}/invoice.upcoming": [
        ("upcoming_invoices", {"key": "sub_00000000000000", "total_cents": 1000, "stripe_customer_id": CUS}),
    ],
    f"{OLD}/invoice.updated": [("invoices", {"status": "draft", "total_cents": 1500, "auto_advance": False})],
    f"{OLD}/mandate.updated": [("mandates", {"status": "active", "type": "multi_use"})],
    f"{OLD}/payment_intent.amount_capturable_updated": [
        ("payment_intents", {"status": "requires_capture", "amount_capturable_cents": 2000}),
        ("payment_history", {"stripe_charge_id": CH, "status": "pending", "captured": False}),
    ],
    f"{OLD}/payment_intent.canceled": [
        ("payment_history", {"stripe_payment_intent_id": PI, "stripe_charge_id": None, "status": "failed"}),
    ],
    f"{OLD}/payment_intent.created": [
        ("payment_history", {"stripe_payment_intent_id": PI, "stripe_charge_id": None, "status": "pending"}),
    ],
    f"{OLD}/payment_intent.payment_failed": [
        (
            "payment_intents",
            {"status": "requires_payment_method", "decline_code": "generic_decline", "latest_stripe_charge_id": CH},
        ),
        ("payment_history", {"stripe_charge_id": CH, "status": "failed", "decline_code": "generic_decline"}),
    ],
    f"{OLD}/payment_intent.processing": [("payment_history", {"status": "pending", "amount_cents": 900})],
    f"{OLD}/payment_intent.requires_action": [
        ("payment_history", {"status": "failed", "failure_code": "authentication_required", "stripe_invoice_id": INV}),
    ],
    f"{OLD}/payment_intent.succeeded": [
        ("payment_history", {"stripe_payment_intent_id": PI, "stripe_charge_id": CH, "status": "succeeded"}),
    ],
    f"{OLD}/payment_method.attached": [
        ("payment_methods", {"stripe_customer_id": CUS, "brand": "visa", "last4": "4242", "exp_year": 2023}),
    ],
    f"{OLD}/payment_method.detached": [("payment_methods", {"stripe_customer_id": None, "last4": "4242"})],
    f"{OLD}/payout.created": [("payouts", {"amount_cents": 1100, "arrival_date": "2022-03-28T00:00:00+00:00"})],
    f"{OLD}/payout.paid": [("payouts", {"status": "paid"})],
    f"{OLD}/payout.updated": [("payouts", {"metadata": {"foo": "bar"}})],
    f"{OLD}/plan.created": [("prices", {"unit_amount_decimal": 1500, "usage_type": "licensed"})],
    f"{OLD}/plan.deleted": [("prices", {"active": False, "deleted_at": "2022-03-26T18:40:48+00:00"})],
    f"{OLD}/plan.updated": [("prices", {"metadata": {"foo": "bar"}})],
    f"{OLD}/price.created": [("prices", {"unit_amount_decimal": 1500, "interval_count": 1})],
    f"{OLD}/price.deleted": [("prices", {"deleted_at": "2022-03-26T18:40:48+00:00"})],
    f"{OLD}/price.updated": [("prices", {"metadata": {"foo": "bar"}})],
    f"{OLD}/product.created": [("products", {"name": "myproduct", "active": True})],
    f"{OLD}/product.deleted": [("products", {"active": False, "deleted_at": "2022-03-26T18:41:02+00:00"})],
    f"{OLD}/product.updated": [("products", {"metadata": {"foo": "bar"}})],
    f"{OLD}/customer.subscription.trial_will_end": [
        (
            "subscriptions",
            {"status": "trialing", "mrr_cents": 0, "trial_end": "2013-10-09T01:05:30+00:00", "quantity": 1},
        ),
    ],
    f"{DATA}/charge.refunded": [
        ("payment_history", {"status": "partially_refunded", "amount_cents": 1500, "refund_amount_cents": 500}),
        ("refunds", {"amount_cents": 500, "reason": "requested_by_customer"}),
    ],
    f"{DATA}/charge.succeeded": [
        ("payment_history", {"status": "succeeded", "amount_cents": 500, "card_brand": "visa"})
    ],
    f"{DATA}/charge.updated": [
        ("payment_history", {"stripe_payment_intent_id": "pi_1234", "status": "succeeded", "livemode": True}),
        ("charges", {"balance_transaction_id": "txn_1234", "amount_cents": 24900}),
    ],
    f"{DATA}/checkout.session.completed": [
        ("checkout_sessions", {"stripe_subscription_id": "sub_1LNkeSKXBGcbgpbZ7jMqOPSi", "payment_status": "paid"}),
        ("users", {"stripe_customer_id": "cus_M5wW9RPFk9xNZ5", "email": None}),
    ],
    f"{DATA}/customer.deleted": [("users", {"stripe_customer_id": "cus_EGxrcooteA3WAb", "balance_cents": 0})],
    f"{DATA}/customer.subscription.created": [
        ("subscriptions", {"status": "active", "quantity": 2, "mrr_cents": 600, "billing_cycle": "monthly"}),
    ],
    f"{DATA}/customer.subscription.deleted": [("subscriptions", {"status": "canceled", "mrr_cents": 0})],
    f"{DATA}/customer.subscription.trial_will_end": [("subscriptions", {"latest_stripe_invoice_id": "in_1000"})],
    f"{DATA}/customer.subscription.updated-trial_ended": [("subscriptions", {"status": "active"})],
    f"{DATA}/customer.subscription.updated": [
        ("subscriptions", {"status": "canceled", "current_period_end": "2017-03-08T15:45:24+00:00"}),
    ],
    f"{DATA}/customer.updated": [("users", {"stripe_customer_id": "cus_1234", "currency": "usd"})],
    f"{DATA}/invoice.payment_action_required": [
        ("invoices", {"status": "open", "total_cents": 9184, "stripe_subscription_id": "sub_1234"}),
        ("invoice_payments", {"stripe_invoice_id": "in_1234", "payment_id": "pi_1234"}),
    ],
    f"{DATA}/invoice.payment_failed": [
        (
            "invoices",
            {
                "status": "open",
                "attempt_count": 1,
                "amount_remaining_cents": 24900,
                "stripe_subscription_id": "sub_1234",
                "next_payment_attempt": "2025-04-25T03:46:23+00:00",
                "invoice_number": "F612594F-0002",
            },
        ),
    ],
    f"{DATA}/invoice.upcoming": [
        (
            "upcoming_invoices",
            {"key": "sub_1234", "amount_due_cents": 1900, "stripe_customer_id": "cus_L7lJPQIi3GxrTG"},
        ),
    ],
    f"{DATA}/invoice_payment.paid": [
        (
            "invoice_payments",
            {
                "stripe_invoice_id": "in_1T4AIkGWAy8DppqhJAdbjaWb",
                "payment_id": "pi_3T4AIlGWAy8Dppqh3Vsl9Pya",
                "amount_paid_cents": 2000,
                "status": "paid",
            },
        ),
    ],
    f"{DATA}/payment_method.attached": [("payment_methods", {"stripe_customer_id": "cus_1234", "exp_year": 2024})],
    f"{DATA}/payment_method.detached": [("payment_methods", {"stripe_customer_id": None, "country": "DE"})],
    f"{DATA}/payment_method.updated": [("payment_methods", {"stripe_customer_id": "cus_1234", "exp_year": 2035})],
}
"""By file: what it leaves when it comes alone. Files of types that nobody handles are not here."""
