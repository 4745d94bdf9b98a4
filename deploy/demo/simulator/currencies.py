"""What an amount means in each currency: its decimals, the least that Stripe charges, its fixed fee."""

from deploy.demo.simulator.errors import StripeError

ZERO_DECIMAL = frozenset({
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf",
})  # fmt: skip
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
"""https://docs.stripe.com/currencies#three-decimal: their amounts end in 0."""

WHOLE_CHARGES = frozenset({"isk", "ugx"})
"""Sent with two decimals, which must be 00: https://docs.stripe.com/currencies#special-cases."""

WHOLE_PAYOUTS = frozenset({"huf", "twd"})
"""Charged with two decimals, paid out in whole units: https://docs.stripe.com/currencies#special-cases."""

KNOWN = ZERO_DECIMAL | THREE_DECIMAL | frozenset({
    "aed", "ars", "aud", "bgn", "brl", "cad", "chf", "cny", "cop", "czk", "dkk", "egp", "eur", "gbp", "hkd", "huf",
    "idr", "ils", "inr", "isk", "kes", "mad", "mxn", "myr", "ngn", "nok", "nzd", "pen", "php", "pln", "qar", "ron",
    "rsd", "sar", "sek", "sgd", "thb", "try", "twd", "uah", "ugx", "usd", "uyu", "zar",
})  # fmt: skip

MINIMUM = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50,
    "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
"""https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, in minor units."""

FIXED_FEE = {
    "eur": 25, "gbp": 20, "jpy": 40, "krw": 400, "czk": 650, "dkk": 180, "sek": 180, "nok": 200, "huf": 8500,
    "pln": 100, "mxn": 300, "inr": 200, "brl": 39, "hkd": 235, "kwd": 100, "bhd": 100, "jod": 200, "omr": 100,
}  # fmt: skip
"""What stands for the 30 cents of "2.9% + 30¢" where it is another number, in minor units."""

MAXIMUM = 99_999_999


def grain(currency: str) -> int:
    """What every amount that moves money is a multiple of, in minor units: 10, 100, or 1."""
    return 10 if currency in THREE_DECIMAL else 100 if currency in WHOLE_CHARGES else 1


def refuse_fraction(amount: int, currency: str, param: str = "amount") -> None:
    """Raises StripeError for an amount with decimals that its currency does not have.

    https://support.stripe.com/questions/deprecation-of-fractional-isk-charges-and-refunds
    """
    if amount % grain(currency) == 0:
        return
    if currency in THREE_DECIMAL:
        raise StripeError(
            f"Invalid amount: {amount}. Amounts in {currency} must be evenly divisible by 10.", param=param
        )
    raise StripeError(
        f"Invalid amount. Currency {currency.upper()} has become effectively zero-decimal and charged amounts must be "
        "evenly divisible by 100. See https://stripe.com/docs/currencies#special-cases for more information.",
        code="invalid_charge_amount_no_decimal_compatible",
        param=param,
    )


def refuse(amount: int, currency: str, param: str = "amount") -> None:
    """Raises StripeError for an amount that cannot be charged in this currency."""
    if currency not in KNOWN:
        raise StripeError(
            f"Invalid currency: {currency}. Stripe currently supports these currencies: {', '.join(sorted(KNOWN))}",
            param="currency",
        )
    if amount < 1:
        raise StripeError(
            "The amount must be greater than or equal to the minimum charge amount allowed for your account and the "
            "currency set (https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).  If you want to "
            "save a Payment Method for future use without an immediate payment, use a Setup Intent instead: "
            "https://docs.stripe.com/payments/setup-intents",
            code="parameter_invalid_integer",
            param=param,
        )
    if amount < MINIMUM.get(currency, 1):
        raise StripeError(
            f"Amount must be at least {MINIMUM[currency]} in the smallest unit of {currency}",
            code="amount_too_small",
            param=param,
        )
    if amount > MAXIMUM and currency not in ZERO_DECIMAL | THREE_DECIMAL:
        raise StripeError(
            f"Amount must be no more than {MAXIMUM} in the smallest unit of {currency}",
            code="amount_too_large",
            param=param,
        )
    refuse_fraction(amount, currency, param)
