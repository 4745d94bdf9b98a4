"""Who reports or reads usage shows a key: a partner's own, within the limit of its contract, or the admin token."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tokens
from db.tokens import NOTED_EVERY, Access, TokenScope
from worker.ports import Clock
from worker.rate_limit import RateLimit, Verdict

log = structlog.get_logger()

STALE = 5.0
"""Seconds that a key is known without asking again: so long a revoked one may still be let in."""

FRESH = 2.5
"""Seconds after which a key that is in use is asked for again, while nobody waits for it."""

DEADLINE = 2.0
"""Seconds that asking the database may take."""

MOST_KEYS = 10_000
"""So many that were made are remembered at a time, and as many that nobody made: a stranger displaces no partner."""

AT_ONCE = 500
"""Keys that are asked for in one query."""

_KEY = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_-]{0,63}_[A-Za-z0-9_-]{43}")

Headers = tuple[tuple[str, str], ...]


class RefusalError(Exception):
    """The request gets `status` and `told`; `outcome` is for the metric."""

    def __init__(self, status: int, outcome: str, told: str, headers: Headers = ()) -> None:
        super().__init__(told)
        self.status = status
        self.outcome = outcome
        self.told = told
        self.headers = headers


class Caller(NamedTuple):
    """Who asks: the partner of `prefix`, or with None the house itself. `headers` belong to whatever is answered."""

    prefix: str | None
    headers: Headers = ()


class _Known(NamedTuple):
    access: Access | None
    at: float


class Entry:
    """Checks keys and limits; the keys in use are known without asking, and are asked for again all the time."""

    def __init__(self, engine: AsyncEngine, clock: Clock, limits: RateLimit, *, admin_sha256: bytes | None) -> None:
        """`clock` is the business's, which contracts and expiries go by; `admin_sha256` is the admin token's."""
        self._engine = engine
        self._clock = clock
        self._limits = limits
        self._admin = admin_sha256
        self._known: dict[str, _Known] = {}
        self._strange: dict[str, _Known] = {}
        self._asked: dict[str, asyncio.Future[_Known | None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._noted: dict[int, datetime] = {}
        self._to_note: set[int] = set()

    async def admit(self, headers: Iterable[tuple[bytes, bytes]], scope: TokenScope, wall: datetime) -> Caller:
        """Who sent a request with these headers (names in small letters), if it may do what `scope` says.

        A partner's request counts for its limit; `wall` is the machine's time, which minutes are measured by.
        Raises RefusalError: 401, 403, 429, or 503 when the database cannot be asked.
        """
        given = _bearer(headers)
        if self._admin is not None and hmac.compare_digest(hashlib.sha256(given).digest(), self._admin):
            return Caller(None)
        if not _KEY.fullmatch(given):
            raise _unauthorized("unknown", "this key is not known")
        access = await self._access(tokens.digest(given.decode("ascii")))
        now = self._clock.now()
        if access is None:
            raise _unauthorized("unknown", "this key is not known")
        if (why := access.ended(now)) is not None:
            raise _unauthorized(why, f"this key is {why}")
        verdict = None
        if access.limit is not None:
            verdict = await self._limits.take(access.prefix, access.limit, wall)
        caller = Caller(access.prefix, limit_headers(verdict))
        if verdict is not None and not verdict.allowed:
            retry = ("retry-after", str(verdict.reset))
            told = f"more than {verdict.limit} requests in a minute: try again in {verdict.reset} s"
            raise RefusalError(HTTPStatus.TOO_MANY_REQUESTS, "limited", told, (*caller.headers, retry))
        if scope not in access.scopes:
            challenge = ("www-authenticate", f'Bearer error="insufficient_scope", scope="{scope.value}"')
            told = f"this key has not the scope {scope.value}"
            raise RefusalError(HTTPStatus.FORBIDDEN, "scope", told, (*caller.headers, challenge))
        self._note(access.id, now)
        return caller

    async def _access(self, digest: str) -> Access | None:
        """The key with this SHA-256, as it was a moment ago."""
        now = asyncio.get_running_loop().time()
        known = self._known.get(digest) or self._strange.get(digest)
        if known is None or now - known.at >= STALE:
            known = await asyncio.shield(self._ask(digest))
            if known is None:
                told = "keys cannot be checked just now: try again later"
                raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", told, (("retry-after", "5"),))
        elif now - known.at >= FRESH:
            self._ask(digest)
        return known.access

    def _ask(self, digest: str) -> asyncio.Future[_Known | None]:
        """What the database knows of a key; None when it is away. Keys that are asked for together share a query."""
        answer = self._asked.get(digest)
        if answer is None:
            answer = self._asked[digest] = asyncio.get_running_loop().create_future()
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._look_up())
        return answer

    async def _look_up(self) -> None:
        while self._asked or self._to_note:
            asked = list(self._asked)[:AT_ONCE]
            noted, self._to_note = self._to_note, set()
            found: dict[str, Access] | None = None
            at = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(DEADLINE), self._engine.begin() as conn:
                    found = await tokens.find(conn, asked, self._clock.now()) if asked else {}
                    if noted:
                        await tokens.touch(conn, sorted(noted), self._clock.now())
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                log.warning("keys cannot be checked", error=type(error).__name__)
                for id_ in noted:
                    self._noted.pop(id_, None)  # its next use is noted again
            for digest in asked:
                known = None if found is None else _Known(found.get(digest), at)
                if known is not None:
                    self._keep(digest, known)
                self._asked.pop(digest).set_result(known)

    def _keep(self, digest: str, known: _Known) -> None:
        """Remember what was found; where it is too much, what was asked for longest ago is forgotten."""
        self._known.pop(digest, None)
        self._strange.pop(digest, None)
        kept = self._strange if known.access is None else self._known
        kept[digest] = known
        if len(kept) > MOST_KEYS:
            del kept[next(iter(kept))]

    def _note(self, id_: int, now: datetime) -> None:
        """Remember that a key was used; it is written down with the next query, and not waited for."""
        last = self._noted.get(id_)
        if last is None or now - last >= NOTED_EVERY:
            self._noted[id_] = now
            self._to_note.add(id_)
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._look_up())

    async def close(self) -> None:
        """Let what is under way end; it is bounded."""
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The token of `Authorization: Bearer` (RFC 6750, section 2.1)."""
    header = next((value for name, value in headers if name == b"authorization"), b"")
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        told = "show a key: Authorization: Bearer …"
        raise RefusalError(HTTPStatus.UNAUTHORIZED, "missing", told, (("www-authenticate", "Bearer"),))
    return token.strip()


def _unauthorized(outcome: str, told: str) -> RefusalError:
    challenge = ("www-authenticate", 'Bearer error="invalid_token"')
    return RefusalError(HTTPStatus.UNAUTHORIZED, outcome, told, (challenge,))


def limit_headers(verdict: Verdict | None) -> Headers:
    """How the limit stands, in the fields of draft-ietf-httpapi-ratelimit-headers-06; none where nothing is counted."""
    if verdict is None:
        return ()
    return (
        ("ratelimit-limit", str(verdict.limit)),
        ("ratelimit-policy", f"{verdict.limit};w=60"),
        ("ratelimit-remaining", str(verdict.remaining)),
        ("ratelimit-reset", str(verdict.reset)),
    )


def refusal_json(refusal: RefusalError) -> dict[str, Any]:
    """The body of a refusal, as FastAPI writes its own."""
    return {"detail": refusal.told}
