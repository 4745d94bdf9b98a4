"""What customers get by a link at the public door: the stored bytes, or a word that tells nothing to strangers."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from db.documents import NewDocument
from intake.documents import disposition
from tests.conftest import MovedClock
from tests.intake.kit import SpyBell, door, serving
from worker.adapters.storage import storage
from worker.links import document_path
from worker.settings import Settings

SECRET = b"s" * 32
PDF = b"%PDF-1.7\n" + b"0123456789" * 5000


@dataclass
class Counter:
    """The public door with a folder of documents behind it."""

    client: httpx.AsyncClient
    engine: AsyncEngine
    clock: MovedClock
    home: Path

    async def document(self, number: str = "2026-0001", *, stored: bool = True, content: bytes = PDF) -> int:
        """Issue a document, and keep its PDF."""
        new = NewDocument(
            f"invoice/{number}", "invoice", number, "en", "eur", 100, {}, self.clock.now(), stripe_object_id="in_1"
        )
        async with self.engine.begin() as conn:
            made = await documents.add(conn, new, now=self.clock.now())
            assert made is not None
            row = await documents.get(conn, made)
            assert row is not None
        if stored:
            await storage(None, self.home).create(row.file, content, media_type="application/pdf")
            async with self.engine.begin() as conn:
                sha256 = hashlib.sha256(PDF).hexdigest()
                await documents.stored(conn, made, sha256=sha256, size=len(PDF), now=self.clock.now())
        return made

    def link(self, document: int, *, secret: bytes = SECRET) -> str:
        return document_path(document, ends=self.clock.now() + timedelta(days=1), secrets=[secret])


@pytest.fixture
async def counter(engine: AsyncEngine, database_url: str, tmp_path: Path) -> AsyncIterator[Counter]:
    settings = Settings(
        database_url=database_url,
        redis_url="unix:///nowhere/valkey.sock",
        billing_home=tmp_path,
        stripe_webhook_secret=SecretStr("whsec_test"),
        billing_link_secret=SecretStr(f"{'n' * 40},{SECRET.decode()}"),
    )
    clock = MovedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    async with (
        serving(door(settings, SpyBell(), clock=clock)) as served,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client,
    ):
        yield Counter(client, engine, clock, tmp_path)


async def test_a_link_brings_the_stored_bytes(counter: Counter) -> None:
    link = counter.link(await counter.document())
    answer = await counter.client.get(link)
    assert (answer.status_code, answer.content) == (200, PDF)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].startswith('attachment; filename="invoice-2026-0001.pdf"')
    assert answer.headers["cache-control"].startswith("private")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    same = await counter.client.get(link, headers={"if-none-match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


@pytest.mark.parametrize("given", ["*", 'W/"x", {etag}', "W/{etag}"])
async def test_what_is_known_already_is_not_sent_again(counter: Counter, given: str) -> None:
    """RFC 9110, 13.1.2: `*` is whatever there is; a list names one of them, and is compared weakly."""
    link = counter.link(await counter.document())
    etag = (await counter.client.head(link)).headers["etag"]
    for ask in (counter.client.get, counter.client.head):
        answer = await ask(link, headers={"if-none-match": given.format(etag=etag)})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert (await counter.client.get(link, headers={"if-none-match": '"*"'})).status_code == 200
    waiting = counter.link(await counter.document("2026-0009", stored=False))
    assert (await counter.client.get(waiting, headers={"if-none-match": "*"})).status_code == 503


async def test_head_tells_what_get_would_bring(counter: Counter) -> None:
    link = counter.link(await counter.document())
    got, headed = await counter.client.get(link), await counter.client.head(link)
    assert (headed.status_code, headed.content) == (200, b"")
    told = {"content-length", "content-type", "content-disposition", "etag", "cache-control"}
    assert {name: headed.headers[name] for name in told} == {name: got.headers[name] for name in told}


async def test_what_is_not_our_link_is_not_there(counter: Counter) -> None:
    made = await counter.document()
    good = counter.link(made)
    other = good.replace(f"/documents/{made}?", f"/documents/{made + 1}?")
    wrong = [other, good[:-1] + ("A" if good[-1] != "A" else "B"), counter.link(made, secret=b"x" * 32), good + "0"]
    wrong += [f"/documents/{made}", f"/documents/{made}?expires=1", "/documents/1;drop", counter.link(made + 99)]
    for link in wrong:
        answer = await counter.client.get(link)
        assert (answer.status_code, answer.text) == (404, "Not found.\n"), link


async def test_a_link_that_is_over_says_so(counter: Counter) -> None:
    link = counter.link(await counter.document())
    counter.clock.move(timedelta(days=1))
    answer = await counter.client.get(link)
    assert answer.status_code == 410
    assert "ask us for a new one" in answer.text


async def test_a_document_that_is_not_rendered_yet_is_to_be_asked_for_again(counter: Counter) -> None:
    made = await counter.document(stored=False)
    answer = await counter.client.get(counter.link(made))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    async with counter.engine.begin() as conn:
        await documents.not_stored(conn, made, "does not add up", dead=True)
    answer = await counter.client.head(counter.link(made))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3600")


async def test_a_file_that_is_lost_or_was_changed_is_never_sent(counter: Counter) -> None:
    changed = await counter.document("2026-0002", content=PDF + b"!")
    assert (await counter.client.get(counter.link(changed))).status_code == 503
    lost = await counter.document("2026-0003")
    async with counter.engine.connect() as conn:
        row = await documents.get(conn, lost)
    assert row is not None
    (counter.home / "documents" / row.file).unlink()
    answer = await counter.client.get(counter.link(lost))
    assert (answer.status_code, answer.text) == (
        503,
        "Your document cannot be fetched just now. Please try again later.\n",
    )


async def test_without_a_secret_the_door_says_that_links_are_not_set_up(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=database_url, redis_url="unix:///nowhere/valkey.sock", billing_home=tmp_path)
    async with serving(door(settings, SpyBell())) as served:
        answer = await served.get("/documents/1?expires=1&signature=x")
        assert answer.status == 503


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("invoice-2026-0001.pdf", "invoice-2026-0001.pdf"),
        ("Rechnung Nr. 7/2026.pdf", "Rechnung-Nr.-7-2026.pdf"),
        ('a"; filename="b.exe', "a-filename-b.exe"),
        ("請求書\r\nX: y", "X-y"),
        ("請求書", "document.pdf"),
    ],
)
def test_a_file_name_breaks_no_header(name: str, plain: str) -> None:
    made = disposition(name)
    assert f'filename="{plain}"' in made
    assert made.isascii()
    assert made.isprintable()
