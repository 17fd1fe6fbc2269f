"""What the tests of learning share: rows of an archive, the files they are in, and what a catalogue holds as bytes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.learning.carried import Row
from pipeline.learning.catalogue import Manifest
from pipeline.learning.local import Engine, learn, plan
from pipeline.learning.on_spark import read_rows
from pipeline.learning.units import list_files

# A Monday.
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
Rows = Sequence[tuple[float, str, str]]


def table(rows: Rows) -> pa.Table:
    """Rows of (seconds after Monday, service, message) as an archive's table."""
    return pa.table(
        {
            "@timestamp": pa.array([MONDAY + timedelta(seconds=at) for at, _, _ in rows], pa.timestamp("us", tz="UTC")),
            "service.name": pa.array([service for _, service, _ in rows], pa.string()),
            "message": pa.array([message for _, _, message in rows], pa.string()),
        }
    )


def write(path: Path, rows: Rows, *, group: int | None = None) -> Path:
    """`rows` as the file that its name says: Parquet, or JSON lines, with `.gz` compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table(rows), path, row_group_size=group)
        return path
    content = b"".join(json.dumps(document(*row), ensure_ascii=False).encode() + b"\n" for row in rows)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def document(at: float, service: str, message: str) -> dict[str, Any]:
    """One row as Elastic's agents write it."""
    moment = (MONDAY + timedelta(seconds=at)).isoformat()
    return {"@timestamp": moment, "service": {"name": service}, "message": message}


def learnt(out: Path, *archives: Path, engine: Engine | None = None) -> Manifest:
    """The catalogue of `archives`, in `out`."""
    units, before = plan(list_files([str(archive) for archive in archives]).files)
    return learn(units, str(out), before=before, engine=engine)


def content(folder: Path) -> Mapping[str, bytes]:
    """Every file of a catalogue."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one of a catalogue's tables."""
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def marked_read(unit: bytes) -> Iterator[Row]:
    """Work for Spark that leaves a file in its worker's folder when it begins and when it ends, and takes a second."""
    import time

    name = str(abs(hash(bytes(unit))))
    here = Path.cwd()
    (here / f"{name}.begun").touch()
    time.sleep(1.0)
    yield from read_rows(unit)
    (here / f"{name}.done").touch()
