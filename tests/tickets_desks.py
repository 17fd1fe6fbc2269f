"""What tests of the desks share: a server on loopback that keeps a desk's state, and what each desk is asked in the same words.

A `Desk` answers as its vendor documents it; none of the vendors' own software runs here. Each subclass names its documentation.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.tickets.system import File, Incoming, Note
from tests.web import serving

NOW = datetime(2026, 11, 26, 10, 5, tzinfo=UTC)
MARKER = "problem-snapshot:0123456789abcdef"
SECRET, NEXT_SECRET = "first-secret-of-this-hook", "second-secret-of-this-hook"


@dataclass
class Call:
    """One request to a desk."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def form(self) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
        """The fields and files of a multipart body (RFC 7578)."""
        boundary = self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        fields, files = {}, []
        for part in self.body.split(b"--" + boundary)[1:-1]:
            head, _, value = part.strip(b"\r\n").partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]*)"', head)
            file = re.search(rb'filename="([^"]*)"', head)
            if file:
                files.append((file[1].decode(), value))
            elif name:
                fields[name[1].decode()] = value.decode()
        return fields, files


@dataclass
class Answer:
    """What a desk answers: JSON, a status, headers."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[..., Any]


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Marks a method of a desk as the answer to `method` and a path; groups of the pattern are its arguments."""

    def mark(handler: Handler) -> Handler:
        handler.routes = [*getattr(handler, "routes", []), (method, re.compile(pattern))]  # type: ignore[attr-defined]
        return handler

    return mark


class Desk:
    """A desk's state, and its API over HTTP. One ticket, number `ticket_id`, is there from the start."""

    kind: ClassVar[str]
    ticket_id: ClassVar[str]
    form: ClassVar[str]
    edits: ClassVar[bool]
    # Whether deliveries carry the time at which they were signed.
    timed: ClassVar[bool] = False
    # Whether they are signed at all; else a token that goes along is all there is.
    signed: ClassVar[bool] = True
    # The request that writes a note: its method, and a pattern of its path.
    writing: ClassVar[tuple[str, str]]
    # Whether two writers at the same moment end with one note.
    settles: ClassVar[bool] = True

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.lock = threading.RLock()
        # Answers given instead of what the desk would do, to the next calls that match: (method, pattern) -> answers.
        self.instead: list[tuple[str, str, Answer]] = []
        # Done, but nothing is answered: the connection breaks.
        self.silent_once: tuple[str, str] | None = None
        # Done once, just before a note is written.
        self.meanwhile: Callable[[], Any] | None = None
        # The next notes come out public, whatever was asked.
        self.makes_public = False
        self.url = ""

    def answer(self, call: Call) -> Answer | None:
        """The answer, or None where the connection breaks instead."""
        if self.meanwhile and call.method == self.writing[0] and re.search(self.writing[1], call.path):
            first, self.meanwhile = self.meanwhile, None
            first()
        with self.lock:
            self.calls.append(call)
            for one in self.instead:
                if call.method == one[0] and re.search(one[1], call.path):
                    self.instead.remove(one)
                    return one[2]
            result = self._routed(call)
            if self.silent_once and call.method == self.silent_once[0] and re.search(self.silent_once[1], call.path):
                self.silent_once = None
                return None
        return result if isinstance(result, Answer) else Answer(result)

    def _routed(self, call: Call) -> Any:
        for name in dir(type(self)):
            handler = getattr(type(self), name)
            for method, pattern in getattr(handler, "routes", ()):
                if method == call.method and (found := pattern.fullmatch(call.path)):
                    return handler(self, call, *found.groups())
        return Answer({"error": f"no such thing: {call.method} {call.path}"}, 404)

    # What each says of itself.

    def system(self, **over: Any) -> Any:
        """The system that talks to this desk, with both secrets."""
        raise NotImplementedError

    def delivery(self, secret: str | None, **over: Any) -> Incoming:
        """A delivery as this desk sends it, signed with `secret`: `actor` changed the ticket and wrote `said`.

        `body` replaces its bytes, `at` the time at which it was signed.
        """
        raise NotImplementedError

    def notes(self) -> list[tuple[bool, str]]:
        """Our notes on the ticket, oldest first: whether each is private, and its text."""
        raise NotImplementedError

    def files(self) -> list[str]:
        """Names of the files that came with notes."""
        raise NotImplementedError

    def says(self, text: str, *, who: str, private: bool = False) -> None:
        """`customer` or `staff` writes on the ticket."""
        raise NotImplementedError

    def fault(self) -> str | None:
        """The ticket's own field for the fault class."""
        raise NotImplementedError

    def tags(self) -> list[str] | None:
        """The ticket's tags; None where the desk has none to set."""
        raise NotImplementedError

    def add_tickets(self, times: list[datetime]) -> list[str]:
        """Further tickets that changed at these times, each after the other. Returns their ids."""
        raise NotImplementedError

    def touch(self, ticket_id: str, at: datetime) -> None:
        """Changes one of these tickets at a time."""
        raise NotImplementedError


@contextmanager
def running(desk: Desk) -> Iterator[Any]:
    """`desk`, answering on loopback."""

    class Handle(BaseHTTPRequestHandler):
        def _do(self) -> None:
            parts = urlsplit(self.path)
            query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
            size = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            given = desk.answer(Call(self.command, unquote(parts.path), query, headers, self.rfile.read(size)))
            if given is None:
                self.close_connection = True
                return
            data = b"" if given.body is None else json.dumps(given.body).encode()
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - names of the standard library

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handle)) as server:
        desk.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield desk


def adf(*paragraphs: str) -> str:
    """A document of Atlassian's format, as JSON."""
    content = [{"type": "paragraph", "content": [{"type": "text", "text": text}]} for text in paragraphs]
    return json.dumps({"type": "doc", "version": 1, "content": content}, ensure_ascii=False)


def note(
    *lines: str, fault: str = "interface_fault", confidence: str = "0.91", files: tuple[File, ...] = (), **over: Any
) -> Note:
    """A note in every form, saying `lines`."""
    said = lines or ("Payment failed: the acquirer did not answer.", "支付失败：收单机构没有应答。")
    bodies: Any = {
        "html": f"<!-- {MARKER} --><div>" + "".join(f"<p>{line}</p>" for line in said) + "</div>",
        "markdown": f"<!-- {MARKER} -->\n" + "\n\n".join(said),
        "wiki": "\n\n".join([*said, MARKER]),
        "adf": adf(*said),
        "text": "\n\n".join([*said, MARKER]),
    }
    fields = {"fault_class": fault, "fault_subclass": "timeout_unknown", "confidence": confidence, "severity": "P2"}
    given: dict[str, Any] = {"snapshot_id": "S-1", "marker": MARKER, "bodies": bodies, "files": files, "fields": fields}
    return Note(**given | over)


def incoming(body: bytes, headers: dict[str, str], **query: str) -> Incoming:
    """A request that arrived at `NOW`."""
    return Incoming(headers, body, NOW, query=query)
