"""Invoices, credit notes and charges as Stripe shows them: recorded ones, and a small one to be varied."""

import json
from collections.abc import Iterator
from typing import Any, cast

from jobs.invoices.document import Party, Seller
from jobs.invoices.from_stripe_parts import Known
from tests.conftest import PAYLOADS

SELLER = Seller(Party("Acme GmbH"))
KNOWN = Known(SELLER, "en", "Europe/Berlin")
AT = 1_772_366_400
"""2026-03-01 12:00 UTC."""

DAY = 86_400


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        if "object" in found and "lines" in found:
            yield found
        for inner in found.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _objects(inner)
    elif isinstance(value, str) and value.startswith("{"):
        try:
            yield from _objects(json.loads(value))
        except ValueError:
            return


def recorded(kind: str) -> dict[str, dict[str, Any]]:
    """All recorded objects of a kind, each differing one once, by file and place in it."""
    found: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for file in sorted(PAYLOADS.rglob("*.json")) if PAYLOADS.is_dir() else ():
        for place, one in enumerate(_objects(json.loads(file.read_text()))):
            told = json.dumps(one, sort_keys=True)
            if one["object"] == kind and told not in seen:
                seen.add(told)
                found[f"{file.parent.name}/{file.stem}/{place}"] = one
    return found


def a_line(amount: int = 10_000, **more: Any) -> dict[str, Any]:
    """A line of today's shape."""
    return {
        "id": "il_1",
        "object": "line_item",
        "amount": amount,
        "currency": "eur",
        "description": "Pro plan",
        "discount_amounts": [],
        "discounts": [],
        "parent": {"type": "subscription_item_details", "subscription_item_details": {"proration": False}},
        "period": {"start": AT, "end": AT + 31 * DAY},
        "pricing": {"type": "price_details", "unit_amount_decimal": str(amount)},
        "quantity": 1,
        "taxes": [],
        **more,
    }


def an_invoice(*lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A finalized invoice of today's shape; without more said it adds up, and nothing is paid."""
    shown = list(lines) or [a_line()]
    subtotal = sum(line["amount"] for line in shown)
    total = more.get("total", subtotal)
    return {
        "id": "in_1",
        "object": "invoice",
        "status": "open",
        "number": "A-0001",
        "currency": "eur",
        "created": AT - 3600,
        "customer": "cus_1",
        "customer_name": "Jane Roe",
        "customer_email": "jane@example.com",
        "customer_address": {
            "line1": "Hauptstr. 1",
            "line2": "",
            "city": "Berlin",
            "postal_code": "10115",
            "country": "DE",
        },
        "customer_tax_ids": [],
        "customer_tax_exempt": "none",
        "collection_method": "charge_automatically",
        "discounts": [],
        "lines": {"object": "list", "data": shown, "has_more": False},
        "status_transitions": {"finalized_at": AT},
        "subtotal": subtotal,
        "total": total,
        "amount_due": total,
        "amount_paid": 0,
        "amount_remaining": total,
        "starting_balance": 0,
        "ending_balance": 0,
        "total_discount_amounts": [],
        "total_taxes": [],
        "hosted_invoice_url": "https://invoice.stripe.com/i/acct_1/live_1",
        **more,
    }


def a_tax(
    amount: int, taxable: int, *, rate: str = "txr_1", inclusive: bool = False, reason: str = "standard_rated"
) -> dict[str, Any]:
    """An entry of `total_taxes` or `taxes`."""
    return {
        "amount": amount,
        "tax_behavior": "inclusive" if inclusive else "exclusive",
        "tax_rate_details": {"tax_rate": rate},
        "taxability_reason": reason,
        "taxable_amount": taxable,
        "type": "tax_rate_details",
    }


def a_rate(percentage: float, name: str = "MwSt.", **more: Any) -> dict[str, Any]:
    """A tax rate."""
    return {
        "id": "txr_1",
        "object": "tax_rate",
        "display_name": name,
        "percentage": percentage,
        "country": "DE",
        **more,
    }


def a_charge(amount: int = 10_000, **more: Any) -> dict[str, Any]:
    """A charge that went through."""
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": amount,
        "amount_captured": amount,
        "captured": True,
        "status": "succeeded",
        "currency": "eur",
        "created": AT + 60,
        "customer": "cus_1",
        "description": "Subscription creation",
        "receipt_number": None,
        "billing_details": {"name": "Jane Roe", "email": "jane@example.com", "address": {"country": "DE"}},
        "payment_method_details": {"type": "card", "card": {"brand": "visa", "last4": "4242"}},
        **more,
    }
