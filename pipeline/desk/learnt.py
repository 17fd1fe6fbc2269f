"""Which queue a ticket belongs to, learnt from those that were closed: a probability for each queue.

A ticket's features are the TF-IDF of its words and pairs of words, of its letters in runs of 2 to 6, of what the system said,
and its vector of meaning. Two linear models are learnt on them and their answers averaged: multinomial logistic regression,
whose probabilities are good, and support vector machines, whose first choice is. Where the extra `english` is installed, an
English ticket is also compared with those that mean nearly the same (`neighbours.py`), by both vectors; another is told by
the two models alone. `benchmarks/desk.py --choose` compares the choices made here, on training data alone.

scikit-learn (BSD-3) learns and computes features; the models are kept as plain arrays and never pickled.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.desk import english
from pipeline.desk.neighbours import Neighbours, joined, learn_neighbours
from pipeline.desk.words import missing, surface_words
from pipeline.faults.wording_model import softmax

FILE = "queues.npz"
# Fewer closed tickets than this teach nothing, nor does a queue with fewer than that.
LEAST = 60
LEAST_OF_ONE = 3
_FEATURES = 100_000
# How much a vector of length 1 weighs beside the TF-IDF blocks, each of length 1 too.
MEANING = 2.0
LOGISTIC_C = 30.0
MARGIN_C = 0.3
# A margin of 1 between two queues counts as odds of e to this.
SHARPNESS = 9.0
SHARE_OF_MARGINS = 0.5
# Of the whole, the votes of the nearest; of what they leave, the regression beside the two linear models.
SHARE_OF_NEIGHBOURS = 0.7
SHARE_OF_VOTES = 0.2


@dataclass(frozen=True)
class Block:
    """The TF-IDF of one kind of feature: 0 words and pairs, 1 runs of letters, 2 what the system said."""

    kind: int
    terms: tuple[str, ...]
    idf: NDArray[np.float64]

    @functools.cached_property
    def _vectorizer(self) -> Any:
        made = _vectorizer(self.kind, vocabulary=self.terms)
        made.idf_ = self.idf
        return made

    def features(self, documents: Sequence[Any]) -> Any:
        """A sparse row of length 1 a document."""
        return self._vectorizer.transform(documents)


@dataclass(frozen=True)
class Queues:
    """The learnt models. `until` is when the newest ticket that they were learnt from was closed.

    `neighbours` is None where the second vector, of the extra `english`, was not there to learn from.
    """

    names: tuple[str, ...]
    until: datetime
    tickets: int
    blocks: tuple[Block, ...]
    weights: tuple[NDArray[np.float32], NDArray[np.float32]]
    biases: tuple[NDArray[np.float32], NDArray[np.float32]]
    meaning: bool
    neighbours: Neighbours | None = None

    def probabilities(
        self, texts: Sequence[str], said: Sequence[Sequence[str]], vectors: NDArray[np.float32] | None
    ) -> NDArray[np.float64]:
        """A row a text, a column a queue of `names`; each row sums to 1.

        Raises `UsageError` where an extra that was there to learn is not there now.
        """
        first = vectors if self.meaning else None
        # As the weights are: a product of two kinds of floats would copy all weights for each ticket.
        features = _features(self.blocks, texts, said, first).astype(np.float32)
        logistic, margin = (
            np.asarray(features @ weight, np.float64) + bias
            for weight, bias in zip(self.weights, self.biases, strict=True)
        )
        share = SHARE_OF_MARGINS
        mixed: NDArray[np.float64] = (1 - share) * softmax(logistic) + share * softmax(SHARPNESS * margin)
        if self.neighbours is not None:
            second = english.encode(texts)
            # Chinese stays as it is: the second model reads nothing there, and by the first alone neighbours tell less.
            told = np.flatnonzero(second.any(axis=1))
            regressed, votes = self.neighbours.probabilities(joined(first, second)[told])
            among = (1 - SHARE_OF_NEIGHBOURS) * mixed[told] + SHARE_OF_NEIGHBOURS * regressed
            mixed[told] = (1 - SHARE_OF_VOTES) * among + SHARE_OF_VOTES * votes
        return mixed

    def write(self, folder: Path) -> None:
        """Keeps the models in `folder`. Raises `OSError`."""
        arrays: dict[str, Any] = {
            "names": np.array(self.names),
            "until": np.array(self.until.isoformat()),
            "tickets": np.array(self.tickets),
            "meaning": np.array(self.meaning),
        }
        for block in self.blocks:
            # An array of strings would pad each to the longest.
            arrays[f"terms{block.kind}"] = np.frombuffer(msgspec.json.encode(block.terms), np.uint8)
            arrays[f"idf{block.kind}"] = block.idf
        for i in range(2):
            arrays[f"weights{i}"], arrays[f"biases{i}"] = self.weights[i], self.biases[i]
        if self.neighbours is not None:
            arrays["neighbours"], arrays["neighbours_codes"] = self.neighbours.rows, self.neighbours.codes
            arrays["neighbours_weights"] = self.neighbours.weights
        np.savez(folder / FILE, **arrays)


def read_queues(folder: Path) -> Queues | None:
    """The models kept in `folder`, None where none were. Raises `OSError`, `ValueError` or `KeyError` where damaged."""
    if not (folder / FILE).exists():
        return None
    with np.load(folder / FILE, allow_pickle=False) as kept:
        blocks = tuple(
            Block(kind, msgspec.json.decode(kept[f"terms{kind}"].tobytes(), type=tuple[str, ...]), kept[f"idf{kind}"])
            for kind in range(3)
            if f"terms{kind}" in kept
        )
        near = [kept[name] for name in ("neighbours", "neighbours_codes", "neighbours_weights") if name in kept]
        return Queues(
            names=tuple(map(str, kept["names"])),
            until=datetime.fromisoformat(str(kept["until"])),
            tickets=int(kept["tickets"]),
            blocks=blocks,
            weights=(kept["weights0"], kept["weights1"]),
            biases=(kept["biases0"], kept["biases1"]),
            meaning=bool(kept["meaning"]),
            neighbours=Neighbours(*near) if near else None,
        )


def learn(
    texts: Sequence[str],
    said: Sequence[Sequence[str]],
    vectors: NDArray[np.float32] | None,
    labels: Sequence[str],
    until: datetime,
    *,
    with_english: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Queues | None:
    """Models of `labels`, the queues in which the tickets were closed; None where they are too few to learn from.

    Tickets come oldest first. Those of a queue that closed fewer than `LEAST_OF_ONE` are left out. `with_english` reads them a
    second time by the model of the extra `english`. Raises `UsageError` where that or the extra `desk` is not installed.
    """
    names, codes, counts = np.unique(
        np.array(labels, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    keep = np.flatnonzero(counts[codes] >= LEAST_OF_ONE).tolist()
    known = np.unique(codes[keep])
    if len(keep) < LEAST or len(known) < 2:
        return None
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise missing("desk", error) from error
    texts, said = [texts[i] for i in keep], [said[i] for i in keep]
    vectors = None if vectors is None else vectors[keep]
    second = _second(texts, progress) if with_english else None
    progress(f"learning {len(known):,} queues from {len(keep):,} tickets")
    blocks = tuple(block for kind in range(3) if (block := _fitted(kind, texts, said)) is not None)
    features = _features(blocks, texts, said, vectors)
    models = (
        LogisticRegression(C=LOGISTIC_C, max_iter=200),
        LinearSVC(C=MARGIN_C, random_state=0),
    )
    weights, biases = zip(*(_plain(model.fit(features, codes[keep])) for model in models), strict=True)
    near = None
    if second is not None:
        near = learn_neighbours(joined(vectors, second), np.searchsorted(known, codes[keep]), len(known))
    return Queues(
        names=tuple(map(str, names[known])),
        until=until,
        tickets=len(keep),
        blocks=blocks,
        weights=weights,
        biases=biases,
        meaning=vectors is not None,
        neighbours=near,
    )


def _second(texts: Sequence[str], progress: Callable[[str], None]) -> NDArray[np.float32] | None:
    """The vectors of the extra `english`, None where too few tickets are in that language to learn from."""
    progress(f"reading the English of {len(texts):,} tickets")
    found = english.encode(texts)
    return found if np.count_nonzero(found.any(axis=1)) >= LEAST else None


def _plain(model: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A model's weights, features x queues, and biases. Of two queues scikit-learn keeps one row, for the second."""
    weights, biases = model.coef_, model.intercept_
    if len(weights) == 1:
        weights, biases = np.vstack([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    return np.ascontiguousarray(weights.T, np.float32), biases.astype(np.float32)


def _fitted(kind: int, texts: Sequence[str], said: Sequence[Sequence[str]]) -> Block | None:
    """The block of that kind, None where no document has a feature of it."""
    made = _vectorizer(kind)
    try:
        made.fit(said if kind == 2 else texts)
    except ValueError:
        # "empty vocabulary": nothing was said, or nothing twice.
        return None
    return Block(kind, tuple(map(str, made.get_feature_names_out())), made.idf_)


def _vectorizer(kind: int, vocabulary: Sequence[str] | None = None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    given = {"sublinear_tf": True, "max_features": _FEATURES, "vocabulary": vocabulary, "dtype": np.float64}
    if kind == 0:
        return TfidfVectorizer(analyzer=_words_and_pairs, **given)
    if kind == 1:
        return TfidfVectorizer(analyzer="char", ngram_range=(2, 6), min_df=1 if vocabulary else 2, **given)
    return TfidfVectorizer(analyzer=list, **given)


def _words_and_pairs(text: str) -> list[str]:
    # Unstemmed, and with small words: "was charged" and "charge" are two questions.
    words = surface_words(text)
    return [*words, *(f"{one} {two}" for one, two in itertools.pairwise(words))]


def _features(
    blocks: Sequence[Block],
    texts: Sequence[str],
    said: Sequence[Sequence[str]],
    vectors: NDArray[np.float32] | None,
) -> Any:
    from scipy import sparse

    parts = [block.features(said if block.kind == 2 else texts) for block in blocks]
    if vectors is not None:
        parts.append(sparse.csr_matrix(vectors.astype(np.float64) * MEANING))
    return sparse.hstack(parts).tocsr()
