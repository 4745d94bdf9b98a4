"""The command line imports what it needs, says what is wrong, and ends with the right code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from db.migrate import head
from intake.cli import build
from intake.commands import doctor
from worker.embedded import EmbeddedValkey

IMPORTS = """
import sys
from intake.cli import build
build(sys.argv[1])
print(*sorted(name for name in sys.modules if name.split(".")[0] in {"jobs", "stripe", "arq"}))
"""


def billing(*words: str) -> Result:
    return CliRunner().invoke(build(words[0]), list(words), env={"COLUMNS": "200"})


@pytest.mark.parametrize("command", ["intake", "events", "up", "migrate", "admin"])
def test_the_business_and_the_sdk_are_not_imported(command: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS, command], check=True, capture_output=True, text=True)
    assert [name for name in done.stdout.split() if not name.startswith("arq")] == []


def test_wrong_usage_exits_2() -> None:
    assert billing("evnts").exit_code == 2
    assert "Did you mean 'events'" in billing("evnts").output
    assert billing("up", "--port", "70000").exit_code == 2
    assert billing("worker", "--queue", "nails").exit_code == 2
    assert billing("migrate", "--dryrun").exit_code == 2


def test_the_version_is_told() -> None:
    assert billing("--version").output.startswith("billing ")


def test_migrating_tells_before_and_after(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    told = billing("migrate")
    assert (told.exit_code, told.output) == (0, f"{head()}: up to date\n")


def test_a_dry_run_migrates_nothing(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    for _ in range(2):
        told = billing("migrate", "--dry-run")
        assert (told.exit_code, told.output) == (0, f"empty → {head()} (dry run: nothing was changed)\n")
    assert billing("migrate").output == f"empty → {head()}\n"
    assert billing("migrate", "--dry-run").output == f"{head()}: up to date\n"


def test_a_database_that_is_away_exits_2_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:geheim@127.0.0.1:1/x")
    told = billing("migrate")
    assert told.exit_code == 2
    assert "DATABASE_URL" in told.stderr
    assert "geheim" not in told.output


def checks(result: Result) -> dict[str, str]:
    return {check["name"]: check["state"] for check in json.loads(result.output)["checks"]}


def test_the_doctor_is_content_with_what_is_well(
    database_url: str, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey.url,
        "BILLING_HOME": str(tmp_path),
        "STRIPE_WEBHOOK_SECRET": "whsec_1,whsec_2",
        "STRIPE_SECRET_KEY": "sk_test_1",
        "ADMIN_TOKEN": "token",
    }.items():
        monkeypatch.setenv(name, value)
    states = checks(billing("doctor", "--json"))
    assert {states[name] for name in ("configuration", "database", "schema", "clock", "redis", "webhook secret")} == {
        "ok"
    }
    assert {states[name] for name in ("stripe key", "admin token")} == {"ok"}


def test_the_doctor_finds_what_is_wrong_and_says_what_mends_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "admin_token").write_text("x")
    (secrets / "admin_token").chmod(0o644)
    for name, value in {
        "DATABASE_URL": postgres_url,
        "REDIS_URL": "redis://127.0.0.1:1",
        "BILLING_HOME": str(tmp_path),
        "STRIPE_SECRET_KEY": "sk_live_1",
        "STRIPE_MODE": "test",
    }.items():
        monkeypatch.setenv(name, value)
    told = billing("doctor", "--json")
    assert told.exit_code == 1
    states = checks(told)
    assert states["database"] == "ok"
    assert {states[name] for name in ("schema", "redis", "webhook secret", "stripe key", "secrets")} == {"failed"}
    assert all(check["fix"] for check in json.loads(told.output)["checks"] if check["state"] != "ok")
    shown = billing("doctor")
    assert shown.exit_code == 1
    assert "billing migrate" in shown.output


def test_the_doctor_names_every_mistake_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://u:geheim@x")
    monkeypatch.setenv("LOG_FORMAT", "xml")
    told = billing("doctor", "--json")
    assert told.exit_code == 1
    assert "DATABASE_URL" in told.output
    assert "LOG_FORMAT" in told.output
    assert "geheim" not in told.output


def test_the_doctor_and_the_bootstrap_know_the_same_libraries() -> None:
    listed = Path(__file__).parents[2] / "deploy" / "system_libraries.py"
    assert all(f'"{soname}"' in listed.read_text() for soname in doctor.PDF_LIBRARIES)
