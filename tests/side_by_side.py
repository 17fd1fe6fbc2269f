"""Which tests run beside which where several processes share them (`pytest -n 2`, of pytest-xdist).

A file's tests stay together, in their order: they share what the file prepares. So do the files of a lane, since they share a
service that one of them would see the others in, or each start one that takes the whole machine. What takes longest begins first, so that all processes end together.
A test with the marker `alone` measures time, and waits until no other test runs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.services import held

ROOT = Path(__file__).resolve().parent.parent
# Lanes, and the fixtures whose users are in them: one Elasticsearch node has the settings, templates and remote clusters
# of all; ticket systems deliver to one port each, and their polls tell the tickets of all. Each test with Spark starts a
# master and two workers of its own: one such cluster at a time is enough.
LANES = {
    "elasticsearch": ("elasticsearch_url",),
    "desks": ("helpdesk_url", "redmine_url", "rt_url"),
    "spark": ("spark_cluster",),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Lanes and files that take more than half a minute, the longest first.
FIRST = (
    "elasticsearch",
    "desks",
    "tests/test_service_crash.py",
    "tests/test_batch.py",
    "tests/test_service.py",
    "tests/test_intake.py",
    "tests/test_batch_kill.py",
    "tests/test_remote.py",
    "spark",
    "tests/test_service_faults.py",
    "tests/test_intake_browser.py",
    "tests/test_desk_clock.py",
    "tests/test_service_openapi.py",
    "tests/test_backtest.py",
)


# The turn of the test before, where this process's next one has it, too.
_kept: list[contextlib.ExitStack] = []


@functools.cache
def _lane_of(file: str) -> str:
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((name for name, fixtures in LANES.items() if any(word in text for word in fixtures)), file)


def lane(nodeid: str) -> str:
    """What a test stays together with: the lane that its file names a fixture of, else its file."""
    return _lane_of(nodeid.partition("::")[0])


def rank(nodeid: str) -> int:
    """Its place in the order of lanes; files that take little time keep theirs, after the others."""
    name = lane(nodeid)
    return FIRST.index(name) if name in FIRST else len(FIRST)


def scheduler(config: Any, log: Any) -> Any:
    """Gives a process one lane after the other, and the next one to whichever is through first."""
    from xdist.scheduler import LoadFileScheduling

    class ByLane(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return lane(nodeid)

    # xdist would begin with the lane of the most tests.
    config.option.loadscopereorder = False
    return ByLane(config, log)


@contextlib.contextmanager
def turn(session: Path, *, alone: bool, on: bool = False) -> Iterator[None]:
    """A test's turn among the processes of the session whose folder this is; `alone`, no other has its turn meanwhile.

    `on` says that this process's next test is to be alone, too: they follow each other, else each would wait for one of the others.
    """
    held_on = _kept.pop() if _kept else None
    with contextlib.ExitStack() as stack:
        if held_on is not None:
            stack.push(held_on)
        else:
            # Whoever waits to be alone keeps the door: nobody else begins meanwhile.
            with held(session / "door.lock"):
                stack.enter_context(held(session / "turn.lock", shared=not alone))
        yield
        if alone and on:
            _kept.append(stack.pop_all())


def joins(session: Path) -> None:
    """This process shares the session's tests: a signal ends it as Ctrl-C does, and a second one does not end its cleaning up."""

    def ended(*_: object) -> None:
        for sign in SIGNALS:
            signal.signal(sign, lambda *_: None)
        raise KeyboardInterrupt

    for sign in SIGNALS:
        signal.signal(sign, ended)
    (session / f"{os.getpid()}.worker").touch()


def leaves(session: Path) -> None:
    """This process is through."""
    (session / f"{os.getpid()}.worker").unlink(missing_ok=True)


def end_workers(session: Path, seconds: float = 60) -> None:
    """Ends those that share the tests, and waits until each has stopped what its tests had started; xdist would not."""
    for note in session.glob("*.worker"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(note.stem), signal.SIGTERM)
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(running(int(note.stem)) for note in session.glob("*.worker")):
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Whether a child of this process still runs."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False
