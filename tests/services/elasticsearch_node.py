"""The Elasticsearch node of the folder `elasticsearch`, started and stopped by its script."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.services import Running, Unavailable, apt_get, can_install, free_port, install_packages, last_lines, run

NAME = "elasticsearch"
KIT = Path(__file__).parent / "elasticsearch" / "run-es.sh"
JDKS = ("openjdk-25-jdk-headless", "openjdk-21-jdk-headless")


def install() -> None:
    """Brings Maven, a JDK and the node's jars. Raises `Unavailable` where one of them cannot be had."""
    if platform.system() != "Linux":
        reason = "the node runs on Linux only"
        raise Unavailable(reason)
    # Before anything is installed: without a JDK the rest would be in vain.
    if run(KIT, "jdk").returncode:
        _install_jdk()
    missing = [package for package, program in (("maven", "mvn"), ("curl", "curl")) if shutil.which(program) is None]
    if missing:
        install_packages(*missing)
    done = run(KIT, "build")
    if done.returncode:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", last_lines(done))
        first = next((line for line in plain.splitlines() if "ERROR" in line), plain)
        reason = f"its jars cannot be laid out: {first[:300]}"
        raise Unavailable(reason)


def _install_jdk() -> None:
    reason = "no JDK >= 21"
    if not can_install():
        raise Unavailable(reason)
    apt_get("update", "-qq")
    for package in JDKS:
        if re.search(r"Candidate: \d", run("apt-cache", "policy", package).stdout):
            install_packages(package)
            return
    raise Unavailable(reason)


def start(heap: str = "1g") -> Running:
    """A node on a free port with data of its own."""
    install()
    data = tempfile.mkdtemp(prefix="problem-snapshot-elasticsearch-")
    try:
        # Between the choice of a port and its use another program may take it.
        for _ in range(3):
            done = run(KIT, "start", "--port", str(free_port()), "--data", data, "--heap", heap)
            if done.returncode == 0:
                return Running(NAME, done.stdout.strip().splitlines()[-1], data)
        message = f"Elasticsearch does not start:\n{last_lines(done, 30)}"
        raise RuntimeError(message)
    except BaseException:
        stop(data)
        raise


def kill(data: str) -> None:
    """Ends the node of the folder `data` at once, as a crash does, and keeps the folder."""
    pid = int((Path(data) / "test-node.pid").read_text(encoding="ascii"))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while alive(data):
        time.sleep(0.02)


def start_again(node: Running, heap: str = "1g") -> None:
    """Starts a node that was killed on its folder and its port."""
    done = run(KIT, "start", "--port", str(urlsplit(node.url).port), "--data", node.data, "--heap", heap)
    if done.returncode:
        message = f"Elasticsearch does not start again:\n{last_lines(done, 30)}"
        raise RuntimeError(message)


def alive(data: str) -> bool:
    """Whether the node of the folder `data` runs."""
    return Path(data).is_dir() and run(KIT, "status", "--data", data).returncode == 0


def stop(data: str) -> None:
    """Stops the node of the folder `data`, and deletes the folder."""
    done = run(KIT, "stop", "--data", data)
    if done.returncode:
        message = f"Elasticsearch on {data} cannot be stopped:\n{last_lines(done)}"
        raise RuntimeError(message)
    shutil.rmtree(data, ignore_errors=True)
