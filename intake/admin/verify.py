"""The internal API of the books' own invariants: how each stood when it was last looked at."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict

from intake.admin.api import bearer
from intake.admin.desk import AtDesk
from intake.verification import standing

api = APIRouter(
    prefix="/admin",
    tags=["verify"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)


class Nothing(BaseModel):
    """It takes no parameter: all invariants are told."""

    model_config = ConfigDict(extra="forbid")


class InvariantState(BaseModel):
    """One invariant; `holds` is null as long as nobody has looked. What changed at `since` or later was looked at."""

    name: str
    must_hold: str
    holds: bool | None
    checked_at: datetime | None
    broken: int = 0
    rows: list[dict[str, Any]] = []
    """The first of the rows that break it; amounts are minor units."""
    what_to_do: str | None = None
    since: datetime | None = None
    seconds: float | None = None
    error: str | None = None


class VerificationAnswer(BaseModel):
    """`ok` only if each invariant was looked at to the end, and holds.

    It is null as long as some were never looked at, and none of the others is broken.
    """

    ok: bool | None
    invariants: list[InvariantState]


@api.get("/verify")
async def verification(at: AtDesk, _: Annotated[Nothing, Query()]) -> VerificationAnswer:
    """How the books' own invariants stood when they were last looked at: hourly, and each night as a whole."""
    async with at.engine.connect() as conn:
        return VerificationAnswer.model_validate(await standing(conn))
