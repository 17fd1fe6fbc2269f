"""Waiting for a ticket system that is away, or that asks us to come later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pipeline.tickets.system import SystemUnavailable

if TYPE_CHECKING:
    import tenacity

# A system that cannot be reached is tried so often, with waits that double up to the longest; in seconds.
TRIES, FIRST_WAIT, LONGEST_WAIT = 6, 2.0, 300.0

Result = TypeVar("Result")


def patiently(
    call: Callable[[], Result], name: str, say: Callable[[str], None], sleep: Callable[[float], None]
) -> Result:
    """What `call` gives, tried again while the system `name` is away. Raises its last `SystemUnavailable`, and all else at once."""
    import tenacity

    doubling = tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

    def asked_for(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        after = error.after if isinstance(error, SystemUnavailable) else None
        return doubling(state) if after is None else min(LONGEST_WAIT, after)

    def told(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        say(f"{name}: {error}; going on in {state.upcoming_sleep:.0f} s")

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SystemUnavailable),
        stop=tenacity.stop_after_attempt(TRIES),
        wait=asked_for,
        before_sleep=told,
        sleep=sleep,
        reraise=True,
    )
    return retrying(call)
