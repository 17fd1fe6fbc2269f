"""Batch on Spark: the same documents and rows on a cluster of one master and two workers, also when a worker dies."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.batching.run import Asked, run_batch
from pipeline.errors import UsageError
from pipeline.settings import Settings
from tests.batch_samples import begin, incidents, results, summary_of
from tests.services import Running, spark

TICKETS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles, and beside them what a batch without Spark makes of them."""
    home = tmp_path_factory.mktemp("spark")
    incidents(home / "bundles", TICKETS)
    (home / "bundles" / "broken").mkdir()
    (home / "bundles" / "broken" / "ticket.json").write_text("{", "utf-8")
    run_batch(Asked(str(home / "bundles"), home / "plain", runner="local", jobs=2), Settings(store="unused", budget=60))
    assert len(results(home / "plain")) == TICKETS + 2 + 1
    return home


def on_spark(folder: Path, out: Path, master: str):
    call = (folder / "bundles", "--out-dir", out, "--engine", "spark", "--master", master, "--jobs", "1")
    return begin(*call, cwd=folder, env=spark.environment())


@pytest.mark.timeout(600)
def test_a_worker_that_is_killed_midway_costs_no_row_and_changes_none(
    spark_cluster: Running, folder: Path, tmp_path: Path
):
    """Byte for byte what one process leaves: documents, rows by day, dead letters."""
    job = on_spark(folder, tmp_path / "out", spark_cluster.url)
    documents = tmp_path / "out" / "documents"
    try:
        until = time.monotonic() + 300
        while len(list(documents.glob("*.json"))) < TICKETS // 6:
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < until, "the workers did not begin"
            time.sleep(0.02)
        spark.kill(spark_cluster.data, "worker-1")
        there = len(list(documents.glob("*.json")))
        output, errors = job.communicate(timeout=280)
    finally:
        job.kill()
        job.communicate()
    assert job.returncode == 8, (output, errors)
    assert there < TICKETS
    assert spark.pid_of(spark_cluster.data, "worker-1") is None
    assert results(tmp_path / "out") == results(folder / "plain")
    assert summary_of(tmp_path / "out")["dead"] == 1


def test_a_master_and_its_engine_go_together(folder: Path, tmp_path: Path):
    for given in ({"runner": "spark"}, {"master": "spark://127.0.0.1:1"}):
        asked = Asked(str(folder / "bundles"), tmp_path / "out", **given)
        with pytest.raises(UsageError, match="go together"):
            run_batch(asked, Settings(store="unused"))
