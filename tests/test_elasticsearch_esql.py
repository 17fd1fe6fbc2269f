"""Rows through ES|QL are the rows of a search. The answers are recorded ones, made after the documents: see `recorded_esql.py`."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.documents.parsing import parse_documents, parse_values, wanted_of
from parsers.mapping import AUTO
from pipeline.errors import SourceBroken
from pipeline.settings import Settings
from pipeline.settings_digest import settings_digest
from pipeline.sources.elasticsearch import Options
from pipeline.sources.elasticsearch.esql import Esql, page_of, table_of
from pipeline.sources.elasticsearch.targets import Target
from pipeline.values import Ask, Fetched
from tests.recorded_esql import MIME, Answer, Recorded
from tests.test_elasticsearch import (
    HOUR,
    PRODUCT,
    Index,
    client,
    index,
    lines,
    logs,
    passed_on,
    serving,
    source,
    stamp,
)

__all__ = ["client", "index", "source"]
ESQL = {"esql": "auto"}


def error(status: int, reason: str = "recorded") -> Answer:
    body = {"error": {"type": "recorded_exception", "reason": reason}, "status": status}
    return status, PRODUCT, json.dumps(body).encode()


def said(fetched: Fetched) -> str:
    """What the ledger says of the way that was taken."""
    (note,) = (note for note in fetched.coverage.notes if "ES|QL" in note)
    return note


def same(one: Fetched, other: Fetched) -> bool:
    """Whether two answers are equal, down to the plan, but for what the ledger says of the way."""
    return one.table.equals(other.table) and but_for_the_way(one) == but_for_the_way(other)


def but_for_the_way(fetched: Fetched) -> dict[str, Any]:
    row = msgspec.structs.asdict(fetched.coverage)
    return row | {"notes": [note for note in row["notes"] if "ES|QL" not in note]}


def crowded() -> list[dict[str, Any]]:
    """Rows of which up to forty share a millisecond, spelled in several ways, some with line breaks between their keys."""
    return [{**one, "@timestamp": stamp(number // 40 / 1000), "n": 1.0} for number, one in enumerate(lines(400))]


@pytest.mark.parametrize("most", [10_000, 150, 41])
def test_the_rows_are_those_of_a_search_whatever_the_servers_own_limit(
    index: Index, source: Any, elasticsearch_url: str, most: int
) -> None:
    index.put(crowded())
    recorded = Recorded(elasticsearch_url, most=most)
    with recorded.serving() as url:
        through = logs(source(url=url, logs=(index.name,), page_size=100, **ESQL))
    assert said(through) == "400 rows came through ES|QL"
    assert through.coverage.duplicates == 0
    assert len(recorded.asked) > 400 // min(most, 100)
    assert same(through, logs(source(logs=(index.name,))))


def test_ids_that_json_escapes_and_documents_of_several_lines_come_as_by_search(
    index: Index, source: Any, elasticsearch_url: str
) -> None:
    name = index.create()
    for number, one in enumerate(('a"b', "back\\slash", "tab\there", "单号", "plain")):
        # As it is written here, which a bulk request would not keep.
        document = f'{{\n "@timestamp": "{stamp(number)}",\n "message": "line \\"{number}\\"", "amount": 1.50\n}}'
        put(elasticsearch_url, f"/{name}/_doc/{quote(one, safe='')}?refresh=true", document)
    with Recorded(elasticsearch_url).serving() as url:
        through = logs(source(url=url, logs=(name,), **ESQL))
    assert said(through) == "5 rows came through ES|QL"
    assert through.table.column("_id").to_pylist()[0] == 'a"b'
    assert same(through, logs(source(logs=(name,))))


def put(url: str, path: str, body: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("PUT", path, body.encode(), {"content-type": "application/json"})
    assert connection.getresponse().status == 201
    connection.close()


def test_times_in_nanoseconds_are_read_along_their_milliseconds(
    index: Index, source: Any, elasticsearch_url: str
) -> None:
    times = [f"2026-09-04T15:00:00.{number // 3:03}{number % 3}00001Z" for number in range(300)]
    documents = [{"@timestamp": moment, "message": f"line {n}"} for n, moment in enumerate(times)]
    index.put(documents, mappings={"properties": {"@timestamp": {"type": "date_nanos"}, "message": {"type": "text"}}})
    with Recorded(elasticsearch_url, unit="ns", most=50).serving() as url:
        through = logs(source(url=url, logs=(index.name,), **ESQL))
    assert said(through) == "300 rows came through ES|QL"
    assert same(through, logs(source(logs=(index.name,))))


def test_of_more_rows_than_are_wanted_only_what_is_read_whole_comes_through_it(
    index: Index, source: Any, elasticsearch_url: str
) -> None:
    documents = lines(3_000)
    for number in range(0, 3_000, 100):
        documents[number]["labels"] = {"order_id": "PO1"}
    index.put(documents)
    recorded = Recorded(elasticsearch_url)
    with recorded.serving() as url:
        through = logs(source(url=url, logs=(index.name,), **ESQL), limit=500, order_id=("PO1",))
    assert through.coverage.sampled
    assert "rows came through ES|QL" in said(through)
    assert not any("random_score" in json.dumps(asked) for asked in recorded.asked.values())
    assert same(through, logs(source(logs=(index.name,)), limit=500, order_id=("PO1",)))


def test_identifiers_never_stand_in_the_text_of_the_query(index: Index, source: Any, elasticsearch_url: str) -> None:
    index.put(lines(50))
    order = 'PO1" | DROP _id | LIMIT 1 // '
    recorded = Recorded(elasticsearch_url)
    with recorded.serving() as url:
        fetched = source(url=url, logs=(index.name,), **ESQL).fetch(
            Ask("logs", HOUR, {"order_id": (order,)}, rest=True, deadline=time.monotonic() + 30)
        )
    assert fetched.coverage.fetched == 50
    assert all("PO1" not in asked["query"] for asked in recorded.asked.values())


def test_the_settings_leave_it_off(index: Index, source: Any, elasticsearch_url: str) -> None:
    index.put(lines(10))
    recorded = Recorded(elasticsearch_url)
    with recorded.serving() as url:
        fetched = logs(source(url=url, logs=(index.name,)))
    assert fetched.coverage.fetched == 10
    assert not recorded.asked
    assert not any("ES|QL" in note for note in fetched.coverage.notes)


def test_a_way_of_reading_does_not_change_what_settings_are_told_by() -> None:
    of = {
        way: Settings(sources={"es": Options(url="http://es:9200", logs=("a",), esql=way)}) for way in ("off", "auto")
    }  # type: ignore[arg-type]
    assert settings_digest(of["off"]) == settings_digest(of["auto"])


# ---- clusters that have it not, or do not say


def test_a_node_without_it_is_asked_once_and_read_by_search(index: Index, source: Any, elasticsearch_url: str) -> None:
    """The node of the tests is the open part of Elasticsearch, which has no ES|QL."""
    index.put(lines(10))
    asked = []

    def answer(request: Any, body: bytes) -> Answer:
        asked.append(request.path)
        return passed_on(elasticsearch_url, request, body)

    with serving(answer) as url:
        one = source(url=url, logs=(index.name,), **ESQL)
        for _ in range(2):
            fetched = logs(one)
            assert fetched.coverage.used == 10
            assert said(fetched) == "read by search, not by ES|QL: the cluster has none that answers in Arrow"
        assert "ES|QL that answers in Arrow: no, rows are read by search" in one.probe()
    assert sum(path.startswith("/_query") for path in asked) == 1


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_an_error_that_says_nothing_of_it_is_no_verdict(
    index: Index, source: Any, elasticsearch_url: str, status: int
) -> None:
    index.put(lines(10))
    recorded = Recorded(elasticsearch_url, instead=lambda number: error(status) if number == 0 else None)
    with recorded.serving() as url:
        one = source(url=url, logs=(index.name,), **ESQL)
        fetched = logs(one)
        assert fetched.coverage.status == "ok"
        assert said(fetched) == "read by search, not by ES|QL: whether the cluster has it could not be told"
        # The next question asks anew.
        assert said(logs(one)) == "10 rows came through ES|QL"


def test_a_server_that_answers_json_all_the_same_has_it_not(index: Index, source: Any, elasticsearch_url: str) -> None:
    index.put(lines(10))
    recorded = Recorded(elasticsearch_url, instead=lambda _: (200, PRODUCT, b'{"columns":[],"values":[]}'))
    with recorded.serving() as url:
        fetched = logs(source(url=url, logs=(index.name,), **ESQL))
    assert fetched.coverage.used == 10
    assert "read by search" in said(fetched)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target(("logs-*", "other:logs-*"), 2, {"t": frozenset({"date"})}, "t"), "a remote cluster"),
        (Target(("logs-*",), 2, {"t": frozenset({"date", "keyword"})}, "t"), "t is no date in some indices"),
        (Target(('a" | LIMIT 0 //',), 1, {"t": frozenset({"date"})}, "t"), "cannot be written"),
        (Target(("a",), 1, {"t` | LIMIT 0": frozenset({"date"})}, "t` | LIMIT 0"), "cannot be written"),
    ],
)  # fmt: skip
def test_what_it_would_not_certainly_give_is_left_to_the_search(target: Target, why: str) -> None:
    esql = Esql(None, target)  # type: ignore[arg-type]
    esql.probe()
    assert why in esql.said()
    assert list(esql.pages(Searched([1, 2]), {}, None)) == [([1, 2], 0, 0)]  # type: ignore[arg-type]


# ---- what goes wrong on the way


def without_a_row(table: pa.Table) -> pa.Table:
    return table.slice(1)


def with_a_row_twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table])


def in_another_order(table: pa.Table) -> pa.Table:
    return table.take(pa.array(np.arange(table.num_rows)[::-1]))


def with_a_list(table: pa.Table) -> pa.Table:
    lists = pa.array([[one] for one in table.column(3).to_pylist()], pa.list_(table.schema.field(3).type))
    return table.set_column(3, table.column_names[3], lists)


def without_sources(table: pa.Table) -> pa.Table:
    return table.set_column(2, "_source", pa.nulls(table.num_rows, pa.string()))


def unsupported(table: pa.Table) -> pa.Table:
    return table.set_column(3, table.column_names[3], pa.nulls(table.num_rows))


@pytest.mark.parametrize(
    "changed", [without_a_row, with_a_row_twice, in_another_order, with_a_list, without_sources, unsupported]
)
@pytest.mark.parametrize("at", [1, 3])
def test_an_answer_that_is_not_as_it_should_be_is_read_anew_by_search(
    index: Index, source: Any, elasticsearch_url: str, changed: Callable[[pa.Table], pa.Table], at: int
) -> None:
    index.put(crowded())
    recorded = Recorded(elasticsearch_url, changed=lambda number, table: changed(table) if number >= at else table)
    with recorded.serving() as url:
        through = logs(source(url=url, logs=(index.name,), page_size=120, readers=1, **ESQL))
    row, searched = through.coverage, logs(source(logs=(index.name,)))
    assert through.table.equals(searched.table)
    assert (row.status, row.matched, row.cut) == ("ok", 400, 0)
    # What had come before is read a second time, and told.
    assert row.duplicates == row.fetched - 400
    if changed is not without_a_row:
        # That a row is missing shows at the end only.
        assert (row.duplicates > 0) == (at > 1)
        assert max(recorded.asked) <= at + 1
    assert "search" in said(through)


@pytest.mark.parametrize(
    "broken",
    [error(400), error(429), error(500), error(503), (200, PRODUCT | {"content-type": MIME}, b"no stream"),
     (200, PRODUCT, b"{}"), (200, {"content-type": MIME}, b"")],
    ids=["400", "429", "500", "503", "no stream", "JSON", "another product"],
)  # fmt: skip
def test_a_failure_half_way_falls_back_and_is_told(
    index: Index, source: Any, elasticsearch_url: str, broken: Answer
) -> None:
    index.put(crowded())
    recorded = Recorded(elasticsearch_url, instead=lambda number: broken if number == 3 else None)
    with recorded.serving() as url:
        one = source(url=url, logs=(index.name,), page_size=100, readers=1, **ESQL)
        through = logs(one)
        assert through.table.equals(logs(source(logs=(index.name,))).table)
        assert through.coverage.status == "ok"
        assert "which was given up for the search: " in said(through)
        assert len(recorded.asked) == 4
        # It was this question's; the next one tries again, without asking whether the cluster has it.
        assert "given up" not in said(logs(one))
    assert sum(asked["query"].startswith("ROW") for asked in recorded.asked.values()) == 1


# ---- the law of its paging, without a server


class Searched:
    """A point in time over rows that are told by numbers."""

    size = 3

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def count(self, _: Any) -> int:
        return len(self.rows)

    def patience(self, _: int) -> None:
        return None

    def fit(self, *_: object) -> None:
        """As large as before."""

    def read(self, page: Any, _: Any) -> tuple[list[int], list[Any]]:
        return [int(json.loads(bytes(hit))["_id"]) for hit in page.hits()], []

    def pages(self, _query: Any, _want: None, _wanted: None, had: int = 0) -> Iterator[tuple[list[int], int, int]]:
        yield self.rows, 0, had


class Streams:
    """What `Esql` asks of its calls, over rows at given milliseconds: a server with a limit of its own."""

    def __init__(self, moments: list[int], most: int, page_size: int) -> None:
        self.rows = sorted((moment, number) for number, moment in enumerate(moments))
        self.most = most
        self.connection = self
        self.options = self
        self.page_size = page_size
        self.esql = self

    def stream(self, request: Any, _within: None, _patience: None) -> bytes:
        return request(self)  # type: ignore[no-any-return]

    def query(self, query: str, filter: Any, **_: Any) -> bytes:  # noqa: A002 - the client's name
        limit = min(int(re.findall(r"LIMIT (\d+)", query)[0]), self.most)
        since = filter["bool"]["filter"][1]["range"]["t"]["gte"] if "bool" in filter else -1
        rows = [row for row in self.rows if row[0] >= since][:limit]
        table = pa.table(
            {
                "_index": pa.array(["a"] * len(rows), pa.string()),
                "_id": pa.array([str(number) for _, number in rows], pa.string()),
                "_source": pa.array(["{}"] * len(rows), pa.string()),
                "t": pa.array([moment for moment, _ in rows], pa.timestamp("ms")),
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


@given(
    moments=st.lists(st.integers(0, 6), max_size=40),
    most=st.integers(1, 50),
    page_size=st.integers(1, 20),
)
def test_each_row_comes_once_or_the_search_says_how_many_had_come(
    moments: list[int], most: int, page_size: int
) -> None:
    target = Target(("a",), 1, {"t": frozenset({"date"})}, "t")
    esql = Esql(Streams(moments, most, page_size), target)  # type: ignore[arg-type]
    numbers = list(range(len(moments)))
    pages = list(esql.pages(Searched(numbers), {}, None))  # type: ignore[arg-type]
    came = [number for hits, _, _ in pages for number in hits]
    again = sum(again for _, _, again in pages)
    assert sorted(set(came)) == numbers
    assert len(came) - again == len(numbers)
    crowd = max((moments.count(one) for one in moments), default=0)
    if min(most, page_size) > crowd:
        # Wherever a page holds more than one millisecond, the search is not needed.
        assert again == 0
        assert sorted(came) == numbers
        assert "given up" not in esql.said()


def test_a_page_is_the_json_that_a_search_would_have_sent() -> None:
    rows = pa.table({"_index": ["a", "b"], "_id": ['x"\\\n', "单"], "_source": ['{"n":1.50}', '{\n"m": "\\u0041"}']})
    first, second = page_of(rows).hits()
    assert json.loads(bytes(first)) == {"_index": "a", "_id": 'x"\\\n', "_source": {"n": 1.5}}
    assert bytes(first).endswith(b'{"n":1.50}}')
    assert json.loads(bytes(second))["_source"] == {"m": "A"}


def test_the_compiled_loop_reads_such_a_page_as_the_parser_of_lines_does() -> None:
    sources = [json.dumps(one, ensure_ascii=False) for one in lines(500)]
    rows = pa.table({"_index": ["a"] * 500, "_id": [f"d{n}" for n in range(500)], "_source": sources})
    page = page_of(rows)
    values = wanted_of(AUTO).read(page)
    assert values is not None
    by_line = parse_documents(b"\n".join(page.hits()), source="es", envelope="hit").table
    assert parse_values(values, source="es").table.equals(by_line)


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff\xff", b"ARROW1", b"\xff\xff\xff\xff\x10\x00\x00\x00" + bytes(16)])
def test_a_stream_that_cannot_be_read_is_told_as_our_own_error(body: bytes) -> None:
    with pytest.raises(SourceBroken, match="stream of Arrow batches"):
        table_of(body)
