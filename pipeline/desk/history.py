"""The desk's tickets, closed and open, out of a file: one row a ticket.

    id, created_at                       needed; a time without offset is UTC, a day its beginning
    title or description                 needed
    closed_at                            empty while the ticket is open
    category, queue, handler             what it was closed as, where and by whom; category and queue stand for each other
    cause, solution                      how it was solved, in words
    reopened                             true where it came back
    fault_class, service, channel        where known; else out of the ticket's stored snapshot
    customer, product, version           whose it was, and what it was about; `system` where tickets of several systems are here

Parquet, CSV and JSON lines are read; `columns` of the settings maps other names to these.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError

TIME = pa.timestamp("us", tz="UTC")
TEXTS = (
    "id", "title", "description", "category", "queue", "handler", "cause", "solution", "fault_class", "service", "channel",
    "customer", "product", "version", "system",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in TEXTS),
        ("created_at", TIME),
        ("closed_at", TIME),
        ("reopened", pa.bool_()),
    ]
)
_READERS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".ndjson": "json"}


def read_history(path: Path, columns: Mapping[str, str] | None = None) -> pa.Table:
    """The tickets in `path`, as `SCHEMA`, closed ones first in order of closing, then open ones; equal times by id.

    Raises `UsageError` where the file cannot be read, lacks a needed column, names a ticket twice, or has one that was
    closed before it was created.
    """
    table = _read(path)
    names = {name: (columns or {}).get(name, name) for name in SCHEMA.names}
    if unknown := sorted(set(columns or {}) - set(SCHEMA.names)):
        raise UsageError(f"desk.columns: {', '.join(unknown)}: no such column; there are {', '.join(SCHEMA.names)}")
    for name, own in names.items():
        if own not in table.column_names and (own != name or name in {"id", "created_at"}):
            raise UsageError(f"{path}: has no column {own!r} for {name}; desk.columns maps the file's names to ours")
    if not {names["title"], names["description"]} & set(table.column_names):
        raise UsageError(f"{path}: has neither title nor description; desk.columns maps the file's names to ours")
    rows = pa.table({name: _column(table, own, name, path) for name, own in names.items()}, schema=SCHEMA)
    both = pc.coalesce(rows["category"], rows["queue"]), pc.coalesce(rows["queue"], rows["category"])
    for name, column in zip(("category", "queue"), both, strict=True):
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    _check(rows, path)
    keys = [("closed_at", "ascending", "at_end"), ("id", "ascending", "at_end")]
    order = pc.sort_indices(rows, sort_keys=keys)
    return rows.take(order).combine_chunks()


def customer_key(customer_id: str) -> str:
    """What an index holds in a customer's place: the same for the same id, and telling nothing of it."""
    return hashlib.sha256(customer_id.encode()).hexdigest()[:32]


def text_of(title: str | None, description: str | None) -> str:
    """What of a ticket is read: its title and its description."""
    return "\n".join(part for part in (title, description) if part)


def texts_of(rows: pa.Table) -> list[str]:
    """`text_of` each row."""
    return [text_of(*pair) for pair in zip(rows["title"].to_pylist(), rows["description"].to_pylist(), strict=True)]


def closed_before(rows: pa.Table, at: datetime) -> int:
    """How many rows, the first ones, were closed before `at`."""
    before: int = pc.sum(pc.less(rows["closed_at"], pa.scalar(at, TIME))).as_py() or 0
    return before


def _read(path: Path) -> pa.Table:
    kind = _READERS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: a history ends in .parquet, .csv, .jsonl or .ndjson")
    try:
        if kind == "parquet":
            import pyarrow.parquet as pq

            return pq.read_table(path)
        if kind == "csv":
            from pyarrow import csv

            # Spreadsheets in Chinese save CSV in GB 18030.
            written = csv.ReadOptions(encoding="utf-8" if _is_utf8(path) else "gb18030")
            # Ids such as 00123 stay as they are written.
            header = csv.open_csv(path, written).schema.names
            kept = csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True)
            return csv.read_csv(path, written, csv.ParseOptions(newlines_in_values=True), kept)
        from pyarrow import json

        return json.read_json(path, parse_options=json.ParseOptions(newlines_in_values=False))
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read as a history: {error}") from error


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                decoder.decode(part)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _column(table: pa.Table, own: str, name: str, path: Path) -> pa.ChunkedArray | pa.Array:
    wanted = SCHEMA.field(name).type
    if own not in table.column_names:
        return pa.nulls(table.num_rows, wanted)
    column = table[own]
    try:
        if wanted == TIME:
            return _times(column, f"{path}: {own}")
        if wanted == pa.bool_():
            text = pc.utf8_lower(pc.cast(column, pa.string()))
            return pc.fill_null(pc.is_in(text, pa.array(["true", "1", "yes", "t"])), False)
        text = pc.cast(column, pa.string())
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    except pa.ArrowException as error:
        raise UsageError(f"{path}: {own}: {error}") from error


# What people and spreadsheets write: a day, or a day and a time, with or without an offset.
_TIME = r"^(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ]+(\d{1,2}):(\d{2})(:\d{2}(?:[.,]\d+)?)?)?\s*(Z|[+-]\d\d:?\d\d)?$"


def _times(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray | pa.Array:
    """The moments of a column; `where` is what an error names. Raises `UsageError`."""
    if pa.types.is_timestamp(column.type):
        return (
            pc.cast(column, TIME) if column.type.tz else pc.assume_timezone(pc.cast(column, pa.timestamp("us")), "UTC")
        )
    text = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    # Arrow reads all values of an array with an offset, or all without: so those without get one.
    aware = pc.match_substring_regex(text, r"(Z|[+-]\d\d:?\d\d)$")
    try:
        return pc.cast(pc.if_else(aware, text, pc.binary_join_element_wise(text, "Z", "")), TIME)
    except pa.ArrowInvalid:
        return _moments(text.to_pylist(), where)


def _moments(texts: list[str | None], where: str) -> pa.Array:
    """The same of a column that is not all ISO 8601 to the second."""
    read = [None if one is None else _moment(one) for one in texts]
    wrong = next((one for one, at in zip(texts, read, strict=True) if one is not None and at is None), None)
    if wrong is not None:
        raise UsageError(
            f"{where}: {wrong!r} is no time; write 2026-11-01, 2026-11-01 09:30 or 2026-11-01T09:30:00+08:00"
        )
    return pa.array(read, TIME)


def _moment(text: str) -> datetime | None:
    """A moment of a history, in UTC where it names no offset; None where it is none."""
    if (found := re.match(_TIME, text)) is None:
        return None
    year, month, day, hour, minute, second, offset = found.groups()
    clock = f"{int(hour or 0):02}:{minute or '00'}{(second or ':00').replace(',', '.')}"
    try:
        return datetime.fromisoformat(f"{year}-{int(month):02}-{int(day):02}T{clock}{offset or 'Z'}")
    except ValueError:
        return None


def _check(rows: pa.Table, path: Path) -> None:
    for name in ("id", "created_at"):
        if rows[name].null_count:
            raise UsageError(f"{path}: {rows[name].null_count:,} tickets have no {name}")
    counts = rows["id"].value_counts()
    twice = [one["values"].as_py() for one in counts if one["counts"].as_py() > 1][:3]
    if twice:
        raise UsageError(f"{path}: ticket {', '.join(twice)} stands there more than once; keep its newest row")
    early = rows.filter(pc.less(rows["closed_at"], rows["created_at"]))
    if early.num_rows:
        raise UsageError(
            f"{path}: {early.num_rows:,} tickets were closed before they were created, first {early['id'][0]}"
        )
