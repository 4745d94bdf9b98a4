"""SendGrid's API: what it is told, and what its answers mean for the letter."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.mail.carriers import SendGrid, letter
from worker.adapters.mail_sendgrid import SendGridMailer, payload, until_reset
from worker.errors import Refused, TryLater, Unclear, Undeliverable


@pytest.fixture
async def sendgrid() -> AsyncIterator[tuple[SendGrid, SendGridMailer]]:
    stand_in = SendGrid()
    async with stand_in.serving() as port:
        mailer = SendGridMailer(f"sendgrid://SG.key@127.0.0.1:{port}", timeout=2)
        yield stand_in, mailer
        await mailer.close()


def about(field: str) -> dict[str, Any]:
    return {"errors": [{"message": "Does not contain a valid address.", "field": field, "help": None}]}


async def test_a_letter_is_handed_over_and_its_id_kept(sendgrid: tuple[SendGrid, SendGridMailer]) -> None:
    stand_in, mailer = sendgrid
    assert await mailer.send(letter()) == "14c5d75ce93.dfd.64b469"
    ((head, headers, body),) = stand_in.asked
    assert head == "POST /v3/mail/send HTTP/1.1"
    assert headers["authorization"] == "Bearer SG.key"
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
    assert body["from"] == {"name": "Northwind Ltd.", "email": "billing@northwind.example"}
    assert body["reply_to"] == {"name": "Help", "email": "help@northwind.example"}
    assert body["custom_args"] == {"billing_message_id": f"{1:032}@northwind.example"}
    assert set(body["headers"]) == {"Message-ID", "Auto-Submitted", "List-Id"}
    assert not any(one["enable"] for one in body["tracking_settings"].values()), "no pixels, no rewritten links"


def test_a_picture_inside_a_letter_keeps_its_name_there() -> None:
    made = letter()
    page = made.get_body(("html",))
    assert page is not None
    page.add_related(
        b"\x89PNG",
        maintype="image",
        subtype="png",
        cid="<logo.1@letters.invalid>",
        disposition="inline",
        filename="logo.png",
    )
    (attached,) = payload(made)["attachments"]
    assert attached["content_id"] == "logo.1@letters.invalid"
    assert attached["disposition"] == "inline"
    assert attached["type"] == "image/png"


@pytest.mark.parametrize(
    ("status", "body", "verb"),
    [
        (400, about("personalizations.0.to.0.email"), Undeliverable),
        (400, about("personalizations.0.to"), Undeliverable),
        (400, about("from.email"), Refused),
        (400, {"errors": about("personalizations.0.to.0.email")["errors"] + about("subject")["errors"]}, Refused),
        (400, {"errors": [{"message": "Bad Request", "field": None}]}, Refused),
        (400, ["what"], Refused),
        (401, {"errors": [{"message": "The provided authorization grant is invalid"}]}, Refused),
        (403, {"errors": [{"message": "The from address does not match a verified Sender Identity"}]}, Refused),
        (413, None, Refused),
        (301, None, Refused),
        (429, None, TryLater),
        (503, None, TryLater),
        (500, None, Unclear),
        (504, None, Unclear),
    ],
)
async def test_what_an_answer_means(
    sendgrid: tuple[SendGrid, SendGridMailer], status: int, body: Any, verb: type[Exception]
) -> None:
    stand_in, mailer = sendgrid
    stand_in.status, stand_in.body = status, body
    with pytest.raises((TryLater, Refused), match=f"SendGrid answered {status}") as told:
        await mailer.send(letter())
    assert type(told.value) is verb
    assert "SG.key" not in str(told.value)


async def test_a_lost_answer_leaves_it_unclear(sendgrid: tuple[SendGrid, SendGridMailer]) -> None:
    stand_in, mailer = sendgrid
    stand_in.drop = True
    with pytest.raises(Unclear, match="did not answer"):
        await mailer.send(letter())


async def test_who_is_not_reached_has_no_letter() -> None:
    mailer = SendGridMailer("sendgrid://SG.key@127.0.0.1:1")
    with pytest.raises(TryLater, match="cannot be reached") as told:
        await mailer.send(letter())
    assert type(told.value) is TryLater
    await mailer.close()


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "99999999"}, 3600),
        ({"X-RateLimit-Reset": "1772366430", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 30),
        ({"X-RateLimit-Reset": "1772366300", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, 1),
        ({"X-RateLimit-Reset": "soon", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}, None),
        ({"X-RateLimit-Reset": "1772366430", "Date": "today"}, None),
        ({"X-RateLimit-Reset": "1772366430"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_told_by_their_clock(headers: dict[str, str], wait: int | None) -> None:
    assert until_reset(httpx.Headers(headers)) == (None if wait is None else timedelta(seconds=wait))


async def test_the_check_asks_what_the_key_may_do(sendgrid: tuple[SendGrid, SendGridMailer]) -> None:
    stand_in, mailer = sendgrid
    stand_in.status, stand_in.body = 200, {"scopes": ["mail.send", "alerts.read"]}
    assert await mailer.check() == "SendGrid answers; the key may send letters"
    stand_in.body = {"scopes": ["alerts.read"]}
    with pytest.raises(Refused, match=r"mail\.send"):
        await mailer.check()
    stand_in.status, stand_in.body = 401, None
    with pytest.raises(Refused, match="the key in MAIL_URL is wrong"):
        await mailer.check()
    assert stand_in.letters() == []
