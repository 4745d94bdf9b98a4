"""The oracle: all objects as they are now, and what no object shows, but events have told."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.resources.upcoming_invoices import announced


def books(a: Account) -> dict[str, list[Json]]:
    """Everything by kind; beside Stripe's own kinds two more, where there is anything of them.

    `moment`: when events of a `type` told of the object `of`, the first time and the last, in seconds since 1970;
    `upcoming_invoice`: what was announced last to each subscription.
    """
    moments = [
        {"object": "moment", "of": of, "type": type_, "first": first, "last": last}
        for (of, type_), (first, last) in a.moments.items()
    ]
    found = {"moment": moments, "upcoming_invoice": announced(a)}
    return a.store.kinds() | {kind: rows for kind, rows in found.items() if rows}
