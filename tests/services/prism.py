"""Prism, Beam's job server for one machine, built from its Go module, and a pool of Python workers beside it.

The address is two: of the job server, and of the pool, with a space between them. With them `PortableRunner` is three
processes that speak gRPC: whoever starts the pipeline, the job server, and the workers.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.services import Running, Unavailable, free_port, golang, run
from tests.services.processes import end, named, process_of

NAME = "prism"
# The version of `apache-beam` that is locked.
MODULE, VERSION = "github.com/apache/beam/sdks/v2", "v2.77.0"
KEPT = Path(__file__).parent / "prism-target" / VERSION / "prism"
BUILD_SECONDS = 420
# What each process is known by.
WORDS = {"job": "-job_port", "pool": "worker_pool_main"}
ROOT = Path(__file__).resolve().parent.parent.parent


def install() -> Path:
    """Brings Go and builds Prism, and gives its program. Raises `Unavailable` where that cannot be done."""
    if not KEPT.exists() and platform.system() != "Linux":
        reason = "it is built on Linux only"
        raise Unavailable(reason)
    return golang.built(MODULE, "go/cmd/prism", VERSION, KEPT, BUILD_SECONDS)


def start() -> Running:
    """Both on free ports. Built before, or now where services are required."""
    if not KEPT.exists() and os.environ.get("REQUIRE_SERVICES") != "1":
        reason = "not built yet; `make services-install` builds it in a minute or two"
        raise Unavailable(reason)
    program = install()
    folder = Path(tempfile.mkdtemp(prefix="problem-snapshot-prism-"))
    job, pool = free_port(), free_port()
    # The pool starts workers by the name `python`.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    pool_command = f"{sys.executable} -m apache_beam.runners.worker.worker_pool_main --service_port={pool}"
    try:
        for name, command in (
            ("job", f"{program} -job_port {job} -serve_http=false"),
            ("pool", f"env PATH='{path}' PYTHONPATH='{ROOT}' {pool_command}"),
        ):
            # By a shell that does not wait for it, so that it outlives whoever starts it.
            started = run("sh", "-c", f"exec {command} > {folder}/{name}.log 2>&1 & echo $!")
            (folder / f"{name}.pid").write_text(started.stdout.strip(), encoding="ascii")
        if not (_answers(job) and _answers(pool)):
            said = "".join(path.read_text(encoding="utf-8", errors="replace")[-1000:] for path in folder.glob("*.log"))
            message = f"Prism or its pool does not start:\n{said}"
            raise RuntimeError(message)
    except BaseException:
        stop(str(folder))
        raise
    return Running(NAME, f"127.0.0.1:{job} 127.0.0.1:{pool}", str(folder))


def _answers(port: int) -> bool:
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.1)
    return False


def _pid(data: str, name: str) -> int | None:
    """The process `name` (job, pool) of the folder `data`, if it still runs."""
    return process_of(data, named(WORDS[name]), f"{name}.pid")


def alive(data: str) -> bool:
    """Whether both run."""
    return all(_pid(data, name) is not None for name in WORDS)


def stop(data: str) -> None:
    """Stops both, and deletes the folder."""
    for name in WORDS:
        end(partial(_pid, data, name), ((signal.SIGTERM, 10), (signal.SIGKILL, 5)))
    shutil.rmtree(data, ignore_errors=True)
