"""The examples of docs/documents.md are read by the very code that reads an operator's."""

import re
from datetime import UTC, datetime
from pathlib import Path

from jobs.invoices.drafts import read_draft
from jobs.invoices.issue import preview
from jobs.invoices.sellers import read_sellers
from jobs.invoices.stripe_documents import write_stripe_document
from jobs.rules.documents import problems

PAGE = (Path(__file__).parents[2] / "docs" / "documents.md").read_text()


def example(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_sellers_file_and_the_invoice_can_be_used_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "sellers.toml"
    file.write_text(example("toml"))
    sellers = read_sellers(file)
    draft = read_draft(example("json").encode())
    document = preview(draft, sellers, now=datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert problems(document) == []
    assert (document.number, document.seller.party.name, document.terms) == ("RE-2026-0001", "Acme GmbH", "net_15")


def test_the_name_that_operators_type_is_the_jobs() -> None:
    assert f"--name {write_stripe_document.name} " in PAGE
