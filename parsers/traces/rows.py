"""Rows of spans to Arrow in batches, repeats left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from parsers.tables import SPANS, empty

Key = tuple[str | None, str]

BATCH = 65_536


@dataclass(frozen=True)
class ParsedSpans:
    """A SPANS table and what became of the objects that were read.

    `spans == table.num_rows + unparsed + duplicates`: `unparsed` are objects that are no readable span and are left out,
    `duplicates` repeat the ids, kind and start of an earlier span.
    """

    table: pa.Table
    spans: int
    unparsed: int
    duplicates: int


def drop_repeats(table: pa.Table) -> tuple[pa.Table, int]:
    """SPANS without the spans that repeat the ids, kind and start of an earlier one, and how many those were."""
    if pc.count_distinct(table.column("span.id"), mode="all").as_py() == table.num_rows:
        return table, 0
    keys = ["trace.id", "span.id", "kind", "@timestamp"]
    numbered = table.select(keys).append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by(keys).aggregate([("row", "min")]).column("row_min").combine_chunks()
    repeats = table.num_rows - len(first)
    return (table.take(first.sort()), repeats) if repeats else (table, 0)


# What a row is: the columns of SPANS up to "attributes", then `_index` and `_id`; the time is in microseconds.
# A row of None stands for an object that is no span. The second value is the span's object or bytes.
Row = tuple[Any, ...]
Rows = Iterable[tuple[Row | None, Any]]


def collect(rows: Rows, source: str, file: str | None) -> ParsedSpans:
    """Rows to Arrow in batches, repeats left out."""
    batches: list[pa.RecordBatch] = []
    pending: list[Row] = []
    unparsed = total = 0
    for row, _ in rows:
        total += 1
        if row is None:
            unparsed += 1
            continue
        pending.append(row)
        if len(pending) >= BATCH:
            batches.append(_batch(pending, source, file))
            pending = []
    if pending:
        batches.append(_batch(pending, source, file))
    if not batches:
        return ParsedSpans(empty(SPANS), total, unparsed, 0)
    table, duplicates = drop_repeats(pa.Table.from_batches(batches, schema=SPANS))
    return ParsedSpans(table, total, unparsed, duplicates)


def _batch(rows: list[Row], source: str, file: str | None) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    length = len(rows)
    arrays = [_array(values, field.type) for values, field in zip(columns[:-2], SPANS, strict=False)]
    where = [
        pa.repeat(source, length),
        _array(columns[-2], pa.string()),
        _array(columns[-1], pa.string()),
        pa.nulls(length, pa.string()) if file is None else pa.repeat(file, length),
        pa.nulls(length, pa.int64()),
        pa.nulls(length, pa.int64()),
    ]
    return pa.RecordBatch.from_arrays([*arrays, *where], schema=SPANS)


def _array(values: tuple[Any, ...], kind: Any) -> pa.Array:
    """One column. A lone surrogate, which JSON can spell and UTF-8 cannot, becomes a question mark."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        clean = [v.encode(errors="replace").decode() if isinstance(v, str) else v for v in values]
        return pa.array(clean, kind)
