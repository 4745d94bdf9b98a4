"""The letter that brings an invoice is signed by the seller who is on it."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from jobs.invoices.letterhead import letterhead, logos_of
from jobs.invoices.samples_parts import ASSETS
from jobs.mail.brand import Brand
from tests.conftest import MovedClock
from tests.invoices.office import SELLERS, Office, draft
from tests.mail.carriers import FakeMailer

BRAND = Brand("Billing", color="#123456", url="https://billing.example", support_url="https://help.example")


@pytest.fixture
def office(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Office:
    return Office(engine, clock, tmp_path)


async def test_each_seller_signs_their_own(office: Office) -> None:
    assert isinstance(office.mailer, FakeMailer)
    await office.issue(draft(locale="en"))
    await office.work()
    await office.issue(draft(locale="en", seller="isles"))
    await office.work()
    for sent, name in zip(office.mailer.letters(), ("Nordlicht GmbH", "Northern Isles Ltd"), strict=True):
        body = sent.get_body(("plain",))
        assert body is not None
        assert f"Kind regards\r\n{name}" in body.get_content()
        assert f"from {name}" in str(sent["subject"])


async def test_a_seller_has_their_address_colour_logo_and_ways_to_be_reached(office: Office) -> None:
    logo = next(iter(ASSETS.values()))
    sha256 = hashlib.sha256(logo).hexdigest()
    file = office.folder / "sellers.toml"
    (office.folder / "logo.png").write_bytes(logo)
    more = 'logo = "logo.png"\ncolor = "#aa0000"\nemail = "ap@nord.example"\nwebsite = "https://nord.example"\n'
    file.write_text(SELLERS.replace('name = "Nordlicht GmbH"\n', f'name = "Nordlicht GmbH"\n{more}'))
    row = await office.document(await office.issue())
    assert logos_of([row]) == [sha256]
    async with office.engine.connect() as conn:
        pictures = await documents.assets(conn, [sha256])
    signed = letterhead(BRAND, [row], pictures)
    assert (signed.name, signed.color, signed.address) == ("Nordlicht GmbH", "#aa0000", "Torstraße 1\n10119 Berlin")
    assert (signed.support_url, signed.url) == ("mailto:ap@nord.example", "https://nord.example")
    assert signed.logo is not None
    assert signed.logo.data == logo
    assert letterhead(BRAND, [row], {}).logo is None, "never the brand's beside another's name"


async def test_where_the_seller_is_the_brand_or_there_are_several_it_is_the_brand(office: Office) -> None:
    first = await office.document(await office.issue())
    second = await office.document(await office.issue(draft(seller="isles")))
    own = Brand("Nordlicht GmbH", color="#123456")
    assert letterhead(own, [first], {}) is own
    assert letterhead(BRAND, [first, second], {}) is BRAND
    assert letterhead(BRAND, [], {}) is BRAND
    async with office.engine.connect() as conn:
        assert (await conn.execute(text("SELECT count(*) FROM document_assets"))).scalar() == 0
