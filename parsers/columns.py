"""A few fields of Elasticsearch hits as Arrow columns, without a look into what they say.

A page is read by Arrow's JSON reader with a schema made of the fields alone, in each of their spellings. A page that this
schema does not read whole, since a field is a number, a list or an object there, goes the careful way of `documents`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from parsers.documents.objects import read_objects
from parsers.documents.reader import Reader, spellings
from parsers.documents.slabs import slabs_of
from parsers.filling import one_array
from parsers.hits import META, Values, Wanted
from parsers.mapping import FieldMapping

# One line must fit a block of the reader; larger blocks are no faster.
_BLOCK = 4 << 20


def read_columns(ndjson: bytes | pa.Buffer, fields: Sequence[str], hits: int) -> pa.Table:
    """`_index`, `_id` and `fields` (dotted paths) of `hits` hits, one JSON object a line, as strings in their order.

    A list gives its first item, an object nothing. Times are the text that they are in the document. A line that is not a
    JSON object is a row of nulls.
    """
    buffer = ndjson if isinstance(ndjson, pa.Buffer) else pa.py_buffer(ndjson)
    names = tuple(dict.fromkeys(fields))
    table = _fast(buffer, names, hits)
    return _careful(buffer, names) if table is None else table


@lru_cache(maxsize=64)
def wanted_columns(fields: tuple[str, ...]) -> Wanted:
    """What `columns_of` reads of a hit."""
    return Wanted({name: tuple(spellings(name)) for name in dict.fromkeys(fields)}, frozenset())


def columns_of(values: Values, fields: Sequence[str]) -> pa.Table:
    """What `read_columns` gives for the hits whose values these are, as `wanted_columns` reads them."""
    return _table(dict(values.columns), tuple(dict.fromkeys(fields)), values.rows)


def _fast(buffer: Any, names: tuple[str, ...], hits: int) -> pa.Table | None:
    """The page by one reading, or None where the reading does not give each hit once."""
    if not hits:
        return _table({}, names, 0)
    schema = _schema(names)
    if schema is None:
        return None
    try:
        table = pj.read_json(
            pa.BufferReader(buffer),
            read_options=pj.ReadOptions(block_size=max(_BLOCK, 2 * buffer.size // hits)),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowException, ValueError):
        return None
    if table.num_rows != hits or table.column("_id").null_count:
        return None
    leaves: dict[str, Any] = {name: one_array(table.column(name)) for name in META}
    _collect("", one_array(table.column("_source")), leaves)
    return _table(leaves, names, hits)


def _collect(path: str, column: Any, leaves: dict[str, Any]) -> None:
    if not pa.types.is_struct(column.type):
        name = path.removeprefix(".")
        leaves[name] = pc.coalesce(leaves[name], column) if name in leaves else column
        return
    for number, field in enumerate(column.type):
        _collect(f"{path}.{field.name}", pc.struct_field(column, number), leaves)


def _careful(buffer: Any, names: tuple[str, ...]) -> pa.Table:
    reader = Reader.of(FieldMapping(extra=names), "hit")
    data = np.frombuffer(buffer, dtype=np.uint8)
    parts, places, size = [], [], 0
    for starts, ends in slabs_of(buffer):
        rows = np.flatnonzero((data[starts] == ord("{")) & (data[ends - 1] == ord("}")))
        for part, leaves in read_objects(buffer, starts, ends, rows, reader) if len(rows) else ():
            parts.append(_table(leaves, names, len(part)))
            places.append(part + size)
        size += len(starts)
    if not parts:
        return _table({}, names, size)
    at = np.full(size, -1)
    found = np.concatenate(places)
    at[found] = np.arange(len(found))
    return pa.concat_tables(parts).take(pa.array(at, mask=at < 0))


def _table(leaves: dict[str, Any], names: tuple[str, ...], size: int) -> pa.Table:
    return pa.table({name: leaves.get(name, pa.nulls(size, pa.string())) for name in (*META, *names)})


@lru_cache(maxsize=64)
def _schema(names: tuple[str, ...]) -> pa.Schema | None:
    """Strings at every spelling of every field; None where one field is said to lie inside another."""
    tree: dict[str, Any] = {}
    for name in names:
        for keys in spellings(name):
            node = tree
            for key in keys[:-1]:
                node = node.setdefault(key, {})
                if node is None:
                    return None
            if node.setdefault(keys[-1], None) is not None:
                return None
    return pa.schema([("_index", pa.string()), ("_id", pa.string()), ("_source", _struct(tree))])


def _struct(tree: dict[str, Any]) -> pa.DataType:
    return pa.struct([(key, pa.string() if below is None else _struct(below)) for key, below in tree.items()])
