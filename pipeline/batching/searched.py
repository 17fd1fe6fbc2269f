"""The tickets that a ticket system opened in a span of time, as a batch takes them.

A system is asked what changed since the span began, since a ticket that was opened then has changed then, and each ticket is read
as `take NAME:ID` reads it. What was opened before or after is passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.batching.patience import patiently
from pipeline.batching.tickets import Given, Note, rejected
from pipeline.errors import Refused, SnapshotError, TicketNotFound
from pipeline.tickets.system import Event, SystemUnavailable, TicketSystem

# Changes asked for at once.
_PAGE = 100


@dataclass(frozen=True)
class Search:
    """Tickets of `system` that were opened from `start` on and before `end`; without an end, up to now."""

    system: TicketSystem
    start: datetime
    end: datetime | None = None

    @property
    def label(self) -> str:
        """What is asked for, in words that a run which goes on compares."""
        ended = f" to {_written(self.end)}" if self.end else ""
        return f"{self.system.name}: from {_written(self.start)}{ended}"


def searched(search: Search, note: Note, say: Note, sleep: Callable[[float], None] = time.sleep) -> Iterator[Given]:
    """Every ticket once, in the order in which the system tells of them; one that cannot be read with the reason.

    `note` is told how many were passed over, `say` of waiting for the system. Raises `SystemUnavailable` where that does not help,
    `Refused`, and `SystemBroken` or `NotPolled` where the system cannot be asked what changed.
    """
    system, seen = search.system, set[str]()
    gone = outside = 0
    for event in _changes(search, say, sleep):
        if event.ticket_id in seen:
            continue
        seen.add(event.ticket_id)
        if event.created_at is not None and not _holds(search, event.created_at):
            outside += 1
            continue
        name = f"{system.name}, ticket {event.ticket_id}"
        try:
            ticket = patiently(lambda one=event: system.ticket(one.ticket_id), system.name, say, sleep)  # type: ignore[misc]
        except TicketNotFound:
            gone += 1
        except (SystemUnavailable, Refused):
            raise
        except SnapshotError as error:
            yield rejected(name, error, event.ticket_id, event.ticket_id)
        else:
            if _holds(search, ticket.created_at):
                yield Given(name, ticket)
            else:
                outside += 1
    if outside:
        note(f"tickets of {system.name} that changed in that time, but were opened before or after it: {outside:,}")
    if gone:
        note(f"tickets of {system.name} that are deleted, or not for this account to see: {gone:,}")


def _changes(search: Search, say: Note, sleep: Callable[[float], None]) -> Iterator[Event]:
    cursor = search.start.astimezone(UTC).isoformat()
    while True:
        found = patiently(
            lambda at=cursor: search.system.changed(at, _PAGE),  # type: ignore[misc]
            search.system.name,
            say,
            sleep,
        )
        yield from found.events
        if not found.more:
            return
        cursor = found.cursor


def _holds(search: Search, opened: datetime) -> bool:
    return search.start <= opened and (search.end is None or opened < search.end)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
