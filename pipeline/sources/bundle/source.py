"""A bundle as a source: every question is answered with everything in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from parsers.order_events import canonical_order_event, parse_orders_csv
from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from parsers.traces.files import find_spans, parse_trace_file, span_at
from parsers.traces.rows import drop_repeats
from pipeline.errors import UsageError
from pipeline.sources.bundle.archive import Archive, Zip, open_archive
from pipeline.sources.bundle.layout import DOCUMENTS, FOLDERS, ORDERS, PLAIN, TICKET, TRACES, suffix_of
from pipeline.sources.bundle.logs import moved_by, parquet_table, stretches
from pipeline.sources.bundle.records import find_documents, find_rows, piece_at, row_at
from pipeline.sources.bundle.tally import MAX_TABLE_BYTES, Clock, Tally
from pipeline.sources.bundle.tickets import ticket_of
from pipeline.sources.bundle.unpacking import File
from pipeline.sources.bundle.words import counted, listed, stamp
from pipeline.values import Ask, Fetched, Pointer, What
from snapshots.model import Coverage, Status, Window, canonical_json

# Uncompressed bytes that one question reads: beyond the largest honest bundle, far below what a zip bomb unpacks to.
MAX_BYTES = 2 << 30
_CACHED_BYTES = 64 << 20
_SCHEMAS: dict[What, pa.Schema] = {"logs": LOGS, "spans": SPANS, "order_events": ORDER_EVENTS}
_TIMES: dict[What, str] = {"logs": "@timestamp", "spans": "@timestamp", "order_events": "occurred_at"}


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
        self._cache: dict[str, File] = {}
        self._cached = 0

    def fetch(self, ask: Ask) -> Fetched:
        """Every row that the bundle has of what is asked, whatever the window and `ask.limit`.

        The ledger's window is that of the rows. What cannot be read before `ask.deadline`, or goes beyond the bytes of
        rows that are kept in memory, is left; the answer is `partial` then and names it, and `complete` is false where
        more time would bring more. Raises `SourceUnavailable` where the bundle is gone and `SourceBroken` where it
        cannot be opened at all; a damaged file in it makes the answer `partial`.
        """
        tally = Tally(Clock(ask.deadline), self._max_table_bytes)
        with open_archive(self.path) as archive:
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
        with open_archive(self.path) as archive:
            self._resolve_logs(archive, [p for p in asked if p.kind == "log"], answer)
            self._resolve_spans(archive, [p for p in asked if p.kind == "span"], answer)
            self._resolve_events(archive, [p for p in asked if p.kind == "order_event"], answer)
        return answer

    def probe(self) -> list[str]:
        """What the bundle holds: its ticket, and files and bytes of each kind. Raises as `fetch`."""
        lines = []
        with open_archive(self.path) as archive:
            lines.append(f"bundle {self.path.name}: {'zip' if isinstance(archive, Zip) else 'folder'}")
            if TICKET in archive.names:
                lines.append(f"ticket {ticket_of(archive).get('id')}")
            else:
                lines.append(f"no {TICKET}")
            for what in ("logs", "spans", "order_events"):
                files, _ = self._files(archive, what)
                size = sum(archive.size(name) for name in files)
                lines.append(f"{what}: {counted(len(files), 'file')}, {size:,} bytes as stored")
        return lines

    def close(self) -> None:
        """Forgets what was read."""
        self._cache.clear()
        self._cached = 0

    def _files(self, archive: Archive, what: What) -> tuple[list[str], list[str]]:
        """The files that answer a question, sorted, and those beside them that nothing here reads."""
        if what == "order_events":
            return [name for name in archive.names if name.lower() in ORDERS][:1], []
        endings = TRACES if what == "spans" else (*DOCUMENTS, *PLAIN, ".parquet")
        inside = [name for name in archive.names if name.startswith(FOLDERS[what])]
        files = [name for name in inside if suffix_of(name) in endings]
        return files, [name for name in inside if name not in files]

    def _read(
        self, archive: Archive, name: str, limit: int | None = None, out: Callable[[], bool] | None = None
    ) -> File:
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

    def _parse(self, what: What, name: str, data: bytes, archive: Archive, tally: Tally) -> None:
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
        for start, whole, logs in stretches(
            self.name, name, data, tally, zone=self._zone, around=self._around(archive)
        ):
            if logs is None:
                if start:
                    unit = "rows" if suffix_of(name) == ".parquet" else "bytes"
                    tally.begun.append(f"{name}: only its first {start:,} of {whole:,} {unit} were read")
                else:
                    tally.unread.append(name)
                return
            tally.add(moved_by(logs.table, start))
            tally.fetched += logs.lines
            tally.unparsed += logs.unparsed
            tally.duplicates += logs.duplicates

    def _around(self, archive: Archive) -> datetime | None:
        """The ticket's own time, near which lines without a date lie."""
        try:
            moment = datetime.fromisoformat(str(ticket_of(archive).get("created_at")))
        except (ValueError, UsageError):
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _answer(
        self, what: What, files: Sequence[str], others: Sequence[str], skipped: Sequence[str], tally: Tally
    ) -> Fetched:
        """The table and its row of the ledger."""
        place = FOLDERS.get(what, ORDERS[0])
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
                f"{counted(len(tally.unread), 'file')} of {counted(len(files), 'file')} not read: {listed(tally.unread)}"
            )
        if others:
            notes.append(f"{counted(len(others), 'file')} of {place} of no known kind, not read: {listed(others)}")
        if skipped:
            notes.append(
                f"{counted(len(skipped), 'link')} that lead out of the bundle, not followed: {listed(skipped)}"
            )
        if tally.left_out:
            notes.append(f"{counted(tally.left_out, 'object')} that could not be read, left out")
        coverage = Coverage(
            source=self.name,
            kind=self.kind,
            what=what,
            status=status,
            asked=f"everything in {place}" + (f" ({counted(len(files), 'file')})" if what != "order_events" else ""),
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

    def _resolve_logs(self, archive: Archive, pointers: Sequence[Pointer], answer: dict[Pointer, bytes | None]) -> None:
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
            if suffix_of(name) == ".parquet":
                table, _ = parquet_table(data, name)
                answer.update({p: row_at(table, p.start) for p in placed})
                found = find_rows(table, open_ids)
            else:
                answer.update({p: piece_at(data, p) for p in placed})
                found = find_documents(data, open_ids)
            answer.update(found)
            open_ids = [p for p in open_ids if p not in found]

    def _resolve_spans(
        self, archive: Archive, pointers: Sequence[Pointer], answer: dict[Pointer, bytes | None]
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
        self, archive: Archive, pointers: Sequence[Pointer], answer: dict[Pointer, bytes | None]
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


def _seen(times: Any) -> Window | None:
    """The first and the last time of a column."""
    span = pc.min_max(times)
    low, high = span["min"].as_py(), span["max"].as_py()
    return Window(start=stamp(low), end=stamp(high)) if low is not None else None


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
