"""Python's garbage collector, which has nothing to find while pages are read."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_collector = threading.Lock()
_readings = 0
_was_on = False


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Stops the garbage collector while pages are read: it would look through every hit in hand, and find no rubbish."""
    global _readings, _was_on  # noqa: PLW0603 - the collector is one for the whole process
    with _collector:
        if _readings == 0:
            _was_on = gc.isenabled()
        _readings += 1
        gc.disable()
    try:
        yield
    finally:
        with _collector:
            _readings -= 1
            if _readings == 0 and _was_on:
                gc.enable()
