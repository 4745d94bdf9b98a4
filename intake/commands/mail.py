"""`billing mail`: the letters that customers, partners and operators got, and how they look before anyone gets them."""

import webbrowser
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import available_timezones

import msgspec
import typer

from intake.commands import mail_letters, mail_suppressed
from intake.commands import render as screen
from intake.commands.common import checked_settings, wrong_usage
from intake.commands.options import AsJson, nearest
from intake.letters import standing_alone
from jobs.mail.brand import Brand, brand_from
from jobs.mail.contexts import LETTERS
from jobs.mail.render import Rendered, render
from jobs.mail.samples import SAMPLES
from worker.settings import LANGUAGES, ConfigurationError, Settings

app = typer.Typer(
    no_args_is_help=True,
    help="The letters: list, show, resend, preview; and the addresses that none goes to.",
    epilog="Example: billing mail list --status bounced --since 7d",
)
app.add_typer(mail_letters.app)
app.add_typer(mail_suppressed.app, name="suppressed")


def _brand(settings: Settings) -> Brand:
    try:
        return brand_from(settings)
    except ConfigurationError as error:
        wrong_usage(*str(error).splitlines())


def _listed(brand: Brand) -> list[dict[str, Any]]:
    return [
        {
            "letter": name,
            "audience": letter.audience.value,
            "samples": len(SAMPLES[name]),
            "subject": _sample(name, 1, None, None, brand).subject,
        }
        for name, letter in LETTERS.items()
    ]


def _list(brand: Brand, *, as_json: bool) -> None:
    letters = _listed(brand)
    if as_json:
        screen.print_json({"letters": letters, "languages": LANGUAGES})
        return
    made = screen.table("letter", "to", "samples", "subject of the first", right=("samples",))
    for one in letters:
        made.add_row(*(screen.text(one[key]) for key in ("letter", "audience", "samples", "subject")))
    screen.console().print(made)
    screen.console().print(screen.text(f"languages: {', '.join(LANGUAGES)}"))


def _sample(name: str, number: int, locale: str | None, timezone: str | None, brand: Brand) -> Rendered:
    facts = msgspec.to_builtins(SAMPLES[name][number - 1])
    return render(name, facts, locale=locale, timezone=timezone, brand=brand)


def _spelled(locale: str) -> str:
    """A locale as it is compared: `de-AT` and `de_at` are one."""
    return locale.strip().replace("_", "-").lower()


def _write(file: Path, page: str) -> Path:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        wrong_usage(f"--out {file}: {error.strerror}")
    return file.resolve()


@app.command("preview")
def preview(
    name: Annotated[str | None, typer.Argument(help="The letter; --list names them.")] = None,
    *,
    locale: Annotated[str | None, typer.Option(help="de, fr-CA, …; by default the brand's.")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="The reader's: Europe/Berlin, …; by default the brand's.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Which of the letter's samples.")] = 1,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_text: Annotated[bool, typer.Option("--text", help="Print the text instead.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write the HTML; by default under BILLING_HOME.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the letters, and how many samples each has.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a sample of a letter, with the configured brand, and print where it is; nobody is sent anything.

    Example: billing mail preview payment_failed --locale de --sample 2 --open
    """
    settings = checked_settings()
    brand = _brand(settings)
    if listed:
        _list(brand, as_json=as_json)
        return
    if name is None or name not in LETTERS:
        near = nearest(name, list(LETTERS))
        said = f"there is no letter {name!r}{near or '.'}" if name else "which letter?"
        wrong_usage(f"{said} `billing mail preview --list` names them")
    if sample > len(SAMPLES[name]):
        wrong_usage(f"--sample {sample}: {name} has {len(SAMPLES[name])}")
    if timezone is not None and timezone not in (zones := available_timezones()):
        near = nearest(timezone, sorted(zones)) or "; for example Europe/Berlin"
        wrong_usage(f"--timezone {timezone}: is no time zone of IANA's list{near}")
    rendered = _sample(name, sample, locale, timezone, brand)
    if locale is not None and _spelled(rendered.locale) != _spelled(locale):
        known = ", ".join(LANGUAGES)
        typer.echo(f"--locale {locale}: there is none ({known}): {rendered.locale} is written", err=True)
    if as_json:
        screen.print_json(msgspec.to_builtins(rendered))
        return
    if as_text:
        typer.echo(f"{rendered.subject}\n\n{rendered.text}", nl=False)
        return
    default = settings.billing_home / "previews" / f"{name}-{sample}.{rendered.locale}.html"
    file = _write(out or default, standing_alone(rendered, brand))
    typer.echo(f"{rendered.subject}\n{file}")
    if open_it and not webbrowser.open(file.as_uri()):
        wrong_usage("no browser could be started: open the file yourself")
