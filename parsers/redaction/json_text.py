"""What JSON (RFC 8259) hides from who only looks at its text: escapes, numbers with an exponent, names that stand twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import re2

from parsers.redaction.keys import CARD_NAMES, PHONE_NAMES
from parsers.redaction.numbers import ID_CUE, PHONE_CUE
from parsers.redaction.settings import RedactionSettings
from parsers.redaction.strings import fitting, put_at
from parsers.redaction.text import suspects

# What the text of JSON does not show to the gates: a character by its number, a number with an exponent, and fields whose name says
# what their value is, wherever below them that stands.
_VEILED = rf'\\u|[:\[,]\s*-?\d[\d.]*[eE]|(?i:[" _.-](?:{PHONE_CUE}|{CARD_NAMES}|{ID_CUE})")|{PHONE_NAMES}"'
# A backslash is put aside first, since the second of two begins no escape.
_ESCAPES = (
    ("\\\\", "\ue002"), ('\\"', '"'), ("\\/", "/"), ("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("\\b", "\b"),
    ("\\f", "\f"), ("\ue002", "\\"),
)  # fmt: skip


def unescaped(text: Any) -> Any:
    """`text` with the escapes of JSON as what they stand for, but those that name a character by its number."""
    for escape, meant in _ESCAPES:
        text = pc.replace_substring(text, escape, meant)
    return text


def json_suspects(lines: Any, settings: RedactionSettings) -> Any:
    """As `suspects`, of lines of JSON: which may hold something in one of their values, however that is written."""
    if any(_is_anchored(pattern) for _, pattern in settings.own):
        return pa.repeat(pa.scalar(value=True), len(lines))
    # The sign of a mail address stands in every document's "@timestamp".
    text = pc.replace_substring_regex(lines, r'"@[a-z]+"', '""')
    suspect = pc.or_(suspects(text, settings), fitting(text, _VEILED))
    escaped = pc.fill_null(pc.match_substring(text, "\\"), False)
    rows = pc.indices_nonzero(pc.and_not(escaped, suspect))
    if len(rows) == 0:
        return suspect
    return put_at(suspect, rows, suspects(unescaped(text.take(rows)), settings))


@cache
def _is_anchored(pattern: str) -> bool:
    """Whether a pattern may fit a value alone that it does not fit within a line, by `^` for instance."""
    return bool(re2.search(r"[$^]|\\[AzB]", re2.sub(r"\\[^AzB]|\[\^", "", pattern)))


# Values are walked by recursion.
DEEPEST = 100


def nests_beyond(value: Any, levels: int) -> bool:
    """Whether lists and objects in `value` lie more than so many levels in each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(nests_beyond(one, levels - 1) for one in inner)


def with_repeats(text: str, value: Any) -> Any:
    """The `value` of the JSON `text`, or where an object in it has a name twice, also the values that the last one hides."""
    if text == msgspec.json.encode(value).decode():
        return value
    repeated = False

    def named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        made: dict[str, Any] = {}
        numbers: dict[str, int] = {}
        for name, inner in reversed(pairs):
            repeated |= name in made
            made[free_name(name, made, numbers)] = inner
        return dict(reversed(made.items()))

    try:
        whole = json.loads(text, object_pairs_hook=named)
    except (ValueError, RecursionError):
        return value
    return whole if repeated else value


def free_name(name: str, taken: Mapping[str, Any], numbers: dict[str, int]) -> str:
    """`name`, or where that is taken "name#2", "name#3"; `numbers` holds how far each name has come."""
    shown = name
    while shown in taken:
        numbers[name] = numbers.get(name, 1) + 1
        shown = f"{name}#{numbers[name]}"
    return shown
