"""The account itself, as its keys see it: its id tells it from other accounts."""

import random

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import Form
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.store import ALPHABET


@route("GET", "/v1/account")
def retrieve_account(a: Account, form: Form) -> Json:
    """https://docs.stripe.com/api/accounts/object; another seed is another account."""
    letters = random.Random(f"account {a.seed}").choices(ALPHABET, k=15)
    return {
        "id": f"acct_1{''.join(letters)}",
        "object": "account",
        "business_type": "company",
        "charges_enabled": True,
        "country": a.country,
        "created": a.start,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "owner@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }
