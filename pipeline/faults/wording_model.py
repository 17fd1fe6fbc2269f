"""The wording model: which fault class the wording of a code or a message speaks for, where no table knows it.

Two linear models over the terms of `wording_terms.py`, one of classes and one of subclasses, read from
`wording_model.json`; `problem-snapshot learn-wording` writes that file (see `wording_training.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.faults.wording_terms import STOP, Lexicon, evidence, kind_of, stem, terms, tokens

# From this probability on a reading is called sure; the figures of docs/wording.md are about it.
SURE = 0.7
# What a bare code may say at most: the same word means one thing at one channel and another at the next, so that a code
# without its message is never sure.
BARE = 0.6
# The class of lines that speak of no fault of a payment.
NONE = "none"
_SHOWN = 5
# Hundredths: how weights are kept in the file.
_UNIT = 100.0


@dataclass(frozen=True)
class Reading:
    """What the model makes of a wording.

    `probabilities` are of all classes, most probable first, and sum to 1; `none` is one of them. `terms` are the terms
    that spoke most for `fault_class`, each with its share of the score. `bare` says that there was only a code to read.
    """

    fault_class: str
    subclass: str | None
    probability: float
    probabilities: tuple[tuple[str, float], ...]
    terms: tuple[tuple[str, float], ...]
    bare: bool = False


@dataclass(frozen=True)
class Wording:
    """One thing to read. `code` and `channel` go together; `field` is the name under which the code was found."""

    text: str
    code: str | None = None
    channel: str | None = None
    field: str | None = None
    http_status: int | None = None


@dataclass(frozen=True)
class Scores:
    """The raw scores of one wording by class, before they become probabilities, and how much there was to go by."""

    values: npt.NDArray[np.float64]
    subclass_values: npt.NDArray[np.float64]
    evidence: float
    bare: bool


class ModelFile(msgspec.Struct, frozen=True):
    """`wording_model.json`. Weights are hundredths; `inputs` are the sha256 of the files that it was learnt from."""

    version: int
    inputs: dict[str, str]
    classes: list[str]
    subclasses: list[str]
    scales: dict[str, float]
    blend: float
    temperature: float
    bare_temperature: float
    # The codes of all channels, as `spelling` has them.
    codes: list[str]
    channels: list[str]
    concepts: dict[str, list[str]]
    bias: list[int]
    subclass_bias: list[int]
    # Numbers with spaces between them: they are read in half the time of lists.
    # term -> its weight for each class
    terms: dict[str, str]
    # term -> pairs of a subclass's number and its weight, one after another
    subclass_terms: dict[str, str]


class WordingModel:
    """A model that is ready to read."""

    def __init__(self, file: ModelFile) -> None:
        self.file = file
        self.lexicon = Lexicon(file.concepts)
        self.classes = file.classes
        self._row = {term: i for i, term in enumerate(file.terms)}
        self._weights = _numbers(file.terms).reshape(-1, len(file.classes)).astype(np.float32) / _UNIT
        self._bias = np.array(file.bias) / _UNIT
        self._subclass_row = {term: i for i, term in enumerate(file.subclass_terms)}
        self._subclass_weights = _dense(file.subclass_terms, len(file.subclasses))
        self._subclass_bias = np.array(file.subclass_bias) / _UNIT
        self._class_of = np.array([file.classes.index(name.partition("/")[0]) for name in file.subclasses])
        self._codes = frozenset(file.codes)
        self._channels = frozenset(file.channels)

    def read(self, wording: Wording) -> Reading | None:
        """What `wording` speaks for; None where nothing of it is known."""
        found = self.terms_of(wording)
        scores = self.score(wording, found)
        if scores is None:
            return None
        probability = self.probabilities(scores)
        if must_not_be_sure(wording, scores.bare, self._codes):
            probability = capped(probability, BARE)
        order = np.argsort(-probability, kind="stable")
        best = int(order[0])
        return Reading(
            fault_class=self.classes[best],
            subclass=self._subclass(scores, best),
            probability=round(float(probability[best]), 4),
            probabilities=tuple((self.classes[i], round(float(probability[i]), 4)) for i in order),
            terms=self._reasons(found, best, wording),
            bare=scores.bare,
        )

    def terms_of(self, wording: Wording) -> dict[str, list[str]]:
        """The terms of `wording`, by kind."""
        channel = wording.channel if wording.channel in self._channels else None
        return all_terms(replace(wording, channel=channel), self.lexicon)

    def score(self, wording: Wording, found: Mapping[str, Sequence[str]]) -> Scores | None:
        """The scores of the classes and subclasses; None where nothing is known."""
        names, values = flat(found, self.file.scales)
        rows = [(self._row[name], value) for name, value in zip(names, values, strict=True) if name in self._row]
        if not any(name in self._row for kind in "cwh" for name in (f"{kind}:{term}" for term in found[kind])):
            return None
        score = self._bias + np.array([v for _, v in rows]) @ self._weights[[r for r, _ in rows]]
        rows = [(self._subclass_row[n], v) for n, v in zip(names, values, strict=True) if n in self._subclass_row]
        sub = self._subclass_bias.copy()
        if rows:
            sub += np.array([v for _, v in rows]) @ self._subclass_weights[[r for r, _ in rows]]
        best = np.full(len(self.classes), -9.0)
        np.maximum.at(best, self._class_of, sub)
        # A class without subclasses has no second opinion: its first one counts for both.
        best = np.where(best == -9.0, np.minimum(score, 0.0), best)
        return Scores(score + self.file.blend * best, sub, evidence(found, self._row), is_bare(wording))

    def probabilities(self, scores: Scores) -> npt.NDArray[np.float64]:
        """Softmax of the scores at the temperature that fits them; the less there is to go by, the flatter."""
        heat = self.file.bare_temperature if scores.bare else self.file.temperature
        return softmax(scores.values * scores.evidence / heat)

    def _subclass(self, scores: Scores, best: int) -> str | None:
        mine = np.flatnonzero(self._class_of == best)
        if not len(mine):
            return None
        return self.file.subclasses[int(mine[np.argmax(scores.subclass_values[mine])])].partition("/")[2]

    def _as_written(self, name: str, words: Sequence[str]) -> str:
        """The words of the text that gave the term `name`; its own name where they cannot be told."""
        kind, label = name[0], name[2:]
        if kind == "c":
            han = sorted((e for e in self.file.concepts.get(label, ()) if not e.isascii()), key=lambda e: (-len(e), e))
            for entry in han:
                if any(entry in word for word in words):
                    return entry
            for run in _runs(words):
                if label in self.lexicon.phrase(tuple(map(stem, run))) or (
                    len(run) == 1 and label in self.lexicon.concepts_of(run[0])
                ):
                    return " ".join(run)
        if kind in "wb":
            wanted = label.split(" ")
            for run in _runs([word for word in words if word not in STOP]):
                if list(map(stem, run)) == wanted:
                    return " ".join(run)
        return label.replace("_", " ")

    def _reasons(
        self, found: Mapping[str, Sequence[str]], best: int, wording: Wording
    ) -> tuple[tuple[str, float], ...]:
        """The terms that spoke most for the class, as the text has them."""
        words = tokens(f"{wording.code or ''} {wording.text}", self.lexicon)
        names, values = flat(found, self.file.scales)
        gains: dict[str, float] = {}
        for name, value in zip(names, values, strict=True):
            row = self._row.get(name)
            if row is None or name[0] not in "cwbhs" or (name[0] == "h" and len(name) < 4):
                continue
            weights = self._weights[row]
            gain = value * float(weights[best] - weights.mean())
            if gain > 0.01:
                label = f"HTTP {name[2:]}" if name[0] == "s" else self._as_written(name, words)
                gains[label] = max(gains.get(label, 0.0), gain)
        chosen: list[tuple[str, float]] = []
        for label, gain in sorted(gains.items(), key=lambda item: (-item[1], item[0])):
            # A piece of what is already named says nothing new.
            if not any(label in other or other in label for other, _ in chosen):
                chosen.append((label, round(gain, 3)))
        return tuple(chosen[:_SHOWN])


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """One to three words in a row, the longer first."""
    for size in (3, 2, 1):
        for start in range(len(words) - size + 1):
            yield tuple(words[start : start + size])


def read_message(
    text: str,
    *,
    code: str | None = None,
    channel: str | None = None,
    field: str | None = None,
    http_status: int | None = None,
) -> Reading | None:
    """What a message, or a code that no table knows, speaks for; None where nothing of its wording is known.

    A code alone never gives a sure reading (`SURE`), and neither does one that the table has for any channel: the table is
    to be asked for the code's own channel, and at another one the same word may mean something else.

    >>> read_message("签名错误，请检查后再试").fault_class
    'signature_cert'
    """
    return model().read(Wording(text, code, channel, field, http_status))


def read_messages(wordings: Iterable[Wording]) -> list[Reading | None]:
    """`read_message` for many; equal ones are read once."""
    known: dict[Wording, Reading | None] = {}
    out = []
    for wording in wordings:
        if wording not in known:
            known[wording] = model().read(wording)
        out.append(known[wording])
    return out


@cache
def model() -> WordingModel:
    """The model that is shipped."""
    data = resources.files("pipeline.faults").joinpath("wording_model.json").read_bytes()
    return WordingModel(msgspec.json.decode(data, type=ModelFile))


# ---- what training and reading share


def all_terms(wording: Wording, lexicon: Lexicon) -> dict[str, list[str]]:
    """The terms of `wording` by kind, and those that join a concept to where it was said."""
    found = terms(wording.text, lexicon, code=wording.code, channel=wording.channel, http_status=wording.http_status)
    kind = kind_of(wording.field, wording.code, wording.channel)
    found["k"] = [*found["k"], kind]
    found["q"] = [f"{kind}*{concept}" for concept in found["c"]]
    found["r"] = [f"{wording.channel}*{concept}" for concept in found["c"]] if wording.channel else []
    return found


def flat(found: Mapping[str, Sequence[str]], scales: Mapping[str, float]) -> tuple[list[str], list[float]]:
    """Each term with its kind before it, and its value: the terms of one kind have together the length of its scale."""
    names: list[str] = []
    values: list[float] = []
    for kind, scale in scales.items():
        here = found[kind]
        names += [f"{kind}:{term}" for term in here]
        values += [scale / max(1, len(here)) ** 0.5] * len(here)
    return names, values


def softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities in the proportion of the scores' exponentials."""
    odds = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float64] = odds / odds.sum(axis=-1, keepdims=True)
    return result


def capped(probability: npt.NDArray[np.float64], most: float) -> npt.NDArray[np.float64]:
    """`probability` with none above `most`; what is cut off goes to the others in their proportion."""
    best = int(np.argmax(probability))
    if probability[best] <= most:
        return probability
    rest = 1 - probability[best]
    out = (
        probability * ((1 - most) / rest)
        if rest > 0
        else np.full_like(probability, (1 - most) / (len(probability) - 1))
    )
    out[best] = most
    return np.asarray(out)


def spelling(code: str) -> str:
    """A code as it is compared across channels: its letters and digits without what gateways put before them."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"(?i)^(acq|isv|isp|aop)\.", "", code).lower())


def is_bare(wording: Wording) -> bool:
    """Whether there is only a code: no text, a text that repeats the code, or a text that is itself a code."""
    text = wording.text.strip()
    if not text:
        return True
    if wording.code and not wording.code.isdigit():
        lexicon = _no_words()
        said = {stem(word) for word in tokens(text, lexicon)} - {"|"}
        named = {stem(word) for word in tokens(wording.code, lexicon)} - {"|"}
        return said <= named or spelling(text) == spelling(wording.code)
    return bool(re.fullmatch(r"[A-Za-z0-9]+(?:[_.\-][A-Za-z0-9]+)+|[A-Z0-9]{5,}|[A-Za-z]+", text))


def must_not_be_sure(wording: Wording, bare: bool, codes: frozenset[str]) -> bool:
    """Whether there is only a code, or a code that some channel spells so: here it may mean something else."""
    return bare or (wording.code is not None and spelling(wording.code) in codes)


@cache
def _no_words() -> Lexicon:
    return Lexicon({})


def _numbers(texts: Mapping[str, str]) -> npt.NDArray[np.int16]:
    return np.fromstring(" ".join(texts.values()), np.int16, sep=" ")


def _dense(sparse: Mapping[str, str], width: int) -> npt.NDArray[np.float32]:
    sizes = np.array([(pairs.count(" ") + 1) // 2 for pairs in sparse.values()], np.int64)
    numbers = _numbers(sparse)
    out = np.zeros((len(sizes), width), np.float32)
    out[np.repeat(np.arange(len(sizes)), sizes), numbers[0::2]] = numbers[1::2] / _UNIT
    return out


__all__ = [
    "BARE",
    "NONE",
    "SURE",
    "ModelFile",
    "Reading",
    "Wording",
    "WordingModel",
    "model",
    "read_message",
    "read_messages",
]
