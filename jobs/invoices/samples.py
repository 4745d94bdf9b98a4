"""Documents that nobody was sent: samples of each kind, for previews, for the tests, and for the benchmark."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

from msgspec.structs import replace

from db.money import rounded
from jobs.invoices.document import (
    Address,
    Amount,
    Bank,
    Document,
    Kind,
    Line,
    Party,
    Payment,
    Period,
    Reference,
    Seller,
    Stamp,
    Tax,
    TaxCategory,
    TaxId,
)
from jobs.invoices.samples_parts import (
    ACME,
    DAY,
    DUPONT,
    LOVELACE,
    MARCH,
    NORDLICHT,
    NUNEZ,
    PAY,
    SAKURA,
    WEBER,
    added,
    document,
    line,
    rate,
)

TEN = (
    line("Team plan", "12", "4900", unit="seats"),
    line("Data warehouse connector", "2", "12500"),
    line("API requests", "1204500", "0.25", unit="requests", details=("First 100,000 included in the plan",)),
    line("Event storage", "318.4", "12.5", unit="GB"),
    line("Premium support", "1", "29900"),
    line("Single sign-on", "12", "300", unit="seats"),
    line("Audit log, 365 days", "1", "9900"),
    line("Sandbox environment", "3", "1900"),
    line("Onboarding workshop, half a day", "1", "45000", period=Period(MARCH.start + 8 * DAY, MARCH.start + 9 * DAY)),
    line("Custom domain", "1", "500"),
)


def invoice() -> Document:
    """The one page with ten lines that the benchmark renders."""
    return document(
        Kind.INVOICE,
        NORDLICHT,
        LOVELACE,
        TEN,
        taxes=(rate("VAT", "19", TEN),),
        due_on=date(2026, 5, 1),
        period=MARCH,
        terms="net_30",
        pay_url=PAY,
        buyer_reference="PO-88120",
        notes=("Thank you for your business.",),
    )


def german() -> Document:
    """The same, in German, among Germans."""
    lines = (
        line("Tarif Team", "12", "4900", unit="Plätze"),
        line("Anbindung Data-Warehouse", "2", "12500"),
        line(
            "API-Anfragen", "1204500", "0.25", unit="Anfragen", details=("Die ersten 100.000 sind im Tarif enthalten",)
        ),
        line("Speicher für Ereignisse", "318.4", "12.5", unit="GB"),
        line(
            "Einführungsworkshop, halbtägig", "1", "45000", period=Period(MARCH.start + 8 * DAY, MARCH.start + 9 * DAY)
        ),
    )
    return document(
        Kind.INVOICE,
        NORDLICHT,
        WEBER,
        lines,
        locale="de",
        taxes=(rate("USt.", "19", lines),),
        due_on=date(2026, 5, 1),
        period=MARCH,
        terms="net_30",
        pay_url=PAY,
        buyer_reference="BE-2026/117",
        notes=("Vielen Dank für Ihren Auftrag!",),
    )


def reverse_charge() -> Document:
    """From Berlin to Lyon: the customer owes the tax."""
    lines = (
        line("Abonnement Équipe", "8", "4900", unit="postes"),
        line("Requêtes API", "350000", "0.25", unit="requêtes"),
        line("Atelier de prise en main", "1", "45000"),
    )
    base = sum(each.amount_minor for each in lines)
    return document(
        Kind.INVOICE,
        NORDLICHT,
        DUPONT,
        lines,
        locale="fr",
        number="RE-2026-0043",
        taxes=(Tax("TVA", base, 0, percent="0", category=TaxCategory.REVERSE_CHARGE),),
        due_on=date(2026, 5, 1),
        period=MARCH,
        terms="net_30",
    )


def spanish() -> Document:
    """Two rates that are contained in the prices, a discount, credits, and a part that was paid."""
    off = Amount("PRIMAVERA20 (20 %)", 3920)
    team = line("Plan Equipo", "4", "4900", unit="puestos", taxes=(0,), discounts=(off,))
    book = line("Manual impreso", "3", "2600", taxes=(1,))
    return document(
        Kind.INVOICE,
        NORDLICHT,
        NUNEZ,
        (team, book),
        locale="es",
        number="RE-2026-0044",
        discounts=(off,),
        taxes=(
            rate("IVA", "21", (team,), off=off.minor, inclusive=True),
            rate("IVA", "4", (book,), inclusive=True),
        ),
        credits=(Amount("Saldo a favor", 5000),),
        payments=(Payment(datetime(2026, 4, 2, 10, tzinfo=UTC), 4000, method="Visa •••• 4242"),),
        due_on=date(2026, 4, 15),
        period=MARCH,
        terms="net_15",
        pay_url=PAY,
    )


def japanese() -> Document:
    """Yen have no decimals; the seller shows its registration number."""
    seller = Seller(
        party=Party(
            name="ノルドリヒト株式会社",
            address=Address(
                line1="恵比寿4丁目20番3号", city="渋谷区", state="東京都", postal_code="150-6018", country="JP"
            ),
            email="seikyu@nordlicht.example",
            phone="+81 3 5550 1234",
            tax_ids=(TaxId("jp_trn", "T1234567890123"),),
        ),
        color="#b5253c",
        bank=Bank(
            holder="ノルドリヒト\N{FULLWIDTH LEFT PARENTHESIS}カ", name="みずほ銀行 恵比寿支店", account="普通 1234567"
        ),
    )
    lines = (
        line("チームプラン", "12", "4900", unit="席"),
        line("APIリクエスト", "1204500", "0.25", unit="件", details=("最初の100,000件はプランに含まれます",)),
        line("導入支援・半日", "1", "60000"),
    )
    return document(
        Kind.INVOICE,
        seller,
        SAKURA,
        lines,
        currency="jpy",
        locale="ja",
        timezone="Asia/Tokyo",
        number="JP-2026-0007",
        taxes=(rate("消費税", "10", lines),),
        due_on=date(2026, 4, 30),
        period=Period(datetime(2026, 2, 28, 15, tzinfo=UTC), datetime(2026, 3, 31, 15, tzinfo=UTC)),
        terms="end_of_month",
        pay_url=PAY,
    )


def american() -> Document:
    """Two taxes on the same lines, paid by card."""
    off = Amount("Startup program (15% off)", 19785)
    lines = (
        line("Scale plan", "1", "99900", discounts=(Amount(off.name, 14985),)),
        line("Additional seats", "8", "4000", unit="seats", discounts=(Amount(off.name, 4800),)),
        Line("Unused time on Starter after March 15, 2026", -1850, proration=True),
    )
    base = sum(each.amount_minor for each in lines) - off.minor
    taxes = tuple(
        Tax(name, base, rounded(Fraction(base) * Fraction(Decimal(percent)) / 100), percent=percent)
        for name, percent in (("California state tax", "6.25"), ("San Francisco county tax", "2.375"))
    )
    made = document(
        Kind.INVOICE,
        ACME,
        Party(
            name="Grace Hopper",
            address=Address(line1="1 Infinite Loop", city="Cupertino", state="CA", postal_code="95014", country="US"),
            email="grace@hopper.example",
        ),
        lines,
        currency="usd",
        locale="en-US",
        timezone="America/Los_Angeles",
        number="ACME-2026-0815",
        discounts=(off,),
        taxes=taxes,
        stamp=Stamp.PAID,
    )
    paid = Payment(datetime(2026, 4, 1, 18, tzinfo=UTC), made.total_minor, method="Visa •••• 4242")
    return added(replace(made, payments=(paid,)))


def credit_note() -> Document:
    """A part of the German invoice is given back."""
    lines = (line("Gutschrift: Ausfall der API am 14. März 2026", "1", "25000"),)
    made = document(
        Kind.CREDIT_NOTE,
        NORDLICHT,
        WEBER,
        lines,
        locale="de",
        number="RK-2026-0003",
        issued_on=date(2026, 4, 9),
        taxes=(rate("USt.", "19", lines),),
        reference=Reference("RE-2026-0042", date(2026, 4, 1)),
        reason="Verfügbarkeit unter der zugesagten von 99,9 %",
    )
    refund = Payment(datetime(2026, 4, 9, 9, tzinfo=UTC), made.total_minor, method="SEPA •••• 3000")
    return added(replace(made, payments=(refund,)))


def receipt() -> Document:
    """What came for an invoice."""
    lines = (line("Plan Équipe", "5", "4900", unit="postes"),)
    made = document(
        Kind.RECEIPT,
        NORDLICHT,
        DUPONT,
        lines,
        locale="fr",
        number="RC-2026-0019",
        taxes=(rate("TVA", "20", lines),),
        reference=Reference("RE-2026-0040", date(2026, 3, 1)),
        stamp=Stamp.PAID,
    )
    paid = Payment(datetime(2026, 4, 1, 9, tzinfo=UTC), made.total_minor, method="Mastercard •••• 4444")
    return added(replace(made, payments=(paid,)))


def kuwaiti() -> Document:
    """Dinars have three decimals; names and addresses run from right to left."""
    lines = (
        line("اشتراك الفريق", "3", "12500"),
        line("Storage", "40.125", "37.5", unit="GB"),
        line("خدمة الدعم 24/7 (بريميوم) API", "1", "45250"),
    )
    buyer = Party(
        name="شركة الخليج للتحليلات (ذ.م.م.)",
        address=Address(line1="شارع فهد السالم 12", line2="الطابق 3", city="الكويت", postal_code="13001", country="KW"),
        email="accounts@khaleej.example",
    )
    return document(
        Kind.INVOICE,
        ACME,
        buyer,
        lines,
        currency="kwd",
        timezone="Asia/Kuwait",
        number="ACME-2026-0816",
        due_on=date(2026, 4, 15),
        terms="due_on_receipt",
    )


SCRIPTS = (
    ("Latin", "Ærøskøbing Łódź Şişli Čeština Ñandú ŵ ő ả", "IS"),
    ("Greek", "Αλέξανδρος Παπαδόπουλος & Υιοί", "GR"),
    ("Cyrillic", "«Северное сияние», Київ, Ђорђе", "RU"),
    ("Hebrew", "שרה כהן ובניו בע״מ", "IL"),
    ("Arabic", "مؤسسة النور للتجارة ١٢٣", "AE"),
    ("Chinese (simplified)", "北京数据科技有限公司 骨 直 门", "CN"),
    ("Chinese (traditional)", "臺灣數據股份有限公司 骨 直 門", "TW"),
    ("Japanese", "株式会社データ解析 ｶﾌﾞ 々〆 骨 直 髙﨑", "JP"),
    ("Korean", "주식회사 데이터분석 김민수", "KR"),
    ("Thai", "บริษัท ข้อมูลไทย จำกัด น้ำ", "TH"),
)
"""Names by script, and a country where each is at home."""


def scripts() -> Document:
    """Names in all scripts that customers write."""
    lines = tuple(line(f"{script}: {name}", "1", "1000") for script, name, _ in SCRIPTS)
    return document(
        Kind.INVOICE,
        NORDLICHT,
        Party(
            name="שרה כהן ובניו בע״מ",
            address=Address(line1="רחוב הרצל 12", city="תל אביב", postal_code="6688312", country="IL"),
        ),
        lines,
        number="RE-2026-0045",
        taxes=(Tax("VAT", 10000, 0, percent="0", category=TaxCategory.OUTSIDE),),
    )


def tiers() -> Document:
    """Graduated prices: each tier is told under its line."""
    lines = (
        Line(
            "API requests",
            134_500,
            quantity="1500000",
            unit="requests",
            details=(
                "1 to 100,000: free",
                "100,001 to 1,000,000: €0.0010 each",
                "from 1,000,001: €0.00089 each",
            ),
            period=MARCH,
        ),
        line("Overage: enriched records", "48210", "0.0375", unit="records"),
    )
    return document(
        Kind.INVOICE,
        NORDLICHT,
        LOVELACE,
        lines,
        number="API-202603-0012",
        taxes=(rate("VAT", "19", lines),),
        due_on=date(2026, 4, 30),
        period=Period(MARCH.start, MARCH.end),
        terms="net_30",
    )


def long(count: int = 400) -> Document:
    """Hundreds of lines, over many pages."""
    lines = tuple(
        line(
            f"Device {number:04}, metering point {number * 7919 % 10_000:04}",
            str(1 + number % 9),
            "1249.5",
            unit="days",
        )
        for number in range(1, count + 1)
    )
    return document(
        Kind.INVOICE,
        NORDLICHT,
        WEBER,
        lines,
        number="RE-2026-0046",
        taxes=(rate("VAT", "19", lines),),
        due_on=date(2026, 5, 1),
        period=MARCH,
        terms="net_30",
        pay_url=PAY,
    )


def hostile() -> Document:
    """What strangers might write into each field that they can."""
    evil = '<img src="http://evil.example/x"/>{{ 7*7 }} </td></tr></table> & \u202egnirts\u202c \x00\x07 "quoted"'
    lines = (
        line(evil, "1", "1000", unit=evil, details=(evil,)),
        line("W" * 400, "1", "1000"),
        line("long text " * 1000, "123456789.123456789", "0.1234567891234"),
        line("\n\tline one\nline two\r\n\u2028three", "1", "999999999999"),
    )
    buyer = Party(
        name=evil + "X" * 300,
        address=Address(line1=evil, line2="Y" * 300, city=evil, postal_code="Z" * 90, state=evil, country="GB"),
        email="e" * 250 + "@example.com",
        tax_ids=(TaxId(evil, "9" * 200), TaxId("eu_vat", evil)),
    )
    return document(
        Kind.INVOICE,
        NORDLICHT,
        buyer,
        lines,
        number="N" * 120,
        taxes=(rate(evil, "19", lines),),
        due_on=date(2026, 5, 1),
        terms=evil,
        pay_url="https://evil.example/" + "q" * 300,
        buyer_reference=evil + "R" * 200,
        notes=(evil, "n" * 500),
        legal=(evil,),
        reason=evil,
        stamp=Stamp.COPY,
    )


def void() -> Document:
    """It keeps its number, and is worth nothing."""
    return replace(german(), stamp=Stamp.VOID)


def draft() -> Document:
    """A preview, before anything is issued."""
    return replace(invoice(), stamp=Stamp.DRAFT, number="DRAFT")


SAMPLES: MappingProxyType[str, Callable[[], Document]] = MappingProxyType(
    {
        "invoice": invoice,
        "german": german,
        "reverse_charge": reverse_charge,
        "spanish": spanish,
        "japanese": japanese,
        "american": american,
        "credit_note": credit_note,
        "receipt": receipt,
        "kuwaiti": kuwaiti,
        "scripts": scripts,
        "tiers": tiers,
        "long": long,
        "hostile": hostile,
        "void": void,
        "draft": draft,
    }
)
"""Samples by name."""
