"""What tests of sources behind an HTTP API share: a server in a thread, and sources that ask it and are closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from typing import Any


@contextmanager
def serving(server: HTTPServer) -> Iterator[Any]:
    """`server`, answering in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def sources(make_one: Callable[[str, Any], Any], options: Callable[..., Any], url: str) -> Iterator[Callable[..., Any]]:
    """Makes sources named `traces` that ask `url` unless told otherwise; all of them are closed in the end."""
    opened: list[Any] = []

    def make(**given: Any) -> Any:
        opened.append(make_one("traces", options(**{"url": url} | given)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
