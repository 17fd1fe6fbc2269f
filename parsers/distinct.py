"""Distinct results of a compiled loop over slices of lines, in threads: the numbers of the lines' results, and the results."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Rows that are worked on at a time: what a slice needs beside the lines themselves stays small.
SLICE = 1 << 15
# Bytes that an Arrow string array can hold.
_MOST = 1 << 31


@dataclass(frozen=True)
class Slice:
    """Some of the lines, from row `first` on, for a loop of `folding_kernel.py`: `into` is what the loop writes to."""

    data: Any
    offsets: Any
    first: int
    into: tuple[Any, ...]


def distinct(lines: pa.Array | pa.ChunkedArray, loop: Callable[[Slice], int]) -> pa.DictionaryArray:
    """What `loop` makes of each of `lines` (string, null is empty), dictionary-encoded. It says how many results it has."""
    chunks = lines.chunks if isinstance(lines, pa.ChunkedArray) else [lines]
    slices = [chunk.slice(at, SLICE) for chunk in chunks for at in range(0, len(chunk), SLICE)]
    rows = np.cumsum([0, *map(len, slices)])
    results = _Results(int(rows[-1]), lines.nbytes)

    def work(number: int) -> None:
        results.add(slices[number], int(rows[number]), loop)

    if len(slices) < 2:
        for number in range(len(slices)):
            work(number)
    else:
        with ThreadPoolExecutor(max(1, pa.cpu_count())) as threads:
            # The list makes an error in a thread an error here.
            list(threads.map(work, range(len(slices))))
    return results.encoded()


def buffers(lines: pa.Array) -> tuple[Any, Any]:
    """Offsets (one more than there are lines) and bytes of a string array."""
    _, offsets, data = lines.buffers()
    if not len(lines) or offsets is None:
        return np.zeros(len(lines) + 1, np.int32), np.zeros(0, np.uint8)
    all_offsets = np.frombuffer(offsets, np.int32)
    values = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return all_offsets[lines.offset : lines.offset + len(lines) + 1], values


class _Results:
    """All slices' results. What is allocated for the worst case and never written takes no memory."""

    def __init__(self, rows: int, size: int) -> None:
        self.codes: npt.NDArray[np.int32] = np.empty(rows, np.int32)
        self.slots: npt.NDArray[np.int32] = np.zeros(_power(2 * rows), np.int32)
        self.hashes: npt.NDArray[np.uint64] = np.empty(rows, np.uint64)
        # `<*>` can stand for a single digit.
        self.text: npt.NDArray[np.uint8] = np.empty(3 * size + 8, np.uint8)
        self.ends: npt.NDArray[Any] = np.zeros(rows + 1, np.int32 if len(self.text) < _MOST else np.int64)
        self.count = 0
        self.lock = Lock()

    def add(self, lines: pa.Array, first: int, loop: Callable[[Slice], int]) -> None:
        from parsers.folding_kernel import call, room, unite

        lines = pc.fill_null(lines, "")
        offsets, data = buffers(lines)
        size = len(lines)
        codes = self.codes[first : first + size]
        words = room(int(offsets[-1] - offsets[0]), size)
        starts, sizes, hashes = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.uint64)
        slots = np.zeros(_power(2 * size), np.int32)
        found = loop(Slice(data, offsets, first, (codes, words, starts, sizes, hashes, slots)))
        numbers = np.empty(found, np.int32)
        with self.lock:
            self.count = call(
                unite,
                words,
                starts[:found],
                sizes[:found],
                hashes[:found],
                self.slots,
                self.hashes,
                self.ends,
                self.text,
                self.count,
                numbers,
            )
        np.take(numbers, codes, out=codes)

    def encoded(self) -> pa.DictionaryArray:
        ends = self.ends[: self.count + 1]
        text = pa.py_buffer(self.text[: ends[-1]])
        if ends[-1] >= _MOST:
            raise OverflowError(f"the {self.count:,} distinct lines are more than 2 GiB of text")
        offsets = pa.py_buffer(ends.astype(np.int32, copy=False))
        dictionary = pa.Array.from_buffers(pa.string(), self.count, [None, offsets, text])
        return pa.DictionaryArray.from_arrays(pa.array(self.codes), dictionary)


def _power(least: int) -> int:
    return 1 << max(4, int(least - 1).bit_length())
