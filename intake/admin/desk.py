"""What every page and answer of the internal door needs, handed to it by the application."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from intake.admin.auth import Gate
from worker.ports import Clock
from worker.registry import ScheduleSpec

SHUT = "ADMIN_TOKEN is not set, so nobody may pass here: set it to a long random text and start again"


@dataclass(frozen=True, slots=True)
class Desk:
    """The books, the time, the keys, and the bell."""

    engine: AsyncEngine
    clock: Clock
    gate: Gate
    schedules: Iterable[ScheduleSpec]
    ring: Callable[[str], None]
    business: Clock | None = None
    """What dunning counts its days by; None: `clock`."""


def desk(request: Request) -> Desk:
    """The application's desk. Answers 503 as long as no admin token is configured."""
    found: Desk = request.app.state.desk
    if not found.gate.open:
        raise HTTPException(503, SHUT)
    return found


AtDesk = Annotated[Desk, Depends(desk)]
