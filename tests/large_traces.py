"""Traces of very many spans in three shapes, as an OTLP file, a Jaeger answer and a Tempo answer hold them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

Shape = Literal["wide", "chain", "tangle"]
SHAPES: tuple[Shape, ...] = ("wide", "chain", "tangle")
SERVICES = 8
TRACE = "7f3a91c2d45e60b8a1c4d7e9f0123456"


def parent_of(shape: Shape, number: int, count: int) -> int | None:
    """The parent of a span: the first one, the one before, or in a tangle a circle, itself or one that is not there."""
    if shape == "wide":
        return 0 if number else None
    if shape == "chain":
        return number - 1 if number else None
    return ((number + 1) % count, count + number, number)[number % 3]


def spans(shape: Shape, count: int, start: datetime) -> Iterator[dict[str, Any]]:
    """One span after the other; the last one failed, and of a tangle each seventh."""
    begun = int(start.timestamp()) * 1_000_000
    for number in range(count):
        failed = number == count - 1 or (shape == "tangle" and number % 7 == 0)
        yield {
            "number": number,
            "parent": parent_of(shape, number, count),
            "service": f"svc-{number % SERVICES}",
            "name": f"GET /things/{number % 50}",
            "start": begun + number * 100,
            "duration": 5_000 if shape == "wide" else 200_000_000,
            "failed": failed,
        }


def _attributes(span: dict[str, Any]) -> dict[str, str]:
    return {"http.request.method": "GET", "result_code": f"E{span['number'] % 9}00X"}


_EXCEPTION = {"exception.type": "java.net.SocketTimeoutException", "exception.message": "Read timed out"}


def as_otlp(shape: Shape, count: int, start: datetime, *, of: str = "otlp") -> dict[str, Any]:
    """An OTLP payload; `of` "tempo" has ids in base64 and names for numbers, as Tempo's JSON."""
    tempo = of == "tempo"

    def id_of(hexadecimal: str) -> str:
        return base64.b64encode(bytes.fromhex(hexadecimal)).decode() if tempo else hexadecimal

    groups: dict[str, list[dict[str, Any]]] = {}
    for span in spans(shape, count, start):
        one: dict[str, Any] = {
            "traceId": id_of(TRACE),
            "spanId": id_of(f"{span['number'] + 1:016x}"),
            "name": span["name"],
            "kind": "SPAN_KIND_CLIENT" if tempo else 3,
            "startTimeUnixNano": str(span["start"] * 1000),
            "endTimeUnixNano": str((span["start"] + span["duration"]) * 1000),
            "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in _attributes(span).items()],
            "status": {},
        }
        if span["parent"] is not None:
            one["parentSpanId"] = id_of(f"{span['parent'] + 1:016x}")
        if span["failed"]:
            one["status"] = {"code": "STATUS_CODE_ERROR" if tempo else 2}
            pairs = [{"key": k, "value": {"stringValue": v}} for k, v in _EXCEPTION.items()]
            one["events"] = [{"name": "exception", "attributes": pairs}]
        groups.setdefault(span["service"], []).append(one)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                "scopeSpans": [{"spans": group}],
            }
            for service, group in groups.items()
        ]
    }


def as_jaeger(shape: Shape, count: int, start: datetime) -> dict[str, Any]:
    """Jaeger's answer to a question for the trace."""
    found = []
    for span in spans(shape, count, start):
        tags = [{"key": k, "type": "string", "value": v} for k, v in _attributes(span).items()]
        tags.append({"key": "span.kind", "type": "string", "value": "client"})
        logs = []
        if span["failed"]:
            tags.append({"key": "error", "type": "bool", "value": True})
            fields = [{"key": k, "type": "string", "value": v} for k, v in {"event": "exception", **_EXCEPTION}.items()]
            logs.append({"timestamp": span["start"], "fields": fields})
        references = []
        if span["parent"] is not None:
            references = [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": f"{span['parent'] + 1:016x}"}]
        found.append(
            {
                "traceID": TRACE,
                "spanID": f"{span['number'] + 1:016x}",
                "operationName": span["name"],
                "references": references,
                "startTime": span["start"],
                "duration": span["duration"],
                "tags": tags,
                "logs": logs,
                "processID": f"p{span['number'] % SERVICES}",
                "warnings": None,
            }
        )
    processes = {f"p{n}": {"serviceName": f"svc-{n}", "tags": []} for n in range(SERVICES)}
    return {"data": [{"traceID": TRACE, "spans": found, "processes": processes, "warnings": None}], "errors": None}


def as_bytes(kind: str, shape: Shape, count: int, start: datetime) -> bytes:
    """The trace as `otlp`, `jaeger` or `tempo` gives it."""
    if kind == "jaeger":
        return json.dumps(as_jaeger(shape, count, start)).encode()
    payload = as_otlp(shape, count, start, of=kind)
    return json.dumps({"trace": payload, "metrics": {}} if kind == "tempo" else payload).encode()
