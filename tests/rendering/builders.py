"""Builders for tests: they make simple pages, and can be told to misbehave."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.adapters.pdf_page import Attachment, Page
from worker.errors import Refused

STYLE = """
@page { size: A5; margin: 15mm; @bottom-right { content: counter(page) " / " counter(pages) } }
html { font: 10pt "Noto Sans", sans-serif }
table { width: 100%; table-layout: fixed; border-collapse: collapse }
td { border-bottom: 0.25pt solid #ccc; padding: 1mm }
.long td { overflow-wrap: anywhere; letter-spacing: 0.2pt }
"""


def asking(**what: Any) -> bytes:
    """A document for `build`."""
    return json.dumps(what).encode()


def page(body: str, **changes: Any) -> Page:
    """A simple page."""
    plain = Page(
        html=f"<html><body>{body}</body></html>",
        stylesheet=STYLE,
        title="A page",
        language="en",
        created=datetime(2026, 11, 21, tzinfo=UTC),
    )
    return replace(plain, **changes)


def archived(text: str) -> Page:
    """A PDF/A with a file in it."""
    attached = Attachment("factur-x.xml", "text/xml", f"<invoice>{text}</invoice>".encode(), "Alternative", "Invoice")
    return page(f"<p>{text}</p>", variant="pdf/a-3b", attachments=(attached,))


def _fail(_asked: dict[str, Any]) -> None:
    raise ValueError("no such currency")


def _refuse(_asked: dict[str, Any]) -> None:
    raise Refused("the sums do not add up")


def _loop(_asked: dict[str, Any]) -> None:
    while True:
        pass


def _eat(_asked: dict[str, Any]) -> None:
    eaten: list[bytearray] = []
    while True:
        eaten.append(bytearray(10_000_000))


def _write(asked: dict[str, Any]) -> None:
    try:
        Path(asked["path"]).write_text("x" * 100)
    except OSError as error:
        raise Refused(f"not written: {error.strerror}") from error


DEEDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "fail": _fail,
    "refuse": _refuse,
    "loop": _loop,
    "sleep": lambda asked: time.sleep(asked["seconds"]),
    "eat": _eat,
    "signal": lambda asked: os.kill(os.getpid(), signal.Signals[asked["name"]]),
    "print": lambda _: os.write(1, b"noise on standard output\n"),
    "write": _write,
}


def build(document: bytes) -> Page:
    """The page that was asked for, after what is to be done."""
    asked = json.loads(document)
    if asked.get("do") in DEEDS:
        DEEDS[asked["do"]](asked)
    if asked.get("do") == "environment":
        return page("", title=json.dumps({**os.environ, "initial": Path("/proc/self/environ").read_text()}))
    if asked.get("do") == "limits":
        left, _ = signal.getitimer(signal.ITIMER_PROF)
        return page("", title=json.dumps([left, resource.getrlimit(resource.RLIMIT_CPU)[0]]))
    if asked.get("do") == "pid":
        return page("", title=str(os.getpid()))
    if "archived" in asked:
        return archived(asked["archived"])
    if "body" in asked:
        return page(asked["body"])
    rows = "".join(f"<tr><td>Line {row}</td><td>{asked.get('text', 'text')}</td></tr>" for row in range(asked["rows"]))
    return page(f"<table>{rows}</table>")
