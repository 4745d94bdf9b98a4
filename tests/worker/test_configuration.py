"""Every mistake in the configuration is named at once, with its variable and a fix, and no secret is shown."""

import pytest

from worker.settings import ConfigurationError, StripeMode, load_settings


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "DATABASE_URL": "mysql://geheim@db/x",
        "REDIS_URL": "localhost:6379",
        "STRIPE_API_BASE": "notaurl",
        "STRIPE_WEBHOOK_SECRET": " , ,",
        "STRIPE_MODE": "prod",
        "BILLING_LEASE_SECONDS": "0",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    lines = str(raised.value).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == sorted(wrong)
    assert "geheim" not in str(raised.value)
    assert all("for example" in line for line in lines if line.startswith(("DATABASE_URL", "REDIS_URL", "STRIPE_API")))


@pytest.mark.parametrize(
    ("key", "mode"),
    [("sk_live_1", StripeMode.LIVE), ("rk_test_1", StripeMode.TEST), ("sk_1", StripeMode.ANY), (None, StripeMode.ANY)],
)
def test_the_mode_is_told_by_the_key(monkeypatch: pytest.MonkeyPatch, key: str | None, mode: StripeMode) -> None:
    if key is not None:
        monkeypatch.setenv("STRIPE_SECRET_KEY", key)
    assert load_settings().stripe_mode is mode


def test_a_mode_that_is_set_wins_over_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_1")
    monkeypatch.setenv("STRIPE_MODE", "any")
    assert load_settings().stripe_mode is StripeMode.ANY


def test_several_signing_secrets_may_be_given_while_one_is_rolled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_new, whsec_old")
    assert load_settings().webhook_secrets == (b"whsec_new", b"whsec_old")


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [("LOG_LEVEL", "LOUD", ("DEBUG", "INFO", "WARNING", "ERROR")), ("LOG_FORMAT", "xml", ("json", "console"))],
)
def test_a_word_that_is_none_is_told_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, name: str, typed: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv(name, typed)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    told = str(raised.value)
    assert told.startswith(f"{name}: ")
    assert all(f"'{word}'" in told for word in words)
    assert "^(" not in told


@pytest.mark.parametrize("port", ["abc", "99999"])
def test_a_port_is_a_number(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://billing@db.internal:{port}/billing")
    with pytest.raises(ConfigurationError, match="DATABASE_URL: names a port that is no number up to 65535"):
        load_settings()
