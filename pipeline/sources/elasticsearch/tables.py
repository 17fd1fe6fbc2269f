"""The table of an answer: what share of its kind each row is, the window's edges, each document once, in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.elasticsearch.intake import Part
from pipeline.sources.elasticsearch.queries import ceil_ms, floor_ms
from pipeline.values import Span

# Stretches of rows that are put one after the other as they are; more of them would make a table that is slow to read.
_MOST_STRETCHES = 200


def rated(part: Part, every: Sequence[Part], table: pa.Table) -> pa.Table:
    """`table` with its step, and with the share of the rows of its kind that it is part of.

    Where a draw was broken off, or a step that was to be read whole, which rows came says nothing of the others: these
    have a share of zero.
    """
    step = part.step
    if "_rate" not in table.column_names or (step.kind == "all" and part.done):
        return table
    rate: float | None = 0.0
    matched = part.matched or step.matched
    if part.done and part.whole:
        rate = None
    elif part.done and matched:
        draws = [part] if part.matched else [one for one in every if one.step is step and one.done]
        share = sum(one.rows for one in draws) / matched
        rate = share if share < 1.0 else None
    for name, value in (("_rate", rate), ("_step", step.kind)):
        at = table.schema.get_field_index(name)
        field = table.schema.field(at)
        values = pa.repeat(pa.scalar(value, field.type), table.num_rows)
        table = table.set_column(at, field, values)
    return table


def without_edges(table: pa.Table, window: Span) -> pa.Table:
    """`table` without the rows of the milliseconds at both ends that only the whole time stamp tells apart."""
    lower, upper = floor_ms(window.start), ceil_ms(window.end)
    times = table.column("@timestamp")
    if lower == window.start and upper == window.end:
        return table
    early = pc.and_(pc.greater_equal(times, _scalar(lower)), pc.less(times, _scalar(window.start)))
    late = pc.and_(pc.greater_equal(times, _scalar(window.end)), pc.less(times, _scalar(upper)))
    return table.filter(pc.invert(pc.fill_null(pc.or_(early, late), False)))


def in_order(table: pa.Table) -> pa.Table:
    """`table` by time, index and id, each document once: the order of equal times differs from shard copy to copy.

    A document that came both in a sample and by name stands for itself.
    """
    if table.num_rows < 2:
        return table
    times = table.column("@timestamp")
    if times.null_count:
        return table.take(_order(table))
    moments = times.combine_chunks().cast(pa.int64()).to_numpy()
    order = np.argsort(moments, kind="stable")
    same = np.diff(moments[order]) == 0
    if same.any():
        # Only rows of equal times need a second look, and they come in the same places.
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        rows = order[tied]
        order[tied] = rows[_sorted(table.take(pa.array(rows))).to_numpy()]
    ids = table.column("_id").take(pa.array(order)).combine_chunks()
    if pc.any(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))).as_py():
        return table.take(_order(table))
    return _taken(table, order)


def _taken(table: pa.Table, order: npt.NDArray[np.int64]) -> pa.Table:
    """The rows of `table` in `order`; where they are a few stretches of it, without a copy."""
    breaks = np.flatnonzero(np.diff(order) != 1) + 1
    if len(breaks) >= _MOST_STRETCHES:
        return table.take(pa.array(order))
    first = np.concatenate([[0], breaks])
    sizes = np.diff(np.append(first, len(order)))
    return pa.concat_tables(
        [table.slice(at, size) for at, size in zip(order[first].tolist(), sizes.tolist(), strict=True)]
    )


def _sorted(table: pa.Table) -> pa.Array:
    """The rows by time, index and id."""
    keys = [(name, "ascending") for name in ("@timestamp", "_index", "_id")]
    if "_rate" in table.column_names:
        # Nulls come last, and with them the rows that stand for themselves: the last of equals is kept.
        keys.append(("_rate", "ascending"))
    return pc.sort_indices(table.select([name for name, _ in keys]), sort_keys=keys)


def _order(table: pa.Table) -> pa.Array:
    """The rows by time, index and id, of those of one document the last."""
    order = _sorted(table)
    ids = pc.binary_join_element_wise(table.column("_index"), table.column("_id"), "\n").take(order).combine_chunks()
    same = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    keep = pa.concat_arrays([pc.invert(pc.fill_null(same, False)), pa.array([True])])
    return order.filter(keep)


def each_once(table: pa.Table) -> pa.Table:
    """`table` with the first row of each document."""
    ids = pc.binary_join_element_wise(table.column("_index"), table.column("_id"), "\n")
    places = pa.array(range(table.num_rows), pa.int64())
    first = pa.table({"id": ids, "place": places}).group_by("id").aggregate([("place", "min")])
    return table.take(first.column("place_min").combine_chunks().sort())


def _scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, type=pa.timestamp("us", tz="UTC"))
