"""Who sells and who buys in the samples, and how a sample comes to add up."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from db.money import rounded
from jobs.invoices.document import (
    Address,
    Bank,
    Document,
    Kind,
    Line,
    Party,
    Period,
    Seller,
    Tax,
    TaxId,
)
from jobs.invoices.page_words import TEMPLATES

DAY = timedelta(days=1)
MARCH = Period(datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC))
"""March by Berlin's clock, which was put forward on the 29th."""

PAY = (
    "https://invoice.stripe.com/i/acct_1032D82eZvKYlo2C/live_YWNjdF8xMDMyRDgyZVp2S1lsbzJDLF9RZ1ZzQUJDREVGR0hJSktM?s=ap"
)

LOGO = (TEMPLATES / "sample.png").read_bytes()
ASSETS = {sha256(LOGO).hexdigest(): LOGO}
"""Pictures of the samples, as `page.request` takes them."""

BERLIN = Party(
    name="Nordlicht Software GmbH",
    address=Address(line1="Torstraße 119", city="Berlin", postal_code="10119", country="DE"),
    email="rechnung@nordlicht.example",
    phone="+49 30 5550 1234",
    website="nordlicht.example",
    tax_ids=(TaxId("eu_vat", "DE136695976"),),
    registration="HRB 128341 B, Amtsgericht Charlottenburg",
)
NORDLICHT = Seller(
    party=BERLIN,
    color="#0f5f8c",
    logo=next(iter(ASSETS)),
    bank=Bank(
        holder="Nordlicht Software GmbH", iban="DE02120300000000202051", bic="BYLADEM1001", name="Deutsche Kreditbank"
    ),
    footer=("Geschäftsführung: Ada Byron, Jonas Weiß",),
)
ACME = Seller(
    party=Party(
        name="Acme Cloud, Inc.",
        address=Address(
            line1="548 Market Street",
            line2="Suite 1200",
            city="San Francisco",
            state="CA",
            postal_code="94104",
            country="US",
        ),
        email="billing@acme.example",
        phone="+1 415 555 0142",
        website="acme.example",
        tax_ids=(TaxId("us_ein", "94-3128471"),),
    ),
    color="#3552d1",
)
LOVELACE = Party(
    name="Lovelace Analytics Ltd",
    address=Address(line1="12 St James's Square", city="London", postal_code="SW1Y 4LB", country="GB"),
    email="accounts@lovelace.example",
    tax_ids=(TaxId("gb_vat", "GB980780684"),),
)
WEBER = Party(
    name="Weber & Söhne Maschinenbau GmbH",
    address=Address(line1="Industriestraße 8", city="Stuttgart", postal_code="70565", country="DE"),
    email="buchhaltung@weber.example",
    tax_ids=(TaxId("eu_vat", "DE811115368"),),
)
DUPONT = Party(
    name="Établissements Dupont & Fils SARL",
    address=Address(line1="27 rue de l'Évêché", line2="Bâtiment C", city="Lyon", postal_code="69002", country="FR"),
    email="compta@dupont.example",
    tax_ids=(TaxId("eu_vat", "FR40303265045"),),
)
NUNEZ = Party(
    name="Núñez y Asociados, S.L.",
    address=Address(
        line1="Calle de Alcalá 45, 3.º B", city="Madrid", state="Madrid", postal_code="28014", country="ES"
    ),
    email="facturas@nunez.example",
    tax_ids=(TaxId("eu_vat", "ESB58378431"),),
)
SAKURA = Party(
    name="株式会社さくら解析",
    address=Address(
        line1="丸の内1丁目9番2号",
        line2="グラントウキョウサウスタワー 12階",
        city="千代田区",
        state="東京都",
        postal_code="100-6701",
        country="JP",
    ),
    email="keiri@sakura.example",
)


def line(
    description: str, quantity: str, price: str, *, unit: str | None = None, taxes: tuple[int, ...] = (), **more: Any
) -> Line:
    """A line of `quantity` at `price` (decimals; the price in minor units), its amount rounded once."""
    amount = rounded(Fraction(Decimal(quantity)) * Fraction(Decimal(price)))
    made = Line(
        description=description,
        amount_minor=amount,
        quantity=quantity,
        unit_price_minor=price,
        unit=unit,
        taxes=taxes,
    )
    return replace(made, **more)


def added(document: Document) -> Document:
    """`document` with all its sums reckoned from its lines, discounts, taxes, credits and payments."""
    subtotal = sum(each.amount_minor for each in document.lines)
    discount = sum(each.minor for each in document.discounts)
    extra = sum(tax.amount_minor for tax in document.taxes if not tax.inclusive)
    total = subtotal - discount + extra
    settled = sum(each.minor for each in document.credits) + sum(each.amount_minor for each in document.payments)
    return replace(
        document,
        subtotal_minor=subtotal,
        discount_minor=discount,
        tax_minor=sum(tax.amount_minor for tax in document.taxes),
        total_minor=total,
        due_minor=max(0, total - settled),
    )


def rate(name: str, percent: str, lines: tuple[Line, ...], *, off: int = 0, inclusive: bool = False) -> Tax:
    """A rate of tax on all of `lines`, less `off`, rounded once."""
    gross = sum(each.amount_minor for each in lines) - off
    share = Fraction(Decimal(percent)) / 100
    if inclusive:
        amount = rounded(gross * share / (1 + share))
        return Tax(name, gross - amount, amount, percent=percent, inclusive=True)
    return Tax(name, gross, rounded(gross * share), percent=percent)


def document(kind: Kind, seller: Seller, buyer: Party, lines: tuple[Line, ...], **more: Any) -> Document:
    """A document of March 2026 that adds up."""
    made = Document(
        kind=kind,
        number="RE-2026-0042",
        currency="eur",
        locale="en",
        timezone="Europe/Berlin",
        issued_on=date(2026, 4, 1),
        seller=seller,
        buyer=buyer,
        lines=lines,
        subtotal_minor=0,
        total_minor=0,
        due_minor=0,
    )
    return added(replace(made, **more))
