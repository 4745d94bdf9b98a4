"""SendGrid tells what became of letters: only what it signed is taken, and each letter's end is recorded once."""

import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.ext.asyncio import AsyncEngine

from db import emails
from intake import mail_events
from intake.mail_events import NEWEST, OLDEST, PATH, Signed
from intake.webhook import RejectionError
from jobs.mail.letters import Recipient
from jobs.mail.record_mail_events import record_mail_events
from jobs.mail.send_letter import OPERATORS
from tests.intake.kit import Client, Response, SpyBell, door, serving
from tests.mail.post import Post, counted
from tests.mail.test_carriers_url import KEY
from worker.settings import Settings

BOUNCED_AT = 1772366500


def public(key: EllipticCurvePrivateKey) -> str:
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def now() -> int:
    return time.time_ns() // 10**9


@dataclass
class Sender:
    """SendGrid's pen, and our door."""

    client: Client
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))

    async def post(self, body: bytes, *, at: int | None = None, key: EllipticCurvePrivateKey | None = None) -> Response:
        stamp = str(now() if at is None else at).encode()
        signature = b64encode((key or self.key).sign(stamp + body, ECDSA(SHA256())))
        headers = {
            "x-twilio-email-event-webhook-signature": signature,
            "x-twilio-email-event-webhook-timestamp": stamp,
            "content-type": b"application/json",
        }
        return await self.client.request("POST", PATH, body, headers)

    async def tell(self, *events: dict[str, Any], **options: Any) -> Response:
        return await self.post(json.dumps(events).encode(), **options)


def event(kind: str, message_id: str | None, **fields: Any) -> dict[str, Any]:
    """An event as SendGrid's page shows it."""
    told = {
        "email": "ada@example.com",
        "timestamp": BOUNCED_AT,
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": kind,
        "sg_event_id": f"{kind}-1",
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
    }
    if message_id is not None:
        told["billing_message_id"] = f"{message_id}@northwind.example"
    return told | fields


@pytest.fixture
def bell() -> SpyBell:
    return SpyBell()


@pytest.fixture
async def sender(database_url: str, bell: SpyBell) -> AsyncIterator[Sender]:
    key, older = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    settings = Settings(
        database_url=database_url,
        redis_url="unix:///nowhere/valkey.sock",
        sendgrid_webhook_key=f"{public(older)},{public(key)}",
    )
    async with serving(door(settings, bell)) as client:
        yield Sender(client, key)


@pytest.fixture
async def sent(post: Post) -> str:
    """The Message-ID of a letter that SendGrid has."""
    await post.stage("receipt/in_1")
    await post.work()
    await post.execute("UPDATE emails SET provider_id = '14c5d75ce93.dfd.64b469'")
    return (await post.letter("receipt/in_1"))["message_id"]


async def test_a_bounce_is_recorded_and_the_address_suppressed(
    post: Post, sender: Sender, bell: SpyBell, sent: str
) -> None:
    before = counted("receipt", "bounced")
    answer = await sender.tell(event("bounce", sent, type="bounce", status="5.1.1", reason="no such user"))
    assert (answer.status, answer.json) == (200, {"received": True})
    assert bell.rings == ["mail"]
    await post.work_in_real_time()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["reason"]) == ("bounced", "bounced: 5.1.1 no such user")
    assert row["bounced_at"] == datetime.fromtimestamp(BOUNCED_AT, UTC)
    assert await post.suppressed() == {"ada@example.com": "sendgrid"}
    assert counted("receipt", "bounced") - before == 1


@pytest.mark.parametrize(
    ("told", "status", "suppressed"),
    [
        (event("bounce", None, type="blocked", status="4.7.1", reason="policy"), "bounced", False),
        (event("dropped", None, reason="Bounced Address"), "bounced", True),
        (event("dropped", None, reason="Spam Reporting Address"), "bounced", True),
        (event("dropped", None, reason="Recipient List over Package Quota"), "bounced", False),
        (event("spamreport", None), "bounced", True),
        (event("deferred", None, response="400 try again later"), "sent", False),
        (event("open", None), "sent", False),
        (event("delivered", None, response="250 OK"), "sent", False),
    ],
)
async def test_what_an_event_means(
    post: Post,
    sender: Sender,
    sent: str,
    told: dict[str, Any],
    status: str,
    *,
    suppressed: bool,
) -> None:
    """Here the letter is known by the id that SendGrid gave it: each of its events begins with that."""
    assert (await sender.tell(told)).status == 200
    await post.work_in_real_time()
    row = await post.letter("receipt/in_1")
    assert row["status"] == status
    assert bool(await post.suppressed()) is suppressed
    delivered = datetime.fromtimestamp(BOUNCED_AT, UTC) if told["event"] == "delivered" else None
    assert row["delivered_at"] == delivered


async def test_what_is_told_again_changes_nothing(post: Post, sender: Sender, sent: str) -> None:
    """Not even after an operator has lifted the address: SendGrid tells for a day, and anybody may have listened."""
    told = event("bounce", sent, type="bounce", reason="no such user")
    for _ in range(2):
        assert (await sender.tell(told)).status == 200
    assert len(await post.query("SELECT id FROM jobs WHERE name = 'record_mail_events'")) == 1
    await post.work_in_real_time()
    await post.execute("DELETE FROM suppressed_addresses")
    await sender.tell(told, event("open", sent))
    await post.work_in_real_time()
    assert len(await post.query("SELECT id FROM jobs WHERE name = 'record_mail_events'")) == 2
    assert await post.suppressed() == {}


async def test_a_bounce_that_is_faster_than_our_commit_is_kept(post: Post) -> None:
    """The letter is still `sending` in our books when SendGrid tells that it came back."""

    class TellsAtOnce:
        async def send(self, message: Any) -> str:
            message_id = str(message["message-id"]).strip("<>").partition("@")[0]
            async with post.deps.tx() as tx:
                await emails.came_back(
                    tx.conn, message_id=message_id, provider_ids=[], reason="bounced: no such user", at=tx.now
                )
            return "14c5d75ce93.dfd.64b469"

        async def close(self) -> None:
            """Nothing is held open."""

    post.mailer = TellsAtOnce()
    await post.stage("receipt/in_1")
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["provider_id"]) == ("bounced", "14c5d75ce93.dfd.64b469")
    assert row["reason"].startswith("bounced")
    assert (await post.job("receipt/in_1"))["status"] == "done"


async def test_events_of_others_letters_are_left_alone(post: Post, sender: Sender) -> None:
    """An account at SendGrid may serve other systems too."""
    assert (await sender.tell(event("bounce", None, type="bounce", sg_message_id="other.1"))).status == 200
    await post.work_in_real_time()
    assert await post.suppressed() == {}


async def test_an_operators_letter_suppresses_the_operators_address(post: Post, sender: Sender) -> None:
    post.set(billing_operators_mail="Team <team@northwind.example>")
    await post.stage("dispute/du_1", "dispute_notice", Recipient(OPERATORS))
    await post.work()
    message_id = (await post.letter("dispute/du_1"))["message_id"]
    await sender.tell(event("bounce", message_id, type="bounce"))
    await post.work_in_real_time()
    assert list(await post.suppressed()) == ["team@northwind.example"]


# --- the door -------------------------------------------------------------------------------------------------------


async def test_only_what_sendgrid_signed_lately_is_taken(post: Post, sender: Sender, sent: str) -> None:
    told = event("bounce", sent, type="bounce")
    assert (await sender.tell(told, key=generate_private_key(SECP256R1()))).status == 400
    assert (await sender.tell(told, at=now() - OLDEST - 60)).status == 400
    assert (await sender.tell(told, at=now() + NEWEST + 60)).status == 400
    body = json.dumps([told]).encode()
    assert (await sender.client.request("POST", PATH, body)).status == 400
    stamp = b"%d" % now()
    for signature, at in ((b"%%%", stamp), (b"AAAA", stamp), (b"AAAA", b"soon"), (b"AAAA", b"9" * 40)):
        headers = {
            "x-twilio-email-event-webhook-signature": signature,
            "x-twilio-email-event-webhook-timestamp": at,
        }
        assert (await sender.client.request("POST", PATH, body, headers)).status == 400
    assert await post.query("SELECT id FROM jobs WHERE name = 'record_mail_events'") == []
    assert (await sender.tell(told, at=now() - OLDEST + 60)).status == 200, "SendGrid tells again for a day"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"[1]", b"[[", b'[{"event": "bounce"', b"\xff[]", b"[" * 200_000]
)
async def test_what_is_signed_but_no_list_of_events(sender: Sender, body: bytes) -> None:
    assert (await sender.post(body)).status == 400


async def test_odd_events_are_passed_over(post: Post, sender: Sender, sent: str) -> None:
    odd = [
        {},
        {"event": 7, "timestamp": "x"},
        event("bounce", sent, timestamp="yesterday"),
        event("bounce", sent, timestamp=-1),
        event("bounce", sent, timestamp=1 << 60),
        event("account_status_change", None),
        event("bounce", None, sg_message_id=None),
        event("bounce", sent, type="bounce", reason="a\x00b\ud800" + "c" * 5000),
    ]
    assert (await sender.tell(*odd)).status == 200
    await post.work_in_real_time()
    row = await post.letter("receipt/in_1")
    assert row["status"] == "bounced"
    assert row["reason"].startswith("bounced: a\ufffdb\ufffdccc")
    assert len(row["reason"]) < 1100


async def test_a_body_is_bounded(sender: Sender) -> None:
    assert (await sender.post(b" " * (1 << 20) + b"[]")).status == 413
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    assert (await sender.client.send(head, *[chunk] * 17)).status == 413


async def test_a_slow_body_is_not_waited_for(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_events, "BODY_TIMEOUT", 0.2)
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n".encode()
    assert (await sender.client.send(head, b"[")).status == 408


async def test_without_a_key_nobody_is_believed(database_url: str, bell: SpyBell) -> None:
    settings = Settings(database_url=database_url, redis_url="unix:///nowhere/valkey.sock")
    async with serving(door(settings, bell)) as client:
        answer = await Sender(client).tell(event("bounce", "x"))
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert b"SENDGRID_WEBHOOK_KEY" in answer.body


async def test_while_the_database_is_away_sendgrid_keeps_them(
    post: Post, sender: Sender, sent: str, engine: AsyncEngine
) -> None:
    await post.execute("ALTER TABLE jobs RENAME TO jobs_elsewhere")
    answer = await sender.tell(event("bounce", sent, type="bounce"))
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


async def test_the_door_is_documented(sender: Sender) -> None:
    schema = (await sender.client.get("/openapi.json")).json
    assert set(schema["paths"][PATH]["post"]["responses"]) >= {"200", "400", "408", "413", "503"}


def test_sendgrids_own_example_is_believed() -> None:
    """The vector of https://github.com/sendgrid/sendgrid-nodejs, packages/eventwebhook."""
    body = b'{"category":"example_payload","event":"test_event","message_id":"message_id"}'
    signature = "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH2j/0="
    signed = Signed(Settings(sendgrid_webhook_key=KEY).sendgrid_keys)
    signed.verify(body, signature, "1588788367", now=1588788367.0)
    with pytest.raises(RejectionError, match="wrong_signature"):
        signed.verify(body + b" ", signature, "1588788367", now=1588788367.0)
    with pytest.raises(RejectionError, match="wrong_signature"):
        signed.verify(body, signature, "1588788368", now=1588788367.0)


def test_the_job_keeps_its_name() -> None:
    """The door stages it by name, and rows hold it."""
    assert record_mail_events.name == mail_events.JOB
