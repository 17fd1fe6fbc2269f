"""The Arrow schema of the wanted fields in some lines, from the keys that occur and a sample of their types."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa
import re2

from parsers.documents.reader import Reader, decode
from parsers.hits import META

_SAMPLE = 48


@lru_cache(maxsize=256)
def _key_pattern(keys: frozenset[str]) -> Any:
    return re2.compile(('"(' + "|".join(re2.escape(key) for key in sorted(keys)) + r')"\s*:').encode())


def _keys_in(block: bytes, known: frozenset[str], keys: frozenset[str]) -> set[str]:
    """Which of `keys` occur in `block` as the key of an object, `known` among them; one pass in all."""
    found = set(known & keys)
    position = 0
    while found != keys:
        match = _key_pattern(frozenset(keys - found)).search(block, position)
        if match is None:
            break
        found.add(match.group(1).decode())
        # What is still sought does not occur before this match, which is the leftmost.
        position = match.start()
    return found


class _Seen:
    """The JSON types that occur at one place of the sampled lines."""

    __slots__ = ("below", "kinds")

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.below: dict[str, _Seen] = {}


_KINDS = {str: "string", bool: "bool", int: "int", float: "float", dict: "object", list: "list"}


def _see(seen: _Seen, value: dict[str, Any], keys: frozenset[str]) -> None:
    for key, below in value.items():
        if below is None or key not in keys:
            continue
        entry = seen.below.setdefault(key, _Seen())
        entry.kinds.add(_KINDS[type(below)])
        if isinstance(below, dict):
            _see(entry, below, keys)


def schema_of(buffer: Any, starts: Any, ends: Any, rows: Any, reader: Reader) -> Any | frozenset[str]:
    """The schema of the wanted fields in the lines; where a sample already disagrees with itself, the keys that it does on."""
    seen = _Seen()
    keys = reader.keys | {"_source", *META}
    for row in rows[:: max(1, len(rows) // _SAMPLE)]:
        try:
            value = decode(buffer.slice(int(starts[row]), int(ends[row] - starts[row])))
        except (msgspec.DecodeError, RecursionError):
            continue
        if isinstance(value, dict):
            _see(seen, value, keys)
    block = buffer.slice(int(starts[rows[0]]), int(ends[rows[-1]] - starts[rows[0]]))
    occurring = _keys_in(block.to_pybytes(), frozenset(_seen_keys(seen)), keys)
    tree: dict[str, Any] = {key: {} for key in META if key in occurring}
    hit = reader.envelope == "hit" or ("_source" in seen.below and "object" in seen.below["_source"].kinds)
    below = tree.setdefault("_source", {}) if hit else tree
    for spelling in reader.spelled:
        if all(key in occurring for key in spelling):
            node = below
            for key in spelling:
                node = node.setdefault(key, {})
            node[""] = {}
    fields = _fields(tree, seen, "", reader)
    return pa.schema(fields) if fields else frozenset(_conflicts(seen))


def _conflicts(seen: _Seen) -> Iterator[str]:
    """The keys of several types."""
    for key, below in seen.below.items():
        if len(below.kinds) > 1 or "list" in below.kinds:
            yield key
        yield from _conflicts(below)


def _seen_keys(seen: _Seen) -> Iterator[str]:
    for key, below in seen.below.items():
        yield key
        yield from _seen_keys(below)


def _fields(tree: dict[str, Any], seen: _Seen | None, path: str, reader: Reader) -> list[Any] | None:
    """The Arrow fields of `tree`, or None where no single type fits what was seen."""
    fields = []
    for key, below in tree.items():
        if not key:
            continue
        here = f"{path}.{key}" if path else key
        entry = seen.below.get(key) if seen else None
        kinds = entry.kinds if entry else set()
        inner = {name: value for name, value in below.items() if name}
        name = here.removeprefix("_source.")
        if kinds == {"object"} and not inner:
            if name in reader.shown:
                return None
            continue
        if kinds == {"object"} or (not kinds and inner):
            children = _fields(inner, entry, here, reader)
            if children is None:
                return None
            fields.append(pa.field(key, pa.struct(children)))
        elif "object" in kinds or "list" in kinds:
            return None
        elif "" in below or key in META:
            kind = _scalar(kinds)
            if kind is None:
                return None
            fields.append(pa.field(key, kind))
        else:
            # Only something below this place is wanted, and here it is a plain value.
            continue
    return fields


def _scalar(kinds: set[str]) -> Any | None:
    if kinds <= {"string"}:
        return pa.string()
    if kinds == {"int"}:
        return pa.int64()
    if kinds <= {"int", "float"}:
        return pa.float64()
    return pa.bool_() if kinds == {"bool"} else None
