"""The story: from a ticket to its problem snapshot.

    ticket -> scope -> collect -> parse -> cluster -> contrast -> evidence -> diagnose -> snapshot -> desk

Parsing has no line of its own below: each source turns its pages into Arrow tables as they arrive.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.cluster import cluster
from pipeline.collect import collect, explain
from pipeline.contrast import contrast
from pipeline.diagnose import diagnose
from pipeline.document import number, write_document
from pipeline.evidence import Case, detect, open_case
from pipeline.judge import weights_in_force
from pipeline.scope import read_scope
from pipeline.settings import Settings
from pipeline.values import Planned, Scope, Source, Span, Ticket
from pipeline.version import __version__
from snapshots.model import ProblemSnapshot, RunRecord

if TYPE_CHECKING:
    from pipeline.learning.usual import Known

# Snapshots of one process that are made at once. More of them would share the same processors, and each would run out of
# its budget while it waits for them; so the others stand in line, and a budget begins when the turn comes.
AT_ONCE = max(2, os.cpu_count() or 2)
_turns = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class Taken:
    """The document, and what happened while it was made."""

    snapshot: ProblemSnapshot
    run: RunRecord


def take_snapshot(
    ticket: Ticket,
    sources: Sequence[Source],
    settings: Settings,
    *,
    around: Span | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Taken:
    """Take the problem snapshot of `ticket` from `sources`.

    `around` is a window that a person asked for. Equal tickets, settings and source contents give equal documents, as
    long as no deadline was hit. Raises `NoSourceReached` or `Refused` where not one source could be asked; a source that
    fails beside others is a row of the coverage ledger. Raises `UsageError`, before a source is asked, where the settings
    name a file of weights, or a catalogue, that cannot be used.
    """
    weights_in_force(settings.weights)
    known = _usual(settings)
    with _turn(progress):
        return _take(ticket, sources, settings, known, around, progress)


def _usual(settings: Settings) -> Known | None:
    """The catalogue that the settings name, if any. Raises `UsageError`."""
    if not settings.catalogue:
        return None
    from pipeline.learning.usual import open_usual

    return open_usual(settings.catalogue)


def _take(
    ticket: Ticket,
    sources: Sequence[Source],
    settings: Settings,
    known: Known | None,
    around: Span | None,
    progress: Callable[[str], None],
) -> Taken:
    clock = _Clock()
    deadline = time.monotonic() + settings.budget
    scope = read_scope(ticket, settings, around)
    clock.lap("scope")

    collected = collect(scope, ticket, sources, settings, progress)
    scope, material, orders = collected.scope, collected.material, collected.orders
    clock.lap("collect")

    progress(f"reading {material.logs.num_rows:,} log lines")
    clusters = cluster(material.logs)
    clock.lap("cluster")

    changes = contrast(material.logs, clusters, scope, known)
    clock.lap("contrast")

    case = open_case(ticket, scope, material, orders, clusters, changes, settings)
    seen = detect(case)
    clock.lap("evidence")

    diagnosis = diagnose(case, seen, number(seen))
    clock.lap("diagnose")

    snapshot = write_document(case, seen, diagnosis, sources, known=known, until=deadline)
    clock.lap("snapshot")

    if settings.desk:
        snapshot = _with_desk(snapshot, case, sources)
        clock.lap("desk")
    return Taken(snapshot, _run_record(snapshot, clock, material.seconds))


def _with_desk(snapshot: ProblemSnapshot, case: Case, sources: Sequence[Source]) -> ProblemSnapshot:
    """The snapshot with its severity, what the customer may be told and is asked, and what the desk knows of it."""
    # Whoever has no desk loads nothing of it.
    from pipeline.desk.advice import fill_knowledge
    from pipeline.desk.grading import grade
    from pipeline.desk.section import fill_desk

    desk = case.settings.desk
    snapshot = fill_knowledge(fill_desk(grade(snapshot, case), case.settings), desk)
    if desk and desk.self_service:
        from pipeline.desk.self_service import fill_self_service

        snapshot = fill_self_service(snapshot, desk)
    if desk and desk.portrait:
        from pipeline.desk.portrait import fill_portrait

        snapshot = fill_portrait(snapshot, case)
    if desk and desk.questions:
        from pipeline.desk.questions import fill_questions

        # Last: what is answered already is asked no more.
        snapshot = fill_questions(snapshot, case, sources)
    return snapshot


@contextlib.contextmanager
def _turn(progress: Callable[[str], None]) -> Iterator[None]:
    """Waits where as many snapshots as there are turns are being made already."""
    if not _turns.acquire(blocking=False):
        progress("waiting for its turn")
        _turns.acquire()
    try:
        yield
    finally:
        _turns.release()


def plan_snapshot(
    ticket: Ticket,
    sources: Sequence[Source],
    settings: Settings,
    *,
    around: Span | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Scope, list[Planned]]:
    """What `take_snapshot` would ask each source for. Orders are read, since the rest follows from them; nothing else is."""
    return explain(read_scope(ticket, settings, around), ticket, sources, settings, progress)


class _Clock:
    """Laps in seconds, by step."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self.begun = self.last = time.perf_counter()
        self.steps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.steps[step] = round(now - self.last, 4)
        self.last = now


def _run_record(snapshot: ProblemSnapshot, clock: _Clock, sources: Mapping[str, float]) -> RunRecord:
    return RunRecord(
        snapshot_id=snapshot.snapshot_id,
        started_at=clock.started_at.isoformat().replace("+00:00", "Z"),
        seconds=round(clock.last - clock.begun, 4),
        steps=clock.steps,
        sources={name: round(seconds, 4) for name, seconds in sources.items()},
        host=socket.gethostname(),
        python=platform.python_version(),
        tool_version=__version__,
    )
