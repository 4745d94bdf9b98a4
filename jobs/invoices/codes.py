"""Countries and currencies that a document of ours may name."""

import re

from babel import Locale

_REGIONS = frozenset({"AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "XK", "ZZ"})
"""What CLDR adds to ISO 3166-1: https://unicode.org/reports/tr35/#unicode_region_subtag_validity."""

COUNTRIES = frozenset(filter(re.compile("[A-Z]{2}").fullmatch, map(str, Locale("en").territories))) - _REGIONS
"""ISO 3166-1 alpha-2."""

VAT_COUNTRIES = COUNTRIES | {"EL", "XI"}
"""What a VAT number begins with: Greece's is EL (EN 16931, BR-CO-9), Northern Ireland's XI."""

CURRENCIES = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp cny
    cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk jmd
    jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad
    ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl
    thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw
    """.split()  # noqa: SIM905 - as Stripe lists them
)
"""What Stripe can be paid in, lower case: the 135 of https://docs.stripe.com/currencies#presentment-currencies and the
five of #three-decimal. What an account may take of them depends on its country and on the way to pay: Stripe says so.

BGN and ANG stay in as long as Stripe takes them, though Bulgaria (2026) and Curaçao (2025: XCG) have others now; Stripe
took BGN out of Terminal alone (https://docs.stripe.com/changelog/clover/2026-01-28/bulgaria-currency-mapping-bgn-to-eur).
"""
