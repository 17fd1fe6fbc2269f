"""How the wording model is learnt: from the code table, from messages.csv, from the guide's phrases and the taxonomy.

Needs scikit-learn, which reading does not (`pip install scikit-learn`; it is in the dependency group `dev`). The same
files and the same release of scikit-learn give the same model, byte for byte.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.faults.wording_model import (
    NONE,
    ModelFile,
    Wording,
    WordingModel,
    all_terms,
    flat,
    is_bare,
    softmax,
    spelling,
)
from pipeline.faults.wording_terms import Lexicon

HERE = Path(__file__).parent
SHIPPED = HERE / "wording_model.json"
# What the model is learnt from; the term maker is one of them, since other terms are another model.
INPUTS = (
    "channel_codes.csv",
    "channel_codes_by_flow.csv",
    "messages.csv",
    "fault_taxonomy.csv",
    "concepts.toml",
    "wording_guide.toml",
    "wording_terms.py",
)
# How long the terms of one kind are together, beside each other. Chosen by hand: halving or doubling any of them moves
# the held-out accuracy by less than two points.
SCALES: Mapping[str, float] = {
    "c": 1.0, "p": 0.8, "w": 1.2, "b": 1.0, "x": 0.7, "h": 1.0, "s": 0.7, "n": 1.0, "k": 0.7, "q": 0.7, "r": 0.5
}  # fmt: skip
_REGULARISATION = 0.8
# How much the best subclass counts beside the class itself.
_BLEND = 0.7
# Phrases that one pattern of the guide stands for at most, and how much a pattern weighs in all.
_PHRASES, _PATTERN_WEIGHT = 24, 8.0
_FOLDS = 5
# What stands before a message in a log line: without it, the model would take the line's own words for a meaning.
_AROUND = (
    "{}", "call of channel failed: {}", "payment client: request failed, {}", "WARN order service - {} (see reply)",
    "支付下单失败：{}", "渠道返回错误，原因：{}", "PaymentException: {}", "unifiedorder returned error msg={}", "调用渠道接口失败 {}", "handler got: {}",
)  # fmt: skip
_HAN = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True)
class Row:
    """One wording with what it means. `owner` names the row of the file that it comes from; all its forms share it."""

    wording: Wording
    fault_class: str
    subclass: str
    weight: float
    owner: str


@dataclass(frozen=True)
class Texts:
    """Everything that is learnt from, as it stands in the files."""

    table: list[dict[str, str]]
    messages: list[dict[str, str]]
    taxonomy: list[dict[str, str]]
    concepts: dict[str, list[str]]
    guide: dict[str, list[str]]
    inputs: dict[str, str]


def read_texts(table: Path | None = None, messages: Path | None = None) -> Texts:
    """The files beside this module, or others in the place of two of them. Raises `UsageError` where one is no such file."""
    paths = {name: HERE / name for name in INPUTS}
    paths["channel_codes.csv"] = table or paths["channel_codes.csv"]
    paths["messages.csv"] = messages or paths["messages.csv"]
    try:
        inputs = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(paths.items())}
        codes = _csv(paths["channel_codes.csv"], "channel", "code", "raw_meaning", "fault_class", "fault_subclass")
        return Texts(
            table=codes + _csv(paths["channel_codes_by_flow.csv"], "channel", "code"),
            messages=_csv(paths["messages.csv"], "text", "fault_class", "fault_subclass"),
            taxonomy=_csv(paths["fault_taxonomy.csv"], "class", "subclass", "definition"),
            concepts=tomllib.loads(paths["concepts.toml"].read_text("utf-8"))["concepts"],
            guide=tomllib.loads(paths["wording_guide.toml"].read_text("utf-8"))["phrases"],
            inputs=inputs,
        )
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read what is to be learnt from: {error}") from error


def rows_of(texts: Texts) -> list[Row]:
    """Every wording to learn from, in the order of the files."""
    return [
        *_table_rows(texts.table),
        *_message_rows(texts.messages),
        *_taxonomy_rows(texts.taxonomy),
        *_guide_rows(texts.guide),
    ]


def wording_of(row: Mapping[str, str]) -> Wording:
    """What a row of the code table looks like when its code is met with its meaning for a message."""
    status = int(row["code"]) if row["channel"] == "http" and row["code"].isdigit() else None
    return Wording(row["raw_meaning"], row["code"], row["channel"], row.get("code_field") or None, status)


def owner_of(row: Mapping[str, str]) -> str:
    """The name of a row of the code table."""
    return f"{row['channel']}|{row['code']}|{row.get('flow', '')}"


def expand(pattern: str, most: int = _PHRASES) -> list[str]:
    """The phrases that a pattern of the guide stands for, at most `most` of them, spread evenly.

    >>> expand("(card|account) (closed|)")
    ['card closed', 'card', 'account closed', 'account']
    """
    choices = [
        part.split("|") if i % 2 else [part]
        for i, part in enumerate(re.split(r"\(([^()]*)\)", pattern.replace(")?", "|)")))
    ]
    total = int(np.prod([len(c) for c in choices]))
    step = max(1, -(-total // most))
    # A step that divides a part's number of choices would meet the same one each time.
    while step > 1 and any(len(c) > 1 and step % len(c) == 0 for c in choices):
        step += 1
    phrases = ("".join(parts) for i, parts in enumerate(itertools.product(*choices)) if i % step == 0)
    return list(dict.fromkeys(re.sub(r"\s+", " ", phrase).strip(" ,，") for phrase in phrases))


class Trainer:
    """Learns models from parts of the rows. Terms are made once."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts
        self.rows = rows_of(texts)
        self.lexicon = Lexicon(texts.concepts)
        self.owners = np.array([row.owner for row in self.rows])
        self.labels = np.array([row.fault_class for row in self.rows])
        self.subclasses = np.array([f"{row.fault_class}/{row.subclass}" if row.subclass else "" for row in self.rows])
        self.weights = np.array([row.weight for row in self.rows])
        self.terms = [all_terms(row.wording, self.lexicon) for row in self.rows]
        self.names, self.matrix = _matrix(self.terms)

    def fit(
        self,
        keep: npt.NDArray[np.bool_],
        heats: tuple[float, float] = (0.3, 0.3),
        only: Iterable[dict[str, str]] | None = None,
    ) -> WordingModel:
        """A model of the rows in `keep`, at the temperatures `heats` (of messages, of bare codes).

        `only` are the rows of the table that may tell which codes channels have; without it, all of them.
        """
        svm = _svm()
        train = self.matrix[keep]
        support = np.asarray((train != 0).sum(axis=0)).ravel()
        kind = np.array([name[0] for name in self.names])
        # A word met once is known, and may speak; a pair or a piece of a word met once or twice is chance.
        used = (support >= 3) | ((kind == "w") & (support >= 1)) | (np.isin(kind, list("ch")) & (support >= 2))
        columns = np.flatnonzero(used)
        names = [self.names[i] for i in columns]
        train = train[:, columns]
        by_class = svm.fit(train, self.labels[keep], sample_weight=self.weights[keep])
        classes = list(map(str, by_class.classes_))
        weights, bias = _hundredths(by_class.coef_.T), _hundredths(by_class.intercept_)
        told = keep & (self.subclasses != "")
        short = np.flatnonzero(np.isin(kind[columns], list("cpwhks")) & (support[columns] >= 2))
        by_subclass = _svm().fit(
            self.matrix[told][:, columns[short]], self.subclasses[told], sample_weight=self.weights[told]
        )
        sub_weights, sub_bias = _hundredths(by_subclass.coef_.T), _hundredths(by_subclass.intercept_)
        sub_weights[np.abs(sub_weights) < 8] = 0
        speaks = np.abs(weights).max(axis=1) >= 5
        table = self.texts.table if only is None else list(only)
        return WordingModel(
            ModelFile(
                version=1,
                inputs=self.texts.inputs,
                classes=classes,
                subclasses=list(map(str, by_subclass.classes_)),
                scales=dict(SCALES),
                blend=_BLEND,
                temperature=heats[0],
                bare_temperature=heats[1],
                codes=word_codes(table),
                channels=sorted({row["channel"] for row in table}),
                concepts=self.texts.concepts,
                bias=bias.tolist(),
                subclass_bias=sub_bias.tolist(),
                terms={
                    name: _spaced(weights[i])
                    for i, name in enumerate(names)
                    if speaks[i] or name[0] == "w" or (name[0] == "h" and len(name) == 4)
                },
                subclass_terms={
                    names[i]: _spaced(
                        int(n) for j in np.flatnonzero(sub_weights[row]) for n in (j, sub_weights[row, j])
                    )
                    for row, i in enumerate(short)
                    if sub_weights[row].any()
                },
            )
        )

    def heats(self) -> tuple[float, float]:
        """The temperatures at which probabilities fit what comes true, of messages and of bare codes.

        Found on wordings that were held out: of messages one fold of five at a time, equal wordings together; of bare codes
        a fifth of the channels at a time, since that is how a code is met that no table knows.
        """
        messages: list[tuple[npt.NDArray[np.float64], int]] = []
        bare: list[tuple[npt.NDArray[np.float64], int]] = []
        first = {row.owner: row for row in reversed(self.rows) if not row.owner.startswith(("guide", "taxonomy"))}
        channels = sorted({row["channel"] for row in self.texts.table})
        for fold in range(_FOLDS):
            held = {o for o, row in first.items() if _fold(_plain(row.wording)) == fold}
            model = self.fit(~np.isin(self.owners, sorted(held)))
            messages += self._outcomes(model, [first[o] for o in sorted(held)], bare=False)
            away = set(channels[fold::_FOLDS])
            held = {o for o, row in first.items() if row.wording.channel in away}
            model = self.fit(~np.isin(self.owners, sorted(held)))
            coded = [row for row in (first[o] for o in sorted(held)) if not (row.wording.code or "").isdigit()]
            bare += self._outcomes(model, [_only_code(row) for row in coded], bare=True)
        return _best_heat(messages), _best_heat(bare)

    def _outcomes(
        self, model: WordingModel, rows: Sequence[Row], *, bare: bool
    ) -> list[tuple[npt.NDArray[np.float64], int]]:
        out = []
        for row in rows:
            scores = model.score(row.wording, model.terms_of(row.wording))
            if scores is not None and scores.bare == bare and row.fault_class in model.classes:
                out.append((scores.values * scores.evidence, model.classes.index(row.fault_class)))
        return out


def learn(table: Path | None = None, messages: Path | None = None) -> bytes:
    """The model file, learnt from everything. Raises `UsageError` where scikit-learn or a file is missing."""
    trainer = Trainer(read_texts(table, messages))
    return encode(trainer.fit(np.ones(len(trainer.rows), bool), trainer.heats()).file)


def encode(file: ModelFile) -> bytes:
    """A model as JSON, one term a line, so that a change can be read."""
    fields = msgspec.structs.asdict(file)
    parts = []
    for name, value in fields.items():
        if name in ("terms", "subclass_terms", "concepts"):
            inner = ",\n".join(f"{_json(key)}: {_json(row)}" for key, row in sorted(value.items()))
            parts.append(f"{_json(name)}: {{\n{inner}\n}}")
        else:
            parts.append(f"{_json(name)}: {_json(value)}")
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def word_codes(table: Iterable[Mapping[str, str]]) -> list[str]:
    """The codes of all channels that are words, as `spelling` has them."""
    return sorted({spelling(row["code"]) for row in table if not row["code"].isdigit()})


# ---- the rows


def _table_rows(table: Iterable[Mapping[str, str]]) -> Iterator[Row]:
    for row in table:
        whole, owner = wording_of(row), owner_of(row)
        said = (row["fault_class"], row["fault_subclass"])
        yield Row(whole, *said, 1.0, owner)
        # In the tables a meaning stands in English, or in English and Chinese; a message comes in one of them.
        english, _, chinese = row["raw_meaning"].partition(" / ")
        if _HAN.search(chinese):
            for part in (english, chinese):
                yield Row(_with(whole, text=part, code=None), *said, 0.5, owner)
        yield Row(_with(whole, channel=None), *said, 0.3, owner)


def _message_rows(messages: Iterable[Mapping[str, str]]) -> Iterator[Row]:
    for i, row in enumerate(messages):
        said = (row["fault_class"], row["fault_subclass"])
        yield Row(Wording(row["text"]), *said, 1.0, f"message|{i}")
        around = _AROUND[i % len(_AROUND)]
        if around != "{}":
            yield Row(Wording(around.format(row["text"])), *said, 0.5, f"message|{i}")


def _taxonomy_rows(taxonomy: Iterable[Mapping[str, str]]) -> Iterator[Row]:
    for row in taxonomy:
        for text in (row["name_en"], row["name_zh"], row["definition"]):
            yield Row(Wording(text), row["class"], row["subclass"], 1.0, "taxonomy")


def _guide_rows(guide: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    for name, patterns in guide.items():
        fault_class, _, subclass = name.partition("/")
        for pattern in patterns:
            phrases = expand(pattern)
            for phrase in phrases:
                yield Row(Wording(phrase), fault_class, subclass, min(1.0, _PATTERN_WEIGHT / len(phrases)), "guide")


def _with(wording: Wording, **changes: Any) -> Wording:
    from dataclasses import replace

    return replace(wording, **changes)


def _only_code(row: Row) -> Row:
    from dataclasses import replace

    return replace(row, wording=_with(row.wording, text="", http_status=None))


def _plain(wording: Wording) -> str:
    """A wording by which equal ones are known: letters and Chinese of text, or of the code where there is no other."""
    return re.sub(r"[^a-z\u3400-\u9fff]", "", wording.text.lower()) or spelling(wording.code or "")


def _fold(plain: str) -> int:
    return hashlib.sha256(plain.encode()).digest()[0] % _FOLDS


def _csv(path: Path, *needed: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise UsageError(f"{path}: the column {missing[0]} is missing")
        return list(reader)


# ---- the sums


def _svm() -> Any:
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise UsageError(
            "learning needs scikit-learn, which reading does not: pip install 'scikit-learn>=1.9,<2'"
        ) from error
    return LinearSVC(C=_REGULARISATION, random_state=0, max_iter=4000)


def _matrix(found: Sequence[Mapping[str, Sequence[str]]]) -> tuple[list[str], Any]:
    """All term names in order, and the values by row and term."""
    from scipy.sparse import csr_matrix

    spoken = [flat(one, SCALES) for one in found]
    names = sorted(Counter(name for row, _ in spoken for name in row))
    number = {name: i for i, name in enumerate(names)}
    starts = np.cumsum([0, *(len(row) for row, _ in spoken)])
    columns = np.array([number[name] for row, _ in spoken for name in row], np.int32)
    values = np.array([value for _, row in spoken for value in row])
    return names, csr_matrix((values, columns, starts), shape=(len(spoken), len(names)))


def _hundredths(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.rint(weights * 100).astype(np.int64)


def _best_heat(outcomes: Sequence[tuple[npt.NDArray[np.float64], int]]) -> float:
    """The temperature with the least mean log loss, by golden section over 0.05 .. 2."""
    if not outcomes:
        return 1.0
    scores = np.array([values for values, _ in outcomes])
    truth = np.array([label for _, label in outcomes])

    def loss(heat: float) -> float:
        chosen = softmax(scores / heat)[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(chosen, 1e-9)).mean())

    low, high, ratio = 0.05, 2.0, (5**0.5 - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return round((low + high) / 2, 3)


def _spaced(numbers: Iterable[int]) -> str:
    return " ".join(str(int(n)) for n in numbers)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


__all__ = [
    "INPUTS",
    "NONE",
    "SHIPPED",
    "Row",
    "Texts",
    "Trainer",
    "encode",
    "expand",
    "is_bare",
    "learn",
    "owner_of",
    "read_texts",
    "rows_of",
    "word_codes",
    "wording_of",
]
