"""The course of a ticket: what its system and people told of it, counted once and in order of the ticket's own time.

    steps, in any order and as often as they come -> rows, each once -> Course

So it does not matter how deliveries are repeated, overtaken or lost, as long as the ticket system is asked again in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pipeline.desk.events import WHAT, Happened, What, record
from pipeline.desk.grading_options import LEVELS, Level
from pipeline.desk.severity import read_level
from pipeline.desk.tables import clocks, events, steps
from pipeline.service.ledger import insert_into, storable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pipeline.tickets.system import Step

_NAME = 200


@dataclass(frozen=True)
class Told:
    """One step of a ticket. `at` is seconds since 1970; `to` and `who` as in `pipeline.tickets.system.Step`."""

    what: What
    at: float
    who: str | None = None
    to: str | None = None


@dataclass(frozen=True)
class Course:
    """What the steps come to. Times are seconds since 1970; `opened` says whether the beginning is among them.

    `resolved_at` is None while the ticket is open, `reopened_at` is when it was opened again last. `holder` is whose turn it
    is, `solver` who solved it. `level` is the gravest that a person set in the ticket system, with the moment of that.
    """

    opened: bool = False
    responded_at: float | None = None
    resolved_at: float | None = None
    reopened_at: float | None = None
    waiting: bool = False
    holder: str | None = None
    solver: str | None = None
    level: tuple[Level, float] | None = None


def course_of(told: Iterable[Told]) -> Course:
    """The course that steps come to, in whatever order they are given."""
    opened = waiting = False
    responded = resolved = reopened = holder = solver = None
    level: tuple[Level, float] | None = None
    for one in sorted(told, key=lambda one: (one.at, WHAT.index(one.what))):
        match one.what:
            case "opened":
                opened = True
            case "assigned":
                holder = one.to
            case "responded":
                responded = one.at if responded is None else responded
            case "waiting":
                waiting = True
            case "continued":
                waiting = False
            case "resolved" if resolved is None:
                resolved, solver, waiting = one.at, one.who, False
            case "reopened":
                resolved, reopened, waiting = None, one.at, False
            case "prioritised":
                found = read_level(one.to)
                if found and (level is None or LEVELS.index(found) < LEVELS.index(level[0])):
                    level = found, one.at
    return Course(opened, responded, resolved, reopened, waiting, holder, solver, level)


def plain(step: Step) -> Told:
    """A ticket system's step as it is stored."""
    return Told(step.what, step.at.timestamp(), _name(step.who), _name(step.to))


def _name(text: str | None) -> str | None:
    return storable(text)[:_NAME] if text else None


def count(engine: Engine, connection: Connection, system: str, ticket_id: str, told: Sequence[Told]) -> list[Told]:
    """Writes down those steps that were not known, each with its event, in the transaction of `connection`; which these are."""
    fresh = []
    for one in sorted(set(told), key=lambda one: (one.at, WHAT.index(one.what))):
        row = {"system": system, "ticket_id": ticket_id, "what": one.what, "at": one.at, "who": one.who, "to": one.to}
        insert = insert_into(engine, steps).values(**row).on_conflict_do_nothing().returning(steps.c.what)
        if connection.scalar(insert) is not None:
            fresh.append(one)
    if fresh:
        held = connection.scalar(sa.select(clocks.c.level).where(of_ticket(clocks, system, ticket_id)))
        for one in fresh:
            if one.what != "opened" or not begun(connection, system, ticket_id):
                record(connection, _event(system, ticket_id, one, held))
    return fresh


def known(connection: Connection, system: str, ticket_id: str) -> list[Told]:
    """Every step of the ticket that was written down."""
    query = sa.select(steps.c.what, steps.c.at, steps.c.who, steps.c.to).where(of_ticket(steps, system, ticket_id))
    return [Told(**row) for row in connection.execute(query).mappings()]


def begun(connection: Connection, system: str, ticket_id: str) -> bool:
    """Whether the ticket's beginning is among the events."""
    mine = sa.and_(of_ticket(events, system, ticket_id), events.c.event == "opened")
    return connection.scalar(sa.select(events.c.seq).where(mine).limit(1)) is not None


def of_ticket(table: sa.Table, system: str, ticket_id: str) -> sa.ColumnElement[bool]:
    """The rows of one ticket in one of the desk's tables."""
    return sa.and_(table.c.system == system, table.c.ticket_id == ticket_id)


def _event(system: str, ticket_id: str, one: Told, held: str | None) -> Happened:
    level = read_level(one.to) if one.what == "prioritised" else held
    role = one.to[:80] if one.what in {"assigned", "opened"} and one.to else None
    return Happened(system, ticket_id, one.at, one.what, level, role, one.who)
