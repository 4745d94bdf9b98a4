"""All objects of the account, as Stripe keeps them: the current shape, references by id, oldest first."""

import random
import string
from collections import defaultdict
from collections.abc import Iterable

from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import ListForm, created

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase

KINDS = {
    "acct": "account", "cbtxn": "customer_balance_transaction", "ch": "charge", "clock": "test_helpers.test_clock",
    "cn": "credit_note", "cnli": "credit_note_line_item", "cs": "checkout.session", "cus": "customer",
    "di": "discount", "du": "dispute", "evt": "event", "ii": "invoiceitem", "il": "line_item", "in": "invoice",
    "inpay": "invoice_payment", "issfr": "radar.early_fraud_warning", "pi": "payment_intent", "pm": "payment_method",
    "po": "payout", "price": "price", "prod": "product", "promo": "promotion_code", "py": "charge", "pyr": "refund",
    "re": "refund", "seti": "setup_intent", "si": "subscription_item", "sub": "subscription", "txi": "tax_id",
    "txn": "balance_transaction", "txr": "tax_rate", "we": "webhook_endpoint",
}  # fmt: skip
"""The kind of object that an id's prefix tells; coupons alone have ids that their makers choose."""

SHORT = {"cus", "prod", "si", "di", "req"}
"""Ids without the account's number: 14 characters after the prefix; the others have 24."""

SESSION = 58
"""Characters of a checkout session's id after `cs_test_`."""


class Store:
    """Objects by kind and id; `hidden` holds what Stripe knows and does not show."""

    def __init__(self, chance: random.Random) -> None:
        """`chance` makes the ids."""
        self._chance = chance
        self._kinds: defaultdict[str, dict[str, Json]] = defaultdict(dict)
        self._index: defaultdict[tuple[str, str, str], dict[str, Json]] = defaultdict(dict)
        self._hidden: defaultdict[str, Json] = defaultdict(dict)

    def new_id(self, prefix: str) -> str:
        """A fresh id; as at Stripe, ids do not sort by time."""
        if prefix in SHORT:
            return f"{prefix}_{self.letters(14)}"
        return f"{prefix}_{self.letters(SESSION)}" if prefix == "cs_test" else f"{prefix}_1{self.letters(23)}"

    def letters(self, length: int) -> str:
        """Letters and digits, from the seed."""
        return "".join(self._chance.choices(ALPHABET, k=length))

    def add(self, obj: Json, *indexed: str) -> Json:
        """Keep it; `indexed` names its fields that `by` will be asked for (their values must not change)."""
        self._kinds[obj["object"]][obj["id"]] = obj
        for field in indexed:
            if obj.get(field) is not None:
                self._index[obj["object"], field, obj[field]][obj["id"]] = obj
        return obj

    def get(self, kind: str, id: str) -> Json | None:
        """The object, or None."""
        return self._kinds[kind].get(id)

    def need(self, kind: str, id: str, param: str = "id") -> Json:
        """The object. Raises StripeError `resource_missing`, naming `param`."""
        found = self._kinds[kind].get(id)
        if found is None:
            raise missing(kind, id, param)
        return found

    def all(self, kind: str) -> list[Json]:
        """All of a kind, oldest first."""
        return list(self._kinds[kind].values())

    def by(self, kind: str, field: str, value: str | None) -> list[Json]:
        """All of a kind whose indexed `field` has this value, oldest first."""
        return list(self._index[kind, field, value].values()) if value is not None else []

    def remove(self, obj: Json) -> None:
        """Forget it, in every index."""
        self._kinds[obj["object"]].pop(obj["id"], None)
        for (kind, _, _), rows in self._index.items():
            if kind == obj["object"]:
                rows.pop(obj["id"], None)

    def hidden(self, id: str) -> Json:
        """What Stripe knows of this object and does not show; write into it."""
        return self._hidden[id]

    def kinds(self) -> dict[str, list[Json]]:
        """Everything, for the oracle."""
        return {kind: list(rows.values()) for kind, rows in self._kinds.items()}


def page(rows: Iterable[Json], form: ListForm, url: str, *, newest_first: bool = True) -> Json:
    """One page of `rows` (oldest first, as the store gives them), newest first, as Stripe lists; or as they stand."""
    found = list(rows)
    if newest_first:
        found = [row for row in found if form.holds(row)]
        found.sort(key=created)  # stable: of one second, the later made stays later
        found.reverse()
    start, end = 0, min(form.limit, len(found))
    if form.starting_after is not None:
        start = _place(found, form.starting_after, "starting_after") + 1
        end = start + form.limit
        if form.ending_before is not None:
            _place(found, form.ending_before, "ending_before")
            raise StripeError("Received both starting_after and ending_before parameters. Please pass in only one.")
    elif form.ending_before is not None:
        end = _place(found, form.ending_before, "ending_before")
        start = max(0, end - form.limit)
    more = start > 0 if form.ending_before is not None else end < len(found)
    return {"object": "list", "data": found[start:end], "has_more": more, "url": url}


def _place(rows: list[Json], id: str, param: str) -> int:
    for place, row in enumerate(rows):
        if row["id"] == id:
            return place
    raise missing("object", id, param)


def listing(rows: list[Json], url: str) -> Json:
    """A list inside an object; rendering shows its first ten."""
    return {"object": "list", "data": rows, "has_more": False, "total_count": len(rows), "url": url}
