"""Work units on Spark: through `mapInArrow`, by the same functions that read them here. Needs the extra `spark` and Java 17.

`spark_rows` carries any work: a unit (bytes) goes to a worker, and what it gives comes back as rows of a key and a value. Learning
gives it units of an archive and gets the shards of each day, united where the rows of one key meet; a batch gives it units of its
plan and gets what became of each ticket. Whoever loses a worker loses its tasks only: Spark runs them again elsewhere, and a unit
that is worked on twice gives the same rows.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.errors import NoSourceReached, SnapshotError, UsageError

Row = tuple[str, bytes]
_ROWS = pa.schema([pa.field("key", pa.string()), pa.field("value", pa.binary())])
_DDL = "key string, value binary"
# Units of one task at most, so that a lost worker loses little; and tasks at most, which the driver keeps account of.
_TASKS = 10_000


def spark_rows(
    master: str,
    units: Sequence[bytes],
    work: Callable[[bytes], Iterable[Row]],
    *,
    unite: Callable[[list[bytes]], bytes] | None = None,
    name: str = "problem-snapshot",
) -> Iterator[Row]:
    """The rows that `work` gives for each of `units`, in any order; those of one key united to one by `unite` where they meet.

    `work` and `unite` are functions of a module that the workers can import, too. Raises `UsageError` without pyspark,
    `NoSourceReached` where the master does not answer, and `SnapshotError` where the job failed.
    """

    def worked(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for unit in batch.column(0).to_pylist():
                yield from _batches(work(unit))

    def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        values: dict[str, list[bytes]] = {}
        for batch in batches:
            for key, value in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                values.setdefault(key, []).append(value)
        for key, some in values.items():
            yield from _batches([(key, unite(some) if unite else some[0])])

    if not units:
        return
    with _session(master, name) as session, _told(master):
        tasks = min(len(units), _TASKS)
        given = session.sparkContext.parallelize([(bytearray(unit),) for unit in units], tasks)
        rows = session.createDataFrame(given, "unit binary").mapInArrow(worked, _DDL)
        # The exchange also makes Spark run all units at once, however slowly the rows are taken.
        rows = rows.repartition(max(1, min(tasks, 2 * session.sparkContext.defaultParallelism)), "key")
        for row in (rows.mapInArrow(gathered, _DDL) if unite else rows).toLocalIterator():
            yield row.key, bytes(row.value)


def _batches(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    """One batch a row: a value may be megabytes."""
    for key, value in rows:
        yield pa.record_batch([[key], [value]], schema=_ROWS)


@contextlib.contextmanager
def _session(master: str, name: str) -> Iterator[Any]:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise UsageError("--engine spark needs pyspark: pip install 'problem-snapshot[spark]'") from error
    builder = SparkSession.builder.master(master).appName(name).config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    # Workers run this interpreter and see what it sees, unless Spark's own configuration says otherwise.
    builder = builder.config("spark.pyspark.python", os.environ.get("PYSPARK_PYTHON", sys.executable))
    builder = builder.config("spark.executorEnv.PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    with _told(master):
        session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


@contextlib.contextmanager
def _told(master: str) -> Iterator[None]:
    """Spark's errors as ours."""
    try:
        yield
    except SnapshotError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("pyspark", "py4j")):
            raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
        if "master" in reason.lower() or "connect" in reason.lower() or "JAVA" in reason:
            raise NoSourceReached(f"{master} cannot be used: {reason}; is the master up, and Java 17 here?") from error
        raise SnapshotError(f"the job on {master} failed: {reason}") from error
