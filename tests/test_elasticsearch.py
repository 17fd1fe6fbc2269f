"""The Elasticsearch source against a real node; what a healthy node cannot be made to do comes from loopback servers."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import itertools
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from parsers.documents.parsing import parse_documents
from parsers.mapping import PRESETS
from parsers.tables import LOGS, SPANS
from parsers.traces.files import parse_trace_file
from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable
from pipeline.sources.elasticsearch import ElasticsearchSource, Options
from pipeline.values import Ask, Fetched, Pointer, Span
from snapshots.model import canonical_json
from tests.load import MAPPINGS, SPAN_MAPPINGS, load_bundle_into_elasticsearch, log_lines

START = datetime(2026, 9, 4, 15, 0, tzinfo=UTC)
HOUR = Span(START, START + timedelta(hours=1))
ORDER = [("@timestamp", "ascending"), ("_index", "ascending"), ("_id", "ascending")]
SECRET = "s3cret-Pa55"
_numbers = itertools.count()


def stamp(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Index:
    """Indices of one test, gone after it."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name, self.made = client, name, []

    def create(self, suffix: str = "", mappings: dict[str, Any] | None = None) -> str:
        name = self.name + suffix
        self.client.indices.create(
            index=name,
            mappings=MAPPINGS if mappings is None else mappings,
            settings={"number_of_shards": 1, "number_of_replicas": 0},
        )
        self.made.append(name)
        return name

    def put(self, documents: list[dict[str, Any]], suffix: str = "", mappings: dict[str, Any] | None = None) -> str:
        """Indexes the documents under `_id` d0, d1, ... and returns the index's name."""
        name = self.create(suffix, mappings)
        self.add(name, documents)
        return name

    def add(self, name: str, documents: list[dict[str, Any]], first: int = 0, operation: str = "index") -> None:
        lines: list[Any] = []
        for number, document in enumerate(documents, start=first):
            lines += [{operation: {"_id": f"d{number}"}}, document]
        answer = self.client.bulk(index=name, operations=lines, refresh=True)
        assert not answer["errors"], answer


@pytest.fixture(scope="session")
def client(elasticsearch_url: str) -> Iterator[Any]:
    from elasticsearch import Elasticsearch

    with Elasticsearch(elasticsearch_url, request_timeout=60) as opened:
        yield opened


@pytest.fixture
def index(client: Any) -> Iterator[Index]:
    made = Index(client, f"test-es-{next(_numbers)}-{time.time_ns()}")
    yield made
    if made.made:
        client.indices.delete(index=",".join(made.made), ignore_unavailable=True)


@pytest.fixture
def source(elasticsearch_url: str) -> Iterator[Callable[..., ElasticsearchSource]]:
    """Makes sources over the node, closed after the test."""
    made: list[ElasticsearchSource] = []

    def make(url: str = elasticsearch_url, **options: Any) -> ElasticsearchSource:
        made.append(ElasticsearchSource("es", Options(url=url, **options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def logs(
    one: ElasticsearchSource, limit: int = 200_000, window: Span = HOUR, seconds: float = 60, **ids: Any
) -> Fetched:
    fetched = one.fetch(Ask("logs", window, ids, limit=limit, deadline=time.monotonic() + seconds))
    adds_up(fetched)
    return fetched


def adds_up(fetched: Fetched) -> None:
    """The ledger's promise."""
    row = fetched.coverage
    assert row.used == fetched.table.num_rows
    assert row.fetched == row.used + row.duplicates + row.outside
    assert row.matched == row.fetched - row.duplicates + row.cut
    assert fetched.complete == (row.status in {"ok", "empty"} and row.cut == 0)


def ids(fetched: Fetched) -> list[str]:
    return fetched.table.column("_id").to_pylist()


def lines(count: int, every: float = 1.0) -> list[dict[str, Any]]:
    """Plain lines, one each `every` seconds; nested and dotted spellings take turns."""
    spellings: list[Callable[[int], dict[str, Any]]] = [
        lambda n: {"log": {"level": "INFO"}, "service": {"name": "shop"}, "trace": {"id": f"{n:032x}"}},
        lambda n: {"log.level": "INFO", "service.name": "shop", "trace.id": f"{n:032x}"},
    ]
    return [{"@timestamp": stamp(n * every), "message": f"line {n} 付款", **spellings[n % 2](n)} for n in range(count)]


# ---- reading everything


def test_pages_give_the_same_table_as_the_documents_themselves(index: Index, source: Any) -> None:
    documents = lines(1_234)
    name = index.put(documents)
    fetched = logs(source(logs=(name,), page_size=100))
    flat = b"\n".join(json.dumps({"_index": name, "_id": f"d{n}", **d}).encode() for n, d in enumerate(documents))
    assert fetched.table.equals(parse_documents(flat, source="es").table.sort_by(ORDER))
    assert (fetched.coverage.status, fetched.coverage.matched, fetched.complete) == ("ok", 1_234, True)
    assert fetched.table.schema == LOGS


def test_a_bundle_read_back_has_its_logs_and_spans(
    cases: Path, elasticsearch_url: str, client: Any, source: Any
) -> None:
    bundle = cases / "TK-20992"
    prefix = f"test-bundle-{time.time_ns()}-"
    counts = load_bundle_into_elasticsearch(elasticsearch_url, bundle, prefix)
    try:
        one = source(logs=(f"{prefix}logs-*",), traces=(f"{prefix}traces-*",))
        day = Span(START - timedelta(hours=12), START + timedelta(hours=12))
        fetched = logs(one, window=day)
        flat = [json.dumps({**line, "_index": prefix + line["_index"]}).encode() for line in log_lines(bundle)]
        assert fetched.table.equals(parse_documents(b"\n".join(flat), source="es").table.sort_by(ORDER))
        spans = one.fetch(Ask("spans", day))
        adds_up(spans)
        path = bundle / "traces" / "spans.json"
        own = parse_trace_file(path.read_bytes(), "traces/spans.json", "es").table
        same = [name for name in SPANS.names if not name.startswith(("_", "log."))]
        by = [("span.id", "ascending"), ("kind", "ascending")]
        assert spans.table.select(same).sort_by(by).equals(own.select(same).sort_by(by))
    finally:
        client.indices.delete(index=",".join(counts))


def test_milliseconds_and_nanoseconds_side_by_side_are_in_order_of_time(index: Index, source: Any) -> None:
    nanos = {**MAPPINGS, "properties": {**MAPPINGS["properties"], "@timestamp": {"type": "date_nanos"}}}
    index.put([{"@timestamp": stamp(n), "message": f"ms {n}"} for n in range(0, 60, 2)], "-a")
    index.put([{"@timestamp": stamp(n), "message": f"ns {n}"} for n in range(1, 60, 2)], "-b", nanos)
    fetched = logs(source(logs=(f"{index.name}-*",), page_size=7))
    assert [m.split()[1] for m in fetched.table.column("message").to_pylist()] == [str(n) for n in range(60)]


def test_the_window_is_half_open_to_the_microsecond(index: Index, source: Any) -> None:
    moments = ["00.000199", "00.000200", "00.000299", "00.000300", "00.000999"]
    index.put([{"@timestamp": f"2026-09-04T15:00:{m}Z", "message": m} for m in moments])
    window = Span(START + timedelta(microseconds=200), START + timedelta(microseconds=300))
    fetched = logs(source(logs=(index.name,)), window=window)
    assert fetched.table.column("message").to_pylist() == ["00.000200", "00.000299"]
    assert fetched.coverage.outside == 3


def test_aliases_and_data_streams_are_read_like_indices(index: Index, client: Any, source: Any) -> None:
    name = index.put(lines(5))
    client.indices.put_alias(index=name, name=f"{name}-alias")
    stream = f"logs-{index.name}-default"
    client.indices.put_index_template(
        name=stream, index_patterns=[stream], data_stream={}, priority=500, template={"mappings": MAPPINGS}
    )
    index.add(stream, lines(7), operation="create")
    backing = client.field_caps(index=stream, fields=["@timestamp"])["indices"]
    fetched = logs(source(logs=(f"{name}-alias", stream)))
    assert sorted(set(fetched.table.column("_index").to_pylist())) == sorted([name, *backing])
    assert fetched.coverage.matched == 12


@pytest.mark.parametrize(
    ("preset", "document"),
    [
        (
            "ecs",
            {
                "message": "pay failed",
                "log": {"level": "error", "logger": "c.s.Pay"},
                "service": {"name": "cashier"},
                "host": {"name": "h1"},
                "trace": {"id": "a" * 32},
                "http": {"response": {"status_code": 502}},
                "labels": {"order_id": "SO1"},
            },
        ),
        (
            "otel",
            {
                "body": {"text": "pay failed"},
                "severity_text": "ERROR",
                "scope": {"name": "c.s.Pay"},
                "resource": {"attributes": {"service.name": "cashier", "host.name": "h1"}},
                "trace_id": "a" * 32,
                "attributes": {"http.response.status_code": 502, "order_id": "SO1"},
            },
        ),
        (
            "logstash",
            {
                "message": "pay failed",
                "level": "ERROR",
                "logger_name": "c.s.Pay",
                "app": "cashier",
                "HOSTNAME": "h1",
                "traceId": "a" * 32,
                "status": 502,
                "orderId": "SO1",
            },
        ),
    ],
)
@pytest.mark.parametrize("chosen", ["own", "auto"])
def test_each_layout_gives_the_same_columns(
    index: Index, source: Any, preset: str, document: dict[str, Any], chosen: str
) -> None:
    index.put([{"@timestamp": stamp(1), **document}])
    fetched = logs(source(logs=(index.name,), mapping=preset if chosen == "own" else "auto"))
    row = fetched.table.to_pylist()[0]
    assert row["message"] == "pay failed"
    assert (row["log.level"], row["log.logger"], row["service.name"]) == ("ERROR", "c.s.Pay", "cashier")
    assert (row["host.name"], row["trace.id"], row["http.response.status_code"]) == ("h1", "a" * 32, 502)
    assert row["labels.order_id"] == "SO1"


def test_configured_fields_are_read_and_searched(index: Index, source: Any) -> None:
    mappings = {**MAPPINGS, "properties": {"when": {"type": "date"}, "say": {"type": "text"}}}
    documents = [{"when": stamp(n), "say": f"word {n}", "biz": {"no": f"B{n}"}} for n in range(50)]
    index.put(documents, mappings=mappings)
    one = source(logs=(index.name,), time_field="when", order_fields=("biz.no",), overrides={"message": ("say",)})
    assert logs(one).table.column("message").to_pylist() == [f"word {n}" for n in range(50)]
    found = logs(one, limit=1, order_id=("B3",))
    assert found.table.select(["message", "labels.order_id"]).to_pylist() == [
        {"message": "word 3", "labels.order_id": "B3"}
    ]


def test_spans_of_apm_and_opentelemetry_become_one_table(index: Index, source: Any) -> None:
    apm = {
        "@timestamp": stamp(1),
        "processor": {"event": "transaction"},
        "trace": {"id": "a" * 32},
        "transaction": {"id": "b" * 16, "name": "POST /pay", "duration": {"us": 1500}},
        "event": {"outcome": "failure"},
        "service": {"name": "cashier"},
    }
    otel = {
        "@timestamp": stamp(2),
        "trace_id": "c" * 32,
        "span_id": "d" * 16,
        "name": "GET",
        "kind": "Client",
        "duration": 2_000_000,
        "status": {"code": "Error"},
        "resource": {"attributes": {"service.name": "gateway"}},
        "attributes": {"http.response.status_code": 504},
    }
    apm_index = index.put([apm], "-apm")
    # A document keeps the line breaks that it was sent with.
    otel_index = index.create("-otel", SPAN_MAPPINGS)
    pretty = json.dumps(otel, indent=2).encode()
    headers = {"content-type": "application/json", "accept": "application/json"}
    index.client.perform_request("PUT", f"/{otel_index}/_doc/d0?refresh=true", headers=headers, body=pretty)
    one = source(traces=(f"{index.name}-*",))
    fetched = one.fetch(Ask("spans", HOUR))
    adds_up(fetched)
    assert fetched.coverage.unparsed == 0
    rows = fetched.table.select(["trace.id", "service.name", "duration_us", "status", "_index", "_id"]).to_pylist()
    assert rows == [
        dict(zip(rows[0], ("a" * 32, "cashier", 1500, "error", apm_index, "d0"), strict=True)),
        dict(zip(rows[0], ("c" * 32, "gateway", 2000, "error", otel_index, "d0"), strict=True)),
    ]
    pointer = Pointer("span", otel_index, "d0")
    assert one.resolve([pointer]) == {pointer: canonical_json(otel)}


def test_a_line_of_a_megabyte_and_a_field_that_changes_type_cost_no_neighbour(index: Index, source: Any) -> None:
    odd = [
        {"@timestamp": stamp(1), "message": "x" * 1_000_000},
        {"@timestamp": stamp(2), "message": "y", "trace": {"id": 7}},
    ]
    index.put(odd + lines(10), mappings={**MAPPINGS, "dynamic": False})
    fetched = logs(source(logs=(index.name,), page_size=3))
    assert fetched.coverage.used == 12
    assert max(len(m) for m in fetched.table.column("message").to_pylist()) == 1_000_000


def test_logs_and_spans_may_be_asked_at_once(index: Index, source: Any) -> None:
    span = {"trace_id": "c" * 32, "name": "GET", "kind": "Client", "duration": 1, "status": {"code": "Ok"}}
    index.put(lines(500), "-logs")
    index.put(
        [{"@timestamp": stamp(n), "span_id": f"{n + 1:016x}", **span} for n in range(500)], "-traces", SPAN_MAPPINGS
    )
    one = source(logs=(f"{index.name}-logs",), traces=(f"{index.name}-traces",), page_size=50)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda what: one.fetch(Ask(what, HOUR)), ["logs", "spans"] * 4))
    assert [answer.coverage.used for answer in answers] == [500] * 8


# ---- more than is wanted


def storm() -> list[dict[str, Any]]:
    """3,600 seconds of lines: one that names the order at the very start, an error each five minutes."""
    documents = lines(3_600)
    documents[0]["message"] = "订单 SO77，金额=1"
    documents[1]["message"] = "[tid:abcdef0123456789abcdef0123456789] queue"
    for n in range(300, 3_600, 300):
        documents[n] = {"@timestamp": stamp(n), "message": f"n{n} lost", "log": {"level": "ERROR"}}
    documents[3_000]["message"] = "连接超时"
    documents[3_000]["log"] = {"level": "INFO"}
    return documents


def test_rows_of_the_ticket_come_first_then_errors_then_a_sample_of_the_rest(index: Index, source: Any) -> None:
    index.put(storm())
    asked = {"order_id": ("SO77",), "trace_id": ("abcdef0123456789abcdef0123456789",)}
    one = source(logs=(index.name,), page_size=50)
    fetched = logs(one, limit=214, **asked)
    got = {int(i[1:]) for i in ids(fetched)}
    assert {0, 1} <= got, "the lines that name the order and the trace"
    assert set(range(300, 3_600, 300)) <= got, "the errors, and the line that speaks of a timeout"
    rest = sorted(got - {0, 1} - set(range(300, 3_600, 300)))
    assert 197 <= len(rest) <= 201
    assert all(sum(low <= n < low + 900 for n in rest) > 20 for low in range(0, 3_600, 900)), "from the whole window"
    row = fetched.coverage
    assert (row.matched, row.cut, row.sampled, row.status) == (3_600, 3_600 - row.fetched, True, "ok")
    assert 210 <= row.fetched <= 214
    assert "2 rows naming 1 order id, 1 trace id" in row.asked
    assert "11 rows at WARN or above" in row.asked
    assert f"{len(rest)} of 3,587 other rows, drawn at random" in row.asked
    assert "SO77" not in row.asked
    assert ids(logs(one, limit=214, **asked)) == ids(fetched), "the same rows are drawn again"
    rates = dict(zip(ids(fetched), fetched.table.column("_rate").to_pylist(), strict=True))
    assert rates["d0"] is rates["d300"] is None
    assert rates[f"d{rest[0]}"] == pytest.approx(len(rest) / 3_587)


def common(count: int) -> list[dict[str, Any]]:
    """Lines of twelve kinds, none of which tells of a failure."""
    kinds = [f"{thing} {verb} for user {{}} in {{}} ms" for thing in ("basket", "coupon", "invoice") for verb in
             ("stored", "loaded", "merged", "queued")]  # fmt: skip
    return [
        {"@timestamp": stamp(n * 3_500 / count), "message": kinds[n % 12].format(n, n % 97), "log": {"level": "INFO"}}
        for n in range(count)
    ]


def test_a_line_written_once_is_found_among_many(index: Index, source: Any) -> None:
    """Nothing in the line says that it matters; a sample of one line in ten would miss it nine times in ten."""
    documents = common(20_000)
    documents[13_000]["message"] = "feature toggle new checkout switched on by operator lina"
    documents[17_000]["message"] = "新结算流程开关已由运营打开"
    index.put(documents)
    fetched = logs(source(logs=(index.name,)), limit=2_000)
    assert {"d13000", "d17000"} <= set(ids(fetched))
    steps = {step.kind: step for step in fetched.coverage.plan.steps}
    assert steps["unexplained"].fetched == 2
    assert steps["sample"].fetched > 1_500
    adds_up(fetched)
    rates = dict(zip(ids(fetched), fetched.table.column("_rate").to_pylist(), strict=True))
    assert rates["d13000"] is rates["d17000"] is None, "it stands for itself alone"


def test_lines_that_cannot_be_searched_by_words_say_what_may_be_missing(index: Index, source: Any) -> None:
    index.put(common(3_000), mappings={"properties": {"message": {"type": "keyword"}}})
    fetched = logs(source(logs=(index.name,)), limit=1_500)
    assert "cannot be searched by words" in " ".join(fetched.coverage.notes)
    assert "unexplained" not in {step.kind for step in fetched.coverage.plan.steps}
    adds_up(fetched)


def test_rows_of_healthy_orders_come_by_name_and_count_as_tied(index: Index, source: Any) -> None:
    documents = common(4_000)
    for n in range(0, 4_000, 400):
        documents[n]["message"] = f"order SO{n} paid"
    index.put(documents)
    ask = Ask(
        "logs",
        HOUR,
        {"order_id": ("SO400",)},
        1_000,
        beside={"order_id": ("SO800", "SO1200")},
        deadline=time.monotonic() + 30,
    )
    one = source(logs=(index.name,))
    fetched = one.fetch(ask)
    assert {"d400", "d800", "d1200"} <= set(ids(fetched))
    tied = one.fetch(dataclasses.replace(ask, rest=False))
    assert set(ids(tied)) == {"d400", "d800", "d1200"}
    assert (tied.coverage.matched, tied.coverage.cut, tied.complete) == (3, 0, False)


def test_what_would_be_read_is_told_without_reading(index: Index, source: Any) -> None:
    index.put(common(3_000))
    plan, said, _ = source(logs=(index.name,)).explain(Ask("logs", HOUR, limit=500, deadline=time.monotonic() + 30))
    assert (plan.rows, plan.limit, sum(step.fetched for step in plan.steps)) == (3_000, 500, 0)
    assert sum(minute.rows for minute in plan.minutes) == 3_000
    assert said.startswith("3,000 rows match and 500 are wanted")


def test_a_limit_is_never_passed_and_hardly_missed(index: Index, source: Any) -> None:
    index.put(storm())
    one = source(logs=(index.name,))
    for limit in (0, 1, 2, 7, 100, 999, 3_599, 3_600):
        fetched = logs(one, limit=limit, order_id=("SO77",))
        row = fetched.coverage
        # Small draws are looked at until they fit; a large one is aimed a little below the limit.
        assert limit * (1.0 if limit < 50 or limit == 3_600 else 0.95) <= row.fetched <= limit
        assert row.matched == row.fetched - row.duplicates + row.cut == 3_600
        assert ("d0" in ids(fetched)) == bool(limit)


def test_a_burst_within_one_moment_is_cut_to_the_limit(index: Index, source: Any) -> None:
    index.put([{"@timestamp": stamp(1_800), "message": f"burst {n}"} for n in range(2_000)])
    fetched = logs(source(logs=(index.name,), page_size=70), limit=333)
    row = fetched.coverage
    assert 327 <= row.fetched <= 333
    assert (row.cut, row.duplicates) == (2_000 - row.fetched, 0)


def test_max_lines_bounds_what_is_asked_for(index: Index, source: Any) -> None:
    index.put(lines(50))
    assert logs(source(logs=(index.name,), max_lines=20)).coverage.fetched == 20


def test_an_answer_larger_than_the_bound_is_cut_and_counted(
    index: Index, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.put(lines(300))
    monkeypatch.setattr("pipeline.sources.elasticsearch.intake._MOST_BYTES", 10_000)
    fetched = logs(source(logs=(index.name,), page_size=10))
    assert fetched.coverage.status == "partial"
    assert 10 <= fetched.coverage.fetched < 100
    assert "the most for one answer" in str(fetched.coverage.error)


@pytest.mark.parametrize(
    ("mapping", "bad", "good"),
    [
        ({"level": {"type": "keyword"}}, {"level": "Warning"}, {"level": "Info"}),
        ({"level": {"type": "long"}}, {"level": 50}, {"level": 30}),
        ({"severity_number": {"type": "long"}}, {"severity_number": 17}, {"severity_number": 9}),
        ({"level_value": {"type": "long"}}, {"level_value": 40_000}, {"level_value": 20_000}),
        ({"log.level": {"type": "text"}}, {"log": {"level": "FATAL"}}, {"log": {"level": "DEBUG"}}),
        ({"http.response.status_code": {"type": "long"}}, {"http.response.status_code": 503}, {"n": 200}),
        ({}, {"message": "2026-09-04 15:00 [ERROR] boom"}, {"message": "all is well"}),
        ({}, {"message": "支付失败，请重试"}, {"message": "支付成功"}),
    ],
)
def test_errors_are_known_by_level_number_status_or_words(
    index: Index, source: Any, mapping: dict[str, Any], bad: dict[str, Any], good: dict[str, Any]
) -> None:
    mappings = {**MAPPINGS, "properties": {**MAPPINGS["properties"], **mapping}}
    documents = [{"@timestamp": stamp(n), "message": "m", **good} for n in range(100)]
    documents[99] |= bad
    index.put(documents, mappings=mappings)
    assert ids(logs(source(logs=(index.name,)), limit=1)) == ["d99"]


# ---- what is absent


def test_an_index_without_rows_in_the_window_is_empty_not_failed(index: Index, source: Any) -> None:
    index.put(lines(5))
    fetched = logs(source(logs=(index.name,)), window=Span(START - timedelta(days=2), START - timedelta(days=1)))
    assert (fetched.coverage.status, fetched.coverage.matched, fetched.complete) == ("empty", 0, True)
    assert fetched.coverage.notes == [f"{index.name}: no row in the window"]
    assert fetched.table.schema == LOGS


def test_a_window_of_nothing_and_one_of_a_century_are_answered(index: Index, source: Any) -> None:
    index.put(lines(5))
    one = source(logs=(index.name,))
    assert logs(one, window=Span(START, START)).coverage.status == "empty"
    century = Span(START - timedelta(days=36_500), START + timedelta(days=36_500))
    assert logs(one, window=century).coverage.matched == 5
    assert logs(one, window=century, limit=3).coverage.cut == 2


def test_an_index_without_documents_is_empty_even_without_a_mapping(index: Index, source: Any) -> None:
    name = index.create(mappings={})
    fetched = source(logs=(name,)).fetch(Ask("logs", HOUR))
    assert (fetched.coverage.status, fetched.coverage.notes) == ("empty", [f"{name}: no document yet"])


def test_a_pattern_that_matches_nothing_is_noted_beside_one_that_does(index: Index, source: Any) -> None:
    name = index.put(lines(5))
    fetched = logs(source(logs=(name, "no-such-*", "no-such-index")))
    assert fetched.coverage.status == "ok"
    assert fetched.coverage.notes == ["no index matches no-such-*", "no index matches no-such-index"]


@pytest.mark.parametrize("pattern", ["no-such-*", "no-such-index"])
def test_no_index_at_all_is_an_error_that_names_the_pattern(source: Any, pattern: str) -> None:
    with pytest.raises(SourceBroken, match=r"no index, alias or data stream matches no-such.*correct `logs`"):
        source(logs=(pattern,)).fetch(Ask("logs", HOUR))


def test_a_missing_time_field_names_the_index_the_field_and_the_remedy(index: Index, source: Any) -> None:
    mappings = {"date_detection": False, "properties": {"logged": {"type": "date"}, "@timestamp": {"type": "keyword"}}}
    name = index.put([{"logged": stamp(1), "@timestamp": "late", "message": "x"}], mappings=mappings)
    with pytest.raises(SourceBroken) as caught:
        source(logs=(name,)).fetch(Ask("logs", HOUR))
    assert f"index {name}" in str(caught.value)
    assert "'@timestamp' is keyword" in str(caught.value)
    assert "set time_field to one of its date fields: logged" in str(caught.value)


def test_documents_that_time_cannot_find_make_the_answer_partial(index: Index, source: Any) -> None:
    index.put(lines(5), "-a")
    odd = index.put([{"message": "no time"}] * 3, "-b", {"properties": {"message": {"type": "text"}}})
    fetched = logs(source(logs=(f"{index.name}-*",)))
    assert (fetched.coverage.status, fetched.coverage.used) == ("partial", 5)
    wrong = f"3 documents of {odd} cannot be found by time: '@timestamp' is not a date there"
    assert wrong in str(fetched.coverage.error)


def test_shards_that_fail_are_reported_and_the_rest_is_kept(index: Index, source: Any) -> None:
    index.put([{"@timestamp": stamp(n), "message": f"order SO{n}"} for n in range(50)], "-a")
    no_positions = {
        "properties": {"@timestamp": {"type": "date"}, "message": {"type": "text", "index_options": "docs"}}
    }
    index.put([{"@timestamp": stamp(n), "message": f"order SO{n}"} for n in range(50)], "-b", no_positions)
    fetched = logs(source(logs=(f"{index.name}-*",)), limit=30, order_id=("order SO7",))
    assert fetched.coverage.status == "partial"
    assert "1 of 2 shards failed" in str(fetched.coverage.error)
    assert fetched.coverage.used
    assert not fetched.complete


def test_what_is_not_configured_is_skipped(source: Any) -> None:
    one = source(logs=("x",))
    assert one.holds == {"logs"}
    assert one.fetch(Ask("spans", HOUR)).coverage.status == "skipped"


# ---- evidence


def test_evidence_resolves_to_the_whole_source(index: Index, source: Any) -> None:
    documents = [{**line, "extra": {"n": n, "f": 1.0, "deep": [{"a": None}]}} for n, line in enumerate(lines(30))]
    name = index.put(documents)
    one = source(logs=(name,))
    pointers = [Pointer("log", name, i) for i in ids(logs(one))]
    gone = [Pointer("log", name, "gone"), Pointer("log", "no-such-index", "d0"), Pointer("log", name)]
    found = one.resolve([*pointers, *gone])
    assert [found[p] for p in pointers] == [canonical_json(d) for d in documents]
    assert [found[p] for p in gone] == [None, None, None]


def test_evidence_resolves_without_an_index_and_behind_a_routing_key(index: Index, client: Any, source: Any) -> None:
    name = f"{index.name}-routed"
    index.made.append(name)
    client.indices.create(index=name, mappings=MAPPINGS, settings={"number_of_shards": 5, "number_of_replicas": 0})
    document = lines(1)[0]
    for n in range(20):
        client.index(index=name, id=f"r{n}", routing="one-shard", document=document, refresh=True)
    pointers = [Pointer("log", name if n % 2 else None, f"r{n}") for n in range(20)]
    assert set(source(logs=(name,)).resolve(pointers).values()) == {canonical_json(document)}


def test_probe_tells_version_documents_newest_record_and_fields(index: Index, source: Any) -> None:
    name = index.put(lines(3))
    told = "\n".join(source(logs=(name,)).probe())
    assert told.startswith("Elasticsearch 9.")
    assert f"{name}: 1 index, 3 documents, newest 2026-09-04T15:00:02.000Z" in told
    assert "  time: @timestamp (date)" in told
    assert "  trace: trace.id (keyword)" in told
    assert "  order: not mapped" in told


# ---- a node that misbehaves: a relay on loopback before the real one


@contextmanager
def serving(
    answer: Callable[[BaseHTTPRequestHandler, bytes], tuple[int, dict[str, str], bytes]],
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """A loopback HTTP server whose answers are made by `answer`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            try:
                status, headers, data = answer(self, body)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)
            except ConnectionError:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = reply  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that turns away a certificate is no error of the server's."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PRODUCT = {"x-elastic-product": "Elasticsearch", "content-type": "application/json"}


def relay(node: str, before: Callable[[int, str], tuple[int, dict[str, str], bytes] | None], after: Any = None) -> Any:
    """Forwards to `node` what `before(search_number, path)` does not answer; then `after(search_number, answer)`."""
    searches = itertools.count(1)

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        number = next(searches) if request.path.startswith("/_search") else 0
        own = before(number, request.path)
        if own is not None:
            return own
        got = passed_on(node, request, body)
        if after is not None:
            after(number, got[2])
        return got

    return serving(answer)


def passed_on(node: str, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """What `node` answers to a request that came to somebody else."""
    connection = http.client.HTTPConnection(urlsplit(node).netloc, timeout=30)
    headers = {k: v for k, v in request.headers.items() if k.lower() not in {"host", "connection"}}
    connection.request(request.command, request.path, body, headers)
    got = connection.getresponse()
    data = got.read()
    connection.close()
    return got.status, {"content-type": got.headers["content-type"], "x-elastic-product": "Elasticsearch"}, data


def test_an_expired_point_in_time_loses_and_doubles_nothing(
    index: Index, client: Any, source: Any, elasticsearch_url: str
) -> None:
    """The relay deletes the point in time behind the reader's back, twice, amid rows of equal time."""
    index.put([{"@timestamp": stamp(n // 40), "message": f"row {n}"} for n in range(400)])

    def forget(number: int, data: bytes) -> None:
        # The first search counts; pages follow.
        if number in {3, 6}:
            client.close_point_in_time(id=json.loads(data)["pit_id"])

    with relay(elasticsearch_url, lambda *_: None, forget) as url:
        fetched = logs(source(url=url, logs=(index.name,), page_size=50))
    assert sorted(ids(fetched)) == sorted(f"d{n}" for n in range(400))
    assert fetched.coverage.fetched - fetched.coverage.duplicates == 400
    assert fetched.coverage.duplicates >= 50, "what was read of the stretch comes again"
    assert fetched.coverage.notes == ["the point in time expired and was opened again (2 times)"]
    assert (fetched.coverage.status, fetched.complete) == ("ok", True)


def test_a_point_in_time_that_never_lasts_ends_with_an_error(
    index: Index, client: Any, source: Any, elasticsearch_url: str
) -> None:
    index.put(lines(200))

    def forget(number: int, data: bytes) -> None:
        if number and b"pit_id" in data:
            client.close_point_in_time(id=json.loads(data)["pit_id"])

    with relay(elasticsearch_url, lambda *_: None, forget) as url:
        fetched = logs(source(url=url, logs=(index.name,), page_size=50))
    assert fetched.coverage.status == "partial"
    assert "the point in time expired" in str(fetched.coverage.error)


def test_the_point_in_time_is_given_back(index: Index, client: Any, source: Any) -> None:
    def open_contexts() -> int:
        return client.indices.stats(index=index.name, metric="search")["_all"]["total"]["search"]["open_contexts"]

    index.put(lines(50))
    before = open_contexts()
    logs(source(logs=(index.name,), page_size=10))
    # The answer does not wait for it.
    for _ in range(50):
        if open_contexts() == before:
            break
        time.sleep(0.02)
    assert open_contexts() == before


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_node_is_asked_again(index: Index, source: Any, elasticsearch_url: str, status: int) -> None:
    index.put(lines(20))
    busy = (status, PRODUCT, b'{"error":{"type":"busy","reason":"busy"},"status":0}')
    with relay(elasticsearch_url, lambda n, _: busy if n in {1, 2} else None) as url:
        assert logs(source(url=url, logs=(index.name,))).coverage.used == 20


def test_a_node_that_stays_busy_is_unavailable(index: Index, source: Any, elasticsearch_url: str) -> None:
    index.put(lines(20))
    busy = (429, PRODUCT, b'{"error":{"type":"busy","reason":"queue is full"},"status":429}')
    with (
        relay(elasticsearch_url, lambda n, _: busy if n else None) as url,
        pytest.raises(SourceUnavailable, match=r"overloaded or restarting \(429\): queue is full"),
    ):
        logs(source(url=url, logs=(index.name,), retries=1))


def test_a_failure_amid_the_pages_keeps_what_was_read(index: Index, source: Any, elasticsearch_url: str) -> None:
    index.put(lines(200))
    broken = (500, PRODUCT, b'{"error":{"type":"oom","reason":"out of memory"},"status":500}')
    with relay(elasticsearch_url, lambda n, _: broken if n > 3 else None) as url:
        fetched = logs(source(url=url, logs=(index.name,), page_size=50))
    row = fetched.coverage
    assert (row.status, row.matched, row.fetched, row.cut) == ("partial", 200, 100, 100)
    assert "answered 500: out of memory" in str(row.error)


def test_the_deadline_ends_the_reading_and_the_rest_counts_as_cut(
    index: Index, source: Any, elasticsearch_url: str
) -> None:
    index.put(lines(400))

    def slow(number: int, _: str) -> None:
        time.sleep(0.15 if number else 0)

    with relay(elasticsearch_url, slow) as url:
        began = time.monotonic()
        fetched = logs(source(url=url, logs=(index.name,), page_size=10), seconds=1.5)
        took = time.monotonic() - began
    row = fetched.coverage
    assert (row.status, row.matched) == ("partial", 400)
    assert 0 < row.fetched < 400
    assert "was not read to the end" in str(row.error)
    # All 40 pages would take six seconds.
    assert took < 4


def test_a_node_that_hangs_is_given_up_in_time(source: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = source(url=f"http://127.0.0.1:{listener.getsockname()[1]}", logs=("x",))
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match="did not answer in time"):
            logs(one, seconds=1)
        assert time.monotonic() - began < 5


# ---- no node at all: these need no service


def lone(url: str, **options: Any) -> ElasticsearchSource:
    return ElasticsearchSource("es", Options(url=url, logs=("logs-*",), retries=1, **options))


def said(error: pytest.ExceptionInfo[SourceError]) -> str:
    """Everything that a person or a log could see of an error of ours."""
    return f"{error.value} {error.value!r}"


@pytest.mark.parametrize("login", [{"username": "elastic", "password": SECRET}, {"api_key": SECRET}])
def test_a_wrong_password_is_refused_and_never_told(login: dict[str, str]) -> None:
    """The test node has no security: a loopback server answers 401 as Elasticsearch does, quoting what it was given."""
    seen = []

    def refuse(request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, dict[str, str], bytes]:
        seen.append(request.headers["authorization"])
        reason = f"unable to authenticate with {SECRET}"
        return 401, PRODUCT, json.dumps({"error": {"type": "security_exception", "reason": reason}}).encode()

    with serving(refuse) as url, pytest.raises(SourceRefused, match=r"refused the login \(401\)") as caught:
        lone(url, **login).fetch(Ask("logs", HOUR))
    assert SECRET not in said(caught)
    assert seen[0].startswith("Basic" if "password" in login else "ApiKey")
    assert len(seen) == 1, "a wrong password is not tried again"


def test_a_login_in_the_url_is_used_and_never_told() -> None:
    seen = []

    def refuse(request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, dict[str, str], bytes]:
        seen.append(request.headers["authorization"])
        return 403, PRODUCT, json.dumps({"error": {"type": "security_exception", "reason": f"no {SECRET}"}}).encode()

    with serving(refuse) as url:
        one = lone(url.replace("//", f"//me:{SECRET}@"))
        with pytest.raises(SourceRefused, match=r"forbids this \(403\): no \*\*\*") as caught:
            one.fetch(Ask("logs", HOUR))
    assert SECRET not in said(caught) + repr(one) + repr(one.options) + str(one.options.__rich_repr__())
    assert seen[0].startswith("Basic")


def test_the_client_never_writes_to_the_users_screen() -> None:
    code = (
        "from pipeline.sources.elasticsearch import *; from pipeline.values import *; from pipeline.errors import *\n"
        "one = ElasticsearchSource('es', Options(url='http://127.0.0.1:1', logs=('x',), retries=1))\n"
        "try: one.probe()\nexcept SourceUnavailable: print('unavailable')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("unavailable\n", "")


def test_a_port_that_nobody_listens_on_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        # By the name that the library gives to a connection, not by one of ours.
        with pytest.raises(SourceUnavailable, match=r"cannot be reached: HTTPConnection\(host="):
            lone(url).fetch(Ask("logs", HOUR))


def test_a_server_that_speaks_no_tls_is_told_apart() -> None:
    with (
        serving(lambda *_: (200, PRODUCT, b"{}")) as url,
        pytest.raises(SourceUnavailable, match=r"TLS failed.*check the address.*http://"),
    ):
        lone(url.replace("http:", "https:"), verify_certs=False).fetch(Ask("logs", HOUR))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of our own for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    crt, key = folder / "node.crt", folder / "node.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=node"
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(crt)]
    subprocess.run([*command.split(), *extra], check=True, capture_output=True)
    return crt, key


def test_a_node_behind_tls_is_trusted_by_authority_fingerprint_or_not_at_all(certificate: tuple[Path, Path]) -> None:
    crt, key = certificate
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(crt, key)
    server.load_verify_locations(crt)
    server.verify_mode = ssl.CERT_OPTIONAL
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(crt.read_text())).hexdigest()
    shown = []

    def greet(request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, dict[str, str], bytes]:
        shown.append(bool(request.connection.getpeercert()))  # type: ignore[attr-defined]
        return 200, PRODUCT, b'{"indices":[],"fields":{}}'

    with serving(greet, server) as url:
        for trust in (
            {"ca_certs": str(crt)},
            {"ssl_assert_fingerprint": fingerprint},
            {"verify_certs": False},
            {"ca_certs": str(crt), "client_cert": str(crt), "client_key": str(key)},
        ):
            with pytest.raises(SourceBroken, match="no index, alias or data stream matches"):
                lone(url, **trust).fetch(Ask("logs", HOUR))
        for doubt in ({}, {"ssl_assert_fingerprint": "00" * 32}):
            with pytest.raises(SourceUnavailable, match="TLS failed"):
                lone(url, **doubt).fetch(Ask("logs", HOUR))
        with pytest.raises(SourceBroken, match="ca_certs names a file that is not there"):
            lone(url, ca_certs="no/such/file.crt").fetch(Ask("logs", HOUR))
    assert shown == [False, False, False, True], "the client certificate is shown where it is configured"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "application/json"}, b'{"indices":["a"],"fields":{}}'),
        (PRODUCT, b"<html>"),
        ({"content-type": "text/html"}, b"<html>"),
        (PRODUCT, b""),
    ],
)
def test_something_else_than_elasticsearch_is_broken_not_empty(headers: dict[str, str], body: bytes) -> None:
    with serving(lambda *_: (200, headers, body)) as url, pytest.raises(SourceBroken):
        lone(url).fetch(Ask("logs", HOUR))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "http://h:9200"}, "name what to read"),
        ({"url": "h:9200", "logs": ["x"]}, "url must look like"),
        ({"url": "http://h:9200", "logs": ["x"], "api_key": SECRET, "username": "u", "password": SECRET}, "not both"),
        ({"url": "http://h:9200", "logs": ["x"], "username": "u"}, "go together"),
        ({"url": "http://h:9200", "logs": ["x"], "zone": "Mars/Olympus"}, "IANA"),
        ({"url": "http://h:9200", "logs": ["x"], "overrides": {"nope": ["a"]}}, "no log column is called 'nope'"),
        ({"url": "http://h:9200", "logs": ["x"], "page_size": 0}, "page_size"),
        ({"url": "http://h:9200", "logs": ["x"], "pagesize": 5}, "pagesize"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message) as caught:
        msgspec.convert({"kind": "elasticsearch", **options}, Options)
    assert SECRET not in str(caught.value)


def test_every_preset_can_be_chosen() -> None:
    for name in PRESETS:
        assert Options(url="http://h:9200", logs=("x",), mapping=name).field_mapping() == PRESETS[name]


def test_the_client_is_loaded_only_when_asked() -> None:
    code = (
        "import sys, pipeline.sources.elasticsearch; print('elasticsearch' in sys.modules, 'tenacity' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_columns_give_every_row_once_with_the_fields_as_they_are(index: Index, source: Any) -> None:
    index.put([{**one, "service.name": f"s{n % 3}"} for n, one in enumerate(lines(2_500))])
    ask = Ask("logs", HOUR, deadline=time.monotonic() + 30)
    table = source(logs=(index.name,), page_size=300).columns(ask, ["@timestamp", "service.name"])
    assert table.column_names == ["_index", "_id", "@timestamp", "service.name"]
    assert sorted(table.column("_id").to_pylist()) == sorted(f"d{n}" for n in range(2_500))
    assert set(table.column("service.name").to_pylist()) == {"s0", "s1", "s2"}
    nothing = source(logs=(index.name,)).columns(Ask("logs", Span(START - timedelta(days=9), START)), ["message"])
    assert nothing.num_rows == 0


def test_settings_load_neither_the_client_nor_the_parsers() -> None:
    """Help, completion and a wrong option are answered at once."""
    code = "import sys, pipeline.settings; print([n for n in ('elasticsearch', 'pandas', 'pyarrow.json', 'drain3') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
