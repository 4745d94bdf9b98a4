"""`billing invoices paid`, `void-payment`, `credit-note` and `push`: what comes after an invoice of ours was issued."""

from typing import Annotated, Any

import typer

from db.operators.actions import write_audit
from db.operators.filters import BadFilterError
from intake import amounts
from intake import credits as words
from intake.commands.connect import USAGE, actor, fail
from intake.commands.credits import acted, told
from intake.commands.options import AsJson, DryRun, Who, Why
from intake.dunning import money
from worker.deps import Tx
from worker.settings import ConfigurationError, load_settings

Ref = Annotated[str, typer.Argument(metavar="ID", help="Our number, or our id.")]


def paid(
    ref: Ref,
    *,
    amount: Annotated[str | None, typer.Option(help="In the currency: 119.00. By default all that is due.")] = None,
    method: Annotated[str, typer.Option(help="How it came: bank_transfer, cheque, cash …")] = "bank_transfer",
    reference: Annotated[str, typer.Option(help="What tells it from other payments: the bank's own reference.")],
    on: Annotated[str | None, typer.Option(help="When it arrived: 2026-03-01. By default now.")] = None,
    over_as_credit: Annotated[
        bool, typer.Option("--over-as-credit", help="Keep what is too much as a credit.")
    ] = False,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Record money that came past Stripe for an invoice of ours. The same reference is recorded once.

    Example: billing invoices paid API-202611-0001 --amount 119.00 --reference 'SEPA 2026-11-14/77' --on 2026-11-14
    """
    from jobs.invoices import pay  # noqa: PLC0415 - listings need no business

    async def work(tx: Tx) -> dict[str, Any]:
        invoice = await words.own_invoice(tx, ref)
        currency = invoice["currency"]
        given = invoice["amount_remaining_cents"] if amount is None else amounts.minor("amount", amount, currency)
        done = await pay.record(
            tx,
            invoice["id"],
            given,
            method=method,
            reference=reference,
            paid_at=words.arrived("on", on, tx.now),
            by=actor(who, why),
            over_as_credit=over_as_credit,
        )
        return words.recorded_json(done)

    done = acted(work, dry_run=dry_run)
    stands = done["invoice"]
    left = money(stands["amount_remaining_cents"], stands["currency"])
    state = "is paid" if stands["status"] == "paid" else f"has {left} left to pay"
    kept = "; what was too much is a credit" if done["over_cents"] else ""
    before = "" if done["new"] else "this payment was recorded before: "
    told(done, f"{before}{stands['number']} {state}{kept}", as_json=as_json, dry_run=dry_run)


def void_payment(
    ref: Ref,
    *,
    reference: Annotated[str, typer.Option(help="That of the payment, as it was recorded.")],
    why: Annotated[str, typer.Option(help="Why it was a mistake, for the audit log.")],
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take back a payment that was recorded by mistake: the invoice is owed again, and dunning goes on.

    Example: billing invoices void-payment API-202611-0001 --reference 'SEPA 2026-11-14/77' --why 'it was for another'
    """
    from jobs.invoices import void_payment as business  # noqa: PLC0415 - listings need no business

    async def work(tx: Tx) -> dict[str, Any]:
        invoice = await words.own_invoice(tx, ref)
        return words.voided_json(await business.void_payment(tx, invoice["id"], reference, by=actor(who, why)))

    done = acted(work, dry_run=dry_run)
    stands = done["invoice"]
    left = money(stands["amount_remaining_cents"], stands["currency"])
    state = "is still paid" if stands["status"] == "paid" else f"has {left} left to pay"
    receipt = "; tell the customer, who may have the receipt" if done["new"] and done["receipt_document_id"] else ""
    before = "" if done["new"] else "this payment was voided before: "
    told(done, f"{before}{stands['number']} {state}{receipt}", as_json=as_json, dry_run=dry_run)


def _line(typed: str, currency: str) -> tuple[int, int | None]:
    """`2`, or `2=50.00`: a line counted from 1, and what of it."""
    number, parted, part = typed.partition("=")
    if not number.strip().isdecimal() or len(number) > 4:  # noqa: PLR2004 - an invoice has at most 5,000 lines
        raise BadFilterError("line", f"{typed!r} names no line: write its number, 2, or what of it, 2=50.00")
    return int(number), amounts.minor("line", part, currency) if parted else None


def credit_note(
    ref: Ref,
    *,
    reason: Annotated[str, typer.Option(help="Why; the customer reads it.")],
    amount: Annotated[str | None, typer.Option(help="With tax: 50.00. By default all that is left.")] = None,
    line: Annotated[list[str] | None, typer.Option(help="A line by its number, or part of it: 2, or 2=50.00.")] = None,
    paid_out: Annotated[str | None, typer.Option(help="Money was sent back by hand: by which method.")] = None,
    paid_out_reference: Annotated[str | None, typer.Option(help="The reference of what was sent back.")] = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take back all or part of an invoice of ours: less is due, and what was paid becomes a credit (or was sent back).

    Example: billing invoices credit-note API-202611-0001 --amount 50.00 --reason 'an outage on 14 November'
    """
    from jobs.invoices import credit_note as notes  # noqa: PLC0415 - listings need no business
    from jobs.invoices.credit_note_parts import LinePart  # noqa: PLC0415 - listings need no business
    from jobs.invoices.sellers import sellers_from  # noqa: PLC0415 - listings need no business

    try:
        sellers = sellers_from(load_settings())
    except ConfigurationError as error:
        fail(str(error), USAGE)
    if (paid_out is None) != (paid_out_reference is None):
        fail("--paid-out and --paid-out-reference go together", USAGE)
    sent = None if paid_out is None else notes.PaidOut(paid_out, paid_out_reference or "")

    async def work(tx: Tx) -> tuple[dict[str, Any], str]:
        invoice = await words.own_invoice(tx, ref)
        currency = invoice["currency"]
        done = await notes.credit(
            tx,
            invoice["id"],
            sellers,
            reason=reason,
            by=actor(who, reason),
            amount=None if amount is None else amounts.minor("amount", amount, currency),
            lines=[LinePart(*_line(one, currency)) for one in line or ()],
            paid_out=sent,
        )
        return words.credited_json(done), f"{done.number}: {notes.summary(done)}"

    done, said = acted(work, dry_run=dry_run)
    told(done, said, as_json=as_json, dry_run=dry_run)


def push(ref: Ref, *, why: Why = None, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Have what is due of an invoice of ours collected at Stripe, so that it can be paid by link.

    Example: billing invoices push API-202611-0001
    """
    from jobs.partners.push_to_stripe import stage_push  # noqa: PLC0415 - listings need no business

    async def work(tx: Tx) -> dict[str, Any]:
        invoice = await words.own_invoice(tx, ref)
        await stage_push(tx, invoice["id"])
        number = invoice["invoice_number"]
        await write_audit(tx.conn, actor(who, why), "invoices.push", number, now=tx.now)
        return {"number": number, "amount_remaining_cents": invoice["amount_remaining_cents"]}

    done = acted(work, dry_run=dry_run)
    told(done, f"{done['number']} {'would be' if dry_run else 'is being'} pushed", as_json=as_json, dry_run=dry_run)


def register(app: typer.Typer) -> None:
    """Add these commands to `billing invoices`."""
    app.command()(paid)
    app.command("void-payment")(void_payment)
    app.command("credit-note")(credit_note)
    app.command()(push)
