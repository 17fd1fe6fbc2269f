"""Requests that can be left behind: each in a thread of its own, and its socket is shut when nobody waits any longer.

A socket's timeout bounds one receive, so an answer that trickles, be it header, body or handshake, never runs into it, and
the look-up of a name has no timeout at all. Imported with the client only.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import urllib3
from elastic_transport import NodeConfig, NodeSelector, Urllib3HttpNode
from elastic_transport.client_utils import DEFAULT

# What one of several addresses is given to accept a connection, so that a dead one leaves time for the others.
_CONNECT_SECONDS = 1.5


class TooLateError(Exception):
    """The request did not end within the time that it was given."""


class Request(threading.Thread):
    """One request in a daemon thread: one that hangs keeps neither who asked nor the process."""

    def __init__(self, request: Callable[[], Any], done: Callable[[], object], name: str) -> None:
        """`done` is called when the request has really ended, also long after nobody waits for it."""
        super().__init__(name=name, daemon=True)
        self._request = request
        self._done = done
        self._ended: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self.connection: Any = None

    def run(self) -> None:
        """Carries it out."""
        answer, failure = None, None
        try:
            answer = self._request()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            failure = error
        self._done()
        self._ended.put((answer, failure))

    def answer(self, seconds: float) -> Any:
        """What it brought, or its exception. Raises `TooLateError` after `seconds`, and shuts its socket."""
        try:
            answer, failure = self._ended.get(timeout=seconds)
        except queue.Empty:
            self.cut()
            raise TooLateError from None
        if failure is not None:
            raise failure
        return answer

    def cut(self) -> None:
        """Shuts the socket that it reads from, if it has one."""
        open_socket = getattr(self.connection, "sock", None)
        if open_socket is not None:
            with contextlib.suppress(OSError):
                # The plain socket's method: that of TLS takes the session from under the thread that reads.
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)


class Node(Urllib3HttpNode):
    """A node of the client whose requests know the connection that they are on."""

    # Set by whoever makes the client: how many addresses there are.
    addresses = 1

    def __init__(self, config: NodeConfig) -> None:
        """As the client's own."""
        super().__init__(config)
        self.pool.ConnectionCls = _told(self.pool.ConnectionCls)

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Any = None,
        request_timeout: Any = DEFAULT,
    ) -> Any:
        """As the client's own; of several addresses each has a share of the time to accept a connection."""
        timeout = request_timeout
        if self.addresses > 1 and isinstance(request_timeout, float):
            connect = min(_CONNECT_SECONDS, request_timeout / (2 * self.addresses))
            timeout = urllib3.Timeout(connect=connect, read=request_timeout)
        return super().perform_request(method, target, body, headers, timeout)


class InTurn(NodeSelector):
    """The addresses take turns. The client's own selector counts by thread, and here each request has its own."""

    def __init__(self, node_configs: list[NodeConfig]) -> None:
        """As the client's own."""
        super().__init__(node_configs)
        self._turn = itertools.count()

    def select(self, nodes: Sequence[Any]) -> Any:
        """The next of those that are alive."""
        return nodes[next(self._turn) % len(nodes)]


def nodes_of(addresses: int) -> type[Node]:
    """The class of the nodes of a client with that many addresses."""
    return type("Node", (Node,), {"addresses": addresses})


def _told(base: Any) -> Any:
    """A connection class that tells the request which connection it uses."""

    class Told(base):  # type: ignore[misc]
        def connect(self) -> None:
            _note(self)
            super().connect()

        def request(self, *args: Any, **kwargs: Any) -> None:
            _note(self)
            super().request(*args, **kwargs)

    # Its errors name it.
    Told.__name__ = base.__name__
    return Told


def _note(connection: Any) -> None:
    current = threading.current_thread()
    if isinstance(current, Request):
        current.connection = connection
