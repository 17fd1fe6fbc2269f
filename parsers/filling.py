"""Columns that are filled in with what lines say: a value that is there stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.tables import LOGS

NOTHING = pa.scalar(None, pa.string())
# The columns of LOGS that a message may fill, beside its body.
FILLED = (
    "log.level",
    "log.logger",
    "trace.id",
    "span.id",
    "service.name",
    "error.type",
    "error.message",
    "error.stack_trace",
    "http.response.status_code",
    "user.id",
    "labels.order_id",
    "@timestamp",
)


def one_array(column: Any) -> Any:
    """`column` in one piece, which may be a slice."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def mask_of(size: int, rows: Any) -> Any:
    """`size` booleans, true at `rows`."""
    mask = np.zeros(size, dtype=bool)
    mask[rows] = True
    return pa.array(mask)


def no_zeros(ids: Any) -> Any:
    """`ids` without those of zeros, which tracers write when there is no trace."""
    return pc.if_else(pc.match_substring_regex(ids, r"^0+$"), NOTHING, ids)


class Fill:
    """The columns being filled: a value is only written where there is none yet."""

    def __init__(self, size: int) -> None:
        self.size = size
        # Rows of which something was made up, and not just cut out of the message.
        self.made = np.zeros(size, dtype=bool)
        self.columns: dict[str, Any] = {}

    def put(self, name: str, rows: Any, values: Any) -> None:
        """`values` (an Array as long as `rows`, empty strings and nulls passed over) into column `name`."""
        if not len(rows) or values.null_count == len(values):
            return
        kind = LOGS.field(name).type
        if pa.types.is_string(values.type):
            values = pc.if_else(pc.equal(values, ""), NOTHING, values)
        column = self.columns.get(name)
        if column is None:
            column = pa.nulls(self.size, kind)
        old = column.take(pa.array(rows))
        mask = mask_of(self.size, rows)
        self.columns[name] = pc.replace_with_mask(column, mask, pc.coalesce(old, values.cast(kind)))
