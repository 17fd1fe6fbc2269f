"""A trace file of any of the formats, told apart by its first object's keys."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from parsers.traces.documents import document_rows
from parsers.traces.jaeger import jaeger_rows, parse_jaeger
from parsers.traces.otlp import otlp_rows, parse_otlp
from parsers.traces.payloads import ANY, RAW_LIST, RAW_OBJECT, READ_FAILURES, lines_of, read_by
from parsers.traces.rows import Key, ParsedSpans, collect


def parse_trace_file(data: bytes, file: str, source: str) -> ParsedSpans:
    """The spans of one trace file of any of the formats, told apart by its first object's keys."""
    shape, data = _shape(data)
    if shape == "otlp":
        return parse_otlp(data, source=source, file=file)
    if shape == "jaeger":
        return parse_jaeger(data, source=source, file=file)
    return collect(document_rows(lines_of(data), "hit" if shape == "hits" else "flat"), source, file)


def find_spans(data: bytes, wanted: Collection[Key]) -> dict[Key, list[tuple[int | None, Any]]]:
    """The span objects of a trace file whose `(_index, _id)` is wanted, each with its start in microseconds of the epoch.

    The object is as the file holds it, less what Jaeger numbers anew in each answer (`processID`, `warnings`), and for a
    document less `_id` and `_index`.
    """
    shape, data = _shape(data)
    if shape == "otlp":
        found = otlp_rows(data, wanted={span for _, span in wanted})
    elif shape == "jaeger":
        found = jaeger_rows(data, wanted={span for _, span in wanted})
    else:
        found = document_rows(lines_of(data), "hit" if shape == "hits" else "flat")
    objects: dict[Key, list[tuple[int | None, Any]]] = defaultdict(list)
    wanted = set(wanted)
    for row, raw in found:
        if row is not None and (row[-2], row[-1]) in wanted:
            objects[row[-2], row[-1]].append((row[7], _stored(raw, shape)))
    return dict(objects)


def span_at(objects: Sequence[tuple[int | None, Any]], at: str | None) -> Any:
    """Of spans with the same ids (see `find_spans`) the one that began at `at`, else the first."""
    if at is not None and len(objects) > 1:
        with suppress(ValueError):
            moment = datetime.fromisoformat(at)
            since = moment - datetime(1970, 1, 1, tzinfo=UTC)
            micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
            for start, value in objects:
                if start == micros:
                    return value
    return objects[0][1]


def _shape(data: bytes) -> tuple[str, bytes]:
    """The shape of a trace file and its bytes, a search answer or a list of documents brought to one a line."""
    data = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    head = data[:65_536]
    first: Any = None
    for candidate in (head.partition(b"\n")[0], data):
        try:
            first = msgspec.json.decode(candidate, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
            break
        except READ_FAILURES:
            continue
    if isinstance(first, list):
        keys = set(read_by(RAW_OBJECT, first[0]) or ()) if first else set()
        if not ({"spans"} <= keys or _OTLP_KEYS & keys):
            return "hits" if "_source" in keys else "documents", b"\n".join(_one_line(raw) for raw in first)
        if _OTLP_KEYS & keys:
            return "otlp", b"\n".join(_one_line(raw) for raw in first)
        return "jaeger", data
    if first is not None:
        keys = set(first)
        if "hits" in keys:
            answer = read_by(RAW_OBJECT, first["hits"]) or {}
            inner = read_by(RAW_LIST, answer["hits"]) if "hits" in answer else None
            return "hits", b"\n".join(_one_line(raw) for raw in inner or ())
        if _OTLP_KEYS & keys:
            return "otlp", data
        if "trace" in keys and _OTLP_KEYS & set(read_by(RAW_OBJECT, first["trace"]) or ()):
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
    value = read_by(ANY, raw)
    if shape == "hits":
        return value["_source"]
    left_out = ("processID", "warnings") if shape == "jaeger" else ("_id", "_index")
    return {key: item for key, item in value.items() if key not in left_out}
