"""The internal API's answers about letters: the same fields that the commands print with --json."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from intake.admin.models import Attempt, AuditRow, JobId, Limit, Reasoned


class LetterListing(BaseModel):
    """A page of letters; `template` and `to` take `*` and `?`."""

    model_config = ConfigDict(extra="forbid")

    status: str | None = None
    template: str | None = None
    to: str | None = None
    since: str | None = None
    until: str | None = None
    limit: Limit = 50
    after: JobId | None = None


class Letter(BaseModel):
    """A letter, and where it stands."""

    id: int
    key: str
    template: str
    recipient: str
    status: str
    reason: str | None
    attempts: int
    copies: Annotated[int, Field(description="How many there are at most.")]
    subject: str | None
    locale: str | None
    stripe_invoice_id: str | None
    job_id: int | None
    occurred_at: datetime
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    bounced_at: datetime | None


class LetterPage(BaseModel):
    """Letters, newest first; `next` is the `after` of the following page."""

    letters: list[Letter]
    next: int | None


class LetterStory(Letter):
    """One letter's whole story; `text` is as it would be written now."""

    message_id: str
    provider_id: str | None
    recipient_name: str | None
    timezone: str | None
    user_id: int | None
    context: dict[str, Any]
    history: list[Attempt]
    suppressed: Annotated[str | None, Field(description="Why no letter goes to this address.")]
    resent: list[Letter]
    audit: list[AuditRow]
    text: str


class LetterSent(BaseModel):
    """Which letter goes out; null after a dry run."""

    letter: int | None
    dry_run: bool


class SuppressedAddress(BaseModel):
    """An address that no letter goes to."""

    address: str
    reason: str
    source: str
    email_id: int | None
    created_at: datetime


class SuppressedPage(BaseModel):
    """The addresses, newest first."""

    addresses: list[SuppressedAddress]


class Lift(Reasoned):
    """Let letters go to an address again."""

    address: Annotated[str, Field(max_length=320)]


class Lifted(BaseModel):
    """Whether anything changed."""

    changed: bool
    dry_run: bool
