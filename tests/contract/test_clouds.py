"""Documents at Google's and Azure's storage: created under a condition, never replaced, read back, and told of."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.contract.clouds import Cloud, cloud
from worker.adapters.storage import check, storage
from worker.errors import TryLater
from worker.ports import Files

PDF = "application/pdf"
ADDRESSES = {"google": "gs://documents/of/2026", "azure": "az://documents/of/2026"}


@pytest.fixture
def there() -> Iterator[Cloud]:
    with cloud() as running:
        yield running


@pytest.fixture(params=sorted(ADDRESSES))
def where(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def files(there: Cloud, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Files:
    for name, value in getattr(there, where).items():
        monkeypatch.setenv(name, value)
    return storage(ADDRESSES[where], tmp_path)


async def test_what_was_written_is_read(files: Files, there: Cloud, where: str) -> None:
    assert await files.create("API-202611-0001-0f.pdf", b"%PDF-1.7 \x00\xff", media_type=PDF)
    assert await files.read("API-202611-0001-0f.pdf") == b"%PDF-1.7 \x00\xff"
    (path,) = there.objects
    assert unquote(path).endswith("/documents/of/2026/API-202611-0001-0f.pdf")
    _, _, headers = there.asked[0]
    kept_as = {"google": "content-type", "azure": "x-ms-blob-content-type"}[where]
    assert headers[kept_as] == PDF
    assert files.url("a b.pdf") == f"{ADDRESSES[where]}/a%20b.pdf"


async def test_it_is_created_in_one_request_under_a_condition(files: Files, there: Cloud, where: str) -> None:
    assert await files.create("a.pdf", b"x" * 12_000_000, media_type=PDF)
    ((method, _, headers),) = there.asked
    assert method == "PUT"
    assert headers[{"google": "x-goog-if-generation-match", "azure": "if-none-match"}[where]] in {"0", "*"}
    if where == "azure":
        assert headers["authorization"].startswith("SharedKey books:")
        assert headers["x-ms-blob-type"] == "BlockBlob"


async def test_a_file_is_written_once_also_by_many(files: Files) -> None:
    contents = [str(number).encode() * 1000 for number in range(8)]
    won = await asyncio.gather(*(files.create("race.pdf", one, media_type=PDF) for one in contents))
    assert won.count(True) == 1
    assert await files.read("race.pdf") == contents[won.index(True)]
    assert not await files.create("race.pdf", b"later", media_type=PDF)


async def test_what_is_not_there_is_told_so(files: Files) -> None:
    with pytest.raises(FileNotFoundError):
        await files.read("nothing.pdf")


async def test_the_doctor_writes_and_reads(files: Files) -> None:
    await check(files)
    await check(files)


@pytest.mark.parametrize("status", [401, 403])
async def test_access_denied(files: Files, there: Cloud, status: int) -> None:
    there.refusing = status
    with pytest.raises(TryLater, match="access denied"):
        await files.create("a.pdf", b"x", media_type=PDF)
    with pytest.raises(TryLater, match="access denied"):
        await files.read("a.pdf")
    assert there.objects == {}


async def test_a_storage_in_trouble_is_waited_for(files: Files, there: Cloud) -> None:
    there.refusing = 503
    with pytest.raises(TryLater, match="cannot be written"):
        await files.create("a.pdf", b"x", media_type=PDF)
    there.refusing = None
    assert await files.create("a.pdf", b"x", media_type=PDF)
