"""Learning on Spark: units of an archive are read by `pipeline/spark.py`'s workers, their shards united where those of one day meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.learning.carried import done_of, rows_of, united
from pipeline.learning.local import Done, Engine, done
from pipeline.learning.units import Unit, decode_unit, encode_unit
from pipeline.spark import Row, spark_rows


def spark_engine(master: str) -> Engine:
    """The engine of `pipeline.learning.local.learn` that reads units on Spark."""

    def run(units: Sequence[Unit]) -> Iterator[Done]:
        for key, value in spark_rows(master, [encode_unit(unit) for unit in units], read_rows, unite=united):
            yield done_of(key, value)

    return run


def read_rows(content: bytes) -> Iterator[Row]:
    """The rows of one unit, which is read."""
    return rows_of(done(decode_unit(bytes(content))))
