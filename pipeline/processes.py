"""Work over a few processes that load everything once. One that dies takes nothing with it but what it had in hand.

Used where many tickets are taken: `backtest`, and `batch` without Beam.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
# A protocol takes the one and gives the other, so each varies in its own way.
Item_contra = TypeVar("Item_contra", contravariant=True)
Answer_co = TypeVar("Answer_co", covariant=True)


class Work(Protocol, Generic[Item_contra, Answer_co]):
    """What each process is given once. It is pickled."""

    def take(self, item: Item_contra, /) -> Answer_co:
        """The answer to one item."""
        ...


def cores() -> int:
    """How many processors this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    work: Work[Item, Answer], items: Sequence[Item], jobs: int, died: Callable[[Item], Answer]
) -> Generator[tuple[Item, Answer], None, None]:
    """Each item with its answer, as they come, `jobs` at a time; with one job here, in this process.

    When a process dies, those items that were in hand are tried again, each alone; `died` is the answer of one that ends
    its process again. What `work.take` raises is raised. A caller that stops early closes the generator: what is
    in hand is waited for.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        for item in items:
            yield item, work.take(item)
        return
    waiting = list(items)
    while waiting:
        in_hand, waiting = yield from _pooled(work, waiting, jobs)
        for item in in_hand:
            again, _ = yield from _pooled(work, [item], 1)
            if again:
                yield item, died(item)


def _pooled(
    work: Work[Item, Answer], items: Sequence[Item], jobs: int
) -> Generator[tuple[Item, Answer], None, tuple[list[Item], list[Item]]]:
    """Yields answers; gives the items that were in hand when a process died, in their order, and those not begun."""
    import multiprocessing

    # A forked child would share locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    begun = 0
    running: dict[Future[Answer], int] = {}
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare, initargs=(work,))
    try:
        while begun < len(items) or running:
            with undisturbed():
                while begun < len(items) and len(running) <= jobs:
                    running[pool.submit(_take, items[begun])] = begun
                    begun += 1
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                one = future.result()
                yield items[running.pop(future)], one
    except BrokenProcessPool:
        return [items[number] for number in sorted(running.values())], list(items[begun:])
    finally:
        # What is being taken is waited for: about a second.
        pool.shutdown(wait=True, cancel_futures=True)
    return [], []


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal. Those begun in here never see it; this one does, afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_WORK: Work[Any, Any] | None = None


def _prepare(work: Work[Any, Any]) -> None:
    """Once in each process. What clients warn about is in the snapshots' ledgers."""
    global _WORK  # noqa: PLW0603 - the one value of a worker
    import pipeline.run  # noqa: F401 - loads what every ticket needs

    quiet()
    _leave_with_parent()
    _WORK = work


def _leave_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever: it holds both ends of the pipe itself."""
    import multiprocessing
    import threading

    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def quiet() -> None:
    """Clients warn and log on stderr; what a person has to know is in the snapshots' ledgers."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())


def _take(item: Any) -> Any:
    assert _WORK is not None  # noqa: S101 - the pool has prepared it
    return _WORK.take(item)
