"""What a log line says in its own text: header, JSON or logfmt envelope, trace ids, exceptions.

`enrich` works on whole columns. Each header is taken apart token by token (time, level, thread, logger, trace), every token
by one small anchored expression over the first characters of the rows that are still in question, so that shapes
that nobody listed are read as well, and a line costs a few microseconds. Only JSON inside a message and stack traces are
handled row by row.
"""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.distinct import buffers
from parsers.filling import NOTHING, Fill, mask_of, no_zeros, one_array
from parsers.levels import level_of, levels_of
from parsers.mapping import AUTO, COLUMNS
from parsers.plans import read_by_shape
from parsers.shapes import worth_shaping
from parsers.stacktraces import TRACE_SIGN, chain, collapse
from parsers.tables import LOGS
from parsers.times import parse_times

# Characters in which a header must end, and rows of one batch: offsets of a string Array are 32 bit. Each batch compiles its
# expressions anew, so small ones cost more.
_HEAD = 256
_ROWS = 32_768
_FILLED = (
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
_decode = msgspec.json.Decoder().decode


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
            known[key] = (_error_text(name, message, stack), *_named(name, message, stack))
        error_text, error_type, error_message = known[key]
        whole = _appended(text or "", error_text, name, message)
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


def _error_text(name: str | None, message: str | None, stack: str | None) -> str:
    """The error fields as the line that `collapse` would give."""
    if stack:
        told = chain(stack)
        if told and told[0][0]:
            return collapse(stack)
    if name and message:
        return message if message.startswith(name) else f"{name}: {message}"
    return name or message or ""


def _appended(text: str, error: str, name: str | None, message: str | None) -> str:
    """`text` and `error`, unless the text tells it already."""
    told = bool(name or message) and (not name or name in text) and (not message or message[:60] in text)
    if not error or error in text or (told and " <- " not in error):
        return text
    if text and text in error:
        return error
    return f"{text} {error}".strip()


# Arrays


def _hits(texts: Any, pattern: str) -> Any:
    """Whether each text matches, as numpy booleans."""
    return pc.match_substring_regex(texts, pattern).fill_null(False).to_numpy(zero_copy_only=False)


def _hits_among(texts: Any, pattern: str, asked: Any) -> Any:
    """`_hits` for the rows that `asked` (numpy booleans) names, False for the others, which are not looked at."""
    rows = np.flatnonzero(asked)
    if len(rows) == len(asked):
        return _hits(texts, pattern)
    found = np.zeros(len(asked), dtype=bool)
    if len(rows):
        found[rows] = _hits(texts.take(pa.array(rows)), pattern)
    return found


def _heads(texts: Any) -> Any:
    """The first `_HEAD` characters of each text."""
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    return texts if longest <= _HEAD else pc.utf8_slice_codeunits(texts, 0, _HEAD)


def _tail(texts: Any, skipped: Any) -> Any:
    """Each text without its first `skipped` bytes; `texts` has no nulls."""
    if not skipped.any():
        return texts
    edges, _ = buffers(texts)
    starts = edges[:-1] + np.minimum(skipped, edges[1:] - edges[:-1]).astype(np.int32)
    return _cut(texts, starts, edges[1:] - starts)


def _cut(texts: Any, starts: Any, sizes: Any) -> Any:
    """Strings of `sizes` bytes (int32) from the bytes `starts` (int32) of `texts` on."""
    data = texts.buffers()[2]
    values = pa.UInt8Array.from_buffers(pa.uint8(), data.size, [None, data])
    views = pa.ListViewArray.from_arrays(pa.array(starts, pa.int32()), pa.array(sizes, pa.int32()), values)
    dense = views.flatten()
    ends = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(sizes, dtype=np.int32)])
    return pa.StringArray.from_buffers(
        len(sizes), pa.py_buffer(ends), pa.py_buffer(dense.to_numpy(zero_copy_only=False))
    )


def _groups(texts: Any, pattern: str) -> dict[str, Any]:
    """The groups of `pattern` in `texts` by name; where texts repeat, each different one is matched once."""
    encoded = texts.dictionary_encode()
    few = 2 * len(encoded.dictionary) <= len(texts)
    struct = pc.extract_regex(encoded.dictionary if few else texts, pattern)
    groups = {field.name: pc.struct_field(struct, number) for number, field in enumerate(struct.type)}
    return {name: group.take(encoded.indices) for name, group in groups.items()} if few else groups


# One batch


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
    sought = {name for name in _FILLED if picked.column(name).null_count}
    text, done = _from_json(message, sought, fill, zone, around)
    text, logfmt = _from_logfmt(text, ~done, sought, fill, zone, around)
    body = _from_header(text, ~(logfmt | done), need_time, fill, zone, around)
    # Most lines say nothing of what follows; one look tells which do.
    telling = _hits(message, _SIGNS)
    _traces(message, telling, picked, fill)
    if not body.equals(message):
        telling = _hits(body, _BODY_SIGNS)
    body, telling = _errors(message, body, telling, picked, fill)
    _statuses(body, telling, fill)
    _orders(body, telling, picked, fill)
    blank = pc.equal(pc.binary_length(body), 0)
    return fill, pc.if_else(blank, message, body)


def _filled(part: Any, rows: Any, fill: Fill, body: Any) -> Any:
    """`part` with body and values of `rows`; a value that is there stays."""
    result = part
    for name in _FILLED:
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


# JSON in the message

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


def _from_json(
    message: Any, sought: set[str], fill: Fill, zone: tzinfo | None, around: datetime | None
) -> tuple[Any, Any]:
    """Messages that are a logger's JSON object: their values into `fill`, their text instead of the message.

    Returned is also which rows need no further reading of a header.
    """
    done = np.zeros(len(message), dtype=bool)
    rows = np.flatnonzero(_hits(message, _JSON_START))
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
    body = _appended(body, _error_text(name, error, stack), name, error)
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
        elif column in _FILLED:
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


# logfmt

_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_LOGFMT = r"^\s*(?:[A-Za-z_@][\w.@-]*=(?:" + _QUOTED + r"|[^\s\"']\S*|)\s+)+[A-Za-z_@][\w.@-]*=\S*"
_LOGFMT_KEYS: dict[str, str] = {
    "@timestamp": "ts|time|timestamp|t|@timestamp",
    "log.level": "level|lvl|severity|log\\.level",
    "log.logger": "logger|component|module|log\\.logger|logger_name",
    "trace.id": "trace_id|traceID|traceId|trace\\.id|traceid",
    "span.id": "span_id|spanID|spanId|span\\.id|spanid",
    "service.name": "service|service\\.name|app|svc",
}
_LOGFMT_MESSAGE = "msg|message|event"


def _value(texts: Any, keys: str) -> Any:
    """The value of the first of `keys` in logfmt texts, without its quotes."""
    pattern = (
        rf"(?:^|\s)(?:{keys})=(?:\"(?P<double>(?:[^\"\\]|\\.)*)\"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^\s\"']\S*))"
    )
    rows = np.flatnonzero(_hits(texts, rf"(?:^|\s)(?:{keys})="))
    none = pa.nulls(len(texts), pa.string())
    if not len(rows):
        return none
    part = texts if len(rows) == len(texts) else texts.take(pa.array(rows))
    got = pc.extract_regex(part, pattern)
    plain = pc.binary_join_element_wise(*(pc.struct_field(got, name) for name in ("double", "single", "bare")), "")
    if pc.any(pc.match_substring(plain, "\\")).as_py():
        plain = pc.replace_substring_regex(plain, r"\\([\"'\\])", r"\1")
    return plain if part is texts else pc.replace_with_mask(none, mask_of(len(texts), rows), plain)


def _without_pairs(texts: Any, keys: str, *, once: bool = False) -> Any:
    """Texts of logfmt without the pairs of `keys` (only the first one where `once`); what stood before them stays."""
    pattern = rf"(^|\s)(?:{keys})=(?:{_QUOTED}|[^\s\"']\S*|)"
    once = once and (pc.max(pc.count_substring_regex(texts, pattern)).as_py() or 0) > 1
    if once or pc.any(pc.match_substring_regex(texts, r"[\t\n\f\r]")).as_py():
        return pc.replace_substring_regex(texts, pattern, r"\1", max_replacements=1 if once else None)
    # What stood before is a blank or nothing; to write a blank needs no groups and is many times faster. That there is one
    # too many at the beginning is as good here, where blanks are joined and trimmed in the end.
    return pc.replace_substring_regex(texts, pattern, " ")


def _from_logfmt(
    text: Any, candidates: Any, sought: set[str], fill: Fill, zone: tzinfo | None, around: datetime | None
) -> tuple[Any, Any]:
    """Lines of `key=value` pairs: the envelope's values into `fill`, message and other pairs as the text."""
    done = np.zeros(len(text), dtype=bool)
    hits = _hits_among(_heads(text), r"^\s*[A-Za-z_@][\w.@-]*=", candidates)
    rows = np.flatnonzero(hits)
    if not len(rows):
        return text, done
    part = text.take(pa.array(rows))
    fit = _hits(part, _LOGFMT) & _hits(part, rf"(?:^|\s)(?:{_LOGFMT_MESSAGE}|level|lvl)=")
    rows, part = rows[fit], part.filter(pa.array(fit))
    if not len(rows):
        return text, done
    for column, keys in _LOGFMT_KEYS.items():
        if column not in sought:
            continue
        values = _value(part, keys)
        if column == "log.level":
            values = levels_of(values)
        elif column == "@timestamp":
            values = parse_times(values, zone, around)
        fill.put(column, rows, values)
    names = "|".join([*_LOGFMT_KEYS.values(), "caller", "pid", "host"])
    rest = _without_pairs(part, names)
    told = _value(rest, _LOGFMT_MESSAGE)
    pairs = _without_pairs(rest, _LOGFMT_MESSAGE, once=True)
    body = pc.binary_join_element_wise(told, pairs, " ", null_handling="skip")
    body = pc.utf8_trim_whitespace(pc.replace_substring_regex(body, r"[ \t]{2,}", " "))
    done[rows] = fill.made[rows] = True
    return pc.replace_with_mask(text, mask_of(len(text), rows), body), done


# Headers

_CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
_ZONED = r"(?:\s?(?:Z|UTC|GMT|CST|CET|CEST|EST|EDT|PST|PDT|JST|MSK|[+-]\d\d:?\d\d)\b)?"
_STAMP = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}[T ,_]{1,2}"
    + _CLOCK
    + _ZONED
    + r"|\d{4}年\d{1,2}月\d{1,2}日 ?"
    + _CLOCK
    + r"|\d{1,2}[-/ ](?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[-/ ]\d{4}[: ]"
    + _CLOCK
    + _ZONED
    + r"|(?:Mon |Tue |Wed |Thu |Fri |Sat |Sun )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2}(?:, \d{4})? "
    + _CLOCK
    + r"(?: [AP]M| \d{4}|)"
    + r"|\d\d/\d\d/\d{2,4},? "
    + _CLOCK
    + r"(?: [AP]M)?"
    + "|"
    + _CLOCK
    + _ZONED
    + r"|\d{1,2}:\d\d[AP]M"
)
_WORD = (
    r"TRACE|DEBUG|DEBU|INFORMATION|INFO|NOTICE|WARNING|WARN|ERROR|ERRO|SEVERE|FATAL|CRITICAL|CRIT|ALERT|EMERGENCY|EMERG|PANIC"
    r"|DPANIC|VERBOSE|FINEST|FINER|FINE|CONFIG|ERR|WRN|INF|DBG|TRC|FTL|VRB|WARNI|FATA"
)
_LOWER = (
    r"[Tt]race|[Dd]ebug|[Ii]nformation|[Ii]nfo|[Nn]otice|[Ww]arning|[Ww]arn|[Ee]rror|[Ff]atal|[Cc]ritical|[Cc]rit|[Aa]lert"
    r"|[Ee]merg|[Ee]mergency|[Ss]evere|[Pp]anic|err|inf|wrn|dbg"
)
_HAN = "错误|錯誤|警告|告警|信息|信息级|提示|调试|严重|致命|异常|通知|跟踪"
# `[http-nio-1]`, `[tid:4f5b]`, `[app] `, `[pid 12:tid 9]`, `{main.py:12}`, `(main)`
_BRACKET = (
    r"(?:\[[A-Za-z0-9_.:/#$@ -]*\]|\[(?:pid|client|tid|remote|pool|thread|Thread)[ =][^\]\n]*\]|\{[\w.]+:\d+\}|\([A-Za-z][\w .:/#-]*\)"
    r"|\[[\w.-]*,[\w-]*,[\w-]*(?:,\w+)?\]|<[\w.]+>)"
)
_LOGGER = (
    r"(?:(?:[A-Za-z_$][\w$-]*(?:\.|::|/|\$))+[A-Za-z_$<][\w$<>-]*|[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+|root|main|default"
    r"|\[[a-zA-Z_$][\w$]*(?:\.[\w$]+)+\])(?:\(\))?(?:[:#](?:[\w<>]+:)?\d+)?"
)
# Each repetition in these expressions is open and each alternative spelled out: both keep the programs so small that
# they run in the fast matcher.
_TRACING = (
    r"(?:[Tt]race_?I[dD]|trace_?id|TRACE_?ID|[Ss]pan_?I[dD]|span_?id|SPAN_?ID|[Pp]arent_?I[dD]|parent_?id|tid|TID"
    r"|[Rr]equest_?I[dD]|request_?id|req_?id|traceparent)[:=] ?\[?[\w./-]*\]?"
)
_BEFORE = (
    r"(?:[\s|,:]+|- |" + _BRACKET + r"|\d{1,8}\b|-{2,3}|[\w.$/@-]*[.$/@_-][\w.$/@-]*(?: - | )|[A-Za-z_]\w* - "
    r"|[A-Za-z_]\w*(?:\.\w+)+ \w+\s|\w+@\w+|\w+=\S+|[\w.-]+\[\d+\]:?)"
)
# Things around a line: what a container runtime, a Kubernetes client or syslog puts before it.
_WRAPS = (
    r"^(?P<all>(?P<time>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (?:stdout|stderr) [FP] )",
    r"^(?P<all>\[Nest\] \d+\s+- )",
    r"^(?P<all>\[pod/[^\]\s]+\] )",
    r"^(?P<all>(?:[\w.-]+\s+\| ))(?:\d|\[|\{|[A-Z]{4})",
    r"^(?P<all><(?P<priority>\d{1,3})>1 (?P<time>\S+) (?P<host>\S+) (?P<service>\S+) \S+ \S+ (?:-|\[[^\]]*\]) ?(?:\x{FEFF})?)",
    r"^(?P<all>(?:<(?P<priority>\d{1,3})>)?(?P<time>(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d "
    + _CLOCK
    + r"|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)) (?P<host>[\w.-]+) (?P<service>[\w./-]+)(?:\[\d+\])?: )",
)
_KLOG = r"^(?P<all>(?P<level>[IWEF])(?P<time>\d{4} \d\d:\d\d:\d\d\.\d+)\s+\d+ (?P<logger>[\w./-]+:\d+)\] ?)"
_RUBY = r"^(?P<all>[DIWEFA], \[(?P<time>[\dT:.-]+) #\d+\]\s+(?P<level>[A-Z]+) -- (?P<logger>[^:\n]*): )"
_DOTNET = r"^(?P<all>(?P<level>trce|dbug|info|warn|fail|crit): (?P<logger>[\w.+`]+)\[\d+\]\s*)"
_GO = r"^(?P<all>[\w./-]+\.go:\d+: )"
_ACCESS = r"^(?P<all>[\w.:-]+ \S+ \S+ \[(?P<time>[^\]\n]+)\] )(?:\"|[A-Z]+ )"
_WHEN = r"^(?P<all>[\[(<【\s]{0,3}(?P<time>" + _STAMP + r")(?P<close>[\])>】,]*)(?:\s*[|,]\s*|\s*- |\s+|:|$|))"
_LEVEL_AFTER = (
    r"^(?P<all>(?P<before>(?:" + _BEFORE + r")*?)(?:(?P<channel>[\w-]+)\.)?[\[(<【|]?\s?"
    r"(?P<level>" + _WORD + r")(?:\s*[\])>】|])?(?:/[\w-]+\]|:[\w.-]+:|:|,)?(?:\s+|$|\b))"
)
_LEVEL_LOWER = (
    r"^(?P<all>(?P<before>(?:" + _BEFORE + r")*?)(?:"
    r"[\[<【(|]\s*(?:[\w-]+:)?(?P<boxed>" + _LOWER + "|" + _HAN + r")\s*[\]>】)|]:?"
    r"|(?P<bare>"
    + _LOWER
    + "|"
    + _HAN
    + r")(?::|：|\s+\||\s+\[)|(?P<han>"
    + _HAN
    + r")\s|(?:级别|level)[:：=]\s*(?P<named>"
    + _LOWER
    + "|"
    + _HAN
    + r")"
    r")\s*)"
)
_LEVEL_FIRST = (
    r"^(?P<all>(?:\[[\w.-]+\] )?[\[<【(|]?(?P<level>" + _WORD + "|" + _HAN + r")"
    # `ERROR 1062 (23000)` is a database's answer, not a header.
    r"(?:(?:\s*[\])>】|]:?|:[\w.-]+:|:|：)\s*|\s+))(?P<next>\S{0,5})"
)
_CLOSED = r"(?:-\s|:\s|\|\s?|=>\s|-$|:$|--\s|\]\s)"
_BEHIND = (
    r"^(?P<all>[\s\]):|>】-]{0,4}(?:"
    + _BRACKET
    + r"\s+)?(?:\d{1,8}\s+)?(?:-{2,3}\s+)?(?:"
    + _BRACKET
    + r"\s*)*(?:(?P<logger>"
    + _LOGGER
    + r")\s*(?:"
    + _BRACKET
    + r"\s*)*)?(?:"
    + _TRACING
    + r"[\s,]*)*(?:"
    + _BRACKET
    + r"\s*)*[\s\]]*"
    + _CLOSED
    + ")"
)
_OPEN = (
    r"^(?P<all>[\s\]):|>】]{0,4}(?:\d+#\d+: (?:\*\d+ )?)?(?:\[(?:[A-Za-z0-9_.:/#$@-]*[\d.:/#-][A-Za-z0-9_.:/#$@-]*|[a-z]+|main)\]\s?|"
    r"\[(?:pid|client|tid|remote)[ =][^\]\n]*\]\s?)*(?:(?P<logger>"
    + _LOGGER
    + r")\s+)?(?:[\w./-]+\.[a-z]{1,4}:\d+\s+)?(?:"
    + _TRACING
    + r"[\s,]+)*)"
)
_HINT = r"^(?:PHP )?[\[<]?(?P<level>" + _LOWER + "|" + _WORD + r")(?: error)?[\]>]?(?::| \d)"
# Expressions whose whole match is consumed, and which match the same, group by group, where the text is cut behind the match:
# what they ask of the character behind it (`$`, `\b`) they also find at an end.
_WHOLE = frozenset({_WHEN, _LEVEL_AFTER, _BEHIND, _OPEN})
_AROUND_TIME = "[(<【])>】,|-: \t\n\f\r"
# What a line begins with that has any header at all; one look at the others is enough.
_ANY_HEADER = "|".join(
    re.sub(r"\?P<\w+>", "?:", pattern)
    for pattern in (*_WRAPS, _KLOG, _RUBY, _DOTNET, _ACCESS, _WHEN, _LEVEL_FIRST, _HINT)
)
# How a line looks that begins a record: with a time, a level, a syslog priority, or an object.
RECORD_START = (
    r"^(?:[\[(<【]?(?:"
    + _STAMP
    + r")|[IWEF]\d{4} \d\d:\d\d:\d\d|[DIWEFA], \[|<\d{1,3}>|\{\s*\"|[\w.:-]+ \S+ \S+ \[\d{1,2}/[A-Z]"
    r"|[\[<【(|]?(?:" + _WORD + r")(?:\s*[\])>】|]|:|\s)|(?:trce|dbug|info|warn|fail|crit): [\w.+]+\[\d+\]"
    r"|(?:time|ts|level|lvl|timestamp)=|\[Nest\] |1?\d{9,12}\.\d{3,6} )"
)
# A class name of an exception, a host and a clause are no loggers.
_NO_LOGGER = (
    r"(?:Exception|Error|Throwable|Failure|TraceID|TraceId|SpanID|SpanId)$|\.(?:com|net|cn|org|io|dev|local|internal|svc)$"
    r"|^https?"
)


class _Headers:
    """Headers being taken off: how many bytes of each text are consumed so far."""

    def __init__(self, text: Any, need_time: Any, fill: Fill, zone: tzinfo | None, around: datetime | None) -> None:
        self.head = _heads(text)
        self.at = np.zeros(len(text), dtype=np.int64)
        self.need_time = need_time
        self.fill = fill
        self.zone = zone
        self.around = around

    def rest(self, rows: Any) -> Any:
        """What is left of the heads of `rows`."""
        return _tail(self.head.take(pa.array(rows)), self.at[rows])

    def take(self, pattern: str, rows: Any) -> tuple[Any, dict[str, Any]]:
        """Those of `rows` whose rest matches, and the groups; the group `all` is consumed."""
        if pattern in _WHOLE:
            chosen, header = self.consume(pattern, rows)
            return chosen, _groups(header, pattern) if len(chosen) else {}
        part = self.rest(rows)
        hits = _hits(part, pattern)
        chosen = rows[hits]
        if not len(chosen):
            return chosen, {}
        struct = pc.extract_regex(part.filter(pa.array(hits)), pattern)
        groups = {field.name: pc.struct_field(struct, number) for number, field in enumerate(struct.type)}
        self.at[chosen] += pc.binary_length(groups["all"]).to_numpy(zero_copy_only=False)
        if "time" in groups:
            self.put_times(chosen, groups["time"])
        if "service" in groups:
            self.fill.put("service.name", chosen, groups["service"])
        return chosen, groups

    def consume(self, pattern: str, rows: Any) -> tuple[Any, Any]:
        """Those of `rows` whose rest matches one of `_WHOLE`, and what is consumed of each."""
        part = self.rest(rows)
        hits = _hits(part, pattern)
        chosen = rows[hits]
        if not len(chosen):
            return chosen, None
        part = part if hits.all() else part.filter(pa.array(hits))
        edges, _ = buffers(part)
        # RE2 finds the end of a match many times faster than its groups, and without them is all that this asks for.
        left = pc.binary_length(pc.replace_substring_regex(part, pattern, "")).to_numpy(zero_copy_only=False)
        sizes = np.diff(edges) - left
        self.at[chosen] += sizes
        return chosen, _cut(part, edges[:-1], sizes)

    def take_time(self, rows: Any) -> Any:
        """The time in front of those of `rows` that have one; these rows."""
        chosen, header = self.consume(_WHEN, rows)
        if len(chosen):
            # A time begins and ends with a letter or digit, and what is around it has none.
            self.put_times(chosen, header, around=True)
        return chosen

    def put_times(self, rows: Any, texts: Any, *, around: bool = False) -> None:
        """The times of `rows` that lack one."""
        wanted = self.need_time[rows]
        if wanted.any():
            texts = texts.filter(pa.array(wanted))
            texts = pc.utf8_trim(texts, _AROUND_TIME) if around else texts
            self.fill.put("@timestamp", rows[wanted], parse_times(texts, self.zone, self.around))

    def take_logger(self, pattern: str, rows: Any) -> Any:
        """The part behind the level, unless what stands where a logger would is none; the rows that had it."""
        before = self.at.copy()
        chosen, groups = self.take(pattern, rows)
        if not len(chosen):
            return chosen
        wrong = _hits(groups["logger"], _NO_LOGGER)
        self.at[chosen[wrong]] = before[chosen[wrong]]
        _put_logger(self.fill, chosen[~wrong], groups, ~wrong)
        return chosen[~wrong]

    def take_first_level(self, rows: Any) -> Any:
        """A level at the very start of a line without a time."""
        before = self.at.copy()
        chosen, groups = self.take(_LEVEL_FIRST, rows)
        if not len(chosen):
            return chosen
        answer = _hits(groups["next"], r"^\d") & ~_hits(groups["next"], r"^\d{4}-") & _hits(groups["all"], r"\w\s+$")
        self.at[chosen[answer]] = before[chosen[answer]]
        chosen = chosen[~answer]
        _put_level(self.fill, chosen, {"level": groups["level"].filter(pa.array(~answer))})
        self.take_time(chosen)
        return chosen


def _from_header(
    text: Any, candidates: Any, need_time: Any, fill: Fill, zone: tzinfo | None, around: datetime | None
) -> Any:
    """`text` without its header, the header's values in `fill`."""
    headers = _Headers(text, need_time, fill, zone, around)
    candidates = _hits_among(headers.head, _ANY_HEADER, candidates)
    for pattern in _WRAPS:
        rows, groups = headers.take(pattern, np.flatnonzero(candidates))
        if len(rows) and "priority" in groups:
            fill.made[rows] = True
            numbers = pc.if_else(pc.equal(groups["priority"], ""), NOTHING, groups["priority"]).cast(pa.int64())
            severity = pc.subtract(numbers, pc.multiply(pc.divide(numbers, 8), 8)).cast(pa.string())
            fill.put("log.level", rows, levels_of(severity, "priority"))
    left = candidates.copy()
    for pattern in (_KLOG, _RUBY, _DOTNET, _ACCESS):
        rows, groups = headers.take(pattern, np.flatnonzero(left))
        left[rows] = False
        if "level" in groups:
            fill.put("log.level", rows, levels_of(groups["level"]))
            fill.put("log.logger", rows, _bare_logger(pc.utf8_trim_whitespace(groups["logger"])))
    # With a time in front a level may stand anywhere in the header, without one only at the very start.
    timed = headers.take_time(np.flatnonzero(left))
    left[timed] = False
    upper, groups = headers.take(_LEVEL_AFTER, timed)
    _put_level(fill, upper, groups)
    plain = np.setdiff1d(timed, upper, assume_unique=True)
    lower, groups = headers.take(_LEVEL_LOWER, plain)
    if len(lower):
        words = pc.binary_join_element_wise(*(groups[name] for name in ("boxed", "bare", "han", "named")), "")
        _put_level(fill, lower, {"level": words, "before": groups["before"]})
    plain = np.setdiff1d(plain, lower, assume_unique=True)
    first = headers.take_first_level(np.flatnonzero(left))
    left[first] = False
    unknown = np.sort(np.concatenate([plain, np.flatnonzero(left)]))
    _hint(headers.rest(unknown), unknown, fill)
    headers.take(_GO, plain)
    behind = np.sort(np.concatenate([upper, lower, first]))
    closed = headers.take_logger(_BEHIND, behind)
    headers.take_logger(_OPEN, np.setdiff1d(behind, closed, assume_unique=True))
    body = pc.utf8_trim_whitespace(_tail(text, headers.at))
    # monolog closes with its empty context and extra.
    if pc.any(pc.ends_with(body, " []")).as_py():
        body = pc.replace_substring_regex(body, r"(?: \[\]){1,2}$", "")
    return body


def _put_level(fill: Fill, rows: Any, groups: dict[str, Any]) -> None:
    if not len(rows):
        return
    fill.put("log.level", rows, levels_of(groups["level"]))
    if "channel" in groups:
        fill.put("log.logger", rows, groups["channel"])
    if "before" in groups:
        got = pc.extract_regex(
            groups["before"], r"(?P<logger>[A-Za-z_$][\w$]*(?:[.$/][\w$]+)+(?:[:#]\d+)?|[A-Za-z_]\w*)\]? (?:- )?$"
        )
        fill.put("log.logger", rows, pc.struct_field(got, 0))


def _hint(head: Any, rows: Any, fill: Fill) -> None:
    """A level in front of a line that has no other header: known, but left in the text, where it may be a word."""
    if not len(rows):
        return
    hits = _hits(head, _HINT)
    if hits.any():
        got = pc.extract_regex(head.filter(pa.array(hits)), _HINT)
        fill.put("log.level", rows[hits], levels_of(pc.struct_field(got, 0)))


def _put_logger(fill: Fill, rows: Any, groups: dict[str, Any], right: Any) -> None:
    """The logger of a header: the bare name, else the last dotted name in brackets."""
    names = groups["logger"].filter(pa.array(right))
    fill.put("log.logger", rows, _bare_logger(names))
    without = pc.equal(names, "").to_numpy(zero_copy_only=False)
    header = groups["all"].filter(pa.array(right)).filter(pa.array(without))
    boxed = pc.extract_regex(header, r"^.*\[(?P<logger>[A-Za-z_$][\w$]*(?:\.[\w$]+)+)\]")
    fill.put("log.logger", rows[without], pc.struct_field(boxed, 0))


def _bare_logger(names: Any) -> Any:
    encoded = names.dictionary_encode()
    bare = pc.replace_substring_regex(encoded.dictionary, r"^\[|\]$|(?:\(\))?(?:[:#](?:[\w<>]+:)?\d+)?$", "")
    return bare.take(encoded.indices)


# Trace ids

_ID = (
    r"[0-9a-fA-F]{32}|[0-9a-fA-F]{16}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-zA-Z]{8,}(?:\.\d+){2}"
)
# Each of the forms below holds it.
_TRACE_SIGN = (
    r"(?i)trace|(?:^|[^a-z])tid[^a-z]|(?:^|[^a-z])b3[^a-z]|\[[\w.-]*, ?[0-9a-f]{16}|[0-9a-f]{32}-[0-9a-f]{16}|root=1-"
)
_TRACE_FORMS = (
    # The commonest first.
    r"(?i)(?:^|[^a-z])(?:trace[_. -]?id|traceid|tid|trace)\\?[\"']?\s?[:=：]\s?\\?[\"'\[]?(?P<trace>"
    + _ID
    + r")(?:[^0-9A-Za-z]|$)",
    r"(?:^|[^0-9A-Za-z])00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?:[^0-9A-Za-z]|$)",
    r"\[[\w.-]*, ?(?P<trace>[0-9a-f]{32}|[0-9a-f]{16}), ?(?P<span>[0-9a-f]{16})(?:, ?\w*)?\]",
    r"\[(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})\]",
    r"(?i)(?:^|[^a-z])b3[\"']?\s?[:=]\s?[\"']?(?P<trace>[0-9a-f]{32}|[0-9a-f]{16})-(?P<span>[0-9a-f]{16})",
    r"(?i)uber-trace-id[\"']?\s?[:=]\s?[\"']?(?P<trace>[0-9a-f]{16,32})(?::|%3A)(?P<span>[0-9a-f]{1,16})",
    r"(?i)(?:trace[_. -]?id)\\?[\"']?\s?[:=：]\s?\\?[\"']?(?P<trace>\d{15,20})(?:[^0-9A-Za-z]|$)",
    r"(?i)root=(?P<trace>1-[0-9a-f]{8}-[0-9a-f]{24})",
)
_SPAN_SIGN = r"(?i)span"
_SPAN = r"(?i)span[_. -]?id\\?[\"']?\s?[:=：]\s?\\?[\"'\[]?(?P<span>[0-9a-f]{16}|\d{15,20})(?:[^0-9A-Za-z]|$)"


def _traces(message: Any, telling: Any, picked: Any, fill: Fill) -> None:
    """Trace and span ids out of the whole message."""
    own = picked.column("trace.id").is_null().to_numpy()
    known = fill.columns.get("trace.id")
    if known is not None:
        own = own & pc.is_null(known).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(_hits_among(message, _TRACE_SIGN, telling & own))
    spans = np.flatnonzero(_hits_among(message, _SPAN_SIGN, telling & picked.column("span.id").is_null().to_numpy()))
    for pattern in _TRACE_FORMS:
        if not len(rows):
            break
        part = message.take(pa.array(rows))
        hits = _hits(part, pattern)
        if not hits.any():
            continue
        got = pc.extract_regex(part.filter(pa.array(hits)), pattern)
        for number, field in enumerate(got.type):
            values = pc.struct_field(got, number)
            fill.put(f"{field.name}.id", rows[hits], no_zeros(values))
        rows = rows[~hits]
    if len(spans):
        got = pc.extract_regex(message.take(pa.array(spans)), _SPAN)
        fill.put("span.id", spans, no_zeros(pc.struct_field(got, 0)))


# Errors

_CLASS_SIGN = r"[a-z](?:Exception|Error)|\.[A-Z]\w*(?:Timeout|Failure)"
_CLASS = (
    r"(?:^|[\s:：>\[(,，（=\"'])(?P<type>(?:[A-Za-z_][\w$]*(?:\.|\\|::))*[A-Z][a-z0-9]+(?:[A-Z][A-Za-z0-9]*)*(?:Exception|Error)"
    r"|(?:[a-z_][\w$]*(?:\.|::)){2,}[A-Z]\w*(?:Exception|Error|Timeout|Failure))(?::\s*(?P<message>[^\n]*))?(?:[\s,;)\]\"']|$)"
)


def _errors(message: Any, body: Any, telling: Any, picked: Any, fill: Fill) -> tuple[Any, Any]:
    """Exceptions: traces collapsed in the body, type, message and trace into `fill`.

    Returned are the bodies, and `telling` with those that changed.
    """
    rows = np.flatnonzero(_hits_among(body, TRACE_SIGN, telling))
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
    rows = np.flatnonzero(_hits_among(body, _CLASS_SIGN, telling & without))
    if len(rows):
        got = pc.extract_regex(body.take(pa.array(rows)), _CLASS)
        fill.put("error.type", rows, pc.struct_field(got, 0))
        fill.put("error.message", rows, pc.utf8_trim_whitespace(pc.struct_field(got, 1)))
    return body, telling


# HTTP status and order id

_STATUS_SIGN = r"(?i)http|status|(?:get|post|put|patch|delete|head|options) [/h]|response_code|状态码|\" [1-5]\d\d "
_STATUS_FORMS = (
    r"\bHTTP/\d(?:\.\d)?\"? (?P<code>[1-5]\d\d)\b",
    r"(?i)(?:http[_ -]?)?(?:status(?:[_ -]?code)?|response_code|http_code|状态码)\\?[\"']?\s?[:=：]\s?\\?[\"']?(?P<code>[1-5]\d\d)(?:[^\d.]|$)",
    r"(?i)\bHTTP(?: ?status)?(?: code)?[ :=]{1,2}(?P<code>[1-5]\d\d)(?:[^\d]|$)",
    r"\b(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (?:/|https?:)\S*\"? (?:-> |=> |HTTP )?(?P<code>[1-5]\d\d)(?:[^\d.]|$)",
    r"(?i)\bstatus(?: code)? (?P<code>[1-5]\d\d)(?:[^\d.]|$)",
)


def _statuses(body: Any, telling: Any, fill: Fill) -> None:
    rows = np.flatnonzero(_hits_among(body, _STATUS_SIGN, telling))
    for pattern in _STATUS_FORMS:
        if not len(rows):
            return
        part = body.take(pa.array(rows))
        hits = _hits(part, pattern)
        if hits.any():
            got = pc.extract_regex(part.filter(pa.array(hits)), pattern)
            fill.put("http.response.status_code", rows[hits], pc.struct_field(got, 0).cast(pa.int32()))
            rows = rows[~hits]


_ORDER_SIGN = r"(?i)order|订单|订单号|业务单|訂單"
_ORDER_FORM = (
    r"(?i)(?P<other>(?:pay(?:ment)?|refund|channel|sub|mch_?refund|支付|退款|渠道|子)[ _-]?)?"
    r"(?:(?:^|[^a-z])(?:mch|merchant|biz)?_?order(?:[_ -]?(?:id|no|number|num|sn|ref))?|(?:业务|商户)?订单(?:编?号|ID)?|业务单|訂單(?:編號)?)"
    r"\\?[\"']?\s*[:=：#]?\s*\\?[\"'\[【(（]?(?P<order>[A-Z]{0,8}[_-]?\d[0-9A-Za-z_-]{5,62}[0-9A-Za-z])"
)


def _orders(body: Any, telling: Any, picked: Any, fill: Fill) -> None:
    """The merchant's order number where the text calls it so; a payment's or refund's number is not one."""
    null = picked.column("labels.order_id").is_null().to_numpy()
    rows = np.flatnonzero(_hits_among(body, _ORDER_SIGN, telling & null))
    if not len(rows):
        return
    got = pc.extract_regex(body.take(pa.array(rows)), _ORDER_FORM)
    other, order = pc.struct_field(got, 0), pc.struct_field(got, 1)
    fill.put("labels.order_id", rows, pc.if_else(pc.equal(other, ""), order, NOTHING))


# Any of the signs above: those that are sought in a body, and all.
_BODY_SIGNS = "|".join(f"(?:{sign})" for sign in (TRACE_SIGN, _CLASS_SIGN, _STATUS_SIGN, _ORDER_SIGN))
_SIGNS = "|".join(f"(?:{sign})" for sign in (_TRACE_SIGN, _SPAN_SIGN, _BODY_SIGNS))

__all__ = ["RECORD_START", "enrich", "with_extras"]
