"""Lines of JSON objects as columns of strings by path: by Arrow where they agree, sorted by kind or in parts where not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import re2

from parsers.documents.reader import Reader
from parsers.documents.schemas import schema_of
from parsers.documents.singly import by_line
from parsers.filling import one_array
from parsers.hits import META
from parsers.tables import TIME

# The JSON types by which lines are sorted, as what follows the key and its colon, and into how many kinds of lines at most.
_STARTS = (r"\"", r"-?\d+[\s,}\]]", r"-?\d+[.eE]", "[tf]", r"\{", r"\[")
_MOST_KINDS = 12
_MOST_CONFLICTS = 4
_CHANGED = re.compile(r"Column\((/[^)]*)\) changed from")
# A slab that failed is read again in parts of a tenth, at least this many lines; a part that fails goes line by line.
_SMALL = 512
_FEW = 64


def read_objects(
    buffer: Any, starts: Any, ends: Any, rows: Any, reader: Reader
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The lines `rows` as (rows, leaves) parts; `leaves` are string Arrays by dotted path."""
    leaves = _by_arrow(buffer, starts, ends, rows, reader)
    if not isinstance(leaves, frozenset):
        yield rows, leaves
    elif kinds := _by_kind(buffer, starts, ends, rows, leaves):
        for part in kinds:
            yield from read_objects(buffer, starts, ends, part, reader)
    elif len(rows) > _SMALL:
        for part in np.array_split(rows, min(10, -(-len(rows) // _SMALL))):
            yield from read_objects(buffer, starts, ends, part, reader)
    else:
        yield by_line(buffer, starts, ends, rows, reader)


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


def _by_arrow(buffer: Any, starts: Any, ends: Any, rows: Any, reader: Reader) -> dict[str, Any] | frozenset[str]:
    """The leaves of the lines `rows` as Arrow reads them, or the keys on which the lines do not agree, as far as known."""
    schema = schema_of(buffer, starts, ends, rows, reader)
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
                collect_leaves(field.name, pc.struct_field(column, number), reader.wanted, leaves)
        elif name in META or reader.envelope == "flat":
            collect_leaves(name, column, {*reader.wanted, *META}, leaves)
    return leaves


def collect_leaves(path: str, column: Any, wanted: Any, leaves: dict[str, Any]) -> None:
    """`column` and what is below it into `leaves`, as strings."""
    if pa.types.is_struct(column.type):
        for number, field in enumerate(column.type):
            collect_leaves(f"{path}.{field.name}", pc.struct_field(column, number), wanted, leaves)
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
