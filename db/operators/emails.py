"""Operators look at letters, tell one letter's story, send a copy on purpose, and say where no letter goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db import emails, queue
from db.dunning_own import own_id
from db.models.dunning import DunningCase
from db.models.mail import Email, SuppressedAddress
from db.models.operations import Job, JobAttempt
from db.operators import jobs
from db.operators.actions import Actor, NotAllowedError, UnknownIdsError, audit_of, write_audit
from db.operators.events import attempts_of
from db.operators.filters import BadFilterError, named, one_of, period, plain
from db.states import CaseOutcome, CaseStatus, EmailStatus, JobStatus, QueueName

SENDER = "send_letter"
"""The job that sends a letter, by its name: what is here knows no business."""


class LetterState(StrEnum):
    """Where a letter stands for operators; `cancelled`: its job was, and it was not sent."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    BOUNCED = "bounced"
    SUPPRESSED = "suppressed"
    DEAD = "dead"
    CANCELLED = "cancelled"


_WAITS = Email.status.in_((EmailStatus.QUEUED.value, EmailStatus.SENDING.value))
_state: ColumnElement[str] = case(
    (and_(_WAITS, Job.status == JobStatus.DEAD.value), literal(LetterState.DEAD.value)),
    (
        and_(or_(_WAITS, Email.status == EmailStatus.DEAD.value), Job.status == JobStatus.CANCELLED.value),
        literal(LetterState.CANCELLED.value),
    ),
    else_=Email.status,
)
"""A job that was cancelled, or that killed its workers, tells its letter nothing: its own row does."""

_LISTED = (
    Email.id,
    Email.key,
    Email.template,
    Email.recipient,
    _state.label("status"),
    func.coalesce(Email.reason, case((_state.in_(("dead", "cancelled")), Job.last_error))).label("reason"),
    Email.attempts,
    Email.copies,
    Email.subject,
    Email.locale,
    Email.stripe_invoice_id,
    Email.job_id,
    Email.occurred_at,
    Email.created_at,
    Email.sent_at,
    Email.delivered_at,
    Email.bounced_at,
)
_WITH_JOB = Job.id == Email.job_id


@dataclass(frozen=True, slots=True)
class EmailFilter:
    """Letters by what is known of them; None leaves a field open. `since` ≤ staged < `until`."""

    status: LetterState | None = None
    template: str | None = None
    to: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def read(
        cls,
        *,
        now: datetime,
        status: str | None = None,
        template: str | None = None,
        to: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> "EmailFilter":
        """The filter that was typed. Raises BadFilterError."""
        begin, end = period(since, until, now)
        return cls(
            status=one_of("status", status, LetterState),
            template=plain("template", template),
            to=plain("to", to),
            since=begin,
            until=end,
        )

    def conditions(self) -> ColumnElement[bool]:
        """The filter over `emails` with their jobs."""
        wanted: list[ColumnElement[bool]] = []
        if self.status is not None:
            wanted.append(_state == self.status.value)
        if self.template is not None:
            wanted.append(named(Email.template, self.template))
        if self.to is not None:
            wanted.append(named(func.lower(Email.recipient), self.to.lower()))
        if self.since is not None:
            wanted.append(Email.created_at >= self.since)
        if self.until is not None:
            wanted.append(Email.created_at < self.until)
        return and_(True, *wanted)  # noqa: FBT003 - SQLAlchemy's own way to say "no condition"


async def list_letters(
    conn: AsyncConnection, wanted: EmailFilter, *, limit: int, after: int | None = None
) -> list[dict[str, Any]]:
    """The letters that match, newest first; `after` is the last id of the page before."""
    query = select(*_LISTED).outerjoin(Job, _WITH_JOB).where(wanted.conditions())
    if after is not None:
        query = query.where(Email.id < after)
    rows = await conn.execute(query.order_by(Email.id.desc()).limit(limit))
    return [dict(row) for row in rows.mappings()]


def _named(ref: str) -> ColumnElement[bool]:
    """A letter's id, or its key."""
    return cast(Email.id, String) == ref if ref.isascii() and ref.isdigit() else Email.key == ref


async def letter_story(conn: AsyncConnection, ref: str) -> dict[str, Any]:
    """All that is known of a letter, by its id or its key. Raises UnknownIdsError."""
    more = (
        Email.message_id, Email.provider_id, Email.recipient_name, Email.timezone, Email.user_id, Email.context,
        Email.document_ids,
    )  # fmt: skip
    query = select(*_LISTED, *more).outerjoin(Job, _WITH_JOB).where(_named(ref))
    row = (await conn.execute(query)).mappings().first()
    if row is None:
        raise UnknownIdsError("letter", [ref])
    copies = await conn.execute(select(*_LISTED).outerjoin(Job, _WITH_JOB).where(_copies_of(row["key"])))
    return {
        **row,
        "history": await attempts_of(conn, JobAttempt.job_id == row["job_id"]) if row["job_id"] else [],
        "suppressed": await emails.suppression(conn, row["recipient"]),
        "resent": [dict(one) for one in copies.mappings()],
        "audit": await audit_of(conn, "letter", str(row["id"])),
    }


def _copies_of(key: str) -> ColumnElement[bool]:
    return Email.key.startswith(f"{key}/again/", autoescape=True)


async def resend(conn: AsyncConnection, ref: str, actor: Actor, *, now: datetime) -> tuple[int, set[str]]:
    """Send a letter once more on purpose: a letter of its own, with a Message-ID of its own, or mail programs hide it.

    One that never went out (its job is dead or cancelled) goes out itself, by its own job. Either's age is counted
    from now: whoever asks for it wants it, however old its news are.
    Returns the id of the letter that is sent, and the queues that have work now. Raises UnknownIdsError or
    NotAllowedError.
    """
    await conn.execute(select(Email.id).where(_named(ref)).with_for_update())
    story = await letter_story(conn, ref)
    letter = f"letter {story['id']}"
    if (closed := await _closed_case(conn, story["key"])) is not None:
        raise NotAllowedError([f"{letter} asks for money, and {closed}: nobody who has paid is dunned"])
    if story["suppressed"] is not None:
        lift = f"billing mail suppressed lift {story['recipient']}"
        raise NotAllowedError([f"{letter}: no letter goes to {story['recipient']} ({story['suppressed']}): {lift}"])
    if story["status"] in {LetterState.QUEUED, LetterState.SENDING}:
        raise NotAllowedError([f"{letter} is on its way (job {story['job_id']})"])
    if story["status"] in {LetterState.DEAD, LetterState.CANCELLED} and await _retried(conn, story, actor, now):
        sent, queues = story["id"], {QueueName.MAIL.value}
    else:
        sent, queues = await _copied(conn, story, now), {QueueName.MAIL.value}
    await write_audit(conn, actor, "letters.resend", str(story["id"]), now=now, details={"letter": sent})
    return sent, queues


async def _closed_case(conn: AsyncConnection, key: str) -> str | None:
    """How the case of a dunning letter ended, where nothing may be asked for any more."""
    kind, _, rest = key.partition("/")
    if kind != "dunning":
        return None
    invoice = rest.partition("/")[0]
    ours = own_id(invoice)
    case_of = select(DunningCase.outcome, DunningCase.reason).where(
        DunningCase.stripe_invoice_id == invoice
        if ours is None
        else DunningCase.stripe_invoice_id.is_(None) & (DunningCase.invoice_id == ours),
        DunningCase.status == CaseStatus.CLOSED.value,
        DunningCase.outcome != CaseOutcome.LOST.value,
    )
    row = (await conn.execute(case_of)).first()
    return None if row is None else f"the case is closed ({row[0]}): {row[1]}"


async def _retried(conn: AsyncConnection, story: dict[str, Any], actor: Actor, now: datetime) -> bool:
    waits = (JobStatus.DEAD, JobStatus.CANCELLED)
    try:
        wanted = await jobs.check_ids(conn, [story["job_id"] or 0], waits, "is {status}")
    except (UnknownIdsError, NotAllowedError):
        return False
    await jobs.retry(conn, wanted, actor, now=now)
    await conn.execute(update(Email).where(Email.id == story["id"]).values(occurred_at=now))
    return True


async def _copied(conn: AsyncConnection, story: dict[str, Any], now: datetime) -> int:
    key = f"{story['key']}/again/{len(story['resent']) + 1}"
    email_id = await emails.remember(
        conn,
        key=key,
        template=story["template"],
        recipient=story["recipient"],
        recipient_name=story["recipient_name"],
        user_id=story["user_id"],
        stripe_invoice_id=story["stripe_invoice_id"],
        locale=story["locale"],
        timezone=story["timezone"],
        context=story["context"],
        document_ids=story["document_ids"] or (),
        occurred_at=now,
        now=now,
    )
    assert email_id is not None, "the original is locked, so that nobody else makes this copy"
    job_id = await queue.stage_job(
        conn,
        name=SENDER,
        queue=QueueName.MAIL,
        args={"email_id": email_id},
        now=now,
        due_at=now,
        unique_key=f"letter/{key}",
        staged_by="operator",
    )
    await emails.belongs_to(conn, email_id, job_id)
    return email_id


async def list_suppressed(conn: AsyncConnection, *, limit: int) -> list[dict[str, Any]]:
    """The addresses that no letter goes to, newest first."""
    table = SuppressedAddress
    columns = (table.address, table.reason, table.source, table.email_id, table.created_at)
    rows = await conn.execute(select(*columns).order_by(table.created_at.desc(), table.address).limit(limit))
    return [dict(row) for row in rows.mappings()]


async def suppress(conn: AsyncConnection, address: str, actor: Actor, *, now: datetime) -> bool:
    """Let no letter go to this address any more. False: none did before. Raises BadFilterError."""
    wanted = checked_address(address)
    if await emails.suppression(conn, wanted) is not None:
        return False
    reason = actor.why or f"by {actor.who}"
    await emails.suppress(conn, wanted, reason=reason, source="operator", email_id=None, now=now)
    await write_audit(conn, actor, "addresses.suppress", wanted, now=now)
    return True


async def lift(conn: AsyncConnection, addresses: Sequence[str], actor: Actor, *, now: datetime) -> list[str]:
    """Let letters go to these addresses again. Returns those that were suppressed. Raises BadFilterError."""
    lifted = await emails.lift(conn, [checked_address(address) for address in addresses])
    for address in lifted:
        await write_audit(conn, actor, "addresses.lift", address, now=now)
    return lifted


def checked_address(address: str) -> str:
    """The address as it is kept, in lower case. Raises BadFilterError."""
    found = plain("address", address.strip())
    if found is None or found.count("@") != 1 or set(found) & set(" <>,;") or found[0] == "@" or found[-1] == "@":
        raise BadFilterError("address", f"{address!r} is no address; for example ada@example.com")
    return found.lower()
