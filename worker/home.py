"""The folder that one machine's billing lives in: its servers' data, its secrets, and who uses it now."""

import fcntl
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from worker.embedded import EmbeddedPostgres, EmbeddedValkey


class HomeInUseError(Exception):
    """Another process runs on this home."""


@dataclass(slots=True)
class Home:
    """`BILLING_HOME`. Nothing is written before `lock`."""

    path: Path
    _lock: IO[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.path = self.path.expanduser().resolve()

    def lock(self) -> None:
        """Take it for this process's life. Raises HomeInUseError naming the process that has it.

        The kernel drops the lock when we die, however we die.
        """
        self._private("run")
        self._lock = (self.path / "run" / "up.lock").open("a+", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            pid = self._lock.read().strip() or "unknown"
            self.unlock()
            raise HomeInUseError(
                f"{self.path} is in use by another `billing up` or `billing demo` (process {pid}): "
                "stop it, or set BILLING_HOME to another folder"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def unlock(self) -> None:
        """Give it back before our end."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def postgres(self, *, goes_with_parent: bool = False) -> EmbeddedPostgres:
        """The embedded PostgreSQL of this home; its address is the same in every process."""
        return EmbeddedPostgres(self.path / "postgres", goes_with_parent=goes_with_parent)

    def valkey(self, *, goes_with_parent: bool = False) -> EmbeddedValkey:
        """The embedded Valkey of this home; its address is the same in every process."""
        return EmbeddedValkey(self.path / "valkey", goes_with_parent=goes_with_parent)

    def secret(self, name: str, *, prefix: str = "") -> tuple[str, bool]:
        """The secret kept under `name`, made of 32 random bytes when missing; and whether it was made now."""
        file = self._private("secrets") / name
        if file.exists() and (kept := file.read_text(encoding="ascii").strip()):
            return kept, False
        made = prefix + secrets.token_urlsafe(32)
        new = file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(made + "\n")
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
        return made, True

    def fresh_metrics(self) -> Path:
        """An empty folder for the counters that the processes share (PROMETHEUS_MULTIPROC_DIR)."""
        folder = self.path / "run" / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def _private(self, name: str) -> Path:
        """A folder of the home. Others may pass through the home itself: PostgreSQL, where we are root."""
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder = self.path / name
        folder.mkdir(mode=0o711 if name == "run" else 0o700, exist_ok=True)
        return folder
