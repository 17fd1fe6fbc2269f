"""Which fault a question is about, in whatever words: a probability for each fault of the taxonomy.

Readers that err differently are joined, p ~ (words + e) * (meaning + e):

- words: the wording model of `pipeline/faults`, which knows words and their concepts in two languages;
- meaning, where the extra `meaning` is installed: the mean of two readings of the sentence's vector (`meaning.py`). One is
  multinomial logistic regression, the other looks at the two nearest of the texts that are known for each fault.

The texts are code meanings, messages, the taxonomy's own words and what people say at a desk (`asked.toml`); the phrases of
the wording model's guide, which no person ever said, make both worse. `reading_model.npz` holds what was learnt, `learn` makes
it anew. No question of `benchmarks/data` is among the texts.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.desk import meaning
from pipeline.desk.asked import asked
from pipeline.desk.modules import without_products
from pipeline.errors import UsageError
from pipeline.faults.tables import taxonomy
from pipeline.faults.wording_model import Wording, model, softmax

FILE = "reading_model.npz"
# What a reader grants to a fault that he rules out: the other may be right.
DOUBT = 0.01
_STRENGTH = 10.0
# How many known texts of each fault are looked at, and how much a difference of cosines tells.
_NEAREST, _SHARPNESS = 2, 25.0


@functools.cache
def faults() -> tuple[str, ...]:
    """The faults as `class/subclass`, in the taxonomy's order."""
    return tuple(f"{fault_class}/{subclass}" for fault_class, subclass in taxonomy())


def read_questions(texts: Sequence[str], *, with_meaning: bool) -> NDArray[np.float64]:
    """The logarithm of each fault's probability, up to a constant: `len(texts)` x `len(faults())`."""
    bare = [without_products(text) for text in texts]
    told = np.log(np.array([_by_words(text) for text in bare]).reshape(-1, len(faults())) + DOUBT)
    if with_meaning:
        told += np.log(_by_meaning(meaning.encode(bare)) + DOUBT)
    return np.asarray(told, np.float64)


def _by_words(text: str) -> NDArray[np.float64]:
    reader = model()
    wording = Wording(text)
    scores = reader.score(wording, reader.terms_of(wording))
    if scores is None:
        return np.full(len(faults()), 1 / len(faults()))
    places = {name: place for place, name in enumerate(faults())}
    values = np.full(len(faults()), -np.inf)
    both = scores.values[_classes(reader)] + scores.subclass_values
    for name, value in zip(reader.file.subclasses, both, strict=True):
        if name in places:
            values[places[name]] = value
    return softmax(values)


def _classes(reader: Any) -> NDArray[np.int64]:
    return np.array([reader.classes.index(name.partition("/")[0]) for name in reader.file.subclasses])


def _by_meaning(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    learnt = _learnt()
    drawn = softmax(vectors.astype(np.float64) @ learnt.weights.T + learnt.bias)
    cosines = vectors @ learnt.texts.T
    nearest = np.zeros((len(vectors), len(faults())))
    for place, (start, end) in enumerate(pairwise(learnt.starts)):
        nearest[:, place] = np.sort(cosines[:, start:end], axis=1)[:, -_NEAREST:].mean(axis=1)
    return np.asarray((drawn + softmax(_SHARPNESS * nearest)) / 2, np.float64)


@dataclass(frozen=True)
class Learnt:
    """What `learn` wrote: a row of `weights` a fault; the known texts' vectors, those of fault `i` from `starts[i]` on."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    texts: NDArray[np.float32]
    starts: tuple[int, ...]


@functools.cache
def _learnt() -> Learnt:
    data = resources.files("pipeline.desk").joinpath(FILE).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        if tuple(map(str, kept["faults"])) != faults():
            raise UsageError(
                "the taxonomy's faults have changed since the reading of meanings was learnt; learn it anew"
            )
        return Learnt(
            kept["weights"].astype(np.float64),
            kept["bias"].astype(np.float64),
            kept["texts"].astype(np.float32) * np.float32(kept["unit"]),
            tuple(map(int, kept["starts"])),
        )


def learn(path: Path) -> int:
    """Learns the reading of meanings anew and writes it to `path`; gives how many texts it was learnt from.

    Needs scikit-learn and the extra `meaning`. The same files and releases give the same weights.
    """
    from sklearn.linear_model import LogisticRegression

    texts, labels, weights = _known_texts()
    vectors = meaning.encode(texts)
    learnt = LogisticRegression(C=_STRENGTH, max_iter=60, tol=1e-3)
    learnt.fit(vectors, labels, sample_weight=weights)
    if len(learnt.classes_) != len(faults()):
        raise UsageError("a fault of the taxonomy has no text to learn from")
    unit = float(np.abs(vectors).max()) / 127
    np.savez_compressed(
        path,
        faults=np.array(faults()),
        weights=learnt.coef_.astype(np.float16),
        bias=learnt.intercept_.astype(np.float32),
        texts=np.round(vectors / unit).astype(np.int8),
        unit=np.float32(unit),
        starts=np.searchsorted(labels, np.arange(len(faults()) + 1)),
    )
    return len(texts)


def _known_texts() -> tuple[list[str], NDArray[np.int64], list[float]]:
    """The texts in order of faults, the place of each one's fault, and its weight; a text that a fault has twice is there once."""
    from pipeline.faults.wording_training import read_texts, rows_of

    places = {name: place for place, name in enumerate(faults())}
    rows = ((f"{row.fault_class}/{row.subclass}", row) for row in rows_of(read_texts()) if row.owner != "guide")
    said = [(places[name], row.wording.text, row.weight) for name, row in rows if name in places]
    said += [
        (places[name], text, 1.0) for name, questions in asked().items() for text in (*questions.en, *questions.zh)
    ]
    found: dict[tuple[int, str], tuple[str, float]] = {}
    for place, text, weight in said:
        found.setdefault((place, text.strip().lower()), (text, weight))
    # As `starts` needs; a stable sort keeps the order of the files within each fault.
    chosen = sorted(found.items(), key=lambda one: one[0][0])
    labels = np.array([place for (place, _), _ in chosen], np.int64)
    return [text for _, (text, _) in chosen], labels, [weight for _, (_, weight) in chosen]
