"""What outsiders rely on is written down: commands, variables, metrics, pages, the compose file."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from intake.cli import COMMANDS, build
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
FROM_ELSEWHERE = {"PATH", "HOME", "BILLING_WORKER_ID", "BILLING_SUPERVISED"}
"""Read without Settings, and none of an operator's business, or told in a table of their own."""


def commands() -> dict[str, set[str]]:
    """Every command as typed, with its options; groups may hold groups."""
    root: Any = typer.main.get_command(build("*"))
    found: dict[str, set[str]] = {}

    def look(words: str, command: Any) -> None:
        if not hasattr(command, "commands"):
            options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
            found[words] = options
            return
        if command.invoke_without_command:  # it also does something by itself
            found[words] = {option for one in command.params for option in one.opts if option.startswith("--")}
        for name, one in command.commands.items():
            look(f"{words} {name}".strip(), one)

    look("", root)
    return found


def variables() -> set[str]:
    """The variables that the code reads."""
    read = {name.upper() for name in Settings.model_fields}
    for package in ("db", "worker", "jobs", "intake"):
        for file in (ROOT / package).rglob("*.py"):
            read |= set(re.findall(r"environ(?:\.get\(|\[)\s*\"([A-Z_]+)\"", file.read_text()))
    return read - FROM_ELSEWHERE


@pytest.mark.parametrize("name", sorted(variables()))
def test_each_variable_is_in_the_table(name: str) -> None:
    assert f"| `{name}` |" in CONFIGURATION


def test_the_table_holds_no_variable_that_nobody_reads() -> None:
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", CONFIGURATION, re.MULTILINE))
    assert listed - variables() <= FROM_ELSEWHERE


@pytest.mark.parametrize("words", commands())
def test_each_command_has_help_with_an_example(words: str) -> None:
    told = CliRunner().invoke(build(words.split(maxsplit=1)[0]), [*words.split(), "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    assert re.search(rf"Example.*billing {words}", told.output, re.DOTALL), told.output


def test_the_page_of_commands_has_each_with_its_options() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| `billing ([a-z -]+)` \|.*\|([^|]*)\|$", page, re.MULTILINE)
    told = {words: set(re.findall(r"--[a-z0-9-]+", options)) for words, options in rows}
    assert told == {words: options - {"--help"} for words, options in commands().items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_of_a_command_is_not_stale(name: str) -> None:
    module, _, attribute = COMMANDS[name].where.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if inspect.isfunction(found):
        assert found.__doc__
        assert COMMANDS[name].help.split()[0] == found.__doc__.split()[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_metrics_keep_their_names() -> None:
    """Dashboards and alerts are written against them."""
    importlib.import_module("worker.telemetry")
    names = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("billing_")}
    assert {"billing_webhooks", "billing_jobs", "billing_job_seconds", "billing_event_lag_seconds"} <= names


def test_the_compose_file_runs_the_roles_with_variables_that_exist() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"postgres", "valkey", "migrate", "intake", "worker", "admin"}
    known = {name.upper() for name in Settings.model_fields}
    for role in ("migrate", "intake", "worker", "admin"):
        assert set(services[role]["environment"]) <= known
        assert services[role]["command"][0] in COMMANDS
        assert services[role]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert "STRIPE_SECRET_KEY" not in services["intake"]["environment"] | services["admin"]["environment"]
    assert services["admin"]["ports"][0].startswith("127.0.0.1:")


def test_the_image_starts_our_command_as_a_user_of_its_own() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["billing"]' in dockerfile
    assert re.search(r"^USER billing$", dockerfile, re.MULTILINE)
