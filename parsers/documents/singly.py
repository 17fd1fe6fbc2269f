"""Lines read one by one, where they cannot be read together."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from parsers.documents.reader import Reader, decode
from parsers.hits import META


def by_line(buffer: Any, starts: Any, ends: Any, rows: Any, reader: Reader) -> tuple[Any, dict[str, Any]]:
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


def _flat(document: dict[str, Any], reader: Reader) -> dict[str, str]:
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
        value = decode(line)
    except RecursionError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The standard library also takes NaN and halves of surrogate pairs, which JavaScript loggers write.
        try:
            value = json.loads(line.to_pybytes())
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _flatten(path: str, value: Any, flat: dict[str, str], reader: Reader) -> None:
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
