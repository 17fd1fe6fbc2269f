"""Tempo's HTTP API, on a server on loopback that answers as Tempo does.

Tempo cannot be had for these tests (its licence, and no module of it to build), so the answers are made after its
documentation, https://grafana.com/docs/tempo/latest/api_docs/, its issue 5437 (ids in base64) and its pull request 3941
(partial traces).
"""

import base64
import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest

from parsers.traces.files import parse_trace_file
from pipeline.errors import SourceBroken, SourceRefused, SourceUnavailable
from pipeline.sources import open_source
from pipeline.sources.tempo import Options, TempoSource
from pipeline.values import Ask, Pointer, Span
from snapshots.model import canonical_json
from tests.web import serving, sources

START = datetime(2026, 9, 4, 15, 0, tzinfo=UTC)
WINDOW = Span(START, START + timedelta(minutes=10))
START_S = int(START.timestamp())


def base64_of(hexadecimal):
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


class Kept:
    """A trace as the server keeps it."""

    def __init__(self, number, service="cashier", at=0, spans=2, error=False):
        self.id = f"{number:032x}"
        self.service, self.at, self.error = service, at, error
        self.spans = [
            {
                "traceId": base64_of(self.id),
                "spanId": base64_of(f"{number * 100 + n + 1:016x}"),
                **({"parentSpanId": base64_of(f"{number * 100 + 1:016x}")} if n else {}),
                "name": "POST",
                "kind": "SPAN_KIND_CLIENT",
                "startTimeUnixNano": str((START_S + at) * 10**9 + n * 1000),
                "endTimeUnixNano": str((START_S + at) * 10**9 + n * 1000 + 10_000),
                "attributes": [{"key": "http.request.method", "value": {"stringValue": "POST"}}],
                "status": {"code": "STATUS_CODE_ERROR", "message": "no"} if error else {},
            }
            for n in range(spans)
        ]

    def resources(self):
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": self.service}}]}
        return [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": self.spans}]}]

    def found(self):
        return {
            "traceID": self.id.lstrip("0"),
            "rootServiceName": self.service,
            "rootTraceName": "POST",
            "startTimeUnixNano": self.spans[0]["startTimeUnixNano"],
            "durationMs": 1,
        }


class Tempo(ThreadingHTTPServer):
    """Traces, answered as Tempo does; `failures` are answered first, by path. `second` tells of version 2 of the API."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.traces = []
        self.failures = {}
        self.asked = []
        self.headers = []
        self.second = True
        self.partial = set()
        self.under_way = self.most_under_way = 0
        self.slow = 0.0
        self.lock = threading.Lock()
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
        server = self.server
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        with server.lock:
            server.asked.append((path, query))
            server.headers.append(dict(self.headers))
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            if path.startswith(("/api/v2/traces/", "/api/traces/")):
                time.sleep(server.slow)
            failures = server.failures.get(path) or server.failures.get("*")
            if failures:
                self.answer(*failures.pop(0))
            else:
                self.answer(*self.found(path, query))
        finally:
            with server.lock:
                server.under_way -= 1

    def found(self, path, query):
        server = self.server
        nothing = (404, b"404 page not found\n")
        if path == "/api/search":
            start, end, limit = (int(query[key]) for key in ("start", "end", "limit"))
            service = re.search(r'resource\.service\.name = "((?:[^"\\]|\\.)*)"', query["q"])
            found = [
                t.found()
                for t in server.traces
                if start <= START_S + t.at < end
                and (service is None or t.service == json.loads(f'"{service[1]}"'))
                and (t.error or "status = error" not in query["q"])
            ]
            return 200, {"traces": found[:limit], "metrics": {"inspectedBytes": "1"}}
        if path.startswith("/api/v2/search/tag/"):
            names = sorted({t.service for t in server.traces})
            return (200, {"tagValues": [{"type": "string", "value": n} for n in names]}) if server.second else nothing
        if path.startswith("/api/search/tag/"):
            return 200, {"tagValues": sorted({t.service for t in server.traces})}
        if path == "/api/status/buildinfo":
            return 200, {"version": "2.9.0", "revision": "x"}
        second = path.startswith("/api/v2/traces/")
        one = next((t for t in server.traces if t.id == path.rpartition("/")[2].zfill(32)), None)
        if one is None or (second and not server.second):
            return nothing
        if not second:
            return 200, {"batches": one.resources()}
        body = {"trace": {"resourceSpans": one.resources()}, "metrics": {}}
        if one.id in server.partial:
            body |= {
                "status": "PARTIAL",
                "message": "Trace exceeds maximum size of 5 bytes, a partial trace is returned",
            }
        return 200, body


@pytest.fixture
def tempo():
    with serving(Tempo()) as server:
        yield server


@pytest.fixture
def source(tempo):
    with sources(TempoSource, Options, tempo.url) as make:
        yield make


def ask(*traces, **more):
    return Ask("spans", WINDOW, {"trace_id": traces}, **more)


def numbers(fetched):
    return [int(value, 16) for value in fetched.table["trace.id"].to_pylist()]


def adds_up(fetched):
    row = fetched.coverage
    return row.fetched == row.used + row.duplicates + row.unparsed


def test_named_traces_come_first_then_those_of_the_window(tempo, source):
    tempo.traces = [Kept(1, at=1), Kept(2, "order", at=2), Kept(3, at=-3600)]
    fetched = source().fetch(ask(Kept(3).id))
    assert numbers(fetched) == [3, 3, 1, 1, 2, 2]
    assert fetched.coverage.status == "ok"
    assert adds_up(fetched)
    assert set(fetched.table["service.name"].to_pylist()) == {"cashier", "order"}


def test_ids_in_base64_are_read_as_hexadecimal(tempo, source):
    tempo.traces = [Kept(1)]
    table = source().fetch(ask(Kept(1).id)).table
    assert table["span.id"].to_pylist() == [f"{101:016x}", f"{102:016x}"]
    assert table["parent.id"].to_pylist() == [None, f"{101:016x}"]
    assert table["kind"].to_pylist() == ["client", "client"]


def test_traces_with_an_error_are_read_before_the_others(tempo, source):
    tempo.traces = [Kept(n, at=n, error=n == 50) for n in range(1, 101)]
    fetched = source(max_traces=1).fetch(ask())
    assert numbers(fetched) == [50, 50]
    assert fetched.table["status"].to_pylist() == ["error", "error"]
    assert fetched.coverage.status == "partial"
    assert "0 of 99 traces without one read" in " ".join(fetched.coverage.notes)


def test_of_too_many_traces_those_read_lie_evenly_in_the_window(tempo, source):
    tempo.traces = [Kept(n, at=n, spans=1) for n in range(1, 101)]
    assert numbers(source(max_traces=4).fetch(ask())) == [1, 34, 67, 100]


def test_a_full_answer_is_asked_again_in_halves(tempo, source):
    tempo.traces = [Kept(n, at=n) for n in range(1, 101)]
    fetched = source(traces_per_search=20, services=("cashier",)).fetch(ask())
    assert fetched.table.num_rows == 200
    assert (fetched.coverage.status, fetched.coverage.matched) == ("ok", 200)
    assert adds_up(fetched)


def test_more_traces_than_the_limit_within_a_second_are_told(tempo, source):
    tempo.traces = [Kept(n, at=1) for n in range(1, 30)]
    fetched = source(traces_per_search=20).fetch(ask())
    assert (fetched.coverage.status, fetched.coverage.matched) == ("partial", None)
    assert "there may be more" in " ".join(fetched.coverage.notes)


def test_only_the_configured_services_are_searched(tempo, source):
    tempo.traces = [Kept(1, "a"), Kept(2, 'b"\\', at=1), Kept(3, "c")]
    assert numbers(source(services=("a", 'b"\\')).fetch(ask())) == [1, 1, 2, 2]
    told = source(services=("a", "c"), max_services=1).fetch(ask()).coverage
    assert told.status == "partial"
    assert "1 of 2 services not searched" in " ".join(told.notes)


def test_without_the_rest_only_the_named_traces_are_asked_for(tempo, source):
    tempo.traces = [Kept(1), Kept(2)]
    fetched = source().fetch(ask(Kept(1).id, rest=False))
    assert numbers(fetched) == [1, 1]
    assert [path for path, _ in tempo.asked] == [f"/api/v2/traces/{Kept(1).id}"]
    assert source().fetch(ask(rest=False)).coverage.status == "empty"


def test_an_older_tempo_is_asked_by_the_first_version_of_its_interface(tempo, source):
    tempo.second = False
    tempo.traces = [Kept(n) for n in range(1, 9)]
    one = source(parallel=1)
    assert one.fetch(ask(Kept(1).id)).table.num_rows == 16
    assert sum(path.startswith("/api/v2/traces/") for path, _ in tempo.asked) == 1
    assert "knows 1 services" in one.probe()[0]


def test_a_trace_that_tempo_gives_in_part_is_told(tempo, source):
    tempo.traces = [Kept(1), Kept(2)]
    tempo.partial = {Kept(1).id}
    fetched = source().fetch(ask(Kept(1).id, Kept(2).id, rest=False))
    assert fetched.table.num_rows == 4
    assert (fetched.coverage.status, fetched.coverage.matched) == ("partial", None)
    assert "in part only: Trace exceeds maximum size" in " ".join(fetched.coverage.notes)


def test_a_trace_in_part_that_was_read_ahead_and_not_taken_is_not_told(tempo, source):
    tempo.traces = [Kept(n, at=n) for n in range(1, 5)]
    tempo.partial = {Kept(4).id}
    fetched = source(parallel=4).fetch(ask(*(Kept(n).id for n in range(1, 5)), rest=False, limit=4))
    assert fetched.table.num_rows == 4
    assert "in part" not in " ".join(fetched.coverage.notes)


@pytest.mark.parametrize("body", [{"trace": {}, "metrics": {}}, {"trace": None}, {"metrics": {}}, {}])
def test_an_unknown_trace_answered_with_nothing_is_no_failure(tempo, source, body):
    tempo.failures = {f"/api/v2/traces/{'f' * 32}": [(200, body)]}
    fetched = source().fetch(ask("f" * 32, rest=False))
    assert (fetched.coverage.status, fetched.coverage.error, fetched.coverage.unparsed) == ("empty", None, 0)
    assert "does not have" in " ".join(fetched.coverage.notes)


def test_a_trace_that_is_too_large_costs_only_itself(tempo, source):
    tempo.traces = [Kept(1), Kept(2, spans=400), Kept(3, at=1), Kept(4)]
    tempo.failures = {f"/api/v2/traces/{Kept(4).id}": [(422, {"error": "trace exceeds max size"})]}
    fetched = source(max_bytes=20_000).fetch(ask(*(Kept(n).id for n in (1, 2, 3, 4)), rest=False))
    assert numbers(fetched) == [1, 1, 3, 3]
    assert fetched.coverage.status == "partial"
    assert f"traces {Kept(2).id}, {Kept(4).id} left out as too large" in " ".join(fetched.coverage.notes)


def test_no_more_than_the_allowed_number_of_requests_is_under_way(tempo, source):
    tempo.traces = [Kept(n, at=n) for n in range(1, 21)]
    tempo.slow = 0.02
    one = source(parallel=3).fetch(ask())
    assert tempo.most_under_way <= 3
    tempo.slow = 0.0
    assert one.table.equals(source(parallel=1).fetch(ask()).table)


def test_the_limit_of_rows_ends_the_reading(tempo, source):
    tempo.traces = [Kept(n, at=n) for n in range(1, 101)]
    fetched = source().fetch(ask(limit=5))
    assert (fetched.table.num_rows, fetched.coverage.status) == (5, "partial")
    assert sum("/traces/" in path for path, _ in tempo.asked) < 20
    assert "of 100 traces of the window not asked" in " ".join(fetched.coverage.notes)


def test_no_answer_in_time_keeps_what_there_was(tempo, source):
    tempo.traces = [Kept(n, at=n) for n in range(1, 9)]
    tempo.slow = 0.4
    fetched = source(parallel=1).fetch(ask(deadline=time.monotonic() + 1.2))
    assert 0 < fetched.table.num_rows < 16
    assert fetched.coverage.status == "partial"
    assert "in time" in fetched.coverage.error or "no time" in fetched.coverage.error


def test_no_time_left_asks_nothing(tempo, source):
    with pytest.raises(SourceUnavailable, match="no time"):
        source().fetch(ask("a" * 32, deadline=time.monotonic() - 1))
    assert tempo.asked == []


def test_a_failure_that_passes_is_tried_again_and_one_that_stays_is_unavailable(tempo, source):
    tempo.traces = [Kept(1)]
    tempo.failures = {"*": [(503, {}), (429, {})]}
    assert source().fetch(ask()).table.num_rows == 2
    tempo.failures = {"*": [(500, {})] * 9}
    with pytest.raises(SourceUnavailable, match="answered 500"):
        source(attempts=2).fetch(ask())


def test_a_question_that_tempo_does_not_take_is_told_in_its_own_words(tempo, source):
    words = b"range specified by start and end exceeds 168h0m0s"
    tempo.failures = {"/api/search": [(400, words)]}
    with pytest.raises(SourceBroken, match="168h"):
        source().fetch(ask())


@pytest.mark.parametrize("body", [b"<html>login</html>", b"[]", b'{"traces": 3}', b"\xff\xfe"])
def test_an_answer_that_is_not_tempos_is_broken(tempo, source, body):
    tempo.failures = {"*": [(200, body)]}
    with pytest.raises(SourceBroken):
        source().fetch(ask())


def test_tenant_and_credentials_are_sent_and_shown_nowhere(tempo, source):
    tempo.traces = [Kept(1)]
    source(tenant="shop", token="geheim").fetch(ask())
    assert {(h["X-Scope-OrgID"], h["Authorization"]) for h in tempo.headers} == {("shop", "Bearer geheim")}
    tempo.failures = {"*": [(401, b"no org id")]}
    with pytest.raises(SourceRefused) as refused:
        source(token="geheim").fetch(ask())
    options = Options(url="http://u:geheim@h:1/tempo", token="geheim", password="geheim")
    assert "geheim" not in repr(options) + str(list(options.__rich_repr__())) + str(refused.value)


def test_a_span_resolves_to_its_object(tempo, source):
    tempo.traces = [Kept(1)]
    here = Pointer("span", index=Kept(1).id, doc_id=f"{102:016x}")
    gone = [Pointer("span", index=Kept(1).id, doc_id="1" * 16), Pointer("span", index="e" * 32, doc_id="1" * 16)]
    assert source().resolve([here, *gone]) == {here: canonical_json(Kept(1).spans[1])} | dict.fromkeys(gone)


def test_probe_tells_the_version_and_unknown_services(tempo, source):
    tempo.traces = [Kept(1)]
    lines = source(services=("cashier", "cashir")).probe()
    assert "2.9.0 knows 1 services" in lines[0]
    assert lines[1].endswith("cashir")


def test_other_questions_are_skipped_without_asking(tempo, source):
    fetched = source().fetch(Ask("logs", WINDOW))
    assert (fetched.coverage.status, tempo.asked) == ("skipped", [])


def test_an_answer_saved_to_a_file_is_read_as_a_trace():
    body = {"trace": {"resourceSpans": Kept(1).resources()}, "status": "PARTIAL"}
    for saved in (body, body["trace"], {"batches": Kept(1).resources()}):
        parsed = parse_trace_file(json.dumps(saved).encode(), "t.json", "bundle")
        assert (parsed.table.num_rows, parsed.unparsed) == (2, 0)


def test_options_come_from_configuration():
    options = msgspec.convert({"kind": "tempo", "url": "http://h", "tenant": "a"}, Options)
    one = open_source("traces", options)
    assert (one.name, one.kind, one.options.tenant) == ("traces", "tempo", "a")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "tempo", "url": "http://h", "tokn": "a"}, Options)
