"""How often a subscription is billed, in a word."""

WORDS = {"day": "daily", "week": "weekly", "month": "monthly", "year": "yearly"}


def billing_cycle(interval: str | None, count: int | None) -> str | None:
    """`monthly`, `yearly`, …; `every 3 months` for longer ones. Units that we do not know are told as Stripe does."""
    if interval is None:
        return None
    if count is None or count == 1:
        return WORDS.get(interval, interval)
    return f"every {count} {interval}s"
