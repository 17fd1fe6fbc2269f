"""The snapshots of a run to where people look: into Elasticsearch (`pipeline/publish`), and onto their tickets.

A ticket system is not to be flooded by a year of notes, and what is written there is seen by people. So nothing is sent
unless that is asked for, one ticket at a time, at a stated pace, slower where the system asks for it; and what is on its
ticket is written down, so that a run that goes on does not write it again.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pipeline.batching.patience import patiently
from pipeline.batching.results import Folder, read_document
from pipeline.errors import Refused, SnapshotError
from pipeline.tickets.system import Attached, Note, TicketSystem
from snapshots.model import ProblemSnapshot

_LISTED = 20

NoteOf = Callable[[ProblemSnapshot, str | None], Note]


def documents(folder: Folder) -> Iterator[ProblemSnapshot]:
    """The snapshots of a run, in order of their documents' names. Raises `SnapshotError` for a damaged one."""
    for path in sorted(path for path in folder.documents.glob("*.json") if not path.name.startswith(".")):
        yield read_document(path)


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """A note that is on its ticket."""

    ticket: str
    snapshot_id: str
    outcome: str
    note_id: str | None = None
    url: str | None = None


@dataclass
class Backfilled:
    """What became of the notes. `elsewhere` tickets are of other systems, `before` have theirs from an earlier run.

    `problems` are sentences, the first of them; `failed` counts all. Without `sent` nothing went out.
    """

    sent: bool
    notes: int = 0
    before: int = 0
    elsewhere: int = 0
    failed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def fail(self, problem: str) -> None:
        """Counts a note that is not on its ticket."""
        self.failed += 1
        if len(self.problems) < _LISTED:
            self.problems.append(problem)


@dataclass(frozen=True)
class Pace:
    """At most `per_minute` requests begin in a minute. Clock and sleep are given by tests."""

    per_minute: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def steps(self) -> Iterator[None]:
        """Yields when the next one may begin."""
        due = self.clock()
        while True:
            wait = due - self.clock()
            if wait > 0:
                self.sleep(wait)
            due = max(due, self.clock()) + 60 / self.per_minute
            yield


def attach_all(
    snapshots: Iterable[ProblemSnapshot],
    system: TicketSystem,
    note_of: NoteOf,
    journal: Path,
    pace: Pace,
    *,
    send: bool,
    say: Callable[[str], None] = lambda _: None,
) -> Backfilled:
    """Puts each snapshot's note on its ticket, where that is one of `system`; without `send` only counts them.

    `note_of` makes the note, and is given the note's id where it is known from before. `journal` is a file of `Put`,
    added to. A ticket that fails is told and the others go on. Raises `Refused` where the system refuses us: it
    would refuse every one.
    """
    put = _read(journal)
    done = Backfilled(send)
    steps = pace.steps()
    for one in snapshots:
        if one.ticket.system not in {system.name, system.kind}:
            done.elsewhere += 1
            continue
        known = put.get(one.ticket.id)
        if known is not None and known.snapshot_id == one.snapshot_id:
            done.before += 1
            continue
        note = note_of(one, known.note_id if known else None)
        done.notes += 1
        if not send:
            continue
        try:
            _put(one, note, system, journal, steps, pace, done, say)
        except Refused:
            raise
        except SnapshotError as error:
            done.fail(f"{one.ticket.id}: {error}")
    return done


def _put(
    one: ProblemSnapshot,
    note: Note,
    system: TicketSystem,
    journal: Path,
    steps: Iterator[None],
    pace: Pace,
    done: Backfilled,
    say: Callable[[str], None],
) -> None:
    def attach() -> Attached:
        next(steps)
        return system.attach(one.ticket.id, note)

    attached = patiently(attach, system.name, say, pace.sleep)
    done.outcomes[attached.outcome] += 1
    row = Put(
        ticket=one.ticket.id,
        snapshot_id=one.snapshot_id,
        outcome=attached.outcome,
        note_id=attached.note_id,
        url=attached.url,
    )
    with journal.open("ab") as file:
        file.write(msgspec.json.encode(row) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _read(journal: Path) -> dict[str, Put]:
    """The newest line of each ticket; a line that a kill cut off is none."""
    found: dict[str, Put] = {}
    if journal.exists():
        for line in journal.read_bytes().splitlines():
            try:
                row = msgspec.json.decode(line, type=Put)
            except msgspec.MsgspecError:
                continue
            found[row.ticket] = row
    return found
