"""A batch from its tickets to its results, on whatever engine, so that it can be stopped at any moment and gone on with.

tickets -> plan -> units of work -> engine -> documents, dead letters, days -> summary
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.batching.plan import Plan, content_of, make_plan, read_plan, units, whole_plan
from pipeline.batching.results import FILE_ROWS, Folder, write_day
from pipeline.batching.searched import Search, searched
from pipeline.batching.summary import Summary, read_summary, summarise, write_summary
from pipeline.batching.tickets import read_given, with_bundles
from pipeline.batching.units import InProcess, Recipe, close_workers, made_with
from pipeline.errors import SnapshotError, UsageError
from pipeline.judge import weights_in_force
from pipeline.processes import cores, each, undisturbed

if TYPE_CHECKING:
    from pipeline.settings import Settings

# What is said of tickets while they are read: so many sentences, and how many more.
_NOTES = 20
# Up to so many tickets are taken in one process: a second one of Beam pays from 334,000 lines on (docs/scale.md), which is
# seven tickets of 50,000. Where tickets are smaller it costs two seconds that it does not bring in.
FEW = 8
# On Spark the plan is cut as for so many processes: how many there will be is Spark's to know.
SPARK_UNITS = 64
RUNNERS = ("FnApiRunner", "PortableRunner", "FlinkRunner", "DataflowRunner", "local", "spark")


@dataclass(frozen=True)
class Asked:
    """What a batch is asked for; see the command's options."""

    tickets: str
    out: Path
    bundle: Path | None = None
    resume: bool = False
    retry: bool = False
    jobs: int | None = None
    runner: str = "FnApiRunner"
    master: str | None = None
    budget: float = 60.0
    timezone: str | None = None
    config: Path | None = None
    profile: str | None = None
    beam: tuple[str, ...] = ()
    search: Search | None = None

    @property
    def label(self) -> str:
        """Where the tickets come from, as a run that goes on knows it again."""
        return self.search.label if self.search else self.tickets


@dataclass(frozen=True)
class Count:
    """How far a run is. `kept` of the `done` were done by an earlier one."""

    done: int
    of: int
    kept: int


@dataclass(frozen=True)
class Ended:
    """What came of a run."""

    folder: Folder
    summary: Summary


Step = Callable[[Count], None]
Say = Callable[[str], None]


def run_batch(asked: Asked, settings: Settings, step: Step = lambda _: None, say: Say = lambda _: None) -> Ended:
    """Takes the snapshot of every ticket that was asked for, or of those that are left.

    `settings` are those of this machine, for reading tickets and for what the snapshots are made with. Ctrl-C lets what is in hand
    be finished and ends it; a second one leaves at once. Raises `UsageError` before the first ticket is taken, and
    `SnapshotError` where the output cannot be written or the engine fails: what is done by then is kept.
    """
    if asked.runner not in RUNNERS:
        raise UsageError(f"--runner {asked.runner}: is one of {', '.join(RUNNERS)}")
    if asked.beam and asked.runner in {"local", "spark"}:
        raise UsageError(f"{' '.join(asked.beam)}: options of Beam go with a runner of Beam")
    if (asked.runner == "spark") != (asked.master is not None):
        raise UsageError("--runner spark and --master spark://HOST:PORT go together")
    weights_in_force(settings.weights)
    folder = Folder(asked.out)
    _check(folder, asked)
    folder.make()
    with folder.alone():
        folder.sweep()
        folder.stop.unlink(missing_ok=True)
        plan = _plan(folder, asked, settings, say)
        if asked.retry:
            _forget_letters(folder)
        before = _done(folder, plan)
        # The summary is written last: where it says that the run was not interrupted, the days are written, too.
        through = read_summary(folder)
        if through is None or through.interrupted or before < plan.planned:
            _engine(folder, plan, asked, settings, before, step, say)
            through = _end(folder, plan, before)
        if not through.interrupted and not through.dead:
            # It holds the tickets as they were given, and nothing is left to do with them.
            folder.plan.unlink(missing_ok=True)
        return Ended(folder, through)


# ---- before


def _check(folder: Folder, asked: Asked) -> None:
    """Whether the folder may be used. Raises `UsageError`."""
    root = folder.root
    if root.exists() and not root.is_dir():
        raise UsageError(f"--out-dir {root}: is a file")
    goes_on = asked.resume or asked.retry
    if folder.head.exists() and not goes_on:
        raise UsageError(f"{root} holds a run already: --resume goes on with it; otherwise give another --out-dir")
    if root.is_dir() and not folder.work.exists() and any(root.iterdir()):
        raise UsageError(f"{root} is not empty, and what is in it is no run of batch; give another --out-dir")
    if goes_on and not folder.work.exists():
        raise UsageError(f"{root} holds no run to go on with; leave out --{'resume' if asked.resume else 'retry'}")


def _plan(folder: Folder, asked: Asked, settings: Settings, say: Say) -> Plan:
    """The plan: the one that is there, where it is of the same tickets and makes the same snapshots, else a new one."""
    made = made_with(settings)
    plan = read_plan(folder)
    if plan is None:
        # A run that was ended before its plan was whole has done nothing else.
        for letter in folder.letters.glob("*.json"):
            letter.unlink()
        notes = _Notes()
        say(f"reading {asked.label}")
        if asked.search:
            given = searched(asked.search, notes, say)
            given = with_bundles(given, asked.bundle) if asked.bundle else given
        else:
            given = read_given(asked.tickets, asked.bundle, settings.store, notes)
        return make_plan(given, folder, tickets=asked.label, made=made, notes=notes.told)
    if plan.tickets != asked.label:
        raise UsageError(f"{folder.root} holds a run over {plan.tickets}, not {asked.label}; give another --out-dir")
    if plan.sha256 is not None and content_of(asked.tickets) not in {plan.sha256, None}:
        raise UsageError(f"{asked.tickets} has changed since the run in {folder.root} began; give another --out-dir")
    other = [name for name, value in plan.made.items() if made.get(name) != value]
    if other:
        raise UsageError(
            f"{folder.root} holds a run with another {', '.join(other)}; its snapshots would not be alike: give another --out-dir"
        )
    return plan


class _Notes:
    """Sentences about tickets, the first of them and the number of the rest."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._more = 0

    def __call__(self, note: str) -> None:
        if len(self._first) < _NOTES:
            self._first.append(note)
        else:
            self._more += 1

    @property
    def told(self) -> Iterator[str]:
        """What was noted, once everything was read."""
        yield from self._first
        if self._more:
            yield f"and {self._more:,} more of the kind"


def _forget_letters(folder: Folder) -> None:
    """Makes tickets of dead letters undone again. What was no ticket stays a dead letter."""
    planned = {one.number for one in whole_plan(folder)}
    for path in folder.letters.glob("[0-9]*.json"):
        if int(path.stem) in planned:
            path.unlink()
    earlier = list(folder.journal.glob("*.jsonl"))
    with folder.whole(folder.journal / "before.jsonl") as file:
        for entry in folder.entries():
            if entry.state != "dead":
                file.write(msgspec.json.encode(entry) + b"\n")
    for path in earlier:
        if path.name != "before.jsonl":
            path.unlink()


def _done(folder: Folder, plan: Plan) -> int:
    """How many of the planned tickets are done."""
    documents = sum(path.suffix == ".json" for path in folder.documents.iterdir())
    letters = sum(path.suffix == ".json" for path in folder.letters.iterdir())
    return documents + letters - plan.rejected


# ---- the engines


def _engine(folder: Folder, plan: Plan, asked: Asked, settings: Settings, before: int, step: Step, say: Say) -> None:
    recipe = Recipe(
        folder=str(folder.root.resolve()),
        config=str(asked.config.resolve()) if asked.config else None,
        profile=asked.profile,
        sources=bool(settings.sources),
        budget=asked.budget,
        timezone=asked.timezone,
        made=tuple(sorted(plan.made.items())),
    )

    jobs = asked.jobs or (cores() if plan.planned - before > FEW else 1)

    def work(died: Callable[[str], None]) -> None:
        if asked.runner == "local":
            _locally(folder, plan, recipe, jobs)
            return
        if asked.master is not None:
            from pipeline.batching.on_spark import run_on_spark

            run_on_spark(units(folder, plan.planned, SPARK_UNITS), recipe, asked.master)
            _write_days(folder, jobs)
            return
        from pipeline.batch import run_on_beam

        parts = units(folder, plan.planned, jobs)
        run_on_beam(parts, recipe, asked.runner, jobs, asked.beam, died)

    try:
        _watched(work, folder, Count(before, plan.planned, before), step, say)
    except SnapshotError as error:
        if isinstance(error, UsageError):
            raise
        raise SnapshotError(f"{error}\nWhat was done is kept; the same call with --resume goes on.") from error


def _locally(folder: Folder, plan: Plan, recipe: Recipe, jobs: int) -> None:
    """Without Beam: each ticket a unit, so that one which ends its process takes no other with it."""
    work = InProcess(recipe)
    try:
        with contextlib.closing(each(work, units(folder, plan.planned, jobs, most=1), jobs, work.died)) as done:
            for _ in done:
                if folder.stop.exists():
                    break
    finally:
        close_workers()
    _write_days(folder, jobs)


def _write_days(folder: Folder, jobs: int) -> None:
    """The rows of every day, in this process or in `jobs`; none where an end is asked for: then the run that goes on writes them."""
    if folder.stop.exists():
        return
    there = [one for one in whole_plan(folder) if folder.document(one.document).exists()]
    by_day = groupby(sorted((one.day, one.number, one.document) for one in there), key=lambda row: row[0])
    days = [_Day(folder, day, tuple(row[1:] for row in rows)) for day, rows in by_day]
    # Starting processes takes longer than writing a few rows.
    many = jobs if len(there) > FILE_ROWS else 1
    with contextlib.closing(each(_Days(), days, many, _died_of_day)) as written:
        for _ in written:
            pass


@dataclass(frozen=True)
class _Day:
    folder: Folder
    day: str
    documents: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class _Days:
    def take(self, one: _Day) -> int:
        return write_day(one.folder, one.day, one.documents)


def _died_of_day(one: _Day) -> int:
    raise SnapshotError(f"the process that wrote {one.day} ended (out of memory?)")


def _watched(work: Callable[[Callable[[str], None]], None], folder: Folder, count: Count, step: Step, say: Say) -> None:
    """Runs `work` in a thread that Ctrl-C does not reach, nor the processes it starts; counts, and asks for an end here."""
    failed: list[BaseException] = []
    over = threading.Event()

    def died(reason: str) -> None:
        failed.append(SnapshotError(f"{reason} (out of memory?); --runner local goes on past such a ticket"))
        over.set()

    def run() -> None:
        try:
            work(died)
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that is looked at
            failed.append(error)
        finally:
            over.set()

    with undisturbed():
        thread = threading.Thread(target=run, name="batch", daemon=True)
        thread.start()
    journal = _Tail(folder)
    asked_for_end = False
    while True:
        try:
            ended = over.wait(0.2)
            step(Count(count.done + journal.lines(), count.of, count.kept))
            if ended:
                break
        except KeyboardInterrupt:
            if asked_for_end:
                raise
            asked_for_end = True
            folder.stop.touch()
            say("Interrupted: what is in hand is finished. Ctrl-C again leaves at once; --resume takes up either.")
    if failed:
        raise failed[0]


class _Tail:
    """Counts the lines that are added to the journals from now on."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._read = {path: path.stat().st_size for path in folder.journal.glob("*.jsonl")}
        self._lines = 0
        self._next = 0.0

    def lines(self) -> int:
        """How many there are so far. Looks twice a second at most."""
        if time.monotonic() >= self._next:
            for path in self._folder.journal.glob("*.jsonl"):
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    data = file.read()
                self._lines += data.count(b"\n")
                self._read[path] = self._read.get(path, 0) + len(data)
            self._next = time.monotonic() + 0.5
        return self._lines


# ---- after


def _end(folder: Folder, plan: Plan, before: int) -> Summary:
    """Gathers what there is, and makes sure that nothing was lost."""
    dead = folder.gather_letters()
    done = _done(folder, plan)
    left = plan.planned - done
    interrupted = folder.stop.exists()
    if left < 0 or (left and not interrupted):
        raise SnapshotError(
            f"{plan.given:,} were given, but {done + plan.rejected:,} are done and {plan.repeated:,} repeated; "
            "this is a bug: please report it"
        )
    summary = summarise(folder, plan, dead=dead, kept=before, left=left, interrupted=interrupted)
    write_summary(folder, summary)
    return summary
