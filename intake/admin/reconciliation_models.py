"""The internal API's answers about comparisons with Stripe: the same fields that the commands print with --json."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from intake.admin.models import AuditRow, JobId, Limit


class RunListing(BaseModel):
    """A page of comparisons, with the differences that are open."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 20
    after: JobId | None = None


class Run(BaseModel):
    """One comparison; figures are null as long as it has not come to its end."""

    id: int
    stripe_account: str
    livemode: bool | None
    asked_by: str
    since: datetime
    until: datetime
    repairs: list[str]
    dry_run: bool
    advances: Annotated[bool, Field(description="Whether the next one begins at `until`.")]
    status: str
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    report: dict[str, Any] | None
    found: int | None
    mended: int | None
    left: int | None
    waiting: int | None
    skipped: int | None
    requests: int | None
    milliseconds: int | None


class Difference(BaseModel):
    """Something on which the two sides do not agree; amounts are minor units of `currency`."""

    id: int
    stripe_account: str
    livemode: bool
    class_: Annotated[str, Field(alias="class")]
    kind: str
    object_id: str
    field: str
    here: str | None
    there: str | None
    currency: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    first_run_id: int
    last_run_id: int
    settled_at: datetime | None
    settled_how: str | None
    settled_run_id: int | None


class RunPage(BaseModel):
    """Comparisons, newest first; `next` is the `after` of the following page. The newest open differences."""

    runs: list[Run]
    next: int | None
    open: Annotated[dict[str, int], Field(description="How many differences of each class are open.")]
    differences: list[Difference]


class RunStory(Run):
    """One comparison with its differences."""

    differences: list[Difference]


class Dismissed(BaseModel):
    """A difference that was put away, or would be."""

    difference: Difference
    audit: list[AuditRow]
    dry_run: bool
