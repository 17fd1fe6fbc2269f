"""Log templates: Drain3 over distinct masked lines.

    messages -> folded -> masked -> tokens -> Drain clusters -> templates

Each distinct masked line is seen once, in sorted order, and stands for as many lines as it had. So neither the order of the
rows nor how they were cut into shards has a say, ids are the hash of the template's text, and counts add up to the rows.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.events import TURNS, generalised, names_in_front, told_apart, turns_of
from parsers.folding import fold, warm_up
from parsers.masking import blanked, mask_folded, spell, tokenise, untokenised
from parsers.parameters import Parameters, parameter_kinds
from parsers.parameters import parameters as extract
from parsers.rare import fold_rare_words
from parsers.template_state import TemplateStateError, read_state, write_state

__all__ = [
    "LogTemplate",
    "Mined",
    "Parameters",
    "TemplateStateError",
    "load",
    "match",
    "merge",
    "mine",
    "mine_counted",
    "parameter_kinds",
    "parameters",
    "save",
    "template_id",
    "warm_up",
]

# Drain's parameters (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", 2017): similarity
# threshold and depth of the prefix tree.
SIMILARITY = 0.5
DEPTH = 4
# Distinct lines that are masked, and that Drain compares, one by one; beyond, rare words are folded first.
MOST_FOLDED, MOST_MASKED = 40_000, 5_000
# Clusters of one leaf that a line is compared with, the newest: what keeps Drain linear.
_MOST_CLUSTERS = 100


@dataclass(frozen=True)
class LogTemplate:
    """One template: `text` with wildcards as `<*>`, and how many lines it stands for."""

    id: str
    text: str
    count: int


@dataclass(frozen=True)
class Mined:
    """`template_ids`, one string per row of the input, and the templates, most frequent first.

    `folded` holds the folded line of each row. `lines` is what there is to know of the distinct ones, and all that `save`
    keeps: table(folded: string, count: int64, shape: dictionary<string>), a shape being the tokens of the line's template.
    `approximate` counts the rows in which rare words were folded, since there were too many distinct lines to compare all.
    """

    template_ids: pa.DictionaryArray
    templates: tuple[LogTemplate, ...]
    folded: pa.DictionaryArray
    lines: pa.Table
    approximate: int


def mine(messages: pa.Array | pa.ChunkedArray) -> Mined:
    """Cluster `messages` (string, any length, nulls allowed) into templates; `sum(count) == len(messages)`.

    Lines that take different turns (started and paused, 成功 and 失败, payment_failed and payment_succeeded) at one position are
    never of one template. Raises `pyarrow.ArrowInvalid` or `UnicodeDecodeError` where the bytes are no UTF-8.
    """
    folded = fold(messages)
    counts = np.zeros(len(folded.dictionary), np.int64)
    np.add.at(counts, folded.indices.to_numpy(), 1)
    return _mined(folded, counts)


def mine_counted(lines: pa.Array, counts: npt.NDArray[np.int64]) -> Mined:
    """`mine` for messages that were masked before: `lines` (string, each once) and how often each was seen.

    Since masking what is masked changes nothing, the templates are those of the messages; the rows are the lines.
    """
    rows = pa.array(np.arange(len(lines), dtype=np.int32))
    return _mined(pa.DictionaryArray.from_arrays(rows, lines), counts)


def merge(first: Mined, *others: Mined) -> Mined:
    """The same templates and ids that mining all rows at once gives; the rows follow one another."""
    parts = [first, *others]
    rows = pa.chunked_array([part.folded for part in parts]).unify_dictionaries()
    dictionary = rows.chunk(0).dictionary
    folded = pa.DictionaryArray.from_arrays(pa.concat_arrays([chunk.indices for chunk in rows.chunks]), dictionary)
    counts = np.zeros(len(dictionary), np.int64)
    for part in parts:
        at = pc.index_in(part.lines["folded"], value_set=dictionary).to_numpy()
        np.add.at(counts, at, part.lines["count"].to_numpy())
    return _mined(folded, counts)


def match(mined: Mined, messages: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """The id of the template that each of `messages` fits, or null; nothing is learnt.

    A folded line that was mined is looked up; another is masked and compared, token by token, with the shapes that were
    found, and of those that fit the one with the most constant characters is taken.
    """
    folded = fold(messages)
    shapes = mined.lines["shape"].combine_chunks()
    known = pc.index_in(folded.dictionary, value_set=mined.lines["folded"].combine_chunks())
    shape_of_line = pc.take(shapes.indices, known).to_pylist()
    unknown = [line for line, shape in enumerate(shape_of_line) if shape is None]
    texts = shapes.dictionary.to_pylist()
    fitting = _fitting(texts, pc.take(folded.dictionary, pa.array(unknown, pa.int32())))
    for line, shape in zip(unknown, fitting, strict=True):
        shape_of_line[line] = shape
    ids = [template_id(spell(text)) for text in texts]
    names = sorted(set(ids))
    number = {name: i for i, name in enumerate(names)}
    codes = pa.array([None if shape is None else number[ids[shape]] for shape in shape_of_line], pa.int32())
    return pa.DictionaryArray.from_arrays(pc.take(codes, folded.indices), pa.array(names, pa.string()))


def _fitting(shapes: list[str], folded: pa.Array) -> list[int | None]:
    """For each folded line the number of the shape that it fits best."""
    # By their length and their first token, where it has no wildcard: few are left to compare with.
    alike: dict[tuple[int, str], list[tuple[int, list[str]]]] = defaultdict(list)
    for number, shape in enumerate(shapes):
        tokens = shape.split(" ")
        alike[len(tokens), "" if "<*>" in tokens[0] else tokens[0]].append((number, tokens))
    masked = mask_folded(folded)
    best: list[int | None] = []
    for line in tokenise(masked.dictionary).to_pylist():
        tokens = line.split(" ")
        candidates = alike[len(tokens), tokens[0]] + alike[len(tokens), ""]
        fits = [number for number, shape in candidates if all(map(_fits, shape, tokens))]
        best.append(max(fits, key=lambda n: (len(shapes[n].replace("<*>", "")), shapes[n]), default=None))
    return [best[number] for number in masked.indices.to_pylist()]


def parameters(mined: Mined, messages: pa.Array | pa.ChunkedArray, template: LogTemplate) -> Parameters:
    """What the rows of `messages`, those that were mined, have in the place of the template's wildcards."""
    return extract(messages, mined.template_ids, template.id, template.text)


def save(mined: Mined, path: str | Path) -> None:
    """Write what was mined (all but the rows) to `path`, a Parquet file, at once or not at all.

    Readers see the old file or the new one, never half of one. One process may write at a time.
    """
    target = Path(path)
    beside = target.with_name(f".{uuid4().hex}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(write_state(mined.lines, mined.approximate))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | Path) -> Mined:
    """What `save` wrote, with no rows. Raises `TemplateStateError` for what is damaged or of another version."""
    lines, approximate = read_state(Path(path).read_bytes(), name=str(path))
    dictionary = lines["folded"].combine_chunks()
    folded = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), dictionary)
    return _described(folded, lines, approximate)


def template_id(text: str) -> str:
    """The id that a template's text gives, the same in every run."""
    return "t" + hashlib.sha256(text.encode()).hexdigest()[:10]


def _mined(folded: pa.DictionaryArray, counts: npt.NDArray[np.int64]) -> Mined:
    shapes, approximate = _shapes(folded.dictionary, counts)
    lines = pa.table({"folded": folded.dictionary, "count": pa.array(counts, pa.int64()), "shape": shapes})
    return _described(folded, lines, approximate)


def _described(folded: pa.DictionaryArray, lines: pa.Table, approximate: int) -> Mined:
    """Templates and the rows' ids from the distinct lines. Two shapes can read the same; they are one to a reader."""
    shapes = lines["shape"].combine_chunks()
    texts = [spell(shape) for shape in shapes.dictionary.to_pylist()]
    by_text = sorted(set(texts))
    number = {text: i for i, text in enumerate(by_text)}
    of_shape = np.array([number[text] for text in texts], np.int32)
    of_line = of_shape[shapes.indices.to_numpy(zero_copy_only=False)]
    counts = np.bincount(of_line, weights=lines["count"].to_numpy(), minlength=len(by_text)).astype(np.int64)
    ids = [template_id(text) for text in by_text]
    templates = [LogTemplate(ids[i], text, int(counts[i])) for i, text in enumerate(by_text)]
    templates.sort(key=lambda t: (-t.count, t.id))
    rows = of_line[folded.indices.to_numpy(zero_copy_only=False)] if len(of_line) else np.array([], np.int32)
    template_ids = pa.DictionaryArray.from_arrays(pa.array(rows, pa.int32()), pa.array(ids, pa.string()))
    return Mined(template_ids, tuple(templates), folded, lines, approximate)


def _shapes(folded: pa.Array, counts: npt.NDArray[np.int64]) -> tuple[pa.DictionaryArray, int]:
    """The shape of each distinct folded line, its template's tokens parted by blanks; and how many rows are approximate."""
    few, rare = _with_few_words(folded, counts)
    masked = mask_folded(few.dictionary)
    of_masked = pc.take(masked.indices, few.indices)
    weights = np.bincount(of_masked.to_numpy(), counts, len(masked.dictionary)).astype(np.int64)
    tokens, rarer = fold_rare_words(tokenise(masked.dictionary), weights, MOST_MASKED, sorted(TURNS))
    lines = tokens.dictionary.to_pylist()
    shape_of: dict[str, str] = {}
    for cluster in _clusters(sorted(lines)):
        for rows in told_apart(cluster):
            shape = " ".join(generalised(set(column)) for column in zip(*rows, strict=True))
            shape_of.update((" ".join(row), shape) for row in rows)
    named = names_in_front(set(shape_of.values()))
    shapes = pc.dictionary_encode(pa.array([named[shape_of[line]] for line in lines], pa.string()))
    of_line = pc.take(shapes.indices, pc.take(tokens.indices, of_masked))
    approximate = int(counts.sum(where=rare | rarer[of_masked.to_numpy()]))
    return pa.DictionaryArray.from_arrays(of_line, shapes.dictionary), approximate


def _with_few_words(
    folded: pa.Array, counts: npt.NDArray[np.int64]
) -> tuple[pa.DictionaryArray, npt.NDArray[np.bool_]]:
    """The folded lines; where they are very many, without their rare words. Also says which were changed."""
    if len(folded) <= MOST_FOLDED:
        same = pa.array(np.arange(len(folded), dtype=np.int32))
        return pa.DictionaryArray.from_arrays(same, folded), np.zeros(len(folded), dtype=bool)
    few, rare = fold_rare_words(tokenise(blanked(folded)), counts, MOST_FOLDED, sorted(TURNS))
    return pa.DictionaryArray.from_arrays(few.indices, untokenised(few.dictionary)), rare


def _clusters(lines: Iterable[str]) -> Iterable[list[list[str]]]:
    """Drain's clusters of `lines`, each line as its tokens."""
    drain = _drain()
    clusters: dict[int, list[list[str]]] = defaultdict(list)
    for line in lines:
        clusters[drain.add_log_message(line)[0].cluster_id].append(line.split(" "))
    return clusters.values()


def _drain() -> Any:
    from drain3.drain import Drain, LogCluster

    class NearestDrain(Drain):
        """Drain, which compares a line with the newest clusters of its leaf only."""

        def fast_match(
            self, cluster_ids: Collection[int], tokens: Sequence[str], sim_th: float, include_params: bool
        ) -> LogCluster | None:
            return super().fast_match(list(cluster_ids)[-_MOST_CLUSTERS:], tokens, sim_th, include_params)

    return NearestDrain(depth=DEPTH, sim_th=SIMILARITY, max_children=100, max_clusters=None)


def _fits(shape: str, token: str) -> bool:
    """Whether `token` is what `shape` says: a wildcard stands for anything but a turn that the shape does not take."""
    if shape == token:
        return True
    first, *others = shape.split("<*>")
    if not others or not token.startswith(first) or turns_of(token) != turns_of(shape):
        return False
    at = len(first)
    for constant in others[:-1]:
        at = token.find(constant, at)
        if at < 0:
            return False
        at += len(constant)
    return token.endswith(others[-1]) and len(token) - len(others[-1]) >= at
