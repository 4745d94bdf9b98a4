"""What an exception means for the work: run again, when; or parked, why. Pure."""

import hashlib
import traceback
from datetime import datetime, timedelta
from types import TracebackType

from db.queue import Failure
from db.states import AttemptOutcome, DeadReason
from worker import backoff
from worker.errors import Refused, TryLater
from worker.telemetry import redact

UNKNOWN_TRIES = 6
"""A name that this worker does not know may be known to the next deploy: it waits for minutes before it is parked."""

UNKNOWN_BASE = timedelta(seconds=30)

TRACEBACK_LIMIT = 20_000
"""Characters of a traceback that are kept: its end, which tells most."""


class UnknownJob(Exception):  # noqa: N818 - a fact about this worker's code
    """No function of this name is known to this worker."""


def _frames(error: BaseException) -> list[str]:
    found: list[str] = []
    step: TracebackType | None = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        found.append(f"{code.co_filename.rsplit('/', 2)[-1]}:{code.co_name}")
        step = step.tb_next
    return found


def fingerprint(error: BaseException) -> str:
    """A short name for "the same error": its type and the functions it came through, without line numbers or values."""
    parts = [type(error).__qualname__, *_frames(error)[-6:]]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def describe(error: BaseException) -> str:
    """The error in one redacted line."""
    return redact(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)[:2000]


def _dead(error: BaseException, *, attempt: int, tries: int) -> DeadReason | None:
    if isinstance(error, Refused):
        return DeadReason.REFUSED
    if isinstance(error, UnknownJob):
        return DeadReason.UNKNOWN_JOB if attempt >= UNKNOWN_TRIES else None
    if attempt < tries:
        return None
    return DeadReason.TIMEOUT if isinstance(error, TimeoutError) else DeadReason.EXHAUSTED


def _outcome(error: BaseException) -> AttemptOutcome:
    match error:
        case TryLater():
            return AttemptOutcome.LATER
        case Refused():
            return AttemptOutcome.REFUSED
        case TimeoutError():
            return AttemptOutcome.TIMEOUT
        case _:
            return AttemptOutcome.FAILED


def classify(error: BaseException, *, attempt: int, tries: int, now: datetime, chance: float) -> Failure:
    """What follows from `error` in try number `attempt` (from 1) of `tries`; `chance` in [0, 1) spreads retries."""
    if isinstance(error, TryLater) and error.after is not None:
        wait = error.after
    else:
        base = UNKNOWN_BASE if isinstance(error, UnknownJob) else backoff.BASE
        wait = backoff.delay(attempt, chance, base=base)
    lines = traceback.format_exception(error)
    return Failure(
        outcome=_outcome(error),
        error=describe(error) if not isinstance(error, TryLater | Refused) else redact(error.reason)[:2000],
        fingerprint=fingerprint(error),
        traceback=redact("".join(lines))[-TRACEBACK_LIMIT:],
        next_at=now + wait,
        dead=_dead(error, attempt=attempt, tries=tries),
    )
