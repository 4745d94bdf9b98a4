"""One suite for every storage: written whole, once, read back, and what is away or refused is told by our two verbs."""

import asyncio
import json
import os
import resource
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from obstore.store import S3Store
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import MovedClock
from tests.contract.storages import BUCKET, S3, MemoryFiles, s3_server
from tests.worker.kit import NoStripe
from worker.adapters import storage as adapter
from worker.adapters.storage import ObjectFiles, check, storage
from worker.adapters.storage_local import LocalFiles
from worker.deps import Deps
from worker.errors import Refused, TryLater
from worker.ports import Files
from worker.settings import ConfigurationError

PDF = "application/pdf"
NAMES = ("a.pdf", "invoices/2026/11/API-202611-0001-0f.pdf", "ünï 請求書/счёт #1?&%2F.pdf", f"{'n' * 180}.pdf")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def at_s3(s3: S3, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return storage(f"s3://{BUCKET}/{abs(hash(request.node.name))}", tmp_path)


@pytest.fixture
def deps(engine: AsyncEngine, clock: MovedClock) -> Deps:
    return Deps(engine=engine, clock=clock, stripe=NoStripe())


@pytest.fixture
def in_folder(tmp_path: Path) -> Files:
    return storage(None, tmp_path / "home")


@pytest.fixture(params=["memory", "folder", "s3"])
def files(request: pytest.FixtureRequest) -> Files:
    match request.param:
        case "memory":
            return MemoryFiles()
        case "folder":
            return request.getfixturevalue("in_folder")
        case _:
            return request.getfixturevalue("at_s3")


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_written_is_read(files: Files, name: str) -> None:
    assert await files.create(name, b"%PDF-1.7 \x00\xff", media_type=PDF)
    assert await files.read(name) == b"%PDF-1.7 \x00\xff"


async def test_a_file_is_written_once(files: Files) -> None:
    assert await files.create("a/b.pdf", b"first", media_type=PDF)
    assert not await files.create("a/b.pdf", b"second", media_type=PDF)
    assert await files.read("a/b.pdf") == b"first"


async def test_one_of_many_writers_at_once_wins(files: Files) -> None:
    contents = [str(n).encode() * 1000 for n in range(12)]
    won = await asyncio.gather(*(files.create("race.pdf", one, media_type=PDF) for one in contents))
    assert won.count(True) == 1
    assert await files.read("race.pdf") == contents[won.index(True)]


async def test_what_is_not_there_is_told_so(files: Files) -> None:
    with pytest.raises(FileNotFoundError):
        await files.read("nothing/here.pdf")


@pytest.mark.parametrize("size", [0, 1, 12 * 1024 * 1024])
async def test_sizes(files: Files, size: int) -> None:
    content = os.urandom(size)
    assert await files.create("big.pdf", content, media_type=PDF)
    assert await files.read("big.pdf") == content


async def test_every_file_has_an_address(files: Files) -> None:
    url = urlsplit(files.url("a/b c.pdf"))
    assert url.scheme in {"memory", "file", "s3"}
    assert url.path.endswith("/a/b c.pdf" if url.scheme == "memory" else "/a/b%20c.pdf")


async def test_the_doctor_writes_and_reads(files: Files) -> None:
    await check(files)
    await check(files)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a\0b", "./a", "a\\b"])
@pytest.mark.parametrize("kind", ["in_folder", "at_s3"])
async def test_no_name_leads_out_of_the_storage(request: pytest.FixtureRequest, kind: str, name: str) -> None:
    files: Files = request.getfixturevalue(kind)
    with pytest.raises(Refused):
        await files.create(name, b"x", media_type=PDF)
    with pytest.raises(Refused):
        await files.read(name)


@pytest.mark.parametrize("kind", ["in_folder", "at_s3"])
async def test_nothing_is_stored_inside_a_transaction(request: pytest.FixtureRequest, kind: str, deps: Deps) -> None:
    files: Files = request.getfixturevalue(kind)
    async with deps.tx():
        with pytest.raises(RuntimeError, match="inside an open transaction"):
            await files.create("a.pdf", b"x", media_type=PDF)
        with pytest.raises(RuntimeError, match="inside an open transaction"):
            await files.read("a.pdf")


# --- a folder ---


async def test_files_are_their_owners_only(in_folder: Files, tmp_path: Path) -> None:
    await in_folder.create("invoices/2026/a.pdf", b"x", media_type=PDF)
    root = tmp_path / "home" / "documents"
    for path, mode in ((root / "invoices" / "2026" / "a.pdf", 0o600), (root / "invoices", 0o700), (root, 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


async def test_what_is_told_to_be_written_is_on_the_disk(
    in_folder: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes first, then the name, then the folder that holds the name."""
    done: list[str] = []
    real_sync, real_link = os.fsync, os.link

    def sync(handle: int) -> None:
        done.append(f"sync {'folder' if stat.S_ISDIR(os.fstat(handle).st_mode) else 'file'}")
        real_sync(handle)

    def link(one: Path, other: Path) -> None:
        done.append("link")
        real_link(one, other)

    (tmp_path / "home" / "documents").mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    await in_folder.create("a.pdf", b"x", media_type=PDF)
    assert done == ["sync file", "link", "sync folder"]
    done.clear()
    await in_folder.create("a.pdf", b"x", media_type=PDF)
    assert done[-1] == "sync folder", "who wrote it may have died before"


def parts(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextmanager
def files_of_at_most(size: int) -> Generator[None]:
    """What a full disk does, without one: a write beyond `size` bytes fails halfway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_leaves_nothing_half_written(in_folder: Files, tmp_path: Path) -> None:
    with files_of_at_most(100_000), pytest.raises(TryLater, match="make room"):
        await in_folder.create("a/b.pdf", b"x" * 300_000, media_type=PDF)
    assert parts(tmp_path / "home") == []
    assert await in_folder.create("a/b.pdf", b"x" * 300_000, media_type=PDF)
    assert parts(tmp_path / "home") == ["documents/a/b.pdf"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes the tmpfs")
async def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = await asyncio.create_subprocess_exec(
        "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk), stderr=asyncio.subprocess.DEVNULL
    )
    if await mount.wait():
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        files = LocalFiles(disk)
        with pytest.raises(TryLater, match="make room"):
            await files.create("a.pdf", b"x" * 1_000_000, media_type=PDF)
        assert parts(disk) == []
        assert await files.create("a.pdf", b"x" * 1000, media_type=PDF)
    finally:
        await (await asyncio.create_subprocess_exec("umount", str(disk))).wait()


async def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    files = storage((tmp_path / "file").as_uri(), tmp_path)
    with pytest.raises(Refused, match="cannot be written"):
        await files.create("a.pdf", b"x", media_type=PDF)


async def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o500)
    with pytest.raises(TryLater, match="give the workers' user the folder"):
        await LocalFiles(folder).create("a/b.pdf", b"x", media_type=PDF)


def test_addresses_of_folders(tmp_path: Path) -> None:
    assert storage("file:///var/lib/b%20c", tmp_path).url("x.pdf") == "file:///var/lib/b%20c/x.pdf"
    assert storage(None, Path("/srv")).url("x.pdf") == "file:///srv/documents/x.pdf"


# --- S3 ---


async def test_s3_is_told_the_type(at_s3: Files) -> None:
    await at_s3.create("typed.pdf", b"x", media_type=PDF)
    bucket = S3Store(BUCKET, client_options={"allow_http": True})
    found = await bucket.get_async(urlsplit(at_s3.url("typed.pdf")).path.lstrip("/"))
    assert found.attributes["Content-Type"] == PDF


async def test_a_bucket_that_is_not_there(at_s3: Files, tmp_path: Path) -> None:
    assert isinstance(at_s3, ObjectFiles)
    with pytest.raises(TryLater, match="no such bucket"):
        await storage("s3://nobodys", tmp_path).create("a.pdf", b"x", media_type=PDF)


async def test_access_denied(at_s3: Files, s3: S3) -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": "*"}
        ],
    }
    status, body, _ = s3.ask("PUT", f"/{BUCKET}?policy", json.dumps(policy).encode())
    assert status in {200, 204}, body
    try:
        with pytest.raises(TryLater, match="access denied"):
            await at_s3.create("a.pdf", b"x", media_type=PDF)
        with pytest.raises(TryLater, match="access denied"):
            await check(at_s3)
    finally:
        s3.ask("DELETE", f"/{BUCKET}?policy")


async def test_a_storage_that_is_away(monkeypatch: pytest.MonkeyPatch, s3: S3, tmp_path: Path) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    files = storage(f"s3://{BUCKET}", tmp_path)
    with pytest.raises(TryLater, match="cannot be written"):
        await files.create("a.pdf", b"x", media_type=PDF)
    with pytest.raises(TryLater, match="cannot be read"):
        await files.read("a.pdf")


async def test_a_storage_that_says_nothing(monkeypatch: pytest.MonkeyPatch, s3: S3, tmp_path: Path) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(adapter, "CLIENT", {**adapter.CLIENT, "timeout": timedelta(seconds=1)})
    files = storage(f"s3://{BUCKET}/silent", tmp_path)
    with s3.frozen(), pytest.raises(TryLater, match="cannot be written"):
        async with asyncio.timeout(30):
            await files.create("a.pdf", b"x", media_type=PDF)
    if not await files.create("a.pdf", b"x", media_type=PDF):  # it may have done what it did not answer
        assert await files.read("a.pdf") == b"x"


def test_what_cannot_be_used_is_told_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ConfigurationError, match="STORAGE_URL"):
        storage("az://container", tmp_path)
