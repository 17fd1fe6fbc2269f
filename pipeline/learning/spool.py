"""Shards on their way to a catalogue: kept by day in a folder, so that memory holds no more than a few of them."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pyarrow as pa

from pipeline.learning.shards import COUNTS, Shard, by_day, decoded, encoded, nothing, unite

# Bytes of shards in memory before they are written.
_PENDING = 64 << 20
# Rows of `overall` that are added before it is united anew.
_ROWS = 1 << 20


class Learnt(Protocol):
    """What a catalogue is written from."""

    def overall(self) -> Shard:
        """Every service and masked line, all of day 0, without counts."""
        ...

    def days(self) -> Sequence[int]:
        """The days that have counts, in order."""
        ...

    def day(self, day: int) -> Shard:
        """The counts of one day; its `first` and `last` need not be right."""
        ...


class Spool:
    """A folder of its own that takes shards in any order, as `with Spool() as spool`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="problem-snapshot-learn-")
        self._pending: dict[int, list[Shard]] = {}
        self._days: set[int] = set()
        self._size = 0

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Deletes the folder."""
        self._folder.cleanup()

    def add(self, shard: Shard) -> None:
        """Takes one shard."""
        for day, part in by_day(shard):
            self._pending.setdefault(day, []).append(part)
        self._size += shard.nbytes
        if self._size > _PENDING:
            self._flush()

    def _flush(self) -> None:
        for day, shards in self._pending.items():
            self._write(day, unite(shards), "ab")
        self._pending, self._size = {}, 0

    def _write(self, day: int, shard: Shard, mode: str) -> None:
        content = encoded(shard)
        with self._file(day).open(mode) as file:
            file.write(struct.pack("<q", len(content)))
            file.write(content)
        self._days.add(day)

    def _file(self, day: int) -> Path:
        return Path(self._folder.name) / f"{day}.shards"

    def days(self) -> Sequence[int]:
        """The days that have lines."""
        return sorted(self._days | self._pending.keys())

    def day(self, day: int) -> Shard:
        """All lines of one day. What was written in parts is written as one for the next time."""
        parts = list(self._written(day))
        pending = self._pending.pop(day, [])
        if len(parts) == 1 and not pending:
            return parts[0]
        shard = unite([*parts, *pending])
        self._write(day, shard, "wb")
        return shard

    def _written(self, day: int) -> Iterator[Shard]:
        if day not in self._days:
            return
        content = memoryview(self._file(day).read_bytes())
        at = 0
        while at < len(content):
            (size,) = struct.unpack_from("<q", content, at)
            yield decoded(content[at + 8 : at + 8 + size])
            at += 8 + size

    def overall(self) -> Shard:
        """Every service and masked line of all days."""
        return in_all(self.day(day) for day in self.days())


def in_all(shards: Iterator[Shard]) -> Shard:
    """`shards` united as if all were of day 0, without counts."""
    total, more, rows = nothing(), [], 0
    for shard in shards:
        days = pa.array(np.zeros(shard.lines.num_rows, np.int32))
        more.append(Shard(shard.lines.set_column(0, "day", days), COUNTS.empty_table(), shard.samples))
        rows += shard.lines.num_rows
        if rows > max(_ROWS, total.lines.num_rows):
            total, more, rows = unite([total, *more]), [], 0
    return unite([total, *more])
