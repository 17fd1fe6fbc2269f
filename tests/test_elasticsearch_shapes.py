"""Elasticsearch as it is met: data streams, APM, OpenTelemetry, indices of one pattern that differ, remote clusters, several clusters.

The mappings are written after the component templates of Elasticsearch itself, `logs@mappings`, `ecs@mappings`,
`otel@mappings`, `logs-otel@mappings`, `traces-otel@mappings`, `apm@mappings` and `traces-apm@mappings`
(https://github.com/elastic/elasticsearch/tree/main/x-pack/plugin). The test node lacks some of their types: where they have
`match_only_text` a `text` stands in, a `keyword` for `constant_keyword` and `wildcard`, a `double` for `scaled_float`.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli import commands
from pipeline.errors import SourceUnavailable
from pipeline.run import take_snapshot
from pipeline.settings import Settings
from pipeline.sources.elasticsearch import ElasticsearchSource, Options
from pipeline.sources.elasticsearch.fields import Fields
from pipeline.tickets.file import read_ticket
from pipeline.values import Ask, Fetched, Pointer
from snapshots.model import FetchPlan, canonical_json
from tests import services
from tests.conftest import missing
from tests.flow_samples import nobodys_settings
from tests.outage_samples import LINES, documents, fill, ticket_file
from tests.services import elasticsearch_node
from tests.test_elasticsearch import HOUR, START, adds_up, ids, logs, stamp

ORDER, TRACE, OTHER = "SO20260904150001", "4bf92f3577b34da6a3ce929d0e0e4736", "5" * 32
_numbers = itertools.count()


class Place:
    """What one test makes in a cluster, gone after it."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name
        self.indices: list[str] = []

    def index(self, suffix: str, mappings: dict[str, Any], *some: dict[str, Any], **settings: Any) -> str:
        """An index with documents `<suffix>0`, `<suffix>1`, ..., and its name."""
        name = self.name + suffix
        self.client.indices.create(
            index=name, mappings=mappings, settings={"number_of_shards": 1, "number_of_replicas": 0, **settings}
        )
        self.indices.append(name)
        self._fill(name, suffix.lstrip("-"), some, "index")
        return name

    def stream(self, name: str, mappings: dict[str, Any], *some: dict[str, Any]) -> str:
        """A data stream of this name, and the name of the index behind it."""
        self.client.indices.put_index_template(
            name=name, index_patterns=[name], data_stream={}, priority=600, template={"mappings": mappings}
        )
        self._fill(name, "d", some, "create")
        return str(self.client.field_caps(index=name, fields=["@timestamp"])["indices"][0])

    def _fill(self, name: str, prefix: str, some: tuple[dict[str, Any], ...], operation: str) -> None:
        lines: list[Any] = []
        for number, document in enumerate(some):
            lines += [{operation: {"_id": f"{prefix}{number}"}}, document]
        if lines:
            answer = self.client.bulk(index=name, operations=lines, refresh=True)
            assert not answer["errors"], answer

    def clear(self) -> None:
        """The node lacks the API that deletes a data stream: those stay, under names that nobody else asks for."""
        for name in self.indices:
            self.client.indices.delete(index=name, ignore_unavailable=True)


@pytest.fixture(scope="module")
def client(elasticsearch_url: str) -> Iterator[Any]:
    from elasticsearch import Elasticsearch

    with Elasticsearch(elasticsearch_url, request_timeout=60) as opened:
        yield opened


@pytest.fixture
def place(client: Any) -> Iterator[Place]:
    made = Place(client, f"shape-{next(_numbers)}-{time.time_ns()}")
    yield made
    made.clear()


@pytest.fixture
def source(elasticsearch_url: str) -> Iterator[Callable[..., ElasticsearchSource]]:
    """Makes sources over the node, closed after the test."""
    made: list[ElasticsearchSource] = []

    def make(url: str = elasticsearch_url, name: str = "es", **options: Any) -> ElasticsearchSource:
        made.append(ElasticsearchSource(name, Options(url=url, **options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def spans(one: ElasticsearchSource, limit: int = 200_000, **identifiers: Any) -> Fetched:
    fetched = one.fetch(Ask("spans", HOUR, identifiers, limit=limit, deadline=time.monotonic() + 60))
    adds_up(fetched)
    return fetched


def plan_of(fetched: Fetched) -> FetchPlan:
    """The plan, whose services add up to the rows."""
    plan = fetched.coverage.plan
    assert plan is not None
    if plan.services:
        assert sum(one.rows for one in plan.services) + plan.services_omitted == plan.rows
    return plan


def services_of(fetched: Fetched) -> dict[str, int]:
    return {one.name: one.rows for one in plan_of(fetched).services}


def failing_of(fetched: Fetched) -> dict[str, int | None]:
    return {one.name: one.failing for one in plan_of(fetched).services}


def millis(seconds: float) -> int:
    return int((START.timestamp() + seconds) * 1000)


# ---- the layouts that Elasticsearch ships

KEYWORD = {"type": "keyword", "ignore_above": 1024}
STRINGS = [{"exact": {"match_mapping_type": "string", "mapping": KEYWORD}}]
ECS_STREAM = {
    "date_detection": False,
    "dynamic_templates": [
        {"message": {"path_match": ["message", "*.message"], "mapping": {"type": "text"}}},
        {"names": {"path_match": ["*.name"], "mapping": {**KEYWORD, "fields": {"text": {"type": "text"}}}}},
        *STRINGS,
    ],
    "properties": {
        "@timestamp": {"type": "date_nanos"},
        "data_stream": {"properties": {part: {"type": "keyword"} for part in ("type", "dataset", "namespace")}},
    },
}
ATTRIBUTES = {"type": "passthrough", "dynamic": True}
OTEL = {
    "date_detection": False,
    "dynamic": False,
    "dynamic_templates": STRINGS,
    "properties": {
        "@timestamp": {"type": "date"},
        "attributes": {**ATTRIBUTES, "priority": 20},
        "scope": {"properties": {"name": KEYWORD, "attributes": {**ATTRIBUTES, "priority": 30}}},
        "resource": {"properties": {"attributes": {**ATTRIBUTES, "priority": 40}}},
        "trace_id": {"type": "keyword"},
        "trace.id": {"type": "alias", "path": "trace_id"},
        "span_id": {"type": "keyword"},
        "span.id": {"type": "alias", "path": "span_id"},
    },
}
OTEL_LOGS = {
    **OTEL,
    "properties": {
        **OTEL["properties"],  # type: ignore[dict-item]
        "observed_timestamp": {"type": "date_nanos"},
        "severity_number": {"type": "byte"},
        "severity_text": {"type": "keyword"},
        "log.level": {"type": "alias", "path": "severity_text"},
        "body": {"properties": {"text": {"type": "text"}, "structured": {"type": "flattened"}}},
        "message": {"type": "alias", "path": "body.text"},
    },
}
OTEL_SPANS = {
    **OTEL,
    "properties": {
        **OTEL["properties"],  # type: ignore[dict-item]
        "parent_span_id": {"type": "keyword"},
        "parent.id": {"type": "alias", "path": "parent_span_id"},
        "name": {"type": "keyword"},
        "span.name": {"type": "alias", "path": "name"},
        "kind": {"type": "keyword"},
        "duration": {"type": "long"},
        "status": {"properties": {"message": {"type": "keyword"}, "code": {"type": "keyword"}}},
    },
}
APM = {
    "date_detection": False,
    "dynamic": True,
    "dynamic_templates": [
        {"numbers": {"path_match": "numeric_labels.*", "mapping": {"type": "double"}}},
        *STRINGS,
    ],
    "properties": {
        "@timestamp": {"type": "date"},
        "processor": {"properties": {"event": {"type": "keyword"}}},
        "event": {"properties": {"success_count": {"type": "byte", "index": False}}},
        "span": {"properties": {"duration": {"properties": {"us": {"type": "long"}}}}},
        "transaction": {"properties": {"duration": {"properties": {"us": {"type": "long"}}}}},
    },
}


def exported(seconds: float) -> str:
    """A moment as the collector's Elasticsearch exporter writes it in its mode `otel`: milliseconds, a point, nanoseconds."""
    return f"{millis(seconds)}.250000"


def otel_log(seconds: float, text: str, level: str, service: str, **more: Any) -> dict[str, Any]:
    return {
        "@timestamp": exported(seconds),
        "observed_timestamp": exported(seconds),
        "data_stream": {"type": "logs", "dataset": "generic.otel", "namespace": "default"},
        "severity_text": level,
        "severity_number": {"INFO": 9, "ERROR": 17}[level],
        "resource": {"attributes": {"service.name": service, "host.name": "h1"}},
        "scope": {"name": "c.s.Pay"},
        "body": {"text": text},
        "attributes": {},
        **more,
    }


def test_a_data_stream_of_the_shipped_logs_template_is_read_counted_and_searched(place: Place, source: Any) -> None:
    def line(n: int, level: str, service: str, **more: Any) -> dict[str, Any]:
        where = {"type": "logs", "dataset": "shop", "namespace": "prod"}
        named = {"log.level": level, "service.name": service, "data_stream": where, "host": {"name": "h1"}}
        return {"@timestamp": stamp(n), "message": f"line {n}", **named, **more}

    name = f"logs-{place.name}.shop-prod"
    behind = place.stream(
        name,
        ECS_STREAM,
        *(line(n, "INFO", "cart") for n in range(30)),
        *(line(n, "ERROR", "cashier") for n in range(30, 40)),
        line(40, "INFO", "cashier", labels={"order_id": ORDER}),
        line(41, "INFO", "cart", trace={"id": TRACE}),
        line(42, "INFO", "cart", message=f"order {ORDER} is paid"),
    )
    one = source(logs=(f"logs-{place.name}.*-prod",))
    fetched = logs(one)
    assert services_of(fetched) == {"cart": 32, "cashier": 11}
    assert failing_of(fetched) == {"cart": 0, "cashier": 10}
    assert plan_of(fetched).levels == {"INFO": 33, "ERROR": 10}
    assert set(fetched.table.column("_index").to_pylist()) == {behind}
    row = fetched.table.to_pylist()[30]
    assert (row["service.name"], row["log.level"], row["host.name"]) == ("cashier", "ERROR", "h1")
    assert sorted(ids(logs(one, limit=3, order_id=(ORDER,), trace_id=(TRACE,)))) == ["d40", "d41", "d42"]


def test_a_stream_of_the_collectors_logs_is_read_counted_and_searched(place: Place, source: Any) -> None:
    """Fields below `attributes` and `resource.attributes` have a second name without them; `message` is an alias."""
    place.stream(
        f"logs-{place.name}.otel-default",
        OTEL_LOGS,
        *(otel_log(n, f"line {n}", "INFO", "cart") for n in range(20)),
        *(otel_log(n, f"charge {n} refused", "ERROR", "cashier") for n in range(20, 25)),
        otel_log(25, "paid", "INFO", "cashier", attributes={"order_id": ORDER}),
        otel_log(26, "queued", "INFO", "cart", trace_id=TRACE, span_id="ab" * 8),
        otel_log(27, f"order={ORDER}, done", "INFO", "cart"),
        otel_log(
            28, "failed", "ERROR", "cashier", attributes={"exception.type": "E", "exception.message": "m", "http.status_code": 502}
        ),
    )  # fmt: skip
    one = source(logs=(f"logs-{place.name}.otel-*",))
    fetched = logs(one)
    assert services_of(fetched) == {"cart": 22, "cashier": 7}
    assert plan_of(fetched).services_omitted == 0
    assert failing_of(fetched) == {"cart": 0, "cashier": 6}
    assert plan_of(fetched).levels == {"INFO": 23, "ERROR": 6}
    row = fetched.table.to_pylist()[28]
    assert (row["message"], row["service.name"], row["host.name"]) == ("failed", "cashier", "h1")
    assert (row["log.level"], row["log.logger"], row["error.type"]) == ("ERROR", "c.s.Pay", "E")
    assert (row["error.message"], row["http.response.status_code"]) == ("m", 502)
    assert row["@timestamp"] == START + timedelta(seconds=28, microseconds=250)
    assert sorted(ids(logs(one, limit=3, order_id=(ORDER,), trace_id=(TRACE,)))) == ["d25", "d26", "d27"]


def test_the_traces_of_apm_and_of_the_collector_become_one_table_counted_by_service(place: Place, source: Any) -> None:
    def transaction(n: int, outcome: str, **more: Any) -> dict[str, Any]:
        return {
            "@timestamp": stamp(n),
            "timestamp": {"us": millis(n) * 1000},
            "processor": {"event": "transaction"},
            "trace": {"id": TRACE if n == 0 else OTHER},
            "transaction": {
                "id": f"{n + 1:016x}",
                "name": "POST /pay",
                "type": "request",
                "duration": {"us": 1500},
            },
            "event": {"outcome": outcome, "success_count": int(outcome == "success")},
            "service": {"name": "cashier"},
            "host": {"hostname": "h1"},
            "http": {"request": {"method": "POST"}, "response": {"status_code": 200 if outcome == "success" else 502}},
            **more,
        }

    call = {
        "@timestamp": stamp(20),
        "timestamp": {"us": millis(20) * 1000},
        "processor": {"event": "span"},
        "trace": {"id": TRACE},
        "transaction": {"id": f"{1:016x}"},
        "parent": {"id": f"{1:016x}"},
        "span": {
            "id": "cd" * 8,
            "name": "POST openapi.example.com",
            "type": "external",
            "duration": {"us": 900},
            "destination": {"service": {"resource": "openapi.example.com:443"}},
        },
        "event": {"outcome": "failure"},
        "service": {"name": "cashier"},
        "labels": {"order_id": ORDER},
        "numeric_labels": {"attempt": 2.0},
    }

    def span(n: int, code: str, **more: Any) -> dict[str, Any]:
        return {
            "@timestamp": exported(n),
            "data_stream": {"type": "traces", "dataset": "generic.otel", "namespace": "default"},
            "trace_id": OTHER,
            "span_id": f"{n:016x}",
            "parent_span_id": "",
            "name": "GET /cart",
            "kind": "Server",
            "duration": 2_500_000,
            "status": {"code": code} if code else {},
            "resource": {"attributes": {"service.name": "cart", "host.name": "h2"}},
            "attributes": {"http.response.status_code": 200, "order_id": ORDER if n == 35 else "SO9"},
            **more,
        }

    apm, otel = f"traces-apm-{place.name}", f"traces-{place.name}.otel-default"
    place.stream(apm, APM, *(transaction(n, "failure" if n % 5 == 0 else "success") for n in range(10)), call)
    place.stream(otel, OTEL_SPANS, *(span(n, "Error" if n == 33 else "Unset" if n % 2 else "") for n in range(30, 40)))
    one = source(traces=(f"traces-apm-{place.name}*", f"traces-{place.name}.otel*"))
    fetched = spans(one)
    assert (fetched.coverage.unparsed, fetched.coverage.used) == (0, 21)
    assert services_of(fetched) == {"cashier": 11, "cart": 10}
    assert failing_of(fetched) == {"cashier": 3, "cart": 1}
    rows = {row["span.id"]: row for row in fetched.table.to_pylist()}
    first, called, other = rows[f"{1:016x}"], rows["cd" * 8], rows[f"{33:016x}"]
    assert (first["duration_us"], first["status"], first["http.response.status_code"]) == (1500, "error", 502)
    assert (called["parent.id"], called["server.address"]) == (first["span.id"], "openapi.example.com")
    assert (other["service.name"], other["duration_us"], other["status"], other["host.name"]) == (
        "cart",
        2500,
        "error",
        "h2",
    )
    tied = spans(one, limit=3, order_id=(ORDER,), trace_id=(TRACE,))
    assert set(tied.table.column("span.id").to_pylist()) == {f"{1:016x}", "cd" * 8, f"{35:016x}"}
    pointer = Pointer("span", tied.table.column("_index")[0].as_py(), tied.table.column("_id")[0].as_py())
    assert one.resolve([pointer])[pointer] is not None


def test_apms_errors_and_metrics_among_the_traces_are_not_asked_for(place: Place, source: Any) -> None:
    """A pattern such as `*apm*` takes them in; they are no spans."""
    error = {"@timestamp": stamp(1), "processor": {"event": "error"}, "error": {"id": "e"}, "trace": {"id": TRACE}}
    metric = {"@timestamp": stamp(2), "processor": {"event": "metric"}, "service": {"name": "cart"}}
    place.index("-apm", APM, error, metric)
    fetched = spans(source(traces=(f"{place.name}-*",)), trace_id=(TRACE,))
    assert (fetched.coverage.status, fetched.coverage.matched) == ("empty", 0)


def test_where_message_is_missing_the_original_is_read(place: Place, source: Any) -> None:
    """ECS keeps `event.original` unindexed, so that its words cannot be asked for, and the ledger says so."""
    mappings = {
        **ECS_STREAM,
        "properties": {
            "@timestamp": {"type": "date"},
            "event": {"properties": {"original": {"type": "keyword", "index": False, "doc_values": False}}},
        },
    }
    place.index(
        "-raw",
        mappings,
        *({"@timestamp": stamp(n), "event": {"original": f"Sep  4 15:00:{n:02d} h1 pay: line {n}"}} for n in range(5)),
    )
    fetched = logs(source(logs=(f"{place.name}-*",)), limit=3, order_id=(ORDER,))
    assert all("pay: line" in text for text in fetched.table.column("message").to_pylist())
    assert any("fields of their own only" in note for note in fetched.coverage.notes)


def test_nested_and_dotted_spellings_are_the_same_rows(place: Place, source: Any) -> None:
    """Also where the index keeps no objects at all."""
    nested = {"log": {"level": "ERROR"}, "service": {"name": "cart"}, "labels": {"order_id": ORDER}}
    dotted = {"log.level": "ERROR", "service.name": "cart", "labels.order_id": ORDER}
    mixed = {"log": {"level": "ERROR"}, "service.name": "cart", "labels": {"order_id": ORDER}}
    some = [{"@timestamp": stamp(n), "message": "m", **one} for n, one in enumerate((nested, dotted, mixed))]
    place.index("-objects", ECS_STREAM, *some)
    place.index("-flat", {"subobjects": False, **ECS_STREAM, "properties": {"@timestamp": {"type": "date"}}}, *some)
    fetched = logs(source(logs=(f"{place.name}-*",)))
    assert services_of(fetched) == {"cart": 6}
    columns = ["log.level", "service.name", "labels.order_id"]
    assert fetched.table.select(columns).to_pylist() == [dict(zip(columns, ("ERROR", "cart", ORDER), strict=True))] * 6
    assert len(ids(logs(source(logs=(f"{place.name}-*",)), order_id=(ORDER,), limit=6))) == 6


# ---- indices of one pattern that differ


def test_every_way_to_write_the_time_is_found_and_read(place: Place, source: Any) -> None:
    """Milliseconds and seconds of the epoch, as numbers and as text, a format of one's own, nanoseconds."""
    ways: dict[str, tuple[dict[str, Any], Any]] = {
        "iso": ({"type": "date"}, stamp(1)),
        "millis": ({"type": "date", "format": "epoch_millis"}, millis(2)),
        "text": ({"type": "date", "format": "strict_date_optional_time||epoch_millis"}, str(millis(3))),
        "seconds": ({"type": "date", "format": "epoch_second"}, millis(4) // 1000),
        "own": ({"type": "date", "format": "yyyy-MM-dd HH:mm:ss.SSS"}, "2026-09-04 15:00:05.000"),
        "comma": ({"type": "date", "format": "yyyy-MM-dd HH:mm:ss,SSS"}, "2026-09-04 15:00:06,000"),
        "nanos": ({"type": "date_nanos"}, "2026-09-04T15:00:07.000000001Z"),
        "zone": ({"type": "date"}, "2026-09-04T23:00:08+08:00"),
        "otel": ({"type": "date"}, f"{millis(9)}.0"),
    }
    for way, (mapping, value) in ways.items():
        place.index(f"-{way}", {"properties": {"@timestamp": mapping}}, {"@timestamp": value, "message": way})
    fetched = logs(source(logs=(f"{place.name}-*",)))
    assert fetched.coverage.status == "ok"
    expected = {way: START + timedelta(seconds=n) for n, way in enumerate(ways, start=1)}
    read = dict(zip(*(fetched.table.column(n).to_pylist() for n in ("message", "@timestamp")), strict=True))
    assert read == expected


def test_a_service_that_is_a_word_here_and_a_text_there_adds_up(place: Place, source: Any) -> None:
    """Where nobody told Elasticsearch the type, a string is a text with an exact copy in `.keyword`."""
    exact = {"properties": {"@timestamp": {"type": "date"}, "service": {"properties": {"name": {"type": "keyword"}}}}}
    text = {"properties": {"@timestamp": {"type": "date"}, "service": {"properties": {"name": {"type": "text"}}}}}
    other = {"properties": {"@timestamp": {"type": "date"}, "app": {"type": "keyword"}}}

    def some(count: int, **named: Any) -> list[dict[str, Any]]:
        return [{"@timestamp": stamp(n), "message": "m", **named} for n in range(count)]

    place.index("-exact", exact, *some(3, service={"name": "cart"}))
    place.index("-guessed", {}, *some(5, service={"name": "cart"}), *some(2, service={"name": "cashier"}))
    place.index("-text", text, *some(7, service={"name": "cart"}))
    place.index("-app", other, *some(11, app="stock"))
    place.index("-none", {"properties": {"@timestamp": {"type": "date"}}}, *some(13))
    fetched = logs(source(logs=(f"{place.name}-*",)))
    assert (fetched.coverage.status, fetched.coverage.used) == ("ok", 41)
    assert services_of(fetched) == {"stock": 11, "cart": 8, "cashier": 2}
    assert plan_of(fetched).services_omitted == 7 + 13
    assert fetched.table.column("service.name").to_pylist().count("cart") == 15, "they are read all the same"


def test_where_a_service_is_only_text_none_is_counted_and_the_ledger_says_so(place: Place, source: Any) -> None:
    text = {"properties": {"@timestamp": {"type": "date"}, "service": {"properties": {"name": {"type": "text"}}}}}
    place.index("-text", text, {"@timestamp": stamp(1), "service": {"name": "cart"}, "message": "m"})
    fetched = logs(source(logs=(f"{place.name}-*",)))
    assert (fetched.coverage.status, plan_of(fetched).services) == ("ok", [])
    assert "rows are not counted by service.name: it is mapped as text only" in fetched.coverage.notes


def test_a_row_with_two_service_fields_is_counted_once_by_the_one_that_is_read(place: Place, source: Any) -> None:
    mappings = {"dynamic_templates": STRINGS, "properties": {"@timestamp": {"type": "date"}}}
    both = {"service": {"name": "cart"}, "kubernetes": {"container": {"name": "c"}}}
    only = {"kubernetes": {"container": {"name": "sidecar"}}}
    place.index(
        "-k", mappings, *({"@timestamp": stamp(n), "message": "m", **(both if n % 2 else only)} for n in range(9))
    )
    fetched = logs(source(logs=(f"{place.name}-*",)))
    assert services_of(fetched) == {"sidecar": 5, "cart": 4}
    assert fetched.table.column("service.name").to_pylist().count("sidecar") == 5


def test_a_number_here_and_a_word_there_fail_no_index(place: Place, source: Any) -> None:
    """An order id, a level and a status, each as number and as word; a word asked of a number fails the whole shard."""
    numbers = {
        "properties": {
            "@timestamp": {"type": "date"},
            "order_id": {"type": "long"},
            "level": {"type": "long"},
            "http": {"properties": {"response": {"properties": {"status_code": {"type": "long"}}}}},
        }
    }
    words = {"dynamic_templates": STRINGS, "properties": {"@timestamp": {"type": "date"}}}
    texts = {"properties": {"@timestamp": {"type": "date"}, "order_id": {"type": "text"}, "level": {"type": "text"}}}

    def line(n: int, order: Any, level: Any) -> dict[str, Any]:
        status = {"response": {"status_code": 200 if str(order).isdecimal() else "200"}}
        return {"@timestamp": stamp(n), "message": "m", "order_id": order, "level": level, "http": status}

    place.index("-numbers", numbers, *(line(n, 700_000 + n, 50 if n == 9 else 30) for n in range(10)))
    place.index("-words", words, *(line(n, f"SO{n}", "ERROR" if n == 9 else "INFO") for n in range(10)))
    place.index("-texts", texts, *(line(n, f"SO-{n}", "error" if n == 9 else "info") for n in range(10)))
    one = source(logs=(f"{place.name}-*",))
    fetched = logs(one, limit=5, order_id=("SO3", "700004", "SO-5"))
    assert (fetched.coverage.status, fetched.coverage.error, fetched.coverage.matched) == ("ok", None, 30)
    assert {"numbers4", "words3", "texts5"} <= set(ids(fetched))
    steps = {step.kind: step.matched for step in plan_of(fetched).steps}
    assert (steps["named"], steps["failing"]) == (3, 3), "a word is not above forty, nor a number an error"
    assert plan_of(fetched).levels == {"INFO": 9, "ERROR": 1}


def test_an_index_whose_time_is_a_word_costs_its_own_rows_and_is_counted(place: Place, source: Any) -> None:
    good = {"dynamic_templates": STRINGS, "properties": {"@timestamp": {"type": "date"}}}
    place.index("-good", good, *({"@timestamp": stamp(n), "message": "m"} for n in range(6)))
    bad = place.index(
        "-bad", {"properties": {"@timestamp": {"type": "keyword"}}}, *({"@timestamp": stamp(n)} for n in range(4))
    )
    fetched = logs(source(logs=(f"{place.name}-*",)))
    row = fetched.coverage
    assert (row.status, row.used, row.matched) == ("partial", 6, 6)
    assert f"4 documents of {bad} cannot be found by time" in str(row.error)
    assert "shards failed" not in str(row.error)


def test_a_field_that_is_another_name_for_a_field_is_counted_and_read(place: Place, source: Any) -> None:
    mappings = {
        "properties": {
            "@timestamp": {"type": "date"},
            "app": {"type": "keyword"},
            "service": {"properties": {"name": {"type": "alias", "path": "app"}}},
        }
    }
    place.index("-alias", mappings, *({"@timestamp": stamp(n), "message": "m", "app": "cart"} for n in range(4)))
    fetched = logs(source(logs=(f"{place.name}-*",)))
    assert services_of(fetched) == {"cart": 4}
    assert set(fetched.table.column("service.name").to_pylist()) == {"cart"}


def test_a_field_that_is_made_while_it_is_asked_for_is_counted(place: Place, source: Any) -> None:
    """A runtime field without a script, which takes its value from the document; scripts need more than the test node has."""
    mappings = {
        "dynamic": False,
        "runtime": {"service.name": {"type": "keyword"}, "trace.id": {"type": "keyword"}},
        "properties": {"@timestamp": {"type": "date"}},
    }
    some = (
        {"@timestamp": stamp(n), "message": "m", "service.name": "cart", "trace.id": TRACE if n else OTHER}
        for n in range(4)
    )
    place.index("-runtime", mappings, *some)
    fetched = logs(source(logs=(f"{place.name}-*",)), limit=1, trace_id=(OTHER,))
    assert services_of(fetched) == {"cart": 4}
    assert ids(fetched) == ["runtime0"]


def test_a_field_without_columns_or_index_costs_no_shard(place: Place, source: Any) -> None:
    mappings = {
        "properties": {
            "@timestamp": {"type": "date"},
            "service": {"properties": {"name": {"type": "keyword", "doc_values": False}}},
            "log": {"properties": {"level": {"type": "keyword", "index": False, "doc_values": False}}},
        }
    }
    place.index(
        "-bare",
        mappings,
        *({"@timestamp": stamp(n), "message": "m", "service.name": "cart", "log.level": "INFO"} for n in range(4)),
    )
    fetched = logs(source(logs=(f"{place.name}-*",)))
    assert (fetched.coverage.status, fetched.coverage.used, plan_of(fetched).services) == ("ok", 4, [])


def test_a_field_that_is_indexed_here_and_not_there_is_asked_for_where_it_is(place: Place, source: Any) -> None:
    """One index of many with a field that cannot be searched must not take the search from the others."""
    bare = {"type": "keyword", "index": False, "doc_values": False}
    without = {
        "properties": {
            "@timestamp": {"type": "date"},
            "trace": {"properties": {"id": bare}},
            "service": {"properties": {"name": bare}},
            "log": {"properties": {"level": bare}},
        }
    }
    some = [
        {"@timestamp": stamp(n), "message": "m", "trace": {"id": f"{n:032x}"}, "service": {"name": "cart"}, "log": {"level": "ERROR"}}
        for n in range(9)
    ]  # fmt: skip
    place.index("-full", {"dynamic_templates": STRINGS, "properties": {"@timestamp": {"type": "date"}}}, *some)
    bare_index = place.index("-bare", {**without, "dynamic": False}, *some)
    fetched = logs(source(logs=(f"{place.name}-*",)), limit=10, trace_id=(f"{4:032x}",))
    assert (fetched.coverage.status, fetched.coverage.error, fetched.coverage.matched) == ("ok", None, 18)
    assert "full4" in ids(fetched)
    assert f"trace ids cannot be looked for, in no field and no text, in {bare_index}" in fetched.coverage.notes
    assert services_of(fetched) == {"cart": 9}
    assert {step.kind: step.matched for step in plan_of(fetched).steps}["failing"] == 8


def test_doctor_tells_a_field_that_is_read_and_cannot_be_searched(place: Place, doctor: Any) -> None:
    mappings = {"dynamic": False, "properties": {"@timestamp": {"type": "date"}, "message": {"type": "text"}}}
    place.index("-d", mappings, {"@timestamp": stamp(1), "message": "m", "service.name": "cart", "level": "INFO"})
    _, rows, _ = doctor(logs=[f"{place.name}-*"])
    assert rows["service"] == ["service.name | not indexed | 0 of 1 | 100% | cart"]


def test_identifiers_inside_nested_objects_are_found(place: Place, source: Any) -> None:
    mappings = {
        "properties": {
            "@timestamp": {"type": "date"},
            "order": {"type": "nested", "properties": {"id": {"type": "keyword"}}},
        }
    }
    some = [{"@timestamp": stamp(n), "message": "m", "order": [{"id": f"SO{n}"}, {"id": f"SP{n}"}]} for n in range(9)]
    place.index("-nested", mappings, *some)
    place.index("-none", {"properties": {"@timestamp": {"type": "date"}}}, {"@timestamp": stamp(1), "message": "m"})
    assert ids(logs(source(logs=(f"{place.name}-*",)), limit=1, order_id=("SP4",))) == ["nested4"]


def test_an_alias_with_a_filter_shows_only_its_rows(place: Place, client: Any, source: Any) -> None:
    mappings = {"dynamic_templates": STRINGS, "properties": {"@timestamp": {"type": "date"}}}
    name = place.index(
        "-all", mappings, *({"@timestamp": stamp(n), "message": "m", "app": f"a{n % 2}"} for n in range(10))
    )
    alias = f"{place.name}-mine"
    client.indices.update_aliases(actions=[{"add": {"index": name, "alias": alias, "filter": {"term": {"app": "a1"}}}}])
    fetched = logs(source(logs=(alias,)))
    assert (services_of(fetched), fetched.coverage.matched) == ({"a1": 5}, 5)


# ---- doctor --fields


@pytest.fixture
def doctor(
    elasticsearch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Result, dict[str, list[str]], str]]:
    """Runs `doctor --fields` over a source with these settings: what it said, its table by column, and the proposal."""
    nobodys_settings(tmp_path, monkeypatch)

    def run(**keys: Any) -> tuple[Result, dict[str, list[str]], str]:
        head = f'profile = "prod"\n[profiles.prod.sources.es]\nkind = "elasticsearch"\nurl = "{elasticsearch_url}"\n'
        more = keys.pop("more", "")
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        Path("problem-snapshot.toml").write_text(head + lines + more, encoding="utf-8")
        done = CliRunner().invoke(commands, ["doctor", "--fields", "--timeout", "20s"], prog_name="problem-snapshot")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        table, _, proposed = done.stdout.partition("proposed:\n")
        rows: dict[str, list[str]] = {}
        for line in table.splitlines():
            column, *cells = re.split(r" {2,}", line.strip())
            rows.setdefault(column, []).append(" | ".join(cells))
        return done, rows, "".join(line.removeprefix("  ") + "\n" for line in proposed.splitlines())

    return run


def test_what_doctor_proposes_is_taken_when_pasted_and_then_all_is_found(
    place: Place, doctor: Any, source: Any
) -> None:
    """Two indices with names of their own, one mapped by hand and one guessed."""
    mapped = {"dynamic_templates": STRINGS, "properties": {"logged": {"type": "date"}, "say": {"type": "text"}}}
    cart = [
        {"logged": stamp(n), "say": f"item {n} for a.smith@example.com", "svc": {"label": "cart"}, "lv": "INFO",
         "ctx": {"tid": f"{n + 1:032x}"}, "machine": "m1", "session": 7}
        for n in range(30)
    ]  # fmt: skip
    pay = [
        {"logged": stamp(n), "text_line": f"charge {n} refused", "unit_app": "cashier", "grade_level": "ERROR",
         "ctx": {"tid": f"{n + 1:032x}"}, "biz": {"orderNo": f"SO20260904{n:04d}", "buyerId": f"u{n:07d}"},
         "machine": "m2", "order_amount": 990, "order_status": "FAILED"}
        for n in range(60)
    ]  # fmt: skip
    place.index("-cart", {"properties": {"logged": {"type": "date"}}}, *cart)
    place.index("-pay", mapped, *pay)
    logs_of = [f"{place.name}-*"]
    done, rows, proposed = doctor(logs=logs_of)
    assert rows["time"] == ["not found"]
    assert rows["service"] == ["not found"]
    assert "a.smith" not in done.output
    assert "[email]" in done.output
    assert "SO202609040000" not in done.output
    keys = tomllib.loads(proposed)
    assert keys == {
        "time_field": "logged",
        "trace_fields": ["ctx.tid"],
        "order_fields": ["biz.orderNo"],
        "customer_fields": ["biz.buyerId"],
        "overrides": {
            "service.name": ["unit_app", "svc.label"],
            "log.level": ["grade_level", "lv"],
            "message": ["text_line", "say"],
            "host.name": ["machine"],
        },
    }
    again, rows, proposed = doctor(logs=logs_of, more=proposed)
    assert again.exit_code == 0, again.output
    assert proposed == ""
    assert rows["service"] == ["unit_app | keyword | 1 of 2 | 67% | cashier", "svc.label | text | 1 of 2 | 33% | cart"]
    assert rows["order id"] == ["biz.orderNo | keyword | 1 of 2 | 67% | SO20…59"]
    fields = {
        key: value if isinstance(value, str) else tuple(value) for key, value in keys.items() if key != "overrides"
    }
    overrides = {column: tuple(paths) for column, paths in keys["overrides"].items()}
    one = source(logs=tuple(logs_of), overrides=overrides, **fields)
    fetched = logs(one)
    assert services_of(fetched) == {"cashier": 60, "cart": 30}
    wanted = ("service.name", "log.level", "message", "trace.id", "host.name")
    assert [fetched.table.column(name).null_count for name in wanted] == [0] * 5
    assert ids(logs(one, limit=1, order_id=("SO202609040007",))) == ["pay7"]


def test_doctor_tells_a_field_that_is_another_name_by_the_field_that_holds_the_value(place: Place, doctor: Any) -> None:
    """The documents do not have the alias, so that it is counted and searched, and cannot be read."""
    mappings = {
        "properties": {
            "@timestamp": {"type": "date"},
            "message": {"type": "text"},
            "department": {"type": "keyword"},
            "service": {"properties": {"name": {"type": "alias", "path": "department"}}},
        }
    }
    place.index("-a", mappings, *({"@timestamp": stamp(n), "message": "m", "department": "cart"} for n in range(4)))
    done, rows, proposed = doctor(logs=[f"{place.name}-*"])
    assert "service: service.name is in the mapping and not in the documents" in done.stdout
    assert rows["perhaps"][0] == "department | keyword | 1 of 1 | 100% | cart"
    assert tomllib.loads(proposed)["overrides"] == {"service.name": ["department"]}


def test_doctor_keeps_what_is_configured_already(place: Place, doctor: Any) -> None:
    words = {"dynamic_templates": STRINGS, "properties": {"@timestamp": {"type": "date"}, "message": {"type": "text"}}}
    some = (
        {"@timestamp": stamp(n), "message": "m", "the_app": "cart", "biz_order_ref": f"SO{n:06d}"} for n in range(4)
    )
    place.index("-b", words, *some)
    overrides = '[profiles.prod.sources.es.overrides]\n"log.level" = ["mood"]\n'
    _, _, proposed = doctor(logs=[f"{place.name}-*"], order_fields=["old_no"], more=overrides)
    assert 'order_fields = ["old_no", "biz_order_ref"]' in proposed
    assert "# in place of what is in [profiles.prod.sources.es.overrides]" in proposed
    assert '"log.level" = ["mood"]' in proposed
    assert '"service.name" = ["the_app"]' in proposed


def test_doctor_shows_what_of_apm_and_of_the_collector_is_found(place: Place, doctor: Any) -> None:
    span = {
        "@timestamp": exported(3),
        "trace_id": TRACE,
        "span_id": "ab" * 8,
        "name": "GET /cart",
        "kind": "Server",
        "duration": 2_500_000,
        "status": {"code": "Ok"},
        "resource": {"attributes": {"service.name": "cart", "host.name": "h2"}},
        "attributes": {"http.response.status_code": 200, "order_id": ORDER},
    }
    transaction = {
        "@timestamp": stamp(1),
        "processor": {"event": "transaction"},
        "trace": {"id": TRACE},
        "transaction": {"id": "cd" * 8, "name": "POST /pay", "duration": {"us": 1500}},
        "event": {"outcome": "success"},
        "service": {"name": "cashier"},
        "labels": {"order_id": ORDER},
    }
    place.index("-otel", OTEL_SPANS, span, span, span)
    place.index("-apm", APM, transaction)
    place.index("-logs", OTEL_LOGS, otel_log(1, "paid", "INFO", "cart", attributes={"order_id": ORDER}, trace_id=TRACE))
    done, rows, proposed = doctor(logs=[f"{place.name}-logs"], traces=[f"{place.name}-otel", f"{place.name}-apm"])
    assert done.exit_code == 0
    assert proposed == ""
    assert rows["service"] == [
        "resource.attributes.service.name | keyword | 1 of 1 | 100% | cart",
        "resource.attributes.service.name | keyword | 1 of 1 | 100% | cart",
        "service.name | keyword | 1 of 1 | 100% | cashier",
    ]
    assert rows["message"] == ["body.text | text | 1 of 1 | 100% | paid"]
    assert rows["duration"] == [
        "duration | long | 1 of 1 | 100% | 2500000",
        "transaction.duration.us | long | 1 of 1 | 100% | 1500",
    ]
    assert [cells.split(" | ")[0] for cells in rows["order id"]] == ["attributes.order_id"] * 2 + ["labels.order_id"]


# ---- remote clusters


def remotes(client: Any, **some: tuple[str, bool] | None) -> None:
    """Sets remote clusters (their address and whether a search may skip them), or takes them away."""
    keys: dict[str, Any] = {}
    for name, facts in some.items():
        keys[f"cluster.remote.{name}.seeds"] = facts and [facts[0]]
        keys[f"cluster.remote.{name}.skip_unavailable"] = facts and facts[1]
    client.cluster.put_settings(persistent=keys)


@dataclass(frozen=True)
class Two:
    """Two nodes: the session's, which knows the second one as the remote clusters `other` and, unskippable, `must`."""

    far: services.Running
    client: Any
    near: Any

    def introduce(self) -> None:
        """Tells the first node where the second one is, and waits until it has found it."""
        (facts,) = self.client.nodes.info(metric="transport")["nodes"].values()
        # An address that did not change would not be tried again at once.
        remotes(self.near, other=None, must=None)
        remotes(self.near, other=(facts["transport_address"], True), must=(facts["transport_address"], False))
        for _ in range(300):
            known = self.near.cluster.remote_info()
            if known["other"]["connected"] and known["must"]["connected"]:
                return
            time.sleep(0.1)
        pytest.fail("the nodes do not find each other")

    @contextmanager
    def dead(self) -> Iterator[None]:
        """The second node killed meanwhile."""
        elasticsearch_node.kill(self.far.data)
        try:
            yield
        finally:
            elasticsearch_node.start_again(self.far, "512m")
            self.introduce()


@pytest.fixture(scope="module")
def two(client: Any) -> Iterator[Two]:
    from elasticsearch import Elasticsearch

    try:
        node = elasticsearch_node.start("512m")
    except services.Unavailable as error:
        missing(elasticsearch_node.NAME, str(error))
    names = ("other", "must", "gone", "needed")
    try:
        with Elasticsearch(node.url, request_timeout=60) as far:
            remotes(client, gone=("127.0.0.1:1", True), needed=("127.0.0.1:1", False))
            made = Two(node, far, client)
            made.introduce()
            yield made
    finally:
        remotes(client, **dict.fromkeys(names))
        elasticsearch_node.stop(node.data)


@pytest.fixture
def far(two: Two) -> Iterator[Place]:
    made = Place(two.client, f"far-{next(_numbers)}-{time.time_ns()}")
    yield made
    made.clear()


SIMPLE = {
    "dynamic_templates": STRINGS,
    "properties": {"@timestamp": {"type": "date"}, "message": {"type": "text"}},
}


def simple(count: int, service: str, first: int = 0) -> list[dict[str, Any]]:
    return [{"@timestamp": stamp(first + n), "message": f"line {n}", "app": service} for n in range(count)]


def test_rows_of_a_remote_cluster_are_read_counted_cited_and_opened_again(
    place: Place, far: Place, source: Any
) -> None:
    """The same document id here and there is two rows."""
    here = place.index("-x", SIMPLE, *simple(300, "cart"))
    order = {"@timestamp": stamp(1), "message": f"order {ORDER}", "app": "cashier"}
    there = far.index("-x", SIMPLE, *simple(200, "stock"), order)
    one = source(logs=(f"other:{far.name}-*", f"{place.name}-*"), page_size=70)
    fetched = logs(one)
    assert (fetched.coverage.status, fetched.coverage.used) == ("ok", 501)
    assert services_of(fetched) == {"cart": 300, "stock": 200, "cashier": 1}
    rows = set(zip(fetched.table.column("_index").to_pylist(), ids(fetched), strict=True))
    assert {(here, "x7"), (f"other:{there}", "x7")} <= rows
    few = logs(one, limit=20, order_id=(ORDER,))
    assert few.table.column("message").to_pylist().count(f"order {ORDER}") == 1
    assert (few.coverage.matched, few.coverage.fetched) == (501, 20)
    own, other = Pointer("log", here, "x7"), Pointer("log", f"other:{there}", "x200")
    lost = Pointer("log", f"other:{there}", "x999")
    opened = one.resolve([own, other, lost])
    assert opened == {own: canonical_json(simple(300, "cart")[7]), other: canonical_json(order), lost: None}
    assert [found.documents for found in one.fields(20) if isinstance(found, Fields)] == [201, 300]
    assert any(line.startswith(f"other:{far.name}-*: 1 index, 201 documents") for line in one.probe())


def test_a_field_that_differs_in_a_remote_cluster_fails_no_shard(place: Place, far: Place, source: Any) -> None:
    """Index names of another cluster hold in what is asked of it."""
    place.index("-x", SIMPLE, *simple(3, "cart"))
    text = {"properties": {"@timestamp": {"type": "date"}, "app": {"type": "text"}, "order_id": {"type": "long"}}}
    far.index("-x", text, *simple(5, "stock"))
    word = {"properties": {"@timestamp": {"type": "keyword"}}}
    bad = far.index("-bad", word, {"@timestamp": stamp(1)})
    place.index("-o", SIMPLE, {"@timestamp": stamp(1), "message": "m", "order_id": ORDER, "app": "cart"})
    fetched = logs(source(logs=(f"other:{far.name}-*", f"{place.name}-*")), limit=5, order_id=(ORDER,))
    assert services_of(fetched) == {"cart": 4}
    assert plan_of(fetched).services_omitted == 5
    assert fetched.coverage.error is not None
    assert fetched.coverage.error.startswith(f"1 document of other:{bad} cannot be found by time")
    assert "failed" not in fetched.coverage.error
    assert "o0" in ids(fetched)


@pytest.mark.alone
@pytest.mark.parametrize("remote", ["gone", "needed", "nobody"])
@pytest.mark.usefixtures("two")
def test_a_remote_cluster_that_is_away_costs_its_own_rows_at_once(place: Place, source: Any, remote: str) -> None:
    """Whether searches may skip it, may not, or nobody knows it."""
    place.index("-x", SIMPLE, *simple(50, "cart"))
    one = source(logs=(f"{place.name}-*", f"{remote}:logs-*"))
    begun = time.monotonic()
    fetched = logs(one)
    assert time.monotonic() - begun < 3, "it is not asked again and again"
    assert (fetched.coverage.status, fetched.coverage.used, fetched.coverage.matched) == ("partial", 50, 50)
    assert remote in str(fetched.coverage.error)
    assert any(remote in line for line in one.probe())


@pytest.mark.alone
def test_a_remote_cluster_that_accepts_and_never_answers_leaves_the_local_rows(
    place: Place, client: Any, source: Any
) -> None:
    place.index("-x", SIMPLE, *simple(50, "cart"))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        remotes(client, deaf=(f"127.0.0.1:{deaf.getsockname()[1]}", False))
        try:
            begun = time.monotonic()
            fetched = logs(source(logs=("deaf:logs-*", f"{place.name}-*")), seconds=6)
            assert time.monotonic() - begun < 6
        finally:
            remotes(client, deaf=None)
    assert (fetched.coverage.status, fetched.coverage.used) == ("partial", 50)
    assert "deaf:logs-*: the remote cluster" in str(fetched.coverage.error)


@pytest.mark.usefixtures("two")
def test_a_pattern_over_several_clusters_does_without_those_that_are_away(far: Place, source: Any) -> None:
    """`other`, `gone` and `needed`; not `must`, which is the node of `other` once more."""
    far.index("-x", SIMPLE, *simple(50, "cart"))
    fetched = logs(source(logs=(f"*e*:{far.name}-*",)))
    assert (fetched.coverage.status, fetched.coverage.used) == ("partial", 50)
    assert "'gone'" in str(fetched.coverage.error)
    assert "'needed'" in str(fetched.coverage.error)


@pytest.mark.usefixtures("two")
def test_where_every_cluster_that_is_asked_is_away_the_source_is_unavailable(source: Any) -> None:
    with pytest.raises(SourceUnavailable, match="gone"):
        logs(source(logs=("gone:logs-*", "needed:logs-*")))


# ---- several clusters in one profile


def test_two_clusters_in_one_profile_are_two_rows_of_the_ledger(
    two: Two, client: Any, tmp_path: Path, source: Any
) -> None:
    """A document that both have stays two rows. When one of them dies, the snapshot has the other's, and says so."""
    index = f"both-{time.time_ns()}"
    indexed = fill(client, index)
    assert len(indexed) == LINES
    half = documents()[::2]
    lines: list[Any] = []
    for number, document in enumerate(half):
        lines += [{"index": {"_id": f"d{number}"}}, document]
    two.client.indices.create(index=index, mappings=SIMPLE)
    assert not two.client.bulk(index=index, operations=lines, refresh=True)["errors"]
    ticket = ticket_file(tmp_path)
    settings = msgspec.structs.replace(Settings(store="unused"), budget=20.0)

    def taken() -> dict[str, Any]:
        pair = [
            source(name="beijing", logs=(index,)),
            source(url=two.far.url, name="shanghai", logs=(index,)),
        ]
        snapshot = take_snapshot(read_ticket(ticket.read_bytes(), ticket.name), pair, settings).snapshot
        cited = {e.source for template in snapshot.templates for e in template.examples}
        return {"cited": cited, **{row.source: row for row in snapshot.coverage}}

    try:
        both = taken()
        assert (both["beijing"].status, both["beijing"].used) == ("ok", LINES)
        assert (both["shanghai"].status, both["shanghai"].used) == ("ok", len(half))
        assert both["cited"] == {"beijing", "shanghai"}
        with two.dead():
            left = taken()
        assert (left["beijing"].status, left["beijing"].used) == ("ok", LINES)
        assert left["shanghai"].status == "failed"
        assert "cannot be reached" in left["shanghai"].error
        assert left["cited"] == {"beijing"}
    finally:
        client.indices.delete(index=index)
        two.client.indices.delete(index=index)


def test_a_remote_cluster_that_dies_between_two_questions_costs_its_own_rows(
    two: Two, place: Place, far: Place, source: Any
) -> None:
    """What is known of the fields is kept for a minute; the remote may go meanwhile."""
    place.index("-x", SIMPLE, *simple(40, "cart"))
    far.index("-x", SIMPLE, *simple(30, "stock"))
    pair = [source(logs=(f"{remote}:{far.name}-*", f"{place.name}-*")) for remote in ("other", "must")]
    assert [logs(one).coverage.used for one in pair] == [70, 70]
    with two.dead():
        for one, remote in zip(pair, ("other", "must"), strict=True):
            fetched = logs(one)
            assert (fetched.coverage.status, fetched.coverage.used) == ("partial", 40), fetched.coverage
            assert f"'{remote}'" in str(fetched.coverage.error) or f"{remote}:" in str(fetched.coverage.error)
