"""Exceptions: traces collapsed in the body, type, message and trace in their columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.filling import Fill, mask_of, one_array
from parsers.lines.strings import matching_among
from parsers.stacktraces import TRACE_SIGN, chain, collapse
from parsers.tables import LOGS


def with_extras(table: pa.Table, extras: Any) -> pa.Table:
    """`table` with the record's own error and extra fields (`path=value ...`, or null) behind each body that lacks them."""
    error = pc.or_(pc.is_valid(table.column("error.type")), pc.is_valid(table.column("error.message")))
    error = pc.or_(error, pc.is_valid(table.column("error.stack_trace")))
    rows = np.flatnonzero(pc.or_(error, pc.is_valid(extras)).to_numpy())
    if not len(rows):
        return table
    picked = table.select(["body", "error.type", "error.message", "error.stack_trace"]).take(pa.array(rows))
    known: dict[tuple[str | None, ...], tuple[str, str | None, str | None]] = {}
    told: list[tuple[str | None, str | None, str | None]] = []
    columns = [picked.column(name).to_pylist() for name in picked.column_names]
    added = extras.take(pa.array(rows)).to_pylist()
    for text, name, message, stack, extra in zip(*columns, added, strict=True):
        key = (name, message, stack)
        if key not in known:
            known[key] = (error_line(name, message, stack), *_named(name, message, stack))
        error_text, error_type, error_message = known[key]
        whole = appended(text or "", error_text, name, message)
        for pair in (extra or "").split(" "):
            value = pair.partition("=")[2]
            if value and value not in whole:
                whole = f"{whole} {pair}"
        told.append((whole.strip() or None, error_type, error_message))
    mask = mask_of(table.num_rows, rows)
    for number, name in enumerate(("body", "error.type", "error.message")):
        values = pa.array([one[number] for one in told], pa.string())
        column = pc.replace_with_mask(one_array(table.column(name)), mask, values)
        table = table.set_column(table.schema.get_field_index(name), LOGS.field(name), column)
    return table


def _named(name: str | None, message: str | None, stack: str | None) -> tuple[str | None, str | None]:
    """Type and message of an error, from its stack trace where the record has only that."""
    told = chain(stack) if stack and not name else []
    if not told:
        return name, message
    return told[0][0] or None, message or told[0][1] or None


def error_line(name: str | None, message: str | None, stack: str | None) -> str:
    """The error fields as the line that `collapse` would give."""
    if stack:
        told = chain(stack)
        if told and told[0][0]:
            return collapse(stack)
    if name and message:
        return message if message.startswith(name) else f"{name}: {message}"
    return name or message or ""


def appended(text: str, error: str, name: str | None, message: str | None) -> str:
    """`text` and `error`, unless the text tells it already."""
    told = bool(name or message) and (not name or name in text) and (not message or message[:60] in text)
    if not error or error in text or (told and " <- " not in error):
        return text
    if text and text in error:
        return error
    return f"{text} {error}".strip()


CLASS_SIGN = r"[a-z](?:Exception|Error)|\.[A-Z]\w*(?:Timeout|Failure)"
_CLASS = (
    r"(?:^|[\s:：>\[(,，（=\"'])(?P<type>(?:[A-Za-z_][\w$]*(?:\.|\\|::))*[A-Z][a-z0-9]+(?:[A-Z][A-Za-z0-9]*)*(?:Exception|Error)"
    r"|(?:[a-z_][\w$]*(?:\.|::)){2,}[A-Z]\w*(?:Exception|Error|Timeout|Failure))(?::\s*(?P<message>[^\n]*))?(?:[\s,;)\]\"']|$)"
)


def read_errors(message: Any, body: Any, telling: Any, picked: Any, fill: Fill) -> tuple[Any, Any]:
    """Exceptions: traces collapsed in the body, type, message and trace into `fill`.

    Returned are the bodies, and `telling` with those that changed.
    """
    rows = np.flatnonzero(matching_among(body, TRACE_SIGN, telling))
    if len(rows):
        fill.made[rows] = True
        known: dict[str, tuple[str, str | None, str | None, bool]] = {}
        told = []
        for text in body.take(pa.array(rows)).to_pylist():
            if text not in known:
                told_chain = chain(text)
                name, words = told_chain[0] if told_chain else ("", "")
                known[text] = (collapse(text), name or None, words or None, bool(told_chain))
            told.append(known[text])
        body = pc.replace_with_mask(body, mask_of(len(body), rows), pa.array([one[0] for one in told], pa.string()))
        telling[rows] = True
        fill.put("error.type", rows, pa.array([one[1] for one in told], pa.string()))
        fill.put("error.message", rows, pa.array([one[2] if one[1] else None for one in told], pa.string()))
        traced = np.array([one[3] for one in told])
        whole = message.take(pa.array(rows[traced]))
        fill.put("error.stack_trace", rows[traced], whole)
    without = picked.column("error.type").is_null().to_numpy()
    known_types = fill.columns.get("error.type")
    if known_types is not None:
        without = without & pc.is_null(known_types).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(matching_among(body, CLASS_SIGN, telling & without))
    if len(rows):
        got = pc.extract_regex(body.take(pa.array(rows)), _CLASS)
        fill.put("error.type", rows, pc.struct_field(got, 0))
        fill.put("error.message", rows, pc.utf8_trim_whitespace(pc.struct_field(got, 1)))
    return body, telling
