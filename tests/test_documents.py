"""Documents become LOGS rows: whatever their spelling, type or damage, no line is lost and none spoils another."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsers.documents import objects, slabs
from parsers.documents.parsing import parse_documents, parse_parquet_table
from parsers.mapping import AUTO, ECS, LOGSTASH, OTEL, source_fields, with_overrides
from parsers.tables import LOGS
from parsers.times import parse_times


def ndjson(*documents: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(document, ensure_ascii=False) for document in documents).encode()


def rows(data: bytes, **options: Any) -> list[dict[str, Any]]:
    parsed = parse_documents(data, source="s", **options)
    assert parsed.table.schema == LOGS
    assert parsed.lines == parsed.table.num_rows + parsed.duplicates
    return parsed.table.to_pylist()


def flattened(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, below in value.items():
        path = f"{prefix}.{key}" if prefix else key
        flat.update(flattened(below, path) if isinstance(below, dict) else {path: below})
    return flat


NESTED = {
    "_index": "i",
    "_id": "1",
    "@timestamp": "2026-11-23T10:02:31.118Z",
    "service": {"name": "pay", "version": "3"},
    "host": {"name": "pay-1"},
    "log": {"level": "warning", "logger": "core"},
    "trace": {"id": "4bf92f3577b34da6a3ce929d0e0e4736"},
    "http": {"response": {"status_code": 502}},
    "labels": {"order_id": "20261117084545"},
    "message": "支付失败",
}


def test_nested_and_dotted_spellings_give_the_same_row() -> None:
    half = {**flattened(NESTED), "http": {"response.status_code": 502}}
    del half["http.response.status_code"]
    first, *others = (rows(ndjson(one)) for one in (NESTED, flattened(NESTED), half))
    assert all(other == first for other in others)
    assert first[0]["log.level"] == "WARN"
    assert first[0]["http.response.status_code"] == 502
    assert first[0]["@timestamp"] == datetime(2026, 11, 23, 10, 2, 31, 118000, UTC)


def test_a_hit_gives_the_row_of_its_source() -> None:
    source = {key: value for key, value in NESTED.items() if not key.startswith("_")}
    hit = {"_index": "i", "_id": "1", "_source": source, "sort": [1, 2]}
    assert rows(ndjson(hit), envelope="hit") == rows(ndjson(NESTED))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            {
                "resource": {"attributes": {"service.name": "pay"}},
                "severity_number": 17,
                "body": {"text": "boom"},
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                "@timestamp": "2026-11-23T10:02:31Z",
            },
            {"service.name": "pay", "log.level": "ERROR", "message": "boom"},
            id="otel",
        ),
        pytest.param(
            {"timeUnixNano": "1795428151118000000", "severityText": "Warn", "body": {"stringValue": "boom"}},
            {"log.level": "WARN", "message": "boom", "@timestamp": datetime(2026, 11, 23, 10, 2, 31, 118000, UTC)},
            id="otlp",
        ),
        pytest.param(
            {
                "@timestamp": "2026-11-23T10:02:31Z",
                "level": "ERROR",
                "logger_name": "c.x.Y",
                "app": "pay",
                "message": "boom",
                "stack_trace": "java.io.IOException: x\n\tat a.B(C.java:1)",
            },
            {"log.logger": "c.x.Y", "service.name": "pay", "body": "boom java.io.IOException: x"},
            id="logstash",
        ),
        pytest.param(
            {"level": 50, "time": 1795428151118, "msg": "boom", "name": "n"},
            {"log.level": "ERROR", "message": "boom", "log.logger": "n"},
            id="bunyan",
        ),
        pytest.param(
            {"level": "error", "ts": 1795428151.118, "msg": "boom"},
            {"@timestamp": datetime(2026, 11, 23, 10, 2, 31, 118000, UTC)},
            id="zap",
        ),
        pytest.param({"@t": "2026-11-23T10:02:31Z", "@m": "boom", "@l": "Fatal"}, {"log.level": "FATAL"}, id="serilog"),
        pytest.param(
            {"log": "boom\n", "stream": "stdout", "time": "2026-11-23T10:02:31Z"}, {"body": "boom"}, id="docker"
        ),
        pytest.param(
            {"host": "h", "short_message": "boom", "level": 3, "timestamp": 1795428151.1},
            {"host.name": "h", "log.level": "ERROR", "message": "boom"},
            id="gelf",
        ),
        pytest.param({"level": "错误", "message": "x"}, {"log.level": "ERROR"}, id="chinese level"),
        pytest.param(
            {"message": "charge failed", "error": {"code": "card_declined", "type": "PayError"}},
            {"body": "charge failed PayError error.code=card_declined"},
            id="error fields reach the body",
        ),
        pytest.param({"event": {"original": "boom"}}, {"message": "boom"}, id="event.original"),
    ],
)
def test_the_fields_of_common_loggers_are_known(document: dict[str, Any], expected: dict[str, Any]) -> None:
    row = rows(ndjson(document))[0]
    assert {name: row[name] for name in expected} == expected


def test_a_field_that_changes_its_type_costs_nothing() -> None:
    documents = [
        {"_id": str(n), "message": f"m{n}", "host": "h" if n % 3 else {"name": "h"}, "status": 200 if n % 2 else "ok"}
        for n in range(3000)
    ]
    got = rows(ndjson(*documents))
    assert [row["message"] for row in got] == [f"m{n}" for n in range(3000)]
    assert {row["host.name"] for row in got} == {"h"}


def test_a_code_that_few_documents_have_reaches_their_bodies_and_costs_no_row() -> None:
    documents: list[dict[str, Any]] = [{"message": "a"}, {"message": "b", "error": {"code": "05"}}, {"message": "c"}]
    assert [row["body"] for row in rows(ndjson(*documents))] == ["a", "b error.code=05", "c"]


def test_a_rare_field_is_read_though_no_sample_has_it() -> None:
    documents: list[dict[str, Any]] = [{"_id": str(n), "message": "m"} for n in range(5000)]
    documents[4321]["error"] = {"stack_trace": "x.Y: z\n\tat a.B(C.java:1)"}
    assert rows(ndjson(*documents))[4321]["error.stack_trace"] == "x.Y: z\n\tat a.B(C.java:1)"


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b'{"message": "cut off',
        b'{"message":"\xff\xfe"}',
        b"[1,2]",
        b"null",
        b'{"a":1}{"b":2}',
        b"{" * 5000 + b"}",
    ],
    ids=["text", "truncated", "not UTF-8", "array", "null", "two objects", "nested too deep"],
)
def test_a_bad_line_is_kept_raw_and_its_neighbours_stay(bad: bytes) -> None:
    data = b'{"_id":"1","message":"a"}\n' + bad + b'\n{"_id":"2","message":"b"}'
    parsed = parse_documents(data, source="s", file="f.ndjson")
    one, raw, two = parsed.table.to_pylist()
    assert (one["message"], two["message"], parsed.unparsed, parsed.lines) == ("a", "b", 1, 3)
    assert raw["message"] == bad.decode(errors="replace")
    assert raw["_id"] is None
    assert (raw["log.file.path"], raw["log.offset"], raw["log.length"]) == ("f.ndjson", data.index(bad), len(bad))


def test_a_row_without_id_can_be_cut_out_of_its_file_again() -> None:
    data = b'\xef\xbb\xbf{"message":"a"}\r\n\r\n  {"message":"\xe4\xbb\x98"}  \n'
    for row in rows(data, file="f"):
        line = data[row["log.offset"] : row["log.offset"] + row["log.length"]]
        assert json.loads(line)["message"] == row["message"]


def test_a_repeated_document_counts_once_and_rows_without_id_all_count() -> None:
    data = ndjson(
        {"_index": "a", "_id": "1"},
        {"_index": "b", "_id": "1"},
        {"_index": "a", "_id": "1"},
        {"message": "x"},
        {"message": "x"},
    )
    parsed = parse_documents(data, source="s")
    assert (parsed.duplicates, parsed.table.num_rows) == (1, 4)


def test_a_line_of_a_megabyte_is_read_whole() -> None:
    text = "x" * 1_000_000
    got = rows(ndjson({"message": "a"}, {"message": text}, {"message": "b"}))
    assert [len(row["message"]) for row in got] == [1, 1_000_000, 1]


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert rows(b'{"message":"a\\ud83d"}')[0]["message"] == "a?"


def test_no_bytes_give_no_rows() -> None:
    assert rows(b"") == rows(b"\n \n\r\n") == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "name", "level", "message", "log", "a"]), inner, max_size=3)
    ),
    max_leaves=6,
)
documents = st.dictionaries(
    st.sampled_from(
        ["message", "log", "log.level", "host", "trace", "service", "@timestamp", "status", "error", "_id", "body"]
    ),
    json_values,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@example([b"\xef\xbb\xbf"])
@given(st.lists(documents | st.binary(max_size=20), max_size=12))
def test_no_bytes_raise_and_every_line_is_accounted_for(lines: list[Any]) -> None:
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    parsed = parse_documents(data, source="s", file="f")
    # A byte order mark in front of it all is no part of the first line.
    filled = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(b" \t\r\x0b\x0c")]
    assert parsed.lines == len(filled) == parsed.table.num_rows + parsed.duplicates
    parsed.table.validate(full=True)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(documents, min_size=1, max_size=6), st.binary(max_size=12).filter(lambda b: b"\n" not in b and b.strip())
)
def test_a_bad_line_never_changes_its_neighbours(good: list[dict[str, Any]], bad: bytes) -> None:
    lines = [json.dumps({**one, "_id": str(number)}).encode() for number, one in enumerate(good)]
    alone = parse_documents(b"\n".join(lines), source="s").table.to_pylist()
    mixed = parse_documents(b"\n".join([lines[0], b"{" + bad, *lines[1:]]), source="s").table.to_pylist()
    assert [row for row in mixed if row["_id"] is not None] == alone


HEADED = f"2026-11-23 10:02:31.118 ERROR [exec-7] [c.g.WxPay] [tid:{'4bf92f35' * 4}] - 支付失败 order_id=P2026112300001"
several_types = st.fixed_dictionaries(
    {},
    optional={
        "@timestamp": st.sampled_from(
            ["2026-11-23T10:02:31.118Z", 1795428151118, "23/Nov/2026:10:02:31 +0000", "", "no"]
        ),
        "message": st.sampled_from(
            [HEADED, "level=warn msg=x code=05", '{"level":"info","msg":"x"}', "", "a\\tb", "支付"]
        )
        | st.text(max_size=8)
        | st.just({"a": 1}),
        "user": st.fixed_dictionaries(
            {"id": st.integers(-9, 9) | st.sampled_from(["u1", "", 0.5, True, None, ["a", 1]])}
        ),
        "uid": st.integers(0, 9) | st.sampled_from(["u2", False]),
        "host": st.sampled_from(["h", {"name": "h"}, {"name": ""}, 7]),
        "error": st.sampled_from(["text", {"type": "A.B", "message": "m"}, {"code": 5}, {"code": "05"}]),
        "http": st.sampled_from([{"response": {"status_code": 200}}, {"response": {"status_code": "502"}}]),
    },
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(several_types | st.binary(max_size=12).filter(lambda b: b"\n" not in b), min_size=1, max_size=8),
    st.integers(1, 40),
    st.sampled_from([2 << 10, 8 << 20]),
)
def test_lines_read_together_are_the_lines_read_one_by_one(kinds: list[Any], times: int, slab: int) -> None:
    """Also where fields have several types, one is first seen in the last lines, lines are broken and documents repeat."""
    # The last documents have what none before has, and the last of all is there already.
    late = [{"labels": {"order_id": f"O{number}"}, "_id": f"l{number % 3}"} for number in range(4)]
    lines = [
        one if isinstance(one, bytes) else json.dumps({"_id": str(number), "_source": one}).encode()
        for number, one in enumerate([*(kinds * times), *late])
    ] + [json.dumps({"_id": "1", "_source": {"labels.order_id": "O"}}).encode()] * 2
    data = b"\n".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "_SLAB", slab)
        together = parse_documents(data, source="s", file="f", envelope="hit")
        patch.setattr(objects, "_by_arrow", lambda *_: frozenset())
        patch.setattr(objects, "_SMALL", 1 << 30)
        alone = parse_documents(data, source="s", file="f", envelope="hit")
    assert together.table.equals(alone.table)
    assert (together.unparsed, together.duplicates) == (alone.unparsed, alone.duplicates)


def test_a_field_of_several_types_does_not_send_lines_to_be_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one: list[int] = []
    by_line = objects.by_line

    def counted(buffer: Any, starts: Any, ends: Any, rows: Any, reader: Any) -> Any:
        one_by_one.extend(rows)
        return by_line(buffer, starts, ends, rows, reader)

    monkeypatch.setattr(objects, "by_line", counted)
    users: list[Any] = [7, "u7", None, True]
    data = ndjson(*({"message": f"m{n}", "user": {"id": users[n % 4]}, "host": "h"} for n in range(2000)))
    assert [row["user.id"] for row in rows(data)] == ["7", "u7", None, "true"] * 500
    assert not one_by_one


@pytest.mark.parametrize(
    "text",
    [
        "1795428151",
        "1795428151.118",
        "1795428151118",
        "1795428151118000",
        "1795428151118000000",
        "2026-11-23T10:02:31Z",
        "2026-11-23 10:02:31,118",
        "2026-11-23T18:02:31.118+08:00",
        "2026-11-23T18:02:31.118+0800",
        "23/Nov/2026:10:02:31 +0000",
        "23-Nov-2026 10:02:31 UTC",
        "Mon Nov 23 10:02:31.118 2026",
        "Nov 23, 2026 10:02:31 AM",
        "2026/11/23 10:02:31",
        "2026年11月23日 10:02:31",
        "2026-11-23T10:02:31.118123456Z",
    ],
)
def test_each_form_of_a_time_is_the_same_moment(text: str) -> None:
    moment = parse_times(pa.array([text])).to_pylist()[0]
    assert moment.replace(microsecond=0) == datetime(2026, 11, 23, 10, 2, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-02-30T00:00:00Z", "5", "Nov 23 10:02:31", "10:02:31", "9" * 19]
)
def test_what_is_no_full_time_is_null(text: str) -> None:
    assert parse_times(pa.array([text])).to_pylist() == [None]


def test_a_time_without_year_or_date_is_the_nearest_to_the_given_moment() -> None:
    around = datetime(2027, 1, 1, 0, 10, tzinfo=UTC)
    texts = pa.array(["Dec 31 23:59:00", "23:59:00", "1231 23:59:00.000001"])
    assert {t.replace(microsecond=0) for t in parse_times(texts, None, around).to_pylist()} == {
        datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    }


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=8)), ZoneInfo("Asia/Shanghai")], ids=["offset", "name"])
def test_a_time_without_zone_is_in_the_given_zone(zone: Any) -> None:
    local = rows(b'{"@timestamp":"2026-11-23 18:02:31"}', zone=zone)[0]["@timestamp"]
    assert local == datetime(2026, 11, 23, 10, 2, 31, tzinfo=UTC)


def test_a_parquet_table_gives_the_rows_of_its_documents() -> None:
    table = pa.table(
        {
            "_id": ["1"],
            "log": [{"level": "WARN"}],
            "service.name": ["pay"],
            "message": ["m"],
            "@timestamp": pa.array([datetime(2026, 11, 23, 10, 2, 31, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
        }
    )
    document = {
        "_id": "1",
        "log": {"level": "WARN"},
        "service.name": "pay",
        "message": "m",
        "@timestamp": "2026-11-23T10:02:31Z",
    }
    assert parse_parquet_table(table, source="s").table.to_pylist() == rows(ndjson(document))


def test_a_users_field_comes_first_and_an_unknown_column_is_refused() -> None:
    mapping = with_overrides(AUTO, {"trace.id": "ctx.tid", "labels.order_id": ["bill"]})
    row = rows(ndjson({"ctx": {"tid": "T1"}, "trace": {"id": "T2"}, "bill": "B-1"}), mapping=mapping)[0]
    assert (row["trace.id"], row["labels.order_id"]) == ("T1", "B-1")
    with pytest.raises(ValueError, match=r"no log column is called 'nope'"):
        with_overrides(AUTO, {"nope": "x"})


def test_auto_asks_for_every_field_of_the_presets() -> None:
    asked = set(source_fields(AUTO))
    assert all(asked.issuperset(source_fields(preset)) for preset in (ECS, OTEL, LOGSTASH))
