"""An invoice at Stripe that collects one of ours changed: when it is paid, ours is closed in the same transaction."""

from collections.abc import Sequence

from db import collecting, manual_payments
from db.collecting import MARK
from jobs.follow import follows
from jobs.invoices import pay
from jobs.partners.push_to_stripe import OWED, look_into_collection, reasons
from jobs.stripe_objects import StripeEvent, masked
from worker.deps import Tx


@follows(
    "invoice.created",
    "invoice.updated",
    "invoice.finalized",
    "invoice.sent",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.overdue",
    "invoice.marked_uncollectible",
    "invoice.voided",
    "invoice.deleted",
)
async def follow_collection(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """Join invoices at Stripe with those of ours that they collect, and let ours follow.

    An invoice at Stripe is known by its mark, whichever of its events comes first, and before our own job has written
    down that it made it.
    """
    named = {event.object.id() for event in events if not event.account and _may_collect(event)}
    if not named:
        return
    found = await collecting.marked(tx.conn, named)
    # A number that looks like a card's is masked in the metadata that we keep: ours is read in the same way.
    links = {name: ours for name, ours, number, told in found if told == masked(number)}
    await collecting.link(tx.conn, links)
    for one in await collecting.of_stripes(tx.conn, named):
        if one.collected:
            await pay.collected(tx, one.ours)
        ours = await manual_payments.standing(tx.conn, one.ours)
        assert ours is not None, "only issued invoices are joined, and they are never removed"
        if one.live and not one.withdrawn and ours.status in OWED:
            await collecting.payable_at(tx.conn, ours.id, one.hosted_invoice_url, now=tx.now)
        elif one.status != "paid" and ours.hosted_invoice_url == one.hosted_invoice_url:
            await collecting.payable_at(tx.conn, ours.id, None, now=tx.now)
        for why in reasons(one, ours):
            key = f"collection/{one.stripe_invoice_id}/{'deleted' if one.deleted else one.status}"
            await tx.stage(look_into_collection.call(ours.id, one.stripe_invoice_id, why), unique_key=key)


def _may_collect(event: StripeEvent) -> bool:
    """Cheap enough for every invoice: nothing but what we send bears our mark, or is sent at all."""
    return MARK in event.object.sub("metadata").json or event.object.text("collection_method") == "send_invoice"
