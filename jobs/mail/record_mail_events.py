"""A carrier tells what became of letters that it had: those that came back are bounced, bad addresses suppressed."""

from datetime import UTC, datetime

from db import emails
from db.states import EmailStatus, QueueName
from jobs.mail.send_letter import address_of
from worker import telemetry
from worker.adapters.mail_events import MailEvent
from worker.deps import Deps
from worker.registry import job


@job(queue=QueueName.MAIL)
async def record_mail_events(d: Deps, events: list[MailEvent]) -> None:
    """Record them. An event that is told again changes nothing: what an operator lifted meanwhile stays lifted."""
    returned: list[str] = []
    async with d.last_tx() as tx:
        for event in sorted(events, key=lambda one: (one.message_id or "", one.provider_ids)):  # one order of locks
            at = datetime.fromtimestamp(event.at, UTC)
            if event.outcome == "delivered":
                await emails.arrived(tx.conn, message_id=event.message_id, provider_ids=event.provider_ids, at=at)
                continue
            letter = await emails.came_back(
                tx.conn, message_id=event.message_id, provider_ids=event.provider_ids, reason=event.reason, at=at
            )
            if letter is None:
                continue
            returned.append(letter.template)
            if event.outcome == "address_refused":
                address = address_of(d.settings, letter.recipient)
                await emails.suppress(
                    tx.conn, address, reason=event.reason, source="sendgrid", email_id=letter.id, now=tx.now
                )
    for template in returned:
        telemetry.EMAILS.labels(template, EmailStatus.BOUNCED).inc()
