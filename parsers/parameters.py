"""What stood in the place of a template's wildcards, and what kind of value it is: on demand, from the raw lines."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from parsers.folding import LONGEST, fold
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
    count = text.count(_WILDCARD)
    names = [f"p{number}" for number in range(1, count + 1)]
    if not count:
        return Parameters(rows.cast(pa.int64()), pa.table({}), ())
    found = pc.extract_regex(lines, pattern(text))
    missing = pc.is_null(found)
    if pc.any(missing).as_py():
        found = pc.if_else(missing, pc.extract_regex(lines, pattern(text, loose=True)), found)
    folded = fold(lines)
    # What is this long may have been cut, in front of a wildcard too.
    cut = pc.take(pc.greater(pc.utf8_length(folded.dictionary), LONGEST - len(_WILDCARD)), folded.indices)
    if pc.any(cut).as_py():
        found = pc.if_else(cut, pc.extract_regex(lines, pattern(text, loose=True, whole=False)), found)
    columns = [pc.struct_field(found, name) for name in names]
    rest = text.split(_WILDCARD)[1:]
    kinds = tuple(_kind(column, after) for column, after in zip(columns, rest, strict=True))
    return Parameters(rows.cast(pa.int64()), pa.table(dict(zip(names, columns, strict=True))), kinds)


def pattern(text: str, *, loose: bool = False, whole: bool = True) -> str:
    """RE2 for the lines of a template with this text; a group p1, p2, ... for each wildcard.

    With `loose` true, blanks beside a wildcard or between scripts may be missing. With `whole` false a line may go on.
    """
    first, *others = text.split(_WILDCARD)
    parts = [_constant(first, before=False, after=bool(others), loose=loose)]
    for number, constant in enumerate(others, start=1):
        parts.append(f"(?P<p{number}>.*?)")
        parts.append(_constant(constant, before=True, after=number < len(others), loose=loose))
    end = rf"{BLANK}*(?:\n.*)?$" if whole else ".*$"
    return rf"(?s)^{BLANK}*{''.join(parts)}{end}"


def _constant(text: str, *, before: bool, after: bool, loose: bool) -> str:
    """Constant text as an expression; `before` and `after` say whether a wildcard is next to it."""
    parts = []
    for at, character in enumerate(text):
        if character == " ":
            beside = (at == 0 and before) or (at == len(text) - 1 and after)
            border = not (text[max(at - 1, 0) : at] + text[at + 1 : at + 2]).isascii()
            parts.append(f"{BLANK}*" if loose and (beside or border) else f"{BLANK}+")
        elif character == "*" and at and text[at - 1] == "?":
            # A query string.
            parts.append(".*?")
        else:
            parts.append(re.escape(character) if character.isascii() else character)
    return "".join(parts)


def _kind(values: pa.Array, after: str) -> str:
    """The kind of `values`, with the text that comes after them in the template."""
    some = pc.filter(values, pc.fill_null(pc.not_equal(values, ""), fill_value=False))
    if not len(some):
        return "empty"
    for kind, expression in _KINDS.items():
        if pc.all(pc.match_substring_regex(some, rf"^(?:{expression})$")).as_py():
            unit = _UNIT_AFTER.match(after)
            if kind == "number" and unit:
                return next((k for k, known in _UNIT_KIND.items() if known.fullmatch(f"1 {unit[1]}")), kind)
            return kind
    return "text"
