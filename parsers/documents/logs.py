"""The leaves of documents as the columns of LOGS: the first path with a value wins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from parsers.filling import NOTHING
from parsers.levels import levels_of
from parsers.mapping import COLUMNS, FieldMapping
from parsers.tables import LOGS
from parsers.times import parse_times

EXTRA = "extra"


def log_columns(
    leaves: dict[str, Any], size: int, mapping: FieldMapping, zone: tzinfo | None = None, around: datetime | None = None
) -> Any:
    """The columns of LOGS that `leaves` hold, `_id`, `_index` and `EXTRA`; the first path with a value wins."""
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
    columns[EXTRA] = _extras(leaves, size, mapping.extra)
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
