"""Documents in a folder of this machine: each is written whole, to the disk, under a name that is given out once."""

import asyncio
import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path, PurePosixPath

from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNFIT = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ENOTDIR, errno.EISDIR})


def checked_name(name: str) -> PurePosixPath:
    """A name below the storage's root. Raises Refused when it leads elsewhere."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or str(path) != name or ".." in path.parts or "\0" in name or "\\" in name:
        raise Refused(f"{name!r} is no name of a file in the storage")
    return path


def _verb(error: OSError, what: str) -> TryLater | Refused:
    if error.errno in UNFIT:
        return Refused(f"{what}: {error.strerror}")
    if error.errno in FULL:
        return TryLater(f"{what}: {error.strerror}: make room on the disk")
    if isinstance(error, PermissionError):
        return TryLater(f"{what}: {error.strerror}: give the workers' user the folder")
    return TryLater(f"{what}: {error.strerror or error}")


def _to_disk(folder: Path) -> None:
    """A new name lasts once its folder is on the disk, too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _folders(root: Path, folder: Path) -> None:
    """Make the folders down to `folder`, for their owner only."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        if one != root:
            _to_disk(one.parent)


def _write(root: Path, path: Path, content: bytes) -> bool:
    """Written beside, brought to the disk, then linked: a name has all of its bytes, or does not exist."""
    _folders(root, path.parent)
    beside = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - with a mode
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return False
        else:
            return True
        finally:
            _to_disk(path.parent)  # also for a name of before: its writer may have died before it did this
    finally:
        with suppress(OSError):
            beside.unlink()


class LocalFiles:
    """A folder. Files are 0600 in folders of 0700, and on the disk (fsync) before anybody is told so.

    obstore's own local store is not used: it does not call fsync, and its files are readable for all.
    """

    def __init__(self, root: Path) -> None:
        """`root` is made when the first file is written."""
        self._root = root.absolute()

    async def create(self, name: str, content: bytes, *, media_type: str) -> bool:  # noqa: ARG002 - a folder keeps no types
        """Write a new file. False when the name is taken. Raises TryLater when the disk is full or away."""
        assert_outside_transaction(f"creating {name}")
        path = self._root / checked_name(name)
        try:
            return await asyncio.to_thread(_write, self._root, path, content)
        except OSError as error:
            raise _verb(error, f"{self.url(name)} cannot be written") from error

    async def read(self, name: str) -> bytes:
        """The file's content. Raises FileNotFoundError, or TryLater when the disk is away."""
        assert_outside_transaction(f"reading {name}")
        path = self._root / checked_name(name)
        try:
            return await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _verb(error, f"{self.url(name)} cannot be read") from error

    def url(self, name: str) -> str:
        """`file:///folder/name`."""
        return (self._root / checked_name(name)).as_uri()

    async def close(self) -> None:
        """Nothing is held open."""
