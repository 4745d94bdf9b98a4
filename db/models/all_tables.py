"""Every table, gathered for migrations."""

from db.models import (
    catalog,
    customers,
    documents,
    dunning,
    inbox,
    invoices,
    mail,
    operations,
    payments,
    subscriptions,
)
from db.models.base import Base

metadata = Base.metadata
modules = (inbox, operations, customers, catalog, subscriptions, invoices, payments, mail, dunning, documents)
