"""Amounts as people type them: in the currency, with all of its decimals, so that cents are never taken for euros."""

import re

from db.money import decimals
from db.operators.filters import BadFilterError


def minor(field: str, typed: str, currency: str) -> int:
    """`119.00` of a currency of cents is 11900. Raises BadFilterError showing what would do, rather than guess.

    `119` may mean either, so a currency with decimals must have them; thousands may be parted by commas.
    """
    digits = decimals(currency)
    said, whole = typed.strip(), f"119{f'.{0:0{digits}}' if digits else ''}"
    pattern = r"(\d{1,3}(?:,\d{3})+|\d+)" + (rf"\.(\d{{{digits}}})" if digits else "")
    found = re.fullmatch(pattern, said, re.ASCII)
    if found is None:
        raise BadFilterError(field, f"{typed!r} is no amount in {currency.upper()}: write it as {whole}")
    return int("".join(part for part in found.groups() if part).replace(",", ""))
