"""What happened at Stripe minutes ago, and has not reached us yet, is no difference: its webhook is waited for."""

from contextlib import aclosing
from datetime import timedelta
from typing import Any

import msgspec

from db import reconciliation as rows
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.lists import each_page, present
from worker.deps import Deps

WAITS = timedelta(minutes=10)
"""An event that came neither by then was not delivered at the first try; Stripe tries again later."""


class _Named(msgspec.Struct):
    """An object and those that change with it, each an id or a whole object."""

    id: str | None = None
    charge: str | dict[str, Any] | None = None
    payment_intent: str | dict[str, Any] | None = None
    invoice: str | dict[str, Any] | None = None
    subscription: str | dict[str, Any] | None = None

    def ids(self) -> set[str]:
        """All of them."""
        found: set[str] = set()
        for value in (self.id, self.charge, self.payment_intent, self.invoice, self.subscription):
            name = value.get("id") if isinstance(value, dict) else value
            if isinstance(name, str):
                found.add(name)
        return found


class _Data(msgspec.Struct):
    object: _Named


class Event(msgspec.Struct):
    """https://docs.stripe.com/api/events/object."""

    id: str
    created: int
    type: str
    data: _Data


async def named(d: Deps, stripe: Stripe) -> dict[str, str]:
    """The objects that events of the last minutes name which our inbox does not have; each with why it waits.

    The last minutes are those before Stripe's present: on a quiet account the newest event may be days old, and if it
    was lost, nothing would ever tell. Raises as `each_page`.
    """
    lately = present(d, stripe) - WAITS
    begin = stripe.as_of - WAITS
    found: dict[str, str] = {}
    pages = each_page(d, "events", Event, account=stripe.account, since=begin)
    async with aclosing(pages):
        async for page in pages:
            late = [event for event in page if event.created > lately.timestamp()]
            if not late:
                continue
            async with d.engine.connect() as conn:
                here = await rows.in_inbox(conn, [event.id for event in late])
            for event in late:
                if event.id not in here:
                    found |= dict.fromkeys(event.data.object.ids(), f"{event.type} ({event.id}) is on its way")
    return found
