"""Where alerts go in tests: a real HTTP server on this machine, dead ones, and a command that writes a file."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "T0psecret-XyZ"
"""A part of every webhook's address and header here: it must be found in no file."""

_NOTE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


class Endpoint:
    """A server that takes whatever is posted to it."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answer = 200
        self.first_answers: list[int] = []
        """Given before that one, one after the other."""
        self.location: str | None = None

    @property
    def address(self) -> str:
        """What to post to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hooks/{SECRET}"

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """What was posted, read as JSON."""
        return [json.loads(body) for body in list(self.bodies)]

    def kinds(self) -> list[str]:
        """The kinds of what was posted."""
        return [alert["kind"] for alert in self.alerts]


@contextlib.contextmanager
def endpoint() -> Iterator[Endpoint]:
    """A webhook that answers until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.headers.append(dict(self.headers.items()))
            self.send_response(found.first_answers.pop(0) if found.first_answers else found.answer)
            if found.location is not None:
                self.send_header("Location", found.location)
            found.bodies.append(body)  # first: who was answered may look at once
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Endpoint(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def silent_endpoint() -> Iterator[str]:
    """The address of a webhook that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hooks/{SECRET}"


def refusing_endpoint() -> str:
    """The address of a webhook where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/hooks/{SECRET}"


def noting_command(file: Path) -> str:
    """A command that appends its stdin to `file`."""
    return shlex.join([sys.executable, "-c", _NOTE, str(file)])


def noted(file: Path) -> list[dict[str, Any]]:
    """The alerts that command was given."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def files_with(secret: str, root: Path) -> list[Path]:
    """The files below `root` that hold `secret`."""
    return [path for path in root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
