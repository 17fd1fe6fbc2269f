"""A MariaDB server from the system's packages, with a data folder of its own.

Started as root it runs as the user `mysql`, which the package brings.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.services import Running, free_port, install_packages, last_lines, run

NAME = "mariadb"
ROOT_BECOMES = "mysql"
# Debian keeps the server off an ordinary user's PATH.
_FOLDERS = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"


def _user() -> str | None:
    return ROOT_BECOMES if os.geteuid() == 0 else None


def _programs() -> tuple[str, str] | None:
    """The server, and the script that makes a data folder."""
    found = [shutil.which(name, path=_FOLDERS) for name in ("mariadbd", "mariadb-install-db")]
    return (found[0], found[1]) if found[0] and found[1] else None


def install() -> tuple[str, str]:
    """Brings the server, and gives its programs. Raises `Unavailable` where it cannot be had."""
    if _programs() is None:
        install_packages("mariadb-server")
    programs = _programs()
    if programs is None:
        message = "the package mariadb-server is installed, and mariadbd is not where Debian puts it"
        raise RuntimeError(message)
    return programs


def start() -> Running:
    """A server on a free port with data of its own; the address holds a password made for it."""
    server, installer = install()
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="problem-snapshot-mariadb-"))
    try:
        if user:
            shutil.chown(folder, user, user)
        password = secrets.token_hex(16)
        data = folder / "data"
        made = run(
            *(installer, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
            *("--skip-test-db", "--skip-name-resolve"),
            user=user,
        )
        if made.returncode:
            message = f"MariaDB: no data folder can be made:\n{last_lines(made)}"
            raise RuntimeError(message)
        first = folder / "first.sql"
        first.touch(mode=0o600)
        first.write_text(
            "DELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys';\nFLUSH PRIVILEGES;\n"
            f"CREATE USER 'root'@'127.0.0.1' IDENTIFIED BY '{password}';\n"
            "GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\nCREATE DATABASE shop;\n",
            encoding="ascii",
        )
        if user:
            shutil.chown(first, user, user)
        # Between the choice of a port and its use another program may take it.
        for _ in range(3):
            port = free_port()
            if serve(server, folder, port, user):
                first.unlink()
                return Running(NAME, f"mysql+pymysql://root:{password}@127.0.0.1:{port}/shop", str(folder))
        message = f"MariaDB does not start:\n{_end_of(folder / 'server.log')}"
        raise RuntimeError(message)
    except BaseException:
        stop(str(folder))
        raise


def serve(server: str, folder: Path, port: int, user: str | None) -> bool:
    """Runs the server on the data of `folder` until it listens; false where it ends before."""
    begin = [f"--init-file={folder / 'first.sql'}"] if (folder / "first.sql").exists() else []
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(server, "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}", *begin),
                *(f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={folder / 'pid'}", "--skip-name-resolve"),
                *(
                    "--character-set-server=utf8mb4",
                    "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-buffer-pool-size=512M",
                ),
                *("--innodb-log-file-size=256M", f"--tmpdir={folder}", "--loose-innodb-use-native-aio=0"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd="/",
        )
    (folder / "server.pid").write_text(str(process.pid), encoding="ascii")
    # The server writes this file when it is ready for connections, and its first statements have run.
    for _ in range(600):
        if process.poll() is not None:
            return False
        if (folder / "pid").exists() and b"ready for connections" in (folder / "server.log").read_bytes():
            # It is stopped by its id; nobody waits for the process itself.
            process.returncode = 0
            return True
        time.sleep(0.1)
    return False


def _pid(data: str) -> int | None:
    """The id of the server of the folder `data`, if it runs and is one."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((Path(data) / "server.pid").read_text(encoding="ascii"))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        if not command.exists() or data.encode() in command.read_bytes():
            return pid
    return None


def alive(data: str) -> bool:
    """Whether the server of the folder `data` runs."""
    return _pid(data) is not None


def halt(data: str) -> None:
    """Stops the server of the folder `data`, and keeps the folder."""
    pid = _pid(data)
    if pid is None:
        return
    for signal_, seconds in ((signal.SIGTERM, 60), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_)
        for _ in range(seconds * 10):
            if _pid(data) is None:
                return
            time.sleep(0.1)
    message = f"the server on {data} cannot be stopped"
    raise RuntimeError(message)


def stop(data: str) -> None:
    """Stops the server of the folder `data`, and deletes the folder."""
    halt(data)
    shutil.rmtree(data, ignore_errors=True)


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
