"""Learning on Beam: thin transforms over the functions that read units here. Beam is imported when this is.

    units -> Reshuffle -> read, by day -> united by day -> one file a day

The element is a work unit, not a line, and each is known beforehand with about as many lines as any other, from footers or from
a count. So a plain DoFn behind a Reshuffle spreads them as well as a splittable one could, and runs on every runner; splitting
a unit while it is read would only pay where units differ much, and a row group cannot be read from its middle anyway.
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.beam_options import LOCAL, beam_options
from pipeline.errors import SnapshotError
from pipeline.learning.carried import TALLY, done_of, rows_of, united
from pipeline.learning.local import Done, Engine, done
from pipeline.learning.units import Unit, decode_unit, encode_unit


@beam.typehints.with_input_types(bytes)
@beam.typehints.with_output_types(tuple[str, bytes])
class ReadUnit(beam.DoFn):
    """A unit to its shards, each under its day, and its tally. A dead unit is in the tally with its reason."""

    def __init__(self) -> None:
        self._rows = Metrics.counter("learn", "rows")
        self._undated = Metrics.counter("learn", "undated")
        self._dead = Metrics.counter("learn", "dead_units")
        self._size = Metrics.distribution("learn", "rows_of_a_unit")
        self._shuffled = Metrics.counter("learn", "bytes_of_shards")

    def process(self, element: bytes) -> Iterator[tuple[str, bytes]]:
        """One unit."""
        made = done(decode_unit(element))
        self._rows.inc(made.tally.rows)
        self._undated.inc(made.tally.undated)
        self._dead.inc(len(made.tally.dead))
        self._size.update(made.tally.rows)
        for key, content in rows_of(made):
            if key != TALLY:
                self._shuffled.inc(len(content))
            yield key, content


class UniteFn(beam.CombineFn):
    """Shards of one day to one; tallies to one. Their order has no say."""

    # Values that wait before they are united.
    _MOST = 16

    def create_accumulator(self) -> list[bytes]:
        """Nothing yet."""
        return []

    def add_input(self, accumulator: list[bytes], element: bytes) -> list[bytes]:
        """One more."""
        return self._few([*accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[list[bytes]]) -> list[bytes]:
        """All of some."""
        return self._few([value for some in accumulators for value in some])

    def compact(self, accumulator: list[bytes]) -> list[bytes]:
        """What is sent on."""
        return [united(accumulator)] if len(accumulator) > 1 else accumulator

    def extract_output(self, accumulator: list[bytes]) -> bytes:
        """The one."""
        return united(accumulator)

    def _few(self, values: list[bytes]) -> list[bytes]:
        return [united(values)] if len(values) > self._MOST else values


@beam.typehints.with_input_types(tuple[str, bytes])
@beam.typehints.with_output_types(str)
class WriteShard(beam.DoFn):
    """One file a key below `place`; one that is written again, after a failure, is the same."""

    def __init__(self, place: str) -> None:
        self._place = place

    def process(self, element: tuple[str, bytes]) -> Iterator[str]:
        """One value."""
        import fsspec

        key, content = element
        filesystem, root = fsspec.core.url_to_fs(self._place)
        filesystem.makedirs(root, exist_ok=True)
        with filesystem.open(posixpath.join(root, key), "wb") as file:
            file.write(content)
        yield key


class LearnShards(beam.PTransform):
    """Encoded units to the names of the files, one a day and one for the tally, below `place`."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def expand(self, units: beam.PCollection[bytes]) -> beam.PCollection[str]:
        """See the module."""
        return (
            units
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(ReadUnit())
            | "Unite" >> beam.CombinePerKey(UniteFn())
            | "Write" >> beam.ParDo(WriteShard(self._place))
        )


def beam_engine(options: Sequence[str] = (), *, work: str | None = None) -> Engine:
    """The engine of `pipeline.learning.local.learn` that reads units by a Beam pipeline.

    `options` are Beam's own, FnApiRunner unless they name a runner. `work` is a folder that workers and this process share, a path
    or an fsspec URL, which is emptied; a folder of this machine unless given. Raises `UsageError` for options that Beam does not
    take, and the engine `SnapshotError` where the pipeline fails.
    """
    named = [one for one in options if one.startswith("--runner")]
    own = [] if named else [f"--runner={LOCAL}"]
    runner = named[-1].removeprefix("--runner").lstrip("=") if named else LOCAL
    asked = beam_options(options, own, runner=runner)

    def run(units: Sequence[Unit]) -> Iterator[Done]:
        import fsspec

        place = work or tempfile.mkdtemp(prefix="problem-snapshot-beam-")
        filesystem, root = fsspec.core.url_to_fs(place)
        # What an earlier run left there, which broke off, is none of ours.
        _empty(filesystem, root)
        try:
            try:
                with beam.Pipeline(options=asked) as pipeline:
                    _ = (
                        pipeline
                        | "Units" >> beam.Create([encode_unit(unit) for unit in units], reshuffle=False)
                        | "Learn" >> LearnShards(place)
                    )
            except (RuntimeError, ValueError) as error:
                raise SnapshotError(f"the Beam pipeline failed: {str(error)[-300:]}") from error
            for path in sorted(filesystem.find(root)):
                yield done_of(posixpath.basename(path), bytes(filesystem.cat_file(path)))
        finally:
            _empty(filesystem, root)

    return run


def _empty(filesystem: Any, root: str) -> None:
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)
