"""Before a person searches: what is configured, whether it answers, and what would mend it."""

import asyncio
import ctypes
import ctypes.util
import json
import os
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import typer
from asyncpg.exceptions import PostgresError
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from db.migrate import head, revision
from intake.commands.common import Json
from worker.adapters.mail import mailer
from worker.addresses import database_url, redis_url
from worker.clock import SystemClock
from worker.doorbell import connect, findings
from worker.errors import Refused, TryLater
from worker.settings import ConfigurationError, Settings, StripeMode, load_settings
from worker.telemetry import redact

OLDEST_POSTGRES = 140000
"""`server_version_num` of PostgreSQL 14, the oldest that still gets fixes: https://www.postgresql.org/support/versioning/."""

SKEW_LIMIT = timedelta(seconds=5)
"""Of the 300 s that a signature is valid; leases are on the database's clock and do not mind."""

LITTLE_SPACE, TOO_LITTLE_SPACE = 5_000_000_000, 1_000_000_000
"""Bytes."""

PATIENCE = 5.0
"""Seconds for each answer from outside."""

PDF_LIBRARIES = {
    "libpango-1.0.so.0": "pango-1.0",
    "libpangoft2-1.0.so.0": "pangoft2-1.0",
    "libharfbuzz-subset.so.0": "harfbuzz-subset",
}
"""What `deploy/system_libraries.py` installs."""


class State(StrEnum):
    """How a check went; only FAILED makes the command exit 1."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `fix` says what to do about it."""

    name: str
    state: State
    found: str
    fix: str = ""


def _ok(name: str, found: str) -> Check:
    return Check(name, State.OK, found)


def _failed(name: str, found: str, fix: str) -> Check:
    return Check(name, State.FAILED, found, fix)


def _warning(name: str, found: str, fix: str) -> Check:
    return Check(name, State.WARNING, found, fix)


def _why(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return redact(str(cause).partition("\n")[0]) or type(cause).__name__


async def _database(settings: Settings) -> AsyncGenerator[Check]:
    if settings.database_url is None and not (settings.billing_home / "postgres" / "postmaster.pid").exists():
        home = settings.billing_home.resolve()
        yield _failed("database", f"none runs in {home}", "start `billing up`, or set DATABASE_URL")
        return
    engine = create_engine(database_url(settings), pool_size=1, application_name="billing-doctor")
    try:
        async with asyncio.timeout(PATIENCE):
            for check in await _database_answers(engine):
                yield check
    except (OSError, TimeoutError, PostgresError, DBAPIError) as error:
        yield _failed("database", _why(error), "correct DATABASE_URL, or start the server")
    finally:
        await engine.dispose()


async def _database_answers(engine: AsyncEngine) -> list[Check]:
    async with engine.connect() as conn:
        before = SystemClock().now()
        number, version, theirs = (
            await conn.execute(
                text(
                    "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
                    "clock_timestamp()"
                )
            )
        ).one()
        skew = theirs - (before + (SystemClock().now() - before) / 2)
    known, wanted = await revision(engine), head()
    return [
        _ok("database", f"PostgreSQL {version}")
        if number >= OLDEST_POSTGRES
        else _failed("database", f"PostgreSQL {version}", "use PostgreSQL 14 or newer"),
        _ok("schema", f"revision {known}")
        if known == wanted
        else _failed("schema", f"revision {known or 'none'}, and this code needs {wanted}", "run `billing migrate`"),
        _ok("clock", f"{abs(skew).total_seconds():.3f} s from the database's")
        if abs(skew) <= SKEW_LIMIT
        else _failed("clock", f"{skew.total_seconds():+.1f} s from the database's", "synchronise both clocks (NTP)"),
    ]


async def _redis(settings: Settings) -> AsyncGenerator[Check]:
    embedded = settings.redis_url is None
    client = connect(redis_url(settings), patient=False)
    try:
        async with asyncio.timeout(PATIENCE):
            wrong = await findings(client)
            for what in wrong:
                found, _, fix = what.partition(": ")
                yield _failed("redis", found, fix)
            if not wrong:
                yield _ok("redis", "answers; noeviction, kept on disk, no cluster")
    except (OSError, TimeoutError, RedisError) as error:
        # Webhooks are taken and work is done without it, only later: a sweep takes the place of the ring.
        fix = "start `billing up`, or set REDIS_URL" if embedded else "correct REDIS_URL, or start the server"
        yield _failed("redis", _why(error), fix)
    finally:
        await client.aclose()


def _stripe(settings: Settings) -> Iterator[Check]:
    kept = settings.billing_home / "secrets" / "stripe_webhook_secret"
    if settings.webhook_secrets:
        count = len(settings.webhook_secrets)
        odd = [secret for secret in settings.webhook_secrets if not secret.startswith(b"whsec_")]
        yield (
            _warning("webhook secret", "one does not begin with whsec_", "copy it from the endpoint's page at Stripe")
            if odd
            else _ok("webhook secret", f"{count} set" if count > 1 else "set")
        )
    elif kept.exists():
        yield _ok("webhook secret", f"made by `billing up`, in {kept}")
    else:
        yield _failed(
            "webhook secret", "none: every webhook is answered 503", "set STRIPE_WEBHOOK_SECRET, or run `billing up`"
        )
    key = settings.stripe_secret_key.get_secret_value() if settings.stripe_secret_key else ""
    mode = next((mode for mode in (StripeMode.LIVE, StripeMode.TEST) if f"_{mode}_" in key[:8]), None)
    if not key:
        yield _warning("stripe key", "none: jobs that need Stripe's API park", "set STRIPE_SECRET_KEY for the workers")
    elif mode is None or not key.startswith(("sk_", "rk_")):
        yield _failed("stripe key", "begins with neither sk_ nor rk_", "set STRIPE_SECRET_KEY to a secret key")
    elif settings.stripe_mode not in {mode, StripeMode.ANY}:
        yield _failed(
            "stripe key",
            f"a {mode} key, while STRIPE_MODE is {settings.stripe_mode}",
            "use the key of that mode, or change STRIPE_MODE",
        )
    else:
        yield _ok("stripe key", f"a {mode} key; STRIPE_MODE is {settings.stripe_mode}")


async def _mail(settings: Settings) -> AsyncGenerator[Check]:
    """The carrier is reached and signed in to; no letter is sent."""
    carrier = mailer(settings.mail_url, settings.billing_home.expanduser())
    scheme = urlsplit(settings.mail_url or "maildir:").scheme
    try:
        async with asyncio.timeout(PATIENCE):
            found = await carrier.check()
        yield (
            _warning("mail", found, "set MAIL_URL to the carrier of your letters")
            if scheme == "null"
            else _ok("mail", found)
        )
    except (Refused, TryLater) as error:
        yield _failed("mail", redact(error.reason), "correct MAIL_URL, or mend the mail server")
    except TimeoutError:
        yield _failed("mail", f"no answer within {PATIENCE:g} s", "correct MAIL_URL, or mend the mail server")
    finally:
        await carrier.close()
    if scheme in {"smtp", "smtps", "sendgrid"}:
        nobody = settings.mail_from.rstrip(">").endswith("@localhost")
        yield (
            _failed("sender", f"letters would come from {settings.mail_from}", "set MAIL_FROM to an address of yours")
            if nobody
            else _ok("sender", settings.mail_from)
        )
    if settings.billing_operators_mail is None:
        yield _warning("operators' mail", "none: disputes and reports reach nobody", "set BILLING_OPERATORS_MAIL")
    if scheme == "sendgrid" and not settings.sendgrid_keys:
        yield _warning(
            "bounces", "are not heard: SENDGRID_WEBHOOK_KEY is not set", "see docs/mail.md: SendGrid's events"
        )


def _admin(settings: Settings) -> Iterator[Check]:
    if settings.admin_token is not None:
        yield _ok("admin token", "set")
    elif (settings.billing_home / "secrets" / "admin_token").exists():
        yield _ok("admin token", f"made by `billing up`, in {settings.billing_home / 'secrets'}")
    else:
        yield _warning("admin token", "none: the internal door answers 503", "set ADMIN_TOKEN, or run `billing up`")


def _machine(settings: Settings) -> Iterator[Check]:
    home = settings.billing_home.resolve()
    secrets = home / "secrets"
    if secrets.is_dir():
        # Not ours to read: then they are private enough.
        readable = (
            [file.name for file in secrets.iterdir() if file.stat().st_mode & 0o077]
            if os.access(secrets, os.R_OK)
            else []
        )
        yield (
            _failed("secrets", f"others may read {', '.join(readable)}", f"chmod 600 {secrets}/*")
            if readable
            else _ok("secrets", "private")
        )
    there = next(folder for folder in (home, *home.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    left = f"{free / 1e9:.1f} GB free for {home}"
    if free < TOO_LITTLE_SPACE:
        yield _failed("disk", left, "make room, or move BILLING_HOME")
    else:
        yield _warning("disk", left, "make room soon") if free < LITTLE_SPACE else _ok("disk", left)
    missing = [name for soname, name in PDF_LIBRARIES.items() if not _loads(soname, name)]
    yield (
        _failed("pdf libraries", f"missing: {', '.join(missing)}", "python3 deploy/system_libraries.py installs them")
        if missing
        else _ok("pdf libraries", "Pango and HarfBuzz with its subset library")
    )


def _loads(soname: str, name: str) -> bool:
    brew = [str(Path(folder) / f"lib{name}.dylib") for folder in ("/opt/homebrew/lib", "/usr/local/lib")]
    for candidate in (soname, ctypes.util.find_library(name), *brew):
        if candidate:
            try:
                ctypes.CDLL(candidate)
            except OSError:
                continue
            return True
    return False


async def examine() -> list[Check]:
    """All findings. A configuration that cannot be read is found first, and the rest is left out."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        return [
            _failed("configuration", line, f"correct {line.partition(':')[0]} in the environment or .env")
            for line in str(error).splitlines()
        ]
    found = [_ok("configuration", "every variable can be read")]
    for checks in (_database(settings), _redis(settings), _mail(settings)):
        async with aclosing(checks):
            found += [check async for check in checks]
    return [*found, *_stripe(settings), *_admin(settings), *_machine(settings)]


def _show(checks: list[Check]) -> None:
    marks = {State.OK: ("✓", "green"), State.WARNING: ("!", "yellow"), State.FAILED: ("✗", "bold red")}
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for check in checks:
        mark, style = marks[check.state]
        story = Text(check.found)
        if check.fix:
            story.append(f"\n→ {check.fix}", style="cyan")
        table.add_row(Text(mark, style=style), Text(check.name, style="bold"), story)
    console = Console()
    console.print(table)
    failed = sum(check.state is State.FAILED for check in checks)
    console.print(Text(f"{failed} of {len(checks)} checks failed" if failed else "all is well", style="bold"))


def doctor(*, as_json: Json = False) -> None:
    """Check the configuration, and all that it points to: database, Redis, mail, secrets, disk, libraries.

    Exits 1 when a check fails, and says what would mend it. It changes nothing.

    Example: billing doctor --json
    """
    checks = asyncio.run(examine())
    ok = all(check.state is not State.FAILED for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _show(checks)
    raise typer.Exit(0 if ok else 1)
