"""Letters are put into a folder as files that a person can open, or thrown away."""

import asyncio
import hashlib
import os
import re
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from worker.deps import assert_outside_transaction
from worker.errors import TryLater


class Maildir:
    """A Maildir (https://cr.yp.to/proto/maildir.html) whose files end in `.eml`, so that mail programs open them.

    A file is named by its letter's date and Message-ID: the same letter is there once, however often it is sent.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is made when the first letter comes."""
        self._folder = folder

    async def send(self, message: EmailMessage) -> str:
        """Write it to disk. Returns the file's name. Raises TryLater while the disk is full or not there."""
        assert_outside_transaction("writing a letter")
        try:
            return await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise TryLater(f"{self._folder}: {error.strerror or error}: make room, or mend MAIL_URL") from error

    def _write(self, message: EmailMessage) -> str:
        for name in ("tmp", "new", "cur"):
            (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        name = file_name(message)
        new = self._folder / "tmp" / name
        with new.open("wb") as out:
            out.write(message.as_bytes(policy=SMTP))
            out.flush()
            os.fsync(out.fileno())
        new.replace(self._folder / "new" / name)
        return name

    async def close(self) -> None:
        """Nothing is held open."""


def file_name(message: EmailMessage) -> str:
    """When, to whom, which: the names sort by time and are the same for each copy of a letter."""
    date = message["date"].datetime.strftime("%Y%m%d-%H%M%S") if message["date"] else "undated"
    address = message["to"].addresses[0].addr_spec
    who = re.sub(r"[^\w.@+-]", "_", address)[:60]
    return f"{date}-{who}-{hashlib.sha256(str(message['message-id']).encode()).hexdigest()[:10]}.eml"


class NullMailer:
    """Throws letters away (`MAIL_URL=null:`): they are recorded as sent, and go nowhere."""

    async def send(self, message: EmailMessage) -> None:
        """Do nothing."""
        assert_outside_transaction(f"throwing {message['message-id']} away")

    async def close(self) -> None:
        """Nothing is held open."""
