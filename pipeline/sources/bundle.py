"""The bundle: a folder or `.zip` that holds an incident, and the export of any other source into one.

    ticket.json                      the ticket
    logs/*.ndjson[.gz]               Elasticsearch hits, `_id` and `_index` beside the fields   (also *.parquet, *.log)
    traces/*.json[.gz]               OTLP/JSON, Jaeger's JSON, or span documents one a line
    orders.csv[.gz]                  the history of orders
    manifest.json                    sha256 of each file, redaction report, tool version

Any of them may be absent. A bundle was cut to its incident when it was made, so that a question is always answered with
everything in it. What is damaged is read as far as it goes, and the ledger says how far that was.
"""

from __future__ import annotations

import difflib
import io
import os
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from parsers.documents import Parsed, parse_documents, parse_parquet_table
from parsers.order_events import canonical_order_event, parse_orders_csv, write_orders_csv
from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from parsers.traces.files import find_spans, parse_trace_file
from parsers.traces.otlp import write_otlp
from parsers.traces.rows import drop_repeats
from pipeline.errors import SourceBroken, SourceUnavailable, TicketNotFound, UsageError
from pipeline.values import Ask, Fetched, Material, Pointer, What
from snapshots.model import Coverage, Status, Window, canonical_json, sha256_hex

TICKET = "ticket.json"
MANIFEST = "manifest.json"
ORDERS = ("orders.csv", "orders.csv.gz")
# Uncompressed bytes that one question reads: beyond the largest honest bundle, far below what a zip bomb unpacks to.
MAX_BYTES = 2 << 30
# Bytes of rows in memory that one answer holds; a bundle was cut to its incident, so all of its rows are kept below it.
MAX_TABLE_BYTES = 4 << 30
_TICKET_BYTES = 16 << 20
_CACHED_BYTES = 64 << 20
_PIECE = 1 << 20
# Between two stretches of a file of this many bytes, or rows of Parquet, it is seen whether there is time for more.
_STRETCH = 2 << 20
_STRETCH_ROWS = 50_000
_LISTED = 5
_SEARCHED_TICKETS = 10_000

_DOCUMENTS = (".ndjson", ".jsonl", ".json")
_PLAIN = (".log", ".txt", ".out", ".err")
_TRACES = (".json", ".ndjson", ".jsonl")
_FOLDERS: dict[What, str] = {"logs": "logs/", "spans": "traces/"}
_SCHEMAS: dict[What, pa.Schema] = {"logs": LOGS, "spans": SPANS, "order_events": ORDER_EVENTS}
_TIMES: dict[What, str] = {"logs": "@timestamp", "spans": "@timestamp", "order_events": "occurred_at"}


# Reading


@dataclass(frozen=True)
class _File:
    """The uncompressed bytes of one file, and in a few words what is wrong with them."""

    data: bytes
    problem: str | None = None
    # The time was up before its end.
    late: bool = False


class _Clock:
    """Whether there is time for one more step before nobody waits for the answer any longer."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._begun = self._since = time.monotonic()
        self._longest = 0.0

    def lap(self) -> None:
        """A step is done; the next one is taken to last as long as the longest so far."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._since)
        self._since = now

    def out(self) -> bool:
        """Whether to stop. Something is kept back for making one table of it all."""
        now = time.monotonic()
        return now + 1.5 * self._longest + 0.1 * (now - self._begun) >= self._deadline


@dataclass
class _Tally:
    """What the files of one question came to."""

    clock: _Clock
    most_bytes: int = MAX_TABLE_BYTES
    tables: list[Any] = field(default_factory=list)
    bytes: int = 0
    # Whether something was left for want of time or of memory, and of which files.
    late: bool = False
    full: bool = False
    unread: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    fetched: int = 0
    unparsed: int = 0
    duplicates: int = 0
    left_out: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, table: Any) -> None:
        """The rows of one more stretch."""
        self.tables.append(table)
        self.bytes += table.nbytes
        self.clock.lap()

    def must_stop(self) -> bool:
        """Whether there is no time or no memory for more."""
        self.full = self.full or self.bytes > self.most_bytes
        self.late = self.late or self.clock.out()
        return self.full or self.late


class BundleSource:
    """A bundle as a source. Holds whichever of logs, spans and order events the bundle has.

    `zone` applies to times that carry no offset (UTC without one). Files are opened for each question, so that threads
    may ask at once.
    """

    kind = "bundle"
    holds: frozenset[What] = frozenset(("logs", "spans", "order_events"))

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        zone: tzinfo | None = None,
        max_bytes: int = MAX_BYTES,
        max_table_bytes: int = MAX_TABLE_BYTES,
    ) -> None:
        self.name = name
        self.path = Path(path)
        self._zone = zone
        self._max_bytes = max_bytes
        self._max_table_bytes = max_table_bytes
        self._cache: dict[str, _File] = {}
        self._cached = 0

    def fetch(self, ask: Ask) -> Fetched:
        """Every row that the bundle has of what is asked, whatever the window and `ask.limit`.

        The ledger's window is that of the rows. What cannot be read before `ask.deadline`, or goes beyond the bytes of
        rows that are kept in memory, is left; the answer is `partial` then and names it, and `complete` is false where
        more time would bring more. Raises `SourceUnavailable` where the bundle is gone and `SourceBroken` where it
        cannot be opened at all; a damaged file in it makes the answer `partial`.
        """
        tally = _Tally(_Clock(ask.deadline), self._max_table_bytes)
        with _open(self.path) as archive:
            files, others = self._files(archive, ask.what)
            budget = self._max_bytes
            for place, name in enumerate(files):
                if tally.must_stop():
                    tally.unread.extend(files[place:])
                    break
                file = self._read(archive, name, budget, tally.clock.out)
                budget -= len(file.data)
                if file.late:
                    tally.late = True
                    tally.unread.extend(files[place:])
                    break
                tally.clock.lap()
                if file.problem:
                    tally.problems.append(file.problem)
                self._parse(ask.what, name, file.data, archive, tally)
            skipped = list(archive.skipped)
        return self._answer(ask.what, files, others, skipped, tally)

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical bytes of each record, or None where the bundle does not hold it.

        A log document is its fields without `_id` and `_index`, a line of a plain file its bytes, a span its object, an
        order event its typed columns. Raises as `fetch`.
        """
        asked = list(dict.fromkeys(pointers))
        answer: dict[Pointer, bytes | None] = dict.fromkeys(asked)
        with _open(self.path) as archive:
            self._resolve_logs(archive, [p for p in asked if p.kind == "log"], answer)
            self._resolve_spans(archive, [p for p in asked if p.kind == "span"], answer)
            self._resolve_events(archive, [p for p in asked if p.kind == "order_event"], answer)
        return answer

    def probe(self) -> list[str]:
        """What the bundle holds: its ticket, and files and bytes of each kind. Raises as `fetch`."""
        lines = []
        with _open(self.path) as archive:
            lines.append(f"bundle {self.path.name}: {'zip' if isinstance(archive, _Zip) else 'folder'}")
            if TICKET in archive.names:
                lines.append(f"ticket {_ticket(archive).get('id')}")
            else:
                lines.append(f"no {TICKET}")
            for what in ("logs", "spans", "order_events"):
                files, _ = self._files(archive, what)
                size = sum(archive.size(name) for name in files)
                lines.append(f"{what}: {_count(len(files), 'file')}, {size:,} bytes as stored")
        return lines

    def close(self) -> None:
        """Forgets what was read."""
        self._cache.clear()
        self._cached = 0

    def _files(self, archive: _Archive, what: What) -> tuple[list[str], list[str]]:
        """The files that answer a question, sorted, and those beside them that nothing here reads."""
        if what == "order_events":
            return [name for name in archive.names if name.lower() in ORDERS][:1], []
        endings = _TRACES if what == "spans" else (*_DOCUMENTS, *_PLAIN, ".parquet")
        inside = [name for name in archive.names if name.startswith(_FOLDERS[what])]
        files = [name for name in inside if _suffix(name) in endings]
        return files, [name for name in inside if name not in files]

    def _read(
        self, archive: _Archive, name: str, limit: int | None = None, out: Callable[[], bool] | None = None
    ) -> _File:
        """A file's bytes, from memory where they are small and were read before."""
        known = self._cache.get(name)
        if known is not None:
            return known
        most = self._max_bytes if limit is None else max(limit, 0)
        file = archive.read(name, most, out)
        whole = not file.late and len(file.data) < most
        if whole and self._cached + len(file.data) <= _CACHED_BYTES:
            self._cached += len(file.data)
            self._cache[name] = file
        return file

    def _parse(self, what: What, name: str, data: bytes, archive: _Archive, tally: _Tally) -> None:
        """One file's rows into `tally`."""
        if what == "spans":
            spans = parse_trace_file(data, name, self.name)
            tally.add(spans.table)
            tally.fetched += spans.spans
            tally.unparsed += spans.unparsed
            tally.left_out += spans.unparsed
            tally.duplicates += spans.duplicates
            return
        if what == "order_events":
            orders = parse_orders_csv(data, source=self.name, file=ORDERS[0], zone=self._zone)
            tally.add(orders.table)
            tally.fetched += orders.rows
            tally.unparsed += orders.unparsed
            tally.left_out += orders.rows - orders.duplicates - orders.table.num_rows
            tally.duplicates += orders.duplicates
            return
        for start, whole, logs in self._stretches(name, data, self._around(archive), tally):
            if logs is None:
                if start:
                    unit = "rows" if _suffix(name) == ".parquet" else "bytes"
                    tally.begun.append(f"{name}: only its first {start:,} of {whole:,} {unit} were read")
                else:
                    tally.unread.append(name)
                return
            tally.add(_moved(logs.table, start))
            tally.fetched += logs.lines
            tally.unparsed += logs.unparsed
            tally.duplicates += logs.duplicates

    def _stretches(
        self, name: str, data: bytes, around: datetime | None, tally: _Tally
    ) -> Iterator[tuple[int, int, Parsed | None]]:
        """A file of logs in stretches: where each begins, where the file ends, and its rows.

        None instead of rows says that this stretch and what is behind it were left.
        """
        suffix = _suffix(name)
        if suffix == ".parquet":
            table, problem = _parquet(data, name)
            if problem:
                tally.problems.append(problem)
            for start in range(0, table.num_rows, _STRETCH_ROWS):
                if tally.must_stop():
                    yield start, table.num_rows, None
                    return
                rows = table.slice(start, _STRETCH_ROWS)
                logs = parse_parquet_table(rows, source=self.name, file=name, zone=self._zone, around=around)
                yield start, table.num_rows, logs
            return
        parse: Callable[..., Parsed]
        zone = self._zone
        if suffix in _DOCUMENTS:
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
            yield start, len(data), parse(part, source=self.name, file=name, zone=zone, around=around)
            start = end

    def _around(self, archive: _Archive) -> datetime | None:
        """The ticket's own time, near which lines without a date lie."""
        try:
            moment = datetime.fromisoformat(str(_ticket(archive).get("created_at")))
        except (ValueError, UsageError):
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _answer(
        self, what: What, files: Sequence[str], others: Sequence[str], skipped: Sequence[str], tally: _Tally
    ) -> Fetched:
        """The table and its row of the ledger."""
        place = _FOLDERS.get(what, ORDERS[0])
        schema = _SCHEMAS[what]
        table = pa.concat_tables(tally.tables) if tally.tables else empty(schema)
        if what == "spans":
            table, again = drop_repeats(table)
            # By time, since a payload groups its spans by resource and not by order.
            table = table.sort_by([(name, "ascending") for name in ("@timestamp", "trace.id", "span.id", "kind")])
        elif what == "logs" and len(tally.tables) > 1:
            table, again = _drop_repeated_documents(table)
        else:
            again = 0
        if tally.late:
            tally.problems.append("the time was up before everything was read; a larger --budget reads more")
        if tally.full:
            tally.problems.append(
                f"the rows take more than {tally.most_bytes:,} bytes of memory, which is the most that is kept: the rest "
                "was not read"
            )
        status: Status = "partial" if tally.problems else "ok" if table.num_rows else "empty" if files else "skipped"
        notes = [] if files else [f"the bundle has no {place}"]
        notes.extend(tally.begun)
        if tally.unread:
            notes.append(
                f"{_count(len(tally.unread), 'file')} of {_count(len(files), 'file')} not read: {_list(tally.unread)}"
            )
        if others:
            notes.append(f"{_count(len(others), 'file')} of {place} of no known kind, not read: {_list(others)}")
        if skipped:
            notes.append(f"{_count(len(skipped), 'link')} that lead out of the bundle, not followed: {_list(skipped)}")
        if tally.left_out:
            notes.append(f"{_count(tally.left_out, 'object')} that could not be read, left out")
        coverage = Coverage(
            source=self.name,
            kind=self.kind,
            what=what,
            status=status,
            asked=f"everything in {place}" + (f" ({_count(len(files), 'file')})" if what != "order_events" else ""),
            window=_seen(table.column(_TIMES[what])),
            matched=None if tally.late or tally.full else tally.fetched,
            fetched=tally.fetched,
            used=table.num_rows,
            duplicates=tally.duplicates + again,
            unparsed=tally.unparsed,
            error="; ".join(tally.problems) or None,
            notes=notes,
        )
        return Fetched(table, coverage, complete=not tally.late)

    def _resolve_logs(
        self, archive: _Archive, pointers: Sequence[Pointer], answer: dict[Pointer, bytes | None]
    ) -> None:
        """Reads each file at most once, however many pointers lead into it."""
        files, _ = self._files(archive, "logs") if pointers else ([], [])
        open_ids = [p for p in pointers if p.doc_id is not None]
        by_place: dict[str | None, list[Pointer]] = {}
        for pointer in pointers:
            if pointer.doc_id is None and pointer.start is not None:
                by_place.setdefault(pointer.file, []).append(pointer)
        for name in files:
            placed = by_place.get(name, [])
            if not placed and not open_ids:
                continue
            data = self._read(archive, name).data
            if _suffix(name) == ".parquet":
                table, _ = _parquet(data, name)
                answer.update({p: _row_at(table, p.start) for p in placed})
                found = _find_rows(table, open_ids)
            else:
                answer.update({p: _piece(data, p) for p in placed})
                found = _find_documents(data, open_ids)
            answer.update(found)
            open_ids = [p for p in open_ids if p not in found]

    def _resolve_spans(
        self, archive: _Archive, pointers: Sequence[Pointer], answer: dict[Pointer, bytes | None]
    ) -> None:
        keys = {(pointer.index, pointer.doc_id) for pointer in pointers if pointer.doc_id is not None}
        found: dict[tuple[str | None, str], list[tuple[int | None, Any]]] = {}
        files, _ = self._files(archive, "spans") if keys else ([], [])
        for name in files:
            for key, objects in find_spans(self._read(archive, name).data, keys).items():
                found.setdefault(key, []).extend(objects)
        for pointer in pointers:
            objects = found.get((pointer.index, str(pointer.doc_id)), [])
            if objects:
                answer[pointer] = canonical_json(span_at(objects, pointer.at))

    def _resolve_events(
        self, archive: _Archive, pointers: Sequence[Pointer], answer: dict[Pointer, bytes | None]
    ) -> None:
        files, _ = self._files(archive, "order_events") if pointers else ([], [])
        for name in files:
            data = self._read(archive, name).data
            table = parse_orders_csv(data, source=self.name, file=ORDERS[0], zone=self._zone).table
            places = {key: place for place, key in enumerate(table.column("_id").to_pylist())}
            for pointer in pointers:
                place = places.get(pointer.doc_id)
                if place is not None:
                    answer[pointer] = canonical_json(canonical_order_event(table.slice(place, 1).to_pylist()[0]))


def _suffix(name: str) -> str:
    """What a file is by its name: the ending before `.gz`; also of a rotated `app.log.1`."""
    path = PurePosixPath(name.lower())
    endings = [ending for ending in path.suffixes if ending != ".gz" and not ending[1:].isdigit()]
    return endings[-1] if endings else ""


def _seen(times: Any) -> Window | None:
    """The first and the last time of a column."""
    span = pc.min_max(times)
    low, high = span["min"].as_py(), span["max"].as_py()
    return Window(start=_stamp(low), end=_stamp(high)) if low is not None else None


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _list(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _drop_repeated_documents(table: Any) -> tuple[Any, int]:
    """LOGS without documents whose `_index` and `_id` an earlier file had, and how many those were."""
    named = table.select(["_index", "_id"]).append_column("row", pa.array(range(table.num_rows), pa.int64()))
    documents = named.filter(pc.is_valid(named.column("_id")))
    first = documents.group_by(["_index", "_id"]).aggregate([("row", "min")])
    repeats = documents.num_rows - first.num_rows
    if not repeats:
        return table, 0
    nameless = named.filter(pc.is_null(named.column("_id"))).column("row")
    kept = pa.chunked_array([*first.column("row_min").chunks, *nameless.chunks], pa.int64()).combine_chunks()
    return table.take(kept.take(pc.sort_indices(kept))), repeats


def _parquet(data: bytes, name: str) -> tuple[Any, str | None]:
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


def _moved(table: Any, by: int) -> Any:
    """LOGS of a stretch, its offsets counted from the start of the file."""
    if not by:
        return table
    place = table.schema.get_field_index("log.offset")
    moved = pc.add(table.column("log.offset"), pa.scalar(by, pa.int64()))
    return table.set_column(place, table.schema.field(place), moved)


def _piece(data: bytes, pointer: Pointer) -> bytes | None:
    """The bytes that a pointer names."""
    start = pointer.start or 0
    end = pointer.end if pointer.end is not None else len(data)
    return data[start:end] if 0 <= start < end <= len(data) else None


def _row_at(table: Any, place: int | None) -> bytes | None:
    """A Parquet row by its number."""
    return _row_bytes(table, place) if place is not None and 0 <= place < table.num_rows else None


def _row_bytes(table: Any, place: int) -> bytes:
    """The canonical JSON of a Parquet row: what it has, without `_id` and `_index`."""
    row = table.slice(place, 1).to_pylist()[0]
    return canonical_json({k: v for k, v in row.items() if v is not None and k not in ("_id", "_index")})


def _find_rows(table: Any, pointers: Sequence[Pointer]) -> dict[Pointer, bytes | None]:
    """The records of those pointers whose document a Parquet file holds."""
    if not pointers or "_id" not in table.column_names:
        return {}
    places: dict[Any, int] = {}
    indices = table.column("_index").to_pylist() if "_index" in table.column_names else [None] * table.num_rows
    for place, key in enumerate(zip(indices, table.column("_id").to_pylist(), strict=True)):
        places.setdefault(key, place)
    found = {p: places.get((p.index, p.doc_id)) for p in pointers}
    return {p: _row_bytes(table, place) for p, place in found.items() if place is not None}


class _Named(msgspec.Struct):
    """What names a document."""

    id: str | int | None = msgspec.field(name="_id", default=None)
    index: str | None = msgspec.field(name="_index", default=None)


_NAMED = msgspec.json.Decoder(_Named)
_FEW = 300


def _find_documents(data: bytes, pointers: Sequence[Pointer]) -> dict[Pointer, bytes | None]:
    """The `_source` of those pointers whose document the lines hold, the first one of each."""
    found: dict[Pointer, bytes | None] = {}
    slow = len(pointers) > _FEW
    if not slow:
        for pointer in pointers:
            record = _search_document(data, pointer)
            if record is not None:
                found[pointer] = record
        # Ids that JSON may escape, or write as numbers, are not found by their bytes.
        slow = any(p not in found and not _is_plain(str(p.doc_id)) for p in pointers)
    if slow:
        wanted = {(p.index, str(p.doc_id)): p for p in pointers if p not in found}
        for start, end in _line_ends(data):
            try:
                named = _NAMED.decode(data[start:end])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            target = wanted.get((named.index, str(named.id)))
            if target is not None and target not in found:
                found[target] = _source_bytes(data[start:end])
    return found


def _is_plain(text: str) -> bool:
    """Whether JSON has only one way to write an id, in quotes."""
    return text.isascii() and text.isprintable() and not text.isdigit() and not any(c in text for c in '"\\/<>&')


def _search_document(data: bytes, pointer: Pointer) -> bytes | None:
    """The `_source` of the first line that is the pointer's document: ids are rare enough to be looked for as bytes."""
    needle = f'"{pointer.doc_id}"'.encode(errors="replace")
    place = data.find(needle)
    while place >= 0:
        start = data.rfind(b"\n", 0, place) + 1
        end = data.find(b"\n", place)
        end = len(data) if end < 0 else end
        try:
            named = _NAMED.decode(data[start:end])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            named = _Named()
        if str(named.id) == pointer.doc_id and named.index == pointer.index:
            return _source_bytes(data[start:end])
        place = data.find(needle, end)
    return None


def _source_bytes(line: bytes) -> bytes | None:
    """The canonical `_source` of a line: a hit's, or the whole object without what names it."""
    document = msgspec.json.decode(line)
    inner = document.get("_source")
    if isinstance(inner, dict):
        return canonical_json(inner)
    return canonical_json({key: value for key, value in document.items() if key not in ("_id", "_index")})


def _line_ends(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield start, end
        start = end + 1


def span_at(objects: Sequence[tuple[int | None, Any]], at: str | None) -> Any:
    """Of spans with the same ids (see `parsers.traces.files.find_spans`) the one that began at `at`, else the first."""
    if at is not None and len(objects) > 1:
        with suppress(ValueError):
            moment = datetime.fromisoformat(at)
            since = moment - datetime(1970, 1, 1, tzinfo=UTC)
            micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
            for start, value in objects:
                if start == micros:
                    return value
    return objects[0][1]


# Folders and zips


class _Archive(ABC):
    """A bundle that is open: the names of its files, sorted, and their bytes."""

    def __init__(self, names: Iterable[str], skipped: Iterable[str] = ()) -> None:
        self.names = sorted({name for name in names if not _is_junk(name)})
        self.skipped = sorted(skipped)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - a folder has nothing to give back
        """Nothing to give back, unless a kind of bundle says so."""

    @abstractmethod
    def size(self, name: str) -> int:
        """The bytes of a file as it is stored."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A file for reading."""

    def read(self, name: str, limit: int, out: Callable[[], bool] | None = None) -> _File:
        """At most `limit` uncompressed bytes of a file, and what is wrong where they are not all of it.

        Reading stops early, and the file is `late`, once `out` says so.
        """
        return _read(lambda: self.open(name), name, limit, out)


def _leads_into(link: Path, root: Path) -> bool:
    """Whether `link` leads to something inside `root`; one that leads in a circle does not."""
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False


class _Folder(_Archive):
    """A bundle as a folder. A link that leads out of it is not followed: a bundle may come from a stranger."""

    def __init__(self, path: Path) -> None:
        self._path = path
        root = path.resolve()
        names, skipped = [], []
        for place, _, files in os.walk(path):
            for file in files:
                full = Path(place, file)
                name = full.relative_to(path).as_posix()
                if not full.is_symlink() or _leads_into(full, root):
                    # A pipe or device would block whoever opens it.
                    names.extend([name] if full.is_file() else [])
                else:
                    skipped.append(name)
        super().__init__(names, skipped)

    def size(self, name: str) -> int:
        return (self._path / name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        return (self._path / name).open("rb")


class _Zip(_Archive):
    """A bundle as a zip, its files at the top or below one folder. Nothing is unpacked to disk."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        members = [info.filename for info in self._zip.infolist() if not info.is_dir()]
        self._prefix = _prefix(members)
        super().__init__(name.removeprefix(self._prefix) for name in members if name.startswith(self._prefix))

    def size(self, name: str) -> int:
        return self._zip.getinfo(self._prefix + name).compress_size

    def open(self, name: str) -> BinaryIO:
        return self._zip.open(self._prefix + name)  # type: ignore[return-value]

    def close(self) -> None:
        self._zip.close()


def _is_junk(name: str) -> bool:
    """What file managers leave behind."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _is_part(name: str) -> bool:
    """Whether a name within a bundle is one that a bundle has."""
    return name in (TICKET, *ORDERS) or name.startswith(tuple(_FOLDERS.values()))


def _prefix(members: Sequence[str]) -> str:
    """The folder within a zip that is the bundle: the top, or the only folder that looks like one."""
    members = [name for name in members if not _is_junk(name)]
    if any(_is_part(name) for name in members):
        return ""
    tops = {name.partition("/")[0] + "/" for name in members if "/" in name}
    inside = sorted(top for top in tops if any(_is_part(name.removeprefix(top)) for name in members))
    if len(inside) > 1:
        raise UsageError(f"the zip holds {len(inside)} bundles ({_list(inside)}): unpack it and name its folder")
    return inside[0] if inside else ""


def _open(path: Path) -> _Archive:
    """The bundle at `path`. Raises `SourceUnavailable` or `SourceBroken`."""
    try:
        if path.is_dir():
            return _Folder(path)
        if not path.exists():
            raise SourceUnavailable(f"there is no bundle at {path}: check the path")
        return _Zip(path)
    except zipfile.BadZipFile as error:
        raise SourceBroken(f"{path} is neither a folder nor a readable zip: it may be cut short") from error
    except OSError as error:
        raise SourceUnavailable(f"the bundle {path} cannot be opened ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0][:200] if text else type(error).__name__


def _read(opened: Callable[[], BinaryIO], name: str, limit: int, out: Callable[[], bool] | None = None) -> _File:
    """A file's bytes whatever goes wrong: a damaged one never costs the others. Encrypted ones cannot be read."""
    try:
        with opened() as stream:
            unpack = _gunzip if name.lower().endswith(".gz") else _slurp
            return unpack(stream, name, limit, out or _never)
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        return _File(b"", f"{name} cannot be read ({_reason(error)})")


def _never() -> bool:
    return False


def read_file(path: Path, name: str, limit: int) -> tuple[bytes, str | None]:
    """At most `limit` uncompressed bytes of a file, and what is wrong, under its short `name`, if they are not all."""
    file = _read(lambda: path.open("rb"), name, limit)
    return file.data, file.problem


def _slurp(stream: BinaryIO, name: str, limit: int, out: Callable[[], bool]) -> _File:
    """A stream's bytes. A zip tells only at the end that a file in it was damaged; what came before is kept."""
    pieces, size = [], 0
    try:
        while size <= limit and (piece := stream.read(_PIECE)):
            if out():
                return _File(b"", late=True)
            pieces.append(piece)
            size += len(piece)
    except (OSError, zlib.error, zipfile.BadZipFile) as error:
        return _File(b"".join(pieces)[:limit], f"{name} is damaged after {size:,} bytes ({_reason(error)})")
    return _File(b"".join(pieces)[:limit], _over(name, limit) if size > limit else None)


def _over(name: str, limit: int) -> str:
    return f"{name} goes beyond what is read of a bundle: its first {limit:,} bytes were read, the rest was not"


def _gunzip(stream: BinaryIO, name: str, limit: int, out: Callable[[], bool]) -> _File:
    """What a gzip file holds, however many members it has and as far as it goes."""
    pieces: list[bytes] = []
    size = 0
    member = zlib.decompressobj(wbits=31)
    started = False
    problem = None
    try:
        while problem is None and (pending := stream.read(_PIECE)):
            while pending:
                if out():
                    return _File(b"", late=True)
                if member.eof:
                    # Padding with zeros is allowed behind the last member.
                    pending = pending.lstrip(b"\0")
                    if not pending:
                        break
                    member, started = zlib.decompressobj(wbits=31), False
                started = True
                # No more than a stretch at once: a megabyte may hold a thousand.
                piece = member.decompress(pending, min(limit - size + 1, _STRETCH))
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    problem = _over(name, limit)
                    break
                pending = member.unused_data if member.eof else member.unconsumed_tail
        if problem is None and started and not member.eof:
            problem = f"{name} is cut short: it ends in the middle of the compressed data, {size:,} bytes were read"
    except (OSError, zlib.error, zipfile.BadZipFile) as error:
        problem = f"{name} is damaged after {size:,} bytes ({_reason(error)})"
    return _File(b"".join(pieces)[:limit], problem)


# Tickets


def read_ticket(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The `ticket.json` of the bundle at `path`, as it is.

    Raises `TicketNotFound` where the bundle has none, `UsageError` where it is no JSON object.
    """
    with _open(Path(path)) as archive:
        if TICKET not in archive.names:
            raise TicketNotFound(f"the bundle {path} has no {TICKET}")
        return _ticket(archive)


def _ticket(archive: _Archive) -> dict[str, Any]:
    if TICKET not in archive.names:
        return {}
    data = archive.read(TICKET, _TICKET_BYTES).data.removeprefix(b"\xef\xbb\xbf")
    try:
        ticket = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{TICKET} is not JSON ({error}): correct the file") from error
    if not isinstance(ticket, dict):
        raise UsageError(f"{TICKET} holds a JSON {type(ticket).__name__}: it must be an object")
    return ticket


def is_bundle(path: Path) -> bool:
    """Whether `path` looks like a bundle: a zip, or a folder with at least one of a bundle's parts."""
    if path.is_dir():
        return any((path / part).exists() for part in (TICKET, *ORDERS, *_FOLDERS.values()))
    return path.suffix.lower() == ".zip" and path.is_file()


def ticket_ids(folder: str | os.PathLike[str]) -> list[str]:
    """The ids of the tickets in a bundle, or in a folder of bundles; sorted. Raises as `find_bundle`."""
    path = _existing(folder)
    return sorted(_bundles(path))


def find_bundle(path: str | os.PathLike[str], ticket_id: str | None = None) -> Path:
    """The bundle of a ticket: `path` itself, or the one in the folder `path` that is named so or holds that ticket.

    Without `ticket_id` the path must be one bundle. Raises `TicketNotFound`, which lists near matches, and `UsageError`
    where `path` does not exist or is no bundle.
    """
    root = _existing(path)
    if ticket_id is None:
        if not is_bundle(root):
            raise UsageError(f"{root} is no bundle: name a ticket in it, one of {_list(sorted(_bundles(root)))}")
        return root
    if not is_bundle(root):
        for name in (ticket_id, f"{ticket_id}.zip"):
            # An id is a name here, never a way out of the folder.
            if name == PurePosixPath(name).name and is_bundle(root / name) and _id_of(root / name) == ticket_id:
                return root / name
    known = _bundles(root)
    if ticket_id in known:
        return known[ticket_id]
    near = difflib.get_close_matches(ticket_id, known, n=_LISTED, cutoff=0.5)
    if near:
        hint = f"did you mean {', '.join(near)}?"
    elif known:
        hint = f"it has {_count(len(known), 'ticket')}: {_list(sorted(known))}"
    else:
        hint = f"there is no {TICKET} in it"
    raise TicketNotFound(f"no ticket {ticket_id!r} in {root}: {hint}")


def _existing(path: str | os.PathLike[str]) -> Path:
    root = Path(path)
    if not root.exists():
        raise UsageError(f"there is no bundle at {root}: check the path")
    return root


def _bundles(path: Path) -> dict[str, Path]:
    """Ticket ids and where their bundles are; of bundles that repeat an id the first in order of names."""
    if path.is_file() and not is_bundle(path):
        return {}
    some = [path] if is_bundle(path) else sorted(islice((p for p in path.iterdir() if is_bundle(p)), _SEARCHED_TICKETS))
    known: dict[str, Path] = {}
    for bundle in some:
        ticket_id = _id_of(bundle)
        if ticket_id is not None:
            known.setdefault(ticket_id, bundle)
    return known


def _id_of(path: Path) -> str | None:
    """The id of a bundle's ticket, or None where it has no readable ticket."""
    with suppress(UsageError, TicketNotFound, SourceBroken, SourceUnavailable):
        ticket_id = read_ticket(path).get("id")
        return str(ticket_id) if ticket_id is not None else None
    return None


# Writing


def write_bundle(
    path: str | os.PathLike[str],
    ticket: Mapping[str, Any],
    material: Material,
    *,
    tool_version: str,
    redaction: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """What was collected for a ticket, as a bundle at `path`: a folder, or a zip where the name ends in `.zip`.

    The tables hold what was parsed, not the sources' own records, so the log documents are written anew from the
    columns; read back they give the same tables, but other sha256 (the manifest says so). Equal material gives equal
    bytes. The bundle appears whole or not at all. Raises `UsageError` where `path` exists (unless `overwrite`) or cannot
    be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists already: choose another name or ask to overwrite it")
    parts: dict[str, bytes] = {TICKET: _pretty(dict(ticket))}
    if material.logs.num_rows:
        parts["logs/part-0.ndjson.gz"] = _gzip(b"".join(_documents(material.logs)))
    if material.spans.num_rows:
        parts["traces/spans.json"] = write_otlp(material.spans)
    if material.order_events.num_rows:
        parts[ORDERS[0]] = write_orders_csv(material.order_events)
    parts[MANIFEST] = _pretty(_manifest(parts, material, tool_version, redaction))
    try:
        if target.suffix.lower() == ".zip":
            _place_file(target, _zipped(parts))
        else:
            _place_folder(target, parts)
    except OSError as error:
        raise UsageError(f"the bundle {target} cannot be written ({_reason(error)})") from error
    return target


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1) + b"\n"


def _gzip(data: bytes) -> bytes:
    """`data` as gzip without a time in its header, so that equal data is equal bytes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


# `body` follows from the message whenever that is read; where a row came from is not part of it.
_WRITTEN = [
    *("_index", "_id"),
    *(name for name in LOGS.names if name not in ("_index", "_id", "_source", "body", "log.length")),
]


def _documents(logs: Any) -> Iterator[bytes]:
    """LOGS as ECS documents, one a line, named by `_id`."""
    for number, row in enumerate(_rows(logs.select(_WRITTEN))):
        file, offset = row.pop("log.file.path"), row.pop("log.offset")
        if row["_id"] is None:
            # A line without an id is cited by its place; written anew it has another, so the old place becomes its id.
            row["_id"] = f"{file}:{offset}" if file is not None and offset is not None else f"row:{number}"
        if row["@timestamp"] is not None:
            row["@timestamp"] = _stamp(row["@timestamp"])
        yield msgspec.json.encode({name: value for name, value in row.items() if value is not None}) + b"\n"


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=65_536):
        yield from batch.to_pylist()


def _manifest(
    parts: Mapping[str, bytes], material: Material, tool_version: str, redaction: Mapping[str, Any] | None
) -> dict[str, Any]:
    tables = {"logs": material.logs, "spans": material.spans, "order_events": material.order_events}
    sources: Collection[str] = {
        name for table in tables.values() for name in pc.unique(table.column("_source")).to_pylist() if name is not None
    }
    return {
        "format": "problem-snapshot bundle 1",
        "tool": "problem-snapshot",
        "tool_version": tool_version,
        "files": {name: {"bytes": len(data), "sha256": sha256_hex(data)} for name, data in sorted(parts.items())},
        "rows": {name: table.num_rows for name, table in tables.items()},
        "derived_from": sorted(sources),
        "derivation": "Written from parsed columns, not copied from the sources: ids and values are theirs, the sha256 of "
        "a record is not. A snapshot of this bundle verifies against this bundle.",
        "coverage": [msgspec.to_builtins(row) for row in material.coverage],
        "redaction": dict(redaction) if redaction is not None else None,
    }


def _zipped(parts: Mapping[str, bytes]) -> bytes:
    """A zip whose entries carry no time and no owner, so that equal parts give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in sorted(parts.items()):
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".gz") else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return out.getvalue()


def _place_file(target: Path, data: bytes) -> None:
    """`data` at `target`, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _place_folder(target: Path, parts: Mapping[str, bytes]) -> None:
    """The files as the folder `target`, which appears whole; one that it replaces goes only then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        new = temporary / "new"
        for name, data in parts.items():
            _place_file(new / name, data)
        old = temporary / "old"
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
