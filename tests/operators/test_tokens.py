"""Partners' keys are made, listed and ended by operators; the key itself is shown once and lies nowhere."""

import json
import re
from datetime import UTC, datetime, timedelta

import asyncpg

from db import tokens
from tests.operators.books import Billing


async def test_a_key_is_shown_once_and_its_sha256_kept(billing: Billing, database_url: str) -> None:
    made = await billing("tokens", "create", "--partner", "acme", "--name", "north", "--who", "kim", "--why", "asked")
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert re.fullmatch(r"acme_[A-Za-z0-9_-]{43}", key)
    assert "no contract with acme" in made.stderr
    rows = await asyncpg.connect(database_url)
    row = await rows.fetchrow("SELECT * FROM api_tokens")
    assert row is not None
    assert (row["sha256"], row["api_key_prefix"], row["name"]) == (tokens.digest(key), "acme", "north")
    assert (row["scopes"], row["created_by"], row["expires_at"]) == (["usage:write", "usage:read"], "kim", None)
    assert key not in str(dict(row))
    audit = await rows.fetchrow("SELECT who, action, target, why, details FROM audit_log")
    assert audit is not None
    assert tuple(audit)[:4] == ("kim", "tokens.create", str(row["id"]), "asked")
    assert key[5:] not in audit["details"]
    await rows.close()


async def test_scopes_expiry_and_a_dry_run(billing: Billing, database_url: str) -> None:
    rows = await asyncpg.connect(database_url)
    await rows.execute(
        "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, contract_start_date)"
        " VALUES ('acme', 'Acme', 'flat', '2026-01-01')"
    )
    words = ("tokens", "create", "--partner", "acme", "--scope", "usage:read", "--expires", "90d")
    tried = await billing(*words, "--dry-run")
    assert (tried.exit_code, "nothing was changed" in tried.stdout, tried.stderr) == (0, True, "")
    assert await rows.fetchval("SELECT count(*) FROM api_tokens") == 0
    made = json.loads((await billing(*words, "--json")).stdout)
    assert (made["partner"], made["scopes"], made["key"][:5]) == ("acme", ["usage:read"], "acme_")
    expires = await rows.fetchval("SELECT expires_at FROM api_tokens")
    assert abs(expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=5)
    await rows.close()


async def test_what_was_typed_wrongly_is_told(billing: Billing) -> None:
    for words, told in (
        (("--partner", "a b"), "no key prefix"),
        (("--partner", "acme", "--scope", "usage:wirte"), "usage:write"),
        (("--partner", "acme", "--expires", "soon"), "write 90d"),
        (("--partner", "acme", "--expires", "2020-01-01"), "has passed"),
        (("--partner", "acme", "--expires", "0d"), "--expires: '0d' has passed"),
        (("--partner", "acme", "--scope", ""), "--scope: names no scope"),
    ):
        refused = await billing("tokens", "create", *words)
        assert (refused.exit_code, told in refused.stderr) == (2, True), refused.output


async def test_keys_are_listed_and_revoked(billing: Billing) -> None:
    for partner in ("zeta", "acme"):
        assert (await billing("tokens", "create", "--partner", partner)).exit_code == 0
    found = json.loads((await billing("tokens", "list", "--json")).stdout)
    assert [one["api_key_prefix"] for one in found] == ["acme", "zeta"]
    assert "sha256" not in found[0]
    id_ = str(found[0]["id"])
    table = await billing("tokens", "list", "--partner", "acme")
    assert found[0]["shown"] in table.stdout
    assert "zeta" not in table.stdout
    tried = await billing("tokens", "revoke", id_, "--dry-run")
    assert (tried.exit_code, "would be revoked" in tried.stdout) == (0, True)
    assert (await billing("tokens", "revoke", id_)).exit_code == 0
    again = await billing("tokens", "revoke", id_)
    assert (again.exit_code, "was revoked" in again.stderr) == (1, True)
    for unknown in ("999", "x", "9" * 30):
        assert (await billing("tokens", "revoke", unknown)).exit_code == 1
    left = json.loads((await billing("tokens", "list", "--json")).stdout)
    assert [one["api_key_prefix"] for one in left] == ["zeta"]
    every = json.loads((await billing("tokens", "list", "--all", "--json")).stdout)
    assert every[0]["revoked_at"]
