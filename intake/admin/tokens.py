"""The internal API of partners' keys: made and shown once, listed, and ended."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.security import HTTPBearer

from db import tokens
from db.operators.actions import Actor
from db.operators.filters import plain
from intake.admin import tokens_models as models
from intake.admin.api import REFUSED, ByOperator, bearer
from intake.admin.desk import AtDesk
from intake.admin.models import JobId
from intake.overview import jsonable
from intake.tokens import make

api = APIRouter(
    prefix="/admin/tokens",
    tags=["tokens"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)
Reason = Annotated[
    str, Query(max_length=500, pattern=r"\S", description="The reason, for the audit log.", examples=["it leaked"])
]


@api.get("")
async def list_tokens(at: AtDesk, query: Annotated[models.TokenListing, Query()]) -> models.TokenPage:
    """Keys by partner and age; of each only its first and last characters are known."""
    async with at.engine.connect() as conn:
        found = await tokens.list_tokens(conn, at.clock.now(), prefix=plain("partner", query.partner), ended=query.all)
    shown: list[Any] = jsonable(found)
    return models.TokenPage(tokens=[models.Token.model_validate(one) for one in shown])


@api.post("")
async def create_token(at: AtDesk, who: ByOperator, asked: models.CreateToken, answer: Response) -> models.NewToken:
    """Make a key. It is told this once: only its SHA-256 is kept."""
    async with at.engine.connect() as conn:
        made = await make(
            conn,
            asked.partner,
            Actor(who, plain("why", asked.why)),
            now=at.clock.now(),
            name=asked.name,
            scopes=asked.scopes,
            expires=asked.expires,
            dry_run=asked.dry_run,
        )
    answer.headers["cache-control"] = "no-store"
    return models.NewToken.model_validate({**jsonable(made), "dry_run": asked.dry_run})


@api.delete("/{token_id}", responses=REFUSED)
async def revoke_token(
    at: AtDesk,
    who: ByOperator,
    token_id: JobId,
    why: Reason,
    *,
    dry_run: Annotated[bool, Query(description="Only say what would be.")] = False,
) -> models.Revoked:
    """End a key for good: the doors stop letting it in within 5 seconds."""
    async with at.engine.connect() as conn:
        shown = await tokens.revoke(conn, token_id, Actor(who, plain("why", why)), now=at.clock.now())
        await (conn.rollback() if dry_run else conn.commit())
    return models.Revoked(id=token_id, shown=shown, dry_run=dry_run)
