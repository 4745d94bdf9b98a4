"""A contract is read as it was agreed; all that makes no sense is told at once, in a salesperson's words."""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import contracts as table
from db.models.partners import ApiPartnerContract
from jobs.invoices.document import Address, TaxId
from jobs.invoices.sellers import read_sellers
from jobs.partners.contract_fields import ContractTier
from jobs.partners.contract_versions import holding, newest, next_period
from jobs.partners.contracts import (
    FIELDS,
    OF_THE_VERSION,
    Contract,
    columns,
    looked,
    mistakes,
    party,
    read,
    terms,
    written,
)
from jobs.rules import pricing
from tests.partners.contract_kit import DAYS, PLAIN, Json, contracts
from worker.errors import Refused


@given(contracts())
def test_what_was_written_is_read_as_it_was(contract: Contract) -> None:
    assert read(msgspec.to_builtins(contract)) == contract
    assert read(written(contract)) == contract
    assert read(msgspec.json.decode(msgspec.json.encode(contract))) == contract
    assert pricing.problems(terms(contract)) == []


@given(contracts())
def test_what_is_equal_is_written_alike(contract: Contract) -> None:
    again = read(msgspec.to_builtins(contract))
    assert msgspec.json.encode(read(msgspec.to_builtins(again))) == msgspec.json.encode(again)


@given(st.lists(DAYS, min_size=1, max_size=8, unique=True), st.lists(DAYS, max_size=20), DAYS)
def test_a_later_version_changes_no_day_before_it(begins: list[date], days: list[date], later: date) -> None:
    plain = read(PLAIN)
    versions = [msgspec.structs.replace(plain, valid_from=day, version=number) for number, day in enumerate(begins, 1)]
    added = msgspec.structs.replace(plain, valid_from=later, version=99)
    for day in [*days, *begins, later]:
        held = holding(versions, day)
        assert held in versions  # each day has one
        assert held.valid_from <= day or all(one.valid_from > day for one in versions)
        assert not any(held.valid_from < one.valid_from <= day for one in versions)
        assert holding(list(reversed(versions)), day) is held
        if day < later and min(begins) <= day:
            assert holding([*versions, added], day) is held
        if day >= later >= max(begins) and later not in begins:
            assert holding([*versions, added], day) is added
    assert newest([*versions, added]).valid_from == max(*begins, later)


def test_amounts_may_be_written_as_people_say_them() -> None:
    raw = PLAIN | {"currency": "EUR", "per_1000_requests_cents": "2.50 eur", "monthly_flat_fee_cents": "49 EUR"}
    contract = read(raw | {"tax_percent": "19 %", "cap_cents": "1000.00EUR"})
    assert (contract.currency, contract.per_1000_requests_cents, contract.monthly_flat_fee_cents) == ("eur", 250, 4900)
    assert (contract.tax_percent, contract.cap_cents) == (Decimal(19), 100_000)
    yen = read(PLAIN | {"currency": "jpy", "per_1000_requests_cents": "250 JPY"})
    assert yen.per_1000_requests_cents == 250
    tiers = [
        {"up_to": "1000", "unit_price_cents": "0.005 USD"},
        {"unit_price_cents": Decimal("0.250"), "flat_fee_cents": 5},
    ]
    tiered = {name: PLAIN[name] for name in PLAIN if name != "per_1000_requests_cents"}
    read_tiers = read(tiered | {"pricing_model": "tiered", "tiers": tiers}).tiers
    assert read_tiers == (ContractTier(1000, Decimal("0.5")), ContractTier(None, Decimal("0.25"), 5))


MISTAKES: list[tuple[str, Any, str]] = [
    ("api_key_prefix", "näh", "letters, digits, _ and -"),
    ("api_key_prefix", "", "api_key_prefix: is missing: what the partner's keys begin with"),
    ("company", " ", "company: is missing"),
    ("company", "a\nb", "in one line"),
    ("company", 5, "is a text"),
    ("company", "x" * 201, "shorten it to 200"),
    ("pricing_model", "per_requests", "did you mean 'per_request'"),
    ("pricing_model", "Flatt", "did you mean 'flat'"),
    ("pricing_model", "Per-Request", ""),
    ("currency", "euro", "write three letters"),
    ("currency", "xxx", "no currency that Stripe can be paid in"),
    ("timezone", "Europe/Berln", "did you mean 'Europe/Berlin'"),
    ("timezone", "localtime", "is no time zone"),
    ("timezone", 5, "is no time zone"),
    ("contract_start_date", "01.11.2026", "year, month and day"),
    ("contract_start_date", "2026-02-30", "is no day"),
    ("contract_start_date", "2026-11-01T00:00:00", "is no day"),
    ("contract_start_date", "1926-11-01", "correct the year"),
    ("contract_end_date", "2025-12-31", "is before contract_start_date, 2026-01-01"),
    ("per_1000_requests_cents", "2.50", "write 250 (minor units) or '2.50 USD'"),
    ("per_1000_requests_cents", "2,50 USD", "without separators"),
    ("per_1000_requests_cents", "2.50 EUR", "is not in USD"),
    ("per_1000_requests_cents", "2.505 USD", "is finer than USD is"),
    ("per_1000_requests_cents", 2.5, "2.5 is not clear"),
    ("per_1000_requests_cents", 0.1 + 0.2, "write it as a text"),
    ("per_1000_requests_cents", float("nan"), "is no number that is meant"),
    ("per_1000_requests_cents", float("inf"), "is no number that is meant"),
    ("per_1000_requests_cents", True, "is no number"),
    ("per_1000_requests_cents", -1, "is not below 0"),
    ("per_1000_requests_cents", "1e9", "is no number"),
    ("per_1000_requests_cents", Decimal("1e99999"), "is no number that is meant"),
    ("per_1000_requests_cents", Decimal("NaN"), "is no number that is meant"),
    ("per_1000_requests_cents", 10**16, "beyond what an invoice can show"),
    ("included_units", "1.5", "is no whole number"),
    ("included_units", -1, "write at least 0"),
    ("package_size", 0, "write at least 1"),
    ("alarm_factor", 5_000, "write at most 1000"),
    ("monthly_request_limit", 0, "write at least 1"),
    ("discount_percent", "110", "between 0 and 100"),
    ("tax_percent", "7.12345", "more than 4 decimal places"),
    ("reverse_charge", "maybe", "neither true nor false"),
    ("reverse_charge", True, "tax_ids: are missing"),
    ("push_to_stripe", "yes", "stripe_customer_id: is missing"),
    ("stripe_customer_id", "sub_1", "copy the id"),
    ("billing_email", "ada@", "no address that mail can be sent to"),
    ("locale", "dd", "is none of en, de, fr, es, ja"),
    ("address", {"country": "Germany"}, "address.country: 'Germany' is no country"),
    ("address", {"contry": "DE"}, "address.contry: is unknown; did you mean 'country'"),
    ("address", "Ring 1", "is an address in parts"),
    ("tax_ids", ["DE123"], "tax_ids[0]"),
    ("tax_ids", [{"type": "VAT", "value": "1"}], "tax_ids[0].type: 'VAT' is no type of Stripe's"),
    ("tiers", [{"upto": 5}], "tiers[0].upto: is unknown; did you mean 'up_to'"),
    ("tiers", [{"up_to": 5}], "tiers[0].unit_price_cents: is missing"),
    ("tiers", "5:1", "is a list of tiers"),
    ("tiers", [[]], "tiers[0]: is a tier: write up_to, unit_price_cents, flat_fee_cents"),
    ("deed_events", ["a b"], "deed_events[0]: 'a b' is no event type"),
    ("prcing_model", "flat", "prcing_model: is unknown; did you mean 'pricing_model'"),
    (
        "payment_terms", "net_7",
        "payment_terms: 'net_7' is not known: it is one of immediate, net_15, net_30, net_60, end_of_month",
    ),
    ("payment_terms", "net_45", "'net_45' is not known: it is one of"),
    ("payment_terms", "ned_30", "did you mean 'net_30'"),
    ("payment_terms", "Net 30", ""),
    ("status", "open", "it is one of draft, active, paused, ended"),
    ("notes", "\0", "cannot be written"),
    ("cap_cents", 0, ""),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "said"), MISTAKES)
def test_mistakes_are_told_with_the_fix(field: str, value: object, said: str) -> None:
    found = mistakes(PLAIN | {field: value})
    assert any(said in line for line in found) if said else found == [], found


def test_all_mistakes_are_told_at_once() -> None:
    raw = {
        "api_key_prefix": "a b",
        "pricing_model": "tierd",
        "currency": "EUROS",
        "timezone": "Berlin",
        "tiers": [{"up_to": 10, "unit_price_cents": "x"}, {"unit_price_cents": 1, "fee": 2}],
        "tax_percent": 19,
        "reverse_charge": True,
        "colour": "red",
    }
    fields = [line.partition(":")[0] for line in mistakes(raw)]
    assert sorted(fields) == sorted(
        ["colour", "api_key_prefix", "company", "currency", "timezone", "contract_start_date", "pricing_model",
         "tiers[0].unit_price_cents", "tiers[1].fee", "reverse_charge", "tax_ids"]
    )  # fmt: skip


def test_the_price_list_is_looked_at_too() -> None:
    tiers = [{"up_to": 10, "unit_price_cents": 2}, {"up_to": 5, "unit_price_cents": 1}]
    raw = {name: value for name, value in PLAIN.items() if name != "per_1000_requests_cents"}
    told = mistakes(raw | {"pricing_model": "tiered", "tiers": tiers, "cap_cents": 5, "minimum_commitment_cents": 6})
    assert [line.split()[0] for line in told] == ["tiers[1].up_to", "tiers[1].up_to", "cap_cents"]


def test_the_seller_is_one_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sellers.toml"
    file.write_text('default = "acme"\n[sellers.acme]\nname = "Acme"\n[sellers.globex]\nname = "Globex"\n')
    sellers = read_sellers(file)
    assert read(PLAIN | {"seller": "globex"}, sellers).seller == "globex"
    assert mistakes(PLAIN | {"seller": "acne"}, sellers) == ["seller: no seller is named 'acne'; did you mean 'acme'?"]
    assert mistakes(PLAIN | {"seller": "xyz"}, sellers) == ["seller: no seller is named 'xyz': there are acme, globex"]
    assert read(PLAIN | {"seller": "acne"}).seller == "acne"


def test_whom_the_invoice_goes_to() -> None:
    raw = PLAIN | {
        "address": {"line1": "Ring 1", "country": "de"},
        "tax_ids": ["eu_vat:DE1"],
        "billing_email": "a@b.example",
    }
    found = party(read(raw))
    assert (found.name, found.address) == ("Northwind GmbH", Address(line1="Ring 1", country="DE"))
    assert (found.email, found.tax_ids) == ("a@b.example", (TaxId("eu_vat", "DE1"),))


def test_a_quarter_of_a_contract_is_its_own() -> None:
    contract = read(PLAIN | {"billing_cycle": "quarterly", "contract_start_date": "2026-02-10"})
    first = next_period([contract], None)
    assert first is not None
    assert (first.name, first.after) == ("2026-02", date(2026, 5, 1))
    second = next_period([contract], first.end)
    assert second is not None
    assert second.name == "2026-05"
    ended = msgspec.structs.replace(contract, contract_end_date=date(2026, 4, 30))
    assert next_period([ended], first.end) is None


async def test_a_row_of_the_customers_columns_works(engine: AsyncEngine) -> None:
    """Whoever writes rows by SQL relies on the defaults: they are those of `read`."""
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, monthly_flat_fee_cents,"
                " per_deed_price_cents, per_1000_requests_cents, billing_cycle, payment_terms, payment_method,"
                " monthly_request_limit, rate_limit_per_minute, status, contract_start_date, contract_end_date, notes)"
                " VALUES ('nw_live', 'Northwind GmbH', 'per_request', 0, 0, 250, 'monthly', 'net_30', 'bank_transfer',"
                " NULL, NULL, 'active', '2026-01-01', NULL, NULL)"
            )
        )
        (row,) = await table.versions(conn, "nw_live")
    contract = read(row)
    assert (contract.version, contract.valid_from) == (1, date(2026, 1, 1))
    assert msgspec.structs.replace(contract, id=None, version=None) == read(PLAIN)


@given(st.data())
def test_a_frozen_row_is_what_the_table_keeps(data: st.DataObject) -> None:
    """The columns of a contract are those of the table, and those of its terms are those that its trigger keeps."""
    contract = data.draw(contracts())
    assert set(columns(contract)) | {"id", "version", "created_at", "created_by"} == set(FIELDS)
    assert set(FIELDS) == {column.key for column in ApiPartnerContract.__table__.c}


def test_the_terms_that_are_kept_are_the_triggers() -> None:
    migration = (Path(__file__).parents[2] / "db/migrations/versions/0005_usage_and_partners.py").read_text()
    kept = migration[migration.index("TERMS = (") : migration.index('"""What amounts follow from')]
    assert all(f'"{name}"' in kept for name in OF_THE_VERSION)
    assert kept.count('"') // 2 == len(OF_THE_VERSION) + 1  # and the version's number


@given(contracts())
def test_a_contract_is_no_other_for_having_been_stored(contract: Contract) -> None:
    row = columns(contract) | {"id": 7, "version": 3, "created_at": None, "created_by": "ada"}
    stored = read(row)
    assert msgspec.structs.replace(stored, id=None, version=None, created_by=None) == contract


async def test_each_column_comes_back_from_the_database(engine: AsyncEngine) -> None:
    raw: Json = PLAIN | {
        "tiers": None,
        "discount_percent": "12.5000",
        "tax_percent": Decimal("19.0000"),
        "deed_events": "*deed*, land.*",
        "address": {"line1": "Ring 1", "country": "DE"},
        "tax_ids": ["eu_vat:DE1"],
        "contract_end_date": "2027-12-31",
        "cap_cents": 100_000,
        "notes": "line 1\nline 2",
    }
    contract = read(raw)
    async with engine.begin() as conn:
        await conn.execute(insert(ApiPartnerContract).values(**columns(contract), version=1))
        (row,) = await table.versions(conn, "nw_live")
    assert msgspec.structs.replace(read(row), id=None, version=None) == contract
    assert msgspec.json.encode(msgspec.structs.replace(read(row), id=None, version=None)) == msgspec.json.encode(
        contract
    )


async def test_numbers_in_json_of_a_row_are_what_was_written(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, contract_start_date, tiers)"
                " VALUES ('nw_live', 'Northwind', 'tiered', '2026-01-01',"
                """ '[{"up_to": 10, "unit_price_cents": 0.0007}, {"unit_price_cents": 1.10}]')"""
            )
        )
        (row,) = await table.versions(conn, "nw_live")
    assert [one.unit_price_cents for one in read(row).tiers] == [Decimal("0.0007"), Decimal("1.1")]


@pytest.mark.parametrize(
    "odd",
    [
        "tiers = '{}'", "tiers = '5'", "tiers = '[null]'", "deed_events = '{NULL}'", "address = '[]'",
        "tax_ids = '\"x\"'",
        "contract_start_date = '0001-01-01'", "contract_end_date = 'infinity'", "package_size = 9223372036854775807",
        "notes = repeat('x', 5001)", "discount_percent = 'NaN'", "tax_percent = -1", "deed_events = '{}'",
    ],
)  # fmt: skip
async def test_odd_rows_are_told_and_break_nothing(engine: AsyncEngine, odd: str) -> None:
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, contract_start_date,"
                " per_deed_price_cents) VALUES ('nw_live', 'Northwind', 'per_deed', '2026-01-01', 5)"
            )
        )
        await conn.execute(text(f"UPDATE api_partner_contracts SET {odd}"))  # noqa: S608 - from the list above
        (row,) = await table.versions(conn, "nw_live")
    assert [re.match("[a-z_0-9]+", line)[0] for line in mistakes(row)] == [odd.partition(" ")[0]]  # pyright: ignore[reportOptionalSubscript] - it says so itself


def test_nothing_at_all() -> None:
    with pytest.raises(Refused, match="company: is missing") as told:
        read({})
    assert len(told.value.reason.splitlines()) == 4


def test_prices_are_looked_at_though_other_fields_are_wrong() -> None:
    raw = PLAIN | {"timezone": "Berlin", "cap_cents": 5, "minimum_commitment_cents": 600, "per_deed_price_cents": 1}
    told = mistakes_typed(raw)
    assert [line.split(maxsplit=1)[0].rstrip(":") for line in told] == ["timezone", "cap_cents", "per_deed_price_cents"]
    assert "cap_cents is 0.05 USD, less than minimum_commitment_cents, 6.00 USD" in told[1]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"pricing_model": "tierd", "cap_cents": 5, "minimum_commitment_cents": 6}, ["pricing_model", "cap_cents"]),
        ({"pricing_model": "flat", "per_1000_requests_cents": "2.50"}, ["per_1000_requests_cents"] * 1),
        ({"currency": "xyz", "cap_cents": 5, "minimum_commitment_cents": 6}, ["currency"]),
        ({"per_1000_requests_cents": "x"}, ["per_1000_requests_cents"]),
        ({"per_1000_requests_cents": None, "per_1000_request_cents": 5}, ["per_1000_request_cents"]),
    ],
)
def test_nothing_is_said_of_what_could_not_be_read(fields: Json, named: list[str]) -> None:
    told = [line.split(maxsplit=1)[0].rstrip(":") for line in mistakes_typed(PLAIN | fields)]
    assert [one for one in told if one != "monthly_flat_fee_cents"] == named


def mistakes_typed(raw: Json) -> list[str]:
    return list(looked(raw).wrong)
