"""Terms of a contract as they are typed at a terminal, or written in a file."""

import json
import tomllib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from intake.commands.common import wrong_usage

Fee = Annotated[str | None, typer.Option("--fee", help="Flat fee a month: 4900 (minor units) or '49 EUR'.")]
PerDeed = Annotated[str | None, typer.Option("--per-deed", help="Price of a deed: 200 or '2.00 EUR'.")]
Per1000 = Annotated[str | None, typer.Option("--per-1000", help="Price of 1,000 requests: 250 or '2.50 EUR'.")]
Included = Annotated[str | None, typer.Option("--included", help="Units of a month that the fee pays for.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Any other field, such as timezone=Europe/Berlin; again for more."
    ),
]
File = Annotated[Path | None, typer.Option("--file", help="Fields in a TOML or JSON file.")]


def _typed(text: str) -> Any:
    """A list or a table is JSON; nothing is the default; all else is text, which the fields read."""
    if text.strip()[:1] in {"[", "{"}:
        try:
            return json.loads(text, parse_float=Decimal)
        except ValueError as error:
            wrong_usage(f"--set: {text!r} is no JSON: {error}")
    return text if text.strip() else None


def _from_file(file: Path) -> dict[str, Any]:
    try:
        raw = file.read_text("utf-8")
        if file.suffix.lower() == ".json":
            given = json.loads(raw, parse_float=Decimal)
        else:
            given = tomllib.loads(raw, parse_float=Decimal)
    except OSError as error:
        wrong_usage(f"--file: {file}: cannot be read ({error.strerror})")
    except ValueError as error:
        kind = "JSON" if file.suffix.lower() == ".json" else "TOML"
        wrong_usage(f"--file: {file}: is no {kind}: {error}")
    if not isinstance(given, dict):
        wrong_usage(f"--file: {file}: holds no table of fields")
    return cast("dict[str, Any]", given)


def given_terms(file: Path | None, assigned: Sequence[str] | None, **options: str | None) -> dict[str, Any]:
    """All fields that were given: those of the file, then `--set`, then the options of their own."""
    found = _from_file(file) if file is not None else {}
    wrong: list[str] = []
    for one in assigned or ():
        name, sign, value = one.partition("=")
        field, _, part = name.strip().partition(".")
        if not sign or not field:
            wrong.append(f"--set: {one!r}: write NAME=VALUE, such as payment_terms=net_15")
        elif part:
            table = found.get(field)
            inner = cast("dict[str, Any]", table) if isinstance(table, dict) else {}
            found[field] = {**inner, part: _typed(value)}
        else:
            found[field] = _typed(value)
    if wrong:
        wrong_usage(*wrong)
    return found | {name: value for name, value in options.items() if value is not None}
