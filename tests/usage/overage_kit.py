"""Books whose worker has a seller, and the monthly run of overage by hand."""

from typing import Any

from sqlalchemy import text

from jobs.usage.overage import invoice_overage, overage_invoices
from tests.invoices.office import SELLERS
from tests.usage.books import Books
from worker.settings import Settings

INVOICES = (
    "SELECT invoice_number, kind, own_key, user_id, api_key_prefix, status, currency, subtotal_cents, tax_cents,"
    " total_cents, customer_email, line_items FROM invoices WHERE kind = 'overage' ORDER BY id"
)


def equipped(books: Books) -> Books:
    """The books, with a seller in whose name invoices go out."""
    file = books.folder / "sellers.toml"
    file.write_text(SELLERS)
    books.settings = Settings(
        mail_from="Nordlicht <billing@nordlicht.example>", billing_home=books.folder, billing_sellers_file=file
    )
    return books


async def run_month(books: Books) -> list[dict[str, Any]]:
    """The schedule, and the jobs that it staged. Returns the invoices."""
    await books.work(overage_invoices, period=books.clock.now())
    new = "UPDATE jobs SET status = 'done' WHERE name = 'invoice_overage' AND status <> 'done' RETURNING args"
    async with books.engine.begin() as conn:
        jobs = list((await conn.execute(text(new))).scalars())
    for args in jobs:
        await books.work(invoice_overage, **args)
    return await books.rows(INVOICES)
