"""A ticket system in memory, for what the service does by itself; the real ones are in test_service_rt and test_service_helpdesk."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from pipeline.errors import TicketNotFound
from pipeline.tickets.signatures import check, hexed
from pipeline.tickets.system import Attached, Changes, Event, Form, Incoming, Malformed, Note, Step
from pipeline.values import Ticket

SECRET = "a secret of the tests"


@dataclass
class Desk:
    """Tickets by id, notes by ticket and marker. `failures` are raised by the next calls of `attach`, first one first."""

    name: str = "desk"
    kind: str = "stand-in"
    form: Form = "text"
    edits: bool = True
    tickets: dict[str, Ticket] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    writes: int = 0
    failures: list[Exception] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, request: Incoming) -> Event:
        check(request.headers.get("x-signature"), [hexed(SECRET, request.body)], "signature")
        try:
            told = msgspec.json.decode(request.body, type=dict)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise Malformed("no JSON object") from error
        if not isinstance(told.get("ticket"), str):
            raise Malformed("ticket is missing")
        return Event(
            told["ticket"],
            str(told.get("kind", "ticket.created")),
            delivery_id=told.get("delivery"),
            text=str(told.get("text", "")),
            ignored="our own note" if told.get("actor") == "us" else None,
        )

    def ticket(self, ticket_id: str) -> Ticket:
        if ticket_id not in self.tickets:
            raise TicketNotFound(f"there is no ticket {ticket_id}")
        return self.tickets[ticket_id]

    def attach(self, ticket_id: str, note: Note) -> Attached:
        with self.lock:
            if self.failures:
                raise self.failures.pop(0)
            notes = self.notes.setdefault(ticket_id, {})
            body = note.bodies[self.form]
            if notes.get(note.marker) == body:
                return Attached("unchanged", note.marker)
            outcome = "updated" if note.marker in notes else "created"
            notes[note.marker] = body
            self.writes += 1
            return Attached(outcome, note.marker, f"https://desk.example/{ticket_id}")

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        start = int(cursor or len(self.tickets))
        ids = list(self.tickets)[start : start + limit]
        events = tuple(Event(i, "ticket.created", delivery_id=f"poll:{i}") for i in ids)
        return Changes(events, str(start + len(ids)), more=start + len(ids) < len(self.tickets))

    def close(self) -> None:
        pass


@dataclass
class RememberingDesk(Desk):
    """One that tells what happened to its tickets. `away` is raised where it is asked for that; `asked` counts."""

    steps: dict[str, list[Step]] = field(default_factory=dict)
    away: Exception | None = None
    asked: int = 0

    def history(self, ticket_id: str) -> tuple[Step, ...]:
        self.asked += 1
        if self.away:
            raise self.away
        return tuple(self.steps.get(ticket_id, ()))


def ticket(number: int, text: str = "付款失败，订单号 SO202611230001") -> Ticket:
    """A ticket that was opened today."""
    return Ticket(f"T-{number}", f"支付失败 {number}", text, datetime(2026, 11, 23, 2, 5, tzinfo=UTC), "desk", "zh")


def delivery(body: Mapping[str, object]) -> tuple[bytes, dict[str, str]]:
    """A body and its headers, signed."""
    data = msgspec.json.encode(body)
    return data, {"x-signature": hexed(SECRET, data), "content-type": "application/json"}


@contextlib.contextmanager
def empty_postgresql(url: str) -> Iterator[str]:
    """The address of a new database beside that of `url`, which is dropped again."""
    import sqlalchemy as sa

    place = sa.make_url(url).set(drivername="postgresql+psycopg")
    name = f"hook_{time.time_ns()}"
    engine = sa.create_engine(place, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield place.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()
