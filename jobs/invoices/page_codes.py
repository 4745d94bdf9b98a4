"""A telephone's camera pays: codes that open the payment page, or fill in a transfer in a banking app."""

import io
from base64 import b64encode
from functools import lru_cache

import segno

from db.money import decimals
from jobs.invoices.document import Document
from jobs.invoices.page_text import clean

LONGEST_CODE = 500
"""Bytes: 81 modules a side, each a quarter of a millimetre."""

LONGEST_NAME, LONGEST_TEXT = 70, 140
MOST = 99_999_999_999
"""Limits of EPC069-12: characters of the name and of the text, cents of the amount."""


@lru_cache(maxsize=64)
def code(text: str) -> str | None:
    """A QR code as a `data:` address of a PNG; None for a text so long that no camera reads it at 20 mm.

    Its mask is fixed: choosing the best of eight takes four times as long, and each is as good a code (ISO/IEC 18004).
    """
    text = clean(text)
    if len(text.encode()) > LONGEST_CODE:
        return None
    picture = io.BytesIO()
    segno.make(text, error="m", boost_error=False, micro=False, encoding="utf-8", mask=3).save(
        picture, kind="png", border=0, scale=3
    )
    return "data:image/png;base64," + b64encode(picture.getvalue()).decode()


def transfer(document: Document) -> str | None:
    """A SEPA credit transfer of what is due, as banking apps read it; None where SEPA has no say.

    EPC069-12 version 002 (https://www.europeanpaymentscouncil.eu/document-library/guidance-documents/quick-response-code-guidelines-enable-data-capture-initiation).
    """
    bank = document.seller.bank
    if bank is None or not bank.iban or document.currency != "eur" or not 0 < document.due_minor <= MOST:
        return None
    amount = f"{document.due_minor // 100}.{document.due_minor % 100:02}"
    assert decimals(document.currency) == 2  # noqa: PLR2004 - the euro's cents
    fields = ("BCD", "002", "1", "SCT", bank.bic or "", bank.holder[:LONGEST_NAME], bank.iban.replace(" ", ""))
    text = (f"EUR{amount}", "", "", document.number[:LONGEST_TEXT])
    return "\n".join(" ".join(field.split()) for field in (*fields, *text))
