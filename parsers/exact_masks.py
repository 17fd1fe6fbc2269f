"""Exact mode's masks: what Drain3's masker makes of each distinct line, each pattern tried once on all that is alike to it."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from drain3.masking import AbstractMaskingInstruction, LogMasker
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


def study(instruction: AbstractMaskingInstruction, config: TemplateMinerConfig) -> _Mask:
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


def all_masked(lines: pa.Array, masker: LogMasker, config: TemplateMinerConfig) -> pa.ChunkedArray:
    """What Drain3 makes of `lines`, in the quicker of two ways."""

    def plainly(some: pa.Array) -> pa.Array:
        return pa.array([masker.mask(line) for line in some.to_pylist()], pa.large_string())

    mask = plainly
    if len(lines) >= _FEW:
        masks = [study(each, config) for each in config.masking_instructions]

        def by_kinds(some: pa.Array) -> pa.Array:
            return masked_with(some, masks)

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


def masked_with(lines: pa.Array, masks: list[_Mask]) -> pa.Array:
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
    coded = encoded(words.flatten())
    beside = np.full(len(coded), 3, np.int64)
    beside[ends[:-1]] -= 2
    beside[ends[1:] - 1] -= 1
    number = coded.indices.to_numpy().astype(np.int64) * 4 + beside
    there = np.zeros(len(coded.dictionary) * 4, np.bool_)
    there[number] = True
    distinct = np.flatnonzero(there)
    number = (np.cumsum(there) - 1)[number]
    texts = coded.dictionary.take(pa.array(distinct >> 2))
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
        seen = encoded(texts if mask.alike is None else _translated(texts, mask.alike))
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


def encoded(values: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """`values` dictionary-encoded, in one piece."""
    parts = pc.dictionary_encode(values)
    return parts.combine_chunks() if isinstance(parts, pa.ChunkedArray) else parts
