"""Exact mode: what Drain3's `TemplateMiner` answers line by line, with most of its work done once for many lines.

The result is the same by construction, not by luck; each shortcut rests on one argument that stands beside it:

- A mask is tried once on all words that its pattern cannot tell apart (`_Mask`, `_study`), and only on those that a wider
  pattern of RE2 finds.
- Drain is asked once for all messages that its tree cannot tell apart, until the tree changes (`_Feed`).

Where an argument does not hold for a pattern of the user's, that pattern is applied line by line, by Drain3's own code.
"""

from __future__ import annotations

import ast
import bisect
import configparser
import importlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from drain3.drain import Drain, DrainBase, LogCluster
    from drain3.masking import AbstractMaskingInstruction, LogMasker, MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

# Distinct lines that are masked at one time: bounds the memory.
_AT_ONCE = 1 << 17
# With fewer distinct lines than this, studying the patterns costs more than it saves. Of more, one in so many is masked in
# both ways first, to see which is quicker.
_FEW = 4000
_ONE_IN = 32
_LEAST_TRIED, _MOST_TRIED = 256, 4096

_ASCII = range(128)
_LETTERS = frozenset(code for code in _ASCII if chr(code).isalpha())
_LETTERS_AND_DIGITS = sorted(code for code in _ASCII if chr(code).isalnum())
_SPACE = ord(" ")
_BEYOND_ASCII = r"\x{80}-\x{10FFFF}"


@dataclass(frozen=True)
class ExactCluster:
    """One cluster of Drain3 after the last line: its id, how many lines it got, and its words with wildcards."""

    id: int
    size: int
    template: str


@dataclass(frozen=True)
class ExactlyMined:
    """`cluster_ids`, one int64 per row, and the clusters in order of their ids.

    With `max_clusters` the clusters are those that are left; a row may bear the id of one that is gone.
    """

    cluster_ids: pa.Array
    clusters: tuple[ExactCluster, ...]


def mine_exactly(messages: pa.Array | pa.ChunkedArray, drain3_ini: str = "") -> ExactlyMined:
    """What `TemplateMiner.add_log_message` gives for `messages` in their order, under the text of a drain3.ini.

    Nulls count as the empty line. Options for snapshots and profiling are read and have no effect. ValueError names the
    option that cannot be used.

    >>> mined = mine_exactly(pa.array(["paid 5 now", "paid 6 now", "lost"]))
    >>> mined.cluster_ids.to_pylist()
    [1, 1, 2]
    >>> mined.clusters[0]
    ExactCluster(id=1, size=2, template='paid <*> now')
    """
    # The persistence modules of drain3 are heavy to import.
    from drain3 import TemplateMiner

    config = _configuration(drain3_ini)
    config.profiling_enabled = False
    # It has the last word on the engine: that of drain3-improved 0.10 takes a Drain also where JaccardDrain is asked for.
    miner = TemplateMiner(config=config)
    raw = _encoded(pc.fill_null(messages.cast(pa.large_string()), ""))
    distinct = raw.dictionary
    codes = raw.indices.to_numpy()
    if config.masking_instructions:
        masked = _encoded(_all_masked(distinct, miner.masker, config))
        distinct = masked.dictionary
        codes = masked.indices.to_numpy()[codes]
    ids = np.array(_Feed(miner.drain, distinct.to_pylist()).ids(codes.tolist()), np.int64)
    # Each row adds one to the size of its cluster, and an id is never given twice.
    sizes = np.bincount(ids)
    live = miner.drain.id_to_cluster
    clusters = tuple(
        ExactCluster(number, int(sizes[number]), cluster.get_template())
        for number in sorted(live)
        if (cluster := live.get(number)) is not None
    )
    return ExactlyMined(pa.array(ids, pa.int64()), clusters)


# --- The configuration ---


def _masking_of(text: str) -> list[MaskingInstruction]:
    from drain3.masking import MaskingInstruction

    instructions = []
    for each in json.loads(text):
        instruction = MaskingInstruction(each["regex_pattern"], each["mask_with"])
        if not isinstance(instruction.mask_with, str):
            raise TypeError(f"mask_with is no text: {instruction.mask_with!r}")
        instructions.append(instruction)
    return instructions


def _delimiters_of(text: str) -> Any:
    delimiters = ast.literal_eval(text)
    if not all(isinstance(each, str) for each in delimiters):
        raise TypeError("a delimiter is no text")
    return delimiters


_Reader = Callable[[configparser.ConfigParser, str, str], Any]
_TEXT: _Reader = configparser.ConfigParser.get
_INT: _Reader = configparser.ConfigParser.getint
_FLOAT: _Reader = configparser.ConfigParser.getfloat
_BOOLEAN: _Reader = configparser.ConfigParser.getboolean
# Section, option, attribute of TemplateMinerConfig and how `TemplateMinerConfig.load` reads it. That function wants a
# file; here there is none.
_OPTIONS: tuple[tuple[str, str, str, _Reader], ...] = (
    ("DRAIN", "engine", "engine", _TEXT),
    ("PROFILING", "enabled", "profiling_enabled", _BOOLEAN),
    ("PROFILING", "report_sec", "profiling_report_sec", _INT),
    ("SNAPSHOT", "snapshot_interval_minutes", "snapshot_interval_minutes", _INT),
    ("SNAPSHOT", "compress_state", "snapshot_compress_state", _BOOLEAN),
    ("DRAIN", "extra_delimiters", "drain_extra_delimiters", lambda *at: _delimiters_of(_TEXT(*at))),
    ("DRAIN", "sim_th", "drain_sim_th", _FLOAT),
    ("DRAIN", "depth", "drain_depth", _INT),
    ("DRAIN", "max_children", "drain_max_children", _INT),
    ("DRAIN", "max_clusters", "drain_max_clusters", _INT),
    ("DRAIN", "parametrize_numeric_tokens", "parametrize_numeric_tokens", _BOOLEAN),
    ("MASKING", "mask_prefix", "mask_prefix", _TEXT),
    ("MASKING", "mask_suffix", "mask_suffix", _TEXT),
    ("MASKING", "parameter_extraction_cache_capacity", "parameter_extraction_cache_capacity", _INT),
    ("MASKING", "masking", "masking_instructions", lambda *at: _masking_of(_TEXT(*at))),
)


def _configuration(text: str) -> TemplateMinerConfig:
    """What `TemplateMinerConfig.load` makes of a file with this text; ValueError where Drain3 would fail, now or later."""
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    parser = configparser.ConfigParser()
    try:
        parser.read_string("\n".join(re.split(r"\r\n?|\n", text)), "drain3.ini")
    except configparser.Error as error:
        raise ValueError(f"drain3.ini: {error}") from error
    for section, option, attribute, read in _OPTIONS:
        if not parser.has_option(section, option):
            continue
        try:
            setattr(config, attribute, read(parser, section, option))
        except KeyError as error:
            raise ValueError(f"drain3.ini: [{section}] {option}: {error} is missing") from error
        except (
            ValueError,
            TypeError,
            SyntaxError,
            OverflowError,
            RecursionError,
            MemoryError,
            re.error,
            configparser.Error,
        ) as error:
            raise ValueError(f"drain3.ini: [{section}] {option}: {error}") from error
    if config.engine not in {"Drain", "JaccardDrain"}:
        raise ValueError(f"drain3.ini: [DRAIN] engine: neither Drain nor JaccardDrain: {config.engine!r}")
    if config.drain_depth < 3:
        raise ValueError(f"drain3.ini: [DRAIN] depth: must be at least 3: {config.drain_depth}")
    if config.drain_max_clusters is not None and config.drain_max_clusters < 1:
        raise ValueError(f"drain3.ini: [DRAIN] max_clusters: must be at least 1: {config.drain_max_clusters}")
    if config.drain_max_children < 1 and config.drain_depth > 3:
        raise ValueError(f"drain3.ini: [DRAIN] max_children: must be at least 1: {config.drain_max_children}")
    for instruction in config.masking_instructions:
        try:
            # A backslash in a mask stands for a group of the pattern, which may not be there.
            instruction.mask("", config.mask_prefix, config.mask_suffix)
        except (re.error, IndexError) as error:
            raise ValueError(f"drain3.ini: [MASKING] masking: {instruction.mask_with!r}: {error}") from error
    return config


# --- Masks ---


@dataclass(frozen=True)
class _Mask:
    """One masking instruction and what is known of its pattern.

    `within_words`: a match has no space in it, and whether there is one depends on nothing beyond the space on either side
    of its word. So a line is masked word by word.

    `wide`: a pattern of RE2 that is found in every text in which the pattern matches. Without it the text is left alone.

    `alike`: for each byte the one that stands for it. Bytes that no test in the pattern tells apart have the same one, so
    two texts that come out the same are matched at the same places.
    """

    instruction: AbstractMaskingInstruction
    prefix: str
    suffix: str
    within_words: bool = False
    wide: str | None = None
    alike: npt.NDArray[np.uint8] | None = None

    @property
    def text(self) -> str:
        """What stands in the place of a match."""
        return f"{self.prefix}{self.instruction.mask_with}{self.suffix}"

    @property
    def regex(self) -> re.Pattern[str]:
        """The pattern, which every instruction that comes from a drain3.ini has."""
        regex: re.Pattern[str] = self.instruction.regex  # type: ignore[attr-defined]
        return regex

    def plainly(self, text: str) -> str:
        """As Drain3 does it."""
        return self.instruction.mask(text, self.prefix, self.suffix)

    def found(self, texts: pa.Array) -> npt.NDArray[np.intp]:
        """The positions of the texts in which there may be a match."""
        if self.wide is None:
            return np.arange(len(texts))
        return np.flatnonzero(pc.match_substring_regex(texts, self.wide).to_numpy(zero_copy_only=False))


class _Unknown(Exception):
    """A pattern with something that is not looked into."""


def _study(instruction: AbstractMaskingInstruction, config: TemplateMinerConfig) -> _Mask:
    """`instruction` with what its parse tree shows; with nothing of that where it shows nothing."""
    unknown = _Mask(instruction, config.mask_prefix, config.mask_suffix)
    regex = getattr(instruction, "regex", None)
    if not isinstance(regex, re.Pattern):
        return unknown
    try:
        # Private, and without it all is still right.
        tree = importlib.import_module("re._parser").parse(regex.pattern)
        study = _Study(ignoring_case=bool(regex.flags & re.IGNORECASE))
        wide = study.wide(tree)
        # RE2 bounds what is repeated how often.
        pc.match_substring_regex(pa.array([""], pa.large_string()), wide)
    except (_Unknown, ImportError, AttributeError, RecursionError, pa.ArrowInvalid):
        return unknown
    if "\\" in unknown.text:
        # The mask may copy what was matched: texts that are matched alike do not come out alike.
        return _Mask(instruction, config.mask_prefix, config.mask_suffix, wide=wide)
    return _Mask(instruction, config.mask_prefix, config.mask_suffix, study.within_words, wide, study.alike())


class _Study:
    """A walk through the parse tree of one pattern: every test of a character, and where it stands."""

    def __init__(self, *, ignoring_case: bool) -> None:
        self.ignoring_case = ignoring_case
        # The ASCII characters that each test lets through.
        self.tests: list[frozenset[int]] = []
        self.within_words = True

    def alike(self) -> npt.NDArray[np.uint8]:
        r"""`_Mask.alike`: letters and digits that pass the same tests; all other bytes stand for themselves.

        A regular expression sees a character by its tests alone (also of `\b`, where all letters and digits are alike,
        and of `^` and `$`, where they are no newline). Backreferences compare texts; they are `_Unknown`.
        """
        table = np.arange(256, dtype=np.uint8)
        tests = self.tests + ([frozenset({code}) for code in _LETTERS] if self.ignoring_case else [])
        first: dict[tuple[bool, ...], int] = {}
        for code in _LETTERS_AND_DIGITS:
            table[code] = first.setdefault(tuple(code in test for test in tests), code)
        return table

    def wide(self, tree: Any) -> str:
        """`_Mask.wide`: what looks around consumes nothing and is left out.

        Of a pattern that is tried on whole lines, what must stand before all else, or after, stands there.
        """
        items = list(tree)
        bare = self._sequence(items)
        self.within_words &= tree.getwidth()[0] > 0
        if self.within_words or not items:
            return bare
        before = after = ""
        if str(items[0][0]) == "ASSERT" and items[0][1][0] < 0:
            before = self._sequence(items[0][1][1])
        if str(items[-1][0]) == "ASSERT" and items[-1][1][0] > 0:
            after = self._sequence(items[-1][1][1])
        return before + bare + after

    def _sequence(self, items: Iterable[tuple[Any, Any]], *, consuming: bool = True) -> str:
        return "".join(self._item(str(op), argument, consuming) for op, argument in items)

    def _item(self, op: str, argument: Any, consuming: bool) -> str:
        match op:
            case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
                return self._test(op, argument, consuming)
            case "BRANCH":
                return "(?:" + "|".join(self._sequence(each, consuming=consuming) for each in argument[1]) + ")"
            case "SUBPATTERN":
                _, added, _, inner = argument
                if added & re.IGNORECASE:
                    raise _Unknown
                return "(?:" + self._sequence(inner, consuming=consuming) + ")"
            case "ATOMIC_GROUP":
                return "(?:" + self._sequence(argument, consuming=consuming) + ")"
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                upper = "" if str(most) == "MAXREPEAT" else str(int(most))
                return f"(?:{self._sequence(inner, consuming=consuming)}){{{int(least)},{upper}}}"
            case "ASSERT" | "ASSERT_NOT":
                self._look(argument[1])
                self._sequence(argument[1], consuming=False)
                return ""
            case "AT":
                return ""
            case _:
                raise _Unknown

    def _look(self, items: Iterable[tuple[Any, Any]]) -> None:
        """A look at more than one character on one side may go beyond the word."""
        several = list(items)
        for op, argument in several:
            name = str(op)
            if len(several) > 1 or name not in {"LITERAL", "NOT_LITERAL", "IN", "ANY", "AT", "BRANCH", "SUBPATTERN"}:
                self.within_words = False
            elif name == "BRANCH":
                for each in argument[1]:
                    self._look(each)
            elif name == "SUBPATTERN":
                self._look(argument[3])

    def _test(self, op: str, argument: Any, consuming: bool) -> str:
        """Take note of one test of one character, and give it as a class of RE2 that lets through no less."""
        passed, beyond = _passed(op, argument)
        if self.ignoring_case:
            # Of a letter in either case only that it may pass is said here; `alike` keeps all letters apart.
            passed, beyond = passed | _LETTERS, True
        self.tests.append(passed)
        if consuming and _SPACE in passed:
            self.within_words = False
        codes = "".join(f"\\x{{{code:x}}}" for code in sorted(passed))
        return f"[{codes}{_BEYOND_ASCII if beyond else ''}]"


_CATEGORIES = {
    f"CATEGORY_{name}": frozenset(code for code in _ASCII if re.match(test, chr(code)))
    for name, test in {
        "DIGIT": r"\d",
        "NOT_DIGIT": r"\D",
        "SPACE": r"\s",
        "NOT_SPACE": r"\S",
        "WORD": r"\w",
        "NOT_WORD": r"\W",
    }.items()
}


def _passed(op: str, argument: Any) -> tuple[frozenset[int], bool]:
    """The ASCII characters that pass one test, and whether any other may."""
    everything = frozenset(_ASCII)
    if op == "ANY":
        # A newline may or may not; it is never alike to anything.
        return everything, True
    if op == "LITERAL":
        return everything & {argument}, argument not in everything
    if op == "NOT_LITERAL":
        return everything - {argument}, True
    passed: frozenset[int] = frozenset()
    negated = beyond = False
    for kind, value in argument:
        match str(kind):
            case "NEGATE":
                negated = True
            case "LITERAL":
                passed |= everything & {value}
                beyond |= value not in everything
            case "RANGE":
                passed |= everything & frozenset(range(value[0], min(value[1], 127) + 1))
                beyond |= value[1] not in everything
            case "CATEGORY" if str(value) in _CATEGORIES:
                passed |= _CATEGORIES[str(value)]
                beyond = True
            case _:
                raise _Unknown
    return (everything - passed, True) if negated else (passed, beyond)


def _all_masked(lines: pa.Array, masker: LogMasker, config: TemplateMinerConfig) -> pa.ChunkedArray:
    """What Drain3 makes of `lines`, in the quicker of two ways."""

    def plainly(some: pa.Array) -> pa.Array:
        return pa.array([masker.mask(line) for line in some.to_pylist()], pa.large_string())

    mask = plainly
    if len(lines) >= _FEW:
        masks = [_study(each, config) for each in config.masking_instructions]

        def by_kinds(some: pa.Array) -> pa.Array:
            return _masked(some, masks)

        if _quicker(by_kinds, plainly, lines):
            mask = by_kinds
    parts = [mask(lines.slice(at, _AT_ONCE)) for at in range(0, len(lines), _AT_ONCE)]
    return pa.chunked_array(parts, pa.large_string())


def _quicker(one: Callable[[pa.Array], object], other: Callable[[pa.Array], object], lines: pa.Array) -> bool:
    """Whether `one` takes less time than `other` on a few of the lines; what it gains with their number is left out."""
    count = min(max(len(lines) // _ONE_IN, _LEAST_TRIED), _MOST_TRIED)
    some = lines.take(pa.array(np.linspace(0, len(lines) - 1, count, dtype=np.int64)))
    fewer = some.slice(0, max(1, count // 4))
    begun = time.thread_time()
    other(fewer)
    between = time.thread_time()
    one(some)
    return (time.thread_time() - between) / len(some) < (between - begun) / len(fewer)


def _masked(lines: pa.Array, masks: list[_Mask]) -> pa.Array:
    """`lines` with one mask after the other applied."""
    left = list(masks)
    while left:
        run = []
        while left and left[0].within_words:
            run.append(left.pop(0))
        lines = _masked_by_words(lines, run) if run else _masked_whole(lines, left.pop(0))
    return lines


def _masked_whole(lines: pa.Array, mask: _Mask) -> pa.Array:
    at = mask.found(lines)
    if not len(at):
        return lines
    some = lines.take(pa.array(at))
    kinds = _Kinds(mask, some, np.zeros(len(at), np.int64))
    return _put(lines, at, kinds.masked())


def _masked_by_words(lines: pa.Array, masks: list[_Mask]) -> pa.Array:
    """Each distinct word once.

    Words are parted by the space alone, and joining them with it gives the line again. What a word has on each side,
    a space or the end of the line, goes with it.
    """
    words = pc.split_pattern(lines, " ")
    ends = words.offsets.to_numpy()
    encoded = _encoded(words.flatten())
    beside = np.full(len(encoded), 3, np.int64)
    beside[ends[:-1]] -= 2
    beside[ends[1:] - 1] -= 1
    number = encoded.indices.to_numpy().astype(np.int64) * 4 + beside
    there = np.zeros(len(encoded.dictionary) * 4, np.bool_)
    there[number] = True
    distinct = np.flatnonzero(there)
    number = (np.cumsum(there) - 1)[number]
    texts = encoded.dictionary.take(pa.array(distinct >> 2))
    sides = distinct & 3

    changed = False
    for done, mask in enumerate(masks):
        at = mask.found(texts)
        if not len(at):
            continue
        kinds = _Kinds(mask, texts.take(pa.array(at)), sides[at])
        if len(kinds) > len(lines):
            # More words than lines to try: whole lines are quicker.
            lines = _joined(texts, number, ends) if changed else lines
            for rest in masks[done:]:
                lines = _masked_whole(lines, rest)
            return lines
        texts = _put(texts, at, kinds.masked())
        changed = True
    return _joined(texts, number, ends) if changed else lines


def _joined(texts: pa.Array, number: npt.NDArray[np.int64], ends: npt.NDArray[np.int32]) -> pa.Array:
    words = pa.ListArray.from_arrays(pa.array(ends), texts.take(pa.array(number)))
    return pc.binary_join(words, pa.scalar(" ", pa.large_string()))


def _put(texts: pa.Array, at: npt.NDArray[np.intp], others: pa.Array) -> pa.Array:
    """`texts` with `others` at the positions `at`."""
    where = np.arange(len(texts))
    where[at] = np.arange(len(texts), len(texts) + len(at))
    return pa.concat_arrays([texts, others]).take(pa.array(where))


class _Kinds:
    """Texts, each with a space before it (2) or after it (1) or not, by what the mask's pattern sees of them."""

    def __init__(self, mask: _Mask, texts: pa.Array, sides: npt.NDArray[np.int64]) -> None:
        self.mask = mask
        self.texts = texts
        seen = _encoded(texts if mask.alike is None else _translated(texts, mask.alike))
        self.seen = seen.dictionary
        self.kinds, self.kind_of = np.unique(seen.indices.to_numpy().astype(np.int64) * 4 + sides, return_inverse=True)

    def __len__(self) -> int:
        return len(self.kinds)

    def masked(self) -> pa.Array:
        """The masked texts: one for a whole kind, where all that differs in it is masked away."""
        seen = self.seen.take(pa.array(self.kinds >> 2)).to_pylist()
        if self.mask.alike is None:
            return pa.array([self.mask.plainly(text) for text in seen], pa.large_string()).take(pa.array(self.kind_of))
        own = {chr(code) for code, count in enumerate(np.bincount(self.mask.alike)) if count > 1}
        results: list[str] = []
        untouched: list[int] = []
        pieces: dict[int, list[str | slice]] = {}
        for kind, (text, side) in enumerate(zip(seen, (self.kinds & 3).tolist(), strict=True)):
            result, spans = self._tried(text, " " * (side >> 1), " " * (side & 1))
            results.append(result)
            if not spans:
                untouched.append(kind)
                continue
            parts = list(_pieces(spans, len(text), self.mask.text))
            if not all(own.isdisjoint(text[part]) for part in parts if isinstance(part, slice)):
                pieces[kind] = parts
        as_it_is = np.flatnonzero(np.isin(self.kind_of, np.array(untouched, np.int64)))
        in_pieces = np.flatnonzero(np.isin(self.kind_of, np.array(list(pieces), np.int64)))
        filled = [
            "".join([part if isinstance(part, str) else text[part] for part in pieces[kind]])
            for text, kind in zip(
                self.texts.take(pa.array(in_pieces)).to_pylist(), self.kind_of[in_pieces].tolist(), strict=True
            )
        ]
        where = self.kind_of.copy()
        where[in_pieces] = np.arange(len(results), len(results) + len(filled))
        where[as_it_is] = as_it_is + len(results) + len(filled)
        return pa.concat_arrays([pa.array(results + filled, pa.large_string()), self.texts]).take(pa.array(where))

    def _tried(self, text: str, before: str, after: str) -> tuple[str, list[tuple[int, int]]]:
        """`text` masked where it stands between `before` and `after`, and the spans that were."""
        spans: list[tuple[int, int]] = []
        at = len(before)

        def note(match: re.Match[str]) -> str:
            spans.append((match.start() - at, match.end() - at))
            return self.mask.text

        result = self.mask.regex.sub(note, f"{before}{text}{after}")
        return result[at : len(result) - len(after)], spans


def _pieces(spans: list[tuple[int, int]], length: int, replacement: str) -> Iterator[str | slice]:
    """A text with its `spans` replaced: slices of it, and what stands between them."""
    at = 0
    for begin, end in spans:
        yield slice(at, begin)
        yield replacement
        at = end
    yield slice(at, length)


def _translated(texts: pa.Array, table: npt.NDArray[np.uint8]) -> pa.Array:
    """Each byte as `table` has it, which leaves alone all that is not ASCII."""
    _, offsets, data = texts.buffers()
    if data is None:
        return texts
    translated = pa.py_buffer(table[np.frombuffer(data, np.uint8)])
    return pa.LargeStringArray.from_buffers(len(texts), offsets, translated, None, 0, texts.offset)


def _encoded(values: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = pc.dictionary_encode(values)
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


# --- Drain ---


# A leaf of Drain's tree with fewer clusters than this is quicker gone through one by one.
_MANY = 32
# Where more than this part of so many lines had to be given to Drain, looking for an answer first does not pay. Then
# lines are given to it as they come, each time twice as many, before this is tried again.
_WINDOW = 512
_TOO_MANY = 0.35
_LONGEST_REST = 64 * _WINDOW


class _Leaf:
    """The templates under one leaf of Drain's tree: a row of numbers for each place in them, where 0 is the wildcard."""

    def __init__(self, width: int) -> None:
        self.ids: list[int] = []
        self.words = np.zeros((width, 64), np.int32)
        self.wildcards = np.zeros(64, np.int64)

    def put(self, column: int, words: list[int] | None) -> None:
        """A template; or, with none, one that is never the best."""
        if column >= len(self.wildcards):
            self.words = np.concatenate([self.words, np.zeros_like(self.words)], axis=1)
            self.wildcards = np.concatenate([self.wildcards, np.zeros_like(self.wildcards)])
        self.words[:, column] = words or 0
        self.wildcards[column] = words.count(0) if words else -1


class _Leaves:
    """`Drain.fast_match` with the candidates compared all at once.

    A cluster stays under its leaf. The list of a leaf grows at its end only, so it is in order of ids; with max_clusters
    those that are gone fall out of it at some time.
    """

    def __init__(self, drain: Drain) -> None:
        self.live: Mapping[int, LogCluster] = cast("dict[int, LogCluster]", drain.id_to_cluster)
        self.one_by_one = drain.fast_match
        self.numbers = {drain.param_str: 0}
        self.places: dict[int, tuple[_Leaf, int]] = {}
        drain.fast_match = self.fast_match  # type: ignore[method-assign, assignment]
        if drain.max_clusters is not None:
            forget = drain.id_to_cluster.popitem

            def popitem() -> tuple[int, LogCluster | None]:
                gone = forget()
                if gone[0] in self.places:
                    leaf, column = self.places.pop(gone[0])
                    leaf.put(column, None)
                return gone

            drain.id_to_cluster.popitem = popitem  # type: ignore[method-assign]

    def changed(self, cluster: LogCluster) -> None:
        """The template of `cluster` is another now."""
        if cluster.cluster_id in self.places:
            leaf, column = self.places[cluster.cluster_id]
            leaf.put(column, self._numbers(cluster))

    def fast_match(
        self, cluster_ids: Sequence[int], tokens: Sequence[str], sim_th: float, include_params: bool
    ) -> LogCluster | None:
        """The first of the clusters with most equal words, and of those with most wildcards, if it is similar enough."""
        if len(cluster_ids) < _MANY or include_params:
            return self.one_by_one(cluster_ids, tokens, sim_th, include_params)
        leaf = self._leaf(cluster_ids, len(tokens))
        count = len(leaf.ids)
        if not count:
            return None
        equal = np.zeros(count, np.int64)
        for place, token in enumerate(tokens):
            # No word of a message equals a wildcard, not even the wildcard itself.
            if number := self.numbers.get(token, 0):
                equal += leaf.words[place, :count] == number
        best = int(np.argmax(equal * (len(tokens) + 1) + leaf.wildcards[:count]))
        if leaf.wildcards[best] >= 0 and float(equal[best]) / len(tokens) >= sim_th:
            return self.live[leaf.ids[best]]
        return None

    def _leaf(self, cluster_ids: Sequence[int], width: int) -> _Leaf:
        """The leaf with this list, up to date."""
        leaf = next((self.places[number][0] for number in cluster_ids if number in self.places), None)
        if leaf and len(leaf.ids) > 2 * len(cluster_ids) + 64:
            # Most of them are gone.
            for number in leaf.ids:
                self.places.pop(number, None)
            leaf = None
        if leaf is None:
            leaf = _Leaf(width)
        for number in cluster_ids[bisect.bisect_right(cluster_ids, leaf.ids[-1]) if leaf.ids else 0 :]:
            if cluster := self.live.get(number):
                self.places[number] = leaf, len(leaf.ids)
                leaf.put(len(leaf.ids), self._numbers(cluster))
                leaf.ids.append(number)
        return leaf

    def _numbers(self, cluster: LogCluster) -> list[int]:
        return [self.numbers.setdefault(word, len(self.numbers)) for word in cluster.log_template_tokens]


@dataclass
class _Group:
    """The messages of one number of words.

    `known`: every word that is or was in a template of theirs or in this part of Drain's tree, each under itself.
    `answers`: by the known words of a message, with None for each other one, the cluster that it got and did not change.
    `asked`: the messages whose answer is at hand without looking at their words.
    """

    known: dict[str, str]
    answers: dict[tuple[str | None, ...], int] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)


class _Feed:
    """Messages given to Drain one after the other, where it has not answered before.

    Drain looks for a message's cluster among those with as many words. On the way it only asks which words equal one in
    its tree or in a template; what else they are it never sees. So messages with the same known words at the same places,
    and unknown ones at the others, get the same answer. One that changes nothing (but a size and, with max_clusters, which
    cluster was used last) holds until a cluster of as many words is made or changed. With max_clusters a cluster can also
    go: those that were better than it stay better, so only the answers that name it end.
    """

    def __init__(self, drain: DrainBase, messages: list[str]) -> None:
        from drain3.drain import Drain

        self.drain = drain
        self.messages = messages
        # By the number of a message; 0 where there is none.
        self.answers = [0] * len(messages)
        self.groups: dict[int, _Group] = {}
        self.added = 0
        self.changed = False
        self.live = drain.id_to_cluster
        self.bounded = drain.max_clusters is not None
        # Of another engine only this is said: the same message gets the same answer until any cluster is made or changed.
        self.by_words = type(drain) is Drain
        self.leaves = _Leaves(drain) if type(drain) is Drain else None

    def ids(self, codes: list[int]) -> list[int]:
        """The id of the cluster that Drain gives to `messages[code]`, for each code."""
        answers, live, bounded = self.answers, self.live, self.bounded
        ids: list[int] = []
        at, rest = 0, _WINDOW
        while at < len(codes):
            self.added = 0
            for code in codes[at : at + _WINDOW]:
                answer = answers[code]
                if answer and (not bounded or answer in live):
                    if bounded:
                        # As Drain does: the cluster is the one used last.
                        live[answer]
                else:
                    answer = self._ask(code)
                ids.append(answer)
            at += _WINDOW
            if self.added > _WINDOW * _TOO_MANY:
                rest = min(2 * rest, _LONGEST_REST)
                ids += self._all_added(codes[at : at + rest])
                at += rest
            else:
                rest = _WINDOW
        return ids

    def _all_added(self, codes: list[int]) -> list[int]:
        """Drain's own answers; no earlier one holds after them."""
        ids = []
        for code in codes:
            cluster, change = self.drain.add_log_message(self.messages[code])
            if self.leaves and change != "none":
                self.leaves.changed(cluster)
            ids.append(cluster.cluster_id)
        for group in self.groups.values():
            self._end(group)
        self.groups.clear()
        return ids

    def _ask(self, code: int) -> int:
        """The answer to a message with the same known words, or Drain's, which is kept."""
        tokens = self.drain.get_content_as_tokens(self.messages[code])
        group = self._group(tokens)
        key = tuple(map(group.known.get, tokens)) if self.by_words else (self.messages[code],)
        answer = group.answers.get(key, 0)
        if answer and (not self.bounded or answer in self.live):
            if self.bounded:
                self.live[answer]
        else:
            answer = self._add(code)
            if self.changed:
                return answer
            group.answers[key] = answer
        self.answers[code] = answer
        group.asked.append(code)
        return answer

    def _add(self, code: int) -> int:
        """Drain's own answer; `changed` says whether it made or changed a cluster."""
        cluster, change = self.drain.add_log_message(self.messages[code])
        self.added += 1
        self.changed = change != "none"
        if self.changed:
            words = cluster.log_template_tokens
            group = self._group(words)
            self._end(group)
            if change == "cluster_created":
                group.known.update(zip(words, words, strict=True))
            elif self.leaves:
                self.leaves.changed(cluster)
        return cluster.cluster_id

    def _end(self, group: _Group) -> None:
        """Answers no longer hold."""
        for code in group.asked:
            self.answers[code] = 0
        group.asked.clear()
        group.answers.clear()

    def _group(self, words: Sequence[str]) -> _Group:
        number = len(words) if self.by_words else 0
        group = self.groups.get(number)
        if group is None:
            group = self.groups[number] = _Group(self._known(number) if self.by_words else {})
        return group

    def _known(self, number: int) -> dict[str, str]:
        """`_Group.known`, read from Drain's tree as it is."""
        known = {self.drain.param_str: self.drain.param_str}
        top = self.drain.root_node.key_to_child_node.get(str(number))
        nodes = [top] if top else []
        while nodes:
            node = nodes.pop()
            known.update(zip(node.key_to_child_node, node.key_to_child_node, strict=True))
            nodes += node.key_to_child_node.values()
            for cluster in map(self.live.get, node.cluster_ids):
                if cluster:
                    known.update(zip(cluster.log_template_tokens, cluster.log_template_tokens, strict=True))
        return known
