"""The nearest of many vectors of meaning, without reading them all.

The sign of each number of a vector is one bit. Vectors that lie close differ in few bits, and bits are 32 times smaller than
numbers: the tickets that differ least are found first, and only theirs are compared exactly (binary quantisation with
rescoring). Nothing is learnt from the tickets, so what was added later changes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Vectors:
    """Rows of length 1 (or 0), `tickets` x width, in the order of closing."""

    def __init__(self, rows: NDArray[np.float16]) -> None:
        """`rows` may be a memory map."""
        self._rows = rows
        self._bits = _bits(rows)

    def nearest(self, vector: NDArray[np.float32], n: int, most: int) -> NDArray[np.int64]:
        """At most `most` of the first `n` rows that differ from `vector` in the fewest bits; of equal ones the older."""
        differ = np.bitwise_count(self._bits[:n] ^ _bits(vector[None])).sum(axis=1, dtype=np.int64)
        # Ties are broken by age within one number, so that the choice is the same whatever lies behind row n.
        key = differ * (n + 1) + np.arange(n)
        return np.argpartition(key, most)[:most] if n > most else np.arange(n)

    def cosines(self, vector: NDArray[np.float32], tickets: NDArray[np.int64]) -> NDArray[np.float32]:
        """The cosine of each of `tickets` with `vector`, none below 0."""
        found: NDArray[np.float32] = np.maximum(self._rows[tickets].astype(np.float32) @ vector, np.float32(0))
        return found


def _bits(rows: NDArray[np.float16] | NDArray[np.float32]) -> NDArray[np.uint64]:
    # In parts: a mask of all rows would be as large as the vectors.
    parts = [np.packbits(rows[i : i + 8192] > 0, axis=1).view(np.uint64) for i in range(0, len(rows), 8192)]
    return np.concatenate(parts) if parts else np.zeros((0, rows.shape[1] // 64), np.uint64)
