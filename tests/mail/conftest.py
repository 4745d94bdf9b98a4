"""A brand for the letters of the tests, and a post office that sends them."""

import struct
import zlib

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.mail.brand import Brand, logo_from
from tests.conftest import MovedClock
from tests.mail.carriers import FakeMailer
from tests.mail.post import Post


def png(width: int, height: int) -> bytes:
    """A white picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def picture() -> bytes:
    return png(440, 88)


@pytest.fixture
def brand() -> Brand:
    return Brand(
        "Northwind",
        address="Torstraße 1\n10119 Berlin",
        support_url="mailto:help@northwind.example",
        url="https://northwind.example",
        default_timezone="Europe/Berlin",
    )


@pytest.fixture
def branded(brand: Brand, picture: bytes) -> Brand:
    """The same with a logo, and support on a page."""
    return Brand(
        brand.name, support_url="https://northwind.example/help", default_locale="de-AT", logo=logo_from(picture)
    )


@pytest.fixture
def fake() -> FakeMailer:
    return FakeMailer()


@pytest.fixture
def post(engine: AsyncEngine, clock: MovedClock, fake: FakeMailer) -> Post:
    return Post(engine, clock, fake)
