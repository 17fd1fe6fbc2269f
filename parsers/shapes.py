"""Lines of one shape: what the expressions of `parsers/lines` find in one of them they find in each, at the same place.

Two lines are of one shape if they are as long as each other and differ in nothing but digits and in the characters of ids. An
id is a word of 16 or more of `0-9a-f` with both digits and letters, or a UUID of them. None of the expressions asks for one
digit rather than another (but for those that the loop leaves as they are, see `shapes_kernel.py`), nor looks into an id, so that
a sample of each shape, of made-up ids and digits, tells for all its lines where their values are. A log of a million
lines has a few thousand shapes.

What is not cut out of the line (the fields of JSON, of logfmt, a collapsed stack trace, a time) is not known in this way, nor
a value that the sample holds twice: then a shape has no plan, and its lines are read one by one.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from parsers.distinct import buffers

# From this many lines on, loading the compiled loop (half a second of CPU, once a process) is worth it: for the lines of one
# incident over and over from 75,000 on, for those of 121 incidents, which have 9,000 shapes in 200,000 lines, from 250,000.
_COMPILED_FROM = 100_000
# Where it is loaded: of fewer lines, too few are alike. The lines of one incident gain from here on, those of many from 50,000.
_FEWEST = 4_000
# Shapes whose plan is remembered.
_MOST_KNOWN = 20_000


@dataclass(frozen=True)
class Plan:
    """Where a line's body and values are: bytes from where on, and how many; or a value that all lines of the shape have."""

    body: tuple[int, int]
    values: Mapping[str, tuple[int, int] | str | int]


@dataclass(frozen=True)
class Shaped:
    """For each line the number of its shape, or -1; for each shape its key and how many lines it has."""

    codes: Any
    keys: list[bytes]
    counts: Any


_known: dict[bytes, Plan | None] = {}


def worth_shaping(lines: int) -> bool:
    """Whether that many lines are better read by their shapes, loading the compiled loop included where no other is loaded."""
    loaded = "parsers.shapes_kernel" in sys.modules or "parsers.hits_kernel" in sys.modules
    return lines >= (_FEWEST if loaded else _COMPILED_FROM)


def known() -> dict[bytes, Plan | None]:
    """The plan of each shape that was met lately, by its key; None where it has none."""
    if len(_known) > _MOST_KNOWN:
        _known.clear()
    return _known


def shaped(lines: pa.StringArray, flags: Any) -> Shaped:
    """The shapes of `lines`, which have no nulls. Lines of different `flags` (uint8, 32 or more) are of different shapes."""
    from parsers.folding_kernel import call, room
    from parsers.shapes_kernel import CLASSES, shape_lines

    size = len(lines)
    edges, content = buffers(lines)
    codes, firsts = np.empty(size, np.int32), np.empty(size, np.int32)
    words = room(int(edges[-1] - edges[0]), size)
    starts, sizes, hashes = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.uint64)
    slots = np.zeros(1 << max(4, (2 * size).bit_length()), np.int32)
    given = (content, edges, flags, CLASSES)
    count = call(shape_lines, *given, codes, firsts, words, starts, sizes, hashes, slots)
    text = words.view(np.uint8)
    keys = [bytes(text[8 * starts[k] : 8 * starts[k] + sizes[k]]) for k in range(count)]
    return Shaped(codes, keys, np.bincount(codes[codes >= 0], minlength=count))


def sample(key: bytes) -> str:
    """A line of the shape, the same for the same key, in which hardly two numbers or ids are alike."""
    from parsers.shapes_kernel import DIGIT, DIGIT_FIRST, LETTER_FIRST, LOW_DIGIT, STATUS_FIRST

    chance = random.Random(key)  # noqa: S311 - no secret
    line = bytearray(key[1:])
    at = 0
    while at < len(line):
        mark = line[at]
        if mark == STATUS_FIRST:
            line[at : at + 4] = b"%d%db" % (chance.randint(1, 5), chance.randint(66, 99))
            at += 3
        elif mark == DIGIT_FIRST:
            line[at] = ord(chance.choice("6789"))
        elif mark == LETTER_FIRST:
            # An id has a digit among its first characters, which comes second where the first is a letter.
            first = at == 0 or line[at - 1] not in b"0123456789abcdef"
            line[at] = ord(chance.choice("abcdef" if first else "6789acdef"))
            if first and at + 1 < len(line) and line[at + 1] == LETTER_FIRST:
                at += 1
                line[at] = ord(chance.choice("6789"))
        elif mark == DIGIT:
            line[at] = ord(chance.choice("6789"))
        elif mark == LOW_DIGIT:
            line[at] = ord(chance.choice("12345"))
        at += 1
    return line.decode()


def plan_of(key: bytes, line: str, body: str, values: Mapping[str, str | int | None]) -> Plan | None:
    """The plan that follows from what was read of a shape's sample, if it does."""
    from parsers.shapes_kernel import LETTER_FIRST, LOW_DIGIT

    text = line.encode()
    marks = np.frombuffer(key, np.uint8)[1:]
    varies = (marks >= LETTER_FIRST) & (marks <= LOW_DIGIT)
    found = body.encode()
    # A body reaches to the end of the line, but for blanks.
    begin = text.rfind(found)
    if begin < 0:
        return None
    places: dict[str, tuple[int, int] | str | int] = {}
    for name, value in values.items():
        if value is None:
            continue
        place = value if name == "log.level" else _place(text, varies, value)
        if place is None:
            return None
        places[name] = place
    return Plan((begin, len(found)), places)


def _place(text: bytes, varies: Any, value: str | int) -> tuple[int, int] | str | int | None:
    """Where the value is, or the value itself where no line of the shape has another one; None where that is not certain."""
    sought = str(value).encode()
    found = []
    at = text.find(sought)
    while at >= 0:
        if not varies[at : at + len(sought)].any():
            return value
        found.append(at)
        at = text.find(sought, at + 1)
    return (found[0], len(sought)) if len(found) == 1 else None
