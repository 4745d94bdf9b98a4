"""What our copies of Stripe's objects have in common: where they are from, and how new our knowledge of them is."""

from datetime import datetime
from typing import Any, ClassVar, Literal

from sqlalchemy import BigInteger, Identity, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base

Keep = Literal["min", "max"]
"""How a sticky column grows: the least or the greatest value that any event told, whatever the order."""

EVERYWHERE: dict[str, Keep] = {"livemode": "max", "stripe_account": "max", "deleted_at": "min"}
"""Sticky in every table: an object never changes its account, and never comes back once deleted."""


LATELY: dict[str, Any] = {
    "postgresql_using": "brin",
    "postgresql_with": {"pages_per_range": "32", "autosummarize": "true"},
}
"""How `updated_at` is indexed, for those who look at what changed of late: a B-tree would make every update dearer."""


class Mirror(Base):
    """A copy of one Stripe object, merged from snapshots in any order (see `db.ledger`).

    The newest snapshot by `version` gives all plain columns at once. Sticky columns only grow: they hold what single
    events tell, or what only some API versions show. Own columns are ours: derived, never merged.
    """

    __abstract__ = True

    ledger_key: ClassVar[tuple[str, ...]]
    ledger_sticky: ClassVar[dict[str, Keep]] = {}
    ledger_own: ClassVar[frozenset[str]] = frozenset()

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    livemode: Mapped[bool] = mapped_column(server_default=text("false"))
    stripe_account: Mapped[str] = mapped_column(server_default=text("''"))
    """The connected account that owns the object; empty for our own."""
    version: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    """How new the plain columns are; empty while we only know that the object exists."""
    stripe_created_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When our copy last changed."""


class WithMetadata:
    """The key-value pairs that a merchant hung on the object; card numbers and secrets are masked."""

    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSONB)
