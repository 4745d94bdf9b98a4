"""Letters: each exists once, whatever happens to its sending; and addresses that letters no longer go to."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class Email(Base):
    """One logical letter. `key` tells which (`dunning/in_…/2`); staging it twice is staging it once."""

    __tablename__ = "emails"
    __table_args__ = (
        CheckConstraint("status IN ('queued','sending','sent','bounced','suppressed','dead')", name="status"),
        Index("ix_emails_created_at", "created_at"),
        Index("ix_emails_user_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
        Index("ix_emails_recipient", text("lower(recipient)")),
        Index("ix_emails_status", "status", postgresql_where=text("status NOT IN ('sent')")),
        Index(
            "ix_emails_stripe_invoice_id", "stripe_invoice_id", postgresql_where=text("stripe_invoice_id IS NOT NULL")
        ),
        Index("ix_emails_provider_id", "provider_id", postgresql_where=text("provider_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    message_id: Mapped[str] = mapped_column(unique=True)
    """The Message-ID header without its brackets, made from `key`: every copy of the letter has the same."""
    template: Mapped[str]
    recipient: Mapped[str]
    recipient_name: Mapped[str | None]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    stripe_invoice_id: Mapped[str | None]
    locale: Mapped[str | None]
    timezone: Mapped[str | None]
    context: Mapped[dict[str, Any]]
    document_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    """The documents whose PDFs are attached, in this order."""
    status: Mapped[str] = mapped_column(server_default="queued")
    reason: Mapped[str | None]
    """Why it was suppressed, bounced or parked."""
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    copies: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """At most so many copies were handed over: above one only after a crash, or a silence, before it was recorded."""
    subject: Mapped[str | None]
    provider_id: Mapped[str | None]
    job_id: Mapped[int | None]
    occurred_at: Mapped[datetime]
    """When what it tells happened, by Stripe's clock: old news are not sent."""
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    """When the recipient's own server took it, where the carrier tells (SendGrid)."""
    bounced_at: Mapped[datetime | None]


class SuppressedAddress(Base):
    """An address that refused a letter for good. No letter goes to it until an operator lifts this."""

    __tablename__ = "suppressed_addresses"

    address: Mapped[str] = mapped_column(primary_key=True)
    """In lower case."""
    reason: Mapped[str]
    source: Mapped[str]
    """Who said so: the `carrier` at the hand-over, `sendgrid` later by an event, or an `operator`."""
    email_id: Mapped[int | None] = mapped_column(ForeignKey("emails.id"))
    created_at: Mapped[datetime]
