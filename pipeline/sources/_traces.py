"""What sources of traces behind an HTTP API share: named traces side by side, the answer, and its row of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from parsers.traces.files import find_spans, span_at
from parsers.traces.rows import ParsedSpans, drop_repeats
from pipeline.errors import SourceError
from pipeline.sources._http import TooLarge, side_by_side
from pipeline.values import Ask, Fetched, Pointer
from snapshots.model import Coverage, Status, Window, canonical_json

_LISTED = 5


@dataclass
class Reading:
    """What one question came to so far."""

    tables: list[Any] = field(default_factory=list)
    rows: int = 0
    unparsed: int = 0
    duplicates: int = 0
    notes: list[str] = field(default_factory=list)
    # What keeps the answer from being whole: a limit, or an error behind which the rest was not asked.
    full: list[str] = field(default_factory=list)
    stopped: SourceError | None = None
    # Traces that the service gave in part, with its words. Threads that read ahead fill it, so only those taken count.
    in_part: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def add(self, parsed: ParsedSpans) -> None:
        """Takes in the spans of one answer."""
        self.tables.append(parsed.table)
        self.rows += parsed.table.num_rows
        self.unparsed += parsed.unparsed
        self.duplicates += parsed.duplicates

    def heard(self) -> None:
        """An answer without spans is an answer nevertheless: the service was there and said so."""
        self.tables.append(empty(SPANS))

    def short_of(self, why: str) -> None:
        """Notes once that the answer is not whole."""
        if why not in self.full:
            self.full.append(why)


def read_traces(
    traces: Iterable[str],
    read: Callable[[str], ParsedSpans | None],
    reading: Reading,
    *,
    system: str,
    noun: str,
    limit: int,
    parallel: int,
) -> None:
    """Reads traces one behind the other, `parallel` of them under way, until `limit` rows are there.

    One that the service does not have is noted. One that is too large is left out and told; the others are read.
    """
    traces = list(traces)
    absent: list[str] = []
    large: list[str] = []

    def one(trace: str) -> ParsedSpans | TooLarge | None:
        try:
            return read(trace)
        except TooLarge as error:
            return error

    why = ""
    try:
        if reading.rows >= limit and traces:
            _not_read(reading, len(traces), len(traces), noun)
            return
        for place, (trace, answer) in enumerate(side_by_side(one, traces, parallel), 1):
            if answer is None:
                absent.append(trace)
            elif isinstance(answer, TooLarge):
                large.append(trace)
                why = why or str(answer)
            else:
                reading.add(answer)
                reading.taken.add(trace)
            if reading.rows >= limit and place < len(traces):
                _not_read(reading, len(traces) - place, len(traces), noun)
                break
    finally:
        if absent:
            reading.notes.append(f"{system} does not have {some(absent, 'trace')}")
        if large:
            reading.short_of(f"{some(large, 'trace')} left out as too large: {why}")
        if absent or large:
            reading.heard()


def _not_read(reading: Reading, left: int, of: int, noun: str) -> None:
    reading.short_of(f"{left:,} of {of:,} {noun} not asked: the limit was reached")


def answer(reading: Reading, ask: Ask, asked: str, wanted: tuple[str, ...], *, source: str, kind: str) -> Fetched:
    """The table, the named traces first, and its row of the ledger."""
    import pyarrow.compute as pc

    table = pa.concat_tables(reading.tables) if reading.tables else empty(SPANS)
    before = table.num_rows
    table, again = drop_repeats(table)
    named = pc.is_in(table.column("trace.id"), pa.array([trace.lower() for trace in wanted], pa.string()))
    order = [(name, "ascending") for name in ("@timestamp", "trace.id", "span.id", "kind")]
    table = pa.concat_tables([table.filter(mask).sort_by(order) for mask in (named, pc.invert(named))])
    kept = table.slice(0, ask.limit)
    cut = table.num_rows - kept.num_rows
    if traces := sorted(reading.taken & reading.in_part.keys()):
        reading.short_of(f"{some(traces, 'trace')} in part only: {reading.in_part[traces[0]][:200]}")
    short = bool(reading.full or cut or reading.stopped)
    notes = [*reading.notes, *reading.full]
    if reading.unparsed:
        notes.append(f"{reading.unparsed:,} objects that are no readable span were left out")
    status: Status = "partial" if short else "ok" if kept.num_rows else "empty"
    row = coverage(
        ask,
        status,
        asked,
        source=source,
        kind=kind,
        matched=None if reading.full or reading.stopped else table.num_rows,
        fetched=before + reading.duplicates + reading.unparsed - cut,
        used=kept.num_rows,
        cut=cut,
        duplicates=reading.duplicates + again,
        unparsed=reading.unparsed,
        error=str(reading.stopped) if reading.stopped else None,
        notes=notes,
    )
    return Fetched(kept, row, complete=False)


def skipped(ask: Ask, *, source: str, kind: str) -> Fetched:
    """The answer to a question for anything but spans."""
    nothing = empty(LOGS if ask.what == "logs" else ORDER_EVENTS)
    row = coverage(ask, "skipped", "nothing", source=source, kind=kind, notes=["holds spans only"])
    return Fetched(nothing, row, complete=True)


def coverage(ask: Ask, status: Status, asked: str, *, source: str, kind: str, **counts: Any) -> Coverage:
    """A row of the ledger."""
    start, end = (m.astimezone(UTC).isoformat().replace("+00:00", "Z") for m in (ask.window.start, ask.window.end))
    window = Window(start=start, end=end)
    return Coverage(source=source, kind=kind, what=ask.what, status=status, asked=asked, window=window, **counts)


def resolve_spans(
    pointers: Iterable[Pointer], fetch: Callable[[str], bytes | None], parallel: int
) -> dict[Pointer, bytes | None]:
    """The canonical JSON of each span's object, or None where its trace is gone; `fetch` gives a trace's bytes."""
    result: dict[Pointer, bytes | None] = dict.fromkeys(pointers)
    by_trace: dict[str, list[Pointer]] = {}
    for pointer in result:
        if pointer.kind == "span" and pointer.doc_id is not None and pointer.index:
            by_trace.setdefault(pointer.index, []).append(pointer)
    for trace, data in side_by_side(fetch, by_trace, parallel):
        keys = {(trace, str(pointer.doc_id)) for pointer in by_trace[trace]}
        found = find_spans(data, keys) if data is not None else {}
        for pointer in by_trace[trace]:
            if objects := found.get((trace, str(pointer.doc_id))):
                result[pointer] = canonical_json(span_at(objects, pointer.at))
    return result


def some(names: Iterable[str], noun: str) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = len(names) - _LISTED
    listed = ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")
    return f"{noun}{'' if len(names) == 1 else 's'} {listed}"


def micros(moment: datetime) -> int:
    """Microseconds of the epoch."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


__all__ = ["Reading", "answer", "coverage", "micros", "read_traces", "resolve_spans", "skipped", "some"]
