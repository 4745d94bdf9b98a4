"""How a total came about, from what was charged to what is left to be paid, row by row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobs.invoices.document import Document, Kind, Tax
from jobs.invoices.page_words import NO_BREAK, PageWords

Say = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Sum:
    """A row of the sums; `kind` says how it is set: `total` bold, `left` as the last."""

    label: str
    amount: str
    kind: str = ""


def tax_name(tax: Tax, words: PageWords) -> str:
    """A tax with its rate: `VAT 19%`."""
    return tax.name if tax.percent is None or "%" in tax.name else f"{tax.name} {words.percent(tax.percent)}"


def _taxes(d: Document, words: PageWords, _: Say, *, inclusive: bool) -> Iterator[Sum]:
    said = _("of which %(tax)s on %(amount)s") if inclusive else _("%(tax)s on %(amount)s")
    for tax in d.taxes:
        if tax.inclusive is inclusive:
            label = said % {"tax": tax_name(tax, words), "amount": words.money(tax.taxable_minor)}
            yield Sum(label, words.money(tax.amount_minor))


def _settled(d: Document, words: PageWords, _: Say) -> Iterator[Sum]:
    for each in d.credits:
        yield Sum(each.name or _("Credit"), words.money(-each.minor))
    back = d.kind is Kind.CREDIT_NOTE
    for payment in d.payments:
        said = _("Refunded on %(day)s") if back else _("Paid on %(day)s")
        label = said % {"day": words.day(payment.paid_at)}
        method = (payment.method or "").replace(" ", NO_BREAK)
        yield Sum(f"{label} ({method})" if method else label, words.money(-payment.amount_minor))


def sums(d: Document, words: PageWords, _: Say, *, void: bool) -> list[Sum]:
    """The rows under the lines; of what is void nothing is due.

    Taxes that prices contain are told after the total, for they add nothing to it.
    """
    total = {
        Kind.INVOICE: _("Total"),
        Kind.CREDIT_NOTE: _("Total credited"),
        Kind.RECEIPT: _("Total"),
    }[d.kind]
    left = {
        Kind.INVOICE: _("Amount due"),
        Kind.CREDIT_NOTE: _("Still to be refunded"),
        Kind.RECEIPT: _("Amount paid"),
    }[d.kind]
    added = list(_taxes(d, words, _, inclusive=False))
    contained = list(_taxes(d, words, _, inclusive=True))
    settled = list(_settled(d, words, _))
    found: list[Sum] = []
    if d.discounts or added:
        found.append(Sum(_("Subtotal"), words.money(d.subtotal_minor)))
    found += [Sum(each.name or _("Discount"), words.money(-each.minor)) for each in d.discounts]
    if d.discounts and added:
        found.append(Sum(_("Total without tax"), words.money(d.total_minor - d.tax_minor)))
    found += added
    if d.kind is Kind.RECEIPT:
        paid = sum(payment.amount_minor for payment in d.payments)
        found += [Sum(total, words.money(d.total_minor), "total"), *contained, *settled[: len(d.credits)]]
        if d.due_minor:
            found.append(Sum(_("Still open"), words.money(d.due_minor)))
        return [*found, Sum(left, words.money(paid), "left")]
    if void or (d.kind is Kind.CREDIT_NOTE and not settled):
        return [*found, Sum(total, words.money(d.total_minor), "left"), *contained]
    found += [Sum(total, words.money(d.total_minor), "total"), *contained, *settled]
    return [*found, Sum(left, words.money(d.due_minor), "left")]
