"""Worker processes: how one is started, kept running and told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

_log = logging.getLogger(__name__)
# A worker that ends by itself is started again after so many seconds, twice as long each time.
_PAUSES = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
# What is under way when we are told to stop gets so many seconds to end; what does not is begun again later.
PATIENCE = 15


class Crew:
    """Worker processes, each started again when it ends by itself."""

    def __init__(self, command: Sequence[str], count: int, name: str) -> None:
        self._command = command
        self._slots = [f"{name}:{slot}" for slot in range(count)]
        self._stopping = threading.Event()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._threads = [threading.Thread(target=self._keep, args=(slot,), daemon=True) for slot in self._slots]

    def start(self) -> None:
        """Starts them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Lets each end its jobs, for a while."""
        self._stopping.set()
        for process in list(self._running.values()):
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        until = time.monotonic() + PATIENCE + 5
        for process in list(self._running.values()):
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for thread in self._threads:
            thread.join(timeout=2)

    def _keep(self, slot: str) -> None:
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            process = subprocess.Popen([*self._command, "--slot", slot], stdin=subprocess.PIPE)  # noqa: S603 - ourselves
            self._running[slot] = process
            code = process.wait()
            if self._stopping.is_set():
                return
            failures = 0 if time.monotonic() - begun > 60 else failures + 1
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            _log.error("worker %s ended with code %s; it is started again in %.1f s", slot, code, pause)
            self._stopping.wait(pause)


def stopping(with_parent: bool) -> threading.Event:
    """An event that is set by SIGTERM, Ctrl-C, and with `with_parent` by the end of standard input: then our parent is gone."""
    stop = threading.Event()

    def told(*_: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    if with_parent:

        def read() -> None:
            with contextlib.suppress(OSError):
                while os.read(0, 1024):
                    pass
            stop.set()

        threading.Thread(target=read, name="parent", daemon=True).start()
    return stop


def python() -> list[str]:
    """How this program is started again."""
    return [sys.executable, "-c", "from cli import main; main()"]
