"""Invoices in arrears as our books know them, Stripe's and our own."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from db.dunning_own import own_id
from jobs.dunning.own_books import of_ours
from jobs.dunning.reading import Booked, of_stripe


async def from_books(conn: AsyncConnection, invoices: Collection[str]) -> dict[str, Booked]:
    """These invoices as the ledger knows them, by name: Stripe's id, or `own-17`."""
    ours = {name: number for name in invoices if (number := own_id(name)) is not None}
    stripes = [name for name in invoices if name not in ours]
    return await of_stripe(conn, stripes) | await of_ours(conn, ours.values())
