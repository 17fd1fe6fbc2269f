"""A file of logs in stretches, so that reading can stop within it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from parsers.documents.parsing import Parsed, parse_documents, parse_parquet_table
from pipeline.sources.bundle.layout import DOCUMENTS, suffix_of
from pipeline.sources.bundle.tally import Tally

# Between two stretches of a file of logs of this many bytes, or rows of Parquet, it is seen whether there is time for more.
_STRETCH = 2 << 20
_STRETCH_ROWS = 50_000


def stretches(
    source: str, name: str, data: bytes, tally: Tally, *, zone: tzinfo | None, around: datetime | None
) -> Iterator[tuple[int, int, Parsed | None]]:
    """A file of logs in stretches: where each begins, where the file ends, and its rows.

    None instead of rows says that this stretch and what is behind it were left.
    """
    suffix = suffix_of(name)
    if suffix == ".parquet":
        table, problem = parquet_table(data, name)
        if problem:
            tally.problems.append(problem)
        for start in range(0, table.num_rows, _STRETCH_ROWS):
            if tally.must_stop():
                yield start, table.num_rows, None
                return
            rows = table.slice(start, _STRETCH_ROWS)
            logs = parse_parquet_table(rows, source=source, file=name, zone=zone, around=around)
            yield start, table.num_rows, logs
        return
    parse: Callable[..., Parsed]
    if suffix in DOCUMENTS:
        # Documents are Elasticsearch's, which reads a time without offset as UTC.
        parse, ends, zone = parse_documents, _line_breaks(data), None
    else:
        from parsers.plain import parse_text, record_breaks  # only bundles that hold such a file need it

        parse, ends = parse_text, record_breaks(data, _STRETCH)
    start = 0
    for end in ends:
        if tally.must_stop():
            yield start, len(data), None
            return
        part = data if end - start == len(data) else data[start:end]
        yield start, len(data), parse(part, source=source, file=name, zone=zone, around=around)
        start = end


def parquet_table(data: bytes, name: str) -> tuple[Any, str | None]:
    """A Parquet file's table; an empty one, and what is wrong, where it is none."""
    import pyarrow.parquet as pq  # only bundles that hold such a file need it

    try:
        return pq.read_table(pa.BufferReader(data)), None
    except (pa.ArrowException, OSError, ValueError) as error:
        return pa.table({}), f"{name} is not a readable Parquet file ({str(error).splitlines()[0][:100]})"


def _line_breaks(data: bytes) -> Iterator[int]:
    """Where stretches of about `_STRETCH` bytes end, each behind a line break or at the end of `data`."""
    end = 0
    while end < len(data):
        place = data.find(b"\n", end + _STRETCH) + 1 if end + _STRETCH < len(data) else 0
        end = place or len(data)
        yield end


def moved_by(table: Any, by: int) -> Any:
    """LOGS of a stretch, its offsets counted from the start of the file."""
    if not by:
        return table
    place = table.schema.get_field_index("log.offset")
    moved = pc.add(table.column("log.offset"), pa.scalar(by, pa.int64()))
    return table.set_column(place, table.schema.field(place), moved)
