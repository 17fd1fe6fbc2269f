"""A Spark standalone cluster from the pip package: one master and two worker processes on loopback, each worker with one core.

pyspark (490 MB) is in none of the locks; it is kept in a folder beside this file, without what it could bring along, so that the
environment under test stays as it is. It needs Java 17, which Debian's package brings.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.services import Running, Unavailable, can_install, free_port, install_packages, last_lines, run
from tests.services.processes import named, process_of

NAME = "spark"
VERSION, BRIDGE = "4.3.0", "0.10.9.9"
KEPT = Path(__file__).parent / "spark-target" / VERSION
CLASSES = "org.apache.spark.deploy"
WORKERS = 2


def install() -> Path:
    """Brings Java and pyspark, and gives the folder to put on PYTHONPATH. Raises `Unavailable` where that cannot be done."""
    if shutil.which("java") is None:
        if not can_install():
            reason = "no Java to run it with"
            raise Unavailable(reason)
        install_packages("openjdk-17-jre-headless")
    if not (KEPT / "pyspark").exists():
        new = KEPT.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        packages = (f"pyspark=={VERSION}", f"py4j=={BRIDGE}")
        try:
            done = run(
                *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", new, *packages),
                timeout=420,
            )
        except subprocess.TimeoutExpired as error:
            reason = "pyspark took more than 420 s to install"
            raise Unavailable(reason) from error
        if done.returncode:
            reason = f"pyspark cannot be installed: {last_lines(done, 1)[:300]}"
            raise Unavailable(reason)
        new.rename(KEPT)
    return KEPT


def environment() -> dict[str, str]:
    """What programs need that use this Spark, from a checkout."""
    root = Path(__file__).resolve().parent.parent.parent
    return {
        "PYTHONPATH": os.pathsep.join([str(root), str(KEPT)]),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }


def start() -> Running:
    """A cluster on free ports. pyspark was installed before, or is now where services are required."""
    if not (KEPT / "pyspark").exists() and os.environ.get("REQUIRE_SERVICES") != "1":
        # A test session is not to fetch 490 MB unasked.
        reason = "not installed yet; `make services-install` brings its 490 MB"
        raise Unavailable(reason)
    install()
    folder = Path(tempfile.mkdtemp(prefix="problem-snapshot-spark-"))
    try:
        # Between the choice of a port and its use another program may take it.
        for _ in range(3):
            port, ui = free_port(), free_port()
            url = f"spark://127.0.0.1:{port}"
            local = ("--host", "127.0.0.1", "--webui-port")
            _launch(folder, "master", f"{CLASSES}.master.Master", *local, str(ui), "--port", str(port))
            if not _answers(f"http://127.0.0.1:{ui}/json/", folder, "master", 0):
                continue
            for number in range(WORKERS):
                sizes = ("--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"work-{number}"))
                _launch(folder, f"worker-{number}", f"{CLASSES}.worker.Worker", *local, str(free_port()), *sizes, url)
            if _answers(f"http://127.0.0.1:{ui}/json/", folder, "worker-0", WORKERS):
                return Running(NAME, url, str(folder))
        logs = "\n".join(path.read_text(encoding="utf-8", errors="replace")[-800:] for path in folder.glob("*.log"))
        message = f"Spark does not start:\n{logs}"
        raise RuntimeError(message)
    except BaseException:
        stop(str(folder))
        raise


def _launch(folder: Path, name: str, *command: str) -> None:
    """Starts one of Spark's daemons, by a shell that does not wait for it, so that it outlives whoever starts it."""
    program = KEPT / "pyspark" / "bin" / "spark-class"
    words = [f"{key}={value}" for key, value in environment().items()]
    log = folder / f"{name}.log"
    started = run(
        *("env", *words, f"SPARK_HOME={KEPT / 'pyspark'}", "SPARK_NO_DAEMONIZE=1", "SPARK_DAEMON_MEMORY=512m"),
        *("sh", "-c", 'log="$1"; shift; exec 3>"$log"; "$@" >&3 2>&1 & echo $!', "sh", log, program, *command),
    )
    (folder / f"{name}.pid").write_text(started.stdout.strip(), encoding="ascii")


def _answers(url: str, folder: Path, name: str, workers: int) -> bool:
    for attempt in range(600):
        if attempt > 50 and pid_of(str(folder), name) is None:
            return False
        with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.read().count(b'"state" : "ALIVE"') >= workers:
                return True
        time.sleep(0.1)
    return False


def pid_of(data: str, name: str) -> int | None:
    """The process `name` (master, worker-0, worker-1) of the cluster of the folder `data`, if it still runs."""
    return process_of(data, named(CLASSES), f"{name}.pid")


def kill(data: str, name: str) -> None:
    """Kills one daemon of the cluster with what it started: an executor does not outlive its machine."""
    pid = pid_of(data, name)
    if pid is None:
        return
    for child in (*_below(pid), pid):
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
    for _ in range(100):
        if pid_of(data, name) is None:
            break
        time.sleep(0.1)


def _below(pid: int) -> list[int]:
    """The processes that `pid` started, and those that these started, the youngest first."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found = [*_below(int(child)), int(child), *found]
    return found


def alive(data: str) -> bool:
    """Whether the cluster of the folder `data` runs."""
    return all(pid_of(data, name) is not None for name in ("master", "worker-0", "worker-1"))


def stop(data: str) -> None:
    """Stops the cluster of the folder `data`, and deletes the folder."""
    for name in (*(f"worker-{number}" for number in range(WORKERS)), "master"):
        kill(data, name)
    shutil.rmtree(data, ignore_errors=True)
