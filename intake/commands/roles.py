"""One role a process, for a deployment; `billing up` starts the same ones."""

import logging
import os
from typing import Annotated

import typer

from db.states import QueueName
from intake.commands.common import checked_settings
from worker.processes import stop_when_parent_goes

Host = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for every network.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")]

SUPERVISED = "BILLING_SUPERVISED"
"""Set by `billing up` for its children: they stop when the pipe on their standard input ends."""


def _begin() -> None:
    if os.environ.get(SUPERVISED):
        stop_when_parent_goes()


def intake(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the public door alone: it verifies webhooks, remembers them, and answers.

    It never holds Stripe's API key. SIGTERM stops it after the requests at hand.

    Example: billing intake --host 0.0.0.0 --port 8000
    """
    _begin()
    # STRIPE_MODE was read from the key's prefix by now; the key itself has no business in this process.
    settings = checked_settings().model_copy(update={"stripe_secret_key": None})
    os.environ.pop("STRIPE_SECRET_KEY", None)
    if not settings.webhook_secrets:
        logging.getLogger(__name__).error("STRIPE_WEBHOOK_SECRET is not set: every webhook is answered 503 until it is")
    from intake.app import serve  # noqa: PLC0415 - after the environment is clean

    serve(settings, host, port)


def worker(
    queue: Annotated[
        list[QueueName] | None, typer.Option(help="A queue to serve; may be repeated. Default: all of them.")
    ] = None,
) -> None:
    """Run a worker alone: it applies events and runs jobs. Run as many as you like.

    SIGTERM stops it: what it cannot end within BILLING_GRACE_SECONDS it gives back, and no try is burnt.

    Example: billing worker --queue events --queue mail
    """
    _begin()
    settings = checked_settings()
    from worker.main import run_worker  # noqa: PLC0415 - it imports Stripe's SDK, which the other roles must not

    raise typer.Exit(run_worker(settings, queue))


def admin(host: Host = "127.0.0.1", port: Port = 8001) -> None:
    """Run the internal door alone: the operators' dashboard and API. Keep it off the internet.

    Example: ADMIN_TOKEN=… billing admin --port 8001
    """
    _begin()
    settings = checked_settings()
    from intake.admin.app import serve  # noqa: PLC0415 - it imports the web framework, which workers do without

    serve(settings, host, port)
