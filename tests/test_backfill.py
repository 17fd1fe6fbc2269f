"""Notes of a batch onto tickets: only when asked to, at a stated pace, each once, and never past a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from pipeline.batching.backfill import Pace, attach_all
from pipeline.batching.patience import TRIES
from pipeline.errors import Refused, TicketNotFound
from pipeline.tickets.system import (
    Attached,
    Changes,
    Event,
    Form,
    Incoming,
    Note,
    SystemUnavailable,
    TicketSystem,
)
from pipeline.values import Ticket
from snapshots.model import ProblemSnapshot
from tests.flow_samples import NAMES, taken


@dataclass
class Desk:
    """A ticket system in memory: one note a ticket, and errors as they are set for it."""

    name: str = "desk"
    kind: str = "zendesk"
    form: Form = "html"
    edits: bool = True
    notes: dict[str, Note] = field(default_factory=dict)
    errors: dict[str, list[Exception]] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    clock: Clock | None = None

    def attach(self, ticket_id: str, note: Note) -> Attached:
        self.times.append(self.clock.now if self.clock else 0.0)
        if self.errors.get(ticket_id):
            raise self.errors[ticket_id].pop(0)
        outcome = "updated" if ticket_id in self.notes else "created"
        self.notes[ticket_id] = note
        return Attached(outcome, note_id=f"n-{ticket_id}")

    def receive(self, request: Incoming) -> Event:
        raise NotImplementedError

    def ticket(self, ticket_id: str) -> Ticket:
        raise NotImplementedError

    def changed(self, cursor: str | None, limit: int = 100) -> Changes:
        raise NotImplementedError

    def close(self) -> None:
        pass


@dataclass
class Clock:
    """Time that passes while one sleeps, and not otherwise."""

    now: float = 0.0

    def pace(self, per_minute: float) -> Pace:
        return Pace(per_minute, lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def snapshots(system: str = "zendesk") -> list[ProblemSnapshot]:
    found = [taken(name) for name in NAMES]
    return [msgspec.structs.replace(one, ticket=msgspec.structs.replace(one.ticket, system=system)) for one in found]


def note_of(snapshot: ProblemSnapshot, known: str | None) -> Note:
    return Note(snapshot.snapshot_id, "problem-snapshot:0123456789abcdef", {"html": "<p>note</p>"}, known=known)


def test_nothing_is_sent_unless_that_is_asked_for(tmp_path: Path):
    desk = Desk()
    system: TicketSystem = desk
    done = attach_all(snapshots(), system, note_of, tmp_path / "j", Clock().pace(60), send=False)
    assert (done.sent, done.notes, desk.times) == (False, 4, [])
    assert not (tmp_path / "j").exists()


def test_requests_keep_the_pace(tmp_path: Path):
    """Thirty a minute are one every two seconds."""
    clock = Clock()
    desk = Desk(clock=clock)
    attach_all(snapshots(), desk, note_of, tmp_path / "j", clock.pace(30), send=True)
    assert desk.times == [0, 2, 4, 6]


def test_each_ticket_gets_its_note_once_and_a_newer_snapshot_changes_it(tmp_path: Path):
    """A run that goes on knows what is there, also after a kill that cut off a line."""
    desk, clock = Desk(), Clock()
    first = attach_all(snapshots(), desk, note_of, tmp_path / "j", clock.pace(60), send=True)
    assert dict(first.outcomes) == {"created": 4}
    with (tmp_path / "j").open("ab") as file:
        file.write(b'{"ticket": "TK-1", "snap')
    again = attach_all(snapshots(), desk, note_of, tmp_path / "j", clock.pace(60), send=True)
    assert (again.before, again.notes, len(desk.times)) == (4, 0, 4)
    newer = [msgspec.structs.replace(one, snapshot_id="ps-newer") for one in snapshots()[:1]]
    changed = attach_all(newer, desk, note_of, tmp_path / "j", clock.pace(60), send=True)
    assert dict(changed.outcomes) == {"updated": 1}
    assert desk.notes[NAMES[0]].known == f"n-{NAMES[0]}"


def test_tickets_of_another_system_are_left_alone_and_counted(tmp_path: Path):
    desk = Desk()
    done = attach_all(snapshots("file"), desk, note_of, tmp_path / "j", Clock().pace(60), send=True)
    assert (done.elsewhere, done.notes, desk.notes) == (4, 0, {})


def test_a_system_that_asks_for_time_gets_it(tmp_path: Path):
    """As long as it says, or ever longer; in the end the ticket is told as failed and the others go on."""
    clock = Clock()
    away = SystemUnavailable("busy", after=60)
    desk = Desk(clock=clock, errors={NAMES[0]: [away, SystemUnavailable("away")], NAMES[1]: [away] * TRIES})
    said: list[str] = []
    done = attach_all(snapshots(), desk, note_of, tmp_path / "j", clock.pace(6000), send=True, say=said.append)
    assert desk.times[1] - desk.times[0] >= 60
    assert desk.times[2] - desk.times[1] >= 4
    assert (dict(done.outcomes), done.failed) == ({"created": 3}, 1)
    assert done.problems == [f"{NAMES[1]}: busy"]
    assert len(said) == 2 + TRIES - 1


def test_a_ticket_that_is_gone_is_told_and_a_refusal_ends_it(tmp_path: Path):
    desk = Desk(errors={NAMES[0]: [TicketNotFound("gone")], NAMES[2]: [Refused("no such token")]})
    with pytest.raises(Refused):
        attach_all(snapshots(), desk, note_of, tmp_path / "j", Clock().pace(60), send=True)
    assert list(desk.notes) == [NAMES[1]]


def test_the_desk_of_these_tests_has_the_shape_of_a_system():
    """Else they would show nothing."""
    desk: TicketSystem = replace(Desk())
    assert desk.kind == "zendesk"
