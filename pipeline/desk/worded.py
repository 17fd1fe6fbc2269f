"""What a ticket's sentences say of its severity, in words that nobody foresaw: each is one of `KINDS`, or none for sure.

Multinomial logistic regression over the vectors of `meaning.py`, learnt from the sentences of `severity_sentences.toml`.
`severity_model.npz` holds what was learnt, `learn` makes it anew. It adds to what the expressions of `severity.toml` find
and takes nothing back.
"""

from __future__ import annotations

import functools
import io
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.desk import meaning
from pipeline.errors import UsageError
from pipeline.faults.wording_model import softmax

FILE, SENTENCES = "severity_model.npz", "severity_sentences.toml"
# Below this a sentence may mean something else.
SURE = 0.65
# So many sentences of a ticket are read, those first said; what is shorter than so many letters says nothing.
_MOST, _SHORTEST = 20, 4
_STRENGTH = 10.0
_END = re.compile(r"(?<=[.?!])\s+|(?<=[。？！；])|\n+")


@dataclass(frozen=True)
class Worded:
    """A sentence, which of the kinds it is, and how probable that is."""

    kind: str
    sentence: str
    probability: float


def read_sentences(text: str) -> list[Worded]:
    """The sentences of `text` that are one of the kinds for sure, the most probable first. Needs the extra `meaning`."""
    parts = [part.strip() for part in _END.split(text)]
    kept = [part for part in parts if sum(map(str.isalpha, part)) >= _SHORTEST][:_MOST]
    if not kept:
        return []
    learnt = _learnt()
    shares = softmax(meaning.encode(kept).astype(np.float64) @ learnt.weights.T + learnt.bias)
    best = shares.argmax(axis=1)
    found = [
        Worded(learnt.kinds[place], sentence, round(float(row[place]), 2))
        for sentence, row, place in zip(kept, shares, best, strict=True)
    ]
    return sorted((one for one in found if one.probability >= SURE), key=lambda one: -one.probability)


@dataclass(frozen=True)
class _Learnt:
    kinds: tuple[str, ...]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]


@functools.cache
def _learnt() -> _Learnt:
    data = resources.files("pipeline.desk").joinpath(FILE).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        return _Learnt(
            tuple(map(str, kept["kinds"])), kept["weights"].astype(np.float64), kept["bias"].astype(np.float64)
        )


def known_sentences() -> dict[str, tuple[str, ...]]:
    """The sentences that it is learnt from, by kind: of both languages."""
    data = tomllib.loads(resources.files("pipeline.desk").joinpath(SENTENCES).read_text(encoding="utf-8"))
    return {kind: (*told["en"], *told["zh"]) for kind, told in data.items()}


def learn(path: Path, sentences: dict[str, tuple[str, ...]] | None = None) -> int:
    """Learns the kinds anew and writes them to `path`; gives how many sentences they were learnt from.

    Needs scikit-learn and the extra `meaning`. The same file and releases give the same weights.
    """
    from sklearn.linear_model import LogisticRegression

    known = sentences or known_sentences()
    texts: Sequence[str] = [text for told in known.values() for text in told]
    if len(set(texts)) != len(texts):
        raise UsageError(f"{SENTENCES}: a sentence stands there twice")
    labels = [place for place, told in enumerate(known.values()) for _ in told]
    learnt = LogisticRegression(C=_STRENGTH, max_iter=1000).fit(meaning.encode(texts), labels)
    np.savez_compressed(
        path,
        kinds=np.array(list(known)),
        weights=learnt.coef_.astype(np.float16),
        bias=learnt.intercept_.astype(np.float32),
    )
    return len(texts)
