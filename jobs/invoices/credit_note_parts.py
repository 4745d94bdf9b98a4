"""What a credit note says: the invoice once more, or parts of its lines, each with the tax that it bore."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import msgspec
from msgspec import Struct

from db.money import allocate
from jobs.invoices.document import Amount, Document, Kind, Line, Payment, Reference, Tax
from jobs.invoices.sellers import SellerProfile
from jobs.partners.credits import money
from jobs.rules.crediting import Group, Part, by_price, divide, given, nothing, on_top, together
from worker.errors import Refused

PART = {
    "en": "Credit for invoice {number}",
    "de": "Gutschrift zur Rechnung {number}",
    "fr": "Avoir sur la facture {number}",
    "es": "Abono de la factura {number}",
    "ja": "請求書 {number} に対する減額",
}
SET_OFF = {
    "en": "Set off against the amount due",
    "de": "Mit dem offenen Betrag verrechnet",
    "fr": "Imputé sur le montant dû",
    "es": "Compensado con el importe pendiente",
    "ja": "未払額に充当",
}
KEPT = {
    "en": "Credited to your account",
    "de": "Ihrem Konto gutgeschrieben",
    "fr": "Crédité sur votre compte",
    "es": "Abonado en su cuenta",
    "ja": "残高に加算",
}


def said(words: Mapping[str, str], locale: str) -> str:
    """Words of the document's language; English where there are none."""
    return words.get(locale.replace("_", "-").partition("-")[0].lower(), words["en"])


class LinePart(Struct, frozen=True):
    """One line of the invoice, counted from 1 as it is printed; `amount` is what of it, or None: all that is left."""

    number: int
    amount: int | None = None


class Parts(Struct, frozen=True, omit_defaults=True):
    """What a note took, kept with it, so that the next one knows what is left. Amounts are minor units."""

    groups: tuple[tuple[int, tuple[int, ...]], ...]
    """Of each group of lines that bear the same taxes: of its price, and of each tax."""
    lines: dict[str, int] = {}
    """Of single lines (from 0), where they were named."""
    set_off: int = 0
    """What it took off what was still due."""
    money: int = 0
    """What it gave back of money that had been paid."""
    credits: int = 0
    """What it gave back of credits that had paid."""


class Invoice:
    """An invoice that was issued, in groups of lines that bear the same taxes."""

    def __init__(self, says: Document, earlier: Sequence[Parts]) -> None:
        """`earlier` is what credit notes about it have taken."""
        self.says = says
        told = any(line.taxes for line in says.lines)
        everything = tuple(range(len(says.taxes)))
        self.bears = [line.taxes if told else everything for line in says.lines]
        self.prices = [line.amount_minor - sum(each.minor for each in line.discounts) for line in says.lines]
        if says.discount_minor and not any(line.discounts for line in says.lines):
            off = allocate(says.discount_minor, [max(0, line.amount_minor) for line in says.lines])
            self.prices = [line.amount_minor - less for line, less in zip(says.lines, off, strict=True)]
        self.kinds = list(dict.fromkeys(self.bears))
        self.groups = self._groups()
        self.taken = [nothing(group) for group in self.groups]
        self.lines: dict[int, int] = {}
        for note in earlier:
            self._take([Part(price, taxes) for price, taxes in note.groups])
            for name, amount in note.lines.items():
                self.lines[int(name)] = self.lines.get(int(name), 0) + amount

    def _groups(self) -> list[Group]:
        prices = [
            sum(price for price, bears in zip(self.prices, self.bears, strict=True) if bears == kind)
            for kind in self.kinds
        ]
        shares: dict[tuple[int, int], int] = {}
        for index, tax in enumerate(self.says.taxes):
            mine = [place for place, kind in enumerate(self.kinds) if index in kind]
            weights = [max(0, prices[place]) for place in mine]
            amounts = allocate(tax.amount_minor, weights) if any(weights) else [0] * len(mine)
            shares |= {(place, index): amount for place, amount in zip(mine, amounts, strict=True)}
        return [
            Group(
                prices[place],
                tuple(shares[place, index] for index in kind),
                tuple(not self.says.taxes[index].inclusive for index in kind),
            )
            for place, kind in enumerate(self.kinds)
        ]

    def _take(self, parts: Sequence[Part]) -> None:
        self.taken = [together(had, part) for had, part in zip(self.taken, parts, strict=True)]

    @property
    def whole(self) -> list[Part]:
        """All of it."""
        return [Part(group.price, group.taxes) for group in self.groups]

    def by_amount(self, amount: int) -> list[Part]:
        """Parts by which the customer gets `amount` back. Raises Refused."""
        left = sum(max(0, group.total - given(group, had)) for group, had in zip(self.groups, self.taken, strict=True))
        if not 0 < amount <= left:
            raise Refused(f"amount: {self._money(amount)} is not above 0 and at most the {self._money(left)} left")
        try:
            return divide(self.groups, self.taken, amount)
        except ValueError as error:
            raise Refused(
                f"amount: {self._money(amount)} is too little to be divided into prices and taxes: credit more"
            ) from error

    def by_lines(self, wanted: Sequence[LinePart]) -> tuple[list[Part], dict[int, int]]:
        """Parts that take these lines, with what of each. Raises Refused naming the line that is wrong."""
        parts, took = [nothing(group) for group in self.groups], dict[int, int]()
        for one in wanted:
            index = one.number - 1
            if not 0 <= index < len(self.prices) or index in took:
                again = "comes twice" if index in took else f"is none: the invoice has {len(self.prices)}"
                raise Refused(f"line {one.number}: {again}")
            left = self.prices[index] - self.lines.get(index, 0)
            amount = left if one.amount is None else one.amount
            if not 0 < amount <= left:
                raise Refused(
                    f"line {one.number}: {self._money(amount)} is not above 0 and at most the {self._money(left)} that"
                    " are left of it"
                )
            place = self.kinds.index(self.bears[index])
            had = together(self.taken[place], parts[place])
            room = max(0, self.groups[place].price - had.price)
            if amount > room:
                raise Refused(f"line {one.number}: {self._money(amount)} {self._no_room(place, room)}")
            parts[place], took[index] = together(parts[place], by_price(self.groups[place], had, amount)), amount
        return parts, took

    def _no_room(self, place: int, room: int) -> str:
        """Why so much of a line cannot be given back, and how else: a cap, say, takes off what others come to."""
        less = [
            (line.description, -price)
            for line, price, bears in zip(self.says.lines, self.prices, self.bears, strict=True)
            if price < 0 and bears == self.kinds[place]
        ]
        if less:
            names = ", ".join(f"{self._money(off)} ({name})" for name, off in less)
            why = f"is more than the {self._money(room)} left: the invoice takes {names} off its lines"
        else:
            why = f"is more than the {self._money(room)} left: the rest was credited by an amount before"
        return f"{why}. Credit an amount instead of lines (--amount)"

    def _money(self, minor: int) -> str:
        return money(minor, self.says.currency)

    def total(self, parts: Sequence[Part]) -> int:
        """What the customer gets back with `parts`."""
        return sum(given(group, part) for group, part in zip(self.groups, parts, strict=True))


def _shown(invoice: Invoice, parts: Sequence[Part], took: Mapping[int, int]) -> Iterator[tuple[Line, tuple[int, ...]]]:
    """The note's lines, each with the taxes of the invoice that it bears."""
    if took:
        for index, amount in took.items():
            line = invoice.says.lines[index]
            yield Line(line.description, amount, details=line.details, period=line.period), invoice.bears[index]
        return
    for kind, part in zip(invoice.kinds, parts, strict=True):
        if part.price or any(part.taxes):
            text = said(PART, invoice.says.locale).format(number=invoice.says.number)
            yield Line(text, part.price, period=invoice.says.period), kind


def _taxes(invoice: Invoice, parts: Sequence[Part]) -> dict[int, Tax]:
    """The note's taxes, by their index on the invoice."""
    found: dict[int, Tax] = {}
    for index, tax in enumerate(invoice.says.taxes):
        mine = [
            (group, part, kind)
            for group, part, kind in zip(invoice.groups, parts, invoice.kinds, strict=True)
            if index in kind and (part.price or any(part.taxes))
        ]
        if mine:
            contained = sum(sum(part.taxes) - on_top(group, part.taxes) for group, part, _ in mine)
            found[index] = msgspec.structs.replace(
                tax,
                taxable_minor=sum(part.price for _, part, _ in mine) - contained,
                amount_minor=sum(part.taxes[kind.index(index)] for _, part, kind in mine),
            )
    return found


def document(
    invoice: Invoice,
    parts: Sequence[Part],
    took: Mapping[int, int],
    profile: SellerProfile,
    *,
    number: str,
    issued_on: date,
    reason: str,
) -> Document:
    """The credit note, before what it does with the money is on it. All of an invoice is the invoice, given back."""
    says = invoice.says
    if not took and list(parts) == invoice.whole:
        lines, taxes, discounts = says.lines, says.taxes, says.discounts
    else:
        shown, made = list(_shown(invoice, parts, took)), _taxes(invoice, parts)
        places = {index: place for place, index in enumerate(made)}
        lines = tuple(
            msgspec.structs.replace(line, taxes=tuple(places[index] for index in bears if index in places))
            for line, bears in shown
        )
        taxes, discounts = tuple(made.values()), tuple[Amount, ...]()
    subtotal, off = sum(line.amount_minor for line in lines), sum(each.minor for each in discounts)
    total = subtotal - off + sum(tax.amount_minor for tax in taxes if not tax.inclusive)
    return Document(
        kind=Kind.CREDIT_NOTE,
        number=number,
        currency=says.currency,
        locale=says.locale,
        timezone=profile.timezone,
        issued_on=issued_on,
        seller=profile.seller,
        buyer=says.buyer,
        lines=lines,
        subtotal_minor=subtotal,
        total_minor=total,
        due_minor=total,
        discount_minor=off,
        tax_minor=sum(tax.amount_minor for tax in taxes),
        discounts=discounts,
        taxes=taxes,
        period=says.period,
        reference=Reference(says.number, says.issued_on),
        buyer_reference=says.buyer_reference,
        legal=says.legal,
        reason=reason,
    )


def settled(note: Document, set_off: int, kept: int, paid: Payment | None) -> Document:
    """The credit note with what it does with the money: set off, kept for the customer, or paid out."""
    amounts = ((SET_OFF, set_off), (KEPT, kept))
    credits_ = tuple(Amount(said(words, note.locale), minor) for words, minor in amounts if minor)
    payments = (paid,) if paid is not None else ()
    due = note.total_minor - set_off - kept - (paid.amount_minor if paid is not None else 0)
    return msgspec.structs.replace(note, credits=credits_, payments=payments, due_minor=due)
