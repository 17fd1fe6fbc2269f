"""A page of hits as Elasticsearch sent it, and the wanted values in it as Arrow columns.

`Page` cuts the hits out of a search's answer, as bytes. `Wanted` reads given fields of them by a compiled loop, which stops at
whatever is unusual; then the hits are read one JSON object a line, by `parsers/documents` or `columns.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

META = ("_index", "_id")
# From this many hits on, loading the compiled loops (half a second of CPU, once a process) is worth it: they save 3 us a hit.
_COMPILED_FROM = 150_000
# Hits that are read at a time, no less than one page can hold.
_BLOCK = 16_384
# Fields that a page of hits has of those that are wanted; one with more is read the other way.
_MOST = 48
# A smaller answer is read in no time, whichever way.
_LEAST_BYTES = 64 << 10
_BEGIN = b'"hits":['
# The end of an answer that ends with its last hit. Quotes in a text are escaped, so none of this can stand in one.
_END = re.compile(rb'"sort":(\[-?\d+(?:,-?\d+)*\])\}\]\}\}$')


class _Hits(msgspec.Struct):
    hits: list[msgspec.Raw] = []


class _Answer(msgspec.Struct):
    hits: _Hits


@dataclass(frozen=True)
class Page:
    """The hits in `answer[first:last]`, between the brackets of their array; `sort` is the place of the last in the order."""

    answer: bytes
    first: int
    last: int
    sort: list[Any]

    @classmethod
    def of(cls, answer: bytes) -> Page | None:
        """The page in the answer to a search that ends with its hits, if it is one of some size."""
        if not _LEAST_BYTES <= len(answer) < 1 << 31:
            return None
        end = _END.search(answer, len(answer) - 200)
        first = answer.find(_BEGIN, 0, _LEAST_BYTES) + len(_BEGIN)
        if end is None or first < len(_BEGIN):
            return None
        return cls(answer, first, len(answer) - 3, msgspec.json.decode(end[1]))

    def around(self) -> bytes:
        """The answer without its hits."""
        return self.answer[: self.first] + self.answer[self.last :]

    def hits(self) -> list[msgspec.Raw]:
        """Each hit as the JSON that it came in. Raises `msgspec.DecodeError`."""
        return msgspec.json.decode(self.answer, type=_Answer).hits.hits


@dataclass(frozen=True)
class Values:
    """Wanted values of some hits: string Arrays by path, of one length; a path that no hit has may be missing."""

    columns: Mapping[str, pa.Array]
    rows: int

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, some: slice) -> Values:
        rows = range(*some.indices(self.rows))
        columns = {path: column.slice(rows.start, len(rows)) for path, column in self.columns.items()}
        return Values(columns, len(rows))


def joined(parts: Sequence[Values]) -> Values:
    """The values of all hits, one after the other."""
    if len(parts) == 1:
        return parts[0]
    paths = dict.fromkeys(path for part in parts for path in part.columns)
    columns = {}
    for path in paths:
        columns[path] = pa.concat_arrays(
            [part.columns.get(path, pa.nulls(0 if path in part.columns else part.rows, pa.string())) for part in parts]
        )
    return Values(columns, sum(part.rows for part in parts))


def worth_compiling(hits: int) -> bool:
    """Whether that many hits are better read by the compiled loops, loading them included."""
    return hits >= _COMPILED_FROM or "parsers.hits_kernel" in sys.modules


class Wanted:
    """The fields that are read of a hit, as the trie that `hits_kernel.py` walks."""

    def __init__(self, spelled: Mapping[str, Sequence[tuple[str, ...]]], shown: frozenset[str]) -> None:
        """`spelled` has the keys that lead to each path; `shown` are the paths where a list or an object is a value, too."""
        from parsers.folding_kernel import call
        from parsers.hits_kernel import plant

        self.paths = (*META, *spelled)
        nodes: list[dict[str, int]] = [{}]
        leaves = [-1]
        for number, path in enumerate(self.paths):
            ways = [(path,)] if number < len(META) else [("_source", *keys) for keys in spelled[path]]
            for keys in ways:
                node = 0
                for key in keys:
                    if key not in nodes[node]:
                        nodes[node][key] = len(nodes)
                        nodes.append({})
                        leaves.append(-1)
                    node = nodes[node][key]
                leaves[node] = number
        text = b""
        edges = []
        for node, below in enumerate(nodes):
            for key, child in below.items():
                edges.append((node, len(text), len(text) + len(key.encode()), child))
                text += key.encode()
        # Keys are read by eight bytes, so some more follow the last.
        letters = np.frombuffer(text + bytes(16), np.uint8)
        table = np.array(edges, np.int64)
        slots = np.full(1 << (4 * len(edges)).bit_length(), -1, np.int64)
        call(plant, table, letters.ctypes.data, slots)
        self._spare: list[tuple[Any, Any, Any]] = []
        # The loop is given addresses; what stands there is kept here.
        self._memory = (table, letters, slots)
        self._trie = (
            *(memory.ctypes.data for memory in self._memory),
            len(slots) - 1,
            np.array(leaves, np.int64),
            np.array([bool(below) for below in nodes]),
            np.array([path in shown for path in self.paths]),
        )

    def read(self, page: Page) -> Values | None:
        """The values of the page's hits, or None where something in it is unusual, so that it has to be read with more care."""
        # Memory that was used before is at hand; new memory has to be cleared by the system first. Several threads read.
        try:
            scratch = self._spare.pop()
        except IndexError:
            scratch = _scratch()
        try:
            return self._read(page, scratch)
        finally:
            self._spare.append(scratch)

    def _read(self, page: Page, scratch: tuple[Any, Any, Any]) -> Values | None:
        from parsers.folding_kernel import call
        from parsers.hits_kernel import walk

        buffer = pa.py_buffer(page.answer)
        if not is_utf8(buffer.slice(page.first, page.last - page.first)):
            return None
        data = np.frombuffer(page.answer, np.uint8)
        found, starts, sizes = scratch
        place = np.array([page.first, 0], np.int64)
        parts: list[Values] = []
        while not parts or len(parts[-1]) == _BLOCK:
            rows = call(
                walk,
                data.ctypes.data,
                place,
                page.last,
                len(data),
                *self._trie,
                META.index("_id"),
                *scratch,
            )
            if rows < 0:
                return None
            columns = {}
            for number, leaf in enumerate(found[: place[1]].tolist()):
                column = texts_at(data, starts[number, :rows], sizes[number, :rows])
                if column is None:
                    return None
                columns[self.paths[leaf]] = column
            parts.append(Values(columns, rows))
        return joined(parts) if place[0] == page.last else None


def _scratch() -> tuple[Any, Any, Any]:
    """What `walk` writes to."""
    return np.empty(_MOST, np.int64), np.empty((_MOST, _BLOCK), np.int32), np.empty((_MOST, _BLOCK), np.int32)


def texts_at(data: Any, starts: Any, sizes: Any) -> pa.Array | None:
    """The texts of `sizes` bytes (int32) from the bytes `starts` (int32) of `data` (uint8) on; null where one begins before it.

    A size below zero is that of JSON with escapes in it, which are spelled out. None where one of them is no text.
    """
    from parsers.folding_kernel import call
    from parsers.hits_kernel import gather

    rows = len(starts)
    offsets = np.empty(rows + 1, np.int32)
    valid = np.empty((rows + 7) // 8, np.uint8)
    room = int(np.abs(sizes).sum(dtype=np.int64, where=starts >= 0))
    # Texts are written by eight bytes.
    out = np.empty(room + 8, np.uint8)
    missing = call(gather, data.ctypes.data, len(data), starts, sizes, offsets, valid, out.ctypes.data)
    if missing < 0:
        return None
    bitmap = pa.py_buffer(valid) if missing else None
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(out), bitmap, missing)


def is_utf8(buffer: Any) -> bool:
    """Whether the bytes are valid UTF-8; checked in place."""
    ends = pa.array([0, buffer.size], pa.int64()).buffers()[1]
    try:
        pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, ends, buffer]).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True
