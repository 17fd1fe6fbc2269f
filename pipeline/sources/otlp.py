"""Traces in files outside a bundle: OTLP/JSON as the collector's file exporter writes it, or Jaeger's JSON."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from parsers.traces.files import find_spans, parse_trace_file, span_at
from parsers.traces.rows import drop_repeats
from pipeline.errors import SourceUnavailable
from pipeline.values import Ask, Fetched, Pointer, Span, What
from snapshots.model import Coverage, Status, Window, canonical_json

_LISTED = 5


class Options(msgspec.Struct, frozen=True, kw_only=True, tag="otlp", tag_field="kind", forbid_unknown_fields=True):
    """`files` are glob patterns (`**` goes into folders), `.gz` among them.

    `max_bytes` bounds the uncompressed bytes that one question reads; what lies beyond is named in the ledger.
    """

    files: tuple[str, ...]
    max_bytes: Annotated[int, msgspec.Meta(gt=0)] = 1 << 30


class OtlpSource:
    """Trace files as a source. A file is cited by its path below the fixed part of the pattern that found it."""

    kind = "otlp"
    holds: frozenset[What] = frozenset(("spans",))

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.options = options

    def fetch(self, ask: Ask) -> Fetched:
        """The spans of the asked traces, whenever they ran, then those that ran within the window, up to the limit.

        Raises `SourceUnavailable` where no file matches the patterns.
        """
        if ask.what != "spans":
            nothing = empty(LOGS if ask.what == "logs" else ORDER_EVENTS)
            return Fetched(nothing, self._coverage(ask, "skipped", notes=["holds spans only"]), complete=True)
        files = self._files()
        tables, problems = [], []
        fetched = unparsed = duplicates = 0
        budget = self.options.max_bytes
        for read, (short, path) in enumerate(files):
            if time.monotonic() > ask.deadline:
                problems.append(f"out of time: {len(files) - read} of {len(files)} files were not read")
                break
            data, problem = self._read(path, short, budget)
            budget -= len(data)
            problems.extend([problem] if problem else [])
            parsed = parse_trace_file(data, short, self.name)
            tables.append(parsed.table)
            fetched += parsed.spans
            unparsed += parsed.unparsed
            duplicates += parsed.duplicates
        table, again = drop_repeats(pa.concat_tables(tables)) if tables else (empty(SPANS), 0)
        inside, outside = _choose(table, ask)
        kept = inside.slice(0, ask.limit)
        cut = inside.num_rows - kept.num_rows
        status: Status = "partial" if problems or cut else "ok" if kept.num_rows else "empty"
        notes = [f"{unparsed:,} objects that are no readable span were left out"] if unparsed else []
        coverage = self._coverage(
            ask,
            status,
            notes=notes,
            matched=inside.num_rows,
            fetched=fetched - cut,
            used=kept.num_rows,
            cut=cut,
            duplicates=duplicates + again,
            unparsed=unparsed,
            outside=outside,
            error="; ".join(problems) or None,
        )
        # Traces are named by whoever asks, so that other names may bring spans from beyond the window.
        return Fetched(kept, coverage, complete=not (problems or cut or outside))

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical JSON of each span's object, or None where no file holds it."""
        answer: dict[Pointer, bytes | None] = dict.fromkeys(pointers)
        open_keys = {(p.index, p.doc_id) for p in answer if p.kind == "span" and p.doc_id is not None}
        for short, path in self._files():
            if not open_keys:
                break
            data, _ = self._read(path, short, self.options.max_bytes)
            found = find_spans(data, open_keys)
            for pointer in answer:
                objects = found.get((pointer.index, str(pointer.doc_id)))
                if objects and pointer.kind == "span":
                    answer[pointer] = canonical_json(span_at(objects, pointer.at))
            open_keys -= found.keys()
        return answer

    def probe(self) -> list[str]:
        """How many files match and when the newest was written. Raises `SourceUnavailable` where none does."""
        files = self._files()
        newest = datetime.fromtimestamp(max(path.stat().st_mtime for _, path in files), UTC)
        return [f"{len(files):,} trace files, the newest written {newest:%Y-%m-%d %H:%M:%SZ}"]

    def close(self) -> None:
        """Nothing is kept open."""

    def _files(self) -> list[tuple[str, Path]]:
        """The files by their short paths, sorted, each once."""
        found: dict[Path, str] = {}
        for pattern in self.options.files:
            pattern = os.path.expanduser(pattern)  # noqa: PLW2901, PTH111 - a pattern is no path yet
            base = _fixed(pattern)
            for name in glob.glob(pattern, recursive=True):  # noqa: PTH207 - takes absolute patterns, Path.glob does not
                path = Path(name)
                if path.is_file():
                    found.setdefault(path.absolute(), os.path.relpath(path, base).replace(os.sep, "/"))
        if not found:
            raise SourceUnavailable(
                f"no trace file matches {', '.join(self.options.files)}: check `files` of the source {self.name!r}"
            )
        return sorted((short, path) for path, short in found.items())

    def _read(self, path: Path, short: str, limit: int) -> tuple[bytes, str | None]:
        from pipeline.sources.bundle.unpacking import read_file

        return read_file(path, short, limit)

    def _coverage(self, ask: Ask, status: Status, **counts: Any) -> Coverage:
        traces = ask.values("trace_id")
        parts = [_some(traces)] if traces else []
        asked = ", then ".join([*parts, "the window"] if ask.rest else parts) or "no trace"
        return Coverage(
            source=self.name,
            kind=self.kind,
            what=ask.what,
            status=status,
            asked=f"{asked}, in files {', '.join(Path(f).name for f in self.options.files)}",
            window=_window(ask.window),
            **counts,
        )


def _some(traces: tuple[str, ...]) -> str:
    more = len(traces) - _LISTED
    return f"traces {', '.join(traces[:_LISTED])}" + (f" and {more} more" if more > 0 else "")


def _fixed(pattern: str) -> Path:
    """The folder of a pattern that has no wildcard in it."""
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    return fixed if fixed.is_dir() else fixed.parent


def _choose(table: Any, ask: Ask) -> tuple[Any, int]:
    """The spans of the asked traces, then those that ran within the window if wanted, by time; and how many are neither.

    A span without a time is within every window.
    """
    order = [(name, "ascending") for name in ("@timestamp", "trace.id", "span.id", "kind")]
    table = table.sort_by(order)
    named = pc.is_in(table.column("trace.id"), pa.array([t.lower() for t in ask.values("trace_id")], pa.string()))
    start, end = (pa.scalar(moment, pa.timestamp("us", "UTC")) for moment in (ask.window.start, ask.window.end))
    times = table.column("@timestamp")
    ends = pc.add(times, pc.fill_null(table.column("duration_us"), 0).cast(pa.duration("us")))
    within = pc.fill_null(pc.and_(pc.less(times, end), pc.greater_equal(ends, start)), fill_value=True)
    parts = [table.filter(named)]
    if ask.rest:
        parts.append(table.filter(pc.and_not(within, named)))
    chosen = pa.concat_tables(parts)
    return chosen, table.num_rows - chosen.num_rows


def _window(window: Span) -> Window:
    start, end = (m.astimezone(UTC).isoformat().replace("+00:00", "Z") for m in (window.start, window.end))
    return Window(start=start, end=end)
