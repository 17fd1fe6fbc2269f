"""Polling without loss: what was changed since a cursor, read with an overlap, each change told once.

The cursor is JSON: `at`, the time of the last change told of, and `seen`, what was told of within the overlap before it. The
overlap is for changes that the system shows late, for clocks of its nodes that differ, and for rows that move between two pages
while they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import msgspec

from pipeline.tickets._payload import moment, needed_moment
from pipeline.tickets.system import Changes, Event, SystemBroken

Shape = TypeVar("Shape")

# A poll looks back this far before the last change that it told of.
OVERLAP = timedelta(minutes=5)
_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """A ticket in a system's list: when it changed, and what it would be told as."""

    at: datetime
    event: Event

    @property
    def key(self) -> tuple[datetime, str]:
        """Its place in the order of changes, by which it is known again."""
        return self.at.astimezone(UTC), self.event.ticket_id


# Rows that changed at or after a time, oldest first, of the n-th page (from 0) on; and whether there are further ones.
Page = Callable[[datetime, int], tuple[Sequence[Row], bool]]


class Cursor(msgspec.Struct, frozen=True):
    """Where a poll of a system without cursors of its own stands.

    `seen` holds the times and ids of changes that were told, oldest first. What changed before `floor` was there when the first
    poll began.
    """

    at: datetime
    seen: tuple[tuple[datetime, str], ...] = ()
    floor: datetime = _START

    @property
    def start(self) -> datetime:
        """From when on rows are asked for."""
        return max(self.at - OVERLAP, self.floor)

    @property
    def text(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()

    def after(self, told: Iterable[Row]) -> Cursor:
        """The cursor once these rows were told, too. All within the overlap are remembered, however many they are."""
        keys = [row.key for row in told]
        at = max([self.at, *(key[0] for key in keys)])
        return Cursor(at, tuple(one for one in sorted({*self.seen, *keys}) if one[0] >= at - OVERLAP), self.floor)

    @classmethod
    def of(cls, when: datetime) -> Cursor:
        """The cursor of all that changed at `when` or later."""
        return cls(when, floor=when)


def read_cursor(text: str, shape: type[Shape], name: str, since: Callable[[datetime], Shape]) -> Shape:
    """A stored cursor; of a time (ISO 8601 with offset) what `since` makes of it. Raises `SystemBroken`."""
    if (when := moment(text)) is not None:
        return since(when)
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SystemBroken(
            f"the cursor of the poll of {name} cannot be read ({text[:60]!r}): start the poll anew"
        ) from error


def polled(name: str, cursor: str | None, read: Page, limit: int) -> Changes:
    """`TicketSystem.changed` of a system that lists its tickets by the time of their last change.

    Without a cursor the list is asked for once all the same, which shows whether the system answers.
    """
    if cursor is None:
        now = datetime.now(UTC)
        read(now, 0)
        return Changes((), Cursor(now).text)
    return sweep(read_cursor(cursor, Cursor, name, Cursor.of), lambda since: walk(read, since), limit)


def newest(rows: Iterable[Row]) -> Cursor:
    """The cursor of now by the system's own clock, from the rows that changed last, or from all there are."""
    known = tuple(rows)
    floor = min((row.key[0] for row in known), default=_START)
    return Cursor(_START, (), floor).after(known)


def sweep(cursor: Cursor, read: Callable[[datetime], Iterable[Row]], limit: int, *, ordered: bool = True) -> Changes:
    """Up to `limit` changes since `cursor`, oldest first.

    `read` gives the rows that changed at a time or later; `ordered` says that it does so oldest first, so that the rest need not be
    read once there are enough.
    """
    start, seen = cursor.start, set(cursor.seen)
    fresh = (row for row in read(start) if row.at >= start and row.key not in seen)
    found = list(islice(fresh, limit + 1)) if ordered else sorted(fresh, key=lambda row: row.key)
    told = found[:limit]
    return Changes(tuple(row.event for row in told), cursor.after(told).text, more=len(found) > limit)


def due(found: Changes) -> Changes:
    """The same without what is ignored, for lists in which most rows are no tickets at all."""
    return replace(found, events=tuple(event for event in found.events if event.ignored is None))


def over(
    name: str,
    places: Iterable[str],
    cursor: str | None,
    limit: int,
    now: Callable[[str], Cursor],
    changed: Callable[[str, Cursor, int], Changes],
) -> Changes:
    """Changes of several places (repositories, projects) under one cursor, which holds each one's own.

    `now(place)` gives the cursor of now, `changed(place, cursor, limit)` what changed there. A place that is new since the last poll
    is told of from now on.
    """
    places = list(places)

    def everywhere(when: datetime) -> dict[str, str]:
        return dict.fromkeys(places, Cursor.of(when).text)

    before = {} if cursor is None else read_cursor(cursor, dict[str, str], name, everywhere)
    after: dict[str, str] = {}
    events: list[Event] = []
    more = False
    for place in places:
        if place not in before:
            after[place] = now(place).text
        elif len(events) >= limit:
            after[place] = before[place]
            more = True
        else:
            found = changed(place, read_cursor(before[place], Cursor, name, Cursor.of), limit - len(events))
            events += found.events
            after[place] = found.cursor
            more |= found.more
    return Changes(tuple(events), msgspec.json.encode(after).decode(), more)


def walk(read: Page, since: datetime) -> Iterator[Row]:
    """The rows of a list that is ordered by the time of change, from `since` on.

    Each further page starts at the last row's time again: a row that changes meanwhile moves to the list's end, and would pull
    another one over the border of two numbered pages.
    """
    seen: set[tuple[datetime, str]] = set()
    page = 0
    while True:
        rows, more = read(since, page)
        yield from (row for row in rows if row.key not in seen)
        seen.update(row.key for row in rows)
        if not more or not rows:
            return
        # More rows of one time than a page holds are the one case for a further page of the same question.
        since, page = (rows[-1].at, 0) if rows[-1].at > since else (since, page + 1)


def stamped_row(ticket_id: str, held: Mapping[str, Any], said: str, where: str, ignored: str | None = None) -> Row:
    """The row of a ticket that says when it was made and changed by `created_at` and `updated_at`. Raises `SystemBroken`."""
    updated, created = needed_moment(held.get("updated_at"), where), moment(held.get("created_at"))
    kind = "created" if created == updated else "changed"
    return Row(updated, Event(ticket_id, kind, text=said, created_at=created, ignored=ignored))
