"""Traces of every shape become the same spans."""

import base64
import json
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.tables import SPANS
from parsers.traces.documents import parse_span_documents
from parsers.traces.files import find_spans, parse_trace_file
from parsers.traces.jaeger import parse_jaeger
from parsers.traces.otlp import parse_otlp, write_otlp

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "53ce929d0e0e4736"
START = datetime(2026, 9, 4, 15, 38, 37, 264_000, tzinfo=UTC)
NANOS = 1788536317264000000


def attribute(key, kind, value):
    return {"key": key, "value": {kind: value}}


def otlp_span(**more):
    return {
        "traceId": TRACE,
        "spanId": SPAN,
        "parentSpanId": PARENT,
        "name": "POST",
        "kind": 3,
        "startTimeUnixNano": str(NANOS),
        "endTimeUnixNano": str(NANOS + 900_000_000),
        "attributes": [
            attribute("http.request.method", "stringValue", "POST"),
            attribute("http.response.status_code", "intValue", "502"),
            attribute("server.address", "stringValue", "openapi.alipay.com"),
            attribute("url.path", "stringValue", "/gateway.do"),
        ],
        "status": {"code": 2, "message": "boom"},
        "events": [
            {
                "name": "exception",
                "attributes": [
                    attribute("exception.type", "stringValue", "java.net.SocketTimeoutException"),
                    attribute("exception.message", "stringValue", "Read timed out"),
                    attribute("exception.stacktrace", "stringValue", "at a\nat b"),
                ],
            }
        ],
    } | more


def payload(*spans, service="cashier", host="h1"):
    named = [attribute("service.name", "stringValue", service), attribute("host.name", "stringValue", host)]
    return {"resourceSpans": [{"resource": {"attributes": named}, "scopeSpans": [{"spans": list(spans)}]}]}


def otlp(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_otlp(data, source="b", file="traces/spans.json")


def row(parsed):
    assert parsed.table.num_rows == 1
    return parsed.table.to_pylist()[0]


EXPECTED = {
    "trace.id": TRACE,
    "span.id": SPAN,
    "parent.id": PARENT,
    "name": "POST",
    "kind": "client",
    "service.name": "cashier",
    "host.name": "h1",
    "@timestamp": START,
    "duration_us": 900_000,
    "status": "error",
    "status_message": "boom",
    "http.request.method": "POST",
    "http.response.status_code": 502,
    "rpc.status_code": None,
    "server.address": "openapi.alipay.com",
    "url.path": "/gateway.do",
    "error.type": None,
    "exception.type": "java.net.SocketTimeoutException",
    "exception.message": "Read timed out",
    "exception.stacktrace": "at a\nat b",
    "attributes": '{"http.request.method":"POST","http.response.status_code":502,'
    '"server.address":"openapi.alipay.com","url.path":"/gateway.do"}',
    "_source": "b",
    "_index": TRACE,
    "_id": SPAN,
    "log.file.path": "traces/spans.json",
    "log.offset": None,
    "log.length": None,
}


def snake(value):
    """The same payload with the field names of the protocol definition."""
    if isinstance(value, dict):
        return {"".join("_" + c.lower() if c.isupper() else c for c in k): snake(v) for k, v in value.items()}
    return [snake(item) for item in value] if isinstance(value, list) else value


def test_an_otlp_span_is_read_in_full():
    parsed = otlp(payload(otlp_span()))
    assert parsed.table.schema.equals(SPANS)
    assert row(parsed) == EXPECTED
    assert (parsed.spans, parsed.unparsed, parsed.duplicates) == (1, 0, 0)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(snake(payload(otlp_span())), id="snake case"),
        pytest.param(payload(otlp_span(kind="SPAN_KIND_CLIENT")), id="kind by name"),
        pytest.param(payload(otlp_span(kind="3")), id="kind as text"),
        pytest.param(payload(otlp_span(status={"code": "STATUS_CODE_ERROR", "message": "boom"})), id="status by name"),
        pytest.param(payload(otlp_span(startTimeUnixNano=NANOS, endTimeUnixNano=NANOS + 900_000_000)), id="numbers"),
        pytest.param(payload(otlp_span(traceId=TRACE.upper(), spanId=SPAN.upper())), id="upper case ids"),
        pytest.param(
            payload(
                otlp_span(
                    traceId=base64.b64encode(bytes.fromhex(TRACE)).decode(),
                    spanId=base64.b64encode(bytes.fromhex(SPAN)).decode(),
                    parentSpanId=base64.b64encode(bytes.fromhex(PARENT)).decode(),
                )
            ),
            id="base64 ids",
        ),
        pytest.param({"batches": payload(otlp_span())["resourceSpans"]}, id="tempo"),
        pytest.param(payload(otlp_span(links=[], flags=1, traceState="", droppedAttributesCount=0)), id="more fields"),
    ],
)
def test_every_spelling_of_otlp_gives_the_same_span(value):
    assert row(otlp(value)) == EXPECTED


def test_the_old_name_of_the_scope_is_read():
    value = payload(otlp_span())
    group = value["resourceSpans"][0]
    group["instrumentationLibrarySpans"] = group.pop("scopeSpans")
    assert row(otlp(value)) == EXPECTED


OLD = {"http.method": "POST", "http.status_code": 502, "net.peer.name": "a.example", "http.target": "/pay?x=1"}
NEW = {
    "http.request.method": "POST",
    "http.response.status_code": 502,
    "server.address": "a.example",
    "url.path": "/pay",
}
URL = {"http.request.method": "POST", "http.response.status_code": "502", "http.url": "https://a.example:444/pay?x=1"}


@pytest.mark.parametrize("names", [OLD, NEW, URL, OLD | NEW], ids=["old", "new", "url", "both"])
def test_old_and_new_conventions_fill_the_same_columns(names):
    attributes = [attribute(k, "intValue" if isinstance(v, int) else "stringValue", v) for k, v in names.items()]
    found = row(otlp(payload(otlp_span(attributes=attributes))))
    assert {name: found[name] for name in NEW} == NEW


@pytest.mark.parametrize(
    ("name", "kind", "value", "expected"),
    [
        ("rpc.grpc.status_code", "intValue", "14", "UNAVAILABLE"),
        ("rpc.grpc.status_code", "stringValue", "4", "DEADLINE_EXCEEDED"),
        ("rpc.status_code", "stringValue", "Internal", "Internal"),
        ("rpc.response.status_code", "stringValue", "UNKNOWN", "UNKNOWN"),
        ("rpc.grpc.status_code", "intValue", "99", "99"),
    ],
)
def test_grpc_codes_have_their_names(name, kind, value, expected):
    assert row(otlp(payload(otlp_span(attributes=[attribute(name, kind, value)]))))["rpc.status_code"] == expected


def test_attribute_values_stay_what_they_were():
    values = [
        attribute("a", "intValue", "9007199254740993"),
        attribute("b", "doubleValue", 1.5),
        attribute("c", "boolValue", True),
        attribute("d", "arrayValue", {"values": [{"stringValue": "x"}, {"intValue": 2}]}),
        attribute("e", "kvlistValue", {"values": [attribute("k_v", "stringValue", "付款")]}),
        {"key": "f", "value": {}},
    ]
    expected = {"a": 9007199254740993, "b": 1.5, "c": True, "d": ["x", 2], "e": {"k_v": "付款"}, "f": None}
    assert json.loads(row(otlp(payload(otlp_span(attributes=values))))["attributes"]) == expected


BAD = [
    pytest.param({"name": "no ids"}, id="no ids"),
    pytest.param([], id="a list"),
    pytest.param("text", id="a text"),
    pytest.param(otlp_span(traceId=7), id="a number as id"),
    pytest.param(otlp_span(spanId="0" * 16), id="the invalid id"),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_span_is_counted_and_costs_no_other(bad):
    parsed = otlp(payload(bad, otlp_span()))
    assert row(parsed) == EXPECTED
    assert (parsed.spans, parsed.unparsed) == (2, 1)


ODD = [
    {"attributes": {"a": 1}},
    {"attributes": [7]},
    {"events": "x"},
    {"status": []},
    {"kind": {}},
    {"startTimeUnixNano": "soon"},
    {"endTimeUnixNano": 10**40},
    {"name": 5},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_an_odd_field_costs_only_itself(odd):
    found = row(otlp(payload(otlp_span(**odd))))
    assert (found["trace.id"], found["span.id"], found["service.name"]) == (TRACE, SPAN, "cashier")


def test_payloads_behind_one_another_are_all_read():
    first, second = (json.dumps(payload(otlp_span(spanId=f"{n:016x}"))) for n in (1, 2))
    for text in (f"{first}\n{second}\n", f"{first}{second}", f"{first} \n\n {second}", f"\ufeff{first}\r\n{second}"):
        parsed = otlp(text.encode())
        assert (parsed.table.num_rows, parsed.unparsed) == (2, 0), text[:40]
    pretty = json.dumps(payload(otlp_span()), indent=1)
    assert row(otlp(pretty.encode())) == EXPECTED


@pytest.mark.parametrize("lost", range(1, 900, 60))
def test_a_payload_cut_short_keeps_its_whole_spans(lost):
    spans = [otlp_span(spanId=f"{n:016x}", name='a "quoted" \\ {name}') for n in range(1, 20)]
    parsed = otlp(json.dumps(payload(*spans)).encode()[:-lost])
    assert parsed.table.num_rows >= 17
    assert parsed.unparsed == 1
    assert set(parsed.table["name"].to_pylist()) == {'a "quoted" \\ {name}'}


def test_bytes_that_are_no_utf8_are_replaced():
    data = json.dumps(payload(otlp_span(name="NAME"))).encode().replace(b"NAME", b"\xb8\xb6")
    assert "\ufffd" in row(otlp(data))["name"]


def test_repeated_spans_are_counted_once():
    parsed = otlp(payload(otlp_span(), otlp_span(), otlp_span(kind=2)))
    assert (parsed.table["kind"].to_pylist(), parsed.duplicates, parsed.spans) == (["client", "server"], 1, 3)


def test_a_span_that_ends_before_it_starts_has_no_duration():
    assert row(otlp(payload(otlp_span(endTimeUnixNano=str(NANOS - 1)))))["duration_us"] is None


# Jaeger


def tag(key, value, kind="string"):
    return {"key": key, "type": kind, "value": value}


def jaeger_span(**more):
    return {
        "traceID": TRACE,
        "spanID": SPAN,
        "operationName": "POST",
        "references": [
            {"refType": "FOLLOWS_FROM", "traceID": TRACE, "spanID": "1111111111111111"},
            {"refType": "CHILD_OF", "traceID": TRACE, "spanID": PARENT},
        ],
        "startTime": NANOS // 1000,
        "duration": 900_000,
        "tags": [
            tag("span.kind", "client"),
            tag("http.status_code", 502, "int64"),
            tag("http.url", "https://openapi.alipay.com/gateway.do?a=1"),
            tag("http.method", "POST"),
            tag("error", True, "bool"),
            tag("otel.status_description", "boom"),
        ],
        "logs": [
            {
                "timestamp": NANOS // 1000,
                "fields": [
                    tag("event", "exception"),
                    tag("exception.type", "java.net.SocketTimeoutException"),
                    tag("exception.message", "Read timed out"),
                    tag("exception.stacktrace", "at a\nat b"),
                ],
            }
        ],
        "processID": "p1",
        "warnings": None,
    } | more


def jaeger_answer(*spans):
    process = {"serviceName": "cashier", "tags": [tag("hostname", "h1")]}
    return {"data": [{"traceID": TRACE, "spans": list(spans), "processes": {"p1": process}}], "errors": None}


def jaeger(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_jaeger(data, source="b", file="traces/spans.json")


COMMON = [name for name in EXPECTED if name != "attributes"]


def test_a_jaeger_span_is_the_same_as_its_otlp_twin():
    found = row(jaeger(jaeger_answer(jaeger_span())))
    assert {name: found[name] for name in COMMON} == {name: EXPECTED[name] for name in COMMON}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(jaeger_answer(jaeger_span())["data"], id="list of traces"),
        pytest.param(jaeger_answer(jaeger_span())["data"][0], id="one trace"),
        pytest.param(jaeger_answer(jaeger_span(references=[], parentSpanID=PARENT)), id="old parent"),
        pytest.param(jaeger_answer(jaeger_span(startTime=str(NANOS // 1000))), id="time as text"),
        pytest.param(
            jaeger_answer(
                jaeger_span(
                    tags=[*jaeger_span()["tags"][:4], tag("otel.status_code", "ERROR"), *jaeger_span()["tags"][5:]]
                )
            ),
            id="otel status",
        ),
        pytest.param(
            jaeger_answer(
                jaeger_span(
                    logs=[
                        {
                            "fields": [
                                tag("event", "error"),
                                tag("error.kind", "java.net.SocketTimeoutException"),
                                tag("message", "Read timed out"),
                                tag("stack", "at a\nat b"),
                            ]
                        }
                    ]
                )
            ),
            id="opentracing error",
        ),
    ],
)
def test_every_spelling_of_jaeger_gives_the_same_span(value):
    found = row(jaeger(value))
    assert {name: found[name] for name in COMMON} == {name: EXPECTED[name] for name in COMMON}


def test_jaeger_ids_without_leading_zeros_are_filled_up():
    found = row(jaeger(jaeger_answer(jaeger_span(traceID="1f", spanID="2a"))))
    assert (found["trace.id"], found["span.id"]) == ("000000000000001f", "000000000000002a")


def test_a_jaeger_answer_cut_short_keeps_its_whole_spans():
    spans = [jaeger_span(spanID=f"{n:016x}") for n in range(1, 6)]
    parsed = jaeger(json.dumps(jaeger_answer(*spans)).encode()[:-300])
    assert (parsed.table.num_rows, parsed.unparsed) == (4, 1)


# Documents

APM = {
    "@timestamp": "2026-09-04T15:38:37.264Z",
    "processor": {"event": "span"},
    "timestamp": {"us": NANOS // 1000},
    "trace": {"id": TRACE},
    "transaction": {"id": "aaaaaaaaaaaaaaaa"},
    "span": {
        "id": SPAN,
        "name": "POST",
        "type": "external",
        "subtype": "http",
        "duration": {"us": 900_000},
        "destination": {"service": {"resource": "openapi.alipay.com:443"}},
    },
    "parent": {"id": PARENT},
    "service": {"name": "cashier"},
    "host": {"hostname": "h1"},
    "http": {"request": {"method": "POST"}, "response": {"status_code": 502}},
    "url": {"original": "https://openapi.alipay.com/gateway.do"},
    "event": {"outcome": "failure"},
    "labels": {"order_id": "M1"},
    "numeric_labels": {"retries": 2},
    "agent": {"name": "java"},
}
OTEL = {
    "@timestamp": "2026-09-04T15:38:37.264000123Z",
    "trace_id": TRACE,
    "span_id": SPAN,
    "parent_span_id": PARENT,
    "name": "POST",
    "kind": "Client",
    "duration": 900_000_000,
    "status": {"code": "Error", "message": "boom"},
    "attributes": {
        "http.request.method": "POST",
        "http.response.status_code": 502,
        "server.address": "openapi.alipay.com",
        "url.path": "/gateway.do",
    },
    "resource": {"attributes": {"service.name": "cashier", "host.name": "h1"}},
}
DOCUMENT_COLUMNS = [name for name in COMMON if not name.startswith(("exception", "_", "log.", "status_message"))]


def dotted(value, prefix=""):
    flat = {}
    for key, item in value.items():
        flat |= dotted(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def documents(*values, envelope="flat"):
    return parse_span_documents(b"\n".join(json.dumps(v).encode() for v in values), source="b", envelope=envelope)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(APM, id="apm"),
        pytest.param(dotted(APM), id="apm dotted"),
        pytest.param(OTEL, id="otel"),
        pytest.param(dotted(OTEL), id="otel dotted"),
        pytest.param(OTEL | {"@timestamp": "1788536317264.000123"}, id="otel milliseconds"),
        pytest.param(jaeger_span(process={"serviceName": "cashier", "tags": [tag("hostname", "h1")]}), id="jaeger"),
    ],
)
def test_span_documents_give_the_same_span(document):
    found = row(documents(document))
    assert {name: found[name] for name in DOCUMENT_COLUMNS} == {name: EXPECTED[name] for name in DOCUMENT_COLUMNS}
    assert (found["_index"], found["_id"]) == (TRACE, SPAN)


def test_a_hit_is_cited_by_its_own_id():
    found = row(documents({"_index": "traces-x", "_id": "d1", "_source": APM, "sort": [1]}, envelope="hit"))
    assert (found["_index"], found["_id"], found["span.id"]) == ("traces-x", "d1", SPAN)


def test_labels_are_the_attributes_that_the_agent_put_there():
    attributes = json.loads(row(documents(APM))["attributes"])
    assert (attributes["order_id"], attributes["retries"], attributes["span.subtype"]) == ("M1", 2, "http")
    assert not [name for name in attributes if name.startswith(("labels", "service", "host", "agent"))]


def test_a_transaction_is_a_server_span():
    document = {
        "processor": {"event": "transaction"},
        "trace": {"id": TRACE},
        "transaction": {"id": SPAN, "name": "GET /x", "type": "request", "duration": {"us": 5}},
        "@timestamp": "2026-09-04T15:38:37.264Z",
        "event": {"outcome": "success"},
    }
    found = row(documents(document))
    assert [found[n] for n in ("kind", "status", "duration_us", "@timestamp")] == ["server", "ok", 5, START]


def test_errors_metrics_and_broken_lines_are_counted():
    parsed = documents(APM, {"processor": {"event": "metric"}, "trace": {"id": TRACE}}, [], {}, "x")
    assert (parsed.spans, parsed.table.num_rows, parsed.unparsed) == (5, 1, 4)


# Files


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(payload(otlp_span())), id="otlp"),
        pytest.param(json.dumps(snake(payload(otlp_span()))), id="otlp snake case"),
        pytest.param(json.dumps(payload(otlp_span())) * 2, id="otlp on end"),
        pytest.param(json.dumps([payload(otlp_span())]), id="otlp in a list"),
        pytest.param(json.dumps(jaeger_answer(jaeger_span())), id="jaeger"),
        pytest.param(json.dumps(jaeger_answer(jaeger_span()), indent=2), id="jaeger pretty"),
        pytest.param(json.dumps(jaeger_answer(jaeger_span())["data"][0]), id="jaeger trace"),
        pytest.param(json.dumps(APM) + "\n" + json.dumps(APM), id="documents"),
        pytest.param(json.dumps([OTEL], indent=1), id="documents in a list"),
        pytest.param(
            json.dumps({"hits": {"hits": [{"_id": SPAN, "_index": TRACE, "_source": APM}]}}), id="search answer"
        ),
    ],
)
def test_a_file_tells_its_shape_and_its_spans_can_be_found_again(text):
    parsed = parse_trace_file(text.encode(), "traces/spans.json", "b")
    found = row(parsed)
    assert [found[n] for n in ("trace.id", "span.id", "service.name")] == [TRACE, SPAN, "cashier"]
    assert parsed.unparsed == 0
    objects = find_spans(text.encode(), [(found["_index"], found["_id"])])
    assert objects[found["_index"], found["_id"]][0][0] == NANOS // 1000


def test_a_found_span_is_the_object_as_stored_less_what_the_answer_numbered():
    data = json.dumps(jaeger_answer(jaeger_span())).encode()
    [(_, found)] = find_spans(data, [(TRACE, SPAN)])[TRACE, SPAN]
    assert found == {key: value for key, value in jaeger_span().items() if key not in ("processID", "warnings")}
    [(_, found)] = find_spans(json.dumps(payload(otlp_span())).encode(), [(TRACE, SPAN)])[TRACE, SPAN]
    assert found == otlp_span()


@given(st.binary(max_size=400))
def test_no_bytes_make_it_raise(data):
    for parsed in (parse_trace_file(data, "x", "b"), otlp(data), jaeger(data)):
        parsed.table.validate(full=True)
        assert parsed.spans == parsed.table.num_rows + parsed.unparsed + parsed.duplicates


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(otlp_span())), json_values, st.sampled_from(sorted(jaeger_span())), json_values)
def test_no_value_of_a_field_makes_it_raise(name, value, jaeger_name, jaeger_value):
    parsed = otlp(payload(otlp_span(**{name: value}), otlp_span(spanId="b" * 16)))
    assert parsed.spans == 2
    assert "b" * 16 in parsed.table["span.id"].to_pylist()
    assert jaeger(jaeger_answer(jaeger_span(**{jaeger_name: jaeger_value}))).spans == 1
    assert documents(APM | {"span": jaeger_value, "trace": value, "url": value}).spans == 1


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
plain = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
rows = st.lists(
    st.builds(
        otlp_span,
        traceId=st.integers(1, 2**128 - 1).map("{:032x}".format),
        spanId=st.integers(1, 2**64 - 1).map("{:016x}".format),
        name=texts,
        kind=st.integers(0, 5),
        startTimeUnixNano=st.integers(10**18, 2 * 10**18).map(lambda n: str(n // 1000 * 1000)),
        endTimeUnixNano=st.none() | st.integers(10**18, 3 * 10**18).map(lambda n: str(n // 1000 * 1000)),
        attributes=st.dictionaries(texts | st.sampled_from(["http.url", "http.method", "error.type"]), plain).map(
            lambda values: [{"key": k, "value": any_value(v)} for k, v in values.items()]
        ),
        status=st.fixed_dictionaries({"code": st.integers(0, 2), "message": texts}),
    ),
    max_size=5,
)


def any_value(value):
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return {kinds[type(value)]: str(value) if type(value) is int else value}


@settings(max_examples=50)
@given(rows)
def test_what_is_written_reads_back_as_the_same_spans(spans):
    first = otlp(payload(*spans)).table
    assert otlp(write_otlp(first)).table.equals(first)


@pytest.mark.parametrize(
    "source", [APM, OTEL, jaeger_span(process={"serviceName": "s"})], ids=["apm", "otel", "jaeger"]
)
def test_spans_of_any_source_survive_being_written_as_otlp(source):
    first = documents(source).table
    columns = [name for name in SPANS.names if not name.startswith(("_", "log."))]
    assert otlp(write_otlp(first)).table.select(columns).to_pylist() == first.select(columns).to_pylist()


def test_many_spans_are_read_in_batches_with_one_schema():
    spans = b",".join(msgspec.json.encode(otlp_span(spanId=f"{n:016x}")) for n in range(1, 70_001))
    data = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + spans + b"]}]}]}"
    table = otlp(data).table
    assert (table.num_rows, table.column("span.id").num_chunks) == (70_000, 2)
    assert isinstance(table, pa.Table)
    assert table.schema.equals(SPANS)
