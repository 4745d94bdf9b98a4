"""On the first of a month customers hear of cards that are about to expire, before a payment fails because of them."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from db import notices
from db.states import QueueName
from jobs.mail.contexts import CardExpiring, Method
from jobs.mail.notice_prices import Discounts
from jobs.mail.notice_staging import Notice, reader, stage_notices
from worker.deps import Deps
from worker.registry import job, schedule

PAGE = 200
"""Cards that one run writes about before it stages the next page."""


@schedule("card_expiring", "0 9 1 * *")
@job(queue=QueueName.BATCH)
async def warn_of_expiring_cards(d: Deps, period: datetime, after: str = "") -> None:
    """Write about the cards that expire this month or the next, and that an active subscription is charged to.

    The month is the business's present one: a run that comes late warns of what still lies ahead. Each card is written
    about once for each date of expiry. `after` is the last card of the page before.
    """
    async with d.tx() as tx:
        page = await notices.expiring_cards(tx.conn, now=tx.now, after=after, limit=PAGE)
        prices = await Discounts.of(tx.conn, [row["subscription"] for row in page])
        await stage_notices(
            tx,
            [
                Notice(row["key"], "card_expiring", _expiring(row, prices), to, occurred_at=tx.now)
                for row in page
                if (to := reader(row)) is not None
            ],
        )
        if len(page) == PAGE:
            last: str = page[-1]["stripe_payment_method_id"]
            key = f"card_expiring/{period.isoformat()}/{last}"
            await tx.stage(warn_of_expiring_cards.call(period=period, after=last), unique_key=key)


def _expiring(row: Mapping[str, Any], prices: Discounts) -> CardExpiring:
    """The next payment is told only if the card will have expired by then."""
    expires = date(row["exp_year"], row["exp_month"], 1)
    over = (datetime(expires.year, expires.month, 1, tzinfo=UTC) + timedelta(days=32)).replace(day=1)
    charged_at: datetime | None = row["current_period_end"]
    price = prices.price(row["subscription"], charged_at) if charged_at is not None and charged_at >= over else None
    return CardExpiring(
        name=row["name"] or row["customer_name"],
        method=Method(brand=row["method_brand"] or "card", last4=row["method_last4"]),
        expires=expires,
        next_charge_at=None if price is None else charged_at,
        next_amount=None if price is None else price.amount,
    )
