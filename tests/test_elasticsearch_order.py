"""The rows of an answer in order: what is quick for rows in stretches is what sorting them all gives."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.elasticsearch import tables
from pipeline.sources.elasticsearch.tables import in_order

ROW = st.tuples(
    st.one_of(st.integers(0, 8), st.integers(0, 8), st.none()),
    st.sampled_from("ij"),
    st.sampled_from("abc"),
    st.sampled_from([None, 0.0, 0.5]),
)


def table_of(rows: list[tuple[int | None, str, str, float | None]]) -> pa.Table:
    times, indices, ids, rates = zip(*rows, strict=True)
    return pa.table(
        {
            "@timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
            "_index": pa.array(indices),
            "_id": pa.array(ids),
            "_rate": pa.array(rates, pa.float64()),
            "place": pa.array(range(len(rows))),
        }
    )


@settings(deadline=None)
@given(st.lists(ROW, min_size=2, max_size=40), st.sampled_from([0, 200]))
def test_rows_come_by_time_index_and_id_each_once(rows, stretches):
    table = table_of(rows)
    before, tables._MOST_STRETCHES = tables._MOST_STRETCHES, stretches
    try:
        found = in_order(table)
    finally:
        tables._MOST_STRETCHES = before
    assert found.to_pylist() == table.take(tables._order(table)).to_pylist()


def test_stretches_that_follow_each_other_are_not_copied():
    table = table_of([(n % 500 + 500 * (n < 500), "i", f"d{n}", None) for n in range(1_000)])
    found = in_order(table)
    assert found.column("place").to_pylist() == [*range(500, 1_000), *range(500)]
    assert found.column("_id").num_chunks == 2
