"""A fresh answer wins only over what is older and of the same books; what it changes is told, or not changed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.states import DifferenceClass
from tests.reconciliation.looking_kit import ALL, Api, World, told
from tests.simulator.life import Life
from worker.errors import Refused

Json = dict[str, Any]


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, Life())


@dataclass
class Racing(Api):
    """Once Stripe has answered about an object, something happens to it, and its webhooks are applied at once."""

    path: str = ""
    happens: Callable[[], Awaitable[None]] | None = None

    async def read(self, path: str, **params: Any) -> bytes:
        answer = await super().read(path, **params)
        if path == self.path and self.happens is not None:
            happens, self.happens = self.happens, None
            await happens()
        return answer


async def quiet(world: World) -> None:
    """Somebody else makes the newest event, of this very second; all is told."""
    await world.tell()
    world.life.wait(1)
    world.life.customer("Somebody Else")
    await world.tell()


def race(world: World, path: str, what: Callable[[], Any]) -> None:
    async def happens() -> None:
        what()
        await world.tell()

    world.deps = replace(world.deps, stripe=Racing(world.life, path=path, happens=happens))


def invoice(life: Life, customer: Json, **more: Any) -> Json:
    made = life.post("invoices", customer=customer["id"], **more)
    life.post("invoiceitems", customer=customer["id"], amount=5000, currency="usd", invoice=made["id"])
    return life.post(f"invoices/{made['id']}/finalize")


def pay(life: Life, **more: Any) -> Json:
    return life.post(
        "payment_intents", amount=5000, currency="usd", confirm=True, payment_method="pm_card_visa", **more
    )


async def test_a_refund_of_the_second_of_the_answer_is_kept(world: World) -> None:
    charge = pay(world.life)["latest_charge"]
    await quiet(world)
    race(world, f"charges/{charge}", lambda: world.life.post("refunds", charge=charge, amount=1500))
    looked = await world.repair("charge", charge)
    assert (looked.differences, looked.waits) == ((), None)
    assert await world.query("SELECT status, refund_amount_cents FROM payment_history") == [
        ("partially_refunded", 1500)
    ]
    assert await world.query("SELECT amount_refunded_cents FROM charges") == [(1500,)]


async def test_an_invoice_that_is_paid_in_the_second_of_the_answer_stays_paid(world: World) -> None:
    due = {"collection_method": "send_invoice", "days_until_due": 10}
    made = invoice(world.life, world.life.customer("Ada", card=None), **due)
    await quiet(world)
    race(
        world,
        f"invoices/{made['id']}",
        lambda: world.life.post(f"invoices/{made['id']}/pay", paid_out_of_band=True),
    )
    looked = await world.repair("invoice", made["id"])
    assert (looked.differences, looked.waits) == ((), None)
    assert await world.query("SELECT status, amount_remaining_cents FROM invoices") == [("paid", 0)]


async def test_a_subscription_that_ends_in_the_second_of_the_answer_is_over(world: World) -> None:
    made = world.life.subscribe(world.life.customer("Ada"), world.life.price(2000))
    await quiet(world)
    race(world, f"subscriptions/{made['id']}", lambda: world.life.delete(f"subscriptions/{made['id']}"))
    looked = await world.repair("subscription", made["id"])
    assert (looked.differences, looked.waits) == ((), None)
    assert await world.query("SELECT status, mrr_cents FROM subscriptions") == [("canceled", 0)]


async def test_an_object_that_changes_at_every_look_waits(world: World) -> None:
    charge = pay(world.life)["latest_charge"]
    await quiet(world)

    @dataclass
    class Restless(Api):
        async def read(self, path: str, **params: Any) -> bytes:
            answer = await super().read(path, **params)
            if path == f"charges/{charge}":
                self.life.post("refunds", charge=charge, amount=100)
                await world.tell()
            return answer

    world.deps = replace(world.deps, stripe=Restless(world.life))
    looked = await world.repair("charge", charge)
    assert (looked.differences, looked.mended) == ((), False)
    assert looked.waits == f"charges {charge} changed while Stripe was asked: look again later"


@pytest.mark.parametrize(
    ("wrong", "whose"),
    [
        ("livemode = true", "our own account in live mode"),
        ("stripe_account = 'acct_9'", "acct_9 in test mode"),
    ],
)
@pytest.mark.parametrize("gone", [False, True])
async def test_a_row_of_another_mode_or_account_is_left_alone(
    world: World, wrong: str, whose: str, *, gone: bool
) -> None:
    customer = world.life.customer("Ada")["id"]
    await world.tell()
    if gone:
        world.life.delete(f"customers/{customer}")
    await quiet(world)
    await world.change(
        f"UPDATE users SET {wrong}, balance_cents = -700, deleted_at = NULL WHERE stripe_customer_id = :customer",  # noqa: S608 - constants
        customer=customer,
    )
    before = await world.dump()
    with pytest.raises(Refused, match=f"{customer} is of {whose} here, and not of what is compared: it is left alone"):
        await world.repair("customer", customer)
    assert await world.dump() == before


async def test_what_stripe_does_not_have_of_another_mode_is_left_alone(world: World) -> None:
    await quiet(world)
    await world.change(
        "INSERT INTO charges (stripe_charge_id, amount_cents, currency, livemode, version)"
        " VALUES ('ch_live', 5, 'usd', true, '{0,1,1,0,0}')"
    )
    with pytest.raises(Refused, match="charge ch_live is of our own account in live mode here"):
        await world.repair("charge", "ch_live")


async def two_paid(world: World) -> tuple[str, str]:
    """Two invoices, each paid by a payment of its own, in the order of their names."""
    for name in ("Ada", "Bea"):
        made = invoice(world.life, world.life.customer(name))
        if made["status"] == "open":
            world.life.post(f"invoices/{made['id']}/pay")
    await quiet(world)
    for one in world.all("invoice"):
        assert (await world.repair("invoice", one["id"])).differences == ()
    low, high = sorted(one["id"] for one in world.all("invoice"))
    return low, high


async def join(world: World, low: str, high: str) -> str:
    """What paid the higher invoice is joined to the lower one, too."""
    ((payment,),) = await world.query(
        "SELECT payment_id FROM invoice_payments WHERE stripe_invoice_id = :high", high=high
    )
    await world.change(
        "INSERT INTO invoice_payments OVERRIDING USER VALUE SELECT (jsonb_populate_record(l,"
        " jsonb_build_object('stripe_invoice_id', CAST(:low AS text)))).* FROM invoice_payments l"
        " WHERE stripe_invoice_id = :high",
        low=low,
        high=high,
    )
    await world.change(
        "UPDATE payment_history SET stripe_invoice_id = :low,"
        " invoice_id = (SELECT id FROM invoices WHERE stripe_invoice_id = :low)",
        low=low,
    )
    return str(payment)


@pytest.mark.parametrize("by", ["invoice", "charge", "payment_intent"])
async def test_a_payment_that_is_joined_to_a_wrong_invoice_goes_to_its_own(world: World, by: str) -> None:
    low, high = await two_paid(world)
    payment = await join(world, low, high)
    ((charge,),) = await world.query(
        "SELECT stripe_charge_id FROM payment_history WHERE stripe_payment_intent_id = :payment", payment=payment
    )
    name = {"invoice": low, "charge": charge, "payment_intent": payment}[by]
    looked = await world.look(by, name, repairs=ALL - {DifferenceClass.DUPLICATE})
    assert told(looked) == {("invoice_payment", "duplicate", ""), ("payment", "status", "stripe_invoice_id")}
    assert not looked.mended
    (link,) = [one for one in looked.differences if one.kind == "invoice_payment"]
    assert (link.object_id, link.here, link.there) == (f"{low} {payment}", "5000", None)
    assert (await world.repair(by, name)).mended
    assert (await world.repair(by, name)).differences == ()
    assert await world.query("SELECT stripe_invoice_id FROM payment_history WHERE stripe_charge_id = :c", c=charge) == [
        (high,)
    ]
    for one in (low, high):
        await world.repair("invoice", one)
    assert await world.oracle() == []


async def test_a_link_that_comes_while_stripe_is_asked_is_kept(world: World) -> None:
    """An answer that does not list it was given before it was made."""
    ada = world.life.customer("Ada")
    made = invoice(world.life, ada)
    if made["status"] == "open":
        world.life.post(f"invoices/{made['id']}/pay")
    paid = pay(world.life, customer=ada["id"])
    await quiet(world)
    before = await world.query("SELECT stripe_invoice_id, payment_id FROM invoice_payments ORDER BY 1, 2")

    async def happens() -> None:
        await world.change(
            "INSERT INTO invoice_payments (stripe_invoice_id, payment_id) VALUES (:invoice, :payment)",
            invoice=made["id"],
            payment=paid["id"],
        )

    api = Racing(world.life, path=f"invoices/{made['id']}", happens=happens)
    world.deps = replace(world.deps, stripe=api)
    looked = await world.repair("invoice", made["id"])
    assert len([path for path, _ in api.asked if path == f"invoices/{made['id']}"]) == 2
    assert ("invoice_payment", "duplicate", "") in told(looked)  # it was there when Stripe was asked again
    assert await world.query("SELECT stripe_invoice_id, payment_id FROM invoice_payments ORDER BY 1, 2") == before


async def of_another(world: World) -> tuple[str, str]:
    """A payment that is shown to the wrong customer; the charge, and its owner."""
    ada, bea = world.life.customer("Ada"), world.life.customer("Bea")
    charge = pay(world.life, customer=ada["id"])["latest_charge"]
    await quiet(world)
    await world.repair("charge", charge)
    await world.change(
        "UPDATE payment_history SET stripe_customer_id = :other,"
        " user_id = (SELECT id FROM users WHERE stripe_customer_id = :other)",
        other=bea["id"],
    )
    await world.change("UPDATE charges SET stripe_customer_id = :other", other=bea["id"])
    return str(charge), str(ada["id"])


async def test_a_payment_that_is_shown_to_another_customer_is_told(world: World) -> None:
    charge, owner = await of_another(world)
    before = await world.dump()
    looked = await world.look("charge", charge, repairs=frozenset({DifferenceClass.FEE}))
    assert told(looked) == {("charge", "status", "stripe_customer_id"), ("payment", "status", "stripe_customer_id")}
    assert await world.dump() == before
    assert (await world.repair("charge", charge)).mended
    assert await world.query("SELECT stripe_customer_id FROM payment_history") == [(owner,)]
    assert await world.oracle() == []


async def test_known_values_change_only_beside_a_difference_and_the_audit_log_says_so(world: World) -> None:
    charge = pay(world.life, customer=world.life.customer("Ada")["id"])["latest_charge"]
    await quiet(world)
    await world.repair("charge", charge)
    await world.change("UPDATE charges SET card_last4 = '0000', payment_method_id = 'pm_x', stripe_fee_cents = NULL")
    before = await world.dump()
    looked = await world.repair("charge", charge)
    assert (looked.differences, looked.mended) == ((), False)
    assert await world.dump() == before
    await world.change("UPDATE charges SET amount_cents = 1")
    assert (await world.repair("charge", charge)).mended
    ((details,),) = await world.query("SELECT details FROM audit_log")
    beside = {(one["kind"], one["field"]): (one["here"], one["there"] is None) for one in details["beside"]}
    assert beside == {("charge", "card_last4"): (None, True), ("charge", "payment_method_id"): ("pm_x", False)}
    assert await world.oracle() == []
