"""Jaeger's JSON, as its HTTP API and its user interface give it (https://www.jaegertracing.io/docs/latest/apis/).

Its shape is that of https://github.com/jaegertracing/jaeger-ui, `packages/jaeger-ui/src/types/trace.tsx`; Jaeger's
Elasticsearch store keeps the same spans, one a document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from parsers.traces.attributes import derived, first_of
from parsers.traces.payloads import ABSENT, RAW_LIST, RAW_OBJECT, payloads_of, read_by
from parsers.traces.rows import Key, ParsedSpans, Row, Rows, collect
from parsers.traces.values import MAX_US, as_int, as_text, hex_id, kind_of, status_of


def parse_jaeger(data: bytes, *, source: str, file: str | None) -> ParsedSpans:
    """The spans of Jaeger's JSON: `{"data": [trace]}` as its HTTP API and its user interface give it, or one trace."""
    return collect(jaeger_rows(data), source, file)


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


class JaegerSpan(msgspec.Struct):
    """A span as Jaeger's answers and its Elasticsearch store have it."""

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
    processes: msgspec.Raw = ABSENT


class _JaegerAnswer(msgspec.Struct):
    data: msgspec.Raw = ABSENT
    spans: list[msgspec.Raw] | None = None


_JAEGER_SPAN = msgspec.json.Decoder(JaegerSpan)
_JAEGER_TRACE = msgspec.json.Decoder(_JaegerTrace)
_PROCESS = msgspec.json.Decoder(_Process)


def _jaeger_traces(payload: bytes) -> list[Any]:
    """The raw traces of an answer, of a list of traces, or of one trace."""
    if payload[:1] == b"[":
        return RAW_LIST.decode(payload)
    answer = msgspec.json.decode(payload, type=_JaegerAnswer)
    if answer.spans is not None:
        return [payload]
    data = bytes(answer.data).strip() or b"null"
    return RAW_LIST.decode(data) if data[:1] == b"[" else [] if data == b"null" else [data]


def jaeger_rows(data: bytes, wanted: set[str] | None = None) -> Rows:
    """Rows of all traces. With `wanted`, only the spans whose bytes hold one of these span ids, or one that is not whole."""
    for traces in payloads_of(data, _jaeger_traces, "{[{[{"):
        if traces is None:
            yield None, None
            continue
        for trace_bytes in traces:
            trace = read_by(_JAEGER_TRACE, trace_bytes)
            if trace is None:
                yield None, trace_bytes
                continue
            raw_processes = read_by(RAW_OBJECT, trace.processes)
            places = {name: place_of(read_by(_PROCESS, raw)) for name, raw in (raw_processes or {}).items()}
            for raw in trace.spans or ():
                if wanted is not None and not _may_be_jaeger(raw, wanted):
                    continue
                span = read_by(_JAEGER_SPAN, raw)
                yield None if span is None else jaeger_row(span, places.get(span.process_id, (None, None))), raw


_JAEGER_SPAN_ID = re.compile(rb'"spanID"\s*:\s*"([^"]*)"')


def _may_be_jaeger(raw: msgspec.Raw, wanted: set[str]) -> bool:
    """Whether a span may be wanted, without decoding it: it or one that it refers to is, or has an id without its zeros."""
    ids = [value.decode(errors="replace").lower() for value in _JAEGER_SPAN_ID.findall(bytes(raw))]
    return not ids or any(len(value) != 16 or value in wanted for value in ids)


def place_of(process: _Process | None) -> tuple[str | None, str | None]:
    """Service and host of a Jaeger process."""
    if process is None:
        return None, None
    host = first_of(_tags(process.tags), ("host.name", "hostname", "k8s.pod.name"))
    return process.service or None, as_text(host)


def _tags(tags: list[_Tag] | None) -> dict[str, Any]:
    return {tag.key: _tag_value(tag) for tag in tags} if tags else {}


def _tag_value(tag: _Tag) -> Any:
    """A tag's value by its type: Jaeger's Elasticsearch store keeps every value as text."""
    value = tag.value
    if isinstance(value, str) and tag.type not in (None, "string", "binary"):
        if tag.type == "bool":
            return value.lower() == "true"
        if tag.type == "int64":
            number = as_int(value)
            return value if number is None else number
        try:
            return float(value)
        except ValueError:
            return value
    return value


def jaeger_row(span: JaegerSpan, place: tuple[str | None, str | None], index: Key | None = None) -> Row | None:
    """A span as a row; `index` is where a document of it is kept."""
    trace, own = hex_id(span.trace_id, 16), hex_id(span.span_id, 8)
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
    status = status_of(attributes.get("otel.status_code"))
    start, duration = as_int(span.start), as_int(span.duration)
    return (
        trace,
        own,
        hex_id(parent, 8),
        span.name,
        kind_of(attributes.get("span.kind")),
        *place,
        start if start is not None and 0 < start < MAX_US else None,
        duration if duration is not None and 0 <= duration < MAX_US else None,
        "error" if failed in (True, "true", "True", 1) else status,
        as_text(attributes.get("otel.status_description")),
        *derived(attributes, exception),
        *(index or (trace, own)),
    )


def _jaeger_exception(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A log record of OpenTelemetry (`exception.*`) or OpenTracing (`error.kind`, `message`, `stack`)."""
    old = {"type": "error.kind", "message": "message", "stacktrace": "stack"}
    return {f"exception.{new}": fields.get(f"exception.{new}", fields.get(name)) for new, name in old.items()}
