"""The lines of a file that are not blank, in groups that are read together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# Bytes of one slab: large enough to keep Arrow busy, small enough that a second reading is cheap.
_SLAB = 8 << 20


def slabs_of(buffer: Any) -> Iterator[tuple[Any, Any]]:
    """The start and end of each line that is not blank, without surrounding white space, in groups of about `_SLAB`."""
    data = np.frombuffer(buffer, dtype=np.uint8)
    if not len(data):
        return
    breaks = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), breaks + 1])
    ends = np.concatenate([breaks, np.array([len(data)], dtype=np.int64)])
    if bytes(data[:3]) == b"\xef\xbb\xbf":
        starts[0] = 3
    starts = _trim(data, starts, ends, forward=True)
    ends = _trim(data, ends, starts, forward=False)
    kept = starts < ends
    starts, ends = starts[kept], ends[kept]
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + _SLAB, side="right")))
        yield starts[first:last], ends[first:last]
        first = last


def _trim(data: Any, edges: Any, limits: Any, *, forward: bool) -> Any:
    """`edges` moved past white space, towards `limits`."""
    space = np.zeros(256, dtype=bool)
    space[[9, 11, 12, 13, 32]] = True
    step = 1 if forward else -1
    rows = np.flatnonzero(edges < limits) if forward else np.flatnonzero(edges > limits)
    while len(rows):
        at = edges[rows] if forward else edges[rows] - 1
        rows = rows[space[data[at]]]
        edges[rows] += step
        rows = rows[edges[rows] < limits[rows]] if forward else rows[edges[rows] > limits[rows]]
    return edges
