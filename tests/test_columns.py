"""A few fields of hits as columns: what is read fast is what the careful way reads."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers import columns
from parsers.columns import read_columns

FIELDS = ("@timestamp", "service.name", "log.level", "message")
TEXT = st.text(max_size=20).filter(lambda text: text.isprintable())
VALUE = st.one_of(TEXT, st.integers(-(10**9), 10**9), st.booleans(), st.none(), st.lists(TEXT, max_size=2))
SOURCE = st.fixed_dictionaries(
    {},
    optional={
        "@timestamp": st.sampled_from(["2026-11-20T02:00:00.123Z", "2026-11-20T02:00:00Z"]),
        "message": VALUE,
        "service": st.fixed_dictionaries({}, optional={"name": TEXT, "id": st.integers()}),
        "log.level": st.sampled_from(["INFO", "warn"]),
        "log": st.fixed_dictionaries({"level": st.sampled_from(["INFO", "ERROR"])}),
        "other": st.recursive(TEXT, lambda below: st.dictionaries(TEXT, below, max_size=2), max_leaves=3),
    },
)


def page(sources: list[dict[str, Any]]) -> bytes:
    hits = ({"_index": "i", "_id": f"d{n}", "_source": one, "sort": [n]} for n, one in enumerate(sources))
    return b"\n".join(json.dumps(hit, ensure_ascii=False).encode() for hit in hits)


def carefully(data: bytes) -> pa.Table:
    return columns._careful(pa.py_buffer(data), FIELDS)


@settings(deadline=None)
@given(st.lists(SOURCE, min_size=1, max_size=30))
def test_a_page_read_fast_is_the_page_read_with_care(sources):
    data = page(sources)
    table = read_columns(data, FIELDS, len(sources))
    assert table.num_rows == len(sources)
    assert table.column("_id").to_pylist() == [f"d{n}" for n in range(len(sources))]
    careful = carefully(data)
    for name in FIELDS:
        fast = [text or None for text in table.column(name).to_pylist()]
        assert fast == [text or None for text in careful.column(name).to_pylist()], name


def test_a_field_that_is_a_number_here_and_an_object_there_costs_no_neighbour():
    sources = [{"message": "a"}, {"message": 7}, {"message": {"x": 1}}, {"message": ["b", "c"]}, {"message": "d"}]
    table = read_columns(page(sources), FIELDS, 5)
    assert table.column("message").to_pylist()[:2] == ["a", "7"]
    assert table.column("message").to_pylist()[4] == "d"


def test_nested_and_dotted_spellings_are_one_field():
    sources = [{"service": {"name": "a"}}, {"service.name": "b"}, {"service": {"name": "c"}, "log.level": "INFO"}]
    table = read_columns(page(sources), FIELDS, 3)
    assert table.column("service.name").to_pylist() == ["a", "b", "c"]
    assert table.column("log.level").to_pylist() == [None, None, "INFO"]


def test_a_page_with_a_line_too_few_or_broken_keeps_its_rows_in_place():
    data = page([{"message": "a"}]) + b"\n" + b"not json" + b"\n" + page([{"message": "c"}])
    table = read_columns(data, FIELDS, 3)
    assert table.column("message").to_pylist() == ["a", None, "c"]


def test_a_field_inside_of_another_is_read_with_care():
    table = read_columns(page([{"error": "x"}, {"error": {"type": "T"}}]), ("error", "error.type"), 2)
    assert table.column("error").to_pylist() == ["x", None]
    assert table.column("error.type").to_pylist() == [None, "T"]


@pytest.mark.parametrize("hits", [0, 1])
def test_an_empty_page_has_the_columns(hits):
    data = page([{}]) if hits else b""
    assert read_columns(data, FIELDS, hits).column_names == ["_index", "_id", *FIELDS]
    assert read_columns(data, FIELDS, hits).num_rows == hits


def test_a_line_larger_than_a_block_is_read():
    long = "x" * (9 << 20)
    table = read_columns(page([{"message": long}, {"message": "b"}]), FIELDS, 2)
    assert [len(text) for text in table.column("message").to_pylist()] == [len(long), 1]
