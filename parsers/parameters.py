"""What stood in the place of a template's wildcards, and what kind of value it is: on demand, from the raw lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.folding import BLANKS, LONGEST, fold
from parsers.masking import BLANK, UNIT

_WILDCARD = "<*>"
# The kinds of values, tried in this order; a parameter is of the first kind that all its values are of.
_KINDS: dict[str, str] = {
    "number": r"[+\-]?[0-9][0-9,]*(?:\.[0-9]+)?",
    "ip": r"/?[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?",
    "uuid": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "time": r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ].*)?|(?:.*[ T])?[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?:Z|[ +\-].*)?)",
    "duration": r"[0-9.]+ ?(?:[mun]s|msecs?|secs?|seconds?|s|minutes?|mins?|hours?|days?)",
    "size": r"[0-9.]+ ?(?:bytes?|[KMGTPkmgt]i?B|B)(?: \(.*\))?",
    "hex": r"(?:0[xX][0-9a-fA-F]+|[0-9a-fA-F]{8,})",
    "url": r"[a-z][a-z0-9+.\-]*://\S+",
    "path": r"(?:/|[A-Za-z]:\\)\S*",
    "host": r"[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)+(?::[0-9]{1,5})?",
    "boolean": r"(?i)true|false|yes|no",
    "word": r"\pL+",
    "id": r"[^\s]*[0-9][^\s]*",
}
_UNIT_KIND = {"duration": re.compile(_KINDS["duration"]), "size": re.compile(_KINDS["size"])}
_UNIT_AFTER = re.compile(rf" ({UNIT})\b")


@dataclass(frozen=True)
class Parameters:
    """What the rows of one template have in the place of its wildcards.

    `rows` (int64) are the rows of the messages; `values` has a column p1, p2, ... (string) for each wildcard, null where a
    row does not fit the text; `kinds` says what each column holds: number, ip, uuid, time, duration, size, hex, url, path,
    host, boolean, word or id, text where no kind holds for all, empty where all are empty.
    """

    rows: pa.Array
    values: pa.Table
    kinds: tuple[str, ...]


def parameters(messages: pa.Array | pa.ChunkedArray, template_ids: pa.Array, template_id: str, text: str) -> Parameters:
    """The parameters of all rows of `messages` whose id in `template_ids` is `template_id`, a template with this `text`."""
    rows = pc.indices_nonzero(pc.fill_null(pc.equal(template_ids.cast(pa.string()), template_id), fill_value=False))
    lines = pc.take(messages, rows)
    lines = pc.fill_null(
        (lines.combine_chunks() if isinstance(lines, pa.ChunkedArray) else lines).cast(pa.string()), ""
    )
    found = _found(lines, text)
    names = [f"p{number}" for number in range(1, text.count(_WILDCARD) + 1)]
    columns = [
        pa.array([None if values is None else values[number] for values in found], pa.string())
        for number in range(len(names))
    ]
    kinds = tuple(_kind(column, after) for column, after in zip(columns, text.split(_WILDCARD)[1:], strict=True))
    return Parameters(rows.cast(pa.int64()), pa.table(dict(zip(names, columns, strict=True))), kinds)


def parameter_kinds(lines: pa.Array, texts: Sequence[str], of_line: Sequence[int]) -> list[tuple[str, ...]]:
    """For each of `texts` the kinds that `parameters` would give for those of `lines` (string, no nulls) that are of it.

    `of_line` is the number of each line's text. All are done together, since a regular expression costs more than a line.
    """
    plain, cut = _plain(lines)
    joined, joined_texts = _joined(plain).to_pylist(), _joined(pa.array(texts, pa.string())).to_pylist()
    constants = [_constants(text) for text in texts]
    loose = [_constants(text, loose=True) for text in joined_texts]
    starts = np.cumsum([0, *(text.count(_WILDCARD) for text in texts)])
    slots: list[int] = []
    values: list[str] = []
    for number, line, without, is_cut in zip(of_line, plain.to_pylist(), joined, cut, strict=True):
        found, named = _between(line, constants[number][0], whole=not is_cut), constants[number][1]
        if found is None:
            found, named = _between(without, loose[number][0], whole=not is_cut), loose[number][1]
            found = None if found is None else [value.strip(" ") for value in found]
        if found is not None:
            some = itertools.compress(found, named)
            filled = [(slot, value) for slot, value in enumerate(some, int(starts[number])) if value]
            slots += [slot for slot, _ in filled]
            values += [value for _, value in filled]
    kinds = np.full(int(starts[-1]), "empty", dtype=object)
    kinds[slots] = "text"
    array, at = pa.array(values, pa.string()), np.array(slots, np.int64)
    # From the last to the first: the first that holds for all of a place stays.
    for kind, expression in reversed(_KINDS.items()):
        fits_all = np.ones(len(kinds), bool)
        fits_all[at[~pc.match_substring_regex(array, rf"^(?:{expression})$").to_numpy(zero_copy_only=False)]] = False
        kinds[fits_all & (kinds != "empty")] = kind
    after = [piece for text in texts for piece in text.split(_WILDCARD)[1:]]
    told = [_with_unit(kind, piece) for kind, piece in zip(kinds.tolist(), after, strict=True)]
    return [tuple(told[a:b]) for a, b in pairwise(starts.tolist())]


def fits(lines: pa.Array, text: str) -> list[bool]:
    """Whether each of `lines` (string) is one of a template with this text."""
    return [values is not None for values in _found(lines, text)]


def _found(lines: pa.Array, text: str) -> list[list[str] | None]:
    """The values of each line: what stands between the constants, found one after the other, in linear time."""
    lines, cut = _plain(lines)
    constants, named = _constants(text)
    found = [_between(line, constants, whole=not end) for line, end in zip(lines.to_pylist(), cut, strict=True)]
    missing = [row for row, values in enumerate(found) if values is None]
    if missing:
        # Blanks beside a wildcard, or between scripts, may be missing in a line.
        constants, named = _constants(_joined(pa.array([text]))[0].as_py(), loose=True)
        for row, line in zip(missing, _joined(lines.take(pa.array(missing))).to_pylist(), strict=True):
            values = _between(line, constants, whole=not cut[row])
            found[row] = None if values is None else [value.strip(" ") for value in values]
    return [None if values is None else list(itertools.compress(values, named)) for values in found]


def _plain(lines: pa.Array) -> tuple[pa.Array, list[bool]]:
    """The first line of each, as folding takes it, with its blanks as a template has them; and which may have been cut."""
    folded = fold(lines)
    # What is this long may have been cut, in front of a wildcard too.
    cut = pc.take(pc.greater(pc.utf8_length(folded.dictionary), LONGEST - len(_WILDCARD)), folded.indices).to_pylist()
    lines = pc.utf8_ltrim(lines, characters=BLANKS)
    lines = pc.replace_substring_regex(lines, pattern=r"(?s)\n.*", replacement="")
    lines = pc.utf8_trim(pc.replace_substring_regex(lines, pattern=f"{BLANK}+", replacement=" "), characters=" ")
    return lines, cut


def _constants(text: str, *, loose: bool = False) -> tuple[list[str], list[bool]]:
    """The constants of a text, and for each gap between two whether it is a wildcard; else it is a query string."""
    pieces = re.split(r"(<\*>|(?<=\?)\*)", text)
    constants, gaps = pieces[::2], pieces[1::2]
    if loose:
        constants = [constant.strip(" ") for constant in constants]
    return constants, [gap == _WILDCARD for gap in gaps]


def _between(line: str, constants: list[str], *, whole: bool) -> list[str] | None:
    """What of `line` stands between the constants; None where they are not there. Not `whole`, a line may go on."""
    first, *others = constants
    if not line.startswith(first):
        return None
    if not others:
        return [] if line == first or not whole else None
    values = []
    at = len(first)
    for constant in others[:-1]:
        end = line.find(constant, at)
        if end < 0:
            return None
        values.append(line[at:end])
        at = end + len(constant)
    last = others[-1]
    if whole or not last:
        end = len(line) - len(last)
        if end < at or not line.endswith(last):
            return None
    else:
        end = line.find(last, at)
        if end < 0:
            return None
    return [*values, line[at:end]]


def _joined(lines: pa.Array) -> pa.Array:
    """`lines` without the blanks beside characters that are not ASCII."""
    lines = pc.replace_substring_regex(lines, pattern=r"([^\x00-\x7f]) ", replacement=r"\1")
    return pc.replace_substring_regex(lines, pattern=r" ([^\x00-\x7f])", replacement=r"\1")


def _kind(values: pa.Array, after: str) -> str:
    """The kind of `values`, with the text that comes after them in the template."""
    some = pc.filter(values, pc.fill_null(pc.not_equal(values, ""), fill_value=False))
    if not len(some):
        return "empty"
    for kind, expression in _KINDS.items():
        if pc.all(pc.match_substring_regex(some, rf"^(?:{expression})$")).as_py():
            return _with_unit(kind, after)
    return "text"


def _with_unit(kind: str, after: str) -> str:
    """A number before a unit is a duration or a size."""
    unit = _UNIT_AFTER.match(after)
    if kind == "number" and unit:
        return next((k for k, known in _UNIT_KIND.items() if known.fullmatch(f"1 {unit[1]}")), kind)
    return kind
