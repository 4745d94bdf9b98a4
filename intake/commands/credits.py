"""`billing credits`: money that partners and customers need not pay, and the words that give it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import credits as rows
from db.operators.filters import page_size
from intake import amounts
from intake import credits as words
from intake.commands import render
from intake.commands.connect import NO, USAGE, actor, ask, fail, reasoned, ring
from intake.commands.options import AsJson, DryRun, Limit, Reason, Who, Why
from intake.dunning import Times, hand, money
from worker.clock import SystemClock, business_clock
from worker.deps import Tx
from worker.errors import Refused, TryLater, WrongFields
from worker.settings import load_settings

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="Credits of partners and customers: grant, list, show, void; and promotion codes.",
    epilog="Example: billing credits grant --partner nw_live --amount 50.00 --currency eur --why 'an outage'",
)
promo = typer.Typer(
    no_args_is_help=True,
    help="Promotion codes: add, list, redeem.",
    epilog="Example: billing credits promo add WELCOME --percent 20 --months 3",
)
app.add_typer(promo, name="promo")

Partner = Annotated[str | None, typer.Option(metavar="PREFIX", help="A partner, by its key prefix.")]
User = Annotated[int | None, typer.Option(metavar="ID", help="A customer, by our id.")]
Amount = Annotated[str | None, typer.Option(help="In the currency, with its decimals: 50.00.")]
Currency = Annotated[str | None, typer.Option(help="Three letters: eur.")]
Expires = Annotated[str | None, typer.Option(help="The last day (UTC): 2027-03-31. By default never.")]


NAMES = {
    "code": "CODE",
    "amount_cents": "--amount",
    "credit_days": "--credit-days",
    "max_redemptions": "--max",
    "expires_at": "--expires",
}
"""What fields are called here, where it is not the field's own name."""


def times() -> Times:
    """By which the business counts."""
    return Times(SystemClock(), business_clock(load_settings().billing_clock_file))


def refusals(work: Callable[[AsyncEngine, datetime], Awaitable[T]]) -> T:
    """Do `work`; what is refused, or must wait, is told in words."""
    try:
        return ask(work)
    except WrongFields as error:
        fail("\n".join(f"{NAMES.get(field, f'--{field}')}: {said}" for field, said in error.told), USAGE)
    except (Refused, TryLater) as error:
        fail(error.reason, NO)


def acted(work: Callable[[Tx], Awaitable[T]], *, dry_run: bool) -> T:
    """Do `work` in a transaction, which a dry run undoes, and ring for what it staged."""
    now = times()

    async def asked(engine: AsyncEngine, _: datetime) -> T:
        async with hand(engine, now, dry_run=dry_run) as tx:
            found = await work(tx)
            rings = set[str]() if dry_run else tx.rings
        await ring(*rings)
        return found

    return refusals(asked)


def told(found: Mapping[str, Any], said: str, *, as_json: bool, dry_run: bool) -> None:
    """The answer of what was done, or would be."""
    if as_json:
        render.print_json({**found, "dry_run": dry_run})
    else:
        render.console().print(Text(f"{said}{'; nothing was changed' if dry_run else ''}"))


@app.command()
def grant(
    *,
    partner: Partner = None,
    user: User = None,
    amount: Annotated[str, typer.Option(help="In the currency, with its decimals: 50.00.")],
    currency: Annotated[str, typer.Option(help="Three letters: eur.")],
    kind: Annotated[str, typer.Option(help="refund, promotional, goodwill or chargeback.")] = "goodwill",
    expires: Expires = None,
    why: Reason = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Give a partner or a customer a credit: it pays for their next invoices in this currency.

    Example: billing credits grant --partner nw_live --amount 50.00 --currency eur --why 'the outage of 3 March'
    """
    from jobs.partners import credits as business  # noqa: PLC0415 - listings need no business

    by = reasoned(who, why, "billing credits grant … --why 'the outage of 3 March'")

    async def work(tx: Tx) -> dict[str, Any]:
        new = rows.NewCredit(
            owner=words.owner(partner, user),
            kind=kind,
            currency=currency.lower(),
            amount_cents=amounts.minor("amount", amount, currency),
            reason=by.why or "",
            expires_at=words.through("expires", expires, tx.now),
        )
        return await words.credit_story(tx.conn, await business.grant(tx, new, by), tx.now)

    made = acted(work, dry_run=dry_run)
    verb = "would be given" if dry_run else f"given as credit {made['id']}"
    told(made, f"{money(made['amount_cents'], made['currency'])} {verb}", as_json=as_json, dry_run=dry_run)


@app.command("list")
def list_(
    *,
    partner: Partner = None,
    user: User = None,
    kind: Annotated[str | None, typer.Option(help="refund, promotional, goodwill or chargeback.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Also those that are used up, expired or void.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Credits that can still pay, newest first.

    Example: billing credits list --partner nw_live --all
    """
    now = times().now()

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        of_kind = None if kind is None else words.kind(kind)
        whose = None if partner is None and user is None else words.owner(partner, user)
        async with engine.connect() as conn:
            found = await rows.listing(conn, now=now, limit=page_size(limit), owner=whose, kind=of_kind, all_=all_)
        return [words.credit_json(one, now) for one in found]

    found = ask(work)
    if as_json:
        render.print_json(found)
        return
    if not found:
        typer.echo("no credit matches")
        return
    table = Table("credit", "whose", "kind", "given", "left", "state", "until", "why", box=None, pad_edge=False)
    for one in found:
        table.add_row(*_row(one))
    render.console().print(table)


def _row(one: Mapping[str, Any]) -> list[Text]:
    cells = (
        str(one["id"]),
        one["api_key_prefix"] or f"customer {one['user_id']}",
        one["kind"],
        money(one["amount_cents"], one["currency"]),
        money(one["remaining_cents"], one["currency"]),
        one["state"],
        words.last_day(one["expires_at"]),
        one["reason"],
    )
    return [Text(cell) for cell in cells]


@app.command()
def show(credit: Annotated[int, typer.Argument(metavar="ID")], *, as_json: AsJson = False) -> None:
    """One credit, with all that it paid for.

    Example: billing credits show 17
    """
    now = times().now()

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            return await words.credit_story(conn, credit, now)

    found = ask(work)
    if as_json:
        render.print_json(found)
        return
    page, currency = render.console(), found["currency"]
    names = ("credit", "whose", "kind", "given", "left", "state", "until", "why")
    for name, cell in zip(names, _row(found), strict=True):
        page.print(Text(f"{name:8}", style="bold"), cell)
    for one in found["applications"]:
        undone = f", given back {one['reversed_at'][:10]}" if one["reversed_at"] else ""
        paid = money(one["amount_cents"], currency)
        page.print(Text(f"{one['created_at'][:10]}  {one['invoice_number']}  {paid}{undone}"))


@app.command()
def void(
    credit: Annotated[int, typer.Argument(metavar="ID")],
    *,
    why: Reason = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take back what is left of a credit; what it paid for stays paid.

    Example: billing credits void 17 --why 'given to the wrong partner'
    """
    from jobs.partners import credits as business  # noqa: PLC0415 - listings need no business

    by = reasoned(who, why, "billing credits void 17 --why 'given to the wrong partner'")

    async def work(tx: Tx) -> dict[str, Any]:
        changed = await business.void(tx, credit, by)
        return {**await words.credit_story(tx.conn, credit, tx.now), "changed": changed}

    found = acted(work, dry_run=dry_run)
    state = ("would be void" if dry_run else "is void now") if found["changed"] else "was void already"
    told(found, f"credit {credit} {state}", as_json=as_json, dry_run=dry_run)


@promo.command()
def add(
    code: Annotated[str, typer.Argument(help="A word of 3 to 40 letters, digits, - and _.")],
    *,
    percent: Annotated[str | None, typer.Option(help="So many percent off: 20.")] = None,
    months: Annotated[int | None, typer.Option(help="For so many months; by default for ever.")] = None,
    amount: Amount = None,
    currency: Currency = None,
    credit_days: Annotated[int | None, typer.Option(help="In so many days the credit expires.")] = None,
    max_: Annotated[int | None, typer.Option("--max", help="It can be redeemed so many times.")] = None,
    expires: Expires = None,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a promotion code: so many percent off for some months, or an amount as a credit.

    Example: billing credits promo add WELCOME --percent 20 --months 3 --max 100 --expires 2027-03-31
    """
    from jobs.partners import promotions as business  # noqa: PLC0415 - listings need no business

    async def work(tx: Tx) -> dict[str, Any]:
        new = business.NewPromoCode(
            code=business.spelled(code),
            amount_cents=None if amount is None else amounts.minor("amount", amount, currency or "eur"),
            currency=currency.lower() if currency else None,
            percent=words.percent("percent", percent),
            months=months,
            credit_days=credit_days,
            max_redemptions=max_,
            expires_at=words.through("expires", expires, tx.now),
        )
        await business.add(tx, new, actor(who, why))
        return {"code": new.code, "gives": business.gives(new)}

    made = acted(work, dry_run=dry_run)
    verb = "would give" if dry_run else "gives"
    told(made, f"{made['code']} {verb} {made['gives']}", as_json=as_json, dry_run=dry_run)


@promo.command("list")
def list_promo(*, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Promotion codes, newest first: what each gives, and how often it was redeemed.

    Example: billing credits promo list
    """

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        async with engine.connect() as conn:
            return await words.promo_story(conn, limit=page_size(limit))

    found = ask(work)
    if as_json:
        render.print_json(found)
        return
    if not found:
        typer.echo("there is no promotion code")
        return
    table = Table("code", "gives", "redeemed", "until", box=None, pad_edge=False)
    for one in found:
        most = "" if one["max_redemptions"] is None else f" of {one['max_redemptions']}"
        cells = (one["code"], one["gives"], f"{one['redeemed']}{most}", words.last_day(one["expires_at"]))
        table.add_row(*(Text(cell) for cell in cells))
    render.console().print(table)


@promo.command()
def redeem(
    code: Annotated[str, typer.Argument()],
    *,
    partner: Partner = None,
    user: User = None,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let a partner or a customer use a promotion code; each may once.

    Example: billing credits promo redeem WELCOME --partner nw_live
    """
    from jobs.partners import promotions as business  # noqa: PLC0415 - listings need no business

    async def work(tx: Tx) -> dict[str, Any]:
        found = await business.redeem(tx, code, words.owner(partner, user), actor(who, why))
        return {"code": found.code, "gives": business.gives(found)}

    made = acted(work, dry_run=dry_run)
    whose = partner or f"customer {user}"
    told(made, f"{whose} {'would get' if dry_run else 'has'} {made['gives']}", as_json=as_json, dry_run=dry_run)
