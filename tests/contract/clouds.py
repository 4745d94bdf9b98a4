"""What Google's and Azure's storage ask of a request, at a door on this machine: obstore's own clients speak to it.

It keeps objects in memory, refuses a create of what is there as each of them does, and remembers what it was asked.
https://cloud.google.com/storage/docs/xml-api/put-object, https://learn.microsoft.com/rest/api/storageservices/put-blob
"""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
"""An account's key, as Azure writes keys."""


@dataclass
class Cloud:
    """A running one."""

    port: int
    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list[tuple[str, str, dict[str, str]]])
    refusing: int | None = None
    """The status that every request is answered with."""

    @property
    def google(self) -> dict[str, str]:
        """The environment of a worker that keeps its documents there."""
        address = {"gcs_base_url": f"http://127.0.0.1:{self.port}", "disable_oauth": True}
        nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(address | nobody)}

    @property
    def azure(self) -> dict[str, str]:
        """The same at Azure."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": "books",
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{self.port}",
        }


CREATING = {"x-goog-if-generation-match": ("0", 412), "if-none-match": ("*", 409)}
"""How each is told to create and not to replace, and how it says that the name is taken."""


def _door(cloud: Cloud, lock: threading.Lock) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
            """Nothing: tests look at what was asked."""

        def _answer(self, status: int, content: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{md5(content, usedforsecurity=False).hexdigest()}"')
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 12:00:00 GMT")
            self.end_headers()
            self.wfile.write(content)

        def _heard(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            cloud.asked.append((self.command, self.path, headers))

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._heard()
            with lock:
                taken = self.path in cloud.objects
                for header, (value, status) in CREATING.items():
                    if taken and self.headers.get(header) == value:
                        return self._answer(status)
                if cloud.refusing is None:
                    cloud.objects[self.path] = content
            return self._answer(cloud.refusing or 201)

        def do_GET(self) -> None:
            self._heard()
            if cloud.refusing is None and self.path in cloud.objects:
                self._answer(200, cloud.objects[self.path])
            else:
                self._answer(cloud.refusing or 404)

    return Door


@contextmanager
def cloud() -> Generator[Cloud]:
    """One on a free port of 127.0.0.1."""
    made = Cloud(0)
    with ThreadingHTTPServer(("127.0.0.1", 0), _door(made, threading.Lock())) as server:
        made.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield made
        server.shutdown()
