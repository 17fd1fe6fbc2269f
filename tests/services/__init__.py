"""Real services for the tests: Elasticsearch, PostgreSQL, MariaDB, Jaeger, Request Tracker,
django-helpdesk, Redmine, Beam's Prism, Spark, nginx and Chromium, on loopback and free ports.

Each module here has the same shape: `NAME`, `install()`, `start() -> Running`, `alive(data)` and `stop(data)`. A service
that cannot be had on this machine raises `Unavailable` with the reason in a few words.

`python -m tests.services up` starts them for use by hand and leaves a note of each in `.state`; a test session that
finds such a note uses the running service and leaves it running.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

STATE = Path(__file__).parent / ".state"
_APT = threading.RLock()
# Services whose absence does not fail a run that requires services: Jaeger and Prism are built from source, which takes a new
# Go, the network and minutes. Its tests are skipped then, by name; what they hold of its answers is tested on recorded ones as well.
# jira820 is a mock server, one more look at what the tests of Jira hold. Spark's package is 490 MB, twice what all else here takes;
# the functions that it carries are tested on the other engines, too. Debian's Redmine does not configure itself on every machine: its
# Bundler may ask for gems that are not there.
OPTIONAL = frozenset({"jaeger", "jira820", "prism", "redmine", "spark"})


class Unavailable(Exception):
    """This service cannot be had here; `str(error)` says why in a few words."""


@dataclass(frozen=True)
class Running:
    """A running service: its address, and the folder that it keeps everything in."""

    name: str
    url: str
    data: str


def free_port() -> int:
    """A port of the loopback address that nobody listens on now.

    Below those that systems give to connections that go out: a server that is killed and started again finds it free.
    """
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def run(*command: str | Path, timeout: float = 600, user: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `command` to its end with its output captured, out of reach of the terminal's Ctrl-C."""
    return subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        cwd="/",
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )


def last_lines(done: subprocess.CompletedProcess[str], count: int = 15) -> str:
    """The end of what a command said."""
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-count:])


def can_install() -> bool:
    """Whether Debian packages can be installed here without asking anybody."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_get(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs apt-get, which does one thing at a time."""
    with _APT:
        return run("apt-get", *words)


def install_packages(*packages: str, start: bool = True) -> None:
    """Installs Debian packages, without starting the services in them where `start` says so. Raises `Unavailable`."""
    with _APT:
        _install_packages(packages, start)


def _install_packages(packages: tuple[str, ...], start: bool) -> None:
    names = " ".join(packages)
    if not can_install():
        reason = f"not installed, and not root on Debian to install it: {names}"
        raise Unavailable(reason)
    update = apt_get("update", "-qq")
    # Debian starts a new service at once; this is the documented way to forbid it.
    policy = Path("/usr/sbin/policy-rc.d")
    own = not start and not policy.exists() and os.access(policy.parent, os.W_OK)
    if own:
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        policy.chmod(0o755)
    try:
        done = apt_get("install", "-y", "-qq", "--no-install-recommends", *packages)
    finally:
        if own:
            policy.unlink()
    if done.returncode:
        said = last_lines(done, 1) or last_lines(update, 1)
        reason = f"apt-get cannot install {names}: {said}"
        raise Unavailable(reason)


def remember(service: Running, folder: Path | None = None) -> None:
    """Leaves the note by which later calls and test sessions find `service`. It may hold a password: owner only."""
    folder = folder or STATE
    folder.mkdir(mode=0o700, exist_ok=True)
    note = folder / f"{service.name}.json"
    note.touch(mode=0o600)
    note.write_text(json.dumps(asdict(service)), encoding="utf-8")


def remembered(name: str, folder: Path | None = None) -> Running | None:
    """The service that a note speaks of, running or not."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Running(**json.loads(((folder or STATE) / f"{name}.json").read_text(encoding="utf-8")))
    return None


def forget(name: str) -> None:
    """Takes the note away."""
    (STATE / f"{name}.json").unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[None]:
    """The lock of the file `path`, among processes; a process that ends gives it back. `shared` with others that share it."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def by_hand(service: ModuleType) -> Running | None:
    """What `make services-up` started of `service`, if it still runs."""
    there = remembered(service.NAME)
    return there if there is not None and service.alive(there.data) else None


@contextlib.contextmanager
def running(service: ModuleType) -> Iterator[str]:
    """The address of `service`: that of `make services-up` if it runs, else of one for this use only. Raises `Unavailable`."""
    if (there := by_hand(service)) is not None:
        yield there.url
        return
    own = service.start()
    try:
        yield own.url
    finally:
        service.stop(own.data)


def address(service: ModuleType, session: Path) -> str:
    """Where `service` is: that of `make services-up` if it runs, else one for the processes of this test session.

    Whoever needs it first starts it, and notes it in the folder `session`. Raises `Unavailable`, to all of them for the
    reason that the first one had.
    """
    if (there := by_hand(service)) is not None:
        return there.url
    absent = session / f"{service.NAME}.absent"
    with held(session / f"{service.NAME}.lock"):
        own = remembered(service.NAME, session)
        if own is None and absent.exists():
            raise Unavailable(absent.read_text(encoding="utf-8"))
        if own is None:
            try:
                own = service.start()
            except Unavailable as reason:
                absent.write_text(str(reason), encoding="utf-8")
                raise
            remember(own, session)
        return own.url


def stop_all(known: Iterable[ModuleType], session: Path) -> None:
    """Stops what was started for the test session of the folder `session`, all at once. Raises what one of them raises."""
    own = [(service, note.data) for service in known if (note := remembered(service.NAME, session))]
    with ThreadPoolExecutor(len(own) or 1) as threads:
        ends = [threads.submit(service.stop, data) for service, data in own]
    for end in ends:
        end.result()
