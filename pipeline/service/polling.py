"""Asks ticket systems what changed: for those that do not call us, and for what was missed while we were away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.errors import SnapshotError
from pipeline.service.intake import delivery_of

if TYPE_CHECKING:
    from pipeline.service.ledger import Ledger, NewDelivery
    from pipeline.tickets.system import Event, TicketSystem

_log = logging.getLogger(__name__)
_PAGE = 100
# After a failure the next question waits at least so long, in seconds, twice as long each time up to the last.
_PAUSES = (5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True)
class Polled:
    """What one look brought: events that became deliveries, those that were here already, and the cursor that holds now."""

    stored: int
    known: int
    cursor: str
    first: bool


def poll(ledger: Ledger, system: TicketSystem, *, wait: Callable[[float], bool] = lambda _: False) -> Polled:
    """Stores what changed since the last look as deliveries, page by page; the cursor moves with each page, after it is stored.

    The first look only sets the cursor: what was opened before has had its humans. `wait` ends it between pages where it gives
    true. Raises what the system raises.
    """
    cursor = ledger.cursor(system.name)
    first = cursor is None
    stored = known = 0
    while True:
        changes = system.changed(cursor, _PAGE)
        now = datetime.now(UTC)
        if changes.events and not first:
            ids = ledger.add([_delivery(system.name, event, now.timestamp()) for event in changes.events])
            stored += sum(one is not None for one in ids)
            known += sum(one is None for one in ids)
        ledger.move_cursor(system.name, changes.cursor)
        cursor = changes.cursor
        if not changes.more or first or wait(0.0):
            return Polled(stored, known, cursor, first)


def _delivery(name: str, event: Event, now: float) -> NewDelivery:
    key = event.delivery_id or f"poll:{event.ticket_id}:{event.kind}:{now:.3f}"
    return delivery_of(name, event, key, now, opened=event.kind.endswith("created"))


class Pollers:
    """A thread for each system that is to be asked, every so many seconds."""

    def __init__(self, ledger: Ledger, systems: Mapping[str, TicketSystem], every: Mapping[str, float]) -> None:
        self._ledger = ledger
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(systems[name], seconds), name=f"poll-{name}", daemon=True)
            for name, seconds in every.items()
        ]

    def start(self) -> None:
        """Starts them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Lets each end the page that it is at."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _run(self, system: TicketSystem, every: float) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                poll(self._ledger, system, wait=self._stopping.wait)
                failures, pause = 0, every
            except Exception as error:  # noqa: BLE001 - the next look may go better
                pause = max(every, _PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1
                told = str(error) if isinstance(error, SnapshotError) else f"{type(error).__name__}: {error}"
                _log.warning("%s could not be asked for changes: %s; again in %.0f s", system.name, told, pause)
            self._stopping.wait(pause)
