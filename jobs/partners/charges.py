"""What was charged for a closed period, invoice by invoice, and how much of that can still be given back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

from db import credit_notes, usage_invoices
from db.money import rounded
from db.usage import Owner
from db.usage_invoices import UsageRow
from jobs.partners.freeze import Adjustment, Frozen, Taken, rated, read
from worker.deps import Tx


def factor(frozen: Frozen) -> Fraction:
    """What one unit of an invoice's lines comes to in its total: less its discounts, and with its taxes."""
    found = Fraction(1)
    for discount in frozen.discounts:
        found *= 1 - Fraction(discount.percent or 0) / 100
    for tax in frozen.taxes:
        found *= 1 + Fraction(tax.percent) / 100
    return found


@dataclass(slots=True)
class _Charge:
    """So much (`net`, minor units before discounts and taxes) is still charged for a period by the invoice of a row."""

    row: int
    net: int
    factor: Fraction

    def take(self, most: int) -> tuple[int, int]:
        """Take up to `most` of it: that, and what it came to in the total, by subtraction, so that no cent is made."""
        net = min(most, self.net)
        before = rounded(self.net * self.factor)
        self.net -= net
        return net, before - rounded(self.net * self.factor)


class Charges:
    """All invoices for usage that stand, of a partner or a customer, and what was given back of each."""

    def __init__(self, rows: Sequence[UsageRow], noted: Mapping[int, int]) -> None:
        """`noted` is what credit notes took back, by invoice (minor units)."""
        self._rows = [(row, read(cast("Mapping[str, Any]", row.input))) for row in rows]
        self._room = {row.id: (row.total_cents or 0) - noted.get(row.invoice_id or 0, 0) for row in rows}
        adjusted = [(row, frozen, one) for row, frozen in self._rows for one in frozen.adjustments]
        self._adjusted = sorted(adjusted, key=lambda each: each[2].turn)
        """As they were made; those of before turns were written down come first, by period."""
        for _, _, one in self._adjusted:
            for taken in one.took:
                self._spend(taken)

    def _spend(self, taken: Taken) -> None:
        self._room[taken.usage_invoice] = self._room.get(taken.usage_invoice, 0) - taken.gross

    def newest(self, closed: int) -> Adjustment | None:
        """How the period of row `closed` was set right last: by when that was, not by which period did it."""
        found = [one for _, _, one in self._adjusted if one.usage_invoice == closed]
        return found[-1] if found else None

    def give_back(self, closed: int, net: int) -> tuple[tuple[Taken, ...], int]:
        """Take `net` back of what was charged for the period of row `closed`, what was charged last first.

        Returns what comes back of which invoice, and what does not: each line comes back with the discounts and taxes
        that it bore, and no invoice gives back more than its total less its credit notes and what it gave back before.
        """
        found: list[Taken] = []
        kept = 0
        for charge in reversed(self._charges(closed)):
            part, worth = charge.take(net)
            if not part:
                continue
            net -= part
            gross = max(0, min(worth, self._room.get(charge.row, 0)))
            kept += worth - gross
            taken = Taken(usage_invoice=charge.row, net=part, gross=gross)
            self._spend(taken)
            found.append(taken)
        return tuple(found), kept

    def _charges(self, closed: int) -> list[_Charge]:
        found: dict[int, _Charge] = {}
        back: list[Taken] = []
        for row, frozen in self._rows:
            if row.id == closed:
                found[row.id] = _Charge(row.id, rated(frozen).subtotal, factor(frozen))
        for row, frozen, one in self._adjusted:
            if one.usage_invoice == closed:
                back += one.took
                if one.amount > 0:
                    found[row.id] = _Charge(row.id, one.amount, factor(frozen))
        for taken in back:
            if taken.usage_invoice in found:
                found[taken.usage_invoice].net -= taken.net
        return list(found.values())


async def charges(tx: Tx, owner: Owner) -> Charges:
    """What the invoices of a partner or a customer charge, and what was given back of them."""
    rows = await usage_invoices.standing(tx.conn, owner)
    invoices = [row.invoice_id for row in rows if row.invoice_id is not None]
    return Charges(rows, await credit_notes.totals(tx.conn, invoices))
