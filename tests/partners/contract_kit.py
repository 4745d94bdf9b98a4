"""Contracts to look at, as people write them and as tables hold them."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from jobs.invoices.document import Address, TaxId
from jobs.partners.contract_fields import ContractTier
from jobs.partners.contracts import Contract, PricingModel

Json = dict[str, Any]

PLAIN: Json = {
    "api_key_prefix": "nw_live",
    "company": "Northwind GmbH",
    "pricing_model": "per_request",
    "per_1000_requests_cents": 250,
    "contract_start_date": "2026-01-01",
}

PRICES: dict[PricingModel, Json] = {
    "flat": {"monthly_flat_fee_cents": 49_000},
    "per_deed": {"per_deed_price_cents": 200},
    "per_request": {"per_1000_requests_cents": 250},
    "hybrid": {"per_deed_price_cents": 200, "per_1000_requests_cents": 250},
    "tiered": {"tiers": (ContractTier(1_000, Decimal("0.5")), ContractTier(None, Decimal("0.25"), 100))},
}
"""What each model needs."""

DAYS = st.dates(date(2020, 1, 1), date(2030, 12, 31))
WORDS = st.text("abcdefghij ÄÖÜ&.-", min_size=1, max_size=30).map(str.strip).filter(bool)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """Any contract that makes sense."""
    model = draw(st.sampled_from(list(PRICES)))
    start = draw(DAYS)
    fee = PRICES[model].get("monthly_flat_fee_cents", draw(st.integers(0, 10**6)))
    minimum = draw(st.integers(0, 10**6))
    reverse = draw(st.booleans())
    packages = model in {"per_request", "hybrid"}
    pushed = draw(st.booleans())
    tax_id = TaxId("eu_vat", "DE123456789")
    return Contract(
        api_key_prefix=draw(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,20}\Z")),
        company=draw(WORDS),
        pricing_model=model,
        contract_start_date=start,
        contract_end_date=draw(st.none() | st.integers(0, 900).map(lambda days: start + timedelta(days=days))),
        valid_from=start + timedelta(days=draw(st.integers(0, 500))),
        currency=draw(st.sampled_from(["eur", "usd", "jpy", "kwd"])),
        timezone=draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"])),
        billing_cycle=draw(st.sampled_from(["monthly", "quarterly", "yearly"])),
        payment_terms=draw(st.sampled_from(["immediate", "net_15", "net_30", "net_60", "end_of_month"])),
        status=draw(st.sampled_from(["draft", "active", "paused", "ended"])),
        monthly_request_limit=draw(st.none() | st.integers(1, 10**9)),
        rate_limit_per_minute=draw(st.none() | st.integers(1, 10**6)),
        package_size=draw(st.integers(1, 10**6)),
        package_rounding=draw(st.sampled_from(["exact", "up", "down"])) if packages else "exact",
        included_units=0 if model == "flat" else draw(st.integers(0, 10**9)),
        minimum_commitment_cents=minimum,
        cap_cents=draw(st.none() | st.integers(max(minimum, fee), 10**9)),
        discount_percent=draw(st.none() | st.decimals(0, 100, places=4)),
        tax_percent=None if reverse else draw(st.none() | st.decimals(0, 100, places=4)),
        reverse_charge=reverse,
        tax_ids=(tax_id,) if reverse or draw(st.booleans()) else (),
        address=draw(st.sampled_from([Address(), Address(line1="Ring 1", country="DE")])),
        billing_email=draw(st.sampled_from([None, "ap@example.com"])),
        locale=draw(st.sampled_from([None, "de", "ja"])),
        notes=draw(st.none() | WORDS),
        push_to_stripe=pushed,
        stripe_customer_id="cus_1" if pushed else None,
        alarm_factor=draw(st.integers(0, 1_000)),
        tier_mode=draw(st.sampled_from(["graduated", "volume"])),
        **({"monthly_flat_fee_cents": fee} | PRICES[model]),
    )
