"""What a plan includes changes from a day on, never for time that was invoiced."""

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from db import overage
from db.operators.actions import Actor, NotAllowedError, write_audit
from db.overage import NewPlan
from jobs.invoices.codes import CURRENCIES
from jobs.rules.documents import LARGEST

ROUNDINGS = ("exact", "up", "down")
LONGEST = 200


def mistakes(plan: NewPlan) -> tuple[str, str] | None:
    """The first thing that makes no sense, as (option, what to write); None: all does."""
    checks = (
        (0 < len(plan.stripe_price_id) <= LONGEST, "price", "is the id of a price at Stripe, such as price_1Pro"),
        (plan.currency in CURRENCIES, "currency", f"{plan.currency!r} is none that invoices are written in"),
        (0 <= plan.included_units <= LARGEST, "included", "is a number of units, 0 or more"),
        (0 <= plan.package_price_cents <= LARGEST, "package-price", "is a whole number of minor units, 0 or more"),
        (1 <= plan.package_size <= LARGEST, "package-size", "is 1 or more"),
        (plan.package_rounding in ROUNDINGS, "rounding", f"is {', '.join(ROUNDINGS[:-1])} or {ROUNDINGS[-1]}"),
        (0 < len(plan.tax_name.strip()) <= LONGEST, "tax-name", "is what invoices call the tax, such as VAT"),
        (
            plan.tax_percent is None or (plan.tax_percent.is_finite() and 0 <= plan.tax_percent <= 100),  # noqa: PLR2004 - percent
            "tax-percent",
            "is between 0 and 100",
        ),
    )
    return next(((option, told) for sure, option, told in checks if not sure), None)


async def add_plan(conn: AsyncConnection, plan: NewPlan, by: Actor, *, now: datetime) -> bool | None:
    """Write a plan down, and who did. False: the price was never seen at Stripe; None: it has a plan from that day.

    Raises NotAllowedError when overage of that time was invoiced already.
    """
    charged = await overage.charged_until(conn)
    if charged is not None and plan.valid_from < charged.astimezone(ZoneInfo("UTC")).date():
        last = f"{charged:%Y-%m-%d}"
        raise NotAllowedError([f"overage was invoiced up to {last}: let the plan hold from {last} or later"])
    made = await overage.add_plan(conn, plan, by=by.who, now=now)
    if made is None:
        return None
    details = {name: str(getattr(plan, name)) for name in NewPlan.__dataclass_fields__}
    await write_audit(conn, by, "usage.plans.add", plan.stripe_price_id, now=now, details=details)
    return await overage.price_known(conn, plan.stripe_price_id)
