"""Puts a bundle into real services, so that what is read back can be compared with the bundle itself."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parsers.order_events import read_time

# Strings are exact, but for the text that is searched by words; no field is guessed to be a date.
MAPPINGS: dict[str, Any] = {
    "date_detection": False,
    "dynamic_templates": [
        {"exact": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}}}
    ],
    "properties": {"@timestamp": {"type": "date"}, "message": {"type": "text"}},
}
SPAN_MAPPINGS: dict[str, Any] = {
    **MAPPINGS,
    "properties": {
        "@timestamp": {"type": "date_nanos"},
        "duration": {"type": "long"},
        "attributes": {"type": "flattened"},
        "status": {"properties": {"code": {"type": "keyword"}}},
    },
}
_KINDS = {1: "Internal", 2: "Server", 3: "Client", 4: "Producer", 5: "Consumer"}
_STATUS = {1: "Ok", 2: "Error"}


def log_lines(bundle: Path) -> Iterator[dict[str, Any]]:
    """The log documents of a bundle, with `_id` and `_index`, file after file."""
    for path in sorted((bundle / "logs").glob("*.ndjson*")):
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        for line in text.splitlines():
            if line.strip():
                yield json.loads(line)


def span_documents(bundle: Path) -> Iterator[dict[str, Any]]:
    """The spans of a bundle's OTLP/JSON, as the OpenTelemetry collector's Elasticsearch exporter writes them."""
    for path in sorted((bundle / "traces").glob("*.json")):
        for resource_spans in json.loads(path.read_bytes())["resourceSpans"]:
            resource = _attributes(resource_spans.get("resource", {}).get("attributes", []))
            for scope_spans in resource_spans.get("scopeSpans", []):
                for span in scope_spans.get("spans", []):
                    yield _span_document(span, resource)


def load_bundle_into_elasticsearch(url: str, bundle_path: str | Path, index_prefix: str) -> dict[str, int]:
    """Indexes a bundle's logs under `<prefix><their own index>` and its spans under `<prefix>traces-otel`.

    Gives the number of documents per index. What is there under these names before is replaced.
    """
    from elasticsearch import Elasticsearch, helpers

    bundle = Path(bundle_path)
    counts: dict[str, int] = {}
    with Elasticsearch(url, request_timeout=60) as client:

        def actions() -> Iterator[dict[str, Any]]:
            for document in log_lines(bundle):
                index = index_prefix + document.pop("_index")
                yield _counted(client, counts, index, MAPPINGS) | {"_id": document.pop("_id"), "_source": document}
            for document in span_documents(bundle):
                index = f"{index_prefix}traces-otel"
                own = f"{document['trace_id']}-{document['span_id']}-{document['kind']}"
                yield _counted(client, counts, index, SPAN_MAPPINGS) | {"_id": own, "_source": document}

        for _ in helpers.streaming_bulk(client, actions(), chunk_size=2_000):
            pass
        if counts:
            client.indices.refresh(index=",".join(counts))
    return counts


def load_bundle_into_postgresql(url: str, bundle_path: str | Path, table: str = "order_events") -> int:
    """Fills `table` from a bundle's `orders.csv`: `timestamptz`, `bigint`, `jsonb`. Replaces it; gives the rows."""
    types = {"amount_minor": "bigint", "occurred_at": "timestamptz", "attributes": "jsonb"}
    return _load(url, Path(bundle_path), table, types)


def load_bundle_into_sqlite(url: str, bundle_path: str | Path, table: str = "order_events") -> int:
    """Fills `table` from a bundle's `orders.csv`, times and attributes as the text that they are there."""
    return _load(url, Path(bundle_path), table, {"amount_minor": "integer"})


def load_bundle_into_mariadb(url: str, bundle_path: str | Path, table: str = "order_events") -> int:
    """Fills `table` from a bundle's `orders.csv`: `datetime(6)` in UTC, `bigint`, `json`. Replaces it; gives the rows."""
    # Not text, by which MariaDB joins no tables at any speed.
    names = dict.fromkeys(("order_id", "entity", "entity_id", "state", "currency", "channel"), "varchar(191)")
    types = {**names, "amount_minor": "bigint", "occurred_at": "datetime(6)", "attributes": "json"}
    return _load(url, Path(bundle_path), table, types)


def _load(url: str, bundle: Path, table: str, types: Mapping[str, str]) -> int:
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    path = bundle / "orders.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    names = list(rows[0]) if rows else ["order_id", "entity", "entity_id", "state", "occurred_at"]
    columns = ", ".join(f"{name} {types.get(name, 'text')}" for name in names)
    if url.startswith("mysql"):
        # It casts neither times with an offset nor to its own bigint; what is inserted is converted as it is.
        for row in rows:
            moment = read_time(row["occurred_at"]) if row.get("occurred_at") else None
            row["occurred_at"] = moment.replace(tzinfo=None).isoformat(" ") if moment else None
        values = ", ".join(f":{name}" for name in names)
    else:
        values = ", ".join(f"CAST(:{name} AS {types[name]})" if name in types else f":{name}" for name in names)
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"DROP TABLE IF EXISTS {table}"))
        connection.execute(sqlalchemy.text(f"CREATE TABLE {table} ({columns})"))
        if rows:
            connection.execute(sqlalchemy.text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"), rows)
    engine.dispose()
    return len(rows)


def _counted(client: Any, counts: dict[str, int], index: str, mappings: Mapping[str, Any]) -> dict[str, Any]:
    if index not in counts:
        client.indices.delete(index=index, ignore_unavailable=True)
        client.indices.create(
            index=index, mappings=dict(mappings), settings={"number_of_shards": 1, "number_of_replicas": 0}
        )
    counts[index] = counts.get(index, 0) + 1
    return {"_index": index}


def _span_document(span: Mapping[str, Any], resource: Mapping[str, Any]) -> dict[str, Any]:
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    moment = datetime.fromtimestamp(start // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    status = span.get("status", {})
    document: dict[str, Any] = {
        "@timestamp": f"{moment}.{start % 10**9:09d}Z",
        "trace_id": span["traceId"],
        "span_id": span["spanId"],
        "name": span["name"],
        "kind": _KINDS.get(span.get("kind", 0), "Unspecified"),
        "duration": end - start,
        "status": {"code": _STATUS.get(status.get("code", 0), "Unset")},
        "resource": {"attributes": dict(resource)},
        "attributes": _attributes(span.get("attributes", [])),
    }
    if status.get("message"):
        document["status"]["message"] = status["message"]
    if span.get("parentSpanId"):
        document["parent_span_id"] = span["parentSpanId"]
    if span.get("events"):
        document["events"] = [
            {"name": event.get("name"), "attributes": _attributes(event.get("attributes", []))}
            for event in span["events"]
        ]
    return document


def _attributes(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: _value(pair["value"]) for pair in pairs}


def _value(value: Mapping[str, Any]) -> Any:
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_value(item) for item in value["arrayValue"].get("values", [])]
    return next(iter(value.values()), None)
