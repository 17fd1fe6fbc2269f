"""Batch on Apache Beam: transforms that wire up the functions of `pipeline/batching`, with as little logic as possible.

    units of work -> TakeSnapshots -> entries       -> WriteDays -> days with their rows
                                   -> dead letters

The element is a unit of work, a slice of the plan's file: workers read their own tickets and write their own documents, so
that between them go file names, days and counts only. Beam is imported here, and in its worker.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.metrics import Metrics
from apache_beam.runners.runner import PipelineState

from pipeline.batching.plan import Unit
from pipeline.batching.results import Entry, Folder, write_day
from pipeline.batching.units import Recipe, Worker
from pipeline.beam_options import LOCAL, beam_options
from pipeline.errors import SnapshotError

NAMESPACE = "problem-snapshot"
DEAD_LETTERS = "dead_letters"
Document = tuple[int, str]


@beam.typehints.with_input_types(Unit)
@beam.typehints.with_output_types(Entry)
class _TakeUnit(beam.DoFn):  # type: ignore[misc]
    """`Worker.take_unit`, counted."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._worker: Worker | None = None
        self._states = {state: Metrics.counter(NAMESPACE, state) for state in ("taken", "kept", "dead")}
        self._milliseconds = Metrics.distribution(NAMESPACE, "milliseconds")
        self._lines = Metrics.distribution(NAMESPACE, "log_lines")

    def setup(self) -> None:
        """Once a worker: settings are loaded here, where they are needed, and travel with no pipeline."""
        self._worker = self._recipe.open()

    def process(self, unit: Unit) -> Iterator[Any]:
        """One unit."""
        assert self._worker is not None  # noqa: S101 - the runner has called `setup`
        for entry in self._worker.take_unit(unit):
            self._states[entry.state].inc()
            if entry.state == "taken":
                self._lines.update(entry.lines)
                self._milliseconds.update(round(1000 * (entry.seconds or 0)))
            yield pvalue.TaggedOutput(DEAD_LETTERS, entry) if entry.state == "dead" else entry

    def teardown(self) -> None:
        """Once a worker."""
        if self._worker is not None:
            self._worker.close()


@dataclass
class TakeSnapshots(beam.PTransform):  # type: ignore[misc]
    """Units of work -> what became of their tickets; those that could not be taken under `dead_letters`."""

    recipe: Recipe

    def expand(self, units: pvalue.PCollection[Unit]) -> pvalue.DoOutputsTuple:
        """One step, with two outputs."""
        return units | "TakeUnit" >> beam.ParDo(_TakeUnit(self.recipe)).with_outputs(DEAD_LETTERS, main="entries")


@beam.typehints.with_input_types(Entry)
@beam.typehints.with_output_types(tuple[str, Document])
class _ByDay(beam.DoFn):  # type: ignore[misc]
    """The day of a ticket, with its number and its document's name."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, entry: Entry) -> Iterator[tuple[str, Document]]:
        """One entry; `kept` stands for dead letters of an earlier run as well, which have no document."""
        if entry.state == "taken" or Folder(Path(self._folder)).document(entry.document).exists():
            yield entry.day, (entry.number, entry.document)


# Beam takes the types of a plain function from its annotations.
def _write_day(day: tuple[str, Iterable[Document]], folder: str) -> tuple[str, int]:
    there = Folder(Path(folder))
    # Where an end is asked for, the days are written by the run that goes on.
    return day[0], 0 if there.stop.exists() else write_day(there, day[0], list(day[1]))


@dataclass
class WriteDays(beam.PTransform):  # type: ignore[misc]
    """Entries -> days with the number of rows that were written for each.

    What is grouped are names: a day's writer reads the documents itself. The order of a group is the runner's, so
    `write_day` sorts.
    """

    folder: str

    def expand(self, entries: pvalue.PCollection[Entry]) -> pvalue.PCollection[tuple[str, int]]:
        """Group by day, then write each."""
        return (
            entries
            | "ByDay" >> beam.ParDo(_ByDay(self.folder))
            | "Group" >> beam.GroupByKey()
            | "WriteDay" >> beam.Map(_write_day, self.folder)
        )


def pipeline_of(pipeline: beam.Pipeline, units: Sequence[Unit], recipe: Recipe) -> None:
    """The whole of it, onto `pipeline`."""
    taken = pipeline | "Units" >> beam.Create(units).with_output_types(Unit) | "TakeSnapshots" >> TakeSnapshots(recipe)
    _ = taken.entries | "WriteDays" >> WriteDays(recipe.folder)


def run_on_beam(
    units: Sequence[Unit],
    recipe: Recipe,
    runner: str,
    jobs: int,
    options: Sequence[str] = (),
    died: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Runs the pipeline to its end and gives the counters. Raises `UsageError` and `SnapshotError`.

    `options` are Beam's own, such as `--job_endpoint=127.0.0.1:8099`. FnApiRunner is named explicitly: the default
    DirectRunner would first look for a Prism binary to download. When a worker process of FnApiRunner ends early this
    never returns (Beam 2.77), so `died` is told; the caller has to leave it behind.
    """
    own = [f"--direct_num_workers={jobs}"] if runner == LOCAL else []
    pipeline = beam.Pipeline(runner=_runner(runner, jobs), options=beam_options(options, own, runner=runner))
    pipeline_of(pipeline, units, recipe)
    try:
        with _hearing(died):
            result = pipeline.run()
            state = result.wait_until_finish()
    except Exception as error:
        raise SnapshotError(f"the pipeline failed on {runner}: {_sentence(error)}") from error
    if state not in {PipelineState.DONE, None}:
        raise SnapshotError(f"the pipeline ended on {runner} as {state}")
    counters = result.metrics().query()["counters"]
    return {one.key.metric.name: one.committed for one in counters if one.key.metric.namespace == NAMESPACE}


def _sentence(error: Exception) -> str:
    """What went wrong. Beam gives a worker's error as the text of its traceback, with notes behind the sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"[\w.]+(Error|Refused|NotFound|Unreachable): ", line)]
    return (told or lines or [type(error).__name__])[-1 if told else 0]


@contextlib.contextmanager
def _hearing(died: Callable[[str], None]) -> Iterator[None]:
    """Tells `died` of worker processes that end early: all that Beam does then is to let a thread of its own fail."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.thread is not None and args.thread.name == "run_worker":
            died(str(args.exc_value))
        # Threads that had spoken with it fail as well, with nothing to say.

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _runner(name: str, jobs: int) -> Any:
    if name != LOCAL:
        return name
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    if jobs == 1:
        return FnApiRunner()
    # As `--direct_running_mode=multi_processing` has it, but for a worker that keeps Beam's log off the terminal.
    path = shlex.quote(os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path))
    # Ctrl-C goes to all processes of a terminal; a worker that ignores it finishes what it has in hand.
    run = f"exec {shlex.quote(sys.executable)} -m pipeline.batching.beam_worker"
    command = f"trap '' INT; PYTHONPATH={path}; export PYTHONPATH; {run}"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))
