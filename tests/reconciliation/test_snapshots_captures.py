"""A charge that was captured in several parts has a row in Stripe's balance for each: its fee is the sum of them."""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.reconciliation.looking_kit import Api, World
from tests.simulator.life import Life

Json = dict[str, Any]


@dataclass
class Captured(Api):
    """Stripe shows one of the rows with the charge, and lists them all."""

    async def retrieve(self, path: str, **params: Any) -> Json:
        found = await super().retrieve(path, **params)
        if path.startswith("charges/"):
            shown = found["balance_transaction"]
            found["balance_transaction"] = shown | {"amount": 3000, "fee": 117, "net": 2883}
        elif path == "balance_transactions":
            (row,) = found["data"]
            rest = row | {"id": "txn_rest", "amount": 2000, "fee": 58, "net": 1942}
            refund = row | {"id": "txn_back", "type": "adjustment", "amount": -1, "fee": 9, "net": -10}
            found["data"] = [row | {"amount": 3000, "fee": 117, "net": 2883}, rest, refund]
        return found


async def test_the_fee_of_several_captures_is_summed(engine: AsyncEngine) -> None:
    life = Life()
    world = World(engine, life)
    paid = life.post("payment_intents", amount=5000, currency="usd", confirm=True, payment_method="pm_card_visa")
    life.wait(1)
    life.customer("Ada")
    await world.tell()
    world.deps = replace(world.deps, stripe=Captured(life))
    charge = paid["latest_charge"]
    assert (await world.repair("charge", charge)).differences == ()
    for table in ("charges", "payment_history"):
        booked = await world.query(f"SELECT stripe_fee_cents, net_amount_cents FROM {table}")  # noqa: S608 - our own tables
        assert booked == [(175, 4825)]
    await world.change("UPDATE charges SET stripe_fee_cents = 117, net_amount_cents = 2883")
    looked = await world.repair("charge", charge)
    assert {(one.field, one.here, one.there) for one in looked.differences if one.kind == "charge"} == {
        ("stripe_fee_cents", "117", "175"), ("net_amount_cents", "2883", "4825")
    }  # fmt: skip
    assert (await world.repair("charge", charge)).differences == ()
