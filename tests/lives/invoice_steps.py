"""What happens to single invoices and to the customer: sent, paid elsewhere, given up, voided, edited, deleted."""

from tests.lives import objects as o
from tests.lives.life import Life, step
from tests.lives.stripe_world import DAY, HOUR


@step
def send_invoice(life: Life, number: int) -> None:
    """An invoice for something single goes out by mail; a draft is sometimes thrown away."""
    if life.customer.deleted:
        return
    world = life.world
    line = o.Line(world.new_id("il"), "Consulting", 30000 + 7 * number, 1, world.now, world.now)
    invoice = life.bill("manual", [life.taxed(line)], collection="send_invoice")
    world.wait(HOUR)
    life.finalize(invoice)
    world.tell_invoice("sent", invoice)
    if number % 3 == 2:
        world.wait(31 * DAY)
        world.tell_invoice("overdue", invoice)


def _sent(life: Life, *statuses: str) -> o.Invoice | None:
    mine = [
        i
        for i in life.world.invoices
        if i.customer is life.customer and i.collection_method == "send_invoice" and i.status in statuses
    ]
    return mine[-1] if mine else None


@step
def pay_invoice(life: Life, number: int) -> None:
    """A sent invoice is paid by card, or by a transfer that Stripe never saw; even after it was given up."""
    invoice, world = _sent(life, "open", "uncollectible"), life.world
    if invoice is None:
        return
    if number % 2:
        life.settle(invoice)
        return
    invoice.status, invoice.paid_at, invoice.paid_out_of_band = "paid", world.now, True
    invoice.amount_paid, invoice.attempted = invoice.amount_due, True
    life.tell_paid(invoice)


@step
def give_up_invoice(life: Life, number: int) -> None:
    """A sent invoice is voided, or called uncollectible."""
    invoice, world = _sent(life, "open"), life.world
    if invoice is None:
        return
    if number % 2:
        invoice.status, invoice.voided_at = "void", world.now
        world.tell_invoice("voided", invoice)
        world.tell_invoice("updated", invoice)
        return
    invoice.status, invoice.uncollectible_at = "uncollectible", world.now
    world.tell_invoice("updated", invoice)
    world.tell_invoice("marked_uncollectible", invoice)


@step
def annotate_invoice(life: Life, number: int) -> None:
    """Somebody writes a note on an invoice, whatever its state."""
    mine = [i for i in life.world.invoices if i.customer is life.customer]
    if not mine:
        return
    invoice = mine[number % len(mine)]
    invoice.metadata = invoice.metadata | {"note": f"n{number}"}
    life.world.tell_invoice("updated", invoice)


@step
def correct_invoice(life: Life, number: int) -> None:
    """A credit note over part of a paid invoice; some are taken back."""
    mine = [i for i in life.world.invoices if i.customer is life.customer and i.status == "paid" and i.amount_paid > 10]
    if not mine:
        return
    world, invoice = life.world, mine[number % len(mine)]
    if invoice.post_payment_credit:
        return
    note = o.CreditNote(
        id=world.new_id("cn"),
        number=f"{invoice.number}-CN-01",
        invoice=invoice.id,
        customer=life.customer.id,
        amount=invoice.amount_paid // 5,
        currency=invoice.currency,
        created=world.now,
    )
    world.credit_notes.append(note)
    invoice.post_payment_credit = note.amount
    world.tell_credit_note("created", note)
    world.tell_invoice("updated", invoice)
    if number % 3 == 2:
        world.wait(DAY)
        note.status, note.voided_at, invoice.post_payment_credit = "void", world.now, 0
        world.tell_credit_note("voided", note)
        world.tell_invoice("updated", invoice)


@step
def edit_customer(life: Life, number: int) -> None:
    """Name, address or notes change."""
    if life.customer.deleted:
        return
    customer = life.customer
    customer.email = f"life.{number}.{customer.email}" if number % 2 else customer.email
    customer.name = f"Renamed {number}"
    customer.metadata = customer.metadata | {"edited": str(number)}
    life.world.tell_customer("updated", customer)


@step
def register_for_tax(life: Life, number: int) -> None:
    """A tax number is added, checked, or taken away."""
    if life.customer.deleted:
        return
    world = life.world
    if life.vat is None:
        life.vat = o.TaxId(world.new_id("txi"), life.customer.id, "eu_vat", "DE123456789", world.now)
        world.tell_tax_id("created", life.vat)
    elif number % 2:
        world.tell_tax_id("deleted", life.vat)
        life.vat = None
    else:
        life.vat.verification = "verified"
        world.tell_tax_id("updated", life.vat)


@step
def change_card(life: Life, _number: int) -> None:
    """A new card takes the old one's place."""
    if not life.customer.deleted:
        life.change_card()


@step
def rename_price(life: Life, number: int) -> None:
    """The company renames a price that all its customers share."""
    price = life.prices[number % 5]
    price.nickname = f"Plan {number}"
    life.world.tell_price("updated", price)
    price.product.name = f"Pro {number}"
    life.world.tell_product("updated", price.product)


@step
def leave(life: Life, _number: int) -> None:
    """The customer is deleted, and with them their subscription."""
    if life.customer.deleted:
        return
    if life.live and life.live.status != "incomplete":
        life.end(life.live, "cancellation_requested")
    life.customer.deleted = True
    life.world.tell_customer("deleted", life.customer)
