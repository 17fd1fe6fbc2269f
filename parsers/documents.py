"""Elasticsearch documents, one JSON object a line, to the LOGS table.

The lines are read by Arrow's JSON reader in slabs. Its schema holds only the wanted fields that occur in the slab, each
in the spelling and JSON type that occurs there; everything else is skipped while reading. Where a field is a number here
and a string there, the lines are sorted by that and each kind is read alone. A slab that does not agree with itself even so
is read again in smaller parts, and in the end line by line, so that one odd line costs no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import re2

from parsers.filling import NOTHING, one_array
from parsers.hits import META, Values, Wanted, is_utf8
from parsers.levels import levels_of
from parsers.lines.enrichment import enrich
from parsers.lines.errors import with_extras
from parsers.mapping import AUTO, COLUMNS, FieldMapping
from parsers.tables import LOGS, TIME, conform, empty
from parsers.times import parse_times

Envelope = Literal["flat", "hit"]

# Bytes of one slab: large enough to keep Arrow busy, small enough that a second reading is cheap.
_SLAB = 8 << 20
# The JSON types by which lines are sorted, as what follows the key and its colon, and into how many kinds of lines at most.
_STARTS = (r"\"", r"-?\d+[\s,}\]]", r"-?\d+[.eE]", "[tf]", r"\{", r"\[")
_MOST_KINDS = 12
_MOST_CONFLICTS = 4
_CHANGED = re.compile(r"Column\((/[^)]*)\) changed from")
# A slab that failed is read again in parts of a tenth, at least this many lines; a part that fails goes line by line.
_SMALL = 512
_FEW = 64
_SAMPLE = 48
_EXTRA = "extra"
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class Parsed:
    """A LOGS table and what became of the lines: `lines == table.num_rows + duplicates`, blank lines not counted.

    `unparsed` rows are in the table with the whole line as their message.
    """

    table: pa.Table
    lines: int
    unparsed: int
    duplicates: int


def parse_documents(
    ndjson: bytes | pa.Buffer,
    *,
    source: str,
    mapping: FieldMapping = AUTO,
    envelope: Envelope = "flat",
    file: str | None = None,
    zone: tzinfo | None = None,
    around: datetime | None = None,
) -> Parsed:
    """The documents of `ndjson` as a LOGS table, in their order.

    `envelope` "flat" is a line of a bundle (`_id`, `_index` and the fields side by side), "hit" an Elasticsearch hit
    with its fields below `_source`; a hit is known as one in either case. `file` names the file that the bytes come from:
    a row without `_id` is cited by it, with its offset and length in bytes. `zone` applies to times that carry none
    (UTC unless given); `around` is a moment near which times without a year or date lie. Rows that repeat an
    (`_index`, `_id`) pair are left out and counted. Never raises on bad data: see `Parsed.unparsed`.
    """
    buffer = ndjson if isinstance(ndjson, pa.Buffer) else pa.py_buffer(ndjson)
    reader = _Reader.of(mapping, envelope)
    parts = []
    lines = unparsed = 0
    for starts, ends in _slabs(buffer):
        table, bad = _read_slab(buffer, starts, ends, reader, zone, around)
        lines += len(starts)
        unparsed += bad
        parts.append(_locate(table, starts, ends, source, file))
    if not parts:
        return Parsed(empty(LOGS), 0, 0, 0)
    return _finish(pa.concat_tables(parts), lines, unparsed, zone, around)


def parse_each_line(
    ndjson: bytes, *, zone: tzinfo | None = None, around: datetime | None = None
) -> tuple[Any, Any, Any]:
    """A row of LOGS for each line that is not blank, repeats too, and where in `ndjson` each line begins and ends.

    For who needs the lines themselves; other arguments are those of `parse_documents`.
    """
    buffer = pa.py_buffer(ndjson)
    reader = _Reader.of(AUTO, "flat")
    tables, starts, ends = [], [], []
    for first, last in _slabs(buffer):
        table, _ = _read_slab(buffer, first, last, reader, zone, around)
        tables.append(_locate(table, first, last, "", None))
        starts.append(first)
        ends.append(last)
    if not tables:
        none = np.empty(0, dtype=np.int64)
        return empty(LOGS), none, none
    rows = enrich(conform(pa.concat_tables(tables), LOGS), zone=zone, around=around)
    return rows, np.concatenate(starts), np.concatenate(ends)


@lru_cache(maxsize=16)
def wanted_of(mapping: FieldMapping) -> Wanted:
    """What `parse_values` reads of a hit."""
    reader = _Reader.of(mapping, "hit")
    return Wanted({path: tuple(_spellings(path)) for path in sorted(reader.wanted)}, reader.shown)


def parse_values(
    values: Values,
    *,
    source: str,
    mapping: FieldMapping = AUTO,
    zone: tzinfo | None = None,
    around: datetime | None = None,
) -> Parsed:
    """What `parse_documents` makes of the hits whose values these are, as `wanted_of(mapping)` reads them."""
    if not values.rows:
        return Parsed(empty(LOGS), 0, 0, 0)
    table = _columns(dict(values.columns), values.rows, mapping, zone, around)
    # Each hit has an `_id`, and so no place in a file.
    nowhere = np.zeros(values.rows, dtype=np.int64)
    return _finish(_locate(table, nowhere, nowhere, source, None), values.rows, 0, zone, around)


def parse_parquet_table(
    table: pa.Table,
    *,
    source: str,
    mapping: FieldMapping = AUTO,
    file: str | None = None,
    zone: tzinfo | None = None,
    around: datetime | None = None,
) -> Parsed:
    """`table`, whose columns are fields of documents by dotted name or as structs, as a LOGS table.

    A row without `_id` is cited by `file` with its row number as offset and a length of zero. Other arguments and the
    counts are those of `parse_documents`.
    """
    if not table.num_rows:
        return Parsed(empty(LOGS), 0, 0, 0)
    wanted = {*(path for name in FieldMapping.__struct_fields__ for path in getattr(mapping, name)), *META}
    leaves: dict[str, Any] = {}
    for name in table.column_names:
        _collect(name, one_array(table.column(name)), wanted, leaves)
    parsed = _columns(leaves, table.num_rows, mapping, zone, around)
    numbers = np.arange(table.num_rows, dtype=np.int64)
    return _finish(_locate(parsed, numbers, numbers, source, file), table.num_rows, 0, zone, around)


def _finish(table: Any, lines: int, unparsed: int, zone: tzinfo | None, around: datetime | None) -> Parsed:
    """Duplicates out, the message read, extras added."""
    before = table.num_rows
    table = _without_duplicates(table)
    extras = table.column(_EXTRA)
    enriched = with_extras(enrich(conform(table, LOGS), zone=zone, around=around), extras)
    return Parsed(enriched, lines, unparsed, before - table.num_rows)


# Lines


def _slabs(buffer: Any) -> Iterator[tuple[Any, Any]]:
    """The start and end of each line that is not blank, without surrounding white space, in groups of about `_SLAB`."""
    data = np.frombuffer(buffer, dtype=np.uint8)
    if not len(data):
        return
    breaks = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), breaks + 1])
    ends = np.concatenate([breaks, np.array([len(data)], dtype=np.int64)])
    if bytes(data[:3]) == b"\xef\xbb\xbf":
        starts[0] = 3
    starts = _trim(data, starts, ends, forward=True)
    ends = _trim(data, ends, starts, forward=False)
    kept = starts < ends
    starts, ends = starts[kept], ends[kept]
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + _SLAB, side="right")))
        yield starts[first:last], ends[first:last]
        first = last


def _trim(data: Any, edges: Any, limits: Any, *, forward: bool) -> Any:
    """`edges` moved past white space, towards `limits`."""
    space = np.zeros(256, dtype=bool)
    space[[9, 11, 12, 13, 32]] = True
    step = 1 if forward else -1
    rows = np.flatnonzero(edges < limits) if forward else np.flatnonzero(edges > limits)
    while len(rows):
        at = edges[rows] if forward else edges[rows] - 1
        rows = rows[space[data[at]]]
        edges[rows] += step
        rows = rows[edges[rows] < limits[rows]] if forward else rows[edges[rows] > limits[rows]]
    return edges


def _locate(table: Any, starts: Any, ends: Any, source: str, file: str | None) -> Any:
    """`table` with its source, and with file, offset and length where a row has no `_id`."""
    size = table.num_rows
    nameless = pc.is_null(table.column("_id"))
    none = pa.scalar(None, pa.int64())
    return (
        table.append_column("_source", pa.repeat(pa.scalar(source, pa.string()), size))
        .append_column("log.file.path", pc.if_else(nameless, pa.scalar(file, pa.string()), NOTHING))
        .append_column("log.offset", pc.if_else(nameless, pa.array(starts, pa.int64()), none))
        .append_column("log.length", pc.if_else(nameless, pa.array(ends - starts, pa.int64()), none))
    )


def _without_duplicates(table: Any) -> Any:
    """`table` with the first row of each (`_index`, `_id`); rows without `_id` stay."""
    ids = table.column("_id")
    if ids.null_count == len(ids):
        return table
    key = pc.binary_join_element_wise(pc.fill_null(table.column("_index"), ""), ids, "\x00")
    encoded = one_array(pc.dictionary_encode(one_array(key)))
    if len(encoded.dictionary) == len(encoded):
        return table
    codes = encoded.indices.fill_null(-1).to_numpy()
    _, first = np.unique(codes, return_index=True)
    if len(first) == len(codes):
        return table
    keep = codes < 0
    keep[first] = True
    return table if keep.all() else table.filter(pa.array(keep))


# One slab


@dataclass(frozen=True)
class _Reader:
    """What is wanted of a document: the mapping, and what follows from it once for all slabs."""

    mapping: FieldMapping
    envelope: Envelope
    wanted: frozenset[str]
    prefixes: frozenset[str]
    keys: frozenset[str]
    spelled: tuple[tuple[str, ...], ...]
    # Paths whose value is shown to people: a list or an object there is written out, elsewhere it is passed over.
    shown: frozenset[str]

    @staticmethod
    @lru_cache(maxsize=16)
    def of(mapping: FieldMapping, envelope: Envelope) -> _Reader:
        """The reader for `mapping`."""
        wanted = {path for name in FieldMapping.__struct_fields__ for path in getattr(mapping, name)}
        spelled = [spelling for path in sorted(wanted) for spelling in _spellings(path)]
        prefixes = {".".join(path.split(".")[:size]) for path in wanted for size in range(1, path.count(".") + 1)}
        shown = {*mapping.message, *mapping.error_message, *mapping.error_stack_trace}
        keys = {key for spelling in spelled for key in spelling}
        return _Reader(
            mapping, envelope, frozenset(wanted), frozenset(prefixes), frozenset(keys), tuple(spelled), frozenset(shown)
        )


def _spellings(path: str) -> Iterator[tuple[str, ...]]:
    """The ways in which nested objects and dotted keys can spell `path`.

    >>> sorted(_spellings("log.level"))
    [('log', 'level'), ('log.level',)]
    """
    parts = path.split(".")
    for count in range(len(parts)):
        for cuts in combinations(range(1, len(parts)), count):
            edges = (0, *cuts, len(parts))
            yield tuple(".".join(parts[a:b]) for a, b in pairwise(edges))


def _read_slab(
    buffer: Any, starts: Any, ends: Any, reader: _Reader, zone: tzinfo | None, around: datetime | None
) -> tuple[Any, int]:
    """The lines as a table (columns of LOGS that documents have, and `_EXTRA`), and how many could not be read."""
    data = np.frombuffer(buffer, dtype=np.uint8)
    fit = (data[starts] == ord("{")) & (data[ends - 1] == ord("}"))
    if not is_utf8(buffer.slice(int(starts[0]), int(ends[-1] - starts[0]))):
        for row in np.flatnonzero(fit):
            fit[row] = is_utf8(buffer.slice(int(starts[row]), int(ends[row] - starts[row])))
    rows = np.flatnonzero(fit)
    tables, order = [], []
    if len(rows):
        for part, leaves in _read_objects(buffer, starts, ends, rows, reader):
            tables.append(_columns(leaves, len(part), reader.mapping, zone, around))
            order.append(part)
    read = np.concatenate(order) if order else np.zeros(0, dtype=np.int64)
    raw = np.setdiff1d(np.arange(len(starts)), read)
    if len(raw):
        texts = [bytes(data[starts[row] : ends[row]]).decode(errors="replace") for row in raw]
        tables.append(_columns({reader.mapping.message[0]: pa.array(texts, pa.string())}, len(raw), reader.mapping))
        order.append(raw)
    table = pa.concat_tables(tables)
    if len(tables) > 1:
        table = table.take(pa.array(np.argsort(np.concatenate(order))))
    return table, len(raw)


def _read_objects(
    buffer: Any, starts: Any, ends: Any, rows: Any, reader: _Reader
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The lines `rows` as (rows, leaves) parts; `leaves` are string Arrays by dotted path."""
    leaves = _by_arrow(buffer, starts, ends, rows, reader)
    if not isinstance(leaves, frozenset):
        yield rows, leaves
    elif kinds := _by_kind(buffer, starts, ends, rows, leaves):
        for part in kinds:
            yield from _read_objects(buffer, starts, ends, part, reader)
    elif len(rows) > _SMALL:
        for part in np.array_split(rows, min(10, -(-len(rows) // _SMALL))):
            yield from _read_objects(buffer, starts, ends, part, reader)
    else:
        yield _by_line(buffer, starts, ends, rows, reader)


def _by_kind(buffer: Any, starts: Any, ends: Any, rows: Any, keys: frozenset[str]) -> list[Any]:
    """`rows` sorted by the JSON types that stand behind `keys`; nothing where that does not tell them apart.

    It only looks at the bytes, so a key inside of another object counts too: what is read is checked by who reads it.
    """
    if not keys or len(keys) > _MOST_CONFLICTS or len(rows) <= _FEW:
        return []
    first, last = int(rows[0]), int(rows[-1])
    edges = np.append(starts[first : last + 1], ends[last]).astype(np.int64)
    lines = pa.LargeBinaryArray.from_buffers(pa.large_binary(), last - first + 1, [None, pa.py_buffer(edges), buffer])
    if len(rows) < len(lines):
        lines = lines.take(pa.array(rows - first))
    codes = np.zeros(len(rows), dtype=np.int64)
    for key in sorted(keys):
        for start in _STARTS:
            found = pc.match_substring_regex(lines, f'"{re2.escape(key)}"\\s*:\\s*{start}')
            codes = 2 * codes + found.to_numpy(zero_copy_only=False)
    kinds, numbers = np.unique(codes, return_inverse=True)
    if not 1 < len(kinds) <= _MOST_KINDS:
        return []
    return [rows[numbers == number] for number in range(len(kinds))]


def _by_arrow(buffer: Any, starts: Any, ends: Any, rows: Any, reader: _Reader) -> dict[str, Any] | frozenset[str]:
    """The leaves of the lines `rows` as Arrow reads them, or the keys on which the lines do not agree, as far as known."""
    schema = _schema(buffer, starts, ends, rows, reader)
    if isinstance(schema, frozenset):
        return schema
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        block = buffer.slice(int(starts[first]), int(ends[last] - starts[first]))
    else:
        block = pa.py_buffer(b"\n".join(buffer.slice(int(starts[r]), int(ends[r] - starts[r])) for r in rows))
    longest = int((ends[rows] - starts[rows]).max())
    try:
        table = pj.read_json(
            pa.BufferReader(block),
            # One line must fit a block; fewer, larger blocks are no faster.
            read_options=pj.ReadOptions(block_size=max(1 << 20, 2 * longest + 2)),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowException, ValueError) as error:
        changed = _CHANGED.search(str(error))
        return frozenset({changed.group(1).rpartition("/")[2]} if changed else ())
    # Each line begins with a brace and ends with one, so equal counts mean one object a line.
    if table.num_rows != len(rows):
        return frozenset()
    leaves: dict[str, Any] = {}
    for name in table.column_names:
        column = one_array(table.column(name))
        if name == "_source" and pa.types.is_struct(column.type):
            for number, field in enumerate(column.type):
                _collect(field.name, pc.struct_field(column, number), reader.wanted, leaves)
        elif name in META or reader.envelope == "flat":
            _collect(name, column, {*reader.wanted, *META}, leaves)
    return leaves


def _collect(path: str, column: Any, wanted: Any, leaves: dict[str, Any]) -> None:
    """`column` and what is below it into `leaves`, as strings."""
    if pa.types.is_struct(column.type):
        for number, field in enumerate(column.type):
            _collect(f"{path}.{field.name}", pc.struct_field(column, number), wanted, leaves)
        return
    if path not in wanted or column.null_count == len(column):
        return
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_map(column.type):
        return
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = pa.array([None if v is None else v.decode(errors="replace") for v in column.to_pylist()], pa.string())
    if pa.types.is_timestamp(column.type):
        zoned = column.type.tz is not None
        column = pc.strftime(column.cast(TIME if zoned else pa.timestamp("us")), "%Y-%m-%dT%H:%M:%S" + "Z" * zoned)
    text = column if pa.types.is_string(column.type) else column.cast(pa.string())
    leaves[path] = pc.coalesce(leaves[path], text) if path in leaves else text


# Which schema


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


def _schema(buffer: Any, starts: Any, ends: Any, rows: Any, reader: _Reader) -> Any | frozenset[str]:
    """The schema of the wanted fields in the lines; where a sample already disagrees with itself, the keys that it does on."""
    seen = _Seen()
    keys = reader.keys | {"_source", *META}
    for row in rows[:: max(1, len(rows) // _SAMPLE)]:
        try:
            value = _decode(buffer.slice(int(starts[row]), int(ends[row] - starts[row])))
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


def _fields(tree: dict[str, Any], seen: _Seen | None, path: str, reader: _Reader) -> list[Any] | None:
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


# Line by line


def _by_line(buffer: Any, starts: Any, ends: Any, rows: Any, reader: _Reader) -> tuple[Any, dict[str, Any]]:
    """The lines of `rows` that can be read, and their leaves."""
    read, documents = [], []
    for row in rows:
        document = _decode_line(buffer.slice(int(starts[row]), int(ends[row] - starts[row])))
        if document is None:
            continue
        try:
            flat = _flat(document, reader)
        except RecursionError:
            continue
        read.append(row)
        documents.append(flat)
    paths = sorted({path for flat in documents for path in flat})
    leaves = {path: pa.array([flat.get(path) for flat in documents], pa.string()) for path in paths}
    return np.array(read, dtype=np.int64), leaves


def _flat(document: dict[str, Any], reader: _Reader) -> dict[str, str]:
    """The leaves of one document, as strings by their paths. Raises `RecursionError` for what nests too deep."""
    flat: dict[str, str] = {}
    body = document
    inner = document.get("_source")
    if isinstance(inner, dict):
        body = inner
        for key in META:
            if key in document:
                _flatten(key, document[key], flat, reader)
    elif reader.envelope == "hit":
        body = {key: document[key] for key in META if key in document}
    for key, value in body.items():
        _flatten(key, value, flat, reader)
    return flat


def _decode_line(line: Any) -> dict[str, Any] | None:
    """One JSON object, or None."""
    try:
        value = _decode(line)
    except RecursionError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The standard library also takes NaN and halves of surrogate pairs, which JavaScript loggers write.
        try:
            value = json.loads(line.to_pybytes())
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _flatten(path: str, value: Any, flat: dict[str, str], reader: _Reader) -> None:
    """`value` and what is below it into `flat`, as strings."""
    if isinstance(value, dict):
        if path in reader.prefixes:
            for key, below in value.items():
                _flatten(f"{path}.{key}", below, flat, reader)
        elif path in reader.shown and value:
            flat.setdefault(path, _written(value))
        return
    if path in reader.wanted or path in META:
        text = _text(value, whole=path in reader.shown)
        if text:
            flat.setdefault(path, text)


def _text(value: Any, *, whole: bool) -> str | None:
    """A scalar, or a list's items (all of them where `whole`, else the first), as a string."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode(errors="replace").decode() if not value.isascii() else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -(10**4000) < value < 10**4000 else None
    if isinstance(value, float):
        return str(pa.scalar(value).cast(pa.string()).as_py())
    if isinstance(value, dict):
        return _written(value) if whole else None
    items = [text for item in value if (text := _text(item, whole=whole)) is not None]
    return "\n".join(items) if whole else next(iter(items), None)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace").decode()


# Columns


def _columns(
    leaves: dict[str, Any], size: int, mapping: FieldMapping, zone: tzinfo | None = None, around: datetime | None = None
) -> Any:
    """The columns of LOGS that `leaves` hold, `_id`, `_index` and `_EXTRA`; the first path with a value wins."""
    leaves = {path: _filled(texts) for path, texts in leaves.items()}
    columns: dict[str, Any] = {key: leaves.get(key, pa.nulls(size, pa.string())) for key in ("_index", "_id")}
    for name, column in COLUMNS.items():
        kind = LOGS.field(column).type
        found = [_typed(column, path, leaves[path], zone, around) for path in getattr(mapping, name) if path in leaves]
        found = [array for array in found if array.null_count < size]
        if len(found) > 1:
            columns[column] = pc.coalesce(*found)
        else:
            columns[column] = found[0] if found else pa.nulls(size, kind)
    columns[_EXTRA] = _extras(leaves, size, mapping.extra)
    return pa.table(columns)


def _filled(texts: Any) -> Any:
    """`texts` with empty strings as null."""
    blank = pc.equal(pc.binary_length(texts), 0)
    return pc.if_else(blank, NOTHING, texts) if pc.any(blank).as_py() else texts


def _typed(column: str, path: str, texts: Any, zone: tzinfo | None, around: datetime | None) -> Any:
    """The texts of one path as the type and vocabulary of `column`."""
    if column == "@timestamp":
        return parse_times(texts, zone, around)
    if column == "log.level":
        return levels_of(texts, path)
    if column == "http.response.status_code":
        fits = pc.match_substring_regex(texts, r"^[1-5]\d\d$")
        return pc.if_else(fits, texts, NOTHING).cast(pa.int32())
    if column == "trace.id" and path in {"trace", "logging.googleapis.com/trace"}:
        return pc.replace_substring_regex(texts, r"^projects/[^/]*/traces/", "")
    if column in {"trace.id", "span.id"}:
        # Zeros and placeholders are what tracers write when there is no trace.
        return pc.if_else(pc.match_substring_regex(texts, r"(?i)^(0+|-+|n/?a|null|none|undefined)$"), NOTHING, texts)
    return texts


def _extras(leaves: dict[str, Any], size: int, paths: Sequence[str]) -> Any:
    """The extra fields of each row as `path=value path=value`, or null."""
    found = [pc.binary_join_element_wise(path, leaves[path], "=") for path in paths if path in leaves]
    if not found:
        return pa.nulls(size, pa.string())
    # Where all values are null, "skip" leaves the row itself out (pyarrow 25); an empty string in front keeps it.
    joined = pc.binary_join_element_wise("", *found, " ", null_handling="skip")
    return _filled(pc.utf8_ltrim(joined, " "))
