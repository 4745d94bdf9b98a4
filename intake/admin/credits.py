"""The internal API of credits, promotion codes, payments past Stripe, credit notes, and collection at Stripe."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.security import HTTPBearer

from db import credits as rows
from db.operators.actions import Actor, NotAllowedError, write_audit
from db.operators.filters import plain
from intake import credits as words
from intake.admin import credits_models as models
from intake.admin.api import NOT_FOUND, REFUSED, ByOperator, bearer
from intake.admin.desk import AtDesk, Desk
from intake.admin.dunning import times
from intake.admin.models import JobId, Reasoned
from intake.dunning import hand
from jobs.invoices import credit_note, pay
from jobs.invoices import void_payment as void
from jobs.invoices.credit_note_parts import LinePart
from jobs.invoices.sellers import sellers_from
from jobs.partners import credits as business
from jobs.partners import promotions
from jobs.partners.push_to_stripe import stage_push
from worker.deps import Tx
from worker.errors import Refused, WrongFields
from worker.settings import ConfigurationError

T = TypeVar("T")

api = APIRouter(
    prefix="/admin",
    tags=["credits"],
    dependencies=[Depends(bearer), Depends(HTTPBearer(auto_error=False, description="ADMIN_TOKEN"))],
    responses={401: {"description": "No token, or a wrong one."}, 503: {"description": "The database is away."}},
)


async def _acted(at: Desk, work: Callable[[Tx], Awaitable[T]], *, dry_run: bool) -> T:
    """Do `work`, commit (or undo a dry run), ring. What is refused is answered 409, with why; wrong fields 422."""
    try:
        async with hand(at.engine, times(at), dry_run=dry_run) as tx:
            found = await work(tx)
            rings = set[str]() if dry_run else tx.rings
    except WrongFields as error:
        told = [{"type": "value_error", "loc": ["body", field], "msg": said} for field, said in error.told]
        raise HTTPException(422, told) from error
    except (Refused, ConfigurationError) as error:
        raise NotAllowedError([str(error)]) from error
    for queue in rings:
        at.ring(queue)
    return found


def _by(who: str, asked: Reasoned) -> Actor:
    return Actor(who, plain("why", asked.why))


@api.get("/credits")
async def list_credits(at: AtDesk, query: Annotated[models.CreditListing, Query()]) -> models.CreditPage:
    """Credits, newest first."""
    now = times(at).now()
    whose = None if query.partner is None and query.user is None else words.owner(query.partner, query.user)
    kind = words.kind(query.kind)
    async with at.engine.connect() as conn:
        found = await rows.listing(
            conn, now=now, limit=query.limit, owner=whose, kind=kind, all_=query.all, after=query.after
        )
    last = found[-1].id if len(found) == query.limit else None
    shown = [models.CreditRow.model_validate(words.credit_json(one, now)) for one in found]
    return models.CreditPage(credits=shown, next=last)


@api.get("/credits/{credit_id}", responses=NOT_FOUND)
async def show_credit(at: AtDesk, credit_id: JobId) -> models.CreditStory:
    """One credit, with all that it paid for."""
    async with at.engine.connect() as conn:
        return models.CreditStory.model_validate(await words.credit_story(conn, credit_id, times(at).now()))


@api.post("/credits", responses=REFUSED)
async def grant_credit(at: AtDesk, who: ByOperator, asked: models.GrantCredit) -> models.CreditStory:
    """Give a partner or a customer a credit."""
    by = _by(who, asked)

    async def work(tx: Tx) -> dict[str, Any]:
        new = rows.NewCredit(
            owner=words.owner(asked.partner, asked.user),
            kind=asked.kind,
            currency=asked.currency,
            amount_cents=asked.amount_cents,
            reason=by.why or "",
            expires_at=words.aware("expires_at", asked.expires_at),
        )
        return await words.credit_story(tx.conn, await business.grant(tx, new, by), tx.now)

    made = await _acted(at, work, dry_run=asked.dry_run)
    return models.CreditStory.model_validate({**made, "dry_run": asked.dry_run})


@api.post("/credits/{credit_id}/void", responses=REFUSED)
async def void_credit(at: AtDesk, who: ByOperator, credit_id: JobId, asked: Reasoned) -> models.CreditStory:
    """Take back what is left of a credit; what it paid for stays paid."""

    async def work(tx: Tx) -> dict[str, Any]:
        before = await words.credit_story(tx.conn, credit_id, tx.now)
        await business.void(tx, before["id"], _by(who, asked))
        return await words.credit_story(tx.conn, credit_id, tx.now)

    found = await _acted(at, work, dry_run=asked.dry_run)
    return models.CreditStory.model_validate({**found, "dry_run": asked.dry_run})


@api.get("/promo-codes")
async def list_codes(at: AtDesk, query: Annotated[models.CodeListing, Query()]) -> models.CodePage:
    """Promotion codes, newest first."""
    async with at.engine.connect() as conn:
        found = await words.promo_story(conn, limit=query.limit)
    return models.CodePage(codes=[models.Code.model_validate(one) for one in found])


@api.post("/promo-codes", responses=REFUSED)
async def add_code(at: AtDesk, who: ByOperator, asked: models.AddCode) -> models.Gives:
    """Make a promotion code."""
    new = promotions.NewPromoCode(
        code=promotions.spelled(asked.code),
        amount_cents=asked.amount_cents,
        currency=asked.currency,
        percent=None if asked.percent is None else Decimal(asked.percent),
        months=asked.months,
        credit_days=asked.credit_days,
        max_redemptions=asked.max_redemptions,
        expires_at=words.aware("expires_at", asked.expires_at),
    )

    async def work(tx: Tx) -> str:
        await promotions.add(tx, new, _by(who, asked))
        return promotions.gives(new)

    gives = await _acted(at, work, dry_run=asked.dry_run)
    return models.Gives(code=new.code, gives=gives, dry_run=asked.dry_run)


@api.post("/promo-codes/{code}/redeem", responses=REFUSED)
async def redeem_code(at: AtDesk, who: ByOperator, code: str, asked: models.RedeemCode) -> models.Gives:
    """Let a partner or a customer use a code, once."""

    async def work(tx: Tx) -> promotions.PromoCode:
        return await promotions.redeem(tx, code, words.owner(asked.partner, asked.user), _by(who, asked))

    found = await _acted(at, work, dry_run=asked.dry_run)
    return models.Gives(code=found.code, gives=promotions.gives(found), dry_run=asked.dry_run)


@api.post("/invoices/{ref:path}/payments", responses=REFUSED)
async def record_payment(at: AtDesk, who: ByOperator, ref: str, asked: models.RecordPayment) -> models.Recorded:
    """Record money that came past Stripe for an invoice of ours. The same reference is recorded once."""

    async def work(tx: Tx) -> dict[str, Any]:
        invoice = await words.own_invoice(tx, ref)
        done = await pay.record(
            tx,
            invoice["id"],
            asked.amount_cents or invoice["amount_remaining_cents"],
            method=asked.method,
            reference=asked.reference,
            paid_at=words.aware("paid_at", asked.paid_at) or tx.now,
            by=_by(who, asked),
            over_as_credit=asked.over_as_credit,
        )
        return words.recorded_json(done)

    done = await _acted(at, work, dry_run=asked.dry_run)
    return models.Recorded.model_validate({**done, "dry_run": asked.dry_run})


@api.post("/invoices/{ref:path}/payments/void", responses=REFUSED)
async def void_payment(at: AtDesk, who: ByOperator, ref: str, asked: models.VoidPayment) -> models.PaymentVoided:
    """Take back a payment that was recorded by mistake: the invoice is owed again."""

    async def work(tx: Tx) -> dict[str, Any]:
        invoice = await words.own_invoice(tx, ref)
        return words.voided_json(await void.void_payment(tx, invoice["id"], asked.reference, by=_by(who, asked)))

    done = await _acted(at, work, dry_run=asked.dry_run)
    return models.PaymentVoided.model_validate({**done, "dry_run": asked.dry_run})


@api.post("/invoices/{ref:path}/credit-notes", responses=REFUSED)
async def write_note(at: AtDesk, who: ByOperator, ref: str, asked: models.WriteNote, request: Request) -> models.Note:
    """Take back all or part of an invoice of ours by a credit note."""
    sent = asked.paid_out and credit_note.PaidOut(asked.paid_out.method, asked.paid_out.reference)

    async def work(tx: Tx) -> dict[str, Any]:
        invoice = await words.own_invoice(tx, ref)
        by = _by(who, asked)
        done = await credit_note.credit(
            tx,
            invoice["id"],
            sellers_from(request.app.state.settings),
            reason=by.why or "",
            by=by,
            amount=asked.amount_cents,
            lines=[LinePart(one.number, one.amount_cents) for one in asked.lines],
            paid_out=sent,
        )
        return words.credited_json(done)

    done = await _acted(at, work, dry_run=asked.dry_run)
    return models.Note.model_validate({**done, "dry_run": asked.dry_run})


@api.post("/invoices/{ref:path}/push", responses=REFUSED)
async def push_invoice(at: AtDesk, who: ByOperator, ref: str, asked: Reasoned) -> models.Pushed:
    """Have what is due of an invoice of ours collected at Stripe, so that it can be paid by link."""

    async def work(tx: Tx) -> models.Pushed:
        invoice = await words.own_invoice(tx, ref)
        await stage_push(tx, invoice["id"])
        number = invoice["invoice_number"]
        await write_audit(tx.conn, _by(who, asked), "invoices.push", number, now=tx.now)
        left = invoice["amount_remaining_cents"]
        return models.Pushed(number=number, amount_remaining_cents=left, dry_run=asked.dry_run)

    return await _acted(at, work, dry_run=asked.dry_run)
