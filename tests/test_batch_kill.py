"""`batch` is killed at any moment, ten times, and gone on with: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.batch_samples import begin, incidents, results, summary_of

COUNT, KILLS = 200, 10


@pytest.fixture(autouse=True)
def _alone(home: Path) -> None:
    """No command here sees anybody's settings."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return incidents(tmp_path_factory.mktemp("many"), COUNT)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, many: Path) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    process = begin(many, "--out-dir", out, "--runner", "local", "--jobs", "1", cwd=out.parent)
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return results(out)


def documents(out: Path) -> dict[str, int]:
    """The documents that are there, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "documents").glob("*.json")}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("runner", "jobs"), [("FnApiRunner", 1), ("local", 2)])
def test_killed_at_any_moment_it_leaves_in_the_end_what_an_undisturbed_run_does(
    home: Path, many: Path, undisturbed: dict[str, bytes], runner: str, jobs: int
):
    """Each kill comes when some more documents are there, or none; what was whole then is not written again."""
    moments = random.Random(f"{runner} {jobs}")
    out = home / "out"
    call = [many, "--out-dir", out, "--runner", runner, "--jobs", str(jobs)]
    kept: dict[str, int] = {}
    summary, began_with = out / "summary.json", 0
    for number in range(KILLS):
        if not summary.exists():
            began_with = len(kept)
        process = begin(*call, *(["--resume"] if (out / "work").exists() else []), cwd=home)
        if number < 2:
            # While it starts, and while it plans.
            time.sleep(moments.uniform(0, 4))
        else:
            wanted = len(kept) + moments.randrange(0, 2 * COUNT // KILLS)
            until = time.monotonic() + 120
            while time.monotonic() < until and process.poll() is None and len(documents(out)) < wanted:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = documents(out)
        assert {name: now.get(name) for name in kept} == kept
        kept = now
    # The processes of a run that was killed end by themselves; they may have finished what they had in hand.
    time.sleep(3)
    kept = documents(out)
    # A quick machine may have come to the end before the last kill: then all is there, and that run's summary stands.
    through = summary.read_bytes() if summary.exists() else None
    if through is None:
        began_with = len(kept)
    else:
        assert len(kept) == COUNT
    process = begin(*call, "--resume", cwd=home)
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said
    assert results(out) == undisturbed
    now = documents(out)
    assert {name: now[name] for name in kept} == kept
    assert through in {None, summary.read_bytes()}
    told = summary_of(out)
    assert (told["given"], told["snapshots"], told["dead"], told["left"]) == (COUNT, COUNT, 0, 0)
    assert told["kept"] >= began_with > 0
    assert told["untimed"] <= KILLS * jobs
