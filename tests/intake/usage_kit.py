"""What the tests of the usage door share: keys, events, and a client that shows them."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tokens
from db.models.partners import ApiPartnerContract
from db.operators.actions import Actor
from db.tokens import TokenScope
from tests.intake.kit import Client, Response
from worker.settings import Settings

ADMIN = "token_of_the_house"

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""The time of the fixture `clock`."""


def event(key: str = "k1", **more: Any) -> dict[str, Any]:
    """A partner's event, as it is reported with its own key."""
    return {"idempotency_key": key, "event_type": "deed.search", **more}


async def report(client: Client, key: str | None, body: Any, **headers: bytes) -> Response:
    """Post `body` (JSON, or bytes as they are)."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    shown: dict[str, bytes] = {} if key is None else {"authorization": f"Bearer {key}".encode()}
    return await client.request("POST", "/usage/events", raw, shown | headers)


async def make_key(
    engine: AsyncEngine,
    prefix: str = "acme",
    *scopes: TokenScope,
    now: datetime = NOW,
    expires_at: datetime | None = None,
) -> tuple[int, str]:
    """A key in the database: its id, and itself."""
    async with engine.begin() as conn:
        wanted = scopes or tuple(TokenScope)
        return await tokens.create(conn, prefix, wanted, Actor("test"), now=now, expires_at=expires_at)


async def sign_contract(
    engine: AsyncEngine,
    prefix: str,
    limit: int | None,
    *,
    valid_from: date = date(2026, 1, 1),
    **terms: Any,
) -> None:
    """A version of a contract with this limit a minute."""
    values = {
        "company": "Acme",
        "pricing_model": "flat",
        "contract_start_date": min(valid_from, date(2026, 1, 1)),
        "rate_limit_per_minute": limit,
        **terms,
    }
    async with engine.begin() as conn:
        await conn.execute(insert(ApiPartnerContract).values(api_key_prefix=prefix, valid_from=valid_from, **values))


def with_token(settings: Settings, **more: Any) -> Settings:
    """The same door, which also knows the house's token."""
    return settings.model_copy(update={"admin_token": SecretStr(ADMIN), **more})


def details(answer: Response) -> list[tuple[int | None, str | None, str | None]]:
    """Row, field and key of what a 422 tells."""
    told: list[Mapping[str, Any]] = answer.json["detail"]
    return [(one["index"], one["field"], one["idempotency_key"]) for one in told]


def ago(**by: float) -> str:
    """An instant before NOW, as it is reported."""
    return (NOW - timedelta(**by)).isoformat()
