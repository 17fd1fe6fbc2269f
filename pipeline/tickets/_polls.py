"""Polling without loss: what was changed since a cursor, read with an overlap, each change told once.

The cursor is JSON: `since`, the time of the last change told of, and `seen`, what was told of within the overlap before it. The
overlap is for changes that the system shows late and for rows that move between two pages while they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec

from pipeline.errors import UsageError
from pipeline.tickets.system import Changes, Event

_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """A ticket in a system's list, and what it would be told as."""

    updated_at: datetime
    event: Event

    @property
    def key(self) -> tuple[datetime, str]:
        """Its place in the order of changes."""
        return self.updated_at, self.event.ticket_id


class _Cursor(msgspec.Struct, frozen=True):
    since: datetime
    seen: dict[str, datetime] = {}
    # What changed before this was there when the first poll began.
    floor: datetime = _START


def newest(rows: Iterable[Row], overlap: timedelta) -> str:
    """The cursor of now, from the rows that changed last, or from all there are."""
    known = tuple(rows)
    floor = min((row.updated_at for row in known), default=_START)
    return _encoded(known, overlap, _Cursor(_START, {}, floor.astimezone(UTC)))


def sweep(
    cursor: str, read: Callable[[datetime], Iterable[Row]], limit: int, overlap: timedelta, *, ordered: bool
) -> Changes:
    """Up to `limit` changes since `cursor`, oldest first.

    `read` gives the rows that changed at a time or later; `ordered` says that it does so oldest first, so that the rest need not be
    read once there are enough.
    """
    last = _decoded(cursor)
    rows = (row for row in read(max(last.since - overlap, last.floor)) if row.event.ignored is None)
    fresh = (row for row in rows if last.seen.get(row.event.ticket_id) != row.updated_at)
    found = sorted(islice(fresh, limit + 1) if ordered else fresh, key=lambda row: row.key)
    told = tuple(found[:limit])
    return Changes(tuple(row.event for row in told), _encoded(told, overlap, last), more=len(found) > limit)


def over(
    places: Iterable[str],
    cursor: str | None,
    limit: int,
    now: Callable[[str], str],
    changed: Callable[[str, str, int], Changes],
) -> Changes:
    """Changes of several places (repositories, projects) under one cursor, which holds each one's own.

    `now(place)` gives the cursor of now, `changed(place, cursor, limit)` what changed there. A place that is new since the last poll
    is told of from now on.
    """
    before = {} if cursor is None else _places(cursor)
    after: dict[str, str] = {}
    events: list[Event] = []
    more = False
    for place in places:
        after[place] = before[place] if place in before else now(place)
        if place not in before:
            continue
        if len(events) >= limit:
            more = True
            continue
        found = changed(place, before[place], limit - len(events))
        events += found.events
        after[place] = found.cursor
        more |= found.more
    return Changes(tuple(events), msgspec.json.encode(after).decode(), more)


def walk(read: Callable[[datetime, int], list[Row]], since: datetime, size: int) -> Iterator[Row]:
    """The rows of a list that is ordered by the time of change, from `since` on.

    `read(since, page)` gives a page of up to `size` rows. Each further page starts at the last row's time again: a row that changes
    meanwhile moves to the list's end, and would pull another one over the border of two numbered pages.
    """
    seen: set[tuple[datetime, str]] = set()
    page = 1
    while True:
        rows = read(since, page)
        yield from (row for row in rows if row.key not in seen)
        seen.update(row.key for row in rows)
        if len(rows) < size:
            return
        # More rows of one time than a page holds are the one case for a further page of the same question.
        since, page = (rows[-1].updated_at, 1) if rows[-1].updated_at > since else (since, page + 1)


def _encoded(rows: tuple[Row, ...], overlap: timedelta, last: _Cursor) -> str:
    since = max([last.since, *(row.updated_at.astimezone(UTC) for row in rows)])
    times = {**last.seen, **{row.event.ticket_id: row.updated_at.astimezone(UTC) for row in rows}}
    near = {ticket: time for ticket, time in sorted(times.items()) if time >= since - overlap}
    return msgspec.json.encode(_Cursor(since, near, last.floor)).decode()


def _places(cursor: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(cursor, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise _foreign(cursor) from error


def _foreign(cursor: str) -> UsageError:
    return UsageError(f"the cursor {cursor[:60]!r} is none of this system's; start over without one")


def _decoded(cursor: str) -> _Cursor:
    try:
        return msgspec.json.decode(cursor, type=_Cursor)
    except msgspec.MsgspecError as error:
        raise _foreign(cursor) from error
