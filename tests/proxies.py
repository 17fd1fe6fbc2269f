"""A TCP proxy before a real service, whose faults are switched on and off while it runs.

    with Proxy(port) as proxy:
        proxy.latency = 5.0          # each answer begins that many seconds late
        proxy.bandwidth = 65_536     # bytes a second towards all clients together, as on one thin line
        proxy.cut_after = 100_000    # bytes towards the client, after which `proxy.cut` happens to a connection:
        proxy.cut = "reset"          # "reset" (RST), "close" (FIN), "hang" (half open: nothing more comes)
        proxy.cuts = 1               # how often that happens; then connections are whole again
        proxy.then = callable        # called once, at the first cut

What it names is counted in `passed` (bytes towards clients) and `connections`.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Literal, Self

_CHUNK = 16_384


class Proxy:
    """Forwards connections on a free port of the loopback address to another one there. Threads of its own."""

    def __init__(self, port: int) -> None:
        self.to = port
        self.latency = 0.0
        self.bandwidth = math.inf
        self.cut: Literal["reset", "close", "hang"] = "reset"
        self.cut_after = math.inf
        self.cuts = math.inf
        self.then: Callable[[], object] | None = None
        self.passed = self.connections = 0
        self._open: list[socket.socket] = []
        self._ended = threading.Event()
        self._line = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.append(client)
        try:
            server = socket.create_connection(("127.0.0.1", self.to), timeout=5)
        except OSError:
            self._break(client, "reset")
            return
        server.settimeout(None)
        self._open.append(server)
        asked = threading.Event()
        threading.Thread(target=self._questions, args=(client, server, asked), daemon=True).start()
        self._answers(server, client, asked)

    @staticmethod
    def _questions(client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK):
                asked.set()
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answers(self, server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                if asked.is_set():
                    asked.clear()
                    self._ended.wait(self.latency)
                if sent + len(data) > self.cut_after and self.cuts > 0:
                    self.cuts -= 1
                    client.sendall(data[: max(0, int(self.cut_after) - sent)])
                    then, self.then = self.then, None
                    if then is not None:
                        then()
                    self._break(client, self.cut)
                    server.close()
                    return
                self._send(client, data)
                sent += len(data)
        self._break(client, "close")

    def _send(self, client: socket.socket, data: bytes) -> None:
        slice_size = len(data) if math.isinf(self.bandwidth) else max(1, int(self.bandwidth / 20))
        for start in range(0, len(data), slice_size):
            part = data[start : start + slice_size]
            if math.isfinite(self.bandwidth):
                with self._line:
                    time.sleep(len(part) / self.bandwidth)
            client.sendall(part)
            self.passed += len(part)

    def _break(self, client: socket.socket, how: Literal["reset", "close", "hang"]) -> None:
        if how == "hang":
            self._ended.wait()
            return
        with contextlib.suppress(OSError):
            if how == "reset":
                # A linger of zero seconds makes the close an RST; nobody may still wait in `recv` then.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RD)
            else:
                client.shutdown(socket.SHUT_RDWR)
            client.close()
