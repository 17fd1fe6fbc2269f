"""LOGS with what the messages say in the columns that are null."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, tzinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.filling import FILLED, Fill, mask_of, one_array
from parsers.lines.errors import CLASS_SIGN, read_errors
from parsers.lines.headers import from_header
from parsers.lines.json_records import from_json
from parsers.lines.logfmt import from_logfmt
from parsers.lines.numbers import ORDER_SIGN, STATUS_SIGN, read_order_ids, read_statuses
from parsers.lines.strings import matching
from parsers.lines.trace_ids import SPAN_ID_SIGN, TRACE_ID_SIGN, read_trace_ids
from parsers.plans import read_by_shape
from parsers.shapes import worth_shaping
from parsers.stacktraces import TRACE_SIGN
from parsers.tables import LOGS

# Rows of one batch: offsets of a string Array are 32 bit. Each batch compiles its expressions anew, so small ones cost more.
_ROWS = 32_768


def enrich(table: pa.Table, *, zone: tzinfo | None = None, around: datetime | None = None) -> pa.Table:
    """`table` (LOGS) with `body` made from `message`, and with what the message says in columns that are null.

    Filled are level, logger, trace, span, service, the error columns, HTTP status, order id and time; a value that the record
    has is never changed. A row whose body is set is left as it is, so enriching twice is enriching once. `zone`
    and `around` complete times as in `parsers.times.parse_times`.
    """
    todo = pc.and_(pc.is_null(table.column("body")), pc.is_valid(table.column("message")))
    if not pc.any(todo).as_py():
        return table

    def work(batch: Any) -> Any:
        part = pa.table(batch)
        rows = np.flatnonzero(pc.and_(pc.is_null(part.column("body")), pc.is_valid(part.column("message"))).to_numpy())
        return _enrich(part, rows, zone, around, by_shape=by_shape) if len(rows) else part

    by_shape = worth_shaping(table.num_rows)
    batches = table.to_batches(max_chunksize=_ROWS)
    if len(batches) == 1:
        return work(batches[0])
    # Arrow gives the interpreter's lock away while it works, so threads help.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return pa.concat_tables(pool.map(work, batches))


def _enrich(part: Any, rows: Any, zone: tzinfo | None, around: datetime | None, *, by_shape: bool = False) -> Any:
    picked = part if len(rows) == part.num_rows else part.take(pa.array(rows))

    def read(some: Any) -> tuple[Fill, Any]:
        return _read(some, zone, around)

    fill, body = read_by_shape(picked, read) if by_shape else read(picked)
    return _filled(part, rows, fill, body)


def _read(picked: Any, zone: tzinfo | None, around: datetime | None) -> tuple[Fill, Any]:
    """What the messages say, and their bodies."""
    message = one_array(picked.column("message"))
    size = len(message)
    fill = Fill(size)
    need_time = pc.is_null(picked.column("@timestamp")).to_numpy()
    # What every record has of its own need not be sought.
    sought = {name for name in FILLED if picked.column(name).null_count}
    text, done = from_json(message, sought, fill, zone, around)
    text, logfmt = from_logfmt(text, ~done, sought, fill, zone, around)
    body = from_header(text, ~(logfmt | done), need_time, fill, zone, around)
    # Most lines say nothing of what follows; one look tells which do.
    telling = matching(message, _SIGNS)
    read_trace_ids(message, telling, picked, fill)
    if not body.equals(message):
        telling = matching(body, _BODY_SIGNS)
    body, telling = read_errors(message, body, telling, picked, fill)
    read_statuses(body, telling, fill)
    read_order_ids(body, telling, picked, fill)
    blank = pc.equal(pc.binary_length(body), 0)
    return fill, pc.if_else(blank, message, body)


def _filled(part: Any, rows: Any, fill: Fill, body: Any) -> Any:
    """`part` with body and values of `rows`; a value that is there stays."""
    result = part
    for name in FILLED:
        values = fill.columns.get(name)
        if values is None:
            continue
        index = result.schema.get_field_index(name)
        own = one_array(result.column(name))
        if len(rows) < part.num_rows:
            spread = pa.nulls(part.num_rows, values.type)
            values = pc.replace_with_mask(spread, mask_of(part.num_rows, rows), values)
        result = result.set_column(index, LOGS.field(name), pc.coalesce(own, values))
    index = result.schema.get_field_index("body")
    if len(rows) < part.num_rows:
        body = pc.replace_with_mask(one_array(result.column("body")), mask_of(part.num_rows, rows), body)
    return result.set_column(index, LOGS.field("body"), body)


# Any of the signs above: those that are sought in a body, and all.
_BODY_SIGNS = "|".join(f"(?:{sign})" for sign in (TRACE_SIGN, CLASS_SIGN, STATUS_SIGN, ORDER_SIGN))
_SIGNS = "|".join(f"(?:{sign})" for sign in (TRACE_ID_SIGN, SPAN_ID_SIGN, _BODY_SIGNS))
