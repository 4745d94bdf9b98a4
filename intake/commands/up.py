"""One command runs the whole of billing on one machine: servers, schema, doors, workers."""

import logging
import threading
from typing import Annotated

import typer

from intake.commands.common import checked_settings, wrong_usage
from intake.commands.machine import TICK, Machine, begin, doors, stop_on_signals, tell
from worker.home import Home, HomeInUseError
from worker.settings import DEMO_MARK, ConfigurationError, Settings
from worker.telemetry import configure_logging

log = logging.getLogger(__name__)


def _check_files(settings: Settings) -> None:
    """Exits 2 when a worker would: it could never be kept alive, and its reason would scroll by again and again."""
    from worker.main import check_configuration  # noqa: PLC0415 - it brings all that a worker needs

    try:
        check_configuration(settings)
    except ConfigurationError as error:
        wrong_usage(*str(error).splitlines())


def up(
    host: Annotated[str, typer.Option(help="The address that both doors listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The public door's port; 0 takes a free one.")] = 8000,
    admin_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The internal door's port. Default: the next one.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes.")] = 1,
) -> None:
    """Run everything on this machine: PostgreSQL, Valkey, both doors and the workers, in one process tree.

    Servers whose address is set (DATABASE_URL, REDIS_URL) are used; the others are embedded, with their data under
    BILLING_HOME. Prints `ready http://HOST:PORT` when webhooks are taken. SIGTERM or Ctrl-C stops everything.

    Example: billing up --port 8000
    """
    stopping = threading.Event()
    stop_on_signals(stopping)
    settings = checked_settings()
    _check_files(settings)
    configure_logging(settings)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    home = Home(settings.billing_home)
    try:
        home.lock()
    except (HomeInUseError, OSError) as error:
        wrong_usage(str(error))
    if (home.path / DEMO_MARK).is_file():
        wrong_usage(f"{home.path} holds what a demo has played, at its own time: `billing demo --look` opens it")
    machine = Machine(settings, home, doors(host, port, admin_port), stopping)
    try:
        if begin(machine, workers):
            log.info("dashboard at %s", machine.doors.address(machine.doors.admin))
            tell(f"ready {machine.doors.address(machine.doors.public)}")
            while not stopping.wait(TICK):
                machine.look_after()
    finally:
        machine.stop()
        log.info("stopped")
