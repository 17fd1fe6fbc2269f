"""A snapshot's document as one row of nested columns, and back again.

The columns are the document's own fields, in its order, under its names; before them stand what one filters by: the
version of this layout, and the document's times as timestamps. A `Text` is a struct of `en` and `zh`, a list a list,
`{str: int}` a map, and what has no fixed shape (`questionnaire`, the desk's parts) is JSON as text.

The schema is derived from the model, so that no field is ever left out, and `tests/golden/batch_schema.txt` shows it. Once a
version with it is released, a change of that file is a change of `LAYOUT`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Literal, Union

import msgspec
import pyarrow as pa

from snapshots.model import SCHEMA_VERSION, ProblemSnapshot, Text

# The version of the layout: the first number changes where a reader has to.
LAYOUT = "1.0"
_TIME = pa.timestamp("us", tz="UTC")
_HEAD = [
    pa.field("layout", pa.string(), nullable=False),
    pa.field("created_at", _TIME, nullable=False),
    pa.field("anchor_at", _TIME),
    pa.field("window_start", _TIME),
    pa.field("window_end", _TIME),
]
_PLAIN = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _column(kind: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of a field of the model, and whether it may be null."""
    if kind in _PLAIN:
        return _PLAIN[kind], False
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return pa.string(), False
    if origin in {Union, types.UnionType}:
        return _column(_said(inner))[0], True
    if origin is list:
        return (pa.string() if _is_free(inner[0]) else pa.list_(_column(inner[0])[0])), False
    if origin is dict:
        return (pa.string() if _is_free(kind) else pa.map_(pa.string(), _column(inner[1])[0])), False
    return pa.struct(_fields(kind)), False


def _said(kinds: tuple[Any, ...]) -> Any:
    """The one kind that a value has where it is there."""
    (one,) = [kind for kind in kinds if kind not in {type(None), msgspec.UnsetType}]
    return one


def _left_out(value: Any, kind: Any) -> bool:
    """Whether the document has no such field, rather than null in it."""
    return value is None and msgspec.UnsetType in typing.get_args(kind)


def _fields(model: type) -> list[pa.Field]:
    return [pa.field(name, *_column(kind)) for name, kind in _kinds(model).items()]


@cache
def _kinds(model: type) -> dict[str, Any]:
    """The fields of a struct of the model, with their types."""
    hints = typing.get_type_hints(model)
    return {field.name: hints[field.name] for field in msgspec.structs.fields(model)}


def _is_free(kind: Any) -> bool:
    """Whether it is a JSON object of no fixed shape."""
    return typing.get_origin(kind) is dict and typing.get_args(kind)[1] is Any


ROW_SCHEMA = pa.schema(
    [*_HEAD, *_fields(ProblemSnapshot)],
    metadata={"problem_snapshot.layout": LAYOUT, "problem_snapshot.schema_version": SCHEMA_VERSION},
)


def rows_of(snapshots: Iterable[ProblemSnapshot]) -> Iterator[dict[str, Any]]:
    """The rows, as `pyarrow.Table.from_pylist` takes them with `ROW_SCHEMA`."""
    for one in snapshots:
        yield {
            "layout": LAYOUT,
            "created_at": datetime.fromisoformat(one.ticket.created_at),
            "anchor_at": datetime.fromisoformat(one.scope.anchor),
            "window_start": datetime.fromisoformat(one.scope.window.start),
            "window_end": datetime.fromisoformat(one.scope.window.end),
            **_down(msgspec.to_builtins(one), ProblemSnapshot),
        }


def snapshot_of(row: Mapping[str, Any]) -> ProblemSnapshot:
    """The document that `row`, as `pyarrow.Table.to_pylist` gives it, was made of."""
    own = {name: row[name] for name in ProblemSnapshot.__struct_fields__}
    return msgspec.convert(_up(own, ProblemSnapshot), ProblemSnapshot)


def _down(value: Any, kind: Any) -> Any:
    """A value of the document as Arrow takes it."""
    if value is None or kind in _PLAIN or kind is Text:
        return value
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in {Union, types.UnionType}:
        return _down(value, _said(inner))
    if _is_free(kind) or (origin is list and _is_free(inner[0])):
        return msgspec.json.encode(value, order="deterministic").decode()
    if origin is list:
        return value if inner[0] is str else [_down(one, inner[0]) for one in value]
    if origin is dict:
        # Sorted, so that equal documents give equal rows.
        return sorted(value.items())
    if origin is Literal:
        return value
    # What the document leaves out is null in the row.
    return {name: _down(value.get(name), part) for name, part in _kinds(kind).items()}


def _up(value: Any, kind: Any) -> Any:
    """A value of a row as the document has it."""
    if value is None or kind in _PLAIN or kind is Text:
        return value
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in {Union, types.UnionType}:
        return _up(value, _said(inner))
    if _is_free(kind) or (origin is list and _is_free(inner[0])):
        return msgspec.json.decode(value)
    if origin is list:
        return [_up(one, inner[0]) for one in value]
    if origin is dict:
        return dict(value)
    if origin is Literal:
        return value
    kinds = _kinds(kind)
    return {name: _up(value[name], kinds[name]) for name in kinds if not _left_out(value[name], kinds[name])}
