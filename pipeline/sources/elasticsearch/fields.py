"""Which field each column is read from, index by index, and what to configure where none is found: `doctor --fields`.

The answer comes from documents, as the rows of a snapshot do: the newest ones of each index, so that an index that nobody
writes to any longer is seen like the others. What the mapping says is told beside it: a field that is in the documents and
not in the index is read and cannot be searched.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsers.mapping import COLUMNS, FieldMapping
from pipeline.sources.elasticsearch.calls import Calls
from pipeline.sources.elasticsearch.options import Options
from pipeline.sources.elasticsearch.targets import DATE, id_fields, slices, time_fields
from pipeline.values import What

# Documents of one index that are looked at, and indices of one pattern, the last ones by name where there are more.
_DOCUMENTS = 25
_INDICES = 40
# A column that fewer of the documents have is said to be missing in the others, for those that nearly every line has.
_FEW = 0.5
_CANDIDATES = 3
_LONGEST = 60

# Columns in the order in which they are shown, and their name in the mapping.
_LOG_COLUMNS = {
    "time": "timestamp",
    "service": "service_name",
    "level": "log_level",
    "message": "message",
    "trace id": "trace_id",
    "order id": "order_id",
    "customer id": "user_id",
    "host": "host_name",
    "error type": "error_type",
    "HTTP status": "http_status_code",
}
# Where parsers/traces finds the columns of a span: APM's documents, OpenTelemetry's, and Jaeger's.
_SPAN_COLUMNS = {
    "service": ("service.name", "resource.attributes.service.name", "process.serviceName", "Resource.service.name"),
    "name": ("transaction.name", "span.name", "name", "operationName", "Name"),
    "duration": ("transaction.duration.us", "span.duration.us", "duration", "Duration"),
    "outcome": ("event.outcome", "status.code", "TraceStatus"),
    "span id": ("span.id", "transaction.id", "span_id", "spanID", "SpanId"),
    "host": (
        "host.name", "host.hostname", "kubernetes.pod.name", "resource.attributes.host.name",
        "resource.attributes.k8s.pod.name",
    ),
    "HTTP status": ("http.response.status_code", "attributes.http.response.status_code", "attributes.http.status_code"),
}  # fmt: skip
_EVERYWHERE = {"time", "service", "level", "message", "trace id", "span id", "name", "duration"}
_IDS = {"trace id", "order id", "customer id", "span id"}

# What the last parts of a field's name look like where it may be the column, and which are something else all the same.
_LIKE: dict[str, tuple[str, str]] = {
    "time": (r"time|date|^ts$|_at$|logged|when", r"zone|duration|elapsed|timeout|cost"),
    "service": (r"service|svc|(^|[._-])app|application|component|module|program|container", r"version|\.id$|_id$|node|type|env"),
    "level": (r"level|lvl|severity|priority|(^|[._-])lv$", r"value$|facility|code$"),
    "message": (r"message|msg|body|content|text|(^|[._-])line|(^|[._-])log$|say|desc", r"type|class|_id$|\.id$|key"),
    "trace id": (r"trace|(^|[._-])tid$|correlation|request_?id|req_?id", r"stack|flags|state|parent|backtrace"),
    "order id": (r"order|trade_?no|biz_?no|pay(ment)?_?(id|no)|out_?no|bill_?(id|no)",
                 r"amount|price|fee|time|date|status|state|counts?$|type|curren|created|updated"),
    "customer id": (r"user|customer|buyer|member|(^|[._-])uid$|account|client_?id|cust", r"agent|name|type|level|ip$|phone|mail|status"),
    "host": (r"host|(^|[._-])pod|machine|server|instance|node", r"\.ip$|(^|[._-])(mac|os|port|version|type)s?($|[._-])"),
    "error type": (r"(exception|error|err|throwable)\S*(type|class|name|kind)", r"message|stack|code"),
    "HTTP status": (r"status|response_?code|http\S*code", r"message|text|grpc|order|pay|trade"),
}  # fmt: skip
# Which keys of a source's table stand for a column, where it is not an override.
_KEYS = {"order id": "order_fields", "trace id": "trace_fields", "customer id": "customer_fields"}


@dataclass(frozen=True)
class Use:
    """A field that a column is read from: its types, in how many indices it is mapped, the share of documents that have it.

    `example` is a value as the document holds it. A column that is found nowhere has no `field`, but may have `candidates`
    (path, types, share of the documents that lack the column, example), best first.
    """

    column: str
    field: str | None
    types: tuple[str, ...] = ()
    indices: int = 0
    share: float = 0.0
    example: str | None = None
    candidates: tuple[Use, ...] = ()


@dataclass(frozen=True)
class Fields:
    """The columns of one pattern: over `indices` indices with `documents` documents, of which `seen` were looked at."""

    what: What
    pattern: str
    indices: int
    documents: int
    seen: int
    uses: tuple[Use, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Sample:
    """Documents of one index, each by its dotted paths, with the number of documents that each of them stands for."""

    index: str
    documents: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    # What the index makes of each of `asked` fields, an alias or a computed one among them.
    made: list[dict[str, Any]] = field(default_factory=list)


def look(calls: Calls, options: Options, what: What, pattern: str) -> Fields:
    """What the columns of `pattern` are read from. Raises `SourceError`."""
    caps = calls.ask(
        lambda client: client.field_caps(
            index=pattern, fields="*", filters="-metadata", include_unmapped=True, ignore_unavailable=True
        )
    )
    here = [caps["indices"]] if isinstance(caps["indices"], str) else caps["indices"]
    types: dict[str, dict[str, frozenset[str]]] = {}
    for name, kinds in caps["fields"].items():
        known = {kind: frozenset(facts.get("indices") or here) for kind, facts in kinds.items() if kind != "unmapped"}
        types[name] = {kind: places for kind, places in known.items() if kind not in {"object", "nested"}}
    mapping = options.field_mapping()
    paths = _paths(mapping, options, what)
    dated = next((n for n in paths["time"] if types.get(n, {}).keys() & DATE), None)
    asked = sorted({name for names in paths.values() for name in names if types.get(name)})
    samples = _samples(calls, sorted(here)[-_INDICES:], types.get(dated or "", {}), dated, asked)
    total = sum(one.total for one in samples)
    seen = sum(len(one.documents) for one in samples)
    uses = [use for column, names in paths.items() for use in _uses(column, names, samples, types, what)]
    notes = []
    read_somewhere = {use.column for use in uses if use.field is not None}
    for use in uses:
        mapped = next((n for n in paths[use.column] if any(n in made for one in samples for made in one.made)), None)
        if use.column not in read_somewhere and mapped:
            notes.append(
                f"{use.column}: {mapped} is in the mapping and not in the documents, so that it cannot be read"
            )
    if len(here) > _INDICES:
        notes.append(f"the last {_INDICES} of {len(here)} indices were looked at")
    if seen and dated is None:
        tried = ", ".join(paths["time"][:3])
        notes.append(f"no date field bounds a window: looked for {tried}")
    if what == "spans" and seen:
        read = _readable(samples)
        if read < seen:
            notes.append(f"{seen - read} of {seen} documents are no spans of APM, OpenTelemetry or Jaeger")
    return Fields(what, pattern, len(here), total, seen, tuple(uses), tuple(notes))


def _paths(mapping: FieldMapping, options: Options, what: What) -> dict[str, Sequence[str]]:
    """For each column the fields that it is read from, best first."""
    if what == "logs":
        paths: dict[str, Sequence[str]] = {column: getattr(mapping, name) for column, name in _LOG_COLUMNS.items()}
    else:
        found = id_fields(mapping)
        ids = {"trace id": found["trace"], "order id": found["order"], "customer id": found["customer"]}
        paths = {"time": (), **_SPAN_COLUMNS, **ids}
    return {**paths, "time": time_fields(mapping, options.time_field)}


def _samples(
    calls: Calls, indices: Sequence[str], dates: Mapping[str, frozenset[str]], dated: str | None, asked: Sequence[str]
) -> list[_Sample]:
    """The newest documents of each index."""
    placed = {index for kind, places in dates.items() if kind in DATE for index in places}
    samples = []
    for some in slices(list(indices), 20):
        searches: list[dict[str, Any]] = []
        for index in some:
            body: dict[str, Any] = {"size": _DOCUMENTS, "track_total_hits": True, "fields": list(asked)}
            if index in placed:
                body["sort"] = [{str(dated): "desc"}]
            searches += [{"index": index, "ignore_unavailable": True}, body]
        answers = calls.ask(lambda client, searches=searches: client.msearch(searches=searches))["responses"]  # type: ignore[misc]
        for index, answer in zip(some, answers, strict=True):
            hits = answer.get("hits", {})
            sample = _Sample(index, total=int((hits.get("total") or {}).get("value", 0)))
            for hit in hits.get("hits", ()):
                flat: dict[str, Any] = {}
                _flatten(hit.get("_source") or {}, "", flat)
                sample.documents.append(flat)
                sample.made.append({name: values[0] for name, values in hit.get("fields", {}).items() if values})
            samples.append(sample)
    return samples


def _flatten(value: Mapping[str, Any], prefix: str, flat: dict[str, Any]) -> None:
    for key, below in value.items():
        if isinstance(below, dict):
            _flatten(below, f"{prefix}{key}.", flat)
        elif isinstance(below, list):
            # A list of words is one of its items to whoever looks for a field; objects in a list are passed over.
            if below and isinstance(below[0], str | int | float):
                flat[prefix + key] = below[0]
        elif below is not None and below != "":
            flat[prefix + key] = below


def _uses(
    column: str,
    names: Sequence[str],
    samples: Sequence[_Sample],
    types: Mapping[str, Mapping[str, frozenset[str]]],
    what: What,
) -> list[Use]:
    """The fields that a column is really read from, and what may be it where it is not found."""
    total = sum(one.total for one in samples)
    weights: defaultdict[str, float] = defaultdict(float)
    examples: dict[str, Any] = {}
    without: list[tuple[float, dict[str, Any], dict[str, Any]]] = []
    for sample in samples:
        weight = sample.total / max(1, len(sample.documents)) / max(1, total)
        for document, made in zip(sample.documents, sample.made, strict=True):
            name = next((name for name in names if name in document), None)
            if name is None:
                without.append((weight, document, made))
            else:
                weights[name] += weight
                examples.setdefault(name, document[name])
    found = [
        Use(column, name, _types(name, types), _places(name, types), weights[name], str(examples[name]))
        for name in names
        if name in weights
    ]
    missing = 1.0 - sum(weights.values())
    if not samples or not total:
        return [Use(column, None, share=1.0)]
    if found and (column not in _EVERYWHERE or missing <= _FEW):
        return found
    candidates = _candidates(column, names, without, types) if what == "logs" or column in {*_KEYS, "time"} else []
    return [*found, Use(column, None, share=missing, candidates=tuple(candidates))]


def _types(name: str, types: Mapping[str, Mapping[str, frozenset[str]]]) -> tuple[str, ...]:
    """The types by which a field can be asked for; of a field inside a flattened object, that."""
    if types.get(name):
        return tuple(sorted(types[name]))
    parts = name.split(".")
    parents = (".".join(parts[:n]) for n in range(1, len(parts)))
    return ("flattened",) if any("flattened" in types.get(parent, {}) for parent in parents) else ()


def _places(name: str, types: Mapping[str, Mapping[str, frozenset[str]]]) -> int:
    return len({index for places in types.get(name, {}).values() for index in places})


def _candidates(
    column: str,
    names: Sequence[str],
    without: Sequence[tuple[float, dict[str, Any], dict[str, Any]]],
    types: Mapping[str, Mapping[str, frozenset[str]]],
) -> list[Use]:
    """Fields of the documents that lack a column, by name, type and value; one that the mapping gives its name to first."""
    like, unlike = (re.compile(pattern, re.IGNORECASE) for pattern in _LIKE[column])
    all_of = sum(weight for weight, _, _ in without) or 1.0
    found: list[Use] = []
    left = list(without)
    # Indices of one pattern may each have their own: the next one is looked for in what the ones before it do not explain.
    while left and len(found) < _CANDIDATES:
        share: defaultdict[str, float] = defaultdict(float)
        worth: defaultdict[str, float] = defaultdict(float)
        examples: dict[str, Any] = {}
        for weight, document, made in left:
            # An alias or a computed field has no value of its own in the document: the one with the same value is meant.
            value = next((made[name] for name in names if name in made), None)
            for path, held in document.items():
                same = value is not None and held == value
                tail = ".".join(path.split(".")[-2:])
                if same or (like.search(tail) and not unlike.search(tail) and _fits(column, held, _types(path, types))):
                    share[path] += weight / all_of
                    # The last part of the name says more than what is above it.
                    worth[path] += (4 if same else 1 + bool(like.search(path.rpartition(".")[2]))) * weight / all_of
                    examples.setdefault(path, held)
        if not share:
            break
        best = min(share, key=lambda path: (-round(worth[path], 6), len(path), path))
        found.append(Use(column, best, _types(best, types), _places(best, types), share[best], str(examples[best])))
        left = [(weight, document, made) for weight, document, made in left if best not in document]
    return found


def _fits(column: str, value: Any, types: Sequence[str]) -> bool:
    """Whether a value may be the column's."""
    text = str(value)
    if column == "time":
        return bool(set(types) & DATE)
    if column in {"order id", "customer id", "trace id"}:
        return (
            not isinstance(value, float | bool) and len(text) >= (16 if column == "trace id" else 3) and " " not in text
        )
    if column == "message":
        return isinstance(value, str)
    if column == "level":
        import pyarrow as pa

        from parsers.levels import levels_of

        return levels_of(pa.array([text]), "level")[0].as_py() is not None
    if column == "HTTP status":
        return bool(re.fullmatch(r"[1-5]\d\d", text))
    return isinstance(value, str) and len(text) <= _LONGEST and " " not in text


def _readable(samples: Iterable[_Sample]) -> int:
    """How many of the documents are spans, as the parser reads them."""
    from parsers.traces.documents import parse_span_documents

    lines = [json.dumps(document).encode() for one in samples for document in one.documents]
    parsed = parse_span_documents(b"\n".join(lines), source="doctor", envelope="flat")
    return parsed.spans - parsed.unparsed


def proposal(options: Options, found: Sequence[Fields]) -> dict[str, Any]:
    """What to add to the source's table, key by key: `time_field`, `order_fields`, ..., and `overrides`; empty where all is found.

    What is configured already stays, and stays first.
    """
    best: dict[str, list[str]] = {}
    for one in found:
        for use in one.uses:
            if use.field is None and use.candidates:
                paths = best.setdefault(use.column, [])
                paths += [str(one.field) for one in use.candidates if one.field not in paths]
    proposed: dict[str, Any] = {}
    overrides = {column: list(paths) for column, paths in options.overrides.items()}
    for column, paths in best.items():
        if column == "time":
            # One field bounds the window of a whole source.
            if not any(use.field for one in found for use in one.uses if use.column == "time"):
                proposed["time_field"] = paths[0]
        elif column in _KEYS:
            proposed[_KEYS[column]] = [*getattr(options, _KEYS[column]), *paths]
        else:
            name = COLUMNS[_LOG_COLUMNS[column]]
            overrides[name] = [*overrides.get(name, ()), *paths]
    if overrides != {column: list(paths) for column, paths in options.overrides.items()}:
        proposed["overrides"] = overrides
    return proposed


def written(proposed: Mapping[str, Any], table: str, *, has_overrides: bool) -> list[str]:
    """A proposal as lines of TOML, to be put below the header of the source's table, whose name is `table`."""

    def value(found: Any) -> str:
        # What JSON writes of text and of lists of text, TOML reads as the same.
        return json.dumps(found, ensure_ascii=False)

    lines = [f"# below [{table}]"]
    lines += [f"{key} = {value(found)}" for key, found in proposed.items() if key != "overrides"]
    overrides = proposed.get("overrides", {})
    if overrides and has_overrides:
        lines.append(f"# in place of what is in [{table}.overrides]")
        lines += [f"{value(column)} = {value(paths)}" for column, paths in overrides.items()]
    else:
        lines += [f"overrides.{value(column)} = {value(paths)}" for column, paths in overrides.items()]
    return lines if len(lines) > 1 else []


def table(found: Fields, redact: Callable[[Sequence[str]], Sequence[str]]) -> list[list[str]]:
    """The rows to show: column, field, type, indices, share of documents, example. Examples go through `redact`."""
    rows = [use for use in found.uses if use.field]
    uses = [*rows, *(one for use in found.uses for one in use.candidates)]
    # Whole, before they are cut: half of a secret has no shape to be known by.
    texts = redact([use.example or "" for use in uses])
    shown = {id(use): _short(use.column, text) for use, text in zip(uses, texts, strict=True)}
    lines = []
    for use in found.uses:
        if use.field:
            lines.append(_row(use.column, use, found.indices, shown[id(use)]))
            continue
        # Of documents that were not seen nothing is known.
        if not found.seen:
            lines.append([use.column, "no document yet" if found.indices else "no index", "", "", "", ""])
            continue
        whole = use.share >= 1.0 - 1e-9
        lines.append([use.column, "not found" if whole else f"{_percent(use.share)} lack it", "", "", "", ""])
        lines += [_row("  perhaps", one, found.indices, shown[id(one)]) for one in use.candidates]
    return lines


def _row(column: str, use: Use, indices: int, example: str) -> list[str]:
    kind = "/".join(use.types) or "not indexed"
    return [column, str(use.field), kind, f"{use.indices} of {indices}", _percent(use.share), example]


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.01 else ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def _short(column: str, example: str) -> str:
    """An example as it may be shown: identifiers by their ends."""
    text = " ".join(example.split())
    if column in _IDS and len(text) > 6 and not text.startswith("["):
        return f"{text[:4]}…{text[-2:]}"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
