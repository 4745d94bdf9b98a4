"""The internal API's answers about dunning: the same fields that the commands print with --json."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from intake.admin.models import AuditRow, Limit, Reasoned

Cents = Annotated[int, Field(description="Minor units of the currency beside it.")]


class FiguresQuery(BaseModel):
    """Of which time the figures are."""

    model_config = ConfigDict(extra="forbid")

    since: str | None = None
    until: str | None = None


class DunningListing(BaseModel):
    """A page of cases: by default those that are not closed."""

    model_config = ConfigDict(extra="forbid")

    status: Annotated[str | None, Field(description="open, paused, closed or all.")] = None
    outcome: str | None = None
    customer: str | None = None
    since: str | None = None
    until: str | None = None
    limit: Limit = 50
    after: Annotated[int | None, Field(ge=0, lt=2**63)] = None


class DunningCase(BaseModel):
    """An invoice that was not paid in time."""

    id: int
    invoice: Annotated[str, Field(description="Its name in these routes: Stripe's id or, for our own, `own-17`.")]
    stripe_invoice_id: str | None
    invoice_id: int | None
    kind: Annotated[str | None, Field(description="partner, overage or manual: the invoice is our own.")]
    invoice_number: str | None
    api_key_prefix: str | None
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    name: str | None
    email: str | None
    dunning_status: str | None
    status: str
    outcome: str | None
    reason: str | None
    opened_by: str
    currency: str
    amount_cents: Cents
    invoice_status: str | None
    amount_remaining_cents: Cents | None
    decline_code: str | None
    attempt_count: int | None
    next_payment_attempt: datetime | None
    policy: str
    steps_total: int
    done_step: Annotated[int, Field(description="The position of the newest step that is done; -1: none.")]
    next_step_at: datetime | None
    grace_days: int
    paused_by: str | None
    paused_until: datetime | None
    acting: str | None
    final_action: str | None
    failed_at: datetime
    opened_at: datetime
    closed_at: datetime | None
    recovered_cents: Cents | None
    recovered_after_step: int | None
    timezone: str | None


class DunningPage(BaseModel):
    """Cases, newest first; `next` is the `after` of the following page."""

    cases: list[DunningCase]
    next: int | None


class TakenStep(BaseModel):
    """What was done at a step."""

    position: int
    outcome: str
    letter: str | None
    action: str | None
    due_at: datetime
    taken_at: datetime
    read_from: str | None
    detail: str | None
    email_id: int | None
    email_status: str | None


class CaseLetter(BaseModel):
    """A letter about the invoice."""

    id: int
    key: str
    template: str
    recipient: str
    status: str
    reason: str | None
    subject: str | None
    created_at: datetime
    sent_at: datetime | None


class DunningStory(DunningCase):
    """One case's whole story."""

    policy_steps: list[dict[str, Any]]
    policy_hours: dict[str, Any]
    taken: list[TakenStep]
    letters: list[CaseLetter]
    audit: list[AuditRow]


class DunningChanged(DunningStory):
    """The case as it is now or, after a dry run, as it would be."""

    dry_run: bool


class PlannedStep(BaseModel):
    """A step to come."""

    position: int
    at: datetime
    letter: str
    action: str


class DunningPreview(BaseModel):
    """The coming 30 days of an invoice; `why` tells why nothing happens, or what must happen first."""

    invoice: str
    policy: str
    steps: list[PlannedStep]
    why: str | None
    given_up_at: datetime | None


class PauseCase(Reasoned):
    """Pause; without `until`, until somebody resumes it."""

    until: Annotated[str | None, Field(description="In so long (2d), or ISO 8601; at most a year ahead.")] = None


class OneStep(Reasoned):
    """Do something with the next step: it is named, so that what was meant once is done once."""

    position: Annotated[int, Field(ge=0, le=365, description="The step's; the next one is done_step + 1.")]


class ExtendCase(Reasoned):
    """Give more time."""

    days: Annotated[int, Field(ge=1, le=365)]


class CloseCase(Reasoned):
    """Let the matter be."""

    lost: Annotated[bool, Field(description="As lost, instead of as exempt.")] = False


Sums = Annotated[dict[str, int], Field(description="Minor units by currency.")]
BasisPoints = Annotated[int | None, Field(description="Of 10,000; null while nothing is decided.")]


class CurrencyFigures(BaseModel):
    """What dunning brought in of one currency."""

    currency: str
    decided: int
    recovered: int
    rate_bp: BasisPoints
    open_cents: Cents
    decided_cents: Cents
    recovered_cents: Cents
    amount_rate_bp: BasisPoints
    median_seconds: int | None


class StepFigures(BaseModel):
    """How many paid after a step; without a position: before any."""

    position: int | None
    letter: str | None
    taken: int
    recovered: int
    rate_bp: BasisPoints
    recovered_cents: Sums
    median_seconds: int | None


class DeclineFigures(BaseModel):
    """How those fared whose payment was declined for one reason."""

    decline_code: str | None
    cases: int
    decided: int
    recovered: int
    rate_bp: BasisPoints
    recovered_cents: Sums
    median_seconds: int | None


class DunningFigures(BaseModel):
    """What dunning brings in."""

    since: datetime | None
    until: datetime | None
    cases: int
    outcomes: dict[str, int]
    decided: int
    recovered: int
    rate_bp: BasisPoints
    median_seconds: int | None
    currencies: list[CurrencyFigures]
    steps: list[StepFigures]
    decline_codes: list[DeclineFigures]
