"""The records that evidence points to, found again in a file: by place, or by what names a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pipeline.values import Pointer
from snapshots.model import canonical_json


def piece_at(data: bytes, pointer: Pointer) -> bytes | None:
    """The bytes that a pointer names."""
    start = pointer.start or 0
    end = pointer.end if pointer.end is not None else len(data)
    return data[start:end] if 0 <= start < end <= len(data) else None


def row_at(table: Any, place: int | None) -> bytes | None:
    """A Parquet row by its number."""
    return _row_bytes(table, place) if place is not None and 0 <= place < table.num_rows else None


def _row_bytes(table: Any, place: int) -> bytes:
    """The canonical JSON of a Parquet row: what it has, without `_id` and `_index`."""
    row = table.slice(place, 1).to_pylist()[0]
    return canonical_json({k: v for k, v in row.items() if v is not None and k not in ("_id", "_index")})


def find_rows(table: Any, pointers: Sequence[Pointer]) -> dict[Pointer, bytes | None]:
    """The records of those pointers whose document a Parquet file holds."""
    if not pointers or "_id" not in table.column_names:
        return {}
    places: dict[Any, int] = {}
    indices = table.column("_index").to_pylist() if "_index" in table.column_names else [None] * table.num_rows
    for place, key in enumerate(zip(indices, table.column("_id").to_pylist(), strict=True)):
        places.setdefault(key, place)
    found = {p: places.get((p.index, p.doc_id)) for p in pointers}
    return {p: _row_bytes(table, place) for p, place in found.items() if place is not None}


class _Named(msgspec.Struct):
    """What names a document."""

    id: str | int | None = msgspec.field(name="_id", default=None)
    index: str | None = msgspec.field(name="_index", default=None)


_NAMED = msgspec.json.Decoder(_Named)
_FEW = 300


def find_documents(data: bytes, pointers: Sequence[Pointer]) -> dict[Pointer, bytes | None]:
    """The `_source` of those pointers whose document the lines hold, the first one of each."""
    found: dict[Pointer, bytes | None] = {}
    slow = len(pointers) > _FEW
    if not slow:
        for pointer in pointers:
            record = _search_document(data, pointer)
            if record is not None:
                found[pointer] = record
        # Ids that JSON may escape, or write as numbers, are not found by their bytes.
        slow = any(p not in found and not _is_plain(str(p.doc_id)) for p in pointers)
    if slow:
        wanted = {(p.index, str(p.doc_id)): p for p in pointers if p not in found}
        for start, end in _line_ends(data):
            try:
                named = _NAMED.decode(data[start:end])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            target = wanted.get((named.index, str(named.id)))
            if target is not None and target not in found:
                found[target] = _source_bytes(data[start:end])
    return found


def _is_plain(text: str) -> bool:
    """Whether JSON has only one way to write an id, in quotes."""
    return text.isascii() and text.isprintable() and not text.isdigit() and not any(c in text for c in '"\\/<>&')


def _search_document(data: bytes, pointer: Pointer) -> bytes | None:
    """The `_source` of the first line that is the pointer's document: ids are rare enough to be looked for as bytes."""
    needle = f'"{pointer.doc_id}"'.encode(errors="replace")
    place = data.find(needle)
    while place >= 0:
        start = data.rfind(b"\n", 0, place) + 1
        end = data.find(b"\n", place)
        end = len(data) if end < 0 else end
        try:
            named = _NAMED.decode(data[start:end])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            named = _Named()
        if str(named.id) == pointer.doc_id and named.index == pointer.index:
            return _source_bytes(data[start:end])
        place = data.find(needle, end)
    return None


def _source_bytes(line: bytes) -> bytes | None:
    """The canonical `_source` of a line: a hit's, or the whole object without what names it."""
    document = msgspec.json.decode(line)
    inner = document.get("_source")
    if isinstance(inner, dict):
        return canonical_json(inner)
    return canonical_json({key: value for key, value in document.items() if key not in ("_id", "_index")})


def _line_ends(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield start, end
        start = end + 1
