"""Span documents as Elasticsearch keeps them, one a line: Elastic APM, OpenTelemetry (also its older mappings), Jaeger.

APM's fields are those of https://www.elastic.co/docs/solutions/observability/apm/data-types, OpenTelemetry's those of the
`traces-*.otel-*` data streams and of the collector's Elasticsearch exporter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, cast

import msgspec

from parsers.traces.attributes import derived, first_of
from parsers.traces.jaeger import JaegerSpan, jaeger_row, place_of
from parsers.traces.payloads import ANY, lines_of, read_by
from parsers.traces.rows import Key, ParsedSpans, Row, Rows, collect
from parsers.traces.values import MAX_US, as_int, as_text, hex_id, kind_of, status_of

Envelope = Literal["flat", "hit"]


def parse_span_documents(
    ndjson: bytes, *, source: str, envelope: Envelope = "flat", file: str | None = None
) -> ParsedSpans:
    """The spans of newline-delimited Elasticsearch documents: APM, OpenTelemetry (also its older mappings), Jaeger.

    `flat` is a document a line, with `_id` and `_index` at top level where there are any; `hit` is an Elasticsearch hit.
    APM's errors and metrics are no spans and count as `unparsed`.
    """
    return collect(document_rows(lines_of(ndjson), envelope), source, file)


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


def document_rows(lines: Iterable[bytes], envelope: Envelope) -> Rows:
    """Rows of documents, one a line, each beside its line."""
    for line in lines:
        document = read_by(ANY, line)
        row = None
        if isinstance(document, dict):
            inner = document.get("_source") if envelope == "hit" else document
            where = document.get("_index"), document.get("_id")
            if isinstance(inner, dict):
                row = _document_row(inner, cast("Key", where) if isinstance(where[1], str) else None)
        yield row, line


def _document_row(document: dict[str, Any], where: Key | None) -> Row | None:
    if "traceID" in document:
        try:
            span = msgspec.convert(document, JaegerSpan)
        except msgspec.ValidationError:
            return None
        return jaeger_row(span, place_of(span.process), where)
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


def _apm_row(document: dict[str, Any], where: Key | None) -> Row | None:
    """An Elastic APM transaction or span (https://www.elastic.co/docs/solutions/observability/apm/data-types)."""
    span, transaction = _group(document, "span"), _group(document, "transaction")
    event = _group(document, "processor").get("event") or ("span" if "name" in span else "transaction")
    if event not in ("span", "transaction"):
        return None
    group = span if event == "span" else transaction
    trace = hex_id(_group(document, "trace").get("id"), 16)
    own = hex_id(group.get("id") or span.get("id"), 8)
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
    start = as_int(_group(document, "timestamp").get("us"))
    return (
        trace,
        own,
        hex_id(_group(document, "parent").get("id"), 8),
        as_text(group.get("name")),
        kind_of(span.get("kind")) or _APM_KINDS.get(str(group.get("type"))),
        as_text(_group(document, "service").get("name")),
        as_text(host.get("name") or host.get("hostname") or _group(document, "kubernetes", "pod").get("name")),
        start if start is not None and 0 < start < MAX_US else _moment(document.get("@timestamp")),
        _positive(_group(group, "duration").get("us")),
        {"failure": "error", "success": "ok"}.get(str(get("event.outcome")), "unset"),
        None,
        *derived(attributes, None),
        *(where or (trace, own)),
    )


def _otel_row(document: dict[str, Any], where: Key | None) -> Row | None:
    """An OpenTelemetry document: today's `traces-*.otel-*`, or the exporter's older layout with capital names."""
    get = document.get
    trace, own = hex_id(get("trace_id") or get("TraceId"), 16), hex_id(get("span_id") or get("SpanId"), 8)
    name = get("name") or get("Name")
    if trace is None or own is None or not (name or "duration" in document or "Duration" in document):
        return None
    attributes: dict[str, Any] = {}
    resource: dict[str, Any] = {}
    _flatten(_group(document, "attributes") or _group(document, "Attributes"), "", attributes)
    _flatten(_group(document, "resource", "attributes") or _group(document, "Resource"), "", resource)
    status = _group(document, "status")
    nanos = as_int(get("duration"))
    micros = nanos // 1000 if nanos is not None else as_int(get("Duration"))
    return (
        trace,
        own,
        hex_id(get("parent_span_id") or get("ParentSpanId"), 8),
        as_text(name),
        kind_of(get("kind") or get("Kind")),
        as_text(resource.get("service.name") or _group(document, "service").get("name")),
        as_text(first_of(resource, ("host.name", "k8s.pod.name")) or _group(document, "host").get("name")),
        _moment(get("@timestamp")),
        _positive(micros),
        status_of(status.get("code") or get("TraceStatus")),
        as_text(status.get("message") or get("TraceStatusDescription")),
        *derived(attributes, None),
        *(where or (trace, own)),
    )


def _positive(value: Any) -> int | None:
    number = as_int(value)
    return number if number is not None and 0 <= number < MAX_US else None


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
    return micros if 0 < micros < MAX_US else None


_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]*)?")
