"""Documents as the LOGS table, and what became of their lines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.documents.logs import EXTRA, log_columns
from parsers.documents.objects import collect_leaves, read_objects
from parsers.documents.reader import Envelope, Reader, spellings
from parsers.documents.slabs import slabs_of
from parsers.filling import NOTHING, one_array
from parsers.hits import META, Values, Wanted, is_utf8
from parsers.lines.enrichment import enrich
from parsers.lines.errors import with_extras
from parsers.mapping import AUTO, FieldMapping
from parsers.tables import LOGS, conform, empty


@dataclass(frozen=True)
class Parsed:
    """A LOGS table and what became of the lines: `lines == table.num_rows + duplicates`, blank lines not counted.

    `unparsed` rows are in the table with the whole line as their message.
    """

    table: pa.Table
    lines: int
    unparsed: int
    duplicates: int


def parse_documents(
    ndjson: bytes | pa.Buffer,
    *,
    source: str,
    mapping: FieldMapping = AUTO,
    envelope: Envelope = "flat",
    file: str | None = None,
    zone: tzinfo | None = None,
    around: datetime | None = None,
) -> Parsed:
    """The documents of `ndjson` as a LOGS table, in their order.

    `envelope` "flat" is a line of a bundle (`_id`, `_index` and the fields side by side), "hit" an Elasticsearch hit
    with its fields below `_source`; a hit is known as one in either case. `file` names the file that the bytes come from:
    a row without `_id` is cited by it, with its offset and length in bytes. `zone` applies to times that carry none
    (UTC unless given); `around` is a moment near which times without a year or date lie. Rows that repeat an
    (`_index`, `_id`) pair are left out and counted. Never raises on bad data: see `Parsed.unparsed`.
    """
    buffer = ndjson if isinstance(ndjson, pa.Buffer) else pa.py_buffer(ndjson)
    reader = Reader.of(mapping, envelope)
    parts = []
    lines = unparsed = 0
    for starts, ends in slabs_of(buffer):
        table, bad = _read_slab(buffer, starts, ends, reader, zone, around)
        lines += len(starts)
        unparsed += bad
        parts.append(_locate(table, starts, ends, source, file))
    if not parts:
        return Parsed(empty(LOGS), 0, 0, 0)
    return _finish(pa.concat_tables(parts), lines, unparsed, zone, around)


def parse_each_line(
    ndjson: bytes, *, zone: tzinfo | None = None, around: datetime | None = None
) -> tuple[Any, Any, Any]:
    """A row of LOGS for each line that is not blank, repeats too, and where in `ndjson` each line begins and ends.

    For who needs the lines themselves; other arguments are those of `parse_documents`.
    """
    buffer = pa.py_buffer(ndjson)
    reader = Reader.of(AUTO, "flat")
    tables, starts, ends = [], [], []
    for first, last in slabs_of(buffer):
        table, _ = _read_slab(buffer, first, last, reader, zone, around)
        tables.append(_locate(table, first, last, "", None))
        starts.append(first)
        ends.append(last)
    if not tables:
        none = np.empty(0, dtype=np.int64)
        return empty(LOGS), none, none
    rows = enrich(conform(pa.concat_tables(tables), LOGS), zone=zone, around=around)
    return rows, np.concatenate(starts), np.concatenate(ends)


@lru_cache(maxsize=16)
def wanted_of(mapping: FieldMapping) -> Wanted:
    """What `parse_values` reads of a hit."""
    reader = Reader.of(mapping, "hit")
    return Wanted({path: tuple(spellings(path)) for path in sorted(reader.wanted)}, reader.shown)


def parse_values(
    values: Values,
    *,
    source: str,
    mapping: FieldMapping = AUTO,
    zone: tzinfo | None = None,
    around: datetime | None = None,
) -> Parsed:
    """What `parse_documents` makes of the hits whose values these are, as `wanted_of(mapping)` reads them."""
    if not values.rows:
        return Parsed(empty(LOGS), 0, 0, 0)
    table = log_columns(dict(values.columns), values.rows, mapping, zone, around)
    # Each hit has an `_id`, and so no place in a file.
    nowhere = np.zeros(values.rows, dtype=np.int64)
    return _finish(_locate(table, nowhere, nowhere, source, None), values.rows, 0, zone, around)


def parse_parquet_table(
    table: pa.Table,
    *,
    source: str,
    mapping: FieldMapping = AUTO,
    file: str | None = None,
    zone: tzinfo | None = None,
    around: datetime | None = None,
) -> Parsed:
    """`table`, whose columns are fields of documents by dotted name or as structs, as a LOGS table.

    A row without `_id` is cited by `file` with its row number as offset and a length of zero. Other arguments and the
    counts are those of `parse_documents`.
    """
    if not table.num_rows:
        return Parsed(empty(LOGS), 0, 0, 0)
    wanted = {*(path for name in FieldMapping.__struct_fields__ for path in getattr(mapping, name)), *META}
    leaves: dict[str, Any] = {}
    for name in table.column_names:
        collect_leaves(name, one_array(table.column(name)), wanted, leaves)
    parsed = log_columns(leaves, table.num_rows, mapping, zone, around)
    numbers = np.arange(table.num_rows, dtype=np.int64)
    return _finish(_locate(parsed, numbers, numbers, source, file), table.num_rows, 0, zone, around)


def _finish(table: Any, lines: int, unparsed: int, zone: tzinfo | None, around: datetime | None) -> Parsed:
    """Duplicates out, the message read, extras added."""
    before = table.num_rows
    table = _without_duplicates(table)
    extras = table.column(EXTRA)
    enriched = with_extras(enrich(conform(table, LOGS), zone=zone, around=around), extras)
    return Parsed(enriched, lines, unparsed, before - table.num_rows)


def _locate(table: Any, starts: Any, ends: Any, source: str, file: str | None) -> Any:
    """`table` with its source, and with file, offset and length where a row has no `_id`."""
    size = table.num_rows
    nameless = pc.is_null(table.column("_id"))
    none = pa.scalar(None, pa.int64())
    return (
        table.append_column("_source", pa.repeat(pa.scalar(source, pa.string()), size))
        .append_column("log.file.path", pc.if_else(nameless, pa.scalar(file, pa.string()), NOTHING))
        .append_column("log.offset", pc.if_else(nameless, pa.array(starts, pa.int64()), none))
        .append_column("log.length", pc.if_else(nameless, pa.array(ends - starts, pa.int64()), none))
    )


def _without_duplicates(table: Any) -> Any:
    """`table` with the first row of each (`_index`, `_id`); rows without `_id` stay."""
    ids = table.column("_id")
    if ids.null_count == len(ids):
        return table
    key = pc.binary_join_element_wise(pc.fill_null(table.column("_index"), ""), ids, "\x00")
    encoded = one_array(pc.dictionary_encode(one_array(key)))
    if len(encoded.dictionary) == len(encoded):
        return table
    codes = encoded.indices.fill_null(-1).to_numpy()
    _, first = np.unique(codes, return_index=True)
    if len(first) == len(codes):
        return table
    keep = codes < 0
    keep[first] = True
    return table if keep.all() else table.filter(pa.array(keep))


def _read_slab(
    buffer: Any, starts: Any, ends: Any, reader: Reader, zone: tzinfo | None, around: datetime | None
) -> tuple[Any, int]:
    """The lines as a table (columns of LOGS that documents have, and `EXTRA`), and how many could not be read."""
    data = np.frombuffer(buffer, dtype=np.uint8)
    fit = (data[starts] == ord("{")) & (data[ends - 1] == ord("}"))
    if not is_utf8(buffer.slice(int(starts[0]), int(ends[-1] - starts[0]))):
        for row in np.flatnonzero(fit):
            fit[row] = is_utf8(buffer.slice(int(starts[row]), int(ends[row] - starts[row])))
    rows = np.flatnonzero(fit)
    tables, order = [], []
    if len(rows):
        for part, leaves in read_objects(buffer, starts, ends, rows, reader):
            tables.append(log_columns(leaves, len(part), reader.mapping, zone, around))
            order.append(part)
    read = np.concatenate(order) if order else np.zeros(0, dtype=np.int64)
    raw = np.setdiff1d(np.arange(len(starts)), read)
    if len(raw):
        texts = [bytes(data[starts[row] : ends[row]]).decode(errors="replace") for row in raw]
        tables.append(log_columns({reader.mapping.message[0]: pa.array(texts, pa.string())}, len(raw), reader.mapping))
        order.append(raw)
    table = pa.concat_tables(tables)
    if len(tables) > 1:
        table = table.take(pa.array(np.argsort(np.concatenate(order))))
    return table, len(raw)
