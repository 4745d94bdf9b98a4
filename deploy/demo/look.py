"""What a demo has left is looked at: its books and its dashboard, at the time at which its story ended."""

import logging
import threading
from pathlib import Path

from deploy.demo import site as sites
from deploy.demo.company import NAME
from deploy.demo.screen import Screen
from intake.commands.common import wrong_usage
from intake.commands.machine import TICK, Machine, begin, doors
from worker.home import HomeInUseError
from worker.settings import Settings
from worker.telemetry import configure_logging

log = logging.getLogger(__name__)

NOWHERE = "http://127.0.0.1:1"
"""The simulated Stripe is gone, with its books."""


def look(wished: Settings, billing_home: Path, stopping: threading.Event) -> int:
    """Serve it until `stopping`. Returns the exit code; exits 2 when there is nothing to look at, or a demo runs."""
    try:
        site = sites.reopen(billing_home)
    except (HomeInUseError, sites.NothingPlayedError, OSError) as error:
        wrong_usage(str(error))
    screen = Screen()
    with site.log.open("a", encoding="utf-8", buffering=1) as logfile:
        configure_logging(wished, logfile)
        machine = Machine(
            sites.settings(site, NOWHERE, wished),
            site.home,
            doors("127.0.0.1", 0, None),
            stopping,
            surroundings=sites.environment(site, NOWHERE, wished),
            folder=site.home.path,
            output=logfile.fileno(),
        )
        try:
            if begin(machine, 0):
                _tell_where(screen, site, machine)
                while not stopping.wait(TICK):
                    machine.look_after()
        finally:
            machine.stop()
            log.info("stopped")
    return 0


def _tell_where(screen: Screen, site: sites.Site, machine: Machine) -> None:
    where = machine.doors
    screen.say(f"company    {NAME}, as the story left it; nothing goes on, no letter is sent")
    screen.say(f"dashboard  {where.address(where.admin)}  token {site.token}")
    screen.say(f"mailbox    {site.mailbox}")
    screen.say(f"commands   BILLING_HOME={site.home.path} billing dunning list")
    screen.say(f"ready {where.address(where.public)}", "bold green")
