"""Every table, gathered for migrations."""

from db.models import inbox, operations
from db.models.base import Base

metadata = Base.metadata
modules = (inbox, operations)
