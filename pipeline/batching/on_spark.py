"""Batch on Spark: units of the plan are taken by `pipeline/spark.py`'s workers, by the same function as everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from pipeline.batching.plan import Unit
from pipeline.batching.units import Recipe, worker_of
from pipeline.spark import Row, spark_rows


def run_on_spark(units: Sequence[Unit], recipe: Recipe, master: str) -> int:
    """Takes the tickets of `units` on the workers of `master`; how many were looked at. Raises as `spark_rows` does.

    Every worker reaches the run's folder under the same path and has this program and its secrets in its environment.
    """
    work = partial(take_rows, recipe)
    return sum(1 for _ in spark_rows(master, [msgspec.msgpack.encode(unit) for unit in units], work))


def take_rows(recipe: Recipe, content: bytes) -> Iterator[Row]:
    """What became of each ticket of one unit: its document's name, and its state."""
    # Spark's Python process lives on, with its sources open for the units that come next; with it they end.
    for entry in worker_of(recipe).take_unit(msgspec.msgpack.decode(content, type=Unit)):
        yield entry.document, entry.state.encode()
