"""Where readers hand in their pages: counted, held back while the parser is behind, parsed in batches of one part each."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from parsers.hits import Values
from pipeline.sources.elasticsearch.calls import FullError
from pipeline.sources.elasticsearch.plan import Step

# Raw bytes of hits that are parsed together: large enough for columns, small enough to overlap with the next page.
_BATCH_BYTES = 8 << 20
# Batches that are parsed at once: Arrow gives the interpreter's lock away while it works.
_PARSERS = min(2, os.cpu_count() or 1)
# Raw bytes that may wait for the parser; beyond, reading waits, so that little is left to do when the time is up.
_WAITING_BYTES = 24 << 20
# One answer holds no more: beyond, a text column would not fit into Arrow's 32-bit offsets, nor a laptop's memory.
_MOST_BYTES = 1 << 30


@dataclass(eq=False)
class Part:
    """One reading of a step's rows: all that match (`whole`), or a draw out of `matched` rows. `done` when it came to its end."""

    step: Step
    whole: bool
    matched: int | None = None
    rows: int = 0
    done: bool = False


@dataclass
class _Batch:
    """Hits of one part that wait to be parsed."""

    part: Part
    hits: list[msgspec.Raw] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    size: int = 0


class Intake:
    """The rows of one answer as they come in, from several threads. What comes after `open` has ended is neither counted nor kept."""

    def __init__(
        self, parse: Callable[[bytes, int], Any], parse_values: Callable[[list[Values]], Any], left: Callable[[], float]
    ) -> None:
        """`parse` takes hits, one JSON object a line, and how many; `parse_values` those whose wanted values are read already.

        `left` tells the seconds until nobody waits any longer.
        """
        self.rows = 0
        self._parse_hits = parse
        self._parse_values = parse_values
        self._left = left
        self._parsed: list[tuple[Part, Future[Any]]] = []
        self._held: _Batch | None = None
        self._bytes = 0
        self._waiting = 0
        self._room = threading.Condition()
        self._closed = False

    @contextlib.contextmanager
    def parsing(self) -> Iterator[None]:
        """While there are threads that parse; at its end all that was handed in has been parsed."""
        with ThreadPoolExecutor(_PARSERS) as self._pool:
            yield

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """While readers may hand in pages. At its end they are told, and those that hang in a request are left behind."""
        try:
            yield
        finally:
            with self._room:
                self._closed = True
                self._room.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nobody waits for pages any longer."""
        return self._closed

    def answers(self, kinds: frozenset[str] | None = None) -> list[tuple[Part, Any]]:
        """Each part with what its batches were parsed to, those of `kinds` of steps only; waits for the parser."""
        with self._room:
            self._submit()
        return [(part, future.result()) for part, future in self._parsed if kinds is None or part.step.kind in kinds]

    def take(self, part: Part, hits: list[msgspec.Raw] | Values, size: int, again: int, most: int | None) -> bool:
        """Keeps a page of `size` bytes, of which `again` rows had come before; False when no more is wanted."""
        step = part.step
        with self._room:
            while self._waiting > _WAITING_BYTES and not self._closed:
                self._room.wait(self._left() + 0.1)
            if self._closed:
                return False
            if most is not None and step.distinct + len(hits) - again > most:
                hits = hits[: most - step.distinct + again]
            self.rows += len(hits)
            step.fetched += len(hits)
            step.again += min(again, len(hits))
            part.rows += len(hits) - min(again, len(hits))
            if self._held is None or self._held.part is not part:
                self._submit()
                self._held = _Batch(part)
            if isinstance(hits, Values):
                self._held.values.append(hits)
            else:
                self._held.hits += hits
            self._held.size += size
            self._waiting += size
            self._bytes += size
            if self._held.size >= _BATCH_BYTES:
                self._submit()
            if self._bytes >= _MOST_BYTES:
                raise FullError(f"{self._bytes >> 20:,} MiB were read, the most for one answer; narrow the window")
            return most is None or step.distinct < most

    def _submit(self) -> None:
        held, self._held = self._held, None
        if held is not None and held.values:
            # Not together with what has to be read yet: each has its size in bytes given back once.
            values = _Batch(held.part, values=held.values, size=0 if held.hits else held.size)
            self._parsed.append((held.part, self._pool.submit(self._parse, values)))
        if held is not None and held.hits:
            self._parsed.append((held.part, self._pool.submit(self._parse, held)))

    def _parse(self, batch: _Batch) -> Any:
        try:
            if not batch.hits:
                return self._parse_values(batch.values)
            ndjson = b"\n".join(batch.hits)
            if ndjson.count(b"\n") >= len(batch.hits):
                # Documents keep the line breaks that they were written with where the whole `_source` is asked for.
                ndjson = b"\n".join(msgspec.json.format(hit, indent=-1) for hit in batch.hits)
            return self._parse_hits(ndjson, len(batch.hits))
        finally:
            batch.hits, batch.values = [], []
            with self._room:
                self._waiting -= batch.size
                self._room.notify_all()
