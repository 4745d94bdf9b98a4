"""Every table, gathered for migrations."""

from db.models import (
    catalog,
    credit_grants,
    customers,
    documents,
    dunning,
    inbox,
    invoices,
    mail,
    operations,
    partners,
    payments,
    reconciliation,
    subscriptions,
    usage,
)
from db.models.base import Base

metadata = Base.metadata
modules = (
    *(inbox, operations, customers, catalog, subscriptions, invoices, payments, mail, dunning, documents),
    *(usage, partners, credit_grants, reconciliation),
)


def has_model(name: str | None, kind: str, _: object) -> bool:
    """Whether a model tells of a thing of the database; partitions are made as time goes on."""
    return kind != "table" or not (name or "").startswith("usage_events_")
