"""Documents are kept where STORAGE_URL says: in a folder, or at S3, Google or Azure; written once, never changed."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import ObjectStore, from_url

from worker.adapters.storage_local import LocalFiles, checked_name
from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater
from worker.ports import Files
from worker.settings import ConfigurationError

CLIENT: dict[str, Any] = {
    "connect_timeout": timedelta(seconds=5),
    "timeout": timedelta(seconds=20),
    "allow_http": True,
}
"""For one request: a storage that accepts connections and then says nothing must not hold a worker for long.

HTTPS is what clouds are spoken to by; plain HTTP only where the endpoint itself is named so, for an S3 of one's own.
"""

RETRIES: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}
"""obstore's own quick ones; longer outages are the queue's."""

_from_url: Callable[..., ObjectStore] = from_url
"""Its overloads want to know the kind of storage beforehand."""

PROBE = "billing-check.txt"
"""What `check` writes once and reads; it stays, for whoever may write here may not always delete."""


def _verb(error: Exception, what: str) -> TryLater | Refused:
    """A storage that is away or refuses us is waited for: the document has its number, and the mistake can be mended.

    Only a request that no configuration could make good is refused.
    """
    reason = str(error).partition("\n")[0]
    if isinstance(error, UnauthenticatedError | PermissionDeniedError):
        return TryLater(f"{what}: access denied: look at the storage's credentials and policy ({reason})")
    if isinstance(error, InvalidPathError | NotSupportedError | ValueError | NotImplementedError):
        return Refused(f"{what}: {reason}")
    if isinstance(error, FileNotFoundError):
        return TryLater(f"{what}: there is no such bucket or container ({reason})")
    return TryLater(f"{what}: {reason}")


class ObjectFiles:
    """A bucket or container, below a prefix. An object is there whole or not at all, and no `create` replaces one."""

    def __init__(self, store: ObjectStore, address: str) -> None:
        """`address` is what names begin with for people: `s3://bucket/prefix`."""
        self._store = store
        self._address = address.rstrip("/")

    async def create(self, name: str, content: bytes, *, media_type: str) -> bool:
        """Write a new object. False when the name is taken. Raises TryLater when the storage is away."""
        assert_outside_transaction(f"creating {name}")
        path = str(checked_name(name))
        try:
            # One request, which the storage itself makes conditional (`If-None-Match: *`).
            await self._store.put_async(
                path, content, mode="create", use_multipart=False, attributes={"Content-Type": media_type}
            )
        except AlreadyExistsError:
            return False
        except (BaseError, OSError, ValueError, NotImplementedError) as error:
            raise _verb(error, f"{self.url(name)} cannot be written") from error
        return True

    async def read(self, name: str) -> bytes:
        """The object's content. Raises FileNotFoundError, or TryLater when the storage is away."""
        assert_outside_transaction(f"reading {name}")
        path = str(checked_name(name))
        try:
            found = await self._store.get_async(path)
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise FileNotFoundError(self.url(name)) from error
        except (BaseError, OSError, ValueError, NotImplementedError) as error:
            raise _verb(error, f"{self.url(name)} cannot be read") from error

    def url(self, name: str) -> str:
        """`s3://bucket/prefix/name`."""
        return f"{self._address}/{quote(str(checked_name(name)))}"

    async def close(self) -> None:
        """Nothing to do: obstore lets go of its connections by itself."""


def storage(url: str | None, home: Path) -> Files:
    """The storage of STORAGE_URL; by default the folder `documents` of `home`.

    Credentials come from the storage's own variables (`AWS_…`, `GOOGLE_…`, `AZURE_…`) or from the machine's role.
    Raises ConfigurationError.
    """
    if url is None:
        return LocalFiles(home.expanduser() / "documents")
    if urlsplit(url).scheme == "file":
        return LocalFiles(Path(unquote(urlsplit(url).path)))
    try:
        store = _from_url(url, client_options=CLIENT, retry_config=RETRIES)
    except (BaseError, UnknownConfigurationKeyError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"STORAGE_URL: cannot be used as it is: {reason}") from error
    return ObjectFiles(store, url)


async def check(files: Files) -> None:
    """Write and read a small file. Raises TryLater or Refused, which say what is wrong; for `billing doctor`."""
    wanted = b"billing keeps documents here\n"
    await files.create(PROBE, wanted, media_type="text/plain")
    if await files.read(PROBE) != wanted:
        raise Refused(f"{files.url(PROBE)} holds something else than was written: is the storage somebody else's?")
