"""The few words of our own in documents about Stripe's objects and about payments: what has a code, and no name."""

from enum import StrEnum


class Word(StrEnum):
    """What is to be said."""

    ITEM = "item"
    DISCOUNT = "discount"
    SHIPPING = "shipping"
    TAX = "tax"
    VAT = "vat"
    BALANCE = "balance"
    OWED_BEFORE = "owed_before"
    CARRIED = "carried"
    CREDIT_NOTES = "credit_notes"
    PAYMENT = "payment"
    PAYMENT_FOR = "payment_for"
    BANK_TRANSFER = "bank_transfer"
    CHEQUE = "cheque"
    CASH = "cash"
    REFUNDED = "refunded"
    TO_BALANCE = "to_balance"
    OFF_INVOICE = "off_invoice"
    OUTSIDE = "outside"
    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"
    ORDER_CHANGE = "order_change"
    PRODUCT_UNSATISFACTORY = "product_unsatisfactory"


_WORDS: dict[Word, tuple[str, str, str, str, str]] = {
    Word.ITEM: ("Item", "Position", "Article", "Artículo", "項目"),
    Word.DISCOUNT: ("Discount", "Rabatt", "Remise", "Descuento", "割引"),
    Word.SHIPPING: ("Shipping", "Versand", "Livraison", "Envío", "送料"),
    Word.TAX: ("Tax", "Steuer", "Taxe", "Impuesto", "税"),
    Word.VAT: ("VAT", "USt.", "TVA", "IVA", "消費税"),
    Word.BALANCE: ("Account balance", "Guthaben", "Solde du compte", "Saldo de la cuenta", "アカウント残高"),
    Word.OWED_BEFORE: (
        "Earlier balance",
        "Früherer Saldo",
        "Solde antérieur",
        "Saldo anterior",
        "前回の残高",
    ),
    Word.CARRIED: (
        "Carried to your account balance",
        "Ihrem Guthaben verrechnet",
        "Reporté sur le solde de votre compte",
        "Trasladado al saldo de su cuenta",
        "アカウント残高に繰越",
    ),
    Word.CREDIT_NOTES: ("Credit notes", "Gutschriften", "Avoirs", "Notas de crédito", "クレジットノート"),
    Word.PAYMENT: ("Payment", "Zahlung", "Paiement", "Pago", "お支払い"),
    Word.PAYMENT_FOR: (
        "Payment for invoice {number}",
        "Zahlung zu Rechnung {number}",
        "Paiement de la facture {number}",
        "Pago de la factura {number}",
        "請求書 {number} のお支払い",
    ),
    Word.BANK_TRANSFER: (
        "Bank transfer",
        "Überweisung",
        "Virement bancaire",
        "Transferencia bancaria",
        "銀行振込",
    ),
    Word.CHEQUE: ("Cheque", "Scheck", "Chèque", "Cheque", "小切手"),
    Word.CASH: ("Cash", "Bar", "Espèces", "Efectivo", "現金"),
    Word.REFUNDED: ("Refunded", "Erstattet", "Remboursé", "Reembolsado", "返金済み"),
    Word.TO_BALANCE: (
        "Credited to your account balance",
        "Ihrem Guthaben gutgeschrieben",
        "Porté au crédit de votre compte",
        "Abonado al saldo de su cuenta",
        "アカウント残高に充当",
    ),
    Word.OFF_INVOICE: (
        "Taken off the invoice",
        "Von der Rechnung abgezogen",
        "Déduit de la facture",
        "Descontado de la factura",
        "請求書から差引",
    ),
    Word.OUTSIDE: (
        "Settled otherwise",
        "Auf anderem Weg ausgeglichen",
        "Réglé par un autre moyen",
        "Liquidado por otro medio",
        "別途精算",
    ),
    Word.DUPLICATE: ("Charged twice", "Doppelt berechnet", "Facturé en double", "Cobro duplicado", "重複請求"),
    Word.FRAUDULENT: (
        "Charged by fraud",
        "Betrügerisch veranlasst",
        "Facturation frauduleuse",
        "Cobro fraudulento",
        "不正な請求",
    ),
    Word.ORDER_CHANGE: (
        "The order was changed",
        "Auftrag geändert",
        "Commande modifiée",
        "Cambio del pedido",
        "注文内容の変更",
    ),
    Word.PRODUCT_UNSATISFACTORY: (
        "The product was not satisfactory",
        "Leistung nicht zufriedenstellend",
        "Produit non satisfaisant",
        "Producto no satisfactorio",
        "商品・サービスへのご不満",
    ),
}
REASONS = frozenset({Word.DUPLICATE, Word.FRAUDULENT, Word.ORDER_CHANGE, Word.PRODUCT_UNSATISFACTORY})
"""Why a credit note was issued: https://docs.stripe.com/api/credit_notes/object#credit_note_object-reason."""

METHODS = frozenset({Word.BANK_TRANSFER, Word.CHEQUE, Word.CASH})
"""How money comes past Stripe, as operators write it; other words of theirs stand as they are."""

_LANGUAGES = ("en", "de", "fr", "es", "ja")


def word(which: Word, locale: str, **values: str) -> str:
    """The word in the language of `locale` (BCP 47); English where it is none of ours."""
    language = locale.replace("_", "-").partition("-")[0].lower()
    at = _LANGUAGES.index(language) if language in _LANGUAGES else 0
    return _WORDS[which][at].format(**values)
