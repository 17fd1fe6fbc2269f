"""Waiting for a ticket system that is away, or that asks us to come later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline.tickets.system import SystemUnavailable

# A system that cannot be reached is tried so often, with waits that double up to the longest; in seconds.
TRIES, FIRST_WAIT, LONGEST_WAIT = 6, 2.0, 300.0

Result = TypeVar("Result")


def patiently(
    call: Callable[[], Result], name: str, say: Callable[[str], None], sleep: Callable[[float], None]
) -> Result:
    """What `call` gives, tried again while the system `name` is away. Raises its last `SystemUnavailable`, and all else at once."""
    wait = FIRST_WAIT
    for _ in range(TRIES - 1):
        try:
            return call()
        except SystemUnavailable as error:
            seconds = min(LONGEST_WAIT, error.after if error.after is not None else wait)
            say(f"{name}: {error}; going on in {seconds:.0f} s")
            sleep(seconds)
            wait *= 2
    return call()
