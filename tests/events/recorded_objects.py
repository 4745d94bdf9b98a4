"""What each recorded object of Stripe should leave in the ledger when an event carries it."""

from tests.events.recorded import CLOVER, DATA, OPENAPI, Expected

OBJECTS: dict[str, tuple[str, list[Expected]]] = {
    f"{DATA}/object.invoice": (
        "invoice.paid",
        [
            (
                "invoices",
                {"status": "paid", "tax_cents": 1805, "discount_cents": 3393, "amount_paid_cents": 24512},
            ),
            ("discounts", {"stripe_discount_id": "di_1RFFqAKXBGcbgpbZj2Dkyfn4", "stripe_coupon_id": "10OFF"}),
            ("coupons", {"percent_off": 10, "duration": "forever"}),
        ],
    ),
    f"{CLOVER}/object.charge-2025-10-29.clover-succeeded": (
        "charge.succeeded",
        [
            (
                "payment_history",
                {
                    "status": "succeeded",
                    "amount_cents": 1000,
                    "stripe_fee_cents": 59,
                    "net_amount_cents": 941,
                    "card_last4": "4242",
                    "stripe_payment_intent_id": "pi_3SRzp4KXBGcbgpbZ1utYtuTe",
                },
            ),
        ],
    ),
    f"{CLOVER}/object.credit_note-2025-10-29.clover-issued": (
        "credit_note.created",
        [("credit_notes", {"amount_cents": 500, "refund_ids": ["re_3SS01XKXBGcbgpbZ1UM2QwG8"], "status": "issued"})],
    ),
    f"{CLOVER}/object.customer-2025-10-29.clover": (
        "customer.updated",
        [("users", {"email": "stripe@example.org", "name": "Stripe User", "tax_exempt": "none"})],
    ),
    f"{CLOVER}/object.discount-2025-10-29.clover": (
        "customer.discount.created",
        [("discounts", {"stripe_coupon_id": "10OFF", "stripe_subscription_id": "sub_1SRzoCKXBGcbgpbZDYbXPugg"})],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-draft-manual-2": (
        "invoice.created",
        [("invoices", {"status": "draft"})],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-draft-manual": ("invoice.created", [("invoices", {"status": "draft"})]),
    f"{CLOVER}/object.invoice-2025-10-29.clover-paid-manual-2": (
        "invoice.paid",
        [("invoices", {"status": "paid", "total_cents": 0})],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-paid-manual": (
        "invoice.paid",
        [("invoices", {"status": "paid", "total_cents": 1000})],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-paid-subscription_create-2": (
        "invoice.paid",
        [("invoices", {"discount_cents": 250, "subtotal_cents": 2500, "total_cents": 2250})],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-paid-subscription_create-with_payments-2": (
        "invoice.paid",
        [
            ("invoices", {"discount_ids": ["di_1SRzoCKXBGcbgpbZFvreiDjk"]}),
            ("invoice_payments", {"payment_id": "pi_3SRzoDKXBGcbgpbZ0qqsd8Nw", "amount_paid_cents": 2250}),
        ],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-paid-subscription_create-with_payments": (
        "invoice.paid",
        [("invoices", {"status": "paid", "total_cents": 0, "attempt_count": 0})],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-paid-subscription_create": (
        "invoice.paid",
        [("invoices", {"stripe_subscription_id": "sub_1SRzp3KXBGcbgpbZDcTsaVD4", "total_cents": 1000})],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-paid-subscription_update-with_payments": (
        "invoice.paid",
        [
            ("invoices", {"total_cents": 22500, "billing_reason": "subscription_update"}),
            ("invoice_payments", {"payment_id": "pi_3SRzq4KXBGcbgpbZ0MrJyXgp", "is_default": True}),
        ],
    ),
    f"{CLOVER}/object.invoice-2025-10-29.clover-paid-subscription_update": (
        "invoice.paid",
        [("invoices", {"total_cents": 22500, "invoice_number": "AGDWDOYW-0002"})],
    ),
    f"{CLOVER}/object.invoice_payment-2025-10-29.clover-paid": (
        "invoice_payment.paid",
        [("invoice_payments", {"amount_paid_cents": 1000, "paid_at": "2025-11-10T18:28:15+00:00"})],
    ),
    f"{CLOVER}/object.payment_intent-2025-10-29.clover-requires_action": (
        "payment_intent.requires_action",
        [("payment_history", {"status": "pending", "amount_cents": 2500})],
    ),
    f"{CLOVER}/object.payment_intent-2025-10-29.clover-requires_capture-expanded_charge": (
        "payment_intent.amount_capturable_updated",
        [("payment_history", {"status": "pending", "captured": False, "amount_cents": 2900})],
    ),
    f"{CLOVER}/object.payment_intent-2025-10-29.clover-requires_capture": (
        "payment_intent.amount_capturable_updated",
        [("payment_history", {"status": "pending", "stripe_charge_id": "ch_3SRzpsKXBGcbgpbZ1F2CjECd"})],
    ),
    f"{CLOVER}/object.payment_intent-2025-10-29.clover-succeeded-expanded_charge": (
        "payment_intent.succeeded",
        [("payment_history", {"status": "succeeded", "amount_cents": 1000, "card_brand": "visa"})],
    ),
    f"{CLOVER}/object.payment_intent-2025-10-29.clover-succeeded": (
        "payment_intent.succeeded",
        [("payment_history", {"status": "succeeded", "amount_cents": 1000})],
    ),
    f"{CLOVER}/object.payment_method-2025-10-29.clover": (
        "payment_method.attached",
        [("payment_methods", {"stripe_customer_id": "cus_TL2wOKapdYV2oF", "brand": "visa"})],
    ),
    f"{CLOVER}/object.price-2025-10-29.clover": ("price.created", [("prices", {"unit_amount_decimal": 1000})]),
    f"{CLOVER}/object.refund-2025-10-29.clover-succeeded": (
        "refund.created",
        [("refunds", {"amount_cents": 1000, "stripe_payment_intent_id": "pi_3SRzqkKXBGcbgpbZ1P6QNbvc"})],
    ),
    f"{CLOVER}/object.subscription-2025-10-29.clover-active-2": (
        "customer.subscription.updated",
        [
            ("subscriptions", {"mrr_cents": 2500, "mrr_incomplete": True, "tier": "Small Monthly"}),
            ("discounts", {"stripe_coupon_id": "10OFF"}),
        ],
    ),
    f"{CLOVER}/object.subscription-2025-10-29.clover-active-cancel_scheduled": (
        "customer.subscription.updated",
        [("subscriptions", {"status": "active", "cancel_at_period_end": True, "mrr_cents": 1000})],
    ),
    f"{CLOVER}/object.subscription-2025-10-29.clover-active-paused": (
        "customer.subscription.updated",
        [("subscriptions", {"status": "active", "pause_behavior": "void", "mrr_cents": 2500})],
    ),
    f"{CLOVER}/object.subscription-2025-10-29.clover-active": (
        "customer.subscription.updated",
        [("subscriptions", {"status": "active", "mrr_cents": 1000, "billing_cycle": "monthly"})],
    ),
    f"{CLOVER}/object.subscription-2025-10-29.clover-canceled": (
        "customer.subscription.deleted",
        [("subscriptions", {"status": "canceled", "mrr_cents": 0, "cancel_reason": "cancellation_requested"})],
    ),
    f"{CLOVER}/object.subscription-2025-10-29.clover-trialing": (
        "customer.subscription.created",
        [("subscriptions", {"status": "trialing", "mrr_cents": 0, "trial_end": "2025-11-14T18:15:18+00:00"})],
    ),
    f"{OPENAPI}/object.charge": ("charge.updated", [("payment_history", {"status": "pending", "amount_cents": 100})]),
    f"{OPENAPI}/object.checkout.session": (
        "checkout.session.expired",
        [("checkout_sessions", {"status": "open", "expired_at": "2026-02-02T02:40:00+00:00"})],
    ),
    f"{OPENAPI}/object.coupon": ("coupon.updated", [("coupons", {"percent_off": 25.5, "duration": "forever"})]),
    f"{OPENAPI}/object.credit_note": (
        "credit_note.updated",
        [("credit_notes", {"amount_cents": 1690, "tax_cents": 0, "refund_ids": ["refund"]})],
    ),
    f"{OPENAPI}/object.customer": ("customer.updated", [("users", {"stripe_discount_id": "obj_123"})]),
    f"{OPENAPI}/object.deleted_customer": (
        "customer.deleted",
        [("users", {"stripe_customer_id": "cus_QXg1o8vcGmoR32", "deleted_at": "2026-02-02T02:40:00+00:00"})],
    ),
    f"{OPENAPI}/object.discount": (
        "customer.discount.updated",
        [("discounts", {"stripe_coupon_id": None, "stripe_customer_id": "cus_QXg1o8vcGmoR32"})],
    ),
    f"{OPENAPI}/object.dispute": ("charge.dispute.created", [("disputes", {"status": "warning_needs_response"})]),
    f"{OPENAPI}/object.invoice": (
        "invoice.updated",
        [("invoices", {"stripe_subscription_id": "subscription", "amount_overpaid_cents": 149300825, "tax_cents": 0})],
    ),
    f"{OPENAPI}/object.payment_intent": (
        "payment_intent.created",
        [("payment_history", {"status": "failed", "amount_cents": 1099, "stripe_charge_id": None})],
    ),
    f"{OPENAPI}/object.payment_method": ("payment_method.updated", [("payment_methods", {"exp_year": 2030})]),
    f"{OPENAPI}/object.payout": (
        "payout.reconciliation_completed",
        [("payouts", {"status": "in_transit", "reconciliation_status": "completed"})],
    ),
    f"{OPENAPI}/object.price": ("price.updated", [("prices", {"divide_round": "down", "divide_by": 1592560163})]),
    f"{OPENAPI}/object.product": ("product.updated", [("products", {"name": "T-shirt"})]),
    f"{OPENAPI}/object.promotion_code": (
        "promotion_code.created",
        [("promotion_codes", {"code": "FALL20", "stripe_coupon_id": None, "active": False})],
    ),
    f"{OPENAPI}/object.refund": ("refund.failed", [("refunds", {"status": "succeeded", "amount_cents": 100})]),
    f"{OPENAPI}/object.subscription": (
        "customer.subscription.updated",
        [("subscriptions", {"status": "active", "pause_behavior": "mark_uncollectible", "quantity": 1})],
    ),
}
"""By file of an object: the event that would carry it, and what it leaves."""

NOTHING_TO_KEEP = {
    # A fixture whose payment says neither which intent nor which charge.
    f"{OPENAPI}/object.invoice_payment": "invoice_payment.paid",
}

UNHANDLED_OBJECTS = frozenset(
    {
        "account",
        "balance_transaction",
        "event",
        "invoiceitem",
        "line_item",
        "setup_intent",
        "subscription_item",
        "subscription_schedule",
        "tax_rate",
        "test_helpers.test_clock",
        "webhook_endpoint",
    }
)
"""Kinds of object that no event which we handle carries."""
