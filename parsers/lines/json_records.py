"""A message that is a logger's JSON object: its values in their columns, its text as the body.

The fields are those that `mapping` knows of documents, so what is read from a field of a document is read from one here.
"""

from __future__ import annotations

import json
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.filling import FILLED, Fill, mask_of
from parsers.levels import level_of
from parsers.lines.errors import appended, error_line
from parsers.lines.strings import matching
from parsers.mapping import AUTO, COLUMNS
from parsers.stacktraces import chain
from parsers.times import parse_times

_decode = msgspec.json.Decoder().decode


_ENVELOPE = {
    "log.level",
    "log.logger",
    "trace.id",
    "span.id",
    "service.name",
    "service.version",
    "host.name",
    "transaction.id",
    "@timestamp",
}
# Roles whose value the body already tells.
_SHOWN = {"message", "error.type", "error.message", "error.stack_trace"}
_ROLES: dict[str, tuple[int, str]] = {}
for _name, _column in COLUMNS.items():
    for _rank, _path in enumerate(getattr(AUTO, _name)):
        _ROLES.setdefault(_path.lower(), (_rank, _column))
# Fields of loggers that no one reads.
# fmt: off
_DROPPED = frozenset({
    "pid", "hostname", "host", "v", "thread", "thread_name", "threadname", "thread_id", "threadid", "process",
    "processid", "process_id", "@version", "stream", "line", "lineno", "line_number", "file", "filename", "pathname",
    "module", "func", "funcname", "caller", "source", "flags", "trace_flags", "traceflags", "tags", "logtag",
    "__cursor", "@i", "@l", "@t", "eventid", "sequence", "levelno", "msecs", "relativecreated", "processname",
    "created", "taskname", "log.origin.file.name", "log.origin.file.line", "ecs.version", "event.dataset",
    "process.pid", "process.thread.name", "process.thread.id",
})
# fmt: on
_JSON = r"^\s*(?:\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) [FP] )?\{\s*\".*\}\s*$"
_JSON_START = r"(?s)" + _JSON


def from_json(
    message: Any, sought: set[str], fill: Fill, zone: tzinfo | None, around: datetime | None
) -> tuple[Any, Any]:
    """Messages that are a logger's JSON object: their values into `fill`, their text instead of the message.

    Returned is also which rows need no further reading of a header.
    """
    done = np.zeros(len(message), dtype=bool)
    rows = np.flatnonzero(matching(message, _JSON_START))
    if not len(rows):
        return message, done
    fill.made[rows] = True
    read: list[int] = []
    bodies: list[str] = []
    values: dict[str, list[str | None]] = {}
    for row, text in zip(rows.tolist(), message.take(pa.array(rows)).to_pylist(), strict=True):
        record = _json_record(text)
        if record is None:
            continue
        body, found = record
        for name in found:
            if name in sought and name not in values:
                values[name] = [None] * len(read)
        for name, column in values.items():
            column.append(found.get(name))
        read.append(row)
        bodies.append(body)
    if not read:
        return message, done
    at = np.array(read, dtype=np.int64)
    for name, column in values.items():
        texts = pa.array(column, pa.string())
        fill.put(name, at, parse_times(texts, zone, around) if name == "@timestamp" else texts)
    return pc.replace_with_mask(message, mask_of(len(message), at), pa.array(bodies, pa.string())), done


def _json_record(text: str) -> tuple[str, dict[str, str]] | None:
    """A logger's object as (body, values by column), or None where the text is no such object.

    A time or a level makes it a logger's; without, it is an answer of somebody else, and the message itself.
    """
    try:
        record = _decode(text[text.index("{") :])
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    best: dict[str, tuple[int, str, str]] = {}
    salient: list[tuple[str, str, str | None]] = []
    if _FLAT.issuperset(map(type, record.values())):
        _sort_out_flat(record, best, salient)
    else:
        _sort_out("", record, best, salient, 0)
    if not ({"log.level", "@timestamp"} & best.keys()) or not (
        {"message", "error.type", "error.message"} & best.keys()
    ):
        return None
    found = _columns_of(best)
    body = best["message"][2] if "message" in best else ""
    error, name, stack = found.get("error.message"), found.get("error.type"), found.get("error.stack_trace")
    if stack and not name:
        told = chain(stack)
        if told:
            found.update({k: v for k, v in (("error.type", told[0][0]), ("error.message", error or told[0][1])) if v})
            error, name = found.get("error.message"), found.get("error.type")
    body = appended(body, error_line(name, error, stack), name, error)
    for path, value, role in salient:
        if not value or role in _ENVELOPE or path in _DROPPED:
            continue
        if role in _SHOWN and role in best and best[role][1] == path:
            continue
        body = f"{body} {path}={value}"
    return body.strip(), found


def _columns_of(best: dict[str, tuple[int, str, str]]) -> dict[str, str]:
    """The values that fit their columns."""
    found: dict[str, str] = {}
    for column, (_, path, value) in best.items():
        if column == "log.level":
            level = level_of(value, path)
            if level:
                found[column] = level
        elif column == "http.response.status_code":
            if len(value) == 3 and value.isascii() and value.isdigit() and "1" <= value[0] <= "5":
                found[column] = value
        elif column in FILLED:
            found[column] = value
    return found


@lru_cache(maxsize=4096)
def _role(path: str) -> tuple[int, str | None]:
    """Which column `path` is for, and how many of this column's paths are better."""
    return _ROLES.get(path.lower(), (0, None))


_FLAT = frozenset({str, int})


@lru_cache(maxsize=512)
def _plan(keys: tuple[str, ...]) -> tuple[list[tuple[str, list[tuple[int, str]]]], list[tuple[str, str | None]]]:
    """For a flat record of `keys`: the keys that are for each column, the best first, and those that may be told."""
    columns: dict[str, list[tuple[int, str]]] = {}
    told = []
    for key in keys:
        rank, column = _role(key)
        if column:
            columns.setdefault(column, []).append((rank, key))
        if column not in _ENVELOPE and key not in _DROPPED:
            told.append((key, column))
    # Sorting leaves equals in their order, and the first of equals is the best.
    return [(column, sorted(ranked, key=lambda one: one[0])) for column, ranked in columns.items()], told


def _sort_out_flat(
    record: dict[str, Any], best: dict[str, tuple[int, str, str]], salient: list[tuple[str, str, str | None]]
) -> None:
    """`_sort_out` for a record of strings and whole numbers alone, which loggers write most."""
    columns, told = _plan(tuple(record))
    texts = {
        key: value if type(value) is str and value.isascii() else _plain_text(value) for key, value in record.items()
    }
    for column, ranked in columns:
        for rank, key in ranked:
            if texts[key]:
                best[column] = (rank, key, texts[key])
                break
    salient += [(key, texts[key], column) for key, column in told]


def _plain_text(value: str | int) -> str:
    """Halves of surrogate pairs replaced."""
    return str(value).encode(errors="replace").decode()


def _sort_out(
    prefix: str,
    record: dict[str, Any],
    best: dict[str, tuple[int, str, str]],
    salient: list[tuple[str, str, str | None]],
    depth: int,
) -> None:
    """Each scalar of `record` to the column it is for (the best path wins) and to the list of all."""
    for key, value in record.items():
        path = f"{prefix}.{key}" if prefix else key
        if value is None:
            continue
        kind = type(value)
        if kind is dict and depth < 4:
            _sort_out(path, value, best, salient, depth + 1)
            continue
        if kind is str:
            text = value
        else:
            text = str(value) if kind is int else json.dumps(value, ensure_ascii=False, default=str)
        text = text if text.isascii() else text.encode(errors="replace").decode()
        rank, column = _role(path)
        if column and text and (kind not in {dict, list} or column in {"message", "error.stack_trace"}):
            known = best.get(column)
            if known is None or rank < known[0]:
                best[column] = (rank, path, text)
        salient.append((path, text, column))
