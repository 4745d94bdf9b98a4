"""The internal API's answers about partners' invoices: the fields that the commands print with --json."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from intake.admin.models import Reasoned

Cents = Annotated[int, Field(description="Minor units of the currency beside it.")]
Month = Annotated[str, Field(max_length=20, description="A month of the period: 2026-10.")]


class PreviewQuery(BaseModel):
    """Which period is previewed."""

    model_config = ConfigDict(extra="forbid")

    period: Annotated[
        str | None, Field(max_length=20, description="A month of the period: 2026-10; else the running one.")
    ] = None


class ParkedQuery(BaseModel):
    """Whose periods."""

    model_config = ConfigDict(extra="forbid")

    partner: Annotated[str | None, Field(max_length=64, description="Only of this prefix.")] = None


class OnPeriod(Reasoned):
    """What is to be done with a period."""

    period: Month


class PartnerConcern(BaseModel):
    """Something that is odd about an invoice: why, and what to do."""

    guard: str
    why: str
    stops: Annotated[bool, Field(description="Whether it waits for somebody because of this.")]
    final: Annotated[bool, Field(description="Whether something must be mended before it can be released.")]


class PartnerPreview(BaseModel):
    """The invoice of a period as it would be now, or as it was issued."""

    period: str
    start: datetime
    end: datetime
    timezone: str
    running: Annotated[bool, Field(description="Whether the period has not ended: then it is up to now.")]
    status: Annotated[str | None, Field(description="pending, parked, issued or empty; null: not looked at yet.")]
    invoice_id: int | None
    document: Annotated[dict[str, Any] | None, Field(description="What it says; null: nothing is to be charged.")]
    arithmetic: Annotated[list[str], Field(description="How each line comes about.")]
    late: Annotated[dict[str, list[str]], Field(description="By closed period: what usage that came late changed.")]
    concerns: list[PartnerConcern]
    would_be_parked: bool
    input: Annotated[dict[str, Any] | None, Field(description="All that the amounts follow from.")]


class PeriodDone(BaseModel):
    """What became of a period."""

    period: str
    status: Annotated[str, Field(description="issued, parked or empty.")]
    number: Annotated[str | None, Field(description="The invoice's; a dry run has none.")]
    currency: str | None
    total: Cents
    parked_total: Annotated[int | None, Field(description="What it came to when it was parked.")]
    differs: bool
    concerns: list[PartnerConcern]
    document: Annotated[dict[str, Any] | None, Field(description="After a dry run: what it would say.")]
    dry_run: bool


class PeriodVoid(BaseModel):
    """A period that was dropped; `invoice` does it anew."""

    partner: str
    period: str
    was: str
    dry_run: bool


class Parked(BaseModel):
    """A period that waits for somebody."""

    id: int
    api_key_prefix: str
    name: Annotated[str, Field(description="The first month of the period.")]
    period_start: datetime
    period_end: datetime
    timezone: str
    status: Annotated[str, Field(description="parked, pending (its job will not run by itself), or late_after_end.")]
    reasons: list[PartnerConcern] | None
    currency: str | None
    total_cents: Annotated[int | None, Field(description="Minor units; below zero for what was charged too much.")]
    job_id: int | None
    job_status: str | None
    last_error: str | None
    what_to_do: str | None
    updated_at: datetime


class ParkedPage(BaseModel):
    """Periods that wait, oldest first."""

    periods: list[Parked]
