"""What tests of ticket systems that run here share: a receiver for their hooks, notes to attach, and laws that all keep."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import strategies as st

from pipeline.tickets._polls import Cursor
from pipeline.tickets.system import Event, File, Form, Incoming, Malformed, Note, TicketSystem, Unverified
from tests.tickets_polling import drained
from tests.web import serving

RECORDED = Path(__file__).parent / "data" / "tickets"
# What breaks out of HTML, Markdown and templates if anybody treats it as such. It arrives escaped.
HOSTILE = "<script>alert(1)</script> ](javascript:x) {{7*7}} ${7*7} <!-- --> 支付失败"


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        address = urlsplit(self.path)
        self.server.received.append(
            Incoming(
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
                received_at=datetime.now(UTC),
                path=address.path,
                query=dict(parse_qsl(address.query)),
            )
        )
        time.sleep(self.server.delay)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Receiver(ThreadingHTTPServer):
    """Takes a hook's posts on the address that the ticket system posts to."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, url: str, status: int = 202, delay: float = 0) -> None:
        where = urlsplit(url)
        super().__init__((where.hostname or "", where.port or 80), _Hook)
        self.received: list[Incoming] = []
        self.status = status
        self.delay = delay

    def wait(self, count: int, seconds: float = 15) -> list[Incoming]:
        """The first `count` posts; fails where they do not come."""
        until = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < until, f"{len(self.received)} of {count} posts came within {seconds} s"
            time.sleep(0.02)
        return self.received[:count]


@contextmanager
def receiving(url: str, status: int = 202, delay: float = 0) -> Iterator[Receiver]:
    """A receiver at `url`, in a thread of its own."""
    with serving(Receiver(url, status, delay)) as receiver:
        yield receiver


def marker(ticket_id: str) -> str:
    """A marker as notes have it, another for each ticket."""
    return f"problem-snapshot:{int(ticket_id):016x}"


def note_for(ticket_id: str, text: str, **given: Any) -> Note:
    """A note that says `text` in the forms that systems here take, escaped as the renderer escapes."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    bodies: dict[Form, str] = {
        "html": f"<h3>Snapshot</h3><p>{escaped}</p><!-- {marker(ticket_id)} -->",
        "text": f"Snapshot\n{text}\n{marker(ticket_id)}",
        "markdown": f"### Snapshot\n\n{escaped}\n\n<!-- {marker(ticket_id)} -->",
    }
    return Note(snapshot_id="S1", marker=marker(ticket_id), bodies=bodies, **given)


def files(*names: str) -> tuple[File, ...]:
    """Small files to go with a note."""
    return tuple(File(name, "application/json", json.dumps({"name": name}).encode()) for name in names)


def with_header(request: Incoming, name: str, value: str | None) -> Incoming:
    """The same request with another value of one header, or without it."""
    headers = {key: old for key, old in request.headers.items() if key != name}
    return replace(request, headers=headers if value is None else headers | {name: value})


def record(request: Incoming, name: str) -> None:
    """Keeps a real delivery for tests without the system: its headers, its body as text, and when it came."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    kept = {
        "received_at": request.received_at.isoformat(),
        "path": request.path,
        "query": dict(request.query),
        "headers": {key: value for key, value in request.headers.items() if key != "host"},
        "body": request.body.decode(),
    }
    (RECORDED / name).write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def recorded(name: str) -> Incoming:
    """A real delivery that was kept."""
    kept: Mapping[str, Any] = json.loads((RECORDED / name).read_text(encoding="utf-8"))
    return Incoming(
        headers=kept["headers"],
        body=kept["body"].encode(),
        received_at=datetime.fromisoformat(kept["received_at"]),
        path=kept["path"],
        query=kept["query"],
    )


def own_only(notes: list[dict[str, Any]], ticket_id: str) -> list[dict[str, Any]]:
    """Those notes of a ticket that are ours."""
    return [note for note in notes if marker(ticket_id) in note["body"]]


def refuses_forgeries(system: TicketSystem, request: Incoming, signature: str) -> None:
    """A changed body, a changed or missing signature (the header of that name) are not believed."""
    forged = [
        replace(request, body=request.body + b" "),
        with_header(request, signature, None),
        with_header(request, signature, ""),
        with_header(request, signature, "v1," + "A" * 43 + "="),
        with_header(request, signature, "签名"),
    ]
    for one in forged:
        with pytest.raises(Unverified):
            system.receive(one)


def refuses_stale(system: TicketSystem, request: Incoming) -> None:
    """A delivery that somebody kept, or that is from the future, is not believed; one of four minutes ago is."""
    for apart in (timedelta(minutes=6), timedelta(minutes=-6)):
        with pytest.raises(Unverified, match=r"s too (old|early)"):
            system.receive(replace(request, received_at=request.received_at + apart))
    assert isinstance(system.receive(replace(request, received_at=request.received_at + timedelta(minutes=4))), Event)


# Verified all the same: a bug or another program on the sender's side.
BROKEN_BODIES = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"{not json",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"type": 1, "data": {"ticket": {"id": []}}}',
    b'{"id": {}, "ticket": {}}',
)


def calls_broken_bodies_malformed(system: TicketSystem, signed: Any) -> None:
    """What is signed and no delivery of this system is Malformed, whatever it is. `signed(body)` makes the request."""
    for body in BROKEN_BODIES:
        with pytest.raises(Malformed):
            system.receive(signed(body))


def attaches_once(system: TicketSystem, desk: Any, ticket_id: str, names: Sequence[str] = ("snapshot.json",)) -> None:
    """The same note five times is one note, private; another text changes the same one. `names` are of files that went along."""
    first = note_for(ticket_id, f"first {HOSTILE}", files=files("snapshot.json"))
    outcomes = [system.attach(ticket_id, first) for _ in range(5)]
    assert [one.outcome for one in outcomes] == ["created", *["unchanged"] * 4]
    [before] = own_only(desk.notes(ticket_id), ticket_id)
    assert before["private"]
    assert before["files"] == list(names)
    assert before["id"] == outcomes[0].note_id == outcomes[4].note_id

    changed = system.attach(ticket_id, note_for(ticket_id, "second", files=files("snapshot.json"), known=before["id"]))
    assert changed.outcome == "updated"
    [after] = own_only(desk.notes(ticket_id), ticket_id)
    assert after["id"] == before["id"] == changed.note_id
    assert after["private"]
    assert "second" in after["body"]
    assert "first" not in after["body"]
    assert after["files"] == list(names)


def attaches_at_once(system: TicketSystem, desk: Any, ticket_id: str, count: int = 4) -> None:
    """Several that attach at the same moment leave one note, with the text of one of them."""
    start = threading.Barrier(count)
    failures: list[BaseException] = []

    def attach(number: int) -> None:
        start.wait()
        try:
            system.attach(ticket_id, note_for(ticket_id, f"by number {number}"))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=attach, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One that found the system busy is tried again by the queue.
    system.attach(ticket_id, note_for(ticket_id, "by number 9"))
    [only] = own_only(desk.notes(ticket_id), ticket_id)
    assert "by number 9" in only["body"]
    assert all(type(error).__name__ == "SystemUnavailable" for error in failures), failures


BEGAN = datetime(2026, 11, 26, tzinfo=UTC)
# Seconds at which things changed, where a poll begins, how many it tells at once, how far it looks back: few and equal ones, so that
# borders of pages (of three) fall on every place.
POLLS = st.tuples(
    st.lists(st.integers(0, 12), min_size=1, max_size=30).map(sorted),
    st.integers(0, 13),
    st.sampled_from([1, 2, 3, 5, 100]),
    st.sampled_from([0, 1, 3]),
)


def tells_all_once(system: TicketSystem, seconds: list[int], start: int, limit: int, back: int) -> None:
    """Whatever changed since the overlap before the cursor is told once. Ticket n changed at `seconds[n]`."""
    cursor = Cursor(BEGAN + timedelta(seconds=start)).text
    told = [event.ticket_id for event in drained(system, cursor, limit)[0]]
    assert sorted(told) == sorted(str(n) for n, at in enumerate(seconds) if at >= start - back)
