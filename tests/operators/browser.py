"""A person at a browser: Chromium without a window, which clicks and types as people do, and answers its questions."""

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 30.0
"""Seconds that Chromium may take for anything, on a machine that is busy."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--allow-pre-commit-input",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)

_MIDDLE = """(() => {
  const found = document.querySelector(%s);
  found.scrollIntoView({block: "center"});
  const {x, y, width, height} = found.getBoundingClientRect();
  return [x + width / 2, y + height / 2];
})()"""


class Browser:
    """One tab, driven by the DevTools protocol over a pipe (https://chromedevtools.github.io/devtools-protocol/)."""

    def __init__(self, read: int, write: int) -> None:
        """`read` and `write` are Chromium's descriptors 4 and 3."""
        self._read, self._write = read, write
        self._buffer, self._last, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        """What Chromium told, and nobody has waited for yet."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def _send(self, method: str, values: dict[str, Any]) -> int:
        self._last += 1
        message = {"id": self._last, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._last

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - monotonic()))
            piece = os.read(self._read, 1 << 20) if ready else b""
            assert piece, f"Chromium said nothing for {PATIENCE} seconds, or is gone"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Have Chromium do something, and wait until it has."""
        number, until = self._send(method, values), monotonic() + PATIENCE
        while (message := self._next(until)).get("id") != number:
            if "method" in message:
                self.events.append(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def wait(self, event: str) -> dict[str, Any]:
        """Wait until Chromium tells of `event`."""
        until = monotonic() + PATIENCE
        while not (found := [one for one in self.events if one["method"] == event]):
            message = self._next(until)
            if "method" in message:
                self.events.append(message)
        self.events.remove(found[0])
        told: dict[str, Any] = found[0]["params"]
        return told

    def value(self, script: str) -> Any:
        """What a script comes to in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"]
        return result.get("value")

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """Load a page in a window of this size (pixels)."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def type(self, css: str, words: str) -> None:
        """Click a field and type. A page that was loaded just now may not take clicks yet."""
        until = monotonic() + PATIENCE
        self.click(css)
        while not self.value(f"document.activeElement.matches({json.dumps(css)})"):
            assert monotonic() < until, f"{css} does not take the focus"
            self.click(css)
        self.call("Input.insertText", text=words)

    def click(self, css: str) -> None:
        """Click the middle of an element."""
        x, y = self.value(_MIDDLE % json.dumps(css))
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def asked(self, *, yes: bool) -> str:
        """Wait for the page's question, answer it, and return it."""
        question = self.wait("Page.javascriptDialogOpening")["message"]
        self.call("Page.handleJavaScriptDialog", accept=yes)
        return str(question)

    def picture(self, file: Path) -> None:
        """Write what is seen, the whole page, as a PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))


@contextmanager
def browser(folder: Path, cookie: dict[str, str]) -> Generator[Browser]:
    """Chromium with an empty profile in `folder`, and a cookie."""
    assert CHROMIUM is not None
    (theirs, write), (read, answers) = os.pipe(), os.pipe()
    script = f'exec "$@" 3<&{theirs} 4>&{answers}'
    command = ["bash", "-c", script, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'chromium'}"]
    process = subprocess.Popen(
        command, pass_fds=(theirs, answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.close(answers)
    try:
        made = Browser(read, write)
        made.call("Network.setCookie", **cookie)
        yield made
    finally:
        os.close(write)  # without its pipe Chromium ends
        os.close(read)
        process.terminate()
        process.wait(PATIENCE)
