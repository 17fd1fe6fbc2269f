"""Spark: the same functions on a real cluster of one master and two workers give the same catalogue, also when a worker dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.learn_samples import content, learnt, write
from tests.services import Running, spark
from tests.test_learn import STORY

ROOT = Path(__file__).resolve().parent.parent
UNITS = 12
# Learns by work that takes a second a unit and leaves marks.
SLOWLY = """
import sys
from pipeline.learning.carried import done_of, united
from pipeline.learning.local import learn, plan
from pipeline.spark import spark_rows
from pipeline.learning.units import encode_unit, list_files
from tests.learn_samples import marked_read

archive, out, master = sys.argv[1:]

def engine(units):
    for key, value in spark_rows(master, [encode_unit(one) for one in units], marked_read, unite=united):
        yield done_of(key, value)

units, before = plan(list_files([archive]).files)
learn(units, out, before=before, engine=engine)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a dozen units, one of them dead, and its catalogue as this process learns it."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(UNITS - 1):
        write(folder / "logs" / f"{number:02}.parquet", STORY[number * 250 : (number + 1) * 250])
    (folder / "logs" / "dead.ndjson.gz").write_bytes(b"no archive")
    learnt(folder / "catalogue", folder / "logs")
    return folder


def program(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **spark.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def marks(cluster: Running, worker: int, end: str) -> set[str]:
    return {path.stem for path in (Path(cluster.data) / f"work-{worker}").rglob(f"*.{end}")}


@pytest.mark.timeout(600)
def test_both_workers_read_and_the_catalogue_is_the_same(spark_cluster: Running, archive: Path, tmp_path: Path):
    command = ("-m", "cli", "learn", archive / "logs", "--out", tmp_path / "out", "--engine", "spark")
    done = program(*command, "--master", spark_cluster.url)
    output, errors = done.communicate(timeout=550)
    # 8: one file is dead, and named.
    assert done.returncode == 8, errors[-3000:]
    assert "dead.ndjson.gz" in errors
    assert content(tmp_path / "out") == content(archive / "catalogue"), output


@pytest.mark.timeout(600)
def test_a_worker_that_is_killed_midway_costs_no_row(spark_cluster: Running, archive: Path, tmp_path: Path):
    job = program("-c", SLOWLY, archive / "logs", tmp_path / "out", spark_cluster.url)
    try:
        until = time.monotonic() + 300
        # Both are at work, and the one to die has finished units that die with it.
        while not (marks(spark_cluster, 0, "begun") and marks(spark_cluster, 1, "done")):
            assert job.poll() is None, job.communicate()[1][-3000:]
            assert time.monotonic() < until, "the workers did not begin"
            time.sleep(0.05)
        lost = marks(spark_cluster, 1, "begun")
        spark.kill(spark_cluster.data, "worker-1")
        assert len(marks(spark_cluster, 0, "done") | marks(spark_cluster, 1, "done")) < UNITS
        assert spark.pid_of(spark_cluster.data, "worker-1") is None
        _, errors = job.communicate(timeout=280)
    finally:
        job.kill()
        job.communicate()
    assert job.returncode == 0, errors[-3000:]
    assert lost
    assert content(tmp_path / "out") == content(archive / "catalogue")
