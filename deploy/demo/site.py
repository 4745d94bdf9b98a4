"""Where the demo lives: a home of its own, emptied at each start, and an environment that knows nothing of yours."""

import os
import shutil
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.company import NAME
from worker import processes
from worker.embedded import POSTGRES_BIN
from worker.home import Home
from worker.settings import DEMO_MARK, Settings

FOLDER = "demo"
"""The demo's home within BILLING_HOME."""

MARKED = "`billing demo` lives here, and empties this folder each time it starts.\n"

LOG = "demo.log"
CLOCK = "clock"
RUN = "run"
"""What stays when a home is emptied: the lock, and who was left running."""

OURS = ("STRIPE_", "BILLING_", "DATABASE_", "REDIS_", "MAIL_", "STORAGE_", "ADMIN_", "LOG_", "SENTRY_", "OTEL_", "PG",
        "PROMETHEUS_", "AWS_", "AZURE_", "GOOGLE_")  # fmt: skip
"""Beginnings of variables that may point to something real."""

SECRETS = ("stripe_webhook_secret", "stripe_webhook_secret_next", "admin_token")

COLOR = "#1d7f92"
LOGO = Path(__file__).with_name("logo.png")
HELP = "help@harbourlight.test"
COMPANY = {
    "MAIL_FROM": f"{NAME} <billing@harbourlight.test>",
    "BILLING_OPERATORS_MAIL": f"{NAME} Finance <finance@harbourlight.test>",
    "BILLING_BRAND_NAME": NAME,
    "BILLING_BRAND_LOGO": str(LOGO),
    "BILLING_BRAND_COLOR": COLOR,
    "BILLING_BRAND_ADDRESS": "4 Breakwater Lane, Kelmouth, United Kingdom",
    "BILLING_BRAND_SUPPORT_URL": f"mailto:{HELP}",
    "BILLING_BRAND_URL": "https://harbourlight.test",
}
"""Whose letters these are."""

SECRET_KEY = "sk_test_harbourlight"  # noqa: S105 - the simulated Stripe takes any key of test mode
STOP_PATIENCE = 8.0

ASIDE = (
    "database_url",
    "redis_url",
    "stripe_webhook_secret",
    "stripe_secret_key",
    "stripe_api_base",
    "admin_token",
)
"""What may be set for a real deployment."""


class NotOursError(Exception):
    """The folder that the demo would empty holds something else."""


class NothingPlayedError(Exception):
    """There is no demo to look at."""


@dataclass(frozen=True, slots=True)
class Site:
    """A prepared home: locked, and empty but for its secrets."""

    home: Home
    signing: str
    next_signing: str
    """The secret that chaos rolls to."""

    token: str

    @property
    def mailbox(self) -> Path:
        """Where mail is captured."""
        return self.home.path / "mail"

    @property
    def clock(self) -> Path:
        """The file with the business's time."""
        return self.home.path / CLOCK

    @property
    def log(self) -> Path:
        """Where all processes write their logs."""
        return self.home.path / LOG


def prepare(billing_home: Path) -> Site:
    """Lock the demo's home under `billing_home` and empty it.

    Raises HomeInUseError when a demo runs there, NotOursError when the folder is not the demo's, OSError.
    """
    path = billing_home.expanduser().resolve() / FOLDER
    found = [file.name for file in path.iterdir()] if path.exists() else []
    if found and DEMO_MARK not in found:
        raise NotOursError(f"{path} is not empty and not a demo's: move it away, or set BILLING_HOME to another folder")
    home = Home(path)
    home.lock()
    (path / DEMO_MARK).write_text(MARKED)
    _end_leftovers(home)
    _empty(path)
    signing, _ = home.secret("stripe_webhook_secret", prefix="whsec_")
    next_signing, _ = home.secret("stripe_webhook_secret_next", prefix="whsec_")
    token, _ = home.secret("admin_token")
    site = Site(home, signing, next_signing, token)
    site.mailbox.mkdir(mode=0o700)
    return site


def reopen(billing_home: Path) -> Site:
    """Lock what a demo under `billing_home` has left, with all that is in it.

    Raises HomeInUseError when a demo runs there, NothingPlayedError when there is nothing to look at, OSError.
    """
    path = billing_home.expanduser().resolve() / FOLDER
    home = Home(path)
    if not all((path / name).exists() for name in (DEMO_MARK, CLOCK, "postgres")):
        raise NothingPlayedError(f"no demo was played in {path}: `billing demo --once` plays one")
    home.lock()
    _end_leftovers(home)
    signing, next_signing, token = (home.secret(name)[0] for name in SECRETS)
    return Site(home, signing, next_signing, token)


def _end_leftovers(home: Home) -> None:
    """Stop the servers of a demo that was killed, before their files go."""
    left = processes.running(POSTGRES_BIN / "postgres", home.postgres().data)
    processes.end(left, signal.SIGINT, STOP_PATIENCE)


def _empty(path: Path) -> None:
    for file in path.iterdir():
        if file.name in {DEMO_MARK, RUN}:
            continue
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink()


def settings(site: Site, simulator: str, wished: Settings) -> Settings:
    """The demo's own settings, whatever the environment says; `wished` tells how to log."""
    unset = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return Settings.model_validate(
        unset
        | {
            "billing_home": site.home.path,
            "stripe_webhook_secret": f"{site.signing},{site.next_signing}",
            "stripe_mode": "test",
            "stripe_secret_key": SECRET_KEY,
            "stripe_api_base": simulator,
            "admin_token": site.token,
            "log_format": wished.log_format,
            "log_level": wished.log_level,
        }
    )


def environment(
    site: Site, simulator: str, wished: Settings, outside: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What the demo's processes begin with: `outside` (ours) without anything that points to something real."""
    names = {name.upper() for name in Settings.model_fields}
    given = os.environ if outside is None else outside
    kept = {name: value for name, value in given.items() if not _points_somewhere(name.upper(), names)}
    return (
        kept
        | COMPANY
        | {
            "STRIPE_SECRET_KEY": SECRET_KEY,
            "STRIPE_API_BASE": simulator,
            "BILLING_STRIPE_REQUESTS_PER_SECOND": "1000",  # a year passes in minutes
            "BILLING_RECONCILE_REPAIR": "safe",
            "BILLING_CLOCK_FILE": str(site.clock),
            "MAIL_URL": f"maildir://{site.mailbox}",
            "STORAGE_URL": f"file://{site.home.path / 'documents'}",
            "LOG_FORMAT": wished.log_format,
            "LOG_LEVEL": wished.log_level,
        }
    )


def _points_somewhere(name: str, known: Iterable[str]) -> bool:
    return name in known or name.startswith(OURS)
