"""A trial is about to end: its customer hears what it will cost from then on, and what will be charged."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.mail.contexts import Amount, TrialEnding
from jobs.mail.notice_prices import Discounts, Price
from jobs.mail.notice_staging import Notice, charged_to, reader, stage_notices
from jobs.stripe_objects import StripeEvent
from worker.deps import Tx

NO_PRICE = "what it will cost is not known: its price is metered or tiered, and Stripe announced no invoice yet"


async def stage_trials(tx: Tx, events: Sequence[StripeEvent], owed: Sequence[Mapping[str, Any]]) -> None:
    """Stage the letters about the trials of `owed` (`db.notices.trials`)."""
    if not owed:
        return
    discounts = await Discounts.of(tx.conn, [row["subscription"] for row in owed])
    told_by = {event.object.ref("id"): event.id for event in events}
    letters: list[Notice] = []
    for row in owed:
        if (to := reader(row)) is None:
            continue
        subscription = row["subscription"]
        price = discounts.price(subscription, row["trial_end"]) or _announced(row)
        told = told_by.get(subscription["stripe_subscription_id"]) or told_by.get(subscription["stripe_customer_id"])
        letters.append(
            Notice(
                row["key"],
                "trial_ending",
                None if price is None else _ending(row, price),
                to,
                occurred_at=tx.now,
                staged_by=told,
                suppressed=NO_PRICE if price is None else None,
            )
        )
    await stage_notices(tx, letters)


def _announced(row: Mapping[str, Any]) -> Price | None:
    """What Stripe itself announced (`invoice.upcoming`), once for the first period."""
    first = next(iter(row["subscription"]["items"]), None)
    if row["next_total_cents"] is None or row["next_currency"] is None or first is None:
        return None
    interval = first["interval"]
    if interval not in {"day", "week", "month", "year"}:
        return None
    return Price(Amount(row["next_total_cents"], row["next_currency"]), interval, first["interval_count"] or 1)


def _ending(row: Mapping[str, Any], price: Price) -> TrialEnding:
    return TrialEnding(
        name=row["name"] or row["customer_name"],
        product=row["product"] or row["subscription"]["stripe_subscription_id"],
        trial_end=row["trial_end"],
        amount=price.amount,
        interval=price.interval,
        interval_count=price.count,
        method=charged_to(row),
    )
