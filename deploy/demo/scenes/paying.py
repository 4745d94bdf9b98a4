"""Cards fail and are replaced, banks ask questions, and money goes back."""

from deploy.demo.acts import CardTrouble, Challenge, Confirm, Dispute, NewCard, Refund, Ruling
from deploy.demo.company import money
from deploy.demo.shop import Shop

OPEN_DISPUTES = frozenset({"needs_response", "under_review"})


def trouble(shop: Shop, who: str, act: CardTrouble) -> str | None:
    """From now on the bank says no, for a while or for ever."""
    customer = shop.customers[who]
    if shop.running(customer) is None or (card := shop.card(customer)) is None:
        return None
    shop.stripe.post(f"/_sim/payment_methods/{card}/behave", decline_code=act.code, uses=act.times)
    often = "every charge" if act.times is None else f"the next {act.times} charge{'s' * (act.times > 1)}"
    return f"{customer.called}: the bank will decline {often} ({act.code.replace('_', ' ')})"


def new_card(shop: Shop, who: str, act: NewCard) -> str | None:
    """The card is replaced, and what is open is paid with the new one."""
    customer = shop.customers[who]
    subscription = shop.running(customer, "latest_invoice")
    if subscription is None:
        return None
    card = shop.attach(customer, act.card)
    if subscription["default_payment_method"]:
        shop.stripe.post(f"/v1/subscriptions/{subscription['id']}", default_payment_method=card)
    invoice = subscription["latest_invoice"]
    if invoice is None or invoice["status"] != "open":
        return f"{customer.called} changed the card on file"
    shop.stripe.post(f"/v1/invoices/{invoice['id']}/pay")
    owed = money(invoice["amount_remaining"], customer.currency)
    return f"{customer.called} changed the card and paid the open {owed}"


def challenge(shop: Shop, who: str, act: Challenge) -> str | None:
    """The bank wants the next charge confirmed."""
    customer = shop.customers[who]
    if shop.running(customer) is None or (card := shop.card(customer)) is None:
        return None
    shop.stripe.post(f"/_sim/payment_methods/{card}/behave", requires_action=True, uses=1)
    return f"{customer.called}: the bank will ask for a confirmation of the next charge"


def confirm(shop: Shop, who: str, act: Confirm) -> str | None:
    """The customer answers the bank, or cannot."""
    customer = shop.customers[who]
    subscription = shop.subscription(customer)
    if subscription is None or not subscription["latest_invoice"]:
        return None
    intent = shop.intent(subscription["latest_invoice"])
    if intent is None or shop.stripe.get(f"/v1/payment_intents/{intent}")["status"] != "requires_action":
        return None
    outcome = "succeed" if act.succeeds else "fail"
    shop.stripe.post(f"/_sim/payment_intents/{intent}/authenticate", outcome=outcome)
    if not act.succeeds:
        return f"{customer.called} could not confirm the payment"
    return f"{customer.called} confirmed the payment at the bank"


def refund(shop: Shop, who: str, act: Refund) -> str | None:
    """Part of the last payment goes back, or all of it."""
    customer = shop.customers[who]
    charge = shop.last_charge(customer)
    if charge is None:
        return None
    amount = charge["amount"] if act.percent == 100 else charge["amount"] * act.percent // 100  # noqa: PLR2004 - all of it
    shop.stripe.post("/v1/refunds", charge=charge["id"], amount=amount, reason=act.reason)
    return f"{customer.called} got {money(amount, charge['currency'])} back ({act.reason.replace('_', ' ')})"


def dispute(shop: Shop, who: str, act: Dispute) -> str | None:
    """The customer goes to the bank instead of to us."""
    customer = shop.customers[who]
    charge = shop.last_charge(customer)
    if charge is None:
        return None
    opened = shop.stripe.post(f"/_sim/charges/{charge['id']}/dispute", reason=act.reason)
    customer.dispute = opened["id"]
    amount = money(charge["amount"], charge["currency"])
    return f"{customer.called} disputes {amount} at the bank ({act.reason.replace('_', ' ')})"


def ruling(shop: Shop, who: str, act: Ruling) -> str | None:
    """The bank has decided."""
    customer = shop.customers[who]
    if not customer.dispute:
        return None
    found = shop.stripe.get(f"/v1/disputes/{customer.dispute}")
    if found["status"] not in OPEN_DISPUTES:
        return None
    shop.stripe.post(f"/_sim/disputes/{customer.dispute}/close", outcome="won" if act.won else "lost")
    amount = money(found["amount"], found["currency"])
    return f"The dispute of {customer.called} over {amount} is {'won' if act.won else 'lost'}"
