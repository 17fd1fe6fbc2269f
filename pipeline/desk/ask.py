"""Question -> answer, and answer -> question, over the entries of a shelf.

A question's score with an entry is a sum of what each way of comparing says:

- words: BM25 of the question's words with the entry's, as a share of 1 (`postings.py`, the same as for similar tickets);
- meaning: the cosine with the sentence of the entry that is nearest, where the extra `meaning` is installed;
- fault: the logarithm of the probability that the question is about the entry's fault (`reading.py`); an entry without a
  fault is granted that of one as likely as the others, and more the more it is alike, up to the likeliest;
- code: whether the question holds one of the entry's codes.

An entry of a product that the question does not name comes after all others. Where it names one, an entry of no product stands for
that product too, unless the product has an entry of its own for the same fault: what holds anywhere holds there.
`benchmarks/knowledge.py` chooses the weights on one half of its questions and reports the other.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.desk import meaning
from pipeline.desk.entry import Entry
from pipeline.desk.modules import product_of, products_in
from pipeline.desk.postings import Postings
from pipeline.desk.reading import DOUBT, faults, read_questions
from pipeline.desk.shelf import Shelf
from pipeline.desk.words import split_words
from pipeline.faults.wording_model import softmax

Direction = Literal["question", "answer"]
# So many sentences of an entry are compared by meaning.
_SENTENCES = 100
# A question of which an entry has neither half of the words nor half of the meaning may be about something else. Of the choosing half of
# benchmarks/knowledge.py 3 in a hundred best entries are below.
ENOUGH = 0.5
# A question of pages is a pasted log: its beginning tells.
LONGEST = 2_000
_TOKEN = re.compile(r"[a-z0-9](?:[a-z0-9_.\-/]*[a-z0-9])?")


@dataclass(frozen=True)
class Weights:
    """How much each way of comparing counts."""

    words: float = 4.0
    meaning: float = 2.0
    fault: float = 0.5
    code: float = 4.0
    product: float = 20.0


WEIGHTS = Weights()


@dataclass(frozen=True)
class Hit:
    """An entry with its score, and the parts that made it: shares of 1; `share` is of all entries together."""

    entry: Entry
    score: float
    share: float
    words: float
    meaning: float | None
    fault: float
    code: bool
    product: bool

    @property
    def fits(self) -> bool:
        """Whether more than its place among the others speaks for it: some entry is always the nearest."""
        return self.code or self.words >= ENOUGH or (self.meaning or 0.0) >= ENOUGH


@dataclass(frozen=True)
class Parts:
    """What each way of comparing says of each entry: `questions` x `entries` each."""

    words: NDArray[np.float64]
    meaning: NDArray[np.float64] | None
    fault: NDArray[np.float64]
    code: NDArray[np.float64]
    product: NDArray[np.float64]

    def scores(self, weights: Weights) -> NDArray[np.float64]:
        """The weighted sums."""
        total = weights.words * self.words + weights.fault * self.fault
        total += weights.code * self.code + weights.product * self.product
        return total if self.meaning is None else total + weights.meaning * self.meaning


class Answers:
    """The entries of a shelf, ready to be asked. Retired ones are left out."""

    def __init__(self, shelf: Shelf, *, with_meaning: bool, cache: Path | None = None) -> None:
        """Counts words, and reads meanings where they are wanted; those that `cache`, a folder, holds are not read again."""
        self.entries = tuple(entry for entry in shelf.entries if entry.facts.status != "retired")
        self.with_meaning = with_meaning
        said = {"question": _asked(self.entries), "answer": _answers(self.entries)}
        self._postings = {side: Postings(_words(texts)) for side, texts in said.items()}
        self._sentences = {side: _Sentences(texts, cache) for side, texts in said.items()} if with_meaning else {}
        places = {name: place for place, name in enumerate(faults())}
        named = [f"{entry.facts.fault_class}/{entry.facts.fault_subclass}" for entry in self.entries]
        self._fault = np.array([places.get(name, -1) for name in named], np.int64)
        self._products = [frozenset(map(product_of, entry.facts.channels)) for entry in self.entries]
        self._codes = [frozenset(code.partition(" ")[2].lower() for code in e.facts.codes) for e in self.entries]

    def ask(self, text: str, most: int = 3, direction: Direction = "question", weights: Weights = WEIGHTS) -> list[Hit]:
        """At most `most` entries, best first; equal ones by id. Nothing where the text holds no word that any entry has."""
        if not self.entries or not any(map(str.isalnum, text)):
            return []
        parts = self.parts([text], direction)
        scores = parts.scores(weights)[0]
        shares = softmax(scores)
        order = sorted(range(len(scores)), key=lambda i: (-round(float(scores[i]), 6), self.entries[i].id))
        return [
            Hit(
                entry=self.entries[i],
                score=float(scores[i]),
                share=float(shares[i]),
                words=float(parts.words[0, i]),
                meaning=float(parts.meaning[0, i]) if parts.meaning is not None else None,
                fault=float(np.exp(parts.fault[0, i] / (1 + self.with_meaning))) if self._fault[i] >= 0 else 0.0,
                code=bool(parts.code[0, i]),
                product=bool(self._products[i]) and bool(parts.product[0, i]),
            )
            for i in order[:most]
        ]

    def parts(self, texts: Sequence[str], direction: Direction = "question") -> Parts:
        """What each way of comparing says, before the weights."""
        texts = [text[:LONGEST] for text in texts]
        n, m = len(texts), len(self.entries)
        postings = self._postings[direction]
        words = np.array([postings.shares(postings.known(split_words(text), m)) for text in texts], np.float64)
        vectors = meaning.encode(texts) if self.with_meaning else None
        near = self._sentences[direction].nearest(vectors) if vectors is not None else None
        fault = np.zeros((n, m))
        if direction == "question":
            read = read_questions(texts, with_meaning=self.with_meaning)
            fault = np.where(self._fault >= 0, read[:, self._fault], self._granted(read, words, near))
        product, code = np.zeros((n, m)), np.zeros((n, m))
        for row, text in enumerate(texts):
            named = products_in(text)
            product[row] = self._fitting(named)
            tokens = frozenset(_TOKEN.findall(text.lower()))
            code[row] = [
                bool(tokens & own) and (bool(hit) or _telling(tokens & own))
                for own, hit in zip(self._codes, product[row], strict=True)
            ]
        # A code alone names its product, too.
        return Parts(words, near, fault, code, np.maximum(product, code))

    def _granted(
        self, read: NDArray[np.float64], words: NDArray[np.float64], near: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """What entries of no fault have in the place of its probability, which cannot be read.

        It lies between what each fault had if all were equally likely and what the likeliest has, as far as the entry is alike.
        """
        even = (1 + self.with_meaning) * np.log(1 / len(faults()) + DOUBT)
        most = np.maximum(read.max(axis=1, keepdims=True, initial=even), even)
        alike = words if near is None else np.maximum(words, near)
        return np.asarray(even + alike * (most - even), np.float64)

    def _fitting(self, named: frozenset[str]) -> list[bool]:
        """Which entries are about the products that a question names, or about any product where it names none."""
        own = [bool(products & named) for products in self._products]
        special = {fault for fault, mine in zip(self._fault.tolist(), own, strict=True) if mine and fault >= 0}
        return [
            mine or (not products and fault not in special)
            for mine, products, fault in zip(own, self._products, self._fault.tolist(), strict=True)
        ]


def _telling(codes: frozenset[str]) -> bool:
    """Whether a code says what it is without its product: `14` is any number, ACQ.SYSTEM_ERROR is not."""
    return any(len(code) > 6 and ("_" in code or "." in code or "-" in code) for code in codes)


def _asked(entries: Sequence[Entry]) -> list[list[str]]:
    # The steps are among it: who asks often names what he has tried.
    return [[line for told in e.told for line in (*told.asked, *told.steps, *told.mistakes)] for e in entries]


def _answers(entries: Sequence[Entry]) -> list[list[str]]:
    return [[line for told in entry.told for line in told.answer] for entry in entries]


def _words(texts: Sequence[Sequence[str]]) -> pa.ListArray:
    return pa.array([split_words("\n".join(lines)) for lines in texts], pa.list_(pa.string()))


class _Sentences:
    """The vectors of all entries' sentences; `_owner[i]` is the entry of row `i`."""

    def __init__(self, texts: Sequence[Sequence[str]], cache: Path | None) -> None:
        kept = [list(dict.fromkeys(lines))[:_SENTENCES] for lines in texts]
        self._owner = np.array([i for i, lines in enumerate(kept) for _ in lines], np.int64)
        self._entries = len(texts)
        self._rows = _encoded([line for lines in kept for line in lines], cache)

    def nearest(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """The highest cosine of each text with a sentence of each entry, none below 0."""
        best = np.zeros((self._entries, len(vectors)), np.float32)
        if len(self._rows):
            np.maximum.at(best, self._owner, self._rows.astype(np.float32) @ vectors.T)
        return best.T.astype(np.float64)


def _encoded(lines: Sequence[str], cache: Path | None) -> NDArray[np.float16]:
    """The vectors of `lines`, read from the cache where it holds just these."""
    name = hashlib.sha256("\0".join(lines).encode("utf-8", "replace")).hexdigest()[:32]
    place = cache / f"{name}.npy" if cache else None
    if place is not None and place.exists():
        try:
            found: NDArray[np.float16] = np.load(place, allow_pickle=False)
            if found.shape == (len(lines), meaning.WIDTH):
                return found
        except (OSError, ValueError):
            # A torn file is made again.
            pass
    made = meaning.encode(lines).astype(np.float16)
    if place is not None:
        _keep(place, made)
    return made


def _keep(place: Path, made: NDArray[np.float16]) -> None:
    """A cache that cannot be written costs time, and nothing else."""
    beside = place.with_name(f".{uuid.uuid4().hex}.npy")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(beside, made)
        beside.replace(place)
        old = sorted(place.parent.glob("*.npy"), key=lambda one: one.stat().st_mtime_ns)
        for stale in old[:-8]:
            stale.unlink(missing_ok=True)
    except OSError:
        return
