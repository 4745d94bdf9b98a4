"""The internal API's answers about partners: the same fields that the commands print with --json."""

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from db.operators.filters import MOST_ROWS
from intake.admin.models import AuditRow, Reasoned
from jobs.partners.contracts import FIELDS, KEPT

Units = Annotated[str, Field(description="A decimal.")]


class PartnerListing(BaseModel):
    """A page of contracts, by prefix."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 50
    after: Annotated[str, Field(max_length=64)] = ""


class Partner(BaseModel):
    """A contract as it stands today, in its own time zone."""

    api_key_prefix: str
    company: str
    pricing_model: str
    currency: str
    price: Annotated[str, Field(description="In words.")]
    billing: Annotated[str, Field(description="Cycle, payment terms and tax, in words.")]
    status: str
    standing: Annotated[str, Field(description="How it stands today, in words.")]
    version: Annotated[int | None, Field(description="The version that holds today.")]
    versions: int
    timezone: str
    contract_start_date: date
    contract_end_date: date | None
    next_period: Annotated[str | None, Field(description="The period that is invoiced next, by its first month.")]
    next_invoice_on: date | None
    invoiced_until: datetime | None
    wrong: Annotated[list[str], Field(description="What makes no sense, and so cannot be invoiced.")]
    unused: Annotated[
        list[str], Field(description="Prices that the model never charges; invoices go out all the same.")
    ]
    used_units: Annotated[Units, Field(description="Billable units of this month so far.")]
    parked_periods: int


class PartnerPage(BaseModel):
    """Contracts by prefix; `next` is the `after` of the following page."""

    partners: list[Partner]
    next: str | None


class Version(BaseModel):
    """What is agreed from a day on."""

    version: int
    valid_from: date
    current: bool
    price: str
    billing: str
    wrong: list[str]
    unused: list[str]
    fields: Annotated[dict[str, Any], Field(description="What was agreed; what is not here has its default.")]
    created_at: datetime | None
    created_by: str | None


class Used(BaseModel):
    """What was used of one kind in this month so far."""

    event_type: str
    billable: bool
    events: int
    units: Units


class PartnerPeriod(BaseModel):
    """What a period came to."""

    id: int
    period: str
    period_from: date
    period_to: date
    period_start: datetime
    period_end: datetime
    timezone: str
    status: str
    reasons: list[Any] | None
    currency: str | None
    total_cents: Annotated[int | None, Field(description="Minor units of the currency beside it.")]
    invoice_id: int | None
    invoice_number: str | None
    invoice_status: str | None
    created_at: datetime


class Key(BaseModel):
    """A key of the partner; only its first and last characters are known."""

    id: int
    name: str | None
    shown: str
    scopes: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class PartnerStory(Partner):
    """One contract with its versions, usage, periods and keys."""

    used_month: str
    used: list[Used]
    terms: Annotated[list[Version], Field(description="Its versions, the last one first.")]
    periods: list[PartnerPeriod]
    keys: list[Key]
    audit: list[AuditRow]


class PartnerChanged(PartnerStory):
    """The contract as it is now or, after a dry run, as it would be."""

    changed: Annotated[dict[str, Any], Field(description="By field: the old value and the new one.")]
    dry_run: bool


class EndContract(Reasoned):
    """Let a contract end."""

    on: Annotated[str, Field(description="The last day that is billed, such as 2026-12-31.")]


def request_body(*needed: str, version: bool = False) -> dict[str, Any]:
    """How a body of fields is told of in OpenAPI: they are read, and refused, by the contract's own rules."""
    anything: dict[str, Any] = {}
    fields: dict[str, Any] = {name: anything for name in FIELDS if name not in KEPT}
    fields |= {
        "why": {"type": "string", "maxLength": 500, "description": "The reason, for the audit log."},
        "dry_run": {"type": "boolean", "default": False, "description": "Only say what would be."},
    }
    if version:
        fields["version"] = {"type": "integer", "description": "By default the one that holds today."}
    text = "Fields of a contract (docs/partners.md). Amounts are minor units, or texts such as '2.50 EUR'."
    schema = {"type": "object", "properties": fields, "required": list(needed), "additionalProperties": False}
    return {"requestBody": {"required": True, "description": text, "content": {"application/json": {"schema": schema}}}}
