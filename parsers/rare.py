"""Words seen in too few lines to be part of an event: the path for inputs with very many distinct lines.

Drain compares line by line, in Python. Where tens of thousands of distinct lines are left (names, hosts or free text vary in
them), the words that are seen in few of them become wildcards first, by compiled loops, until few enough lines are left. How
often a word is seen is counted in a sketch that never counts too little. All depends on the set of lines alone, not on their
order. What it changes is marked as approximate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.distinct import SLICE, buffers, distinct

# A line keeps its words where less than this share of them is seen often enough: it may be the only line of a rare event.
_SPARED = 0.5
_FACTOR = 2
# Counters in each of the sketch's two rows.
_COUNTERS = 1 << 18


def fold_rare_words(
    lines: pa.Array, weights: npt.NDArray[np.int64], most: int, turns: Sequence[str]
) -> tuple[pa.DictionaryArray, npt.NDArray[np.bool_]]:
    """`lines` (distinct, tokens parted by blanks) with rare words as `<*>`, so that about `most` distinct ones are left.

    `weights` says how often each line was seen. The words `turns` stay as long as possible. Also says which lines were
    changed.
    """
    folded = pa.DictionaryArray.from_arrays(pa.array(np.arange(len(lines), dtype=np.int32)), lines)
    changed = np.zeros(len(lines), dtype=bool)
    if len(lines) <= most:
        return folded, changed
    from parsers.folding_kernel import word_hash

    hashes = np.array(sorted(map(word_hash, turns)), np.uint64)
    for seen, spared in _thresholds(int(weights.sum()), most):
        step, touched = _fold(folded.dictionary, weights, seen, spared, hashes)
        changed |= touched[folded.indices.to_numpy()]
        weights = np.bincount(step.indices.to_numpy(), weights, len(step.dictionary)).astype(np.int64)
        folded = pa.DictionaryArray.from_arrays(pc.take(step.indices, folded.indices), step.dictionary)
        if len(folded.dictionary) <= most:
            break
    return folded, changed


def _thresholds(rows: int, most: int) -> Iterator[tuple[int, float]]:
    """How often a word must be seen, rising; then the same with no line and no word exempt."""
    first = max(2, 4 * rows // most)
    for spared in (_SPARED, 0.0):
        seen = first
        while seen <= rows:
            yield seen, spared
            seen *= _FACTOR


def _fold(
    lines: pa.Array, weights: npt.NDArray[np.int64], seen: int, spared: float, turns: npt.NDArray[np.uint64]
) -> tuple[pa.DictionaryArray, npt.NDArray[np.bool_]]:
    from parsers.folding_kernel import call, count_words, fold_words

    counts = np.zeros((2, _COUNTERS), np.uint32)
    lock = Lock()

    def count(start: int) -> None:
        offsets, data = buffers(lines.slice(start, SLICE))
        some = np.zeros_like(counts)
        call(count_words, data, offsets, weights[start : start + SLICE], seen, some)
        with lock:
            np.add(counts, some, out=counts)

    with ThreadPoolExecutor(max(1, pa.cpu_count())) as threads:
        # The list makes an error in a thread an error here.
        list(threads.map(count, range(0, len(lines), SLICE)))
    changed = np.zeros(len(lines), dtype=bool)
    # Another seed for each threshold: words that share a counter by chance do not share one again.
    step = distinct(
        lines,
        lambda some: call(
            fold_words,
            some.data,
            some.offsets,
            seen,
            counts,
            seen,
            spared,
            turns,
            changed[some.first :],
            *some.into,
        ),
    )
    return step, changed
