"""The demo lives in a home of its own, and knows nothing of what the environment points to."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.demo import site as sites
from jobs.mail.brand import brand_from
from worker.home import HomeInUseError
from worker.settings import Settings, load_settings

REAL = {
    "DATABASE_URL": "postgresql://genuine/books",
    "database_url": "postgresql://genuine/books",
    "REDIS_URL": "redis://genuine",
    "STRIPE_SECRET_KEY": "sk_live_genuine",
    "STRIPE_API_BASE": "https://genuine.example",
    "STRIPE_WEBHOOK_SECRET": "whsec_genuine",
    "MAIL_URL": "smtp://genuine",
    "STORAGE_URL": "s3://genuine",
    "SENTRY_DSN": "https://genuine",
    "ADMIN_TOKEN": "genuine",
    "BILLING_HOME": "/genuine",
    "PGHOST": "genuine",
}


Prepare = Callable[[], sites.Site]


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Prepare]:
    """Prepares a demo's home, and gives its lock back in the end."""
    made: list[sites.Site] = []

    def make() -> sites.Site:
        made.append(sites.prepare(tmp_path / "home"))
        return made[-1]

    yield make
    for one in made:
        one.home.unlock()


def test_nothing_real_reaches_its_processes(tmp_path: Path, prepare: Prepare) -> None:
    site = prepare()
    wished = load_settings(billing_home=tmp_path)
    made = sites.environment(site, "http://127.0.0.1:1", wished, {"PATH": "/bin", "LANG": "C", **REAL})
    assert {name: made[name] for name in ("PATH", "LANG")} == {"PATH": "/bin", "LANG": "C"}
    assert not [value for value in made.values() if "genuine" in value]
    assert made["STRIPE_API_BASE"] == "http://127.0.0.1:1"
    assert made["MAIL_URL"] == f"maildir://{site.mailbox}"


def test_letters_are_the_companys_own(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    given = sites.environment(prepare(), "http://127.0.0.1:1", load_settings(), {})
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    made = load_settings()
    assert made.mail_from == "Harbourlight <billing@harbourlight.test>"
    brand = brand_from(made)
    assert (brand.name, brand.support_mail) == ("Harbourlight", "help@harbourlight.test")
    assert brand.logo is not None
    assert (brand.logo.width, brand.logo.height) == (220, 44)
    assert made.billing_operators_mail is not None
    assert made.billing_operators_mail.endswith("@harbourlight.test>")


def test_what_was_played_is_opened_as_it_was_left(tmp_path: Path, prepare: Prepare) -> None:
    with pytest.raises(sites.NothingPlayedError, match="billing demo --once"):
        sites.reopen(tmp_path / "home")
    first = prepare()
    (first.home.path / "postgres").mkdir()
    first.clock.write_text("1754006400")
    (first.mailbox / "letter").write_text("Dear …")
    with pytest.raises(HomeInUseError):
        sites.reopen(tmp_path / "home")
    first.home.unlock()
    again = sites.reopen(tmp_path / "home")
    again.home.unlock()
    assert (again.token, again.signing, again.next_signing) == (first.token, first.signing, first.next_signing)
    assert (again.mailbox / "letter").exists()


def test_its_settings_read_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Prepare) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://genuine/books\nREDIS_URL=redis://genuine\n")
    for name, value in REAL.items():
        monkeypatch.setenv(name, value)
    wished = Settings.model_construct(log_format="json", log_level="INFO")
    made = sites.settings(prepare(), "http://127.0.0.1:1", wished)
    assert (made.database_url, made.redis_url) == (None, None)
    assert made.stripe_secret_key is not None
    assert made.stripe_secret_key.get_secret_value() == sites.SECRET_KEY
    assert len(made.webhook_secrets) == 2
    assert "genuine" not in repr([made.webhook_secrets, made.stripe_api_base, made.billing_home.name])


def test_it_begins_anew(tmp_path: Path, prepare: Prepare) -> None:
    first = prepare()
    (first.mailbox / "letter").write_text("Dear …")
    (first.home.path / "postgres").mkdir()
    (tmp_path / "home" / "postgres").mkdir()
    os.close(os.open(tmp_path / "home" / "kept", os.O_CREAT))
    first.home.unlock()
    second = prepare()
    assert list(second.mailbox.iterdir()) == []
    assert not (second.home.path / "postgres").exists()
    assert second.token != first.token
    assert (tmp_path / "home" / "postgres").exists(), "what `billing up` has in the same BILLING_HOME stays"
    assert (tmp_path / "home" / "kept").exists()


def test_a_folder_that_is_not_its_own_is_not_emptied(tmp_path: Path, prepare: Prepare) -> None:
    precious = tmp_path / "home" / "demo" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("seven years")
    with pytest.raises(sites.NotOursError, match="BILLING_HOME"):
        prepare()
    assert precious.read_text() == "seven years"


def test_two_do_not_share_a_home(prepare: Prepare) -> None:
    first = prepare()
    with pytest.raises(HomeInUseError, match=str(os.getpid())):
        prepare()
    assert first.mailbox.exists()
