"""Deliveries into the ledger: those that arrive together are stored together, in one transaction, by one thread.

A commit costs a write to the disk. One for each delivery would bound the rate; one for all that came meanwhile does not, and each sender
is answered only when the commit that holds his delivery is done.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from pipeline.service.database import DatabaseUnavailable
from pipeline.service.ledger import ROUTINE, NewDelivery
from pipeline.service.urgency import priority

if TYPE_CHECKING:
    from pipeline.service.ledger import Ledger
    from pipeline.tickets.system import Event

# So many are stored in one transaction at most: more would make the first of them wait for the last.
_BATCH = 100


def delivery_of(system: str, event: Event, key: str, received_at: float, *, opened: bool) -> NewDelivery:
    """What `event` of the system called `system` is stored as. `opened` says that its ticket is new, `key` is the sender's."""
    return NewDelivery(
        system=system,
        key=key,
        ticket_id=event.ticket_id,
        kind=f"{ROUTINE}{event.kind}" if event.routine and not event.ignored else event.kind,
        priority=priority(event.text, opened=opened),
        received_at=received_at,
        actor=event.actor,
        ticket=msgspec.json.encode(event.ticket).decode() if event.ticket else None,
        ignored=event.ignored,
    )


class Full(Exception):
    """As many deliveries wait to be stored as may."""


@dataclass(frozen=True)
class _Waiting:
    delivery: NewDelivery
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[str | None]


class Intake:
    """Takes deliveries from the event loop and stores them in a thread."""

    def __init__(self, ledger: Ledger, backlog: int) -> None:
        """`backlog` is how many may wait."""
        self._ledger = ledger
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(backlog)
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stores what waits, then ends the thread."""
        self._waiting.put(None)
        self._thread.join(timeout=30)

    @property
    def backlog(self) -> int:
        """How many wait to be stored."""
        return self._waiting.qsize()

    async def put(self, delivery: NewDelivery) -> str | None:
        """Stores the delivery: its id, or None where it was here already. Raises `Full` or `DatabaseUnavailable`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()
        try:
            self._waiting.put_nowait(_Waiting(delivery, loop, answer))
        except queue.Full as error:
            raise Full from error
        return await answer

    def _run(self) -> None:
        ending = False
        while not ending:
            first = self._waiting.get()
            if first is None:
                return
            batch = [first]
            while len(batch) < _BATCH:
                try:
                    one = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if one is None:
                    ending = True
                    break
                batch.append(one)
            self._store(batch)

    def _store(self, batch: list[_Waiting]) -> None:
        try:
            ids: list[str | None] | Exception = self._ledger.add([one.delivery for one in batch])
        except Exception as error:  # noqa: BLE001 - whoever waits is told, and the thread lives on
            away = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError)
            if not away and len(batch) > 1:
                # One of them is refused: it does not take the others along.
                for one in batch:
                    self._store([one])
                return
            ids = DatabaseUnavailable(
                f"the service's database does not take deliveries: {getattr(error, 'orig', error)}"
            )
        loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[str | None], str | Exception | None]]] = {}
        for number, one in enumerate(batch):
            told = ids if isinstance(ids, Exception) else ids[number]
            loops.setdefault(one.loop, []).append((one.answer, told))
        for loop, answers in loops.items():
            loop.call_soon_threadsafe(_answer, answers)


def _answer(answers: list[tuple[asyncio.Future[str | None], str | Exception | None]]) -> None:
    for future, told in answers:
        if future.done():
            continue
        if isinstance(told, Exception):
            future.set_exception(told)
        else:
            future.set_result(told)
