"""MAIL_URL is read once, at start; what is wrong with it is said with the fix, and never with a password in it."""

import pytest

from tests.mail.carriers import PASSWORD, URL_PASSWORD, URL_USER, USER
from worker.adapters.mail_url import Account, Server, account, server
from worker.settings import ConfigurationError, load_settings

KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqD"
    "qBaWjcMMsTbhdbcwHBcepxo7yAQGhHPTnlvFYPAZFceEu/1FwCM/QmGUhA=="
)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("smtp://mail.example.com", Server("mail.example.com", 587, None, None, "optional")),
        ("smtp://localhost:25?tls=none", Server("localhost", 25, None, None, "none")),
        ("smtp://[::1]:25", Server("::1", 25, None, None, "optional")),
        (
            f"smtp://{URL_USER}:{URL_PASSWORD}@mail.example.com",
            Server("mail.example.com", 587, USER, PASSWORD, "required"),
        ),
        ("smtp://u:p@h?tls=none", Server("h", 587, "u", "p", "none")),
        ("smtp://u:p@h?tls=required", Server("h", 587, "u", "p", "required")),
        ("smtps://u:p@mail.example.com", Server("mail.example.com", 465, "u", "p", "implicit")),
    ],
)
def test_where_and_how(url: str, read: Server) -> None:
    assert server(url) == read
    load_settings(mail_url=url)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("sendgrid://SG.a-B_c.d", Account("SG.a-B_c.d", "https://api.sendgrid.com")),
        ("sendgrid://SG.a@api.eu.sendgrid.com", Account("SG.a", "https://api.eu.sendgrid.com")),
        ("sendgrid://SG.a@127.0.0.1:8080", Account("SG.a", "http://127.0.0.1:8080")),
        ("sendgrid://SG.a@[::1]:8080", Account("SG.a", "http://[::1]:8080")),
    ],
)
def test_which_account(url: str, read: Account) -> None:
    assert account(url) == read
    load_settings(mail_url=url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("smtp://billing:hunter2/x@mail.example.com", "write @ : / ? # %"),
        ("smtp://billing:hunter2#x@mail.example.com", "write @ : / ? # %"),
        ("smtp://billing:hunter2?x@mail.example.com", "write @ : / ? # %"),
        ("smtp://", "names no host"),
        ("smtp://billing:hunter2@h?tls=maybe", "tls=maybe is none of required, optional, none"),
        ("smtp://billing:hunter2@h?tls=optional", "may send the password in the clear"),
        ("smtps://billing:hunter2@h?tls=none", "TLS from the first byte"),
        ("smtp://h?timeout=3", "timeout is no option"),
        ("sendgrid://", "names no API key"),
        ("sendgrid://SG.hunter2@", "names no host after its @"),
        ("sendgrid://SG.hunter2 x", "names no API key"),
        ("maildir://relative", "maildir:///folder"),
        ("null:something", "null:"),
        ("mailto:hunter2@example.com", "is none of smtp://"),
    ],
)
def test_a_mistake_is_told_with_its_fix_and_without_the_secret(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load_settings(mail_url=url)
    assert told in str(error.value)
    assert str(error.value).startswith("MAIL_URL: ")
    assert "hunter2" not in str(error.value)


def test_no_secret_is_shown() -> None:
    settings = load_settings(mail_url="smtp://billing:hunter2@mail.example.com")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in repr(server("smtp://billing:hunter2@mail.example.com"))
    assert "hunter2" not in repr(account("sendgrid://SG.hunter2"))


def test_sendgrids_public_keys() -> None:
    pem = f"-----BEGIN PUBLIC KEY-----\n{KEY[:64]}\n{KEY[64:]}\n-----END PUBLIC KEY-----\n"
    one = load_settings(sendgrid_webhook_key=KEY).sendgrid_keys
    assert one == load_settings(sendgrid_webhook_key=pem).sendgrid_keys
    assert load_settings(sendgrid_webhook_key=f"{KEY}, {KEY}").sendgrid_keys == one * 2
    assert load_settings().sendgrid_keys == ()
    for wrong in ("SG.abc", KEY[:-8], f"{KEY},"):
        with pytest.raises(ConfigurationError, match="SENDGRID_WEBHOOK_KEY: is no verification key"):
            load_settings(sendgrid_webhook_key=wrong)
