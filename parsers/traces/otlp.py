"""OTLP/JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), as collectors, SDKs and Tempo write it.

Its messages are those of https://github.com/open-telemetry/opentelemetry-proto, `trace/v1/trace.proto`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa

from parsers.traces.attributes import derived, first_of
from parsers.traces.payloads import ABSENT, ANY, READ_FAILURES, payloads_of, read_by
from parsers.traces.rows import BATCH, ParsedSpans, Row, Rows, collect
from parsers.traces.values import KINDS, MAX_US, as_int, as_text, encode, hex_id, kind_of, micros_of, status_of


def parse_otlp(data: bytes, *, source: str, file: str | None) -> ParsedSpans:
    """The spans of OTLP/JSON: one payload, or several behind one another as the collector's file exporter writes them.

    Takes camelCase and snake_case, hex and base64 ids, numbers as strings, enums as numbers or names. What can be read
    of a payload that is cut short is kept.
    """
    return collect(otlp_rows(data), source, file)


def write_otlp(table: pa.Table) -> bytes:
    """SPANS as one OTLP/JSON payload, which `parse_otlp` reads back as the same spans, by resource."""
    groups: dict[tuple[str | None, str | None], list[bytes]] = {}
    for batch in table.to_batches(max_chunksize=BATCH):
        for row in batch.to_pylist():
            groups.setdefault((row["service.name"], row["host.name"]), []).append(encode(_to_otlp(row)))
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
    resource: msgspec.Raw = ABSENT
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


def otlp_rows(data: bytes, wanted: set[str] | None = None) -> Rows:
    """Rows of all payloads. With `wanted`, only the spans whose bytes hold one of these span ids in hex."""
    for payload in payloads_of(data, _PAYLOAD.decode, "{[{[{[{"):
        if payload is None:
            yield None, None
            continue
        for resource_bytes in payload.camel or payload.snake or payload.batches or ():
            group = read_by(_RESOURCE_SPANS, resource_bytes)
            if group is None:
                yield None, resource_bytes
                continue
            service, host = _otlp_resource(group.resource)
            for scope_bytes in group.camel or group.snake or group.library or group.library_snake or ():
                scope = read_by(_SCOPE_SPANS, scope_bytes)
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


def _otlp_span(raw: msgspec.Raw) -> _OtlpSpan | None:
    try:
        return _OTLP_SPAN.decode(raw)
    except READ_FAILURES:
        try:
            loose = _camel(read_by(ANY, raw))
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


_OTLP_FIELDS = {field.name: (field.encode_name, field.type) for field in msgspec.structs.fields(_OtlpSpan)}


def _camel(value: Any) -> Any:
    """Keys of OTLP objects in camelCase. Only structure is named by keys there, so that no attribute is renamed."""
    if isinstance(value, dict):
        return {_SNAKE.sub(lambda m: m[1].upper(), key): _camel(item) for key, item in value.items()}
    return [_camel(item) for item in value] if isinstance(value, list) else value


_SNAKE = re.compile("_([a-z])")


def _otlp_resource(raw: msgspec.Raw) -> tuple[str | None, str | None]:
    resource = read_by(_RESOURCE, raw)
    attributes = _key_values(resource.attributes) if resource else {}
    return as_text(attributes.get("service.name")), as_text(first_of(attributes, ("host.name", "k8s.pod.name")))


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
                number = as_int(item)
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


def _otlp_row(span: _OtlpSpan, service: str | None, host: str | None) -> Row | None:
    trace, own = hex_id(span.trace_id, 16), hex_id(span.span_id, 8)
    if trace is None or own is None:
        return None
    start, end = as_int(span.start_time_unix_nano), as_int(span.end_time_unix_nano)
    begin = micros_of(start)
    status = span.status
    exception = None
    for event in span.events or ():
        if event.name == "exception":
            exception = _key_values(event.attributes)
    return (
        trace,
        own,
        hex_id(span.parent_span_id, 8),
        span.name,
        kind_of(span.kind),
        service,
        host,
        begin,
        (end - start) // 1000 if begin is not None and start and end and 0 <= end - start < MAX_US * 1000 else None,
        status_of(status.code) if status else "unset",
        (status.message or None) if status else None,
        *derived(_key_values(span.attributes), exception),
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
        span["kind"] = KINDS.index(row["kind"]) + 1
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
