"""What partners and customers used: each event once, its sums by hour and day, and who may report it."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Identity, Index, LargeBinary, Numeric, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from db.models.base import Base

_ONE_OWNER = "(api_key_prefix IS NULL) <> (user_id IS NULL)"


class UsageEvent(Base):
    """One thing that was used, of a partner or of a customer; rows are only ever added. Partitioned by month (UTC).

    `cost_units` is how many units it stands for; `unit_price_cents` is what the caller noted as their price, in minor
    units: contracts and plans have their own.
    """

    __tablename__ = "usage_events"
    __table_args__ = (
        CheckConstraint(_ONE_OWNER, name="one_owner"),
        CheckConstraint("cost_units >= 0", name="cost_units"),
        Index("ix_usage_events_partner", "api_key_prefix", "occurred_at"),
        Index("ix_usage_events_user", "user_id", "occurred_at", postgresql_where=text("user_id IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (occurred_at)"},
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(primary_key=True)
    idempotency_key: Mapped[str]
    api_key_prefix: Mapped[str | None]
    user_id: Mapped[int | None]
    event_type: Mapped[str]
    resource_id: Mapped[str | None]
    billable: Mapped[bool] = mapped_column(server_default=text("true"))
    cost_units: Mapped[Decimal] = mapped_column(Numeric(20, 6), server_default=text("1"))
    unit_price_cents: Mapped[int | None]
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    received_at: Mapped[datetime]
    source: Mapped[str]
    """`api`, or the name of the file that it was imported from."""


class UsageKey(Base):
    """An idempotency key that was used, over all months: the same key with other content is refused."""

    __tablename__ = "usage_keys"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """16 bytes of BLAKE2b over owner and key."""
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """16 bytes of BLAKE2b over what was sent under it."""


class UsageRollup(Base):
    """The sums of usage events by hour and by day (UTC), written with them: always equal to them."""

    __tablename__ = "usage_rollups"
    __table_args__ = (
        CheckConstraint("granularity IN ('hour','day')", name="granularity"),
        CheckConstraint(_ONE_OWNER, name="one_owner"),
        Index(
            "uq_usage_rollups",
            "api_key_prefix",
            "user_id",
            "granularity",
            "bucket_start",
            "event_type",
            "billable",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        Index("ix_usage_rollups_bucket_start", "granularity", "bucket_start"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    granularity: Mapped[str]
    bucket_start: Mapped[datetime]
    api_key_prefix: Mapped[str | None]
    user_id: Mapped[int | None]
    event_type: Mapped[str]
    billable: Mapped[bool]
    events: Mapped[int]
    cost_units: Mapped[Decimal] = mapped_column(Numeric(24, 6))


class ApiToken(Base):
    """A key with which a partner reports and reads usage. Only its SHA-256 is kept."""

    __tablename__ = "api_tokens"
    __table_args__ = (Index("ix_api_tokens_api_key_prefix", "api_key_prefix"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    api_key_prefix: Mapped[str]
    name: Mapped[str | None]
    sha256: Mapped[str] = mapped_column(unique=True)
    shown: Mapped[str]
    """Its first and last characters, by which people tell keys apart."""
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """`usage:write`, `usage:read`."""
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
