"""`billing demo`: a whole business on one machine, with a Stripe of its own, in front of your eyes."""

import logging
import random
import socket
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy.demo import site as sites
from deploy.demo import summary, timeline
from deploy.demo.api_partners import ApiPartners
from deploy.demo.bookkeeper import Bookkeeper
from deploy.demo.calendar import Calendar, write
from deploy.demo.chaos import Chaos
from deploy.demo.company import NAME, TRADE, found
from deploy.demo.director import Director, StuckError, first_of_month, later, split
from deploy.demo.improvise import Improviser
from deploy.demo.ledger import Ledger
from deploy.demo.look import look as open_left
from deploy.demo.screen import Screen
from deploy.demo.shop import Shop
from deploy.demo.site import Site
from deploy.demo.story import Story
from deploy.demo.stripe_client import RefusedError, StoppedError, StripeClient, UnreachableError
from deploy.demo.stripe_process import StripeGoneError, StripeProcess
from intake.commands.common import ERRORS, checked_settings, wrong_usage
from intake.commands.machine import FAILED, TICK, Doors, Machine, begin, doors, stop_on_signals
from worker.clock import SystemClock
from worker.home import HomeInUseError
from worker.settings import Settings
from worker.telemetry import configure_logging

log = logging.getLogger(__name__)

HISTORY_ENDS = -3
"""In months from the present one. The gap is for the clock to run through while one watches: nothing is ever dated in
the future."""

FOUR_WEEKS = 28 * 86_400
"""What `--once` plays after the history."""

BEYOND = 60 * 86_400
"""How far beyond the present the story is written."""

WORKERS = 2
TAIL = 20
"""Lines of the log that are shown when something broke."""

WEBHOOK = "/payments/webhook"


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the demo was asked for."""

    once: bool
    chaos: bool
    speed: float
    seed: int
    customers: int
    months: int


@dataclass(slots=True)
class Demo:
    """The machine, the simulated Stripe, and the story in a thread of its own.

    Processes are started and watched by the main thread alone: Linux ends some of them with their starter.
    """

    wishes: Wishes
    site: Site
    machine: Machine
    stripe: StripeProcess
    screen: Screen
    start: int
    begun: float = field(default_factory=time.monotonic)
    failure: BaseException | None = None
    code: int = FAILED

    def run(self) -> int:
        """Everything from the first process to the last line. Returns the exit code."""
        stopping = self.machine.stopping
        if not begin(self.machine, 0):
            return self._stopped()
        self.stripe.wait()
        self.machine.add_workers(WORKERS)  # once the door is open: together they would all be slower
        self._tell_where()
        story = threading.Thread(target=self._tell_story, name="story", daemon=True)
        story.start()
        while story.is_alive() and not stopping.wait(TICK):
            self.machine.look_after()
            if not self.stripe.alive:
                self.failure = StripeGoneError(f"the simulated Stripe ended with code {self.stripe.process.returncode}")
                break
        told_to_stop = stopping.is_set() and story.is_alive()
        stopping.set()
        self.stripe.stop()
        story.join(10)
        self.screen.rest()
        if self.failure is not None and not told_to_stop:
            raise self.failure
        return self._stopped() if told_to_stop else self.code

    def _stopped(self) -> int:
        """The exit code where somebody stopped it: an answer was asked for with `--once`, and there is none."""
        return FAILED if self.wishes.once else 0

    def _tell_where(self) -> None:
        where = self.machine.doors
        self.screen.say(f"company    {NAME}, {TRADE}")
        self.screen.say(f"dashboard  {where.address(where.admin)}  token {self.site.token}")
        self.screen.say(f"Stripe     {self.stripe.address}  (simulated)")
        self.screen.say(f"mailbox    {self.site.mailbox}")
        self.screen.say(f"logs       {self.site.log}")
        self.screen.say(f"seed       {self.wishes.seed}")
        self.screen.say(f"ready {where.address(where.public)}", "bold green")

    def _tell_story(self) -> None:
        try:
            self.code = self._play()
        except StoppedError:
            pass
        except Exception as error:
            log.exception("the demo broke off")
            self.failure = error

    def _play(self) -> int:
        wishes, clock = self.wishes, SystemClock()
        with ExitStack() as open_:
            client = StripeClient(self.stripe.address, sites.SECRET_KEY, f"demo-{wishes.seed}", self.machine.stopping)
            open_.callback(client.close)
            ledger = open_.enter_context(Ledger(self.machine.database, self.machine.base["REDIS_URL"], clock.now))
            calendar = Calendar(self.site.clock, ledger, clock.now)
            chaos = Chaos(wishes.seed, self.machine, client, self.site.next_signing) if wishes.chaos else None
            story = Story(Shop(client, found(client)))
            partners = open_.enter_context(self._api_partners(ledger))
            keeper = Bookkeeper(partners.operator) if wishes.chaos else None
            director = Director(
                client, story, ledger, calendar, self.screen, self.machine.stopping, clock.now, chaos, partners, keeper
            )
            client.before_write = director.breathe
            end = later(self.start, wishes.months) + (FOUR_WEEKS if wishes.once else 0)
            beyond = int(clock.now().timestamp()) + BEYOND
            written = timeline.lives(wishes.seed, self.start, beyond, wishes.customers, months=wishes.months)
            history, rest = split(written, end)
            director.play(history, self.start, end)
            if not wishes.once:
                director.live(rest, wishes.speed, Improviser(wishes.seed, story.shop))
            return self._summary(director, chaos)

    def _api_partners(self, ledger: Ledger) -> ApiPartners:
        where = self.machine.doors
        public, admin = (where.address(door) for door in (where.public, where.admin))
        return ApiPartners(public, admin, self.site.token, self.wishes.seed, self.machine.stopping, ledger)

    def _summary(self, director: Director, chaos: Chaos | None) -> int:
        if chaos is not None:
            chaos.calm()
        differences = [*director.compare(), *director.ledger.in_mailbox(self.site.mailbox)]
        told = summary.outcome(
            director.ledger,
            director.story,
            seed=self.wishes.seed,
            seconds=time.monotonic() - self.begun,
            mailbox=self.site.mailbox,
            deeds=chaos,
            differences=differences,
            dunning=director.dunning(),
        )
        self.screen.rest()
        summary.show(self.screen, told)
        return told.exit_code

    def end(self) -> None:
        """Stop everything."""
        self.machine.stopping.set()
        self.screen.rest()
        self.stripe.stop()
        self.machine.stop()


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Play the history and four weeks, print a summary, and end.")
    ] = False,
    look: Annotated[
        bool, typer.Option("--look", help="Open what the last demo has left; no worker runs, the clock stands.")
    ] = False,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill, wipe, delay, duplicate and shuffle meanwhile, by the seed.")
    ] = False,
    speed: Annotated[
        float, typer.Option(min=0.01, max=1000, help="How fast the live part is: simulated hours a second.")
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed tells the same story. Default: a new one, printed.")
    ] = None,
    customers: Annotated[int, typer.Option(min=1, max=5000, help="How many sign up within the history.")] = 300,
    months: Annotated[int, typer.Option(min=1, max=36, help="How long the history is.")] = timeline.MONTHS_OF_HISTORY,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The public door's port; 0 takes a free one.")] = 0,
    admin_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The internal door's port. Default: the next one.")
    ] = None,
) -> None:
    """Show the whole of billing at work, with a simulated Stripe and a company with a year of history.

    Everything runs on this machine, on embedded servers in BILLING_HOME/demo, which is emptied at each start; your own
    database, Redis, Stripe account and mail are never touched. Exits 0 from `--once` only if ledger and Stripe agree.

    Example: billing demo --once --chaos --seed 7
    """
    stopping = threading.Event()
    stop_on_signals(stopping)
    # What is set for a real deployment is not even read, so it may also be wrong.
    wished = checked_settings(**dict.fromkeys(sites.ASIDE), stripe_mode="test")
    if look:
        raise typer.Exit(open_left(wished, wished.billing_home, stopping))
    chosen = seed if seed is not None else random.SystemRandom().randrange(1, 100_000)
    wishes = Wishes(once=once, chaos=chaos, speed=speed, seed=chosen, customers=customers, months=months)
    try:
        site = sites.prepare(wished.billing_home)
    except (HomeInUseError, sites.NotOursError, OSError) as error:
        wrong_usage(str(error))
    with site.log.open("a", encoding="utf-8", buffering=1) as logfile:
        configure_logging(wished, logfile)
        where = doors("127.0.0.1", port, admin_port)
        made = _assemble(wishes, site, wished, where, stopping, output=logfile.fileno())
        code = _run(made, site)
    raise typer.Exit(code)


def _assemble(
    wishes: Wishes, site: Site, wished: Settings, where: Doors, stopping: threading.Event, *, output: int
) -> Demo:
    stripe_port = _free_port()
    address = f"http://127.0.0.1:{stripe_port}"
    surroundings = sites.environment(site, address, wished)
    present = int(SystemClock().now().timestamp())
    start = later(first_of_month(present), HISTORY_ENDS - wishes.months)
    write(site.clock, start)
    stripe = StripeProcess.spawn(
        port=stripe_port,
        seed=wishes.seed,
        start=start,
        webhook=f"{where.address(where.public)}{WEBHOOK},{site.signing}",
        environment=surroundings,
        folder=site.home.path,
        output=output,
    )
    machine = Machine(
        sites.settings(site, address, wished),
        site.home,
        where,
        stopping,
        surroundings=surroundings,
        folder=site.home.path,
        output=output,
    )
    return Demo(wishes, site, machine, stripe, Screen(), start)


def _run(made: Demo, site: Site) -> int:
    try:
        return made.run()
    except typer.Exit:
        _show_log(site.log)
        raise
    except (StripeGoneError, StuckError, RefusedError, UnreachableError) as error:
        ERRORS.print(f"the demo broke off: {escape(str(error))}")
        _show_log(site.log)
        return FAILED
    finally:
        made.end()
        log.info("stopped")


def _show_log(file: Path) -> None:
    with suppress(OSError):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        ERRORS.print(f"the end of {file}:", markup=False, highlight=False)
        ERRORS.print("\n".join(lines[-TAIL:]), markup=False, highlight=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
