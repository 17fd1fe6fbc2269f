"""A PostgreSQL server from the system's packages, with a cluster of its own in a temporary folder.

PostgreSQL refuses to run as root, so root runs it as the user `postgres`, which the package brings.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services import Running, free_port, install_packages, last_lines, run
from tests.services.processes import end_of

NAME = "postgresql"
ROOT_BECOMES = "postgres"


def _user() -> str | None:
    return ROOT_BECOMES if os.geteuid() == 0 else None


def _programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`: Debian keeps them off PATH, one folder per version."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    found = debian[-1] if debian else Path(on_path).resolve() if on_path else None
    return found.parent if found and (found.parent / "pg_ctl").exists() else None


def install() -> Path:
    """Brings the server, and gives the folder of its programs. Raises `Unavailable` where it cannot be had."""
    if _programs() is None:
        install_packages("postgresql")
    programs = _programs()
    if programs is None:
        message = "the package postgresql is installed, and initdb is not where Debian puts it"
        raise RuntimeError(message)
    return programs


def start() -> Running:
    """A server on a free port with a cluster of its own; the address holds a password made for it."""
    programs = install()
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="problem-snapshot-postgresql-"))
    try:
        password = secrets.token_hex(16)
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(password + "\n", encoding="ascii")
        if user:
            shutil.chown(folder, user, user)
            shutil.chown(secret, user, user)
        cluster = folder / "cluster"
        _must(
            run(
                programs / "initdb",
                *("--pgdata", cluster, "--username", "postgres", "--pwfile", secret, "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
                user=user,
            ),
            "no cluster can be made",
        )
        secret.unlink()
        # Between the choice of a port and its use another program may take it.
        log = folder / "server.log"
        for _ in range(3):
            port = free_port()
            settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
            done = run(
                programs / "pg_ctl", "start", "-D", cluster, "-w", "-t", "60", "-l", log, "-o", settings, user=user
            )
            if done.returncode == 0:
                return Running(NAME, f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres", str(folder))
        message = f"PostgreSQL does not start:\n{last_lines(done)}\n{end_of(log)}"
        raise RuntimeError(message)
    except BaseException:
        stop(str(folder))
        raise


def alive(data: str) -> bool:
    """Whether the server of the folder `data` runs."""
    programs = _programs()
    cluster = Path(data) / "cluster"
    return programs is not None and run(programs / "pg_ctl", "status", "-D", cluster, user=_user()).returncode == 0


def stop(data: str) -> None:
    """Stops the server of the folder `data`, and deletes the folder."""
    programs = _programs()
    if programs is not None and alive(data):
        stopped = run(
            programs / "pg_ctl", "stop", "-D", Path(data) / "cluster", "-m", "fast", "-w", "-t", "60", user=_user()
        )
        _must(stopped, f"the server on {data} cannot be stopped")
    shutil.rmtree(data, ignore_errors=True)


def _must(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode:
        message = f"PostgreSQL: {what}:\n{last_lines(done)}"
        raise RuntimeError(message)
