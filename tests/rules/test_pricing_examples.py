"""Each worked example of docs/pricing.md is played: its contract and usage come to the very table below it."""

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from jobs.rules.pricing import ROUNDING, Model, Part, Rated, Terms, Tier, amount, explain, problems, rate, text

PAGE = (Path(__file__).parents[2] / "docs" / "pricing.md").read_text()
EXAMPLE = re.compile(
    r"```toml\n(?P<toml>[^`]*)```\n\n\| line \| reckoning \|\n\|---\|---\|\n(?P<rows>(?:\|.*\n)+)"
    r"(?:\nFlags:\n\n(?P<flags>(?:- .*\n)+))?"
)
EXAMPLES = [found.groupdict() for found in EXAMPLE.finditer(PAGE)]
RENAMED = {
    "pricing_model": "model",
    "monthly_flat_fee_cents": "monthly_flat_fee",
    "per_deed_price_cents": "per_deed_price",
    "per_1000_requests_cents": "per_1000_requests",
    "minimum_commitment_cents": "minimum_commitment",
    "cap_cents": "cap",
}
PRICES = {"per_deed_price_cents", "per_1000_requests_cents"}


def terms(contract: Mapping[str, Any]) -> Terms:
    found: dict[str, Any] = {"currency": "usd"}
    for name, value in contract.items():
        found[RENAMED.get(name, name)] = Decimal(value) if name in PRICES else value
    found["tiers"] = tuple(
        Tier(
            up_to=tier.get("up_to"),
            unit_price=Decimal(tier["unit_price_cents"]),
            flat_fee=tier.get("flat_fee_cents", 0),
        )
        for tier in contract.get("tiers", ())
    )
    return Terms(**found)


def midnight(day: date | str) -> datetime:
    return datetime.combine(date.fromisoformat(str(day)), time(), UTC)


def versions(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One contract for the whole period, or versions that each have a day and usage of their own."""
    if "usage" in raw:
        return [raw["contract"] | {"usage": raw["usage"]}]
    return raw["contract"]


def played(toml: str) -> tuple[Rated, list[Terms]]:
    raw = tomllib.loads(toml)
    start, end = map(midnight, raw.get("period", ("2026-10-01", "2026-11-01")))
    found = versions(raw)
    begins = [midnight(version.pop("valid_from", start.date())) for version in found]
    parts = [
        Part(
            start=begin,
            end=until,
            usage={name: Decimal(units) for name, units in version.pop("usage").items()},
            terms=terms(version),
        )
        for version, begin, until in zip(found, begins, [*begins[1:], end], strict=True)
    ]
    return rate(start, end, raw.get("months", 1), parts), [part.terms for part in parts]


def test_the_page_has_its_examples_of_every_model_and_none_is_left_out() -> None:
    assert len(EXAMPLES) == PAGE.count("```toml") >= 20
    models = {terms.model for example in EXAMPLES for terms in played(example["toml"])[1]}
    assert models == set(get_args(Model))


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_comes_to_its_table(example: Mapping[str, str]) -> None:
    rated, used = played(example["toml"])
    assert [problems(each) for each in used] == [[] for _ in used]
    rows = [f"| {text(line)} | {explain(line)} |" for line in rated.lines]
    rows.append(f"| **Subtotal** | **{amount(rated.subtotal, used[0].currency)}** |")
    assert example["rows"].splitlines() == rows
    assert re.findall(r"^- `(.*)`$", example["flags"] or "", re.MULTILINE) == list(rated.flags)


def test_the_page_names_the_policy_of_rounding() -> None:
    assert ROUNDING in PAGE
