"""A hundred thousand spans in one trace: everything is read, little of it is told, and no step is worse than linear."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.traces.files import find_spans, parse_trace_file
from parsers.traces.otlp import parse_otlp
from pipeline.evidence import channel_codes, exceptions, http_status, unseen
from pipeline.evidence.case import Case
from pipeline.evidence.spans import _alike, _usual
from pipeline.run import take_snapshot
from pipeline.sources.bundle.source import BundleSource
from pipeline.sources.jaeger import JaegerSource
from pipeline.sources.jaeger import Options as JaegerOptions
from pipeline.sources.tempo import Options as TempoOptions
from pipeline.sources.tempo import TempoSource
from pipeline.values import Ask
from tests.flow_samples import ORDER, SETTINGS, START, case_of, hit, span_row, take, ticket_of, write_bundle
from tests.large_traces import SHAPES, TRACE, as_bytes

COUNT = 100_000
KINDS = ("otlp", "jaeger", "tempo")
LISTED = 40


def bundle(folder: Path, traces: bytes | None) -> Path:
    lines = [
        hit(n, f"order {ORDER} step {n}: Read timed out", level="ERROR", trace={"id": TRACE}, service={"name": "svc-1"})
        for n in range(5)
    ]
    return write_bundle(folder, logs=lines, traces=traces)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_snapshot_of_a_hundred_thousand_spans_says_what_it_does_not_list(tmp_path, shape):
    snapshot = take(bundle(tmp_path / "b", as_bytes("otlp", shape, COUNT, START)))
    (row,) = [row for row in snapshot.coverage if row.what == "spans"]
    assert (row.status, row.used, row.cut) == ("ok", COUNT, 0)
    assert len(snapshot.spans) == LISTED
    told = {check.id: check.statement.en for check in snapshot.checks}
    assert f"{COUNT - LISTED} spans" in told["unlisted_spans"]
    assert f"of {COUNT} spans" in told["spans"]
    assert any(found.kind == "exception.io" for found in snapshot.findings)
    assert len(snapshot.findings) < 100


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_answer_holds_the_same_spans(shape):
    tables = [parse_trace_file(as_bytes(kind, shape, 2_000, START), "t", "s").table for kind in KINDS]
    columns = [
        "trace.id",
        "span.id",
        "parent.id",
        "name",
        "kind",
        "service.name",
        "@timestamp",
        "duration_us",
        "status",
    ]
    rows = [table.select(columns).sort_by("span.id").to_pylist() for table in tables]
    assert rows[0] == rows[1] == rows[2]
    assert len(rows[0]) == 2_000


class Answers(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)


@pytest.mark.parametrize("kind", ["jaeger", "tempo"])
def test_a_snapshot_by_a_service_holds_the_whole_trace(tmp_path, kind):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    server.body = as_bytes(kind, "chain", COUNT, START)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    folder = bundle(tmp_path / "b", None)
    source = (
        JaegerSource("traces", JaegerOptions(url=url))
        if kind == "jaeger"
        else TempoSource("traces", TempoOptions(url=url))
    )
    try:

        class NamedOnly:
            """Asks the service for the named traces only: this server has the one answer for every question."""

            def __getattr__(self, name: str) -> Any:
                return getattr(source, name)

            def fetch(self, ask: Ask) -> Any:
                return source.fetch(Ask(ask.what, ask.window, ask.identifiers, ask.limit, rest=False))

        made = take_snapshot(ticket_of(folder), [BundleSource("bundle", folder), NamedOnly()], SETTINGS).snapshot
        (row,) = [row for row in made.coverage if row.what == "spans" and row.source == "traces"]
        assert (row.used, row.status) == (COUNT, "ok")
        assert len(made.spans) == LISTED
    finally:
        source.close()
        server.shutdown()
        thread.join()
        server.server_close()


FAILED: dict[str, Any] = {
    "status": "error",
    "http.response.status_code": 503,
    "rpc.status_code": "14",
    "server.address": "far.example",
    "exception.type": "java.net.SocketTimeoutException",
}


def failing(count: int, *, distinct: bool) -> Case:
    """A case of `count` failing spans that all say the same, or each something else."""
    rows = []
    for n in range(count):
        code = f"QX_{n}_REFUSED" if distinct else "QX_1_REFUSED"
        more = {"exception.message": f"number {n} timed out" if distinct else "timed out"}
        attributes = f'{{"channel":"alipay","error_code":"{code}","error_msg":"no {code} here"}}'
        rows.append(span_row("a" * 32, f"{n:016x}", kind="client", attributes=attributes, **FAILED, **more))
    return case_of([], [], rows)


DETECTORS = [exceptions, http_status, channel_codes, unseen]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda module: module.__name__.rpartition(".")[2])
@pytest.mark.parametrize("distinct", [False, True], ids=["same", "distinct"])
def test_a_detector_opens_a_bounded_number_of_spans(monkeypatch, detector, distinct):
    opened = []
    cite = Case.cite_span
    monkeypatch.setattr(Case, "cite_span", lambda *args: opened.append(args) or cite(*args))
    few, many = failing(1_000, distinct=distinct), failing(3_000, distinct=distinct)
    detector.detect(few)
    once = len(opened)
    seen = detector.detect(many)
    assert 0 < once == len(opened) - once <= 1_000
    told = [one for one in seen.found if one.cites]
    assert told
    if distinct and detector is not http_status:
        assert seen.omitted >= 2_000


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_what_is_the_same_in_many_spans_is_said_as_of_a_few(detector):
    few, many = (detector.detect(failing(count, distinct=False)) for count in (10, 2_000))
    assert [(f.kind, f.cites, f.strength) for f in few.found] == [(f.kind, f.cites, f.strength) for f in many.found]
    assert few.omitted == many.omitted == 0


names = st.sampled_from([None, "a", "b"])
operations = st.tuples(names, names, st.sampled_from([None, "client", "server"]), st.none() | st.integers(0, 9))


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    keys = ("service.name", "name", "kind", "duration_us")
    types = (pa.string(), pa.string(), pa.string(), pa.int64())
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(types)]
    return pa.table(dict(zip(keys, columns, strict=True)))


@given(st.lists(operations, max_size=60), st.lists(operations, min_size=1, max_size=5))
def test_what_an_operation_usually_takes_is_what_filtering_the_others_gives(others, mine):
    table, spans = _table(others), _table(mine)
    usual = _usual(table, [row[:3] for row in mine])
    for number, row in enumerate(mine):
        alike = table.column("duration_us").filter(_alike(table, spans, number)).drop_null()
        if len(alike) < 5 or row[:3] == (None, None, None):
            assert row[:3] not in usual
        else:
            assert usual[row[:3]] == (pc.approximate_median(alike).as_py(), pc.max(alike).as_py(), len(alike))


def test_values_nested_deeper_than_anybody_writes_cost_one_span_and_not_the_file():
    value = b"1"
    for _ in range(600):
        value = b'{"x":' + value + b"}"
    spans = [
        b'{"trace_id":"%s","span_id":"%016x","attributes":[{"key":"a","value":%s}]}' % (TRACE.encode(), n + 1, v)
        for n, v in enumerate([value, b'{"string_value":"x"}'])
    ]
    data = b'{"resource_spans":[{"scope_spans":[{"spans":[' + b",".join(spans) + b"]}]}]}"
    parsed = parse_otlp(data, source="s", file=None)
    assert (parsed.table["span.id"].to_pylist(), parsed.unparsed) == ([f"{2:016x}"], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_spans_are_found_again_among_many(kind):
    data = as_bytes(kind, "chain", 3_000, START)
    wanted = {(TRACE, f"{n:016x}") for n in (1, 1_500, 3_000, 9_999)}
    assert set(find_spans(data, wanted)) == {(TRACE, f"{n:016x}") for n in (1, 1_500, 3_000)}
