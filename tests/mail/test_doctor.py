"""`billing doctor` reaches the carrier of letters and signs in, and sends nothing."""

from pathlib import Path
from typing import Any

import pytest

from intake.commands import doctor
from tests.mail.carriers import Capture, Faults, SendGrid, capturing
from tests.mail.test_carriers_url import KEY


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    return tmp_path


async def found(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return {check.name: check for check in await doctor.examine()}


async def test_a_folder_is_enough_for_a_start(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    checks = await found(monkeypatch)
    assert checks["mail"].state == "ok"
    assert "reach nobody" in checks["mail"].found
    assert checks["operators' mail"].state == "warning"
    assert "sender" not in checks
    assert not (home / "mail").exists(), "it changes nothing"


async def test_letters_that_are_thrown_away_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await found(monkeypatch, MAIL_URL="null:")
    assert (checks["mail"].state, checks["mail"].found) == ("warning", "letters are thrown away")


@pytest.mark.parametrize("live", [{"STRIPE_MODE": "live"}, {"STRIPE_SECRET_KEY": "rk_live_0123456789"}])
async def test_customers_who_wait_for_letters_that_stay_here_are_told(
    monkeypatch: pytest.MonkeyPatch, home: Path, live: dict[str, str]
) -> None:
    checks = await found(monkeypatch, **live)
    assert (checks["mail"].state, checks["mail"].fix) == ("warning", "set MAIL_URL to the carrier of your letters")
    chosen = await found(monkeypatch, MAIL_URL=f"maildir://{home}/mail", **live)
    assert chosen["mail"].state == "ok", "whoever names a folder means it"


async def test_a_mail_server_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Capture()
    async with capturing(capture) as port:
        checks = await found(
            monkeypatch,
            MAIL_URL=f"smtp://127.0.0.1:{port}",
            MAIL_FROM="Acme <billing@acme.example>",
            BILLING_OPERATORS_MAIL="team@acme.example",
        )
    assert (checks["mail"].state, checks["sender"].state) == ("ok", "ok")
    assert "operators' mail" not in checks
    assert capture.raw == []


async def test_a_sender_that_nobody_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with capturing(Capture()) as port:
        checks = await found(monkeypatch, MAIL_URL=f"smtp://127.0.0.1:{port}")
    assert (checks["sender"].state, checks["sender"].found) == ("failed", "letters would come from billing@localhost")


async def test_a_mail_server_that_refuses_us(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Faults(extensions=("AUTH PLAIN",)).serving() as port:
        checks = await found(monkeypatch, MAIL_URL=f"smtp://u:hunter2@127.0.0.1:{port}")
    assert checks["mail"].state == "failed"
    assert "cannot do what MAIL_URL asks for" in checks["mail"].found
    assert "hunter2" not in repr(checks)


async def test_a_mail_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    async with Faults({"greeting": "hang"}).serving() as port:
        checks = await found(monkeypatch, MAIL_URL=f"smtp://127.0.0.1:{port}")
    assert checks["mail"].found == "no answer within 0.5 s"


async def test_sendgrid(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SendGrid(status=200, body={"scopes": ["mail.send"]})
    async with stand_in.serving() as port:
        url = f"sendgrid://SG.key@127.0.0.1:{port}"
        checks = await found(monkeypatch, MAIL_URL=url, MAIL_FROM="billing@acme.example")
        assert (checks["mail"].state, checks["sender"].state, checks["bounces"].state) == ("ok", "ok", "warning")
        assert "bounces" not in await found(monkeypatch, SENDGRID_WEBHOOK_KEY=KEY)
        stand_in.status = 401
        checks = await found(monkeypatch)
    assert checks["mail"].state == "failed"
    assert "SG.key" not in repr(checks)
    assert stand_in.letters() == []
