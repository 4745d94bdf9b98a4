"""The operator's command, `billing`: each command's module is imported only when that command is called."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, NamedTuple

import typer


class Command(NamedTuple):
    """A command: what it does in one line, and where it is (`module:attribute`, a function or a Typer group)."""

    help: str
    where: str


# The order is that of an operator's day, and the order in which --help tells them.
COMMANDS = {
    "up": Command("Run everything on this machine, in one process tree.", "intake.commands.up:up"),
    "demo": Command("Show everything at work, with a simulated Stripe.", "deploy.demo.command:demo"),
    "status": Command("Queues, ages, retries, dead, workers, schedules.", "intake.commands.status:status"),
    "events": Command("The webhook inbox: list, show, retry, discard.", "intake.commands.events:app"),
    "jobs": Command("Every other job: list, show, retry, cancel.", "intake.commands.jobs:app"),
    "run": Command("Run a scheduled job now.", "intake.commands.run:run"),
    "queues": Command("Pause and resume queues.", "intake.commands.queues:app"),
    "mail": Command("The letters: list, show, resend, preview.", "intake.commands.mail:app"),
    "invoices": Command("Invoices and their PDFs: list, show, pdf, issue, void.", "intake.commands.invoices:app"),
    "partners": Command("Contracts with partners: list, show, add, change.", "intake.commands.partners:app"),
    "credits": Command("Credits and promotion codes: grant, list, show, void.", "intake.commands.credits:app"),
    "dunning": Command("Unpaid invoices: list, show, preview, pause, resume.", "intake.commands.dunning:app"),
    "usage": Command("What was used: import, show, verify; plans, overage.", "intake.commands.usage:app"),
    "tokens": Command("Partners' keys for usage: create, list, revoke.", "intake.commands.tokens:app"),
    "reconcile": Command("Compare the books with Stripe, and mend them.", "intake.commands.reconcile:app"),
    "verify": Command("Check the books' own invariants.", "intake.commands.verify:verify"),
    "doctor": Command("Check the configuration and all that it points to.", "intake.commands.doctor:doctor"),
    "intake": Command("Run the public door alone.", "intake.commands.roles:intake"),
    "worker": Command("Run a worker alone.", "intake.commands.roles:worker"),
    "admin": Command("Run the internal door alone.", "intake.commands.roles:admin"),
    "migrate": Command("Bring the database's schema up to date.", "intake.commands.migrate:migrate"),
}

HELP = """Billing for Stripe: every acknowledged event is applied, once.

Begin with `billing up`, look with `billing status`, and see what is wrong with `billing doctor`.

Exit codes: 0 done; 1 the answer is "no"; 2 wrong usage or configuration.
"""


def _not_chosen() -> None:
    """Stand in for a command that is only listed."""


def _show_version(asked: bool) -> None:  # noqa: FBT001 - the signature of typer's callbacks
    if asked:
        typer.echo(f"billing {version('billing-worker')}")
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def build(chosen: str | None) -> typer.Typer:
    """Make the command line, with `chosen` (`*`: all) in full and the other commands as lines of help.

    So `billing intake` imports neither the business nor Stripe's SDK, and every command starts quickly.
    """
    app = typer.Typer(
        name="billing",
        help=HELP,
        epilog="Example: billing up --port 8000",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # they show local variables, which may hold secrets
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
    )
    app.callback()(_root)
    for name, command in COMMANDS.items():
        if chosen not in {name, "*"}:
            app.command(name, help=command.help)(_not_chosen)
            continue
        module, _, attribute = command.where.partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            if found.registered_callback is None:
                app.add_typer(found, name=name, help=command.help)
            else:  # a group that also runs by itself says more
                app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `billing`; it exits the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    completing = "_BILLING_COMPLETE" in os.environ
    chosen = "*" if completing else next((word for word in words if not word.startswith("-")), None)
    build(chosen)(words if not completing else None, prog_name="billing")


if __name__ == "__main__":
    main()
