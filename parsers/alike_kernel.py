"""The loop of `alike.py` over the bytes of many messages, compiled. Importing this imports numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsers.folding_kernel import _compiled

# What may stand in a time, each digit counted as 0.
SIGNS = np.zeros(256, np.uint8)
SIGNS[list(b" ()+,-./:TZ[]0")] = list(b" ()+,-./:TZ[]0")
SIGNS[ord("1") : ord("9") + 1] = ord("0")

# Messages that are looked at together.
_BLOCK = 64
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@_compiled
def look(
    data: np.ndarray,
    offsets: np.ndarray,
    signs: np.ndarray,
    head: int,
    tail: int,
    shapes: np.ndarray,
    ranks: np.ndarray,
) -> None:
    """For each message the hash of its numeric beginning's shape and of the lines behind its first, and a hash of its last bytes.

    The beginning, at most `head` bytes, ends at the first byte that `signs` (one of `SIGNS`) does not know. The last bytes are `tail`.
    """
    breaks = np.uint8(0)
    for row in range(offsets.size - 1):
        begin, end = int(offsets[row]), int(offsets[row + 1])
        shape = np.uint64(end > begin) + _PRIME
        stop = min(end, begin + head)
        at = begin
        while at < stop:
            byte = np.uint64(signs[data[at]])
            if byte == 0:
                break
            shape = (shape ^ byte) * _PRIME
            shape ^= shape >> np.uint64(29)
            at += 1
        if row % _BLOCK == 0:
            # One look at many messages tells that hardly any has a second line.
            breaks = np.uint8(0)
            for at in range(begin, int(offsets[min(row + _BLOCK, offsets.size - 1)])):
                breaks |= np.uint8(data[np.uint64(at)] == 10)
        if breaks:
            shape ^= _rest(data, begin, end)
        shapes[row] = shape
        rank = np.uint64(end - begin) * _PRIME
        for at in range(max(begin, end - tail), end):
            rank = (rank ^ np.uint64(data[at])) * _PRIME
        rank ^= rank >> np.uint64(32)
        ranks[row] = rank * _PRIME


@_compiled
def _rest(data: np.ndarray, begin: int, end: int) -> Any:
    """The hash of what follows the first line of `data[begin:end]`, each number of two digits or more counted as the same."""
    at = begin
    while at < end and data[at] != 10:
        at += 1
    code = np.uint64(0)
    while at < end:
        byte = np.uint64(data[at])
        at += 1
        if 48 <= byte <= 57 and at < end and 48 <= data[at] <= 57:
            byte = np.uint64(1)
            while at < end and 48 <= data[at] <= 57:
                at += 1
        code = (code ^ byte) * _PRIME
        code ^= code >> np.uint64(29)
    return code
