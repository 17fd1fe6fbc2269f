"""The index of closed tickets that needs no server: a folder that is read whole into memory.

    tickets.arrow   the history's rows in order of closing, open ones last, with their words and what the system said
    vectors.npy     a row of half floats a closed ticket, where the extra `meaning` is installed
    queues.npz      what was learnt of queues (see `learnt.py`)
    index.json      what it was made from

Titles, descriptions, causes and solutions are redacted before they are written, and a hash stands for the customer. It is made beside its place and put there by
one rename, so a reader finds the old one or the new one.
"""

from __future__ import annotations

import bisect
import functools
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parsers.redaction.redactor import Redactor
from pipeline.desk import learnt, meaning
from pipeline.desk.history import customer_key, texts_of
from pipeline.desk.postings import Postings
from pipeline.desk.query import Gathered, Like, Query
from pipeline.desk.vectors import Vectors
from pipeline.desk.words import split_words
from pipeline.errors import UsageError
from pipeline.redact import redact_words

LAYOUT = 1
# So many tickets of each kind of likeness are ranked: enough for five, with room for those that two kinds agree on.
POOL = 100
NEAREST = 400
FAVOURED = 30
_TOLD = ("title", "description", "cause", "solution")
# Said of a ticket where the history does not say it.
_FACTS = ("fault_class", "service", "channel")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an index was made from."""

    layout: int = LAYOUT
    tickets: int
    closed: int
    with_snapshot: int
    meaning: bool
    masked: int
    newest_closed: str | None


@dataclass(frozen=True)
class Prepared:
    """The rows of an index, ready to be searched or sent elsewhere: the closed ones are the first `closed`."""

    rows: pa.Table
    vectors: NDArray[np.float16] | None
    facts: Facts


def prepare(
    history: pa.Table,
    said: Mapping[str, Mapping[str, Any]],
    redactor: Redactor,
    *,
    with_meaning: bool,
    progress: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """The rows of `history` (see `read_history`) redacted, with their words, vectors and what the system said.

    `said` maps a ticket's id to its `marks` (a list of strings) and, where its snapshot tells them, `fault_class`,
    `service` and `channel`.
    """
    closed = history.num_rows - history["closed_at"].null_count
    texts = {text for name in _TOLD for text in history[name].to_pylist() if text}
    masked = redact_words(redactor, sorted(texts))
    rows = history
    for name in _TOLD:
        shown = [masked.get(text) if text else None for text in history[name].to_pylist()]
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(shown, pa.string()))
    keys = pa.array([customer_key(one) if one else None for one in rows["customer"].to_pylist()], pa.string())
    rows = rows.set_column(rows.schema.get_field_index("customer"), "customer", keys)
    found = [said.get(name, {}) for name in rows["id"].to_pylist()]
    for name in _FACTS:
        known = pc.coalesce(rows[name], pa.array([one.get(name) for one in found], pa.string()))
        rows = rows.set_column(rows.schema.get_field_index(name), name, known)
    progress(f"reading the words of {rows.num_rows:,} tickets")
    texts_now = texts_of(rows)
    rows = rows.append_column("words", pa.array(map(split_words, texts_now), pa.list_(pa.string())))
    rows = rows.append_column("said", pa.array([one.get("marks", []) for one in found], pa.list_(pa.string())))
    vectors = None
    if with_meaning:
        progress(f"reading the meaning of {closed:,} tickets")
        vectors = meaning.encode(texts_now[:closed]).astype(np.float16)
    newest = rows["closed_at"][closed - 1].as_py().isoformat() if closed else None
    facts = Facts(
        tickets=rows.num_rows,
        closed=closed,
        with_snapshot=sum("marks" in one for one in found),
        meaning=with_meaning,
        masked=sum(text != shown for text, shown in masked.items()),
        newest_closed=newest,
    )
    return Prepared(rows.combine_chunks(), vectors, facts)


def write_index(folder: Path, made: Prepared, queues: learnt.Queues | None) -> None:
    """Puts an index to `folder`, in place of the one that is there. Raises `UsageError` where that cannot be."""
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        beside.mkdir(parents=True)
        with pa.OSFile(str(beside / "tickets.arrow"), "wb") as sink, pa.ipc.new_file(sink, made.rows.schema) as out:
            out.write_table(made.rows)
        if made.vectors is not None:
            np.save(beside / "vectors.npy", made.vectors)
        if queues is not None:
            queues.write(beside)
        (beside / "index.json").write_bytes(msgspec.json.encode(made.facts))
        _swap(beside, folder)
    except OSError as error:
        raise UsageError(f"desk.index: {folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _swap(new: Path, place: Path) -> None:
    """`new` in the place of what is at `place`. Only a folder that holds an index is replaced."""
    if place.exists() and not (place / "index.json").exists() and any(place.iterdir()):
        raise UsageError(f"desk.index: {place} holds something else than an index; name another folder")
    old = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def read_index(folder: Path) -> EmbeddedIndex:
    """The index in `folder`; one that has not changed is read once. Raises `UsageError` where there is none to read."""
    try:
        stamp = (folder / "index.json").stat().st_mtime_ns
    except OSError as error:
        raise UsageError(f"{folder}: no index of closed tickets; `problem-snapshot desk index` makes it") from error
    return _read(folder, stamp)


@functools.lru_cache(maxsize=4)
def _read(folder: Path, _stamp: int) -> EmbeddedIndex:
    try:
        facts = msgspec.json.decode((folder / "index.json").read_bytes(), type=Facts)
        if facts.layout != LAYOUT:
            raise UsageError(f"{folder}: the index has layout {facts.layout}, not {LAYOUT}; `desk index` makes it anew")
        with pa.memory_map(str(folder / "tickets.arrow")) as source:
            rows = pa.ipc.open_file(source).read_all()
        vectors = np.load(folder / "vectors.npy", mmap_mode="r") if facts.meaning else None
        return EmbeddedIndex(Prepared(rows.combine_chunks(), vectors, facts), learnt.read_queues(folder))
    except (OSError, ValueError, KeyError, pa.ArrowException, msgspec.MsgspecError) as error:
        raise UsageError(f"{folder}: the index cannot be read ({error}); `desk index` makes it anew") from error


class EmbeddedIndex:
    """Closed tickets in memory, and open ones for the loads of handlers."""

    def __init__(self, made: Prepared, queues: learnt.Queues | None = None) -> None:
        """Counts the words of the closed tickets."""
        self.table = made.rows
        self.facts = made.facts
        self.queues = queues
        self.meaning = made.vectors is not None
        closed = made.rows.slice(0, made.facts.closed)
        self.words = Postings(_lists(closed["words"]))
        self.said = Postings(_lists(closed["said"]))
        self._vectors = Vectors(made.vectors) if made.vectors is not None else None
        self._categories = closed["category"].combine_chunks().dictionary_encode()
        # A query ranks some hundreds of tickets and tells of five: what ranks them is at hand.
        self._ranked = {name: closed[name].to_pylist() for name in ("id", "category", "closed_at")}
        self._category_at = {name: i for i, name in enumerate(self._categories.dictionary.to_pylist())}
        self._category_codes = self._categories.indices.fill_null(-1).to_numpy(zero_copy_only=False)

    def gather(self, query: Query, favoured: Mapping[str, float] = {}) -> Gathered:
        """The tickets worth ranking."""
        n = bisect.bisect_left(self._ranked["closed_at"], query.at)
        words, said = self.words.known(query.words, n), self.said.known(query.said, n)
        by_words, by_said = self.words.shares(words), self.said.shares(said)
        pool = [_highest(by_words, POOL), _highest(by_said, POOL)]
        if self._vectors is not None and query.vector is not None:
            pool.append(self._vectors.nearest(query.vector, n, NEAREST))
        pool += self._favoured(favoured, by_words)
        chosen = np.unique(np.concatenate(pool)).astype(np.int64)
        means = (
            self._vectors.cosines(query.vector, chosen)
            if self._vectors is not None and query.vector is not None
            else np.zeros(len(chosen), np.float32)
        )
        parts = (by_words[chosen].tolist(), means.tolist(), by_said[chosen].tolist(), chosen.tolist())
        rows = ({name: values[i] for name, values in self._ranked.items()} for i in parts[-1])
        likes = [Like(row, *shares) for row, *shares in zip(rows, *parts, strict=True) if row["id"] != query.id]
        return Gathered(likes, words, said)

    def rows(self, likes: Sequence[Like]) -> list[Mapping[str, Any]]:
        """All that is told of each, in their order."""
        told: list[Mapping[str, Any]] = (
            self.table.select(SHOWN).take(pa.array([like.place for like in likes], pa.int64())).to_pylist()
        )
        return told

    def _favoured(self, favoured: Mapping[str, float], shares: NDArray[np.float32]) -> Iterable[NDArray[np.int64]]:
        for category in favoured:
            if category in self._category_at:
                mine = np.flatnonzero(self._category_codes[: len(shares)] == self._category_at[category])
                yield mine[_highest(shares[mine], FAVOURED, nothing=True)]


# What of a row is needed to rank it and to tell of it.
SHOWN = [
    "id",
    "title",
    "category",
    "queue",
    "handler",
    "cause",
    "solution",
    "closed_at",
    "reopened",
    "fault_class",
    "words",
    "said",
]


def _lists(column: pa.ChunkedArray) -> pa.ListArray:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _highest(shares: NDArray[np.float32], most: int, *, nothing: bool = False) -> NDArray[np.int64]:
    """The tickets with the `most` highest shares, of equal ones the newer; those that share nothing only with `nothing`."""
    found = np.arange(len(shares)) if nothing else np.flatnonzero(shares > 0)
    if len(found) > most:
        # Above the last one's share all are in; of those equal to it the newest.
        least = np.partition(shares[found], len(found) - most)[len(found) - most]
        above, equal = found[shares[found] > least], found[shares[found] == least]
        found = np.concatenate([above, equal[len(equal) - (most - len(above)) :]])
    return found.astype(np.int64)
