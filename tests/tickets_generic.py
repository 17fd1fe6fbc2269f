"""What the tests of ticket systems behind an HTTP API share: servers on loopback that hold state as the vendor documents, and deliveries.

Each server is built from the vendor's API documentation, which the system's own module cites. None of them is the vendor's software.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.tickets.system import File, Incoming, Note
from tests.web import serving

NOW = datetime(2026, 11, 23, 10, 5, tzinfo=UTC)
MARKER = "problem-snapshot:0123456789abcdef"
TITLE = "Payment failed"
TEXT = "I paid at 10:00 and the order says failed"


def note(said="interface, timeout of the acquirer", marker=MARKER, **given):
    """A note as the renderer makes it, with what it concludes in `fields`."""
    bodies = {
        "markdown": f"**Snapshot** {said}\n\n<!-- {marker} -->",
        "html": f"<p><b>Snapshot</b> {said}</p><p><small>{marker}</small></p>",
        "text": f"Snapshot {said}\n\n{marker}",
    }
    fields = {"fault_class": "interface_fault", "fault_subclass": "timeout", "severity": "P1", "confidence": "0.9"}
    return Note(**{"snapshot_id": "s-1", "marker": marker, "bodies": bodies, "fields": fields} | given)


def report(name="snapshot.json", data=b"{}"):
    return File(name, "application/json", data)


def delivery(payload, headers=None, at=NOW, raw=None, query=None):
    """A request with `payload` as JSON, or `raw` bytes."""
    body = json.dumps(payload).encode() if raw is None else raw
    named = {"content-type": "application/json", **(headers or {})}
    return Incoming({name.lower(): value for name, value in named.items()}, body, at, query=query or {})


@dataclass
class Asked:
    """A request that a server got."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]
    parts: tuple[str, ...] = ()


@dataclass
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Desk(ThreadingHTTPServer):
    """A server that answers by `routes`: (method, pattern of the path) -> a method that takes `Asked`.

    `failures` are answered first, as they are; one request after the other, so that state needs no lock of its own.
    """

    daemon_threads = True
    routes: tuple[tuple[str, str, str], ...] = ()

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ids = itertools.count(1)
        self.clock = NOW
        self.asked: list[Asked] = []
        self.failures: list[Answer] = []
        # Called with each request before it is answered: another worker who gets in between.
        self.meanwhile: Callable[[Asked], None] | None = None
        self.turn = threading.RLock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self):
        """How many requests of each method there were."""
        return Counter(asked.method for asked in self.asked)

    def tick(self, seconds=1):
        """The server's time, a little later each time it is asked for."""
        self.clock += timedelta(seconds=seconds)
        return self.clock.strftime("%Y-%m-%dT%H:%M:%SZ")

    def answer(self, asked: Asked) -> Answer:
        with self.turn:
            self.asked.append(asked)
            if self.failures:
                return self.failures.pop(0)
            if self.meanwhile:
                then, self.meanwhile = self.meanwhile, None
                then(asked)
            for method, pattern, name in self.routes:
                found = re.fullmatch(pattern, asked.path)
                if found and method == asked.method:
                    asked.parts = tuple(unquote(part) for part in found.groups())
                    return getattr(self, name)(asked)
            return Answer(404, {"message": f"no route {asked.method} {asked.path}"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Desk

    def _do(self):
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(
            self.command, parts.path, dict(parse_qsl(parts.query)), json.loads(data) if data else None, headers
        )
        answer = self.server.answer(asked)
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 -- the base class's names

    def log_message(self, *_):
        pass


def page(rows, asked, size=100):
    """The rows of the page that was asked for."""
    number = int(asked.query.get("page", 1))
    per = min(size, int(asked.query.get("per_page", asked.query.get("limit", size))))
    return rows[(number - 1) * per : number * per]


@contextmanager
def opened(server, make: Callable[[str], Any]):
    """The server and a system that asks it, closed in the end."""
    with serving(server):
        system = make(server.url)
        try:
            yield server, system
        finally:
            system.close()


@dataclass(frozen=True)
class Case:
    """One system under the laws that hold for all: its server, itself, and how its deliveries look and are signed."""

    server: Callable[[], Desk]
    make: Callable[..., Any]
    ticket_id: str
    # Headers that sign a body with a secret at a time.
    sign: Callable[[bytes, str, datetime], dict[str, str]]
    # The delivery of a new ticket, and that of a comment by a user.
    created: Callable[[], dict[str, Any]]
    commented: Callable[[str, str], dict[str, Any]]
    headers: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, str] = ("first-secret", "second-secret")
    # Whether the scheme signs the time.
    timed: bool = False
    # What the server calls the ticket, and the options of a system that has no name for its own account.
    key: Any = 12
    unnamed: dict[str, Any] = field(default_factory=lambda: {"user": None})
    # Whether a note can be made public by the server against what was asked for, and how.
    publish: Callable[[Any], None] | None = None

    def request(self, payload=None, secret=None, at=NOW, raw=None, **headers):
        """A delivery signed by the first secret, or another one."""
        body = json.dumps(payload if payload is not None else self.created()).encode() if raw is None else raw
        signed = self.sign(body, secret or self.secrets[0], at)
        return delivery(None, {**self.headers, **signed, **headers}, NOW, body)

    @contextmanager
    def running(self, **options):
        with opened(self.server(), lambda url: self.make(url, **{"secrets": self.secrets} | options)) as (
            server,
            system,
        ):
            yield server, system
