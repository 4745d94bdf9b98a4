"""Letters are put into a folder as files that a person can open, or thrown away."""

import asyncio
import hashlib
import os
import re
import secrets
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path

from worker.adapters.mail_address import mailbox
from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater

FOLDERS = ("tmp", "new", "cur")


class Maildir:
    """A Maildir (https://cr.yp.to/proto/maildir.html) whose files end in `.eml`, so that mail programs open them.

    A file is named by its letter's date and Message-ID: however often a letter is sent, it is new only once.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is made when the first letter comes."""
        self._folder = folder

    async def send(self, message: EmailMessage) -> str:
        """Write it to disk. Returns the file's name. Raises TryLater while the disk is full or not there."""
        assert_outside_transaction("writing a letter")
        name, policy = file_name(message), SMTP if mailbox(message, "To").isascii() else SMTPUTF8
        try:
            await asyncio.to_thread(self._write, name, message.as_bytes(policy=policy))
        except OSError as error:
            raise TryLater(f"{self._folder}: {error.strerror or error}: make room, or mend MAIL_URL") from error
        return name

    def _write(self, name: str, letter: bytes) -> None:
        self._make()
        being_written = self._folder / "tmp" / f"{secrets.token_hex(8)}.{os.getpid()}"
        try:
            with being_written.open("xb") as out:
                out.write(letter)
                out.flush()
                os.fsync(out.fileno())
            being_written.replace(self._folder / "new" / name)
        except OSError:
            being_written.unlink(missing_ok=True)
            raise
        folder = os.open(self._folder / "new", os.O_RDONLY)
        try:
            os.fsync(folder)  # the name, too, must outlive a loss of power
        finally:
            os.close(folder)

    def _make(self) -> None:
        for part in FOLDERS:
            (self._folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)

    async def check(self) -> str:
        """Whether letters can be written. Returns what was found; raises Refused saying what to mend."""
        there = next(one for one in (self._folder / "new", self._folder, *self._folder.parents) if one.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise Refused(f"{there}: no letter can be written there: correct its rights, or MAIL_URL")
        return f"letters are files in {self._folder / 'new'}, and reach nobody"

    async def close(self) -> None:
        """Nothing is held open."""


def file_name(message: EmailMessage) -> str:
    """When, to whom, which: the names sort by time and are the same for each copy of a letter."""
    date = message["date"].datetime.strftime("%Y%m%d-%H%M%S") if message["date"] else "undated"
    who = re.sub(r"[^A-Za-z0-9_.@+-]", "_", mailbox(message, "To"))[:60]
    return f"{date}-{who}-{hashlib.sha256(str(message['message-id']).encode()).hexdigest()[:10]}.eml"


class NullMailer:
    """Throws letters away (`MAIL_URL=null:`): they are recorded as sent, and go nowhere."""

    async def send(self, message: EmailMessage) -> None:
        """Do nothing, but refuse what no carrier could carry."""
        assert_outside_transaction(f"throwing {message['message-id']} away")
        mailbox(message, "To")

    async def check(self) -> str:
        """Nothing can be wrong."""
        return "letters are thrown away"

    async def close(self) -> None:
        """Nothing is held open."""
