"""The internal API's answers about partners' keys: the fields that the commands print with --json."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from intake.admin.models import Why
from intake.admin.partners_models import Key


class TokenListing(BaseModel):
    """Which keys: by default those that work."""

    model_config = ConfigDict(extra="forbid")

    partner: Annotated[str | None, Field(max_length=64, description="A partner's key prefix.")] = None
    all: Annotated[bool, Field(description="Revoked and expired ones too.")] = False


class Token(Key):
    """A key of a partner."""

    api_key_prefix: str


class TokenPage(BaseModel):
    """Keys, by partner and age."""

    tokens: list[Token]


class CreateToken(Why):
    """A key that is to be made."""

    partner: Annotated[str, Field(description="The partner's key prefix, as in the contract.")]
    name: Annotated[str | None, Field(max_length=200, description="What it is for.")] = None
    scopes: Annotated[
        tuple[str, ...] | None, Field(max_length=10, description="usage:write, usage:read; left out or null: both.")
    ] = None
    expires: Annotated[str | None, Field(max_length=40, description="90d, or a date, UTC; null: never.")] = None


class NewToken(BaseModel):
    """A key that was made; after a dry run it has neither id nor key."""

    id: int | None
    partner: str
    scopes: list[str]
    expires_at: datetime | None
    key: Annotated[str | None, Field(description="The key itself: nobody can tell it again.")]
    has_contract: Annotated[bool, Field(description="Without one, usage is stored, and not invoiced before there is.")]
    dry_run: bool


class Revoked(BaseModel):
    """A key that opens nothing any more."""

    id: int
    shown: str
    dry_run: bool
