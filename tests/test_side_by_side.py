"""Where several processes share the tests, each service is started once, and who measures time is alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import services
from tests.side_by_side import FIRST, LANES, ROOT, end_workers, lane, rank, turn


@pytest.fixture(autouse=True)
def _nobodys_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "STATE", tmp_path / "state")


def service(name: str, told: list[str], absent: str = "") -> Any:
    """A service that takes a moment to start, and writes down what is done to it."""

    def start() -> services.Running:
        told.append(f"{name} starts")
        time.sleep(0.1)
        if absent:
            raise services.Unavailable(absent)
        return services.Running(name, f"http://{name}", f"data of {name}")

    return SimpleNamespace(NAME=name, start=start, alive=lambda _: True, stop=lambda data: told.append(f"stops {data}"))


def test_a_service_that_many_ask_for_is_started_once_and_stopped_at_the_end(tmp_path: Path):
    told: list[str] = []
    one, other = service("one", told), service("other", told)
    with ThreadPoolExecutor(8) as askers:
        urls = list(askers.map(lambda _: services.address(one, tmp_path), range(8)))
    assert urls == ["http://one"] * 8
    services.stop_all([one, other], tmp_path)
    assert told == ["one starts", "stops data of one"]


def test_a_service_that_cannot_be_had_is_tried_once_and_its_reason_told_to_all(tmp_path: Path):
    told: list[str] = []
    one = service("one", told, absent="no Java to run it with")
    for _ in range(3):
        with pytest.raises(services.Unavailable, match="no Java to run it with"):
            services.address(one, tmp_path)
    assert told == ["one starts"]
    services.stop_all([one], tmp_path)
    assert told == ["one starts"]


def test_a_service_that_runs_for_use_by_hand_is_taken_and_left_running(tmp_path: Path):
    told: list[str] = []
    one = service("one", told)
    services.remember(services.Running("one", "http://by.hand", "data"))
    assert services.address(one, tmp_path) == "http://by.hand"
    services.stop_all([one], tmp_path)
    assert told == []


def test_a_service_for_one_use_is_stopped_after_it_and_one_that_runs_by_hand_is_not():
    """What benchmarks take their services by."""
    told: list[str] = []
    one = service("one", told)

    def broken_off() -> None:
        with services.running(one) as url:
            assert (url, told) == ("http://one", ["one starts"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert told == ["one starts", "stops data of one"]
    services.remember(services.Running("one", "http://by.hand", "data"))
    with services.running(one) as url:
        assert url == "http://by.hand"
    assert told == ["one starts", "stops data of one"]


def test_all_services_are_stopped_where_one_of_them_cannot_be(tmp_path: Path):
    told: list[str] = []
    one, other = service("one", told), service("other", told)

    def stuck(data: str) -> None:
        raise RuntimeError(f"{data} cannot be stopped")

    one.stop = stuck
    for each in (one, other):
        services.address(each, tmp_path)
    with pytest.raises(RuntimeError, match="data of one cannot be stopped"):
        services.stop_all([one, other], tmp_path)
    assert "stops data of other" in told


def test_tests_run_beside_each_other_but_not_beside_one_that_is_alone(tmp_path: Path):
    """It waits for those that run, and those that come after it wait for it."""
    order: list[str] = []
    first, let_go = threading.Event(), threading.Event()

    def run(name: str, *, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            order.append(f"{name} begins")
            first.set()
            if not alone:
                assert let_go.wait(10)
            order.append(f"{name} ends")

    usual = threading.Thread(target=run, args=("usual",), kwargs={"alone": False})
    usual.start()
    assert first.wait(10)
    strict = threading.Thread(target=run, args=("strict",), kwargs={"alone": True})
    strict.start()
    time.sleep(0.2)
    late = threading.Thread(target=run, args=("late",), kwargs={"alone": False})
    late.start()
    time.sleep(0.2)
    assert order == ["usual begins"]
    let_go.set()
    for thread in (usual, strict, late):
        thread.join(10)
    assert order == ["usual begins", "usual ends", "strict begins", "strict ends", "late begins", "late ends"]


def test_those_that_are_alone_follow_each_other_where_one_process_has_several(tmp_path: Path):
    order: list[str] = []

    def late() -> None:
        with turn(tmp_path, alone=False):
            order.append("late")

    waiting = threading.Thread(target=late)
    with turn(tmp_path, alone=True, on=True):
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    time.sleep(0.2)
    with turn(tmp_path, alone=True):
        order.append("second")
    waiting.join(10)
    assert order == ["first", "second", "late"]


def test_two_that_are_not_alone_run_at_the_same_time(tmp_path: Path):
    both = threading.Barrier(2)

    def run(_: int) -> int:
        with turn(tmp_path, alone=False):
            return both.wait(10)

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(run, range(2))) == [0, 1]


WORKER = """
import sys, time
from pathlib import Path
from tests.side_by_side import joins

session = Path(sys.argv[1])
try:
    joins(session)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    (session / f"cleaned by {sys.argv[2]}").touch()
"""


def test_an_end_is_waited_for_until_each_process_has_cleaned_up(tmp_path: Path):
    """Also where Ctrl-C has reached them before: a second signal does not end their cleaning up."""
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, tmp_path, name], cwd=ROOT) for name in ("one", "other")]
    try:
        until = time.monotonic() + 60
        while len(list(tmp_path.glob("*.worker"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        workers[0].send_signal(signal.SIGINT)
        time.sleep(0.1)
        end_workers(tmp_path)
        assert {path.name for path in tmp_path.glob("cleaned*")} == {"cleaned by one", "cleaned by other"}
        assert [worker.wait() for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_whoever_asks_for_a_service_of_a_lane_is_in_that_lane(request: pytest.FixtureRequest):
    """Also where the fixture comes by another one, or from another file."""
    for item in request.session.items:
        for name, fixtures in LANES.items():
            if set(fixtures) & set(getattr(item, "fixturenames", ())):
                assert lane(item.nodeid) == name, item.nodeid


def test_what_takes_longest_is_there_and_goes_first():
    assert rank(f"tests/{Path(__file__).name}::test") == len(FIRST)
    for number, name in enumerate(FIRST):
        assert name in LANES or (ROOT / name).is_file(), name
        assert name in LANES or rank(f"{name}::test") == number, name
