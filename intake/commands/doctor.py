"""Before a person searches: what is configured, whether it answers, and what would mend it."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from importlib import import_module
from typing import Any
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

from db import documents, numbering
from db.engine import create_engine
from db.migrate import head, revision
from db.numbering import Uneven
from intake.commands.common import Json
from jobs.invoices.sellers import sellers_from
from worker.adapters.mail import mailer
from worker.adapters.storage import PROBE, check, storage
from worker.addresses import database_url, redis_url
from worker.clock import SystemClock
from worker.doorbell import connect, findings
from worker.errors import Refused, TryLater
from worker.settings import ConfigurationError, Settings, StripeMode, load_settings
from worker.telemetry import redact

OLDEST_POSTGRES = 150000
"""`server_version_num` of PostgreSQL 15, the first with unique indexes for which two NULLs are the same."""

SKEW_LIMIT = timedelta(seconds=5)
"""Of the 300 s that a signature is valid; leases are on the database's clock and do not mind."""

LITTLE_SPACE, TOO_LITTLE_SPACE = 5_000_000_000, 1_000_000_000
"""Bytes."""

PATIENCE = 5.0
"""Seconds for each answer from outside."""

PDF_LIBRARIES = ("libpango-1.0.so.0", "libpangoft2-1.0.so.0", "libharfbuzz-subset.so.0")
"""Without one of these there is no PDF; what else `deploy/system_libraries.py` installs are fonts."""

OPEN_LINKS = "set BILLING_LINK_SECRET to the output of `openssl rand -hex 32`, for workers and both doors"


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
            for one in await _database_answers(engine):
                yield one
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
    numbers: list[Check] = []
    if known == wanted:
        async with engine.connect() as conn:
            numbers = [_uneven(one) for one in await numbering.uneven(conn)] or [_ok("numbers", "no gap in any series")]
            numbers.append(_parked(*await documents.parked(conn)))
    return [
        _ok("database", f"PostgreSQL {version}")
        if number >= OLDEST_POSTGRES
        else _failed("database", f"PostgreSQL {version}", "use PostgreSQL 15 or newer"),
        _ok("schema", f"revision {known}")
        if known == wanted
        else _failed("schema", f"revision {known or 'none'}, and this code needs {wanted}", "run `billing migrate`"),
        _ok("clock", f"{abs(skew).total_seconds():.3f} s from the database's")
        if abs(skew) <= SKEW_LIMIT
        else _failed("clock", f"{skew.total_seconds():+.1f} s from the database's", "synchronise both clocks (NTP)"),
        *numbers,
    ]


def _uneven(one: Uneven) -> Check:
    found = f"series {one.series}, {one.year}: {one.taken} numbers taken, {one.issued} invoices of ours have one"
    missing = one.taken - one.issued
    if missing > 0:
        fix = f"restore the {missing} missing from a backup, in invoices and documents"
    else:
        fix = f"set its next_number in invoice_series to {one.issued + 1} before another is issued"
    return _failed("numbers", found, f"{fix}: docs/documents.md, Numbers")


def _parked(count: int, job: int | None) -> Check:
    if not count:
        return _ok("documents", "none is parked")
    fix = "`billing invoices documents --status dead` tells why: mend that"
    retry = f", then `billing jobs retry {job}`" if job is not None else ""
    return _warning("documents", f"parked, without a PDF: {count}", f"{fix}{retry}")


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


def _is_live(settings: Settings) -> bool:
    """Whether real customers wait for letters."""
    key = settings.stripe_secret_key.get_secret_value() if settings.stripe_secret_key else ""
    return settings.stripe_mode == StripeMode.LIVE or "_live_" in key[:8]


async def _mail(settings: Settings) -> AsyncGenerator[Check]:
    """The carrier is reached and signed in to; no letter is sent."""
    carrier = mailer(settings.mail_url, settings.billing_home.expanduser())
    scheme = urlsplit(settings.mail_url or "maildir:").scheme
    nowhere = scheme == "null" or (not settings.mail_url and _is_live(settings))
    try:
        async with asyncio.timeout(PATIENCE):
            found = await carrier.check()
        yield (
            _warning("mail", found, "set MAIL_URL to the carrier of your letters") if nowhere else _ok("mail", found)
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
    yield from _printing()


def _printing() -> Iterator[Check]:
    """Libraries and fonts of the system: what the set-up installs knows what is missing."""
    system = import_module("deploy.system_libraries")  # by name: imports run from the demo and the set-up down to us
    missing: list[Any] = system.missing()
    libraries = [one for one in missing if getattr(one, "soname", None) in PDF_LIBRARIES]
    fonts = [one for one in missing if one not in libraries]
    fix = "python3 deploy/system_libraries.py installs them"
    if command := system.command(missing):
        fix = f"{' '.join(command)}, as root"
    yield (
        _failed("pdf libraries", f"missing: {', '.join(one.name for one in libraries)}", fix)
        if libraries
        else _ok("pdf libraries", "Pango and HarfBuzz with its subset library")
    )
    yield (
        _warning("fonts", f"missing: {', '.join(one.family for one in fonts)}: names in them are shown as boxes", fix)
        if fonts
        else _ok("fonts", "Latin, Greek, Cyrillic, Hebrew, Arabic, Thai, Chinese, Japanese, Korean")
    )


async def _documents(settings: Settings) -> AsyncGenerator[Check]:
    """Where documents are kept (a small file is written there, once, and read), who sells, and links."""
    yield await _storage(settings)
    try:
        sellers = sellers_from(settings)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            yield _failed("sellers", line, "correct the file: docs/documents.md has a full example")
    else:
        if settings.billing_sellers_file is not None:
            yield _ok("sellers", f"{', '.join(sellers.profiles)}; {sellers.default} is the default")
        else:
            yield _warning(
                "sellers",
                "no file: documents are written by the letters' brand, without tax ids",
                "set BILLING_SELLERS_FILE: docs/documents.md has a full example",
            )
    if settings.billing_link_secret or (settings.billing_home / "secrets" / "link_secret").exists():
        yield _ok("links", settings.billing_public_url or "signed; BILLING_PUBLIC_URL is not set")
    else:
        yield _warning("links", "none are given: BILLING_LINK_SECRET is not set", OPEN_LINKS)


async def _storage(settings: Settings) -> Check:
    if settings.storage_url is None and not (folder := settings.billing_home.resolve() / "documents").exists():
        return _ok("storage", f"{folder}, made with the first document")
    fix = "correct STORAGE_URL and the storage's credentials: docs/documents.md"
    try:
        files = storage(settings.storage_url, settings.billing_home)
        try:
            async with asyncio.timeout(PATIENCE):
                await check(files)
        finally:
            await files.close()
    except (ConfigurationError, Refused, TryLater) as error:
        return _failed("storage", redact(getattr(error, "reason", str(error))), fix)
    except TimeoutError:
        return _failed("storage", f"no answer within {PATIENCE:g} s", fix)
    return _ok("storage", f"{files.url(PROBE)} is written and read")


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
    for checks in (_database(settings), _redis(settings), _mail(settings), _documents(settings)):
        async with aclosing(checks):
            found += [one async for one in checks]
    return [*found, *_stripe(settings), *_admin(settings), *_machine(settings)]


def _show(checks: list[Check]) -> None:
    marks = {State.OK: ("✓", "green"), State.WARNING: ("!", "yellow"), State.FAILED: ("✗", "bold red")}
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for one in checks:
        mark, style = marks[one.state]
        story = Text(one.found)
        if one.fix:
            story.append(f"\n→ {one.fix}", style="cyan")
        table.add_row(Text(mark, style=style), Text(one.name, style="bold"), story)
    console = Console()
    console.print(table)
    failed = sum(one.state is State.FAILED for one in checks)
    console.print(Text(f"{failed} of {len(checks)} checks failed" if failed else "all is well", style="bold"))


def doctor(*, as_json: Json = False) -> None:
    """Check the configuration, and all that it points to: database, Redis, mail, storage, secrets, disk, fonts.

    Exits 1 when a check fails, and says what would mend it. It changes nothing, but leaves a small file in the storage.

    Example: billing doctor --json
    """
    checks = asyncio.run(examine())
    ok = all(one.state is not State.FAILED for one in checks)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "checks": [asdict(one) for one in checks]}, indent=2))
    else:
        _show(checks)
    raise typer.Exit(0 if ok else 1)
