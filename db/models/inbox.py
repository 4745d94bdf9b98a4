"""What came in and what is still to be done: the webhook inbox, and the narrow queue of unfinished work."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Identity, Index, LargeBinary, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class WebhookEvent(Base):
    """One event as Stripe signed it, or as its Events API told it (`source`).

    `status` is the event's state, `effects` tells what it changed and staged.
    """

    __tablename__ = "webhook_events"
    __table_args__ = (
        CheckConstraint("status IN ('received','processed','ignored','retrying','dead')", name="status"),
        CheckConstraint("source IN ('webhook','events_api')", name="source"),
        Index("ix_webhook_events_received_at", "received_at"),
        Index("ix_webhook_events_customer_id", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
        # Room for the one update that finishes an event, so that it stays on its page (a HOT update).
        {"postgresql_with": {"fillfactor": "70", "toast_tuple_target": "128"}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    api_version: Mapped[str | None]
    livemode: Mapped[bool]
    account: Mapped[str | None]
    object_id: Mapped[str | None]
    customer_id: Mapped[str | None]
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    received_at: Mapped[datetime]
    processed_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(server_default="received")
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    last_error: Mapped[str | None]
    effects: Mapped[dict[str, Any] | None]
    source: Mapped[str] = mapped_column(server_default="webhook")


class QueueRow(Base):
    """One piece of unfinished work: an event or a job. A row is deleted when its work is done; dead work stays.

    Ready: no lease, not dead, `due_at` reached. Running: `lease_until` in the future. Retrying: `attempts` > 0.
    No foreign keys: both parents are written in the same transaction, and the check would cost the door 10 µs an event.
    `attempts` counts failures, `lost` counts leases that ran out (a worker died); they are never added up.
    """

    __tablename__ = "queue"
    __table_args__ = (
        CheckConstraint("(event_id IS NULL) <> (job_id IS NULL)", name="one_ref"),
        CheckConstraint("(lease_token IS NULL) = (lease_until IS NULL)", name="lease"),
        Index(
            "ix_queue_due",
            "queue",
            "priority",
            "due_at",
            "id",
            postgresql_where=text("lease_token IS NULL AND dead_reason IS NULL"),
        ),
        Index("ix_queue_leased", "lease_until", postgresql_where=text("lease_token IS NOT NULL")),
        Index("ix_queue_dead", "queue", "name", postgresql_where=text("dead_reason IS NOT NULL")),
        Index("uq_queue_event_id", "event_id", unique=True, postgresql_where=text("event_id IS NOT NULL")),
        Index("uq_queue_job_id", "job_id", unique=True, postgresql_where=text("job_id IS NOT NULL")),
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": "0.01",
                "autovacuum_vacuum_threshold": "1000",
                "autovacuum_vacuum_cost_delay": "0",
            }
        },
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    queue: Mapped[str]
    name: Mapped[str]
    event_id: Mapped[str | None]
    job_id: Mapped[int | None]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lost: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    leased_by: Mapped[str | None]
    lease_token: Mapped[int | None]
    lease_until: Mapped[datetime | None]
    dead_reason: Mapped[str | None]
    dead_at: Mapped[datetime | None]
