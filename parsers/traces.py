"""Traces to the SPANS table: OTLP/JSON, Jaeger's JSON, and span documents as Elasticsearch keeps them (APM, OTel, Jaeger).

One function per shape, and `parse_trace_file` that tells them apart. Old and new semantic-convention names
(https://opentelemetry.io/docs/specs/semconv/) give the same columns. Objects that are no span are counted, never raised.

A span's evidence is `_index` = trace id, `_id` = span id, or the document's own `_index` and `_id` where it has them;
`find_spans` opens such a pointer again. Ids are lower-case hex, as W3C trace context writes them, also where the file has
base64. `host.name` falls back to the pod's name, which is the host name inside a pod.

Files are read span by span from slices of the file's bytes, and rows become Arrow in batches, so that memory follows the
file's size and not the number of Python objects in it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.tables import SPANS, empty

Envelope = Literal["flat", "hit"]
Key = tuple[str | None, str]

_BATCH = 65_536
_MAX_US = 253_402_300_800_000_000  # the year 10000
_KINDS = ("internal", "server", "client", "producer", "consumer")  # OTLP's 1 to 5; 0 is unspecified

# The fields of a span document that become columns or attributes: what to ask Elasticsearch for.
SPAN_FIELDS = (
    "@timestamp", "timestamp.us", "duration", "name", "kind", "status.*", "trace_id", "span_id", "parent_span_id",
    "trace.id", "transaction.*", "span.*", "parent.id", "processor.event", "event.outcome", "service.name", "host.name",
    "host.hostname", "kubernetes.pod.name", "http.*", "url.*", "destination.*", "server.*", "client.*", "error.*",
    "labels.*", "numeric_labels.*", "attributes.*", "resource.attributes.*", "user.id",
    "traceID", "spanID", "operationName", "references", "startTime", "tags", "tag.*", "process.*", "logs", "parentSpanID",
)  # fmt: skip

# Attribute names of one column, newest first.
_METHOD = ("http.request.method", "http.method")
_HTTP_STATUS = ("http.response.status_code", "http.status_code")
_RPC_STATUS = ("rpc.response.status_code", "rpc.status_code", "rpc.grpc.status_code", "grpc.status_code")
_SERVER = ("server.address", "net.peer.name", "http.host", "peer.hostname", "destination.address", "net.sock.peer.name")
_PATH = ("url.path", "http.target")
_URL = ("url.full", "http.url", "url.original")
_ERROR = ("error.type",)
# Attribute name -> its column's place in a list of these groups, and its rank within the group.
_COLUMN_OF = {
    name: (place, rank)
    for place, names in enumerate((_METHOD, _HTTP_STATUS, _RPC_STATUS, _SERVER, _PATH, _URL, _ERROR))
    for rank, name in enumerate(names)
}

# https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
_GRPC = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


@dataclass(frozen=True)
class ParsedSpans:
    """A SPANS table and what became of the objects that were read.

    `spans == table.num_rows + unparsed + duplicates`: `unparsed` are objects that are no readable span and are left out,
    `duplicates` repeat the ids, kind and start of an earlier span.
    """

    table: pa.Table
    spans: int
    unparsed: int
    duplicates: int


def parse_trace_file(data: bytes, file: str, source: str) -> ParsedSpans:
    """The spans of one trace file of any of the shapes above, told apart by its first object's keys."""
    shape, data = _shape(data)
    if shape == "otlp":
        return parse_otlp(data, source=source, file=file)
    if shape == "jaeger":
        return parse_jaeger(data, source=source, file=file)
    return _collect(_document_rows(_lines(data), "hit" if shape == "hits" else "flat"), source, file)


def parse_otlp(data: bytes, *, source: str, file: str | None) -> ParsedSpans:
    """The spans of OTLP/JSON: one payload, or several behind one another as the collector's file exporter writes them.

    Takes camelCase and snake_case, hex and base64 ids, numbers as strings, enums as numbers or names. What can be read
    of a payload that is cut short is kept.
    """
    return _collect(_otlp_rows(data), source, file)


def parse_jaeger(data: bytes, *, source: str, file: str | None) -> ParsedSpans:
    """The spans of Jaeger's JSON: `{"data": [trace]}` as its HTTP API and its user interface give it, or one trace."""
    return _collect(_jaeger_rows(data), source, file)


def parse_span_documents(
    ndjson: bytes, *, source: str, envelope: Envelope = "flat", file: str | None = None
) -> ParsedSpans:
    """The spans of newline-delimited Elasticsearch documents: APM, OpenTelemetry (also its older mappings), Jaeger.

    `flat` is a document a line, with `_id` and `_index` at top level where there are any; `hit` is an Elasticsearch hit.
    APM's errors and metrics are no spans and count as `unparsed`.
    """
    return _collect(_document_rows(_lines(ndjson), envelope), source, file)


def find_spans(data: bytes, wanted: Collection[Key]) -> dict[Key, list[tuple[int | None, Any]]]:
    """The span objects of a trace file whose `(_index, _id)` is wanted, each with its start in microseconds of the epoch.

    The object is as the file holds it, less what Jaeger numbers anew in each answer (`processID`, `warnings`), and for a
    document less `_id` and `_index`.
    """
    shape, data = _shape(data)
    if shape == "otlp":
        found = _otlp_rows(data, wanted={span for _, span in wanted})
    elif shape == "jaeger":
        found = _jaeger_rows(data, wanted={span for _, span in wanted})
    else:
        found = _document_rows(_lines(data), "hit" if shape == "hits" else "flat")
    objects: dict[Key, list[tuple[int | None, Any]]] = defaultdict(list)
    wanted = set(wanted)
    for row, raw in found:
        if row is not None and (row[-2], row[-1]) in wanted:
            objects[row[-2], row[-1]].append((row[7], _stored(raw, shape)))
    return dict(objects)


def drop_repeats(table: pa.Table) -> tuple[pa.Table, int]:
    """SPANS without the spans that repeat the ids, kind and start of an earlier one, and how many those were."""
    if pc.count_distinct(table.column("span.id"), mode="all").as_py() == table.num_rows:
        return table, 0
    keys = ["trace.id", "span.id", "kind", "@timestamp"]
    numbered = table.select(keys).append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by(keys).aggregate([("row", "min")]).column("row_min").combine_chunks()
    repeats = table.num_rows - len(first)
    return (table.take(first.sort()), repeats) if repeats else (table, 0)


def write_otlp(table: pa.Table) -> bytes:
    """SPANS as one OTLP/JSON payload, which `parse_otlp` reads back as the same spans, by resource."""
    groups: dict[tuple[str | None, str | None], list[bytes]] = {}
    for batch in table.to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist():
            groups.setdefault((row["service.name"], row["host.name"]), []).append(_encode(_to_otlp(row)))
    parts = []
    for (service, host), spans in groups.items():
        named = {"service.name": service, "host.name": host}
        resource = {"attributes": [_to_key_value(k, v) for k, v in named.items() if v is not None]}
        parts.append(
            b'{"resource":'
            + msgspec.json.encode(resource)
            + b',"scopeSpans":[{"spans":[\n'
            + b",\n".join(spans)
            + b"]}]}"
        )
    return b'{"resourceSpans":[' + b",\n".join(parts) + b"]}\n"


# What a row is: the columns of SPANS up to "attributes", then `_index` and `_id`; the time is in microseconds.
# A row of None stands for an object that is no span. The second value is the span's object or bytes.
_Row = tuple[Any, ...]
_Rows = Iterable[tuple[_Row | None, Any]]


def _collect(rows: _Rows, source: str, file: str | None) -> ParsedSpans:
    """Rows to Arrow in batches, repeats left out."""
    batches: list[pa.RecordBatch] = []
    pending: list[_Row] = []
    unparsed = total = 0
    for row, _ in rows:
        total += 1
        if row is None:
            unparsed += 1
            continue
        pending.append(row)
        if len(pending) >= _BATCH:
            batches.append(_batch(pending, source, file))
            pending = []
    if pending:
        batches.append(_batch(pending, source, file))
    if not batches:
        return ParsedSpans(empty(SPANS), total, unparsed, 0)
    table, duplicates = drop_repeats(pa.Table.from_batches(batches, schema=SPANS))
    return ParsedSpans(table, total, unparsed, duplicates)


def _batch(rows: list[_Row], source: str, file: str | None) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    length = len(rows)
    arrays = [_array(values, field.type) for values, field in zip(columns[:-2], SPANS, strict=False)]
    where = [
        pa.repeat(source, length),
        _array(columns[-2], pa.string()),
        _array(columns[-1], pa.string()),
        pa.nulls(length, pa.string()) if file is None else pa.repeat(file, length),
        pa.nulls(length, pa.int64()),
        pa.nulls(length, pa.int64()),
    ]
    return pa.RecordBatch.from_arrays([*arrays, *where], schema=SPANS)


def _array(values: tuple[Any, ...], kind: Any) -> pa.Array:
    """One column. A lone surrogate, which JSON can spell and UTF-8 cannot, becomes a question mark."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        clean = [v.encode(errors="replace").decode() if isinstance(v, str) else v for v in values]
        return pa.array(clean, kind)


# ---------------------------------------------------------------------------------------------------- attributes


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if (value := attributes.get(name)) not in (None, ""):
            return value
    return None


def _derive(attributes: Mapping[str, Any], exception: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """The columns from `http.request.method` to `attributes`, from a span's attributes and its last exception event."""
    if not attributes and not exception:
        return _NOTHING
    values: list[Any] = [None] * 7
    ranks = [99] * 7
    for name, value in attributes.items():
        column = _COLUMN_OF.get(name)
        if column is not None and column[1] < ranks[column[0]] and value is not None and value != "":
            values[column[0]] = value
            ranks[column[0]] = column[1]
    method, status, rpc, server, path, url, error = values
    if isinstance(url, str) and (path is None or server is None):
        parts = _split(url)
        path = path if path is not None else parts[1]
        server = server if server is not None else parts[0]
    if isinstance(path, str):
        path = path.partition("?")[0]
    exception = exception or attributes
    return (
        _string(method),
        _int32(status),
        _grpc_name(rpc),
        _host(server),
        _string(path),
        _string(error),
        _string(exception.get("exception.type")),
        _string(exception.get("exception.message")),
        _string(exception.get("exception.stacktrace")),
        _encode(attributes).decode() if attributes else None,
    )


_NOTHING = (None,) * 10
_encode = msgspec.json.Encoder(order="deterministic").encode


def _split(url: str) -> tuple[str | None, str | None]:
    """Host and path of a URL, null where it has none."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None, None
    return host or None, parts.path or None


def _host(value: Any) -> str | None:
    """A host name without its port; IPv6 addresses stay as they are."""
    if value is None:
        return None
    text = _string(value)
    if text and text.count(":") == 1:
        text = text.partition(":")[0]
    return text or None


def _string(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, (dict, list, bool)):
        text: str = _encode(value).decode()
        return text
    return str(value)


def _int(value: Any) -> int | None:
    """A whole number from a number or its text, else null."""
    if type(value) is int:
        return value
    try:
        return int(value) if isinstance(value, (str, float)) else None
    except (ValueError, OverflowError):
        return None


def _int32(value: Any) -> int | None:
    if value is None:
        return None
    number = _int(value)
    return number if number is not None and -(2**31) <= number < 2**31 else None


def _grpc_name(value: Any) -> str | None:
    """Numbers of gRPC as their names, which newer conventions and the code tables use; other values as they are."""
    if value is None:
        return None
    number = _int(value)
    return _GRPC[number] if number is not None and 0 <= number < len(_GRPC) else _string(value)


def _hex_id(value: Any, size: int) -> str | None:
    """An id as lower-case hex. `size` is the full number of bytes: base64 of that length is decoded, short hex padded."""
    if not isinstance(value, str) or not value:
        return None
    text: str = value
    if len(text) == 2 * size and text[0] != "0" and text.islower():
        return text  # by far the most
    if len(text) == 4 * ((size + 2) // 3) and text[-1] == "=":
        try:
            text = base64.b64decode(text, validate=True).hex()
        except (binascii.Error, ValueError):
            return text
    if not _HEX.fullmatch(text):
        return text
    if len(text) < 2 * size and len(text) != 16:
        # Jaeger once wrote ids without their leading zeros.
        text = text.zfill(16 if len(text) < 16 else 32)
    return None if text.strip("0") == "" else text.lower()


_HEX = re.compile("[0-9a-fA-F]+")


def _micros(nanos: Any) -> int | None:
    """Nanoseconds of the epoch, as number or text, in microseconds; null where there is no sensible time."""
    number = _int(nanos)
    if number is None or number <= 0:
        return None
    number //= 1000
    return number if number < _MAX_US else None


def _status(code: Any) -> str:
    """OTLP's status code, as number or name, in this table's words."""
    if code is None or code == 0:
        return "unset"
    if isinstance(code, str):
        code = code.upper().removeprefix("STATUS_CODE_")
    return "error" if code in (2, "2", "ERROR") else "ok" if code in (1, "1", "OK") else "unset"


def _kind(value: Any) -> str | None:
    if type(value) is int:
        return _KINDS[value - 1] if 0 < value <= len(_KINDS) else None
    if not isinstance(value, str):
        return None
    if value.isdigit() and value.isascii():
        return _kind(int(value[:3]))
    word = value.lower().removeprefix("span_kind_")
    return word if word in _KINDS else None


# ---------------------------------------------------------------------------------------------------- OTLP


# msgspec reads `Raw | None` as null only, so absent parts are empty bytes.
_ABSENT = msgspec.Raw(b"")


class _KeyValue(msgspec.Struct):
    key: str
    value: dict[str, Any] | None = None


class _Status(msgspec.Struct):
    code: int | str | None = None
    message: str | None = None


class _Event(msgspec.Struct):
    name: str | None = None
    attributes: list[_KeyValue] | None = None


class _OtlpSpan(msgspec.Struct, rename="camel"):
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    name: str | None = None
    kind: int | str | None = None
    start_time_unix_nano: int | str | float | None = None
    end_time_unix_nano: int | str | float | None = None
    attributes: list[_KeyValue] | None = None
    status: _Status | None = None
    events: list[_Event] | None = None


class _Resource(msgspec.Struct):
    attributes: list[_KeyValue] | None = None


class _Payload(msgspec.Struct):
    """The list of resources under each of the names it has had; `batches` is Tempo's."""

    camel: list[msgspec.Raw] | None = msgspec.field(name="resourceSpans", default=None)
    snake: list[msgspec.Raw] | None = msgspec.field(name="resource_spans", default=None)
    batches: list[msgspec.Raw] | None = None


class _ResourceSpans(msgspec.Struct):
    resource: msgspec.Raw = _ABSENT
    camel: list[msgspec.Raw] | None = msgspec.field(name="scopeSpans", default=None)
    snake: list[msgspec.Raw] | None = msgspec.field(name="scope_spans", default=None)
    library: list[msgspec.Raw] | None = msgspec.field(name="instrumentationLibrarySpans", default=None)
    library_snake: list[msgspec.Raw] | None = msgspec.field(name="instrumentation_library_spans", default=None)


class _ScopeSpans(msgspec.Struct):
    spans: list[msgspec.Raw] | None = None


_OTLP_SPAN = msgspec.json.Decoder(_OtlpSpan)
_RESOURCE = msgspec.json.Decoder(_Resource)
_PAYLOAD = msgspec.json.Decoder(_Payload)
_RESOURCE_SPANS = msgspec.json.Decoder(_ResourceSpans)
_SCOPE_SPANS = msgspec.json.Decoder(_ScopeSpans)
_READ_FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _otlp_rows(data: bytes, wanted: set[str] | None = None) -> _Rows:
    """Rows of all payloads. With `wanted`, only the spans whose bytes hold one of these span ids in hex."""
    for payload in _payloads(data, _PAYLOAD.decode, "{[{[{[{"):
        if payload is None:
            yield None, None
            continue
        for resource_bytes in payload.camel or payload.snake or payload.batches or ():
            group = _read(_RESOURCE_SPANS, resource_bytes)
            if group is None:
                yield None, resource_bytes
                continue
            service, host = _otlp_resource(group.resource)
            for scope_bytes in group.camel or group.snake or group.library or group.library_snake or ():
                scope = _read(_SCOPE_SPANS, scope_bytes)
                if scope is None:
                    yield None, scope_bytes
                    continue
                for raw in scope.spans or ():
                    if wanted is None or _may_be(raw, wanted):
                        span = _otlp_span(raw)
                        yield None if span is None else _otlp_row(span, service, host), raw


_HEX_SPAN_ID = re.compile(rb'"span_?[iI]d"\s*:\s*"([0-9a-fA-F]{16})"')


def _may_be(raw: msgspec.Raw, wanted: set[str]) -> bool:
    """Whether a span may be wanted, without decoding it: its id is not plain hex, or it is one of these."""
    ids = _HEX_SPAN_ID.findall(bytes(raw))
    return not ids or any(value.decode().lower() in wanted for value in ids)


def _read(decoder: Any, raw: msgspec.Raw | bytes) -> Any:
    """`raw` by `decoder`, or None. Bytes that are no UTF-8 are replaced."""
    try:
        return decoder.decode(raw)
    except _READ_FAILURES:
        try:
            return decoder.decode(bytes(raw).decode(errors="replace"))
        except _READ_FAILURES:
            return None


def _otlp_span(raw: msgspec.Raw) -> _OtlpSpan | None:
    try:
        return _OTLP_SPAN.decode(raw)
    except _READ_FAILURES:
        try:
            loose = _camel(_read(_ANY, raw))
        except RecursionError:
            # Values within values, deeper than anybody writes by hand.
            return None
    if not isinstance(loose, dict):
        return None
    # Field by field, so that one odd field does not cost the span.
    fields: dict[str, Any] = {}
    for name, (key, kind) in _OTLP_FIELDS.items():
        try:
            fields[name] = msgspec.convert(loose.get(key), kind)
        except msgspec.ValidationError:
            fields[name] = None
    return _OtlpSpan(**fields) if fields["trace_id"] and fields["span_id"] else None


_ANY = msgspec.json.Decoder()
_OTLP_FIELDS = {field.name: (field.encode_name, field.type) for field in msgspec.structs.fields(_OtlpSpan)}


def _camel(value: Any) -> Any:
    """Keys of OTLP objects in camelCase. Only structure is named by keys there, so that no attribute is renamed."""
    if isinstance(value, dict):
        return {_SNAKE.sub(lambda m: m[1].upper(), key): _camel(item) for key, item in value.items()}
    return [_camel(item) for item in value] if isinstance(value, list) else value


_SNAKE = re.compile("_([a-z])")


def _otlp_resource(raw: msgspec.Raw) -> tuple[str | None, str | None]:
    resource = _read(_RESOURCE, raw)
    attributes = _key_values(resource.attributes) if resource else {}
    return _string(attributes.get("service.name")), _string(_first(attributes, ("host.name", "k8s.pod.name")))


def _key_values(pairs: list[_KeyValue] | None) -> dict[str, Any]:
    if not pairs:
        return {}
    values = {}
    for pair in pairs:
        value = pair.value
        text = None if value is None else value.get("stringValue")
        values[pair.key] = _any_value(value) if text is None else text
    return values


def _any_value(value: Any) -> Any:
    """OTLP's AnyValue as a plain value. Integers come as strings, since JSON's numbers are doubles."""
    if isinstance(value, dict):
        for kind, item in value.items():
            if kind in ("stringValue", "string_value"):
                return item
            if kind in ("intValue", "int_value"):
                number = _int(item)
                return item if number is None else number
            if kind in ("arrayValue", "array_value"):
                return [_any_value(part) for part in _list(item, "values")]
            if kind in ("kvlistValue", "kvlist_value"):
                pairs = [part for part in _list(item, "values") if isinstance(part, dict)]
                return {str(part.get("key")): _any_value(part.get("value")) for part in pairs}
            return item
    return None


def _list(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _otlp_row(span: _OtlpSpan, service: str | None, host: str | None) -> _Row | None:
    trace, own = _hex_id(span.trace_id, 16), _hex_id(span.span_id, 8)
    if trace is None or own is None:
        return None
    start, end = _int(span.start_time_unix_nano), _int(span.end_time_unix_nano)
    begin = _micros(start)
    status = span.status
    exception = None
    for event in span.events or ():
        if event.name == "exception":
            exception = _key_values(event.attributes)
    return (
        trace,
        own,
        _hex_id(span.parent_span_id, 8),
        span.name,
        _kind(span.kind),
        service,
        host,
        begin,
        (end - start) // 1000 if begin is not None and start and end and 0 <= end - start < _MAX_US * 1000 else None,
        _status(status.code) if status else "unset",
        (status.message or None) if status else None,
        *_derive(_key_values(span.attributes), exception),
        trace,
        own,
    )


def _to_otlp(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of SPANS as an OTLP span object."""
    span: dict[str, Any] = {"traceId": row["trace.id"], "spanId": row["span.id"], "status": {}}
    if row["parent.id"] is not None:
        span["parentSpanId"] = row["parent.id"]
    if row["name"] is not None:
        span["name"] = row["name"]
    if row["kind"] is not None:
        span["kind"] = _KINDS.index(row["kind"]) + 1
    if row["@timestamp"] is not None:
        since = row["@timestamp"] - datetime(1970, 1, 1, tzinfo=UTC)
        start = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
        span["startTimeUnixNano"] = str(start)
        if row["duration_us"] is not None:
            span["endTimeUnixNano"] = str(start + row["duration_us"] * 1000)
    if row["status"] in ("ok", "error"):
        span["status"]["code"] = 1 if row["status"] == "ok" else 2
    if row["status_message"] is not None:
        span["status"]["message"] = row["status_message"]
    attributes = msgspec.json.decode(row["attributes"] or "{}")
    span["attributes"] = [_to_key_value(key, value) for key, value in attributes.items()]
    exception = {f"exception.{n}": row[f"exception.{n}"] for n in ("type", "message", "stacktrace")}
    if any(exception.values()):
        pairs = [_to_key_value(key, value) for key, value in exception.items() if value is not None]
        span["events"] = [{"name": "exception", "attributes": pairs}]
    return span


def _to_key_value(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": _to_any_value(value)}


def _to_any_value(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list():
            return {"arrayValue": {"values": [_to_any_value(item) for item in value]}}
        case _:
            return {"kvlistValue": {"values": [_to_key_value(key, item) for key, item in value.items()]}}


# ---------------------------------------------------------------------------------------------------- Jaeger


class _Tag(msgspec.Struct):
    key: str
    value: Any = None
    type: str | None = None


class _Log(msgspec.Struct):
    fields: list[_Tag] | None = None


class _Reference(msgspec.Struct):
    span_id: str = msgspec.field(name="spanID", default="")
    kind: str | None = msgspec.field(name="refType", default=None)


class _Process(msgspec.Struct):
    service: str | None = msgspec.field(name="serviceName", default=None)
    tags: list[_Tag] | None = None


class _JaegerSpan(msgspec.Struct):
    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")
    name: str | None = msgspec.field(name="operationName", default=None)
    references: list[_Reference] | None = None
    parent: str | None = msgspec.field(name="parentSpanID", default=None)
    start: int | float | str | None = msgspec.field(name="startTime", default=None)
    duration: int | float | str | None = None
    tags: list[_Tag] | None = None
    # Jaeger's Elasticsearch store can keep tags as one object, dots in their names replaced by "@".
    tag: dict[str, Any] | None = None
    logs: list[_Log] | None = None
    process_id: str | None = msgspec.field(name="processID", default=None)
    process: _Process | None = None


class _JaegerTrace(msgspec.Struct):
    spans: list[msgspec.Raw] | None = None
    processes: msgspec.Raw = _ABSENT


class _JaegerAnswer(msgspec.Struct):
    data: msgspec.Raw = _ABSENT
    spans: list[msgspec.Raw] | None = None


_JAEGER_SPAN = msgspec.json.Decoder(_JaegerSpan)
_JAEGER_TRACE = msgspec.json.Decoder(_JaegerTrace)
_PROCESSES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PROCESS = msgspec.json.Decoder(_Process)
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def _jaeger_traces(payload: bytes) -> list[Any]:
    """The raw traces of an answer, of a list of traces, or of one trace."""
    if payload[:1] == b"[":
        return _RAW_LIST.decode(payload)
    answer = msgspec.json.decode(payload, type=_JaegerAnswer)
    if answer.spans is not None:
        return [payload]
    data = bytes(answer.data).strip() or b"null"
    return _RAW_LIST.decode(data) if data[:1] == b"[" else [] if data == b"null" else [data]


def _jaeger_rows(data: bytes, wanted: set[str] | None = None) -> _Rows:
    """Rows of all traces. With `wanted`, only the spans whose bytes hold one of these span ids, or one that is not whole."""
    for traces in _payloads(data, _jaeger_traces, "{[{[{"):
        if traces is None:
            yield None, None
            continue
        for trace_bytes in traces:
            trace = _read(_JAEGER_TRACE, trace_bytes)
            if trace is None:
                yield None, trace_bytes
                continue
            raw_processes = _read(_PROCESSES, trace.processes)
            places = {name: _place(_read(_PROCESS, raw)) for name, raw in (raw_processes or {}).items()}
            for raw in trace.spans or ():
                if wanted is not None and not _may_be_jaeger(raw, wanted):
                    continue
                span = _read(_JAEGER_SPAN, raw)
                yield None if span is None else _jaeger_row(span, places.get(span.process_id, (None, None))), raw


_JAEGER_SPAN_ID = re.compile(rb'"spanID"\s*:\s*"([^"]*)"')


def _may_be_jaeger(raw: msgspec.Raw, wanted: set[str]) -> bool:
    """Whether a span may be wanted, without decoding it: it or one that it refers to is, or has an id without its zeros."""
    ids = [value.decode(errors="replace").lower() for value in _JAEGER_SPAN_ID.findall(bytes(raw))]
    return not ids or any(len(value) != 16 or value in wanted for value in ids)


def _place(process: _Process | None) -> tuple[str | None, str | None]:
    """Service and host of a Jaeger process."""
    if process is None:
        return None, None
    host = _first(_tags(process.tags), ("host.name", "hostname", "k8s.pod.name"))
    return process.service or None, _string(host)


def _tags(tags: list[_Tag] | None) -> dict[str, Any]:
    return {tag.key: _tag_value(tag) for tag in tags} if tags else {}


def _tag_value(tag: _Tag) -> Any:
    """A tag's value by its type: Jaeger's Elasticsearch store keeps every value as text."""
    value = tag.value
    if isinstance(value, str) and tag.type not in (None, "string", "binary"):
        if tag.type == "bool":
            return value.lower() == "true"
        if tag.type == "int64":
            number = _int(value)
            return value if number is None else number
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _jaeger_row(span: _JaegerSpan, place: tuple[str | None, str | None], index: Key | None = None) -> _Row | None:
    trace, own = _hex_id(span.trace_id, 16), _hex_id(span.span_id, 8)
    if trace is None or own is None:
        return None
    attributes = {name.replace("@", "."): value for name, value in (span.tag or {}).items()} | _tags(span.tags)
    parent = span.parent
    # A span may follow from several; its caller is the one that it is a child of.
    for reference in sorted(span.references or (), key=lambda r: r.kind == "CHILD_OF"):
        parent = reference.span_id or parent
    exception = None
    for log in span.logs or ():
        fields = _tags(log.fields)
        if fields.get("event") in ("exception", "error") or "exception.type" in fields or "error.kind" in fields:
            exception = _jaeger_exception(fields)
    failed = attributes.get("error")
    status = _status(attributes.get("otel.status_code"))
    start, duration = _int(span.start), _int(span.duration)
    return (
        trace,
        own,
        _hex_id(parent, 8),
        span.name,
        _kind(attributes.get("span.kind")),
        *place,
        start if start is not None and 0 < start < _MAX_US else None,
        duration if duration is not None and 0 <= duration < _MAX_US else None,
        "error" if failed in (True, "true", "True", 1) else status,
        _string(attributes.get("otel.status_description")),
        *_derive(attributes, exception),
        *(index or (trace, own)),
    )


def _jaeger_exception(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A log record of OpenTelemetry (`exception.*`) or OpenTracing (`error.kind`, `message`, `stack`)."""
    old = {"type": "error.kind", "message": "message", "stacktrace": "stack"}
    return {f"exception.{new}": fields.get(f"exception.{new}", fields.get(name)) for new, name in old.items()}


# ---------------------------------------------------------------------------------------------------- documents

# Groups of an APM document that have columns, or say nothing about the span.
_NO_ATTRIBUTE = frozenset(
    (
        "@timestamp", "timestamp", "trace", "parent", "processor", "service", "host", "kubernetes", "agent", "cloud",
        "container", "ecs", "observer", "data_stream", "process", "user_agent", "_id", "_index", "_score", "sort",
    )
)  # fmt: skip
# What is left of the other groups, once they are attributes.
_NO_ATTRIBUTES = (
    "span.id", "span.name", "span.duration.us", "span.kind", "span.representative_count",
    "transaction.id", "transaction.name", "transaction.duration.us", "transaction.sampled",
    "transaction.representative_count", "transaction.span_count.started", "transaction.span_count.dropped",
    "event.ingested", "event.success_count", "event.dataset",
)  # fmt: skip
# The same facts under the names that OpenTelemetry gives them, where APM has others of its own.
_APM_NAMES = {
    "span.http.url.original": "url.full",
    "span.http.method": "http.request.method",
    "span.http.response.status_code": "http.response.status_code",
}
_APM_KINDS = {
    "external": "client", "db": "client", "cache": "client", "storage": "client", "messaging": "producer",
    "app": "internal", "template": "internal", "custom": "internal", "request": "server",
}  # fmt: skip


def _lines(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if line := data[start:end].strip():
            yield line
        start = end + 1


def _document_rows(lines: Iterable[bytes], envelope: Envelope) -> _Rows:
    for line in lines:
        document = _read(_ANY, line)
        row = None
        if isinstance(document, dict):
            inner = document.get("_source") if envelope == "hit" else document
            where = document.get("_index"), document.get("_id")
            if isinstance(inner, dict):
                row = _document_row(inner, cast("Key", where) if isinstance(where[1], str) else None)
        yield row, line


def _document_row(document: dict[str, Any], where: Key | None) -> _Row | None:
    if "traceID" in document:
        try:
            span = msgspec.convert(document, _JaegerSpan)
        except msgspec.ValidationError:
            return None
        return _jaeger_row(span, _place(span.process), where)
    if any("." in key for key in document):
        document = _nested(document)
    if isinstance(document.get("trace"), dict):
        return _apm_row(document, where)
    return _otel_row(document, where)


def _nested(document: dict[str, Any]) -> dict[str, Any]:
    """A document whose names are dotted, as objects within objects."""
    nested: dict[str, Any] = {}
    for name, value in document.items():
        *groups, last = name.split(".")
        place = nested
        for group in groups:
            inside = place.setdefault(group, {})
            if not isinstance(inside, dict):
                break
            place = inside
        else:
            if isinstance(value, dict) and isinstance(place.get(last), dict):
                place[last].update(value)
            else:
                place[last] = value
            continue
        nested[name] = value  # both "a" and "a.b" are there: the longer name stays whole
    return nested


def _flatten(value: dict[str, Any], prefix: str, flat: dict[str, Any]) -> None:
    for key, item in value.items():
        if type(item) is dict:
            _flatten(item, f"{prefix}{key}.", flat)
        else:
            flat[prefix + key] = item


def _group(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """An object within a document, empty where there is none."""
    for name in names:
        inside = document.get(name)
        if type(inside) is not dict:
            return {}
        document = inside
    return document


def _apm_row(document: dict[str, Any], where: Key | None) -> _Row | None:
    """An Elastic APM transaction or span (https://www.elastic.co/docs/solutions/observability/apm/data-types)."""
    span, transaction = _group(document, "span"), _group(document, "transaction")
    event = _group(document, "processor").get("event") or ("span" if "name" in span else "transaction")
    if event not in ("span", "transaction"):
        return None
    group = span if event == "span" else transaction
    trace = _hex_id(_group(document, "trace").get("id"), 16)
    own = _hex_id(group.get("id") or span.get("id"), 8)
    if trace is None or own is None:
        return None
    attributes: dict[str, Any] = {}
    for name, value in document.items():
        if name in _NO_ATTRIBUTE:
            continue
        if type(value) is not dict:
            attributes[name] = value
        else:
            # The agent puts the span's own attributes among the labels.
            _flatten(value, "" if name in ("labels", "numeric_labels") else f"{name}.", attributes)
    for name in _NO_ATTRIBUTES:
        attributes.pop(name, None)
    for name, new in _APM_NAMES.items():
        if name in attributes:
            attributes.setdefault(new, attributes[name])
    get = attributes.get
    if event == "span" and "server.address" not in attributes:
        # The address that the agent called; its resource name is the next best ("openapi.alipay.com:443").
        called = get("destination.address") or get("url.domain") or get("span.destination.service.resource")
        if called:
            attributes["server.address"] = called
    host = _group(document, "host")
    start = _int(_group(document, "timestamp").get("us"))
    return (
        trace,
        own,
        _hex_id(_group(document, "parent").get("id"), 8),
        _string(group.get("name")),
        _kind(span.get("kind")) or _APM_KINDS.get(str(group.get("type"))),
        _string(_group(document, "service").get("name")),
        _string(host.get("name") or host.get("hostname") or _group(document, "kubernetes", "pod").get("name")),
        start if start is not None and 0 < start < _MAX_US else _moment(document.get("@timestamp")),
        _positive(_group(group, "duration").get("us")),
        {"failure": "error", "success": "ok"}.get(str(get("event.outcome")), "unset"),
        None,
        *_derive(attributes, None),
        *(where or (trace, own)),
    )


def _otel_row(document: dict[str, Any], where: Key | None) -> _Row | None:
    """An OpenTelemetry document: today's `traces-*.otel-*`, or the exporter's older layout with capital names."""
    get = document.get
    trace, own = _hex_id(get("trace_id") or get("TraceId"), 16), _hex_id(get("span_id") or get("SpanId"), 8)
    name = get("name") or get("Name")
    if trace is None or own is None or not (name or "duration" in document or "Duration" in document):
        return None
    attributes: dict[str, Any] = {}
    resource: dict[str, Any] = {}
    _flatten(_group(document, "attributes") or _group(document, "Attributes"), "", attributes)
    _flatten(_group(document, "resource", "attributes") or _group(document, "Resource"), "", resource)
    status = _group(document, "status")
    nanos = _int(get("duration"))
    micros = nanos // 1000 if nanos is not None else _int(get("Duration"))
    return (
        trace,
        own,
        _hex_id(get("parent_span_id") or get("ParentSpanId"), 8),
        _string(name),
        _kind(get("kind") or get("Kind")),
        _string(resource.get("service.name") or _group(document, "service").get("name")),
        _string(_first(resource, ("host.name", "k8s.pod.name")) or _group(document, "host").get("name")),
        _moment(get("@timestamp")),
        _positive(micros),
        _status(status.get("code") or get("TraceStatus")),
        _string(status.get("message") or get("TraceStatusDescription")),
        *_derive(attributes, None),
        *(where or (trace, own)),
    )


def _positive(value: Any) -> int | None:
    number = _int(value)
    return number if number is not None and 0 <= number < _MAX_US else None


def _moment(value: Any) -> int | None:
    """A document's `@timestamp` in microseconds of the epoch: ISO 8601 (UTC without an offset) or epoch milliseconds."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    elif isinstance(value, str):
        # "1763432000123.456789": milliseconds, their fraction down to the nanosecond. Not by float, which is too short.
        whole, _, fraction = value.partition(".")
        micros = int(whole) * 1000 + int((fraction + "000")[:3])
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        micros = int(value * 1000)
    else:
        return None
    return micros if 0 < micros < _MAX_US else None


_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]*)?")


# ---------------------------------------------------------------------------------------------------- shapes and damage


def _shape(data: bytes) -> tuple[str, bytes]:
    """The shape of a trace file and its bytes, a search answer or a list of documents brought to one a line."""
    data = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    head = data[:65_536]
    first: Any = None
    for candidate in (head.partition(b"\n")[0], data):
        try:
            first = msgspec.json.decode(candidate, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
            break
        except _READ_FAILURES:
            continue
    if isinstance(first, list):
        keys = set(_read(_PROCESSES, first[0]) or ()) if first else set()
        if not ({"spans"} <= keys or _OTLP_KEYS & keys):
            return "hits" if "_source" in keys else "documents", b"\n".join(_one_line(raw) for raw in first)
        if _OTLP_KEYS & keys:
            return "otlp", b"\n".join(_one_line(raw) for raw in first)
        return "jaeger", data
    if first is not None:
        keys = set(first)
        if "hits" in keys:
            answer = _read(_PROCESSES, first["hits"]) or {}
            inner = _read(_RAW_LIST, answer["hits"]) if "hits" in answer else None
            return "hits", b"\n".join(_one_line(raw) for raw in inner or ())
        if _OTLP_KEYS & keys:
            return "otlp", data
        if "trace" in keys and _OTLP_KEYS & set(_read(_PROCESSES, first["trace"]) or ()):
            # Tempo's answer to a question for one trace, in version 2 of its interface.
            return "otlp", bytes(first["trace"])
        if "spans" in keys or ("data" in keys and "trace_id" not in keys and "trace" not in keys):
            return "jaeger", data
        return "hits" if "_source" in keys else "documents", data
    # Cut short, or several payloads on end: by the first telling key.
    told = _TELLING.search(head)
    word = told[1] if told else b""
    if word in (b"traceID", b"data"):
        return "jaeger", data
    return ("otlp" if word else "hits" if b'"_source"' in head.partition(b"\n")[0] else "documents"), data


_OTLP_KEYS = frozenset(("resourceSpans", "resource_spans", "batches"))
_TELLING = re.compile(rb'"(resourceSpans|resource_spans|batches|traceID|data)"\s*:\s*[\["]')


def _one_line(raw: msgspec.Raw) -> bytes:
    """A JSON value without line breaks, which JSON has only between tokens."""
    return bytes(raw).replace(b"\n", b" ").replace(b"\r", b" ")


def _stored(raw: Any, shape: str) -> Any:
    """A span's object as it is kept, without what is only the answer's."""
    value = _read(_ANY, raw)
    if shape == "hits":
        return value["_source"]
    left_out = ("processID", "warnings") if shape == "jaeger" else ("_id", "_index")
    return {key: item for key, item in value.items() if key not in left_out}


def _payloads(data: bytes, read: Callable[[bytes], Any], path: str) -> Iterator[Any]:
    """Each payload of a file by `read`; None stands for one that cannot be read, or for the lost end of one.

    `path` is the run of brackets in which a span stands, to which a payload that is cut short is mended.
    """
    data = data.removeprefix(b"\xef\xbb\xbf").strip()
    if not data:
        return
    try:
        whole = read(data)
    except _READ_FAILURES:
        pass
    else:
        yield whole
        return
    for piece in _pieces(data):
        try:
            yield read(piece)
        except _READ_FAILURES:
            mended = _mended(piece, path, read)
            if mended is not None:
                yield mended
            yield None


def _pieces(data: bytes) -> Iterator[bytes]:
    """The top-level values of concatenated JSON: by line where each line is one, else by counting brackets."""
    lines = list(_lines(data))
    if len(lines) > 1 and all(line[:1] == b"{" for line in lines):
        yield from lines
        return
    start = 0
    for places, depths in _closings(data):
        for place in places[depths == 0].tolist():
            yield data[start : place + 1]
            start = place + 1
    if data[start:].strip():
        yield data[start:]


def _mended(data: bytes, path: str, read: Callable[[bytes], Any]) -> Any:
    """A payload that is cut short, read as far as its last whole span; None where it has none.

    Brackets are counted, not told apart, so the few last places where a span may end are tried.
    """
    inside = path[:-1]
    candidates: list[int] = []
    for places, depths in _closings(data):
        candidates = [*candidates, *places[depths == len(inside)][-_TRIED:].tolist()][-_TRIED:]
    closers = "".join("}" if bracket == "{" else "]" for bracket in reversed(inside)).encode()
    for place in reversed(candidates):
        with suppress(*_READ_FAILURES):
            return read(data[: place + 1] + closers)
    return None


_TRIED = 50
_SLAB = 16 << 20
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
# +1 for an opening bracket, -1 for a closing one, by byte.
_STEP = np.zeros(256, np.int8)
_STEP[list(b"{[")] = 1
_STEP[list(b"}]")] = -1


def _closings(data: bytes) -> Iterator[tuple[Any, Any]]:
    """The places of closing brackets outside strings and how many brackets stay open behind each, slab by slab."""
    quoted = depth = 0
    for start in range(0, len(data), _SLAB):
        slab = np.frombuffer(data, np.uint8, min(_SLAB, len(data) - start), start)
        quotes = np.flatnonzero(slab == _QUOTE)
        # The byte before the first one is the slab's last, which only adds a question that has its answer.
        doubtful = np.flatnonzero((slab[quotes - 1] == _BACKSLASH) | (quotes == 0))
        escaped = [place for place in doubtful.tolist() if _is_escaped(data, start + int(quotes[place]))]
        quotes = np.delete(quotes, escaped)
        steps = _STEP[slab]
        brackets = np.flatnonzero(steps)
        outside = (np.searchsorted(quotes, brackets) + quoted) % 2 == 0
        brackets = brackets[outside]
        depths = depth + np.cumsum(steps[brackets], dtype=np.int64)
        closing = steps[brackets] < 0
        yield brackets[closing] + start, depths[closing]
        quoted = (quoted + len(quotes)) % 2
        depth = int(depths[-1]) if len(depths) else depth


def _is_escaped(data: bytes, place: int) -> bool:
    """Whether an odd number of backslashes stands before `place`."""
    first = place
    while first and data[first - 1] == _BACKSLASH:
        first -= 1
    return (place - first) % 2 == 1
