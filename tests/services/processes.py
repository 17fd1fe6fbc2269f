"""Servers as processes: started in the background on a free port, known again by a file with their id, and stopped by it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.services import free_port

# Signals, and how many seconds the process has after each.
Steps = tuple[tuple[signal.Signals, float], ...]
PID = "server.pid"
LOG = "server.log"


def account(name: str) -> str | None:
    """The user that a server runs as: `name` where root starts it, else whoever does."""
    return name if os.geteuid() == 0 else None


def end_of(log: Path) -> str:
    """What a server wrote last."""
    return log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""


def on_free_port(serve: Callable[[int], bool], what: str, log: Path) -> int:
    """The port on which `serve` started the server. Raises `RuntimeError` with the end of its log."""
    # Between the choice of a port and its use another program may take it.
    for _ in range(3):
        port = free_port()
        if serve(port):
            return port
    message = f"{what} does not start:\n{end_of(log)}"
    raise RuntimeError(message)


def launched(
    command: list[str | Path],
    folder: Path,
    ready: Callable[[], bool],
    *,
    user: str | None = None,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 60,
) -> bool:
    """Runs a server until it is `ready`, its id and what it writes in files of `folder`; false where it ends before."""
    with (folder / LOG).open("ab") as written:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd=cwd or folder,
            env={**os.environ, **(env or {})},
        )
    (folder / PID).write_text(str(process.pid), encoding="ascii")
    for _ in range(int(seconds * 10)):
        if process.poll() is not None:
            return False
        if ready():
            # It is stopped by its id; nobody waits for the process itself.
            process.returncode = 0
            return True
        time.sleep(0.1)
    return False


def answers(url: str, seconds: float = 30) -> bool:
    """Whether a page can be had now."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=seconds):
        return True
    return False


def process_of(data: str, known: Callable[[Path], bool], name: str = PID) -> int | None:
    """The id in the file `name` of the folder `data`, if that process runs and is the one meant: numbers are given again.

    `known` tells it by its folder below `/proc`; where there is no such folder, any process is taken.
    """
    with contextlib.suppress(OSError, ValueError):
        pid = int((Path(data) / name).read_text(encoding="ascii"))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        os.kill(pid, 0)
        place = Path(f"/proc/{pid}")
        if not place.exists() or known(place):
            return pid
    return None


def named(word: str) -> Callable[[Path], bool]:
    """Tells a process by a word of its command."""
    return lambda place: word.encode() in (place / "cmdline").read_bytes()


def end(find: Callable[[], int | None], steps: Steps, *, group: bool = False) -> bool:
    """Sends one signal after the other until `find` gives no process any more; whether that came about.

    With `group` its children get them too: it was started as the first of a session.
    """
    send = os.killpg if group else os.kill
    for sign, seconds in steps:
        pid = find()
        if pid is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            send(pid, sign)
        until = time.monotonic() + seconds
        while find() is not None and time.monotonic() < until:
            time.sleep(0.02)
    return find() is None


def halt(data: str, find: Callable[[], int | None], steps: Steps, *, group: bool = False) -> None:
    """As `end`. Raises `RuntimeError` where the server outlives all signals."""
    if not end(find, steps, group=group):
        message = f"the server on {data} cannot be stopped"
        raise RuntimeError(message)
