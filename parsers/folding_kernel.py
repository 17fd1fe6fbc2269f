"""Loops over the bytes of many lines, compiled: folding, counting words, keeping each distinct result once.

`fold_lines` does what the regular expression in `folding.py` does, several times as fast; a test holds the two equal. Importing
this file imports numba and loads the compiled code (from its cache after the first time), which takes about half a second.

Lines come as Arrow has them: `data[offsets[i]:offsets[i + 1]]`. What is made of the lines of one slice is written to `words`
(uint64, see `room`): result k is `sizes[k]` bytes from byte `8 * starts[k]` on, and zeros up to the next multiple of 8, so
that results are hashed and compared by eight bytes. `unite` adds a slice's results to those of all slices. In results, the
byte `MARK` stands for `<*>`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numba.core.caching import NullCache

_Function = TypeVar("_Function", bound=Callable[..., Any])

# What stands for a folded chunk while bytes are counted; no line holds it, since control characters become blanks.
MARK = 1
# Characters kept of a line, as in `folding.py`; a mark counts as the three of `<*>`.
_LONGEST = 1024

# What each byte is. In words: a digit counts 1, a letter that is not hexadecimal, or `_`, counts _LETTER, others 0.
_LETTER = 1 << 32
_OTHER, _BLANK, _LINE_END, _LESS = -1, -2, -3, -4
CLASSES = np.full(256, _OTHER, np.int64)
CLASSES[:33] = CLASSES[127] = _BLANK
CLASSES[10] = _LINE_END
CLASSES[ord("<")] = _LESS
CLASSES[ord("0") : ord("9") + 1] = 1
CLASSES[ord("A") : ord("Z") + 1] = CLASSES[ord("a") : ord("z") + 1] = CLASSES[ord("_")] = _LETTER
CLASSES[ord("A") : ord("F") + 1] = CLASSES[ord("a") : ord("f") + 1] = 0


# Numbers that index: for a signed one, each access would first ask whether it is negative.
_u = np.uint64


_ALL: list[Any] = []


def _compiled(function: _Function) -> _Function:
    """`function`, compiled; without a cache on disk where no folder for it can be written."""
    try:
        compiled = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        compiled = njit(nogil=True)(function)
    _ALL.append(compiled)
    return cast("_Function", compiled)


@_compiled
def _numbered(arena: np.ndarray, begin: int, stop: int) -> bool:
    """Whether the word in `arena[begin:stop]`, which has one digit, has it behind a `_`."""
    for at in range(begin + 1, stop):
        if 48 <= arena[_u(at)] <= 57:
            return bool(arena[_u(at - 1)] == 95)
    return False


@_compiled
def _cut(arena: np.ndarray, start: int, stop: int) -> int:
    """Where the line in `arena[start:stop]` ends once it is cut to `_LONGEST` characters, and to no part of a `<*>`."""
    characters = 0
    for at in range(start, stop):
        byte = arena[at]
        if byte & 0xC0 == 0x80:
            continue
        characters += 3 if byte == MARK else 1
        if characters > _LONGEST:
            if byte == MARK and characters - 3 < _LONGEST:
                return at
            if at - start >= 1 and arena[at - 1] == 60:
                return at - 1
            if at - start >= 2 and arena[at - 1] == 42 and arena[at - 2] == 60:
                return at - 2
            return at
    return stop


@_compiled
def _kept(
    words: np.ndarray,
    first_word: int,
    long: int,
    results: int,
    slots: np.ndarray,
    hashes: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
) -> int:
    """The number of the result that stands from `first_word` on, `long` bytes: `results` where it is a new one."""
    arena = words.view(np.uint8)
    out = first_word * 8 + long
    while out & 7:
        arena[_u(out)] = 0
        out += 1
    count = (long + 7) >> 3
    code = np.uint64(long)
    for i in range(count):
        code = (code ^ words[_u(first_word + i)]) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(29)
    last = slots.size - 1
    slot = np.int64(code & np.uint64(last))
    while True:
        known = slots[_u(slot)] - 1
        if known < 0:
            slots[_u(slot)] = results + 1
            hashes[_u(results)] = code
            starts[_u(results)] = first_word
            sizes[_u(results)] = long
            return results
        if hashes[_u(known)] == code and sizes[_u(known)] == long:
            begin = starts[_u(known)]
            same = True
            for i in range(count):
                if words[_u(begin + i)] != words[_u(first_word + i)]:
                    same = False
                    break
            if same:
                return int(known)
        slot = (slot + 1) & last


@_compiled
def fold_lines(
    data: np.ndarray,
    offsets: np.ndarray,
    classes: np.ndarray,
    codes: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    hashes: np.ndarray,
    slots: np.ndarray,
) -> int:
    """Fold lines; `codes[i]` becomes the number of line i's result. Gives how many results there are."""
    arena = words.view(np.uint8)
    results = 0
    first_word = 0
    for line in range(offsets.size - 1):
        at, stop = offsets[_u(line)], offsets[_u(line + 1)]
        while at < stop and (data[_u(at)] <= 32 or data[_u(at)] == 127):
            at += 1
        top = first_word * 8
        out = top
        marks = 0
        while at < stop:
            byte = data[_u(at)]
            kind = classes[byte]
            if kind < 0:
                if kind == _OTHER:
                    arena[_u(out)] = byte
                    out += 1
                elif kind == _BLANK:
                    # One blank for all that are next to each other.
                    if out == top or arena[_u(out - 1)] != 32:
                        arena[_u(out)] = 32
                        out += 1
                elif kind == _LINE_END:
                    break
                elif at + 2 < stop and data[_u(at + 1)] == 42 and data[_u(at + 2)] == 62:
                    arena[_u(out)] = MARK
                    out += 1
                    marks += 1
                    at += 2
                else:
                    arena[_u(out)] = byte
                    out += 1
                at += 1
                continue
            # Words joined by one '-', '.' or ':'. `run` is where the words begin that would fold with a digit word that
            # follows; `folded` is where the mark of such a word ends, and `next_to` whether nothing unfolded came since.
            run = -1
            folded = -1
            next_to = False
            while True:
                word = out
                first = kind
                count = 0
                while kind >= 0:
                    count += kind
                    arena[_u(out)] = byte
                    out += 1
                    at += 1
                    if at == stop:
                        break
                    byte = data[_u(at)]
                    kind = classes[byte]
                digits = count & (_LETTER - 1)
                joined = at + 1 < stop and (byte == 45 or byte == 46 or byte == 58) and classes[data[_u(at + 1)]] >= 0
                if first == 1 or digits >= 2 or (digits == 1 and (count < _LETTER or _numbered(arena, word, out))):
                    if folded < 0:
                        if run < 0:
                            run = word
                        arena[_u(run)] = MARK
                        marks += 1
                        folded = run + 1
                    out = folded
                    next_to = True
                elif digits == 1 or count < _LETTER:
                    if next_to:
                        out = folded
                    elif run < 0:
                        run = word
                elif joined and byte == 45 and arena[_u(out - 1)] == 95:
                    next_to = False
                    if run < 0:
                        run = word
                else:
                    run = -1
                    folded = -1
                    next_to = False
                if not joined:
                    break
                arena[_u(out)] = byte
                out += 1
                at += 1
                byte = data[_u(at)]
                kind = classes[byte]
        if out - top + 2 * marks > _LONGEST:
            out = _cut(arena, top, out)
        if out > top and arena[_u(out - 1)] == 32:
            out -= 1
        code = _kept(words, first_word, out - top, results, slots, hashes, starts, sizes)
        codes[_u(line)] = code
        if code == results:
            results += 1
            first_word += (out - top + 7) >> 3
    return results


@_compiled
def unite(
    words: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    hashes: np.ndarray,
    slots: np.ndarray,
    all_hashes: np.ndarray,
    ends: np.ndarray,
    text: np.ndarray,
    results: int,
    numbers: np.ndarray,
) -> int:
    """Add a slice's results to the `results` there are; `numbers[k]` becomes the number of its result k among all.

    Of all results, number n is `text[ends[n]:ends[n + 1]]`, with `<*>` for marks. Gives how many there are now.
    """
    arena = words.view(np.uint8)
    last = slots.size - 1
    for result in range(starts.size):
        begin = starts[_u(result)] * 8
        stop = begin + sizes[_u(result)]
        slot = np.int64(hashes[_u(result)] & np.uint64(last))
        while True:
            known = slots[_u(slot)] - 1
            if known < 0:
                at = ends[_u(results)]
                for i in range(begin, stop):
                    if arena[_u(i)] == MARK:
                        text[_u(at)] = 60
                        text[_u(at + 1)] = 42
                        text[_u(at + 2)] = 62
                        at += 3
                    else:
                        text[_u(at)] = arena[_u(i)]
                        at += 1
                all_hashes[_u(results)] = hashes[_u(result)]
                slots[_u(slot)] = results + 1
                numbers[_u(result)] = results
                results += 1
                ends[_u(results)] = at
                break
            if all_hashes[_u(known)] == hashes[_u(result)] and _same(
                arena, begin, stop, text, ends[_u(known)], ends[_u(known + 1)]
            ):
                numbers[_u(result)] = known
                break
            slot = (slot + 1) & last
    return results


@_compiled
def _same(arena: np.ndarray, begin: int, stop: int, text: np.ndarray, at: int, end: int) -> bool:
    for i in range(begin, stop):
        if arena[_u(i)] == MARK:
            if at + 3 > end or text[_u(at)] != 60 or text[_u(at + 1)] != 42 or text[_u(at + 2)] != 62:
                return False
            at += 3
        else:
            if at >= end or text[_u(at)] != arena[_u(i)]:
                return False
            at += 1
    return at == end


@_compiled
def _mixed(code: Any) -> Any:
    """The end of MurmurHash3, so that each bit depends on all."""
    code ^= code >> np.uint64(33)
    code *= np.uint64(0xFF51AFD7ED558CCD)
    return code ^ (code >> np.uint64(33))


@_compiled
def _word_hash(data: np.ndarray, begin: int, stop: int, seed: int) -> Any:
    """FNV-1a, mixed."""
    code = np.uint64(14695981039346656037) ^ np.uint64(seed)
    for i in range(begin, stop):
        code = (code ^ np.uint64(data[_u(i)])) * np.uint64(1099511628211)
    return _mixed(code)


@_compiled
def count_words(data: np.ndarray, offsets: np.ndarray, weights: np.ndarray, seed: int, counts: np.ndarray) -> None:
    """Add how often each word is seen to `counts`, shape (2, power of 2): a count-min sketch with two rows.

    Line i is seen `weights[i]` times.

    Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch" (2005).
    """
    last = np.uint64(counts.shape[1] - 1)
    for line in range(offsets.size - 1):
        at, stop = offsets[_u(line)], offsets[_u(line + 1)]
        while at < stop:
            begin = at
            while at < stop and data[_u(at)] != 32:
                at += 1
            code = _word_hash(data, begin, at, seed)
            counts[0, np.int64(code & last)] += weights[line]
            counts[1, np.int64((code >> np.uint64(32)) & last)] += weights[line]
            at += 1


@_compiled
def _affixes(data: np.ndarray, front: int, back: int) -> tuple[int, int]:
    """What stays of a rare word: brackets and quotes, the key before its value, punctuation behind it."""
    while front < back and _opens(data[front]):
        front += 1
    key = front
    while key < back and (97 <= (data[key] | 32) <= 122 or data[key] == 95 or data[key] == 46):
        key += 1
    if front < key < back and data[key] == 61:
        front = key + 1
        while front < back and _opens(data[front]):
            front += 1
    while back > front and _closes(data[back - 1]):
        back -= 1
    return front, back


@_compiled
def _opens(byte: int) -> bool:
    return byte == 40 or byte == 91 or byte == 123 or byte == 34 or byte == 39


@_compiled
def _closes(byte: int) -> bool:
    return (
        byte == 41
        or byte == 93
        or byte == 125
        or byte == 34
        or byte == 39
        or byte == 44
        or byte == 59
        or byte == 46
        or byte == 58
    )


@_compiled
def _turns(data: np.ndarray, begin: int, stop: int, turns: np.ndarray) -> bool:
    """Whether the token is one of `turns` (sorted hashes of words in small letters) but for punctuation and a key.

    A Han word, of two characters or three, may stand anywhere in it.
    """
    for at in range(begin, stop - 5):
        if data[at] >= 0xE0:
            for size in (6, 9):
                if at + size <= stop and _among(_word_hash(data, at, at + size, 0), turns):
                    return True
    front, back = _affixes(data, begin, stop)
    code = np.uint64(14695981039346656037)
    for at in range(front, back):
        byte = data[at] | 32
        if not 97 <= byte <= 122:
            return False
        code = (code ^ np.uint64(byte)) * np.uint64(1099511628211)
    return _among(_mixed(code), turns)


@_compiled
def _among(code: Any, codes: np.ndarray) -> bool:
    at = np.searchsorted(codes, code)
    return bool(at < codes.size and codes[at] == code)


@_compiled
def fold_words(
    data: np.ndarray,
    offsets: np.ndarray,
    seed: int,
    counts: np.ndarray,
    seen: int,
    spared: float,
    turns: np.ndarray,
    changed: np.ndarray,
    codes: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    hashes: np.ndarray,
    slots: np.ndarray,
) -> int:
    """Fold the words of which `counts` says that they are seen less than `seen` times.

    A line keeps its words where less than the share `spared` of them is seen often; a word with a turn stays. With `spared`
    0 no line and no word is exempt. `changed[i]` says whether line i was changed; else as `fold_lines`.
    """
    arena = words.view(np.uint8)
    last = np.uint64(counts.shape[1] - 1)
    results = 0
    first_word = 0
    longest = 0
    for line in range(offsets.size - 1):
        longest = max(longest, offsets[_u(line + 1)] - offsets[_u(line)])
    often = np.zeros(longest + 1, np.bool_)
    for line in range(offsets.size - 1):
        begin, stop = offsets[_u(line)], offsets[_u(line + 1)]
        total = 0
        known = 0
        at = begin
        while at < stop:
            word = at
            while at < stop and data[_u(at)] != 32:
                at += 1
            code = _word_hash(data, word, at, seed)
            one = counts[0, np.int64(code & last)]
            other = counts[1, np.int64((code >> np.uint64(32)) & last)]
            often[_u(total)] = min(one, other) >= seen
            known += often[_u(total)]
            total += 1
            at += 1
        fold = known >= spared * total
        top = first_word * 8
        out = top
        number = 0
        at = begin
        while at < stop:
            word = at
            while at < stop and data[_u(at)] != 32:
                at += 1
            if out > top:
                arena[_u(out)] = 32
                out += 1
            front, back = word, at
            if not often[_u(number)] and fold and not (spared > 0 and _turns(data, word, at, turns)):
                if data[_u(front)] == 5:
                    front += 1
                if spared > 0:
                    front, back = _affixes(data, front, back)
            else:
                front = back
            for i in range(word, front):
                arena[_u(out)] = data[_u(i)]
                out += 1
            # What folds is a byte or more, so that no line becomes longer.
            if front < back:
                changed[_u(line)] = True
                arena[_u(out)] = MARK
                out += 1
            for i in range(back, at):
                arena[_u(out)] = data[_u(i)]
                out += 1
            number += 1
            at += 1
        code = _kept(words, first_word, out - top, results, slots, hashes, starts, sizes)
        codes[_u(line)] = code
        if code == results:
            results += 1
            first_word += (out - top + 7) >> 3
    return results


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call one of the compiled functions; where its cache on disk is damaged or cannot be written, compile without it."""
    try:
        return function(*arguments)
    except (EOFError, OSError, pickle.UnpicklingError, IndexError, KeyError, ValueError, AttributeError):
        # Compiled code raises none of these: nothing was done yet.
        for compiled in _ALL:
            compiled._cache = NullCache()  # noqa: SLF001 - there is no public way
        return function(*arguments)


def word_hash(word: str) -> int:
    """The hash by which `fold_words` knows a turn."""
    content = np.frombuffer(word.encode(), np.uint8)
    return int(call(_word_hash, content, 0, content.size, 0))


def room(size: int, lines: int) -> np.ndarray:
    """Memory for the results of `lines` lines of `size` bytes in all; what is not written costs nothing."""
    return np.empty(size // 8 + 2 * lines + 2, np.uint64)
