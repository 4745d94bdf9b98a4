"""Before anything is compared it is asked whose key it is: a stranger's payments must not fill these books."""

from db import earlier_runs
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.lists import on_behalf
from worker.deps import Deps
from worker.errors import Refused, Unconfigured
from worker.settings import StripeMode


async def right_key(d: Deps, stripe: Stripe, *, changed: bool) -> str | None:
    """Whose key it is (acct_…); None for a restricted one that may not read that.

    Raises Refused for a key of the other mode, or of another account than before, unless that has `changed`.
    """
    _right_mode(d, stripe)
    return await _right_account(d, stripe, changed=changed)


async def in_books(d: Deps, account: str) -> str:
    """The account as the books name it: our own is empty there, however it was asked for."""
    if not account:
        return ""
    try:
        own = (await d.stripe.retrieve("account"))["id"]
    except Unconfigured:
        raise
    except Refused:
        async with d.tx() as tx:
            return "" if account in await earlier_runs.own_ids(tx.conn) else account
    return "" if account == own else account


def _right_mode(d: Deps, stripe: Stripe) -> None:
    """Raises Refused for a key of the other mode: its customers and payments are none of these books'."""
    wanted, found = d.settings.stripe_mode, StripeMode.LIVE if stripe.livemode else StripeMode.TEST
    if wanted not in {found, StripeMode.ANY}:
        raise Refused(
            f"STRIPE_SECRET_KEY is a key of {found} mode, but STRIPE_MODE is {wanted}: nothing was compared. "
            "Give the key of that mode, or set STRIPE_MODE=any where these books keep both"
        )


async def _right_account(d: Deps, stripe: Stripe, *, changed: bool) -> str | None:
    """Whose key it is; None for a restricted one that may not read that. Raises Refused for another account's.

    Of two accounts everything differs: a repair would fill the books with the payments of a stranger.
    """
    try:
        found: str = (await d.stripe.retrieve("account", **on_behalf(stripe.account)))["id"]
    except Unconfigured:
        raise
    except Refused:
        return None
    async with d.tx() as tx:
        known = await earlier_runs.whose(tx.conn, stripe.account, livemode=stripe.livemode)
    if known not in {None, found} and not changed:
        raise Refused(
            f"STRIPE_SECRET_KEY is a key of {found}, but these books were compared with {known}: nothing was compared. "
            "Give the key of that account; if it is another one from now on: "
            "billing reconcile --account-changed --why '…'"
        )
    return found
