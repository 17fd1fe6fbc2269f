"""Which tickets hold which word, and how much that says: BM25 as of a moment.

Tickets are numbered in the order in which they were closed, so those closed before a moment are the first `n`. Counting
words, lengths and tickets among the first `n` alone makes a score what it was at that moment, whatever was closed since: no
search library that was tried can do that, each counts words over all that it holds.

score(q, d) = sum over the words of q in d of idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * |d| / mean |d|)),
idf = ln(1 + (n - df + .5) / (df + .5)): Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, with Lucene's
idf, which is never negative. A score is given as a share: divided by the sum of idf, so 1 means that the ticket holds
all that the query's words say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

K1 = 1.2
B = 0.75


@dataclass(frozen=True)
class Known:
    """What the query's words are worth among `tickets` tickets: word -> idf, and the mean length of those that have words.

    Few tickets have a snapshot at first: were the others counted as of length 0, each of the few would seem endless.
    """

    tickets: int
    mean_length: float
    idf: dict[str, float]

    @property
    def total(self) -> float:
        """The sum of idf: what all the query's words say together."""
        return sum(self.idf.values())


def worth(tickets: int, holding: int) -> float:
    """The idf of a word that `holding` of `tickets` tickets hold."""
    return float(np.log1p((tickets - holding + 0.5) / (holding + 0.5)))


class Postings:
    """The words of tickets in order of closing: `words[i]` are those of ticket `i`."""

    def __init__(self, words: pa.ListArray) -> None:
        """Counts the words of each ticket. `words` is a list of strings a ticket, without nulls."""
        lengths = pc.list_value_length(words).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = words.flatten().dictionary_encode()
        vocabulary, codes = flat.dictionary, flat.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        tickets = np.repeat(np.arange(len(words), dtype=np.int64), lengths)
        # One key a pair of word and ticket; sorted, they are the postings of each word in order of closing.
        keys, counts = np.unique(codes * max(1, len(words)) + tickets, return_counts=True)
        word, ticket = np.divmod(keys, max(1, len(words)))
        self._at = {text: i for i, text in enumerate(vocabulary.to_pylist())}
        self._starts = np.searchsorted(word, np.arange(len(vocabulary) + 1))
        self._tickets = ticket.astype(np.int32)
        self._counts = counts.astype(np.float32)
        self._lengths = lengths.astype(np.float32)
        self._sums = np.concatenate([[0], np.cumsum(lengths)])
        self._filled = np.concatenate([[0], np.cumsum(lengths > 0)])

    def known(self, words: Iterable[str], n: int) -> Known:
        """What each distinct word is worth among the first `n` tickets. One that nobody held is worth most."""
        idf = {word: worth(n, len(self._held(word, n)[0])) for word in dict.fromkeys(words)}
        filled = int(self._filled[n])
        return Known(n, float(self._sums[n]) / filled if filled else 0.0, idf)

    def shares(self, known: Known) -> NDArray[np.float32]:
        """The score of each of the first `known.tickets` tickets, as a share of 1."""
        n = known.tickets
        scores = np.zeros(n, np.float32)
        if not known.total or not known.mean_length:
            return scores
        long = np.float32(K1) * (np.float32(1 - B) + np.float32(B / known.mean_length) * self._lengths[:n])
        for word, idf in known.idf.items():
            tickets, counts = self._held(word, n)
            scores[tickets] += np.float32(idf * (K1 + 1)) * counts / (counts + long[tickets])
        # Repeated words of a short ticket can outweigh the query's own; more than all is still all.
        shares: NDArray[np.float32] = np.minimum(scores / np.float32(known.total), np.float32(1))
        return shares

    def _held(self, word: str, n: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The tickets among the first `n` that hold `word`, and how often each does."""
        if (code := self._at.get(word)) is None:
            return self._tickets[:0], self._counts[:0]
        start, end = self._starts[code], self._starts[code + 1]
        end = start + np.searchsorted(self._tickets[start:end], n)
        return self._tickets[start:end], self._counts[start:end]


def share_of(held: Sequence[str], known: Known) -> float:
    """What `Postings.shares` gives for a ticket with the words `held`: for tickets that are kept elsewhere."""
    if not known.total or not known.mean_length:
        return 0.0
    long = K1 * (1 - B + B * len(held) / known.mean_length)
    score = 0.0
    for word, idf in known.idf.items():
        if count := held.count(word):
            score += idf * (K1 + 1) * count / (count + long)
    return min(1.0, score / known.total)
