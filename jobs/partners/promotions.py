"""A word that partners and customers were told gives them a credit, or so many percent off for some months."""

import re
from calendar import monthrange
from datetime import datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches

from sqlalchemy.ext.asyncio import AsyncConnection

from db import credits as credit_rows
from db import promotions as rows
from db.credits import NewCredit
from db.operators.actions import Actor, write_audit
from db.promotions import NewPromoCode, PromoCode
from db.usage import Owner
from jobs.invoices.codes import CURRENCIES
from jobs.invoices.drafts import DraftDiscount
from jobs.partners.credits import money, named, nobody
from jobs.rules.documents import LARGEST
from worker.deps import Tx
from worker.errors import Refused, WrongFields

_CODE = re.compile(r"[A-Z0-9][A-Z0-9_-]{2,39}")
LONGEST_MONTHS = 120
LONGEST_DAYS = 3660
MOST_REDEMPTIONS = 10**9
PLACES = 4
"""Decimal places of a percentage that its column keeps."""


def spelled(code: str) -> str:
    """A code as it is kept: people type it in any case, and with spaces around it."""
    return code.strip().upper()


def words(percent: Decimal) -> str:
    """A percentage without zeros that say nothing: `20`, `12.5`."""
    text = f"{percent:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def months_after(at: datetime, months: int) -> datetime:
    """The same day and time `months` later, or the last day of a month that is too short for it."""
    year, month = divmod(at.month - 1 + months, 12)
    year, month = at.year + year, month + 1
    return at.replace(year=year, month=month, day=min(at.day, monthrange(year, month)[1]))


def _amount_problems(new: NewPromoCode) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if (new.amount_cents is None) == (new.percent is None):
        found.append(("percent", "give either a percentage or an amount"))
    if (new.amount_cents is None) != (new.currency is None):
        found.append(("currency", "an amount and its currency go together"))
    if new.currency is not None and new.currency not in CURRENCIES:
        found.append(("currency", f"{new.currency!r} is none that invoices are written in; for example eur"))
    if new.amount_cents is not None and not 0 < new.amount_cents <= LARGEST:
        currency = new.currency or "usd"
        told = f"{money(new.amount_cents, currency)} is not above 0 and at most {money(LARGEST, currency)}"
        found.append(("amount_cents", told))
    if new.percent is not None and not (new.percent.is_finite() and 0 < new.percent <= 100):  # noqa: PLR2004 - percent
        found.append(("percent", f"{new.percent} is not above 0 and at most 100"))
    elif new.percent is not None and new.percent != round(new.percent, PLACES):
        found.append(("percent", f"{new.percent} has more than {PLACES} decimal places"))
    return found


def problems(new: NewPromoCode, now: datetime) -> list[tuple[str, str]]:
    """All that is wrong with a code that is about to be made, by the fields of `NewPromoCode`."""
    found = _amount_problems(new)
    if not _CODE.fullmatch(new.code):
        found.append(("code", f"{new.code[:60]!r} is not 3 to 40 letters, digits, - and _; for example WELCOME-20"))
    if new.months is not None and (new.percent is None or not 1 <= new.months <= LONGEST_MONTHS):
        found.append(("months", f"of a percentage, from 1 to {LONGEST_MONTHS}; leave it out for ever"))
    if new.credit_days is not None and (new.amount_cents is None or not 1 <= new.credit_days <= LONGEST_DAYS):
        told = f"of an amount, from 1 to {LONGEST_DAYS}; leave them out for a credit without end"
        found.append(("credit_days", told))
    if new.max_redemptions is not None and not 1 <= new.max_redemptions <= MOST_REDEMPTIONS:
        found.append(("max_redemptions", f"from 1 to {MOST_REDEMPTIONS}; leave it out for no limit"))
    if new.expires_at is not None and new.expires_at <= now:
        found.append(("expires_at", f"{new.expires_at:%Y-%m-%d} is past: nobody could redeem it"))
    return found


async def add(tx: Tx, new: NewPromoCode, by: Actor) -> int:
    """Make a code. Returns its id. Raises WrongFields with all that is wrong, Refused."""
    found = problems(new, tx.now)
    if found:
        raise WrongFields(*found)
    made = await rows.add(tx.conn, new, by=by.who, now=tx.now)
    if made is None:
        raise Refused(f"there is a code {new.code} already: see `billing credits promo list`")
    await write_audit(tx.conn, by, "credits.promo_add", f"promo:{new.code}", now=tx.now, details={"gives": gives(new)})
    return made


def gives(promo: PromoCode | NewPromoCode) -> str:
    """What a code gives, in words: `20 % off for 3 months`, `a credit of 50.00 EUR, for 90 days`."""
    if promo.percent is not None:
        span = "for ever" if promo.months is None else f"for {promo.months} month{'s' if promo.months > 1 else ''}"
        return f"{words(promo.percent)} % off {span}"
    assert promo.amount_cents is not None
    assert promo.currency is not None
    span = "" if promo.credit_days is None else f", for {promo.credit_days} days"
    return f"a credit of {money(promo.amount_cents, promo.currency)}{span}"


async def _redeemable(tx: Tx, code: str) -> PromoCode:
    """The code, locked. Raises Refused when it cannot be redeemed any more, or there is none."""
    promo = await rows.locked(tx.conn, code)
    if promo is None:
        near = get_close_matches(code, await rows.known(tx.conn), n=1)
        raise Refused(f"there is no code {code}{f'; did you mean {near[0]}?' if near else ''}")
    if promo.expires_at is not None and promo.expires_at <= tx.now:
        raise Refused(f"{code} expired on {promo.expires_at:%Y-%m-%d}")
    if promo.max_redemptions is not None and promo.redeemed >= promo.max_redemptions:
        raise Refused(f"{code} was redeemed {promo.redeemed} times, and may not be once more")
    return promo


async def redeem(tx: Tx, code: str, owner: Owner, by: Actor) -> PromoCode:
    """Let `owner` use a code, once: a percentage holds from now on, an amount becomes a credit.

    Raises Refused when it may not be used (any more), with why. The code's row is locked, so that of many at once no
    more than may are served.
    """
    code = spelled(code)
    promo = await _redeemable(tx, code)
    if not await credit_rows.owner_exists(tx.conn, owner):
        raise Refused(nobody(owner))
    ends = months_after(tx.now, promo.months) if promo.months is not None else None
    redemption = await rows.redeem(tx.conn, promo.id, owner, ends_at=ends, now=tx.now)
    if redemption is None:
        raise Refused(f"{named(owner)} has redeemed {code} before: each may once")
    if promo.amount_cents is not None and promo.currency is not None:
        new = NewCredit(
            owner=owner,
            kind="promotional",
            currency=promo.currency,
            amount_cents=promo.amount_cents,
            reason=code,
            expires_at=tx.now + timedelta(days=promo.credit_days) if promo.credit_days is not None else None,
            promo_code_id=promo.id,
        )
        await rows.gave(tx.conn, redemption, await credit_rows.add(tx.conn, new, by=by.who, now=tx.now))
    details = {"owner": named(owner), "gives": gives(promo)}
    await write_audit(tx.conn, by, "credits.promo_redeem", f"promo:{code}", now=tx.now, details=details)
    return promo


async def discounts(where: Tx | AsyncConnection, owner: Owner, at: datetime) -> list[DraftDiscount]:
    """The percentages that `owner` has off at `at` (aware), in the order in which they were redeemed.

    Ask for the end of the period that is invoiced: a code for three months, redeemed within a month, then lowers the
    invoice of that month and of the two that follow.
    """
    conn = where.conn if isinstance(where, Tx) else where
    found = await rows.holding(conn, owner, at)
    return [DraftDiscount(f"{one.code} ({one.percent.normalize():f} %)", percent=one.percent) for one in found]
