"""What a worker does with a unit of work: the snapshot of each of its tickets, by the very same `take_snapshot`.

A ticket is done when its document is in place, or its dead letter; what was done by an earlier run is left as it is. An
error of one ticket is a dead letter and the others go on. An error of the output ends the run: a full disk
is no ticket's fault.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.batching.plan import Planned, Unit
from pipeline.batching.results import DeadLetter, Entry, Folder, Hole, Journal
from pipeline.errors import UsageError
from snapshots.model import ProblemSnapshot, RunRecord, canonical_bytes

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.values import Source

# Rows of a ledger that are whole, and those that merely found nothing.
_WHOLE = frozenset({"ok", "empty"})


@dataclass(frozen=True)
class Recipe:
    """What a worker needs to know, on whatever machine it is. It holds no secret: each worker loads the settings itself.

    `folder` is the run's, where every worker reaches it. `sources` says whether the configured ones are asked; without, each
    ticket has its bundle. `made` is what the snapshots are to be made with, and a worker whose program or settings are other
    refuses.
    """

    folder: str
    config: str | None
    profile: str | None
    sources: bool
    budget: float
    timezone: str | None
    made: tuple[tuple[str, str], ...]

    def settings(self) -> Settings:
        """The settings of this machine, with what the call said. Raises `UsageError`."""
        from pipeline.settings import load_settings

        path = Path(self.config) if self.config is not None else None
        found = load_settings(path, self.profile, os.environ, sources=self.sources)
        over = {"timezone": self.timezone} if self.timezone is not None else {}
        return msgspec.structs.replace(found, budget=self.budget, **over)

    def open(self) -> Worker:
        """A worker. Raises `UsageError` where it would make other snapshots than are wanted."""
        settings = self.settings()
        if (made := made_with(settings)) != dict(self.made):
            wrong = ", ".join(name for name, value in self.made if made[name] != value)
            raise UsageError(f"this worker's {wrong} differ from those of the run; give all workers the same")
        return Worker(Folder(Path(self.folder)), settings)


def made_with(settings: Settings) -> dict[str, str]:
    """What can change a snapshot beside ticket and records: two runs with the same of it give the same. Raises `UsageError`."""
    from pipeline.faults import tables_sha256
    from pipeline.settings_digest import settings_digest
    from pipeline.version import __version__

    return {
        "tool_version": __version__,
        "tables_sha256": tables_sha256(),
        "settings_sha256": settings_digest(settings),
    }


class Worker:
    """Takes tickets, with the configured sources opened once for all of them. Several threads may use one."""

    def __init__(self, folder: Folder, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self._journal = Journal(folder)
        self._sources: list[Source] | None = None
        self._lock = threading.Lock()

    def take_unit(self, unit: Unit) -> Iterator[Entry]:
        """What became of each ticket of `unit`; of none from the moment on at which an end is asked for.

        Raises `SnapshotError` where the output cannot be written.
        """
        for planned in unit:
            if self.folder.stop.exists():
                return
            yield self.take(planned)

    def take(self, planned: Planned) -> Entry:
        """Takes one ticket, unless it is done. Raises as `take_unit`."""
        if self.folder.document(planned.document).exists() or self.folder.letter(planned.number).exists():
            return entry_of(planned, "kept")
        try:
            snapshot, run = self._snapshot(planned)
            data = canonical_bytes(snapshot)
        except Exception as error:  # noqa: BLE001 - whatever one ticket does, the others go on
            return self.bury(planned, error)
        self.folder.place(self.folder.document(planned.document), data)
        entry = taken_entry(planned, snapshot, run)
        self._journal.add(entry)
        return entry

    def bury(self, planned: Planned, error: BaseException) -> Entry:
        """A dead letter for a ticket that cannot be taken. Raises as `take_unit`."""
        letter = DeadLetter(
            number=planned.number,
            name=planned.name,
            ticket=planned.ticket.id,
            reason=str(error) or type(error).__name__,
            error=type(error).__name__,
            element={"ticket": planned.ticket, "bundle": planned.bundle},
        )
        self.folder.place_letter(letter)
        entry = msgspec.structs.replace(entry_of(planned, "dead"), error=letter.error, reason=letter.reason)
        self._journal.add(entry)
        return entry

    def close(self) -> None:
        """Closes sources and journal."""
        self._journal.close()
        with self._lock:
            for source in self._sources or ():
                source.close()
            self._sources = None

    def _snapshot(self, planned: Planned) -> tuple[ProblemSnapshot, RunRecord]:
        from pipeline.run import take_snapshot
        from pipeline.sources import open_bundle

        ticket = planned.ticket
        if planned.bundle is None:
            taken = take_snapshot(ticket, self._configured(), self.settings, around=planned.around)
            return taken.snapshot, taken.run
        source = open_bundle(planned.bundle, zone=self.settings.zone or ticket.created_at.tzinfo)
        try:
            taken = take_snapshot(ticket, [source], self.settings, around=planned.around)
        finally:
            source.close()
        return taken.snapshot, taken.run

    def _configured(self) -> Sequence[Source]:
        from pipeline.sources import open_source

        with self._lock:
            if self._sources is None:
                self._sources = [open_source(name, options) for name, options in self.settings.sources.items()]
            return self._sources


def entry_of(planned: Planned, state: str) -> Entry:
    """The entry of a ticket, without what its snapshot says."""
    return Entry(
        number=planned.number,
        ticket=planned.ticket.id,
        document=planned.document,
        day=planned.day,
        state=state,  # type: ignore[arg-type]
    )


def taken_entry(planned: Planned, snapshot: ProblemSnapshot, run: RunRecord | None) -> Entry:
    """The entry of a ticket that was taken; `run` is None where it is lost."""
    d = snapshot.diagnosis
    holes = {(row.source, row.what, row.status): None for row in snapshot.coverage if row.status not in _WHOLE}
    return msgspec.structs.replace(
        entry_of(planned, "taken"),
        fault_class=d.fault_class or "",
        abstained=d.abstained,
        language=snapshot.ticket.language,
        lines=snapshot.template_totals.lines,
        holes=tuple(Hole(source=source, what=what, status=status) for source, what, status in holes),
        seconds=run.seconds if run else None,
        steps=dict(run.steps) if run else {},
        sources=dict(run.sources) if run else {},
    )


@dataclass(frozen=True)
class InProcess:
    """A recipe as the work of `pipeline.processes`: each process opens its worker with the first unit."""

    recipe: Recipe

    def take(self, unit: Unit) -> list[Entry]:
        """What became of the unit's tickets."""
        return list(worker_of(self.recipe).take_unit(unit))

    def died(self, unit: Unit) -> list[Entry]:
        """A dead letter for each ticket of a unit that ends its process, but for those that were done before."""
        worker = worker_of(self.recipe)
        error = ProcessDied("the process that took it ended (out of memory?)")
        return [
            entry_of(one, "kept") if worker.folder.document(one.document).exists() else worker.bury(one, error)
            for one in unit
        ]


class ProcessDied(Exception):
    """What a ticket that ends its process is given as the error."""


_workers: dict[Recipe, Worker] = {}


def worker_of(recipe: Recipe) -> Worker:
    """The worker of this process, opened at the first call. Raises as `Recipe.open`."""
    if recipe not in _workers:
        _workers[recipe] = recipe.open()
    return _workers[recipe]


def close_workers() -> None:
    """Closes the workers of this process."""
    while _workers:
        _workers.popitem()[1].close()
