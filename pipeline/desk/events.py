"""What happened to tickets at the desk, one event a row, in the service's database or in a file: the report is made from it.

opened       assigned     role: whose turn it is, a person or a queue
graded       level: how grave the desk holds it
prioritised  level: how grave a person set it in the ticket system, where that is P1 to P4
responded    waiting      for the customer          continued     the wait is over
resolved     reopened
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import msgspec
import sqlalchemy as sa

from pipeline.desk.tables import calls, care, clocks, events, roles, rooms, steps, warnings
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# In the order in which they count where they are of one moment.
What = Literal[
    "opened", "graded", "prioritised", "assigned", "continued", "responded", "waiting", "resolved", "reopened"
]
WHAT: tuple[What, ...] = get_args(What)


class Happened(msgspec.Struct, frozen=True):
    """One event. `at` is seconds since 1970; `role` is whose turn it is after `assigned`, such as a queue."""

    system: str
    ticket_id: str
    at: float
    event: What
    level: str | None = None
    role: str | None = None
    who: str | None = None


def record(connection: Connection, what: Happened) -> None:
    """Writes the event down, in the transaction of `connection`."""
    connection.execute(events.insert().values(**msgspec.structs.asdict(what)))


def prune(engine: Engine, before: float) -> None:
    """Deletes what ended before `before`: events, clocks of solved tickets with their warnings, closed rooms."""
    with engine.begin() as connection:
        connection.execute(events.delete().where(events.c.at < before))
        old = sa.and_(clocks.c.resolved_at < before, clocks.c.system == warnings.c.system)
        solved = sa.exists().where(old, clocks.c.ticket_id == warnings.c.ticket_id)
        connection.execute(warnings.delete().where(solved))
        connection.execute(clocks.delete().where(clocks.c.resolved_at < before))
        # What a clock that runs was made of stays, however old: it would be told again.
        runs = sa.exists().where(clocks.c.system == steps.c.system, clocks.c.ticket_id == steps.c.ticket_id)
        connection.execute(steps.delete().where(steps.c.at < before, ~runs))
        gone = sa.select(rooms.c.id).where(rooms.c.closed_at < before)
        for table in (roles, calls, care):
            connection.execute(table.delete().where(table.c.room.in_(gone)))
        connection.execute(rooms.delete().where(rooms.c.closed_at < before))


def read(engine: Engine, start: float, end: float) -> list[Happened]:
    """The events before `end` of every ticket to which something happened from `start` on, or that was open then.

    In order of time; tickets of which the beginning is not known are told with what is.
    """
    touched = sa.select(events.c.system, events.c.ticket_id).where(events.c.at >= start, events.c.at < end)
    # A ticket that lay still all the time has no event of it, and is what a report is to show.
    lay = sa.or_(clocks.c.resolved_at.is_(None), clocks.c.resolved_at >= start)
    still = sa.select(clocks.c.system, clocks.c.ticket_id).where(clocks.c.opened_at < end, lay)
    mine = sa.union(touched, still).subquery()
    query = (
        sa.select(events)
        .join(mine, sa.and_(mine.c.system == events.c.system, mine.c.ticket_id == events.c.ticket_id))
        .where(events.c.at < end)
        .order_by(events.c.at, events.c.seq)
    )
    names = Happened.__struct_fields__
    with engine.connect() as connection:
        return [Happened(**{name: getattr(row, name) for name in names}) for row in connection.execute(query)]


# ---- events of a file


_NEEDED = ("ticket_id", "at", "event")


def read_events(path: Path) -> list[Happened]:
    """The events of a CSV with the columns ticket_id, at (ISO 8601 with offset), event, and system, level, role, who.

    Raises `UsageError` with the line that is wrong.
    """
    found = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if absent := [name for name in _NEEDED if name not in (rows.fieldnames or ())]:
                raise UsageError(f"{path}: has no column {', '.join(absent)}")
            for number, row in enumerate(rows, start=2):
                found.append(_event(row, f"{path}, line {number}"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 (byte {error.start})") from error
    return sorted(found, key=lambda one: one.at)


def _event(row: Mapping[str, str | None], where: str) -> Happened:
    if not row.get("ticket_id"):
        raise UsageError(f"{where}: ticket_id is missing")
    try:
        at = datetime.fromisoformat(row.get("at") or "")
    except ValueError as error:
        raise UsageError(f"{where}: at {row.get('at')!r} is no ISO 8601 time") from error
    if at.tzinfo is None:
        raise UsageError(f"{where}: at {row.get('at')!r} has no offset; write it as 2026-11-02T09:00:00+08:00")
    values = {
        "system": row.get("system") or "file",
        "ticket_id": row["ticket_id"],
        "at": at.timestamp(),
        "event": row.get("event"),
        **{name: row.get(name) or None for name in ("level", "role", "who")},
    }
    try:
        return msgspec.convert(values, Happened)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: event {row.get('event')!r} is none of {', '.join(WHAT)}") from error
