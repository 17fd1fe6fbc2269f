"""A MariaDB server from the system's packages, with a data folder of its own.

Started as root it runs as the user `mysql`, which the package brings.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path

from tests.services import Running, install_packages, last_lines, processes, run
from tests.services.processes import account, launched, named, on_free_port, process_of

NAME = "mariadb"
ROOT_BECOMES = "mysql"
# Debian keeps the server off an ordinary user's PATH.
_FOLDERS = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"


def _user() -> str | None:
    return account(ROOT_BECOMES)


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
        port = on_free_port(lambda port: serve(server, folder, port, user), "MariaDB", folder / processes.LOG)
        first.unlink()
        return Running(NAME, f"mysql+pymysql://root:{password}@127.0.0.1:{port}/shop", str(folder))
    except BaseException:
        stop(str(folder))
        raise


def serve(server: str, folder: Path, port: int, user: str | None) -> bool:
    """Runs the server on the data of `folder` until it listens; false where it ends before."""
    begin = [f"--init-file={folder / 'first.sql'}"] if (folder / "first.sql").exists() else []
    command: list[str | Path] = [
        *(server, "--no-defaults", f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}", *begin),
        *(f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={folder / 'pid'}", "--skip-name-resolve"),
        *("--character-set-server=utf8mb4", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=512M"),
        *("--innodb-log-file-size=256M", f"--tmpdir={folder}", "--loose-innodb-use-native-aio=0"),
    ]

    def ready() -> bool:
        # The server writes this file when it is ready for connections, and its first statements have run.
        return (folder / "pid").exists() and b"ready for connections" in (folder / processes.LOG).read_bytes()

    return launched(command, folder, ready, user=user, cwd="/")


def _pid(data: str) -> int | None:
    """The id of the server of the folder `data`, if it runs and is one."""
    return process_of(data, named(data))


def alive(data: str) -> bool:
    """Whether the server of the folder `data` runs."""
    return _pid(data) is not None


def halt(data: str) -> None:
    """Stops the server of the folder `data`, and keeps the folder."""
    processes.halt(data, lambda: _pid(data), ((signal.SIGTERM, 60), (signal.SIGKILL, 10)))


def stop(data: str) -> None:
    """Stops the server of the folder `data`, and deletes the folder."""
    halt(data)
    shutil.rmtree(data, ignore_errors=True)
