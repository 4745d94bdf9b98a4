"""What tax offices want to be said: numbers by their own names, and why a tax is as it is."""

from collections.abc import Callable

from jobs.invoices.document import Tax, TaxCategory

Say = Callable[[str], str]

NAMES = {
    "ae_trn": "TRN",
    "au_abn": "ABN",
    "br_cnpj": "CNPJ",
    "br_cpf": "CPF",
    "ca_bn": "BN",
    "ca_gst_hst": "GST/HST",
    "ca_qst": "QST",
    "ch_uid": "UID",
    "cl_tin": "RUT",
    "co_nit": "NIT",
    "eu_oss_vat": "OSS VAT",
    "id_npwp": "NPWP",
    "in_gst": "GSTIN",
    "jp_cn": "法人番号",
    "jp_rn": "登録国外事業者番号",
    "jp_trn": "登録番号",
    "kr_brn": "사업자등록번호",
    "mx_rfc": "RFC",
    "nz_gst": "GST",
    "ru_inn": "ИНН",
    "sg_gst": "GST",
    "us_ein": "EIN",
}
"""Names of numbers that are the same in every language: https://docs.stripe.com/billing/customer/tax-ids."""


def tax_id_label(kind: str, _: Say) -> str:
    """What a tax id of Stripe's type is called: by its own name, as VAT ID, else as a tax ID."""
    if kind in NAMES:
        return NAMES[kind]
    return _("VAT ID") if kind.endswith("_vat") or kind == "vat" else _("Tax ID")


def because(category: TaxCategory, _: Say) -> str | None:
    """Why there is no tax, as Article 226 of Directive 2006/112/EC wants it said; None where there is nothing to say.

    The reason of an exemption is the seller's to name (`Document.legal`).
    """
    match category:
        case TaxCategory.REVERSE_CHARGE:
            return _("Reverse charge: the customer is liable for the VAT (Article 196 of Directive 2006/112/EC).")
        case TaxCategory.EXPORT:
            return _("No VAT is charged: the supply goes outside the European Union.")
        case TaxCategory.OUTSIDE:
            return _("Not subject to VAT: the place of supply lies outside the country of the seller.")
        case TaxCategory.STANDARD | TaxCategory.ZERO | TaxCategory.EXEMPT:
            return None


def reasons(taxes: tuple[Tax, ...], _: Say) -> list[str]:
    """What the categories of `taxes` want to be said, each once."""
    said = (because(category, _) for category in dict.fromkeys(tax.category for tax in taxes))
    return [sentence for sentence in said if sentence is not None]
