"""An nginx from the system's packages as a proxy that misbehaves as it is told, with a folder of its own.

Each face of it is one server on a free port of the loopback address, and what it does is a few lines of nginx's
configuration (https://nginx.org/en/docs/). Nothing of the system's own nginx is read or written.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.services import Running, free_port, install_packages, last_lines, run
from tests.services.processes import end, named, process_of

NAME = "nginx"

# `daemon` and `pid` are given on the command line. Nothing goes to places that only root may write.
_CONFIG = """
worker_processes 1;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 100m;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
{http}
{servers}
}}
"""
_SERVER = """  server {{
    listen 127.0.0.1:{port}{tls};
{body}
  }}
"""


def _program() -> str | None:
    """Where nginx is: Debian keeps it off the PATH of those who are not root."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


def install() -> str:
    """Brings nginx, and gives the path of its program. Raises `Unavailable` where it cannot be had."""
    if _program() is None:
        # Started, it would take port 80.
        install_packages("nginx", start=False)
    program = _program()
    if program is None:
        message = "the package nginx is installed, and the program is not where Debian puts it"
        raise RuntimeError(message)
    return program


def start(
    faces: Mapping[str, str] | None = None, http: str = "", folder: str | None = None
) -> tuple[Running, dict[str, str]]:
    """An nginx with one server for each of `faces`, and the address of each.

    A face is the body of a `server` block; one that names an `ssl_certificate` speaks TLS. `http` stands before all of
    them. `folder` is where the faces' own files are; without one it is made.
    """
    program = install()
    faces = {"healthy": "location / { return 204; }"} if faces is None else faces
    place = Path(folder or tempfile.mkdtemp(prefix="problem-snapshot-nginx-"))
    try:
        # Its worker is another user where root starts it.
        place.chmod(0o755)
        # Between the choice of a port and its use another program may take it.
        for _ in range(3):
            ports = {name: free_port() for name in faces}
            tls = {name: " ssl" if "ssl_certificate" in body else "" for name, body in faces.items()}
            servers = "".join(_SERVER.format(port=ports[n], tls=tls[n], body=body) for n, body in faces.items())
            config = place / "nginx.conf"
            config.write_text(_CONFIG.format(folder=place, http=http, servers=servers), encoding="utf-8")
            done = run(program, "-p", place, "-c", config, "-e", place / "error.log", "-g", f"pid {place}/nginx.pid;")
            if done.returncode == 0:
                urls = {n: f"{'https' if tls[n] else 'http'}://127.0.0.1:{port}" for n, port in ports.items()}
                _wait_for(ports.values())
                return Running(NAME, next(iter(urls.values()), ""), str(place)), urls
        message = f"nginx does not start:\n{last_lines(done)}"
        raise RuntimeError(message)
    except BaseException:
        stop(str(place))
        raise


def _wait_for(ports: Iterable[int]) -> None:
    for port in ports:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)


def _pid(data: str) -> int | None:
    """The process of the folder `data`; nginx takes its note away when it ends."""
    return process_of(data, named(data), "nginx.pid")


def alive(data: str) -> bool:
    """Whether the nginx of the folder `data` runs."""
    return _pid(data) is not None


def stop(data: str) -> None:
    """Stops the nginx of the folder `data`, and deletes the folder."""
    end(lambda: _pid(data), ((signal.SIGTERM, 5),))
    shutil.rmtree(data, ignore_errors=True)
