"""The letter that brings an invoice is signed by its seller, as the invoice is, whoever signs the other letters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from db.documents import StoredDocument
from jobs.invoices.document import Seller
from jobs.invoices.page_address import rows
from jobs.mail.brand import Brand, logo_from


class _Says(msgspec.Struct, frozen=True):
    """What a document says of its seller; the rest is not read."""

    seller: Seller


def logos_of(documents: Sequence[StoredDocument]) -> list[str]:
    """The SHA-256 of each seller's logo, by which it is kept."""
    return sorted({says.seller.logo for says in map(_read, documents) if says.seller.logo is not None})


def letterhead(brand: Brand, documents: Sequence[StoredDocument], pictures: Mapping[str, bytes]) -> Brand:
    """Who signs a letter with these documents: their seller; `brand` where it is the seller, or they have several.

    `pictures` are logos that are kept, by SHA-256. Frozen with the document, so that each copy of a letter is the same.
    Raises ConfigurationError when a logo is damaged.
    """
    sellers = {says.seller.party.name: says.seller for says in map(_read, documents)}
    if len(sellers) != 1 or brand.name in sellers:
        return brand
    ((name, seller),) = sellers.items()
    party = seller.party
    logo = pictures.get(seller.logo or "")
    return replace(
        brand,
        name=name,
        color=seller.color,
        address="\n".join(rows(party.address)) or None,
        support_url=f"mailto:{party.email}" if party.email else brand.support_url,
        url=party.website or brand.url,
        logo=logo_from(logo) if logo is not None else None,
    )


def _read(document: StoredDocument) -> _Says:
    return msgspec.convert(document.content, _Says)
