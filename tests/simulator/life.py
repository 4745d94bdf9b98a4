"""A rich life in the simulator: every kind of object in many of its states, for whoever looks at shapes."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.api import Api
from tests.simulator.kit import Json, ask, new_api

OLD = "2024-06-20"
"""The version before basil in which the life's events are kept, too."""

MONTH = 31 * DAY


class RefusedError(AssertionError):
    """The simulator refused a step of the life."""


@dataclass
class Life:
    """Steps through the API, as a user's program, a customer or a bank would take them."""

    api: Api = field(default_factory=new_api)
    seen: dict[str, Json] = field(default_factory=dict[str, Json])

    def post(self, path: str, refused: str | None = None, /, **params: Any) -> Json:
        """POST; `refused` is the error code that is wanted instead of an answer."""
        return self._take("POST", path, refused, params)

    def get(self, path: str, /, **params: Any) -> Json:
        """GET."""
        return self._take("GET", path, None, params)

    def delete(self, path: str, /, **params: Any) -> Json:
        """DELETE."""
        return self._take("DELETE", path, None, params)

    def _take(self, method: str, path: str, refused: str | None, params: Json) -> Json:
        full = path if path.startswith("/_sim/") else f"/v1/{path}"
        status, body, _ = ask(self.api, method, full, params)
        code = body.get("error", {}).get("code") if status >= 400 else None
        if code != refused or (status >= 400 and refused is None):
            raise RefusedError(f"{method} {full} {params}: {status} {body}")
        return body

    def wait(self, days: float) -> None:
        """Let time pass."""
        clock = self.api.account.clock
        clock.move(clock.now + int(days * DAY))

    def customer(self, name: str, card: str | None = "pm_card_visa", **more: Any) -> Json:
        """A customer, who pays by this test card."""
        email = f"{name.lower().replace(' ', '.')}@example.com"
        made = self.post("customers", name=name, email=email, **more)
        if card is not None:
            method = self.post(f"payment_methods/{card}/attach", customer=made["id"])["id"]
            made = self.post(f"customers/{made['id']}", invoice_settings={"default_payment_method": method})
        return made

    def price(self, amount: int, currency: str = "usd", interval: str | None = "month", **more: Any) -> str:
        """A price of a product of its own."""
        if interval is not None:
            more["recurring"] = {"interval": interval}
        made = self.post(
            "prices", unit_amount=amount, currency=currency, product_data={"name": f"Plan {amount}"}, **more
        )
        return str(made["id"])

    def subscribe(self, customer: Json, *prices: str, **more: Any) -> Json:
        """A subscription to these prices."""
        return self.post("subscriptions", customer=customer["id"], items=[{"price": price} for price in prices], **more)


def rich() -> Life:
    """All of it, one after the other."""
    life = Life()
    life.api.account.versions.add(OLD)
    for chapter in (catalogue, one_off_payments, disputes, invoices, subscriptions, hard_times, discounts, checkout):
        chapter(life)
    others(life)
    return life


@cache
def lived() -> Life:
    """The life, played once."""
    return rich()


def catalogue(life: Life) -> None:
    """Products and prices of each sort."""
    product = life.post("products", name="Atlas", description="Maps", metadata={"line": "maps"})
    plain = life.post("prices", product=product["id"], currency="eur", unit_amount=1250, nickname="single")
    tiers = [
        {"up_to": 10, "unit_amount": 500, "flat_amount": 1000},
        {"up_to": "inf", "unit_amount_decimal": "12.5"},
    ]
    for mode in ("graduated", "volume"):
        price = life.post(
            "prices", product=product["id"], currency="usd", billing_scheme="tiered", tiers_mode=mode, tiers=tiers,
            recurring={"interval": "month"},
        )  # fmt: skip
        life.seen[mode] = price
    life.post("prices", product=product["id"], currency="jpy", unit_amount=980, lookup_key="atlas",
              recurring={"interval": "year"})  # fmt: skip
    life.post(f"prices/{plain['id']}", active=False, nickname="")
    life.post(f"products/{product['id']}", description="", metadata={"line": "", "shelf": "2"})
    empty = life.post("products", name="Short-lived")
    life.delete(f"products/{empty['id']}")


def one_off_payments(life: Life) -> None:
    """Payments that succeed, fail, wait and are given back."""
    ada = life.customer("Ada Lovelace", preferred_locales=["en"], address={"country": "GB", "city": "London"})
    paid = life.post("payment_intents", amount=5000, currency="usd", customer=ada["id"], confirm=True,
                     payment_method=ada["invoice_settings"]["default_payment_method"])  # fmt: skip
    life.post("refunds", payment_intent=paid["id"], amount=1500, reason="requested_by_customer")
    life.post("refunds", charge=paid["latest_charge"])
    life.post("refunds", "charge_already_refunded", charge=paid["latest_charge"])
    life.post("payment_intents", "card_declined", amount=700, currency="eur", confirm=True,
              payment_method="pm_card_visa_chargeDeclinedInsufficientFunds")  # fmt: skip
    waiting = life.post("payment_intents", amount=900, currency="eur", confirm=True,
                        payment_method="pm_card_authenticationRequired")  # fmt: skip
    life.post(f"/_sim/payment_intents/{waiting['id']}/authenticate", outcome="succeed")
    failing = life.post("payment_intents", amount=900, currency="eur", confirm=True,
                        payment_method="pm_card_authenticationRequired")  # fmt: skip
    life.post(f"/_sim/payment_intents/{failing['id']}/authenticate", outcome="fail")
    held = life.post("payment_intents", amount=4000, currency="usd", confirm=True, capture_method="manual",
                     payment_method="pm_card_visa")  # fmt: skip
    life.post(f"payment_intents/{held['id']}/capture", amount_to_capture=3000)
    dropped = life.post("payment_intents", amount=100, currency="usd")
    life.post(f"payment_intents/{dropped['id']}/cancel", cancellation_reason="abandoned")
    setup = life.post("setup_intents", customer=ada["id"], confirm=True, payment_method="pm_card_mastercard",
                      usage="off_session")  # fmt: skip
    assert setup["status"] == "succeeded"
    life.post("setup_intents", customer=ada["id"])
    late = life.post("payment_intents", amount=2500, currency="usd", confirm=True, payment_method="pm_card_amex")
    back = life.post("refunds", payment_intent=late["id"], amount=100)
    life.post(f"/_sim/refunds/{back['id']}/fail")
    life.post("payment_methods", type="sepa_debit", sepa_debit={"iban": "DE89370400440532013000"},
              billing_details={"name": "Ada Lovelace", "email": "ada.lovelace@example.com"})  # fmt: skip
    loose = life.post("payment_methods/pm_card_visa/attach", customer=ada["id"])
    life.post(f"payment_methods/{loose['id']}", metadata={"desk": "4"})
    life.post(f"payment_methods/{loose['id']}/detach")


def disputes(life: Life) -> None:
    """A dispute lost, one won, one open, and a warning of fraud."""
    for outcome in ("won", "lost", None):
        paid = life.post("payment_intents", amount=8000, currency="usd", confirm=True, payment_method="pm_card_visa")
        dispute = life.post(f"/_sim/charges/{paid['latest_charge']}/dispute", reason="fraudulent")
        if outcome is not None:
            life.post(f"disputes/{dispute['id']}", evidence={"product_description": "Maps"}, submit=True)
            life.wait(20)
            life.post(f"/_sim/disputes/{dispute['id']}/close", outcome=outcome)
    paid = life.post("payment_intents", amount=8000, currency="usd", confirm=True, payment_method="pm_card_visa")
    life.post(f"/_sim/charges/{paid['latest_charge']}/fraud_warning")


def invoices(life: Life) -> None:
    """Invoices by hand: paid, void, uncollectible, deleted, sent, overdue, credited, taxed."""
    rate = life.post("tax_rates", display_name="VAT", percentage="19", inclusive=False, country="DE")
    included = life.post("tax_rates", display_name="MwSt", percentage="8.1", inclusive=True, country="CH")
    grace = life.customer("Grace Hopper")
    life.post(f"customers/{grace['id']}/tax_ids", type="eu_vat", value="DE123456789")
    life.post(f"customers/{grace['id']}/balance_transactions", amount=-250, currency="eur", description="Goodwill")
    made: list[Json] = []
    for number in range(6):
        life.post("invoiceitems", customer=grace["id"], amount=10_000 + number, currency="eur", description="Survey",
                  tax_rates=[rate["id"] if number % 2 else included["id"]])  # fmt: skip
        made.append(life.post("invoices", customer=grace["id"], auto_advance=False, currency="eur",
                              pending_invoice_items_behavior="include", description=f"Survey {number}"))  # fmt: skip
    paid, void, lost, gone, by_mail, out_of_band = (one["id"] for one in made)
    for one in (paid, void, lost, out_of_band):
        life.post(f"invoices/{one}/finalize")
    life.post(f"invoices/{paid}/pay")
    life.post(f"invoices/{void}/void")
    life.post(f"invoices/{lost}/mark_uncollectible")
    life.delete(f"invoices/{gone}")
    life.post(f"invoices/{by_mail}", collection_method="send_invoice", days_until_due=14, metadata={"po": "77"})
    life.post(f"invoices/{by_mail}/send")
    life.post(f"invoices/{out_of_band}/pay", paid_out_of_band=True)
    life.wait(20)
    life.post("credit_notes", invoice=paid, amount=1000, refund_amount=1000, reason="product_unsatisfactory")
    life.post("credit_notes", invoice=by_mail, amount=500)
    life.post("invoiceitems", customer=grace["id"], amount=300, currency="eur")
    life.post("invoices/create_preview", customer=grace["id"])


def subscriptions(life: Life) -> None:
    """Subscriptions that renew, change, pause, try, end."""
    small, large = life.price(2000), life.price(5000)
    edsger = life.customer("Edsger Dijkstra")
    renewing = life.subscribe(edsger, small)
    item = renewing["items"]["data"][0]["id"]
    life.wait(10)
    life.post(f"subscriptions/{renewing['id']}", items=[{"id": item, "price": large}])
    life.wait(10)
    life.post(
        f"subscriptions/{renewing['id']}", items=[{"id": item, "quantity": 3}], proration_behavior="always_invoice"
    )
    life.wait(40)
    life.post(f"subscriptions/{renewing['id']}", cancel_at_period_end=True, cancellation_details={"comment": "Thanks"})
    paused = life.subscribe(life.customer("Barbara Liskov"), small)
    life.post(f"subscriptions/{paused['id']}", pause_collection={"behavior": "void"})
    trying = life.subscribe(life.customer("Alan Kay"), small, trial_period_days=14)
    life.subscribe(life.customer("Ken Thompson", None), small, trial_period_days=7,
                   trial_settings={"end_behavior": {"missing_payment_method": "pause"}})  # fmt: skip
    life.subscribe(life.customer("Radia Perlman"), life.seen["graduated"]["id"])
    life.subscribe(life.customer("Leslie Lamport"), life.seen["volume"]["id"])
    now_gone = life.subscribe(life.customer("Tony Hoare"), large)
    life.subscribe(life.customer("Frances Allen"), large, collection_method="send_invoice", days_until_due=30)
    life.wait(3)
    life.delete(f"subscriptions/{now_gone['id']}", prorate=True, invoice_now=True)
    life.wait(45)
    life.post(f"subscriptions/{paused['id']}", pause_collection="")
    assert life.get(f"subscriptions/{trying['id']}")["status"] == "active"


def hard_times(life: Life) -> None:
    """Cards that decline at sign-up and at renewal, and 3-D Secure that nobody answers."""
    price = life.price(3300)
    life.subscribe(life.customer("Margaret Hamilton", "pm_card_authenticationRequired"), price)
    poor = life.customer("Niklaus Wirth")
    life.subscribe(poor, price)
    later = life.post("payment_methods/pm_card_chargeCustomerFail/attach", customer=poor["id"])
    life.post(f"customers/{poor['id']}", invoice_settings={"default_payment_method": later["id"]})
    life.wait(2 * 31)


def discounts(life: Life) -> None:
    """Coupons of each sort, a promotion code, and discounts given and taken."""
    forever = life.post("coupons", id="LOYAL", percent_off="12.5", duration="forever", name="Loyal")
    once = life.post("coupons", amount_off=700, currency="usd", duration="once")
    some = life.post("coupons", percent_off=50, duration="repeating", duration_in_months=2)
    life.post("promotion_codes", promotion={"type": "coupon", "coupon": once["id"]}, code="SPRING")
    price = life.price(4000)
    life.subscribe(life.customer("John Backus"), price, discounts=[{"coupon": forever["id"]}])
    life.subscribe(life.customer("Adele Goldberg"), price, discounts=[{"coupon": some["id"]}])
    held = life.subscribe(life.customer("Donald Knuth"), price, discounts=[{"coupon": once["id"]}])
    life.post(f"subscriptions/{held['id']}", discounts=[{"coupon": forever["id"]}])
    life.delete(f"subscriptions/{held['id']}/discount")
    life.wait(70)
    life.delete(f"coupons/{some['id']}")


def checkout(life: Life) -> None:
    """Checkout in each mode: completed, expired, left open."""
    price, single = life.price(1500), life.price(900, interval=None)
    urls = {"success_url": "https://atlas.example/thanks", "cancel_url": "https://atlas.example/"}
    for mode, bought in (("subscription", price), ("payment", single)):
        lines = [{"price": bought, "quantity": 2}]
        sessions = [life.post("checkout/sessions", mode=mode, line_items=lines, **urls) for _ in range(3)]
        life.post(f"/_sim/checkout/sessions/{sessions[0]['id']}/complete", payment_method="pm_card_visa")
        life.post(f"checkout/sessions/{sessions[1]['id']}/expire")
    ada = life.customer("Joan Clarke")
    setup = life.post("checkout/sessions", mode="setup", customer=ada["id"], currency="usd", **urls)
    life.post(f"/_sim/checkout/sessions/{setup['id']}/complete", payment_method="pm_card_visa")


def others(life: Life) -> None:
    """Payouts, test clocks, endpoints, and somebody who leaves for good."""
    life.wait(10)
    now = life.api.account.now()
    clock = life.post("test_helpers/test_clocks", frozen_time=now, name="A year")
    timed = life.customer("Hedy Lamarr", test_clock=clock["id"])
    life.subscribe(timed, life.price(1000))
    life.post(f"test_helpers/test_clocks/{clock['id']}/advance", frozen_time=now + MONTH)
    lines = [{"price": life.price(900, interval=None), "quantity": 1}]
    life.post("checkout/sessions", mode="payment", line_items=lines, success_url="https://atlas.example/thanks")
    life.post("webhook_endpoints", url="https://atlas.example/hook", enabled_events=["*"])
    life.delete(f"customers/{life.customer('Clara Nobody')['id']}")
    life.get("balance")
