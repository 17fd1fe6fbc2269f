"""Queues by the closed tickets that mean nearly the same: kernel ridge regression, and the votes of the nearest.

Rows are vectors of meaning of length 1. The kernel of two is exp(2 (cosine - 1)), a Gaussian. Ridge regression on it towards 1 for
the own queue and 0 for the others has a closed form (Saunders et al., "Ridge Regression Learning Algorithm in Dual
Variables", ICML 1998). All rows are kept, so only the newest `MOST` tickets are learnt from: 18 MB at most in the index.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.faults.wording_model import softmax

MOST = 10_000
RIDGE = 0.1
# A share of 1 in the regression counts as odds of e to this.
SHARPNESS = 16.0
NEAREST = 20
# A vote counts the kernel to this power: of two tickets, the one whose cosine is .05 higher counts 2.7 times.
CLOSENESS = 10.0


@dataclass(frozen=True)
class Neighbours:
    """`rows` of the tickets, tickets x width; the `codes` of their queues; and the regression's weights, queues x tickets."""

    rows: NDArray[np.float16]
    codes: NDArray[np.int32]
    weights: NDArray[np.float32]

    def probabilities(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By the regression, and by the votes: a row a row of `rows`, a column a queue, each row sums to 1."""
        # Row by row: a product of matrices wakes BLAS' other threads, which then spin for longer than one query takes.
        near = _kernel(np.vecdot(rows[:, None], self._rows))
        # What is nearer first, then what is older: not as a partition happens to leave them.
        nearest = np.argsort(-near, axis=1, kind="stable")[:, :NEAREST]
        counts = np.take_along_axis(near, nearest, axis=1).astype(np.float64) ** CLOSENESS
        votes = np.zeros((len(rows), len(self.weights)))
        np.add.at(votes, (np.arange(len(rows))[:, None], self.codes[nearest]), counts)
        votes /= votes.sum(axis=1, keepdims=True)
        regressed = np.vecdot(near[:, None], self.weights)
        return softmax(SHARPNESS * regressed.astype(np.float64)), votes

    @functools.cached_property
    def _rows(self) -> NDArray[np.float32]:
        return self.rows.astype(np.float32)


def learn_neighbours(rows: NDArray[np.float32], codes: Sequence[int] | NDArray[np.int64], queues: int) -> Neighbours:
    """The regression of `codes`, numbers below `queues`, on `rows`, oldest first; of more than `MOST` the last ones."""
    from scipy.linalg import cho_factor, cho_solve

    kept = rows[-MOST:].astype(np.float16)
    own = np.asarray(codes)[-MOST:].astype(np.int32)
    known = kept.astype(np.float32)
    gram = _kernel(known @ known.T)
    gram[np.diag_indices(len(gram))] += np.float32(RIDGE)
    # Symmetric, so turned over it is the same, and in the order in which LAPACK needs no copy of 400 MB.
    weights = cho_solve(cho_factor(gram.T, overwrite_a=True), np.eye(queues, dtype=np.float32)[own])
    return Neighbours(kept, own, np.ascontiguousarray(weights.T, np.float32))


def joined(*vectors: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Vectors of one text by several models as one row of length 1; a model that said nothing (zeros) takes no share."""
    row = np.hstack([one for one in vectors if one is not None])
    length = np.linalg.norm(row, axis=1, keepdims=True)
    found: NDArray[np.float32] = (row / np.where(length > 0, length, 1)).astype(np.float32)
    return found


def _kernel(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    # In place: at ten thousand tickets a copy is 400 MB.
    cosines -= 1
    cosines *= 2
    return np.exp(cosines, out=cosines)
