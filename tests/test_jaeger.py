"""Jaeger's HTTP API, on a real server on loopback that answers as Jaeger does."""

import base64
import json
import select
import ssl
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest

from pipeline.errors import SourceBroken, SourceRefused, SourceUnavailable
from pipeline.sources.jaeger import JaegerSource, Options
from pipeline.values import Ask, Pointer, Span
from snapshots.model import canonical_json
from tests.web import serving, sources

START = datetime(2026, 9, 4, 15, 0, tzinfo=UTC)
WINDOW = Span(START, START + timedelta(minutes=10))
START_US = int(START.timestamp()) * 1_000_000


def trace(number, service="cashier", at=0, spans=2):
    trace_id = f"{number:032x}"
    return {
        "traceID": trace_id,
        "spans": [
            {
                "traceID": trace_id,
                "spanID": f"{number * 100 + n + 1:016x}",
                "operationName": "POST",
                "references": [],
                "startTime": START_US + at * 1_000_000 + n,
                "duration": 10,
                "tags": [{"key": "span.kind", "type": "string", "value": "client"}],
                "logs": [],
                "processID": "p1",
                "warnings": None,
            }
            for n in range(spans)
        ],
        "processes": {"p1": {"serviceName": service, "tags": []}},
        "warnings": None,
    }


class Jaeger(ThreadingHTTPServer):
    """Traces by service, answered as Jaeger's query service does; `failures` are answered first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.traces = []
        self.failures = []
        self.asked = []
        self.authorization = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that hangs up is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.server.asked.append((unquote(parts.path), query))
        if self.server.authorization and self.headers.get("Authorization") != self.server.authorization:
            self.answer(401, {"errors": [{"code": 401, "msg": "no"}]})
        elif self.server.failures:
            failure = self.server.failures.pop(0)
            if callable(failure):
                failure(self)
            else:
                self.answer(*failure)
        elif parts.path == "/api/services":
            self.answer(200, {"data": sorted({t["processes"]["p1"]["serviceName"] for t in self.server.traces})})
        elif parts.path == "/api/traces":
            start, end, limit = (int(query[key]) for key in ("start", "end", "limit"))
            found = [
                t
                for t in self.server.traces
                if t["processes"]["p1"]["serviceName"] == query["service"]
                and start <= t["spans"][0]["startTime"] <= end
            ]
            self.answer(200, {"data": found[-limit:], "total": 0, "limit": 0, "offset": 0, "errors": None})
        else:
            found = [t for t in self.server.traces if t["traceID"] == parts.path.rpartition("/")[2]]
            if found:
                self.answer(200, {"data": found, "errors": None})
            else:
                self.answer(404, {"data": None, "errors": [{"code": 404, "msg": "trace not found"}]})


@pytest.fixture
def jaeger():
    with serving(Jaeger()) as server:
        yield server


@pytest.fixture
def source(jaeger):
    with sources(JaegerSource, Options, jaeger.url) as make:
        yield make


def ask(*traces, **more):
    return Ask("spans", WINDOW, {"trace_id": traces}, **more)


def adds_up(fetched):
    row = fetched.coverage
    return (
        row.fetched
        == row.used + row.duplicates + row.unparsed
        == fetched.table.num_rows + row.duplicates + row.unparsed
    )


def test_named_traces_come_first_then_those_of_the_window(jaeger, source):
    jaeger.traces = [trace(1, at=1), trace(2, "order", at=2), trace(3, at=-3600)]
    fetched = source().fetch(ask(trace(3)["traceID"]))
    numbers = [int(value, 16) for value in fetched.table["trace.id"].to_pylist()]
    assert numbers == [3, 3, 1, 1, 2, 2]
    assert fetched.coverage.status == "ok"
    assert adds_up(fetched)
    assert "services cashier, order" in fetched.coverage.asked
    assert [path for path, _ in jaeger.asked] == [
        "/api/traces/" + trace(3)["traceID"],
        "/api/services",
        "/api/traces",
        "/api/traces",
    ]
    assert set(fetched.table["service.name"].to_pylist()) == {"cashier", "order"}


def test_a_trace_that_jaeger_does_not_have_is_no_failure(source):
    fetched = source().fetch(ask("f" * 32))
    assert (fetched.coverage.status, fetched.coverage.error, fetched.table.num_rows) == ("empty", None, 0)
    assert "does not have" in " ".join(fetched.coverage.notes)


def test_a_named_trace_that_lies_in_the_window_is_counted_once(jaeger, source):
    jaeger.traces = [trace(1)]
    fetched = source().fetch(ask(trace(1)["traceID"]))
    assert (fetched.table.num_rows, fetched.coverage.duplicates, fetched.coverage.fetched) == (2, 2, 4)


def test_a_full_answer_is_asked_again_in_halves(jaeger, source):
    jaeger.traces = [trace(n, at=n) for n in range(1, 101)]
    fetched = source(traces_per_search=20, services=("cashier",)).fetch(ask())
    assert fetched.table.num_rows == 200
    assert fetched.coverage.status == "ok"
    assert adds_up(fetched)


def test_more_traces_than_the_limit_at_one_moment_are_told(jaeger, source):
    jaeger.traces = [trace(n, at=1) for n in range(1, 30)]
    fetched = source(traces_per_search=20, services=("cashier",)).fetch(ask())
    assert fetched.coverage.status == "partial"
    assert fetched.coverage.matched is None
    assert "there may be more" in " ".join(fetched.coverage.notes)


def test_rows_beyond_the_limit_are_counted_as_cut(jaeger, source):
    jaeger.traces = [trace(1, at=1), trace(2, at=2)]
    fetched = source().fetch(ask(limit=3))
    assert (fetched.table.num_rows, fetched.coverage.cut, fetched.coverage.status) == (3, 1, "partial")
    assert fetched.coverage.matched == 4


def test_services_beyond_the_most_are_told(jaeger, source):
    jaeger.traces = [trace(n, f"s{n}") for n in range(1, 6)]
    fetched = source(max_services=2).fetch(ask())
    assert fetched.coverage.status == "partial"
    assert "3 of 5 services not searched" in " ".join(fetched.coverage.notes)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failure_that_passes_is_tried_again(jaeger, source, status):
    jaeger.traces = [trace(1)]
    jaeger.failures = [(status, {}), (status, {})]
    assert source().fetch(ask()).table.num_rows == 2


def test_a_failure_that_stays_is_unavailable(jaeger, source):
    jaeger.failures = [(500, {})] * 9
    with pytest.raises(SourceUnavailable, match="answered 500"):
        source(attempts=2).fetch(ask())
    assert len(jaeger.asked) == 2


def test_a_failure_after_an_answer_keeps_what_there_was(jaeger, source):
    jaeger.traces = [trace(1)]
    one = source(attempts=1, services=("cashier", "order"))
    one.fetch(ask())
    jaeger.failures = [(200, {"data": [trace(1)]}), (500, {})]
    fetched = one.fetch(ask())
    assert (fetched.table.num_rows, fetched.coverage.status) == (2, "partial")
    assert "answered 500" in fetched.coverage.error


def hang(handler):
    # Until the client goes away.
    select.select([handler.connection], [], [], 10)
    handler.close_connection = True


def trickle(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def hang_up(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data":')
    handler.close_connection = True


@pytest.mark.parametrize("slow", [hang, trickle])
def test_a_server_that_hangs_costs_no_more_than_the_deadline(jaeger, source, slow):
    jaeger.failures = [slow] * 5
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="in time"):
        source().fetch(ask(deadline=began + 0.3))
    # Far more than the deadline, since the machine may be busy, and far less than the server would take.
    assert time.monotonic() - began < 5


def test_no_time_left_asks_nothing(jaeger, source):
    with pytest.raises(SourceUnavailable, match="no time"):
        source().fetch(ask("a" * 32, deadline=time.monotonic() - 1))
    assert jaeger.asked == []


def test_an_answer_that_breaks_off_is_tried_again(jaeger, source):
    jaeger.traces = [trace(1)]
    jaeger.failures = [hang_up]
    assert source(services=("cashier",)).fetch(ask()).table.num_rows == 2


@pytest.mark.parametrize(
    "body",
    [
        b"<html>login</html>",
        b'{"data": [',
        b"[]",
        b"\xff\xfe",
        b'{"data": "x"}',
        b'{"data":null,"errors":[{"msg":"no"}]}',
    ],
)
def test_an_answer_that_is_not_jaegers_is_broken(jaeger, source, body):
    jaeger.failures = [(200, body)]
    with pytest.raises(SourceBroken):
        source(services=("cashier",)).fetch(ask())


def test_nobody_listens():
    one = JaegerSource("traces", Options(url="http://127.0.0.1:9", attempts=2))
    with pytest.raises(SourceUnavailable, match="could not be reached"):
        one.fetch(ask())
    one.close()


def test_wrong_and_right_credentials(jaeger, source):
    jaeger.traces = [trace(1)]
    jaeger.authorization = "Bearer geheim"
    with pytest.raises(SourceRefused) as refused:
        source(token="falsch").fetch(ask())
    assert "falsch" not in str(refused.value)
    assert source(token="geheim").fetch(ask()).table.num_rows == 2
    jaeger.authorization = "Basic " + base64.b64encode(b"u:p").decode()
    assert source(username="u", password="p").fetch(ask()).table.num_rows == 2
    assert source(url=jaeger.url.replace("//", "//u:p@")).fetch(ask()).table.num_rows == 2


def test_no_secret_shows():
    options = Options(url="http://u:geheim@h:1/jaeger", token="geheim", password="geheim")
    assert "geheim" not in repr(options) + str(options) + str(list(options.__rich_repr__()))
    one = JaegerSource("traces", Options(url="http://u:geheim@127.0.0.1:9", attempts=1))
    with pytest.raises(SourceUnavailable) as failed:
        one.probe()
    assert "geheim" not in str(failed.value)
    one.close()


def test_missing_certificates_are_named():
    one = JaegerSource("traces", Options(url="https://127.0.0.1:9", ca_certs="no-such.pem"))
    with pytest.raises(SourceBroken, match="ca_certs"):
        one.probe()


def test_a_server_without_tls_is_told(jaeger):
    one = JaegerSource("traces", Options(url=jaeger.url.replace("http:", "https:"), attempts=1))
    with pytest.raises(SourceUnavailable, match="could not be reached"):
        one.probe()
    one.close()
    assert ssl.OPENSSL_VERSION


def test_a_span_resolves_to_its_object(jaeger, source):
    jaeger.traces = [trace(1)]
    one = source()
    stored = trace(1)["spans"][1]
    here = Pointer("span", index=trace(1)["traceID"], doc_id=stored["spanID"])
    gone = [
        Pointer("span", index=trace(1)["traceID"], doc_id="1" * 16),
        Pointer("span", index="e" * 32, doc_id="1" * 16),
    ]
    expected = {key: value for key, value in stored.items() if key not in ("processID", "warnings")}
    assert one.resolve([here, *gone]) == {here: canonical_json(expected)} | dict.fromkeys(gone)


def test_probe_names_services_that_jaeger_does_not_know(jaeger, source):
    jaeger.traces = [trace(1)]
    lines = source(services=("cashier", "cashir")).probe()
    assert "knows 1 services" in lines[0]
    assert lines[1].endswith("cashir")


def test_other_questions_are_skipped_without_asking(jaeger, source):
    fetched = source().fetch(Ask("logs", WINDOW))
    assert (fetched.coverage.status, jaeger.asked) == ("skipped", [])


def test_options_come_from_configuration():
    options = msgspec.convert({"kind": "jaeger", "url": "http://h", "services": ["a"]}, Options)
    assert options.services == ("a",)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "jaeger", "url": "http://h", "tokn": "a"}, Options)


def test_without_the_rest_only_the_named_traces_are_asked_for(jaeger, source):
    jaeger.traces = [trace(1), trace(2)]
    fetched = source().fetch(ask(trace(1)["traceID"], rest=False))
    assert set(fetched.table["trace.id"].to_pylist()) == {trace(1)["traceID"]}
    assert [path for path, _ in jaeger.asked] == ["/api/traces/" + trace(1)["traceID"]]
    assert source().fetch(ask(rest=False)).coverage.status == "empty"


def test_a_named_trace_that_is_too_large_costs_only_itself(jaeger, source):
    jaeger.traces = [trace(1), trace(2, spans=400), trace(3)]
    fetched = source(max_bytes=20_000).fetch(ask(*(trace(n)["traceID"] for n in (1, 2, 3)), rest=False))
    assert set(fetched.table["trace.id"].to_pylist()) == {trace(1)["traceID"], trace(3)["traceID"]}
    assert (fetched.coverage.status, fetched.coverage.matched, fetched.coverage.error) == ("partial", None, None)
    assert f"trace {trace(2)['traceID']} left out as too large" in " ".join(fetched.coverage.notes)


def test_a_search_whose_answer_is_too_large_is_asked_again_in_halves(jaeger, source):
    jaeger.traces = [trace(n, at=n) for n in range(1, 101)]
    fetched = source(max_bytes=8_000, services=("cashier",)).fetch(ask())
    assert (fetched.table.num_rows, fetched.coverage.status) == (200, "ok")


def test_named_traces_read_side_by_side_give_what_they_give_one_by_one(jaeger, source):
    jaeger.traces = [trace(n, at=n % 7) for n in range(1, 31)]
    names = [trace(n)["traceID"] for n in (7, 3, 99, 30, 1, 12)]
    one_by_one, side_by_side = (source(parallel=most).fetch(ask(*names, limit=9)) for most in (1, 4))
    assert one_by_one == side_by_side


def push(url, service, spans):
    """Sends spans, as OTLP has them, to a real Jaeger."""
    import httpx

    for start in range(0, len(spans), 10_000):
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
        part = {"resource": resource, "scopeSpans": [{"spans": spans[start : start + 10_000]}]}
        httpx.post(f"{url}/v1/traces", json={"resourceSpans": [part]}, timeout=60).raise_for_status()


def otlp(trace_id, number, parent="", at=0, **more):
    start = (START_US + at * 1_000_000) * 1000 + number * 1000
    return {
        "traceId": trace_id,
        "spanId": f"{number + 1:016x}",
        "parentSpanId": parent,
        "name": "POST",
        "kind": 3,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 5_000_000),
        "attributes": [{"key": "http.request.method", "value": {"stringValue": "POST"}}],
        **more,
    }


@pytest.fixture
def real(jaeger_url):
    one = JaegerSource("traces", Options(url=jaeger_url))
    yield one
    one.close()


def test_a_real_jaeger_gives_back_what_it_was_sent(real, jaeger_otlp_url):
    named, beside = "a1" + "0" * 29 + "1", "a1" + "0" * 29 + "2"
    failed = {
        "status": {"code": 2, "message": "declined"},
        "events": [
            {
                "timeUnixNano": str(START_US * 1000),
                "name": "exception",
                "attributes": [{"key": "exception.type", "value": {"stringValue": "java.io.IOException"}}],
            }
        ],
    }
    push(
        jaeger_otlp_url, "real-cashier", [otlp(named, 0), otlp(named, 1, f"{1:016x}", **failed), otlp(beside, 2, at=1)]
    )
    fetched = real.fetch(Ask("spans", WINDOW, {"trace_id": (named, "f" * 32), "service": ("real-cashier",)}))
    table = fetched.table
    assert table["trace.id"].to_pylist() == [named, named, beside]
    assert table["parent.id"].to_pylist() == [None, f"{1:016x}", None]
    assert table["status"].to_pylist() == ["unset", "error", "unset"]
    assert table["status_message"].to_pylist()[1] == "declined"
    assert table["exception.type"].to_pylist()[1] == "java.io.IOException"
    assert table["kind"].to_pylist() == ["client"] * 3
    assert table["duration_us"].to_pylist() == [5000] * 3
    assert fetched.coverage.status == "ok"
    assert f"does not have trace {'f' * 32}" in " ".join(fetched.coverage.notes)
    pointers = [Pointer("span", index=named, doc_id=f"{n + 1:016x}") for n in range(3)]
    first, again = real.resolve(pointers), real.resolve(pointers)
    assert [value is not None for value in first.values()] == [True, True, False]
    assert first == again


def test_a_real_jaegers_full_answers_are_asked_again_in_halves(jaeger_url, jaeger_otlp_url):
    push(jaeger_otlp_url, "real-busy", [otlp(f"b{n:031x}", n, at=n * 5) for n in range(100)])
    one = JaegerSource("traces", Options(url=jaeger_url, traces_per_search=20, services=("real-busy",)))
    fetched = one.fetch(Ask("spans", WINDOW))
    one.close()
    assert (fetched.table.num_rows, fetched.coverage.status) == (100, "ok")


def test_a_real_jaeger_gives_a_trace_of_a_hundred_thousand_spans(real, jaeger_otlp_url):
    large, small = "c1" + "0" * 29 + "1", "c1" + "0" * 29 + "2"
    push(jaeger_otlp_url, "real-large", [otlp(large, n, f"{n:016x}" if n else "") for n in range(100_000)])
    push(jaeger_otlp_url, "real-large", [otlp(small, 0)])
    fetched = real.fetch(Ask("spans", WINDOW, {"trace_id": (large, small)}, rest=False))
    assert (fetched.table.num_rows, fetched.coverage.status) == (100_001, "ok")
    narrow = JaegerSource("traces", Options(url=real.options.url, max_bytes=1 << 20))
    fetched = narrow.fetch(Ask("spans", WINDOW, {"trace_id": (large, small)}, rest=False))
    narrow.close()
    assert fetched.table["trace.id"].to_pylist() == [small]
    assert f"trace {large} left out as too large" in " ".join(fetched.coverage.notes)


def test_a_real_jaeger_is_probed(jaeger_url, jaeger_otlp_url):
    push(jaeger_otlp_url, "real-probed", [otlp("d" * 32, 0)])
    one = JaegerSource("traces", Options(url=jaeger_url, services=("real-probed", "real-nobody")))
    lines = one.probe()
    one.close()
    assert lines[1].endswith(": real-nobody")
