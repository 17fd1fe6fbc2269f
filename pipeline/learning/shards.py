"""Shards: what is left of log lines once they are reduced where they are read, and how shards become one.

A shard knows, for each day, service and distinct masked line, how many lines there were, when the first and the last, how many
in each five minutes, and a sample of what stood in the place of the wildcards. Uniting shards adds counts, takes the
earlier first and the later last, and keeps the sample of the smallest rank: all of it commutative and associative, so neither
the order of shards nor how the lines were cut into them has a say.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.filling import one_array
from pipeline.errors import UsageError

SLOT_SECONDS = 300
SLOT_US = SLOT_SECONDS * 1_000_000
DAY_SLOTS = 86_400 // SLOT_SECONDS

# Bytes of text that one column can hold: Arrow counts them in 32 bits.
MOST_TEXT = (1 << 31) - 1

# `day` counts from 1970-01-01, `first` and `last` are microseconds since then, both UTC.
LINES = pa.schema(
    [
        pa.field("day", pa.int32()),
        pa.field("service", pa.string()),
        pa.field("line", pa.string()),
        pa.field("lines", pa.int64()),
        pa.field("first", pa.int64()),
        pa.field("last", pa.int64()),
    ]
)
# `row` is the row of LINES, `slot` the five minutes of its day.
COUNTS = pa.schema([pa.field("row", pa.int32()), pa.field("slot", pa.int16()), pa.field("lines", pa.int64())])
# A body whose digits are 0; of those of one service's line the one of the smallest rank is kept.
SAMPLES = pa.schema(
    [
        pa.field("row", pa.int32()),
        pa.field("rank", pa.int64()),
        pa.field("text", pa.string()),
    ]
)


@dataclass(frozen=True)
class Shard:
    """Tables LINES (sorted by day, service and line, each once), COUNTS and SAMPLES (sorted, each once)."""

    lines: pa.Table
    counts: pa.Table
    samples: pa.Table

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.lines.nbytes + self.counts.nbytes + self.samples.nbytes)


def nothing() -> Shard:
    """The shard of no lines."""
    return Shard(LINES.empty_table(), COUNTS.empty_table(), SAMPLES.empty_table())


def unite(shards: Sequence[Shard]) -> Shard:
    """The shard of all lines of `shards`. Raises `UsageError` where they hold more text than one shard can."""
    if not shards:
        return nothing()
    lines = pa.concat_tables([shard.lines for shard in shards])
    check_text(lines.column("line"))
    check_text(
        pa.chunked_array([chunk for shard in shards for chunk in shard.samples.column("text").chunks], pa.string())
    )
    order, starts, row_of = numbered(lines, ["day", "service", "line"])
    starting = np.cumsum([0, *(shard.lines.num_rows for shard in shards[:-1])])
    taken = lines.take(pa.array(order[starts])) if len(starts) else lines
    sums, firsts, lasts = (values_of(lines, name)[order] for name in ("lines", "first", "last"))
    united = pa.table(
        [
            taken.column("day"),
            taken.column("service"),
            taken.column("line"),
            over(np.add, sums, starts),
            over(np.minimum, firsts, starts),
            over(np.maximum, lasts, starts),
        ],
        schema=LINES,
    )

    def moved(name: str) -> Any:
        tables = [getattr(shard, name) for shard in shards]
        rows = [values_of(table, "row") + start for table, start in zip(tables, starting.tolist(), strict=True)]
        table = pa.concat_tables(tables)
        return table.set_column(0, "row", pa.array(row_of[np.concatenate(rows)], pa.int32()))

    return Shard(united.combine_chunks(), _counts(moved("counts")), least_samples(moved("samples")))


def check_text(*columns: Any) -> None:
    """Raises `UsageError` where the texts of `columns`, side by side, are more than one column can hold."""
    size = sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in columns)
    if size > MOST_TEXT:
        raise too_much_text(f"{len(columns[0]):,} masked lines hold {size / 2**20:,.0f} MiB of text")


def too_much_text(what: str) -> UsageError:
    """The error that says what to do where there is more text than Arrow can hold in a column."""
    return UsageError(
        f"{what}, and {MOST_TEXT >> 20:,} MiB is the most that can be learnt at once; learn some of the services at a time, each "
        "group into a catalogue of its own, and do not merge these"
    )


def by_day(shard: Shard) -> Iterator[tuple[int, Shard]]:
    """The shard of each day, in order."""
    days = values_of(shard.lines, "day")
    if not len(days):
        return
    edges = np.flatnonzero(np.diff(days, prepend=days[:1] - 1))
    count_rows, sample_rows = values_of(shard.counts, "row"), values_of(shard.samples, "row")
    for start, end in zip(edges.tolist(), [*edges[1:].tolist(), len(days)], strict=True):
        counts = _between(shard.counts, count_rows, start, end)
        samples = _between(shard.samples, sample_rows, start, end)
        yield int(days[start]), Shard(shard.lines.slice(start, end - start), counts, samples)


def encoded(shard: Shard) -> bytes:
    """`shard` as bytes: three Arrow IPC streams, each behind its length."""
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    for table in (shard.lines, shard.counts, shard.samples):
        part = io.BytesIO()
        with pa.ipc.new_stream(part, table.schema, options=options) as writer:
            writer.write_table(table)
        sink.write(struct.pack("<q", part.tell()))
        sink.write(part.getvalue())
    return sink.getvalue()


def decoded(content: bytes | memoryview) -> Shard:
    """What `encoded` was given."""
    view, at, tables = memoryview(content), 0, []
    for _ in range(3):
        (size,) = struct.unpack_from("<q", view, at)
        at += 8
        tables.append(pa.ipc.open_stream(pa.py_buffer(view[at : at + size])).read_all())
        at += size
    return Shard(*tables)


# ---- numbers


def values_of(table: pa.Table, name: str) -> Any:
    """A column without nulls as numpy, times as microseconds."""
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.to_numpy() if column.num_chunks != 1 else column.chunk(0).to_numpy(zero_copy_only=False)


def ranks_of(column: Any) -> npt.NDArray[np.int64]:
    """Numbers that sort as the strings of `column` do, by their bytes."""
    dictionary = pc.dictionary_encode(one_array(column))
    rank = np.empty(len(dictionary.dictionary), np.int64)
    rank[pc.sort_indices(dictionary.dictionary).to_numpy()] = np.arange(len(rank))
    return np.asarray(rank[dictionary.indices.to_numpy(zero_copy_only=False)])


def numbered(
    table: pa.Table, keys: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The order of the rows by `keys`, where in it each distinct key begins, and the number of each row's key."""
    columns = [
        ranks_of(table.column(name)) if pa.types.is_string(table.schema.field(name).type) else values_of(table, name)
        for name in keys
    ]
    order = np.lexsort(columns[::-1]) if table.num_rows else np.zeros(0, np.int64)
    new = np.zeros(len(order), bool)
    new[:1] = True
    for column in columns:
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    return order, np.flatnonzero(new), number


def over(function: Any, values: Any, starts: npt.NDArray[np.int64]) -> Any:
    """`function` over the stretches of `values` that begin at `starts`."""
    return function.reduceat(values, starts) if len(starts) else values[:0]


def _counts(table: pa.Table) -> pa.Table:
    order, starts, _ = numbered(table, ["row", "slot"])
    kept = table.take(pa.array(order[starts]))
    lines = over(np.add, values_of(table, "lines")[order], starts)
    return kept.set_column(2, "lines", pa.array(lines, pa.int64())).cast(COUNTS).combine_chunks()


def least_samples(table: pa.Table) -> pa.Table:
    """SAMPLES with the one of the smallest rank, or then of the smallest text, for each row."""
    order, _, _ = numbered(table, ["row", "rank", "text"])
    table = table.take(pa.array(order))
    _, starts, _ = numbered(table, ["row"])
    return table.take(pa.array(starts)).cast(SAMPLES).combine_chunks()


def _between(table: pa.Table, rows: Any, start: int, end: int) -> pa.Table:
    low, high = np.searchsorted(rows, [start, end]).tolist()
    part = table.slice(low, high - low)
    return part.set_column(0, "row", pa.array(rows[low:high] - start, pa.int32()))
