"""An announced invoice has no id and is kept nowhere: for the oracle the last one is remembered, as it was told."""

from copy import deepcopy

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.invoicing.shape import subscription_of
from deploy.demo.simulator.registry import listens


@listens("invoice.upcoming")
def remember(a: Account, invoice: Json) -> None:
    """Keep it with its subscription."""
    if (subscription := subscription_of(invoice)) is not None:
        a.store.hidden(subscription)["announced"] = deepcopy(invoice)


def announced(a: Account) -> list[Json]:
    """The last one of each subscription."""
    found = (a.store.hidden(row["id"]).get("announced") for row in a.store.all("subscription"))
    return [invoice for invoice in found if invoice is not None]
