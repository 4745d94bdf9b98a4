"""Where a worker process begins: `billing worker`, or `arq worker.main.WorkerSettings`."""

import asyncio
import importlib
import os
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import structlog
import uvloop

from db.engine import create_engine
from db.states import QueueName
from worker.adapters.mail import mailer
from worker.adapters.pdf import PdfPool
from worker.adapters.storage import storage
from worker.adapters.stripe_api import stripe_api
from worker.addresses import database_url, redis_url
from worker.clock import SystemClock, business_clock
from worker.deps import Deps
from worker.doorbell import Doorbell, connect
from worker.engine import Ears, options
from worker.registry import discover
from worker.runner import Runner
from worker.settings import ConfigurationError, Settings, load_settings
from worker.telemetry import configure_logging

log = structlog.get_logger()

PAGES = "jobs.invoices.page:build"
"""What makes a page of a document, in a process of its own: a name, since the engine imports no business."""

SELLERS = "jobs.invoices.sellers"
"""Whose `sellers_from` reads BILLING_SELLERS_FILE."""


def worker_id() -> str:
    """A name that no other worker process ever had; `billing up` hands one in, to know it after a crash."""
    return os.environ.get("BILLING_WORKER_ID") or f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(3)}"


def checked_queues(names: Sequence[str] | None) -> tuple[str, ...]:
    """The queues to serve: all of them by default. Raises ValueError naming an unknown one."""
    known = [name.value for name in QueueName]
    for name in names or ():
        if name not in known:
            raise ValueError(f"no queue is named {name!r}: there are {', '.join(known)}")
    return tuple(names or known)


def check_configuration(settings: Settings) -> None:
    """Look at what settings only name: the sellers file, the storage. Raises ConfigurationError with all mistakes."""
    found: list[str] = []
    for look in (
        lambda: importlib.import_module(SELLERS).sellers_from(settings),
        lambda: storage(settings.storage_url, settings.billing_home),
    ):
        try:
            look()
        except ConfigurationError as error:
            found.append(str(error))
    if found:
        raise ConfigurationError("\n".join(found))


@asynccontextmanager
async def running(settings: Settings, queues: Sequence[str] | None = None) -> AsyncGenerator[Runner]:
    """A Runner at work; at the end it stops within the settings' grace, and gives its leases back."""
    engine = create_engine(database_url(settings), pool_size=12, application_name="billing-worker")
    bell = Doorbell(redis_url(settings))
    home = settings.billing_home.expanduser()
    stripe = stripe_api(settings)
    carrier = mailer(settings.mail_url, home)
    files = storage(settings.storage_url, home)
    pdf = PdfPool(
        PAGES,
        processes=settings.billing_pdf_processes,
        seconds=settings.billing_pdf_seconds,
        megabytes=settings.billing_pdf_megabytes,
    )

    def ring(names: set[str]) -> None:
        for name in names:
            bell.ring(name)

    deps = Deps(
        engine=engine,
        clock=SystemClock(),
        business=business_clock(settings.billing_clock_file),
        stripe=stripe,
        mailer=carrier,
        pdf=pdf,
        files=files,
        settings=settings,
        after_commit=ring,
    )
    runner = Runner(
        deps,
        discover("jobs"),
        queues=checked_queues(queues),
        worker=worker_id(),
        lease=timedelta(seconds=settings.billing_lease_seconds),
    )
    await runner.start()
    try:
        yield runner
    finally:
        await runner.stop(timedelta(seconds=settings.billing_grace_seconds))
        await bell.close()
        await carrier.close()
        await pdf.close()
        await files.close()
        await stripe.close()
        await engine.dispose()


async def _serve(settings: Settings, queues: Sequence[str] | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with running(settings, queues) as runner:
        ears = Ears(runner, redis_url(settings))
        ears.start()
        log.info("worker at work", worker=runner.worker, queues=runner.queues)
        await stop.wait()
        log.info("worker stopping", worker=runner.worker)
        await ears.stop()


def run_worker(settings: Settings, queues: Sequence[str] | None = None) -> int:
    """Work until SIGTERM or SIGINT. Returns the exit code; 2: the configuration cannot be used."""
    try:
        check_configuration(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    uvloop.run(_serve(settings, queues))
    return 0


def _arq_settings() -> type:
    """What the `arq` command reads: a class's own attributes (misspelt ones it would silently drop: a test holds them).

    ARQ's worker listens for the first queue of BILLING_QUEUES (default: all), its siblings here for the rest.
    """
    try:
        settings = load_settings()
        check_configuration(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    names = [name for name in os.environ.get("BILLING_QUEUES", "").split(",") if name]
    first, *others = checked_queues(names or None)
    stack = AsyncExitStack()

    async def on_startup(ctx: dict[str, Any]) -> None:
        runner = await stack.enter_async_context(running(settings, [first, *others]))
        ctx.update(runner=runner, queue=first)
        if others:
            ears = Ears(runner, redis_url(settings))
            ears.start(others)
            stack.push_async_callback(ears.stop)

    async def on_shutdown(_ctx: dict[str, Any]) -> None:
        await stack.aclose()

    return type(
        "WorkerSettings",
        (),
        {
            **options(first, worker_id()),
            "redis_pool": connect(redis_url(settings), patient=True),
            "on_startup": on_startup,
            "on_shutdown": on_shutdown,
        },
    )


def __getattr__(name: str) -> type:
    """`WorkerSettings` is made when it is asked for, so that importing this module reads no environment."""
    if name == "WorkerSettings":
        return _arq_settings()
    raise AttributeError(name)
