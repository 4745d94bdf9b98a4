"""All processes of one machine: servers, schema, doors and workers, started in order and stopped in reverse."""

import asyncio
import hashlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType

import typer

from db import queue
from db.engine import create_engine
from db.migrate import migrate
from intake.commands.common import ERRORS, explained_database_errors, wrong_usage
from intake.commands.roles import SUPERVISED
from worker.embedded import EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey
from worker.home import Home
from worker.settings import Settings
from worker.supervisor import Role, Supervisor

log = logging.getLogger(__name__)

READY_TIMEOUT = 60.0
"""Seconds that the public door may take until it answers."""

MARGIN = 3.0
"""Seconds beyond the workers' grace that the roles may take to stop."""

TICK = 0.2
"""Seconds between two looks at the processes."""

NEIGHBOUR_TRIES = 20
"""How often two free ports in a row are looked for."""

SECRETS = frozenset({"STRIPE_WEBHOOK_SECRET", "STRIPE_SECRET_KEY", "ADMIN_TOKEN", "BILLING_ADMIN_TOKEN_SHA256"})
"""Variables that a role gets only if it needs them."""

FAILED = 1


@dataclass(slots=True)
class Servers:
    """The embedded servers that are needed: those whose address nobody has set."""

    running: list[EmbeddedPostgres | EmbeddedValkey] = field(default_factory=list[EmbeddedPostgres | EmbeddedValkey])
    next_try: float = 0.0

    def start(self, settings: Settings, home: Home) -> tuple[str, str]:
        """Start them. Returns the addresses of PostgreSQL and Redis."""
        database, redis = settings.database_url, settings.redis_url
        if database is None:
            postgres = home.postgres(goes_with_parent=True)
            postgres.start()
            self.running.append(postgres)
            database = postgres.url()
        if redis is None:
            valkey = home.valkey(goes_with_parent=True)
            valkey.start()
            self.running.append(valkey)
            redis = valkey.url
        return database, redis

    def look_after(self) -> None:
        """Start a server again that has died; both recover by their logs."""
        for server in self.running:
            if server.process is not None and server.process.poll() is not None and time.monotonic() >= self.next_try:
                name = type(server).__name__.removeprefix("Embedded")
                log.warning("%s ended with code %s; starting it again", name, server.process.returncode)
                try:
                    server.start()
                except (EmbeddedServerError, OSError) as error:
                    self.next_try = time.monotonic() + 5
                    log.exception("%s does not start; trying again in 5 s", name, exc_info=error)

    def stop(self) -> None:
        """Stop them; what they hold is on disk."""
        for server in reversed(self.running):
            server.stop()


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the public and the internal door listen."""

    host: str
    public: int
    admin: int

    def address(self, port: int) -> str:
        """The URL of a door, as this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def open(self) -> bool:
        """Whether the public door answers."""
        connection = HTTPConnection(self.address(self.public).removeprefix("http://"), timeout=1)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def _listen(host: str, port: int, option: str) -> socket.socket:
    """Take a port to see that it is free. Exits 2 when it is not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen()
    except OSError as error:
        taken.close()
        wrong_usage(f"cannot listen on {host} port {port} ({error.strerror or error}): choose another by {option}")
    return taken


def _neighbours(host: str) -> Doors:
    """Two free ports, one after the other."""
    for _ in range(NEIGHBOUR_TRIES):
        with _listen(host, 0, "--port") as public:
            chosen = public.getsockname()[1]
            # OverflowError: there is no port after the highest one
            with suppress(OSError, OverflowError), socket.socket(public.family) as admin:
                admin.bind((host, chosen + 1))
                return Doors(host, chosen, chosen + 1)
    return wrong_usage("found no two free ports in a row: choose them by --port and --admin-port")


def doors(host: str, port: int, admin_port: int | None) -> Doors:
    """Find out that both ports are free, or find free ones."""
    if port == 0 and admin_port is None:
        return _neighbours(host)
    with _listen(host, port, "--port") as public:
        chosen = public.getsockname()[1]
        wish = admin_port if admin_port is not None else chosen + 1
        if wish > 65535:  # noqa: PLR2004 - the highest port
            wrong_usage(f"there is no port after {chosen} for the internal door: choose one by --admin-port")
        with _listen(host, wish, "--admin-port") as admin:
            return Doors(host, chosen, admin.getsockname()[1])


@dataclass(slots=True)
class Machine:
    """Everything that runs, in the order in which it is started, and stopped in reverse."""

    settings: Settings
    home: Home
    doors: Doors
    stopping: threading.Event
    surroundings: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """The environment that all roles begin with; the addresses of this machine's servers are added."""

    folder: Path | None = None
    """Where the roles run, and so whose `.env` they read. None: where we run."""

    output: int | None = None
    """The file descriptor that the roles' logs go to. None: our own standard error."""

    servers: Servers = field(default_factory=Servers)
    supervisor: Supervisor = field(init=False)
    base: dict[str, str] = field(init=False)
    database: str = ""

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.home.path / "run" / "children.json")

    def start(self, workers: int) -> None:
        """Servers, schema, roles."""
        self.supervisor.end_leftovers()
        self.database, redis = self.servers.start(self.settings, self.home)
        before, after = asyncio.run(self._migrate())
        if before != after:
            log.info("the schema was brought from %s to %s", before or "nothing", after)
        self.base = self._environment(redis)
        self.supervisor.start([*self._door_roles()])
        self.add_workers(workers)

    def add_workers(self, workers: int) -> None:
        """Start so many workers."""
        self.supervisor.start([self._worker(number) for number in range(1, workers + 1)])

    async def _migrate(self) -> tuple[str | None, str | None]:
        engine = create_engine(self.database, pool_size=1, application_name="billing-up")
        try:
            return await migrate(engine)
        finally:
            await engine.dispose()

    def _environment(self, redis: str) -> dict[str, str]:
        return dict(self.surroundings) | {
            SUPERVISED: "1",
            "DATABASE_URL": self.database,
            "REDIS_URL": redis,
            "BILLING_HOME": str(self.home.path),
            "STRIPE_MODE": self.settings.stripe_mode.value,
            "PROMETHEUS_MULTIPROC_DIR": str(self.home.fresh_metrics()),
            **self._links(),
        }

    def _links(self) -> dict[str, str]:
        """What links in letters begin with, and those to documents are signed with: as set, else our own doors."""
        secret, page = self.settings.billing_link_secret, self.settings.billing_public_url
        kept = secret.get_secret_value() if secret is not None else self.home.secret("link_secret")[0]
        desk = self.settings.billing_admin_url or self.doors.address(self.doors.admin)
        return {
            "BILLING_LINK_SECRET": kept,
            "BILLING_PUBLIC_URL": page or self.doors.address(self.doors.public),
            "BILLING_ADMIN_URL": desk,
        }

    def _without_secrets(self, but: str = "") -> dict[str, str]:
        """What every role gets. Variables' names are read without regard to case."""
        withheld = SECRETS - {but}
        return {name: value for name, value in self.base.items() if name.upper() not in withheld}

    def _secrets(self) -> tuple[str, str]:
        """The signing secret and the admin token: as set, else kept in the home, made there on the first run."""
        given, token = self.settings.stripe_webhook_secret, self.settings.admin_token
        if given is not None:
            signing = given.get_secret_value()
        else:
            signing, _ = self.home.secret("stripe_webhook_secret", prefix="whsec_")
            tell(f"webhook signing secret: {signing}")
        if token is not None:
            return signing, token.get_secret_value()
        kept, new = self.home.secret("admin_token")
        if new:
            tell(f"admin token (shown once, kept in {self.home.path}/secrets): {kept}")
        return signing, kept

    def _door_roles(self) -> Iterator[Role]:
        signing, token = self._secrets()
        sha256 = self.settings.billing_admin_token_sha256 or hashlib.sha256(token.strip().encode()).hexdigest()
        where = ("--host", self.doors.host, "--port")
        yield self._role(
            "intake",
            ("intake", *where, str(self.doors.public)),
            lambda: self._without_secrets() | {"STRIPE_WEBHOOK_SECRET": signing, "BILLING_ADMIN_TOKEN_SHA256": sha256},
        )
        yield self._role(
            "admin",
            ("admin", *where, str(self.doors.admin)),
            lambda: self._without_secrets() | {"ADMIN_TOKEN": token},
        )

    def _role(
        self,
        name: str,
        words: Sequence[str],
        environment: Callable[[], Mapping[str, str]],
        after_death: Callable[[], None] = lambda: None,
    ) -> Role:
        command = [sys.executable, "-m", "intake.cli", *words]
        return Role(name, command, environment, after_death, folder=self.folder, output=self.output)

    def _worker(self, number: int) -> Role:
        current = ""

        def environment() -> dict[str, str]:
            nonlocal current
            current = f"{socket.gethostname()}:up-{number}:{os.urandom(3).hex()}"
            return self._without_secrets(but="STRIPE_SECRET_KEY") | {"BILLING_WORKER_ID": current}

        def after_death() -> None:
            try:
                asyncio.run(asyncio.wait_for(self._expire(current), 2))
            except Exception:
                log.exception("the leases of %s could not be given back now; they run out by themselves", current)

        return self._role(f"worker-{number}", ("worker",), environment, after_death)

    async def _expire(self, worker: str) -> None:
        engine = create_engine(self.database, pool_size=1, application_name="billing-up")
        try:
            async with engine.begin() as conn:
                await queue.expire_worker(conn, worker)
        finally:
            await engine.dispose()

    def wait_until_ready(self) -> bool:
        """Wait for the public door. False when it never answered, or when we are told to stop."""
        end = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < end and not self.stopping.wait(0.05):
            self.look_after()
            if self.doors.open():
                return True
        return False

    def look_after(self) -> None:
        """Start again what has died."""
        self.servers.look_after()
        self.supervisor.look_after()

    def stop(self) -> None:
        """Roles first, then what they lean on."""
        self.supervisor.stop(self.settings.billing_grace_seconds + MARGIN)
        self.servers.stop()


def tell(line: str) -> None:
    """Say something on standard output, which has only what a person or a script waits for; the logs go elsewhere."""
    print(line, flush=True)  # noqa: T201 - see above


def stop_on_signals(stopping: threading.Event) -> None:
    """SIGTERM, SIGINT and SIGHUP set `stopping`."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks to outlive the terminal
        signal.signal(signal.SIGHUP, stop)


def begin(machine: Machine, workers: int) -> bool:
    """Start everything and wait until the public door answers. False when we are told to stop meanwhile.

    Exits 1 when a server does not start or the door never answers, 2 when the configuration is at fault.
    """
    try:
        with explained_database_errors():
            machine.start(workers)
    except EmbeddedServerError as error:
        ERRORS.print(str(error), markup=False, highlight=False)
        raise typer.Exit(FAILED) from None
    if machine.wait_until_ready():
        return True
    if machine.stopping.is_set():
        return False
    ERRORS.print(f"the public door did not answer within {READY_TIMEOUT:g} s: its log is above")
    raise typer.Exit(FAILED)
