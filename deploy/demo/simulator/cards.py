"""Stripe's test cards and test bank accounts, and how each behaves: https://docs.stripe.com/testing."""

from dataclasses import dataclass, replace
from typing import Literal

Authentication = Literal["never", "always", "unless_set_up", "on_session"]
Dispute = Literal["fraudulent", "product_not_received", "inquiry", "warning"]


@dataclass(frozen=True, slots=True)
class Card:
    """A test card: what its face says, and what its bank will answer."""

    number: str
    brand: str = "visa"
    country: str = "US"
    funding: str = "credit"
    decline: str | None = None
    """Stripe's code of the answer to each charge: a key of `DECLINES`."""

    attaches: bool = True
    """Whether a customer can keep it: most declining cards cannot be attached."""

    authentication: Authentication = "never"
    dispute: Dispute | None = None
    refund: Literal["pending", "fails"] | None = None
    available_at_once: bool = False
    risk: Literal["normal", "elevated", "highest"] = "normal"
    cvc_check: str = "pass"
    postal_code_check: str | None = None
    line1_check: str | None = None


@dataclass(frozen=True, slots=True)
class Bank:
    """A test bank account, debited over days."""

    kind: Literal["us_bank_account", "sepa_debit"]
    number: str
    country: str = "US"
    failure: str | None = None
    disputes: bool = False
    ends: bool = True
    """One account stays in processing for ever, to try cancellation."""


@dataclass(frozen=True, slots=True)
class Decline:
    """The words and codes of a decline: https://docs.stripe.com/declines/codes."""

    code: str
    message: str
    decline_code: str | None = None
    advice: str | None = "try_again_later"
    network: str | None = None
    param: str = ""


DECLINED = "Your card was declined."

DECLINES = {
    "generic_decline": Decline("card_declined", DECLINED, "generic_decline", network="01"),
    "insufficient_funds": Decline(
        "card_declined", "Your card has insufficient funds.", "insufficient_funds", network="51"
    ),
    "lost_card": Decline("card_declined", DECLINED, "lost_card", "do_not_try_again", "41"),
    "stolen_card": Decline("card_declined", DECLINED, "stolen_card", "do_not_try_again", "43"),
    "do_not_honor": Decline("card_declined", DECLINED, "do_not_honor", network="05"),
    "fraudulent": Decline("card_declined", DECLINED, "fraudulent", "do_not_try_again", "59"),
    "card_velocity_exceeded": Decline(
        "card_declined",
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
        "card_velocity_exceeded",
        network="65",
    ),
    "expired_card": Decline(
        "expired_card", "Your card has expired.", "expired_card", "confirm_card_data", "54", "exp_month"
    ),
    "incorrect_cvc": Decline(
        "incorrect_cvc", "Your card's security code is incorrect.", "incorrect_cvc", "confirm_card_data", "82", "cvc"
    ),
    "processing_error": Decline(
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
        "processing_error",
        network="96",
    ),
    "authentication_required": Decline(
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
        "authentication_required",
        None,
    ),
}

BANK_FAILURES = {
    "insufficient_funds": "The customer's account has insufficient funds to cover this payment.",
    "account_closed": "The customer's bank account has been closed.",
    "no_account": "The customer's bank account could not be located.",
    "debit_not_authorized": "The customer has notified their bank that this payment was unauthorized.",
    "invalid_currency": "The bank was unable to process this payment because of its currency.",
    "generic_could_not_process": "The payment could not be processed by the customer's bank.",
}


def decline(code: str) -> Decline:
    """A decline by its code; one that we have no words for is told as any other decline is."""
    return DECLINES.get(code) or Decline("card_declined", DECLINED, code)


VISA = Card("4242424242424242")
_DECLINES_AT_ATTACH = replace(VISA, attaches=False)

_NAMED = {
    "visa": VISA,
    "visa_debit": Card("4000056655665556", funding="debit"),
    "mastercard": Card("5555555555554444", "mastercard"),
    "mastercard_debit": Card("5200828282828210", "mastercard", funding="debit"),
    "mastercard_prepaid": Card("5105105105105100", "mastercard", funding="prepaid"),
    "amex": Card("378282246310005", "amex"),
    "amex_threeDSecureNotSupported": Card("378282246310005", "amex"),
    "discover": Card("6011111111111117", "discover"),
    "diners": Card("3056930009020004", "diners"),
    "jcb": Card("3566002020360505", "jcb", "JP"),
    "unionpay": Card("6200000000000005", "unionpay", "CN"),
    "chargeDeclined": replace(_DECLINES_AT_ATTACH, number="4000000000000002", decline="generic_decline"),
    "chargeDeclinedInsufficientFunds": replace(
        _DECLINES_AT_ATTACH, number="4000000000009995", decline="insufficient_funds"
    ),
    "chargeDeclinedLostCard": replace(_DECLINES_AT_ATTACH, number="4000000000009987", decline="lost_card"),
    "chargeDeclinedStolenCard": replace(_DECLINES_AT_ATTACH, number="4000000000009979", decline="stolen_card"),
    "chargeDeclinedExpiredCard": replace(_DECLINES_AT_ATTACH, number="4000000000000069", decline="expired_card"),
    "chargeDeclinedIncorrectCvc": replace(
        _DECLINES_AT_ATTACH, number="4000000000000127", decline="incorrect_cvc", cvc_check="fail"
    ),
    "chargeDeclinedProcessingError": replace(
        _DECLINES_AT_ATTACH, number="4000000000000119", decline="processing_error"
    ),
    "chargeDeclinedVelocityLimitExceeded": replace(
        _DECLINES_AT_ATTACH, number="4000000000006975", decline="card_velocity_exceeded"
    ),
    "chargeDeclinedFraudulent": replace(
        _DECLINES_AT_ATTACH, number="4100000000000019", decline="fraudulent", risk="highest"
    ),
    "radarBlock": replace(_DECLINES_AT_ATTACH, number="4100000000000019", decline="fraudulent", risk="highest"),
    "chargeCustomerFail": Card("4000000000000341", decline="generic_decline"),
    "riskLevelHighest": Card("4000000000004954", risk="highest"),
    "riskLevelElevated": Card("4000000000009235", risk="elevated"),
    "cvcCheckFail": Card("4000000000000101", cvc_check="fail"),
    "avsZipFail": Card("4000000000000036", postal_code_check="fail"),
    "avsLine1Fail": Card("4000000000000028", line1_check="fail"),
    "avsFail": Card("4000000000000010", postal_code_check="fail", line1_check="fail"),
    "authenticationRequired": Card("4000002760003184", country="DE", authentication="always"),
    "authenticationRequiredOnSetup": Card("4000002500003155", country="FR", authentication="unless_set_up"),
    "authenticationRequiredSetupForOffSession": Card("4000003800000446", country="IE", authentication="on_session"),
    "authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        "4000008260003178", country="GB", decline="insufficient_funds", authentication="always"
    ),
    "threeDSecure2Required": Card("4000000000003220", country="IE", authentication="always"),
    "threeDSecureRequired": Card("4000000000003220", country="IE", authentication="always"),
    "threeDSecureRequiredChargeDeclined": Card("4000008400001629", decline="generic_decline", authentication="always"),
    "threeDSecureOptional": Card("4000000000003055"),
    "createDispute": Card("4000000000000259", dispute="fraudulent"),
    "createDisputeProductNotReceived": Card("4000000000002685", dispute="product_not_received"),
    "createDisputeInquiry": Card("4000000000001976", dispute="inquiry"),
    "createIssuerFraudRecord": Card("4000000000005423", dispute="warning"),
    "pendingRefund": Card("4000000000007726", refund="pending"),
    "refundFail": Card("4000000000005126", refund="fails"),
    "bypassPending": Card("4000000000000077", available_at_once=True),
    "bypassPendingInternational": Card("4000003720000278", country="IE", available_at_once=True),
}

_COUNTRIES = {
    "us": "4242424242424242", "ca": "4000001240000000", "mx": "4000004840008001", "br": "4000000760000002",
    "gb": "4000008260000000", "fr": "4000002500000003", "de": "4000002760000016", "au": "4000000360000006",
    "in": "4000003560000008", "jp": "4000003920000003", "es": "4000007240000007", "it": "4000003800000008",
    "nl": "4000005280000002", "ch": "4000007560000009", "at": "4000000400000008", "be": "4000000560000004",
    "dk": "4000002080000001", "fi": "4000002460000001", "ie": "4000003720000005", "lu": "4000004420000006",
    "no": "4000005780000007", "pl": "4000006160000005", "pt": "4000006200000007", "se": "4000007520000008",
    "cz": "4000002030000002", "sg": "4000007020000003", "hk": "4000003440000004", "nz": "4000005540000008",
}  # fmt: skip

CARDS: dict[str, Card] = {
    f"pm_card_{name}": card
    for name, card in (
        *_NAMED.items(),
        *((f"visa_{name}", card) for name, card in _NAMED.items() if name.startswith("chargeDeclined")),
        *((code, Card(number, country=code.upper())) for code, number in _COUNTRIES.items()),
    )
}
"""Test cards by Stripe's name for their payment method; `tok_…` names are the same after the prefix."""

NUMBERS: dict[str, Card] = {card.number: card for card in reversed(CARDS.values())}
NUMBERS["4242424242424242"] = VISA

BANKS: dict[str, Bank] = {
    "pm_usBankAccount_success": Bank("us_bank_account", "000123456789"),
    "pm_usBankAccount_accountClosed": Bank("us_bank_account", "000111111113", failure="account_closed"),
    "pm_usBankAccount_noAccount": Bank("us_bank_account", "000111111116", failure="no_account"),
    "pm_usBankAccount_insufficientFunds": Bank("us_bank_account", "000222222227", failure="insufficient_funds"),
    "pm_usBankAccount_debitNotAuthorized": Bank("us_bank_account", "000333333335", failure="debit_not_authorized"),
    "pm_usBankAccount_invalidCurrency": Bank("us_bank_account", "000444444440", failure="invalid_currency"),
    "pm_usBankAccount_dispute": Bank("us_bank_account", "000555555559", disputes=True),
    "pm_usBankAccount_processing": Bank("us_bank_account", "000000000009", ends=False),
    "pm_sepaDebit_success_at": Bank("sepa_debit", "AT611904300234573201", "AT"),
    "pm_sepaDebit_failed_at": Bank("sepa_debit", "AT861904300235473202", "AT", failure="generic_could_not_process"),
    "pm_sepaDebit_dispute_at": Bank("sepa_debit", "AT591904300235473203", "AT", disputes=True),
    "pm_sepaDebit_success_de": Bank("sepa_debit", "DE89370400440532013000", "DE"),
    "pm_sepaDebit_failed_de": Bank("sepa_debit", "DE62370400440532013001", "DE", failure="generic_could_not_process"),
    "pm_sepaDebit_success_fr": Bank("sepa_debit", "FR1420041010050500013M02606", "FR"),
    "pm_sepaDebit_success_nl": Bank("sepa_debit", "NL39RABO0300065264", "NL"),
}
"""Test bank accounts by name: https://docs.stripe.com/testing#ach-direct-debit and sepa-direct-debit."""

ACCOUNTS: dict[str, Bank] = {bank.number: bank for bank in BANKS.values()}


def luhn(number: str) -> bool:
    """Whether the digits are those of a card number."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0  # noqa: PLR2004 - Luhn's own rule


def by_number(number: str) -> Card | None:
    """The test card of this number; None for a number that is no test card."""
    return NUMBERS.get(number.replace(" ", ""))
