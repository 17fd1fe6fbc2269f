"""The clock of each ticket: until when it is to be answered and solved, and a warning before that is over.

A warning is a row that is written with the deadline; whoever finds it due marks it and queues its message in one
transaction. So it is told once, however many processes look, and a restart loses none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from pipeline.desk.calendar import Deadline, calendar_of
from pipeline.desk.course import Course, Told, begun, count, course_of, known, of_ticket
from pipeline.desk.events import Happened, What, record
from pipeline.desk.grading_options import LEVELS, GradingOptions, Level
from pipeline.desk.moments import seconds_of, written
from pipeline.desk.severity import set_by_ticket
from pipeline.desk.tables import clocks, warnings
from pipeline.errors import SnapshotError
from pipeline.service.ledger import insert_into
from snapshots.model import Severity, Text
from snapshots.store import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_log = logging.getLogger(__name__)
WHICH: tuple[Deadline, ...] = ("respond", "resolve")
# A warning that could not be told is tried again after so many seconds.
_AGAIN = 60
# A ticket that is seen for the first time so many seconds after a deadline was open before there was a clock: it is long
# answered, or everybody knows. A service that was away for less tells that the deadline is over.
_STALE = 86400.0
# How many warnings one look takes: the rest is due at the next one, a moment later.
_MOST = 200


@dataclass(frozen=True)
class Warned:
    """A warning that is due. `deadline` and `at` are seconds since 1970; one that comes after its deadline is `late`."""

    system: str
    ticket_id: str
    snapshot_id: str
    level: Level
    which: Deadline
    deadline: float
    at: float

    @property
    def late(self) -> bool:
        """Whether the deadline is over."""
        return self.at >= self.deadline

    @property
    def key(self) -> str:
        """The same for the same warning."""
        return f"{self.which}:{self.deadline:.3f}"

    @property
    def said(self) -> Text:
        """The warning in words."""
        minutes = max(1, round(abs(self.deadline - self.at) / 60))
        what, zh_what = ("an answer", "首次应答") if self.which == "respond" else ("a solution", "解决")
        if self.late:
            return Text(
                en=f"{self.level} ticket {self.ticket_id} has been overdue for {minutes} min: {what} was due.",
                zh=f"{self.level} 工单 {self.ticket_id} 的{zh_what}已超时 {minutes} 分钟。",
            )
        return Text(
            en=f"{self.level} ticket {self.ticket_id} will be overdue in {minutes} min, take it first: {what} is due.",
            zh=f"{self.level} 工单 {self.ticket_id} 还有 {minutes} 分钟超时，请优先处理（待{zh_what}）。",
        )


# Queues the message of a warning inside the given transaction.
Tell = Callable[["Connection", Warned], None]


class Clocks:
    """The clocks of a database."""

    def __init__(self, engine: Engine, options: GradingOptions, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._options = options
        self._clock = clock

    def start(
        self,
        connection: Connection,
        system: str,
        ticket_id: str,
        snapshot_id: str,
        severity: Severity,
        opened_at: float,
    ) -> Severity:
        """Starts the ticket's clock, or brings it up to date, in the transaction of `connection`; the severity that holds.

        The level is never lowered and no deadline moves away. A level that rises counts its deadlines from now.
        """
        here = of_ticket(clocks, system, ticket_id)
        # The row is locked before it is read: two that grade one ticket go one after the other.
        connection.execute(clocks.update().where(here).values(snapshot_id=snapshot_id))
        row = connection.execute(sa.select(clocks).where(here)).one_or_none()
        now = self._clock()
        course = course_of(known(connection, system, ticket_id))
        if row is None:
            due = {which: seconds_of(getattr(severity, f"{which}_by")) for which in WHICH}
            if course.reopened_at is not None:
                due["resolve"] = self._from(severity.level, system, course.reopened_at)["resolve"]
            values = {"opened_at": opened_at, "responded_at": course.responded_at, "resolved_at": course.resolved_at}
            self._write(connection, system, ticket_id, snapshot_id, severity, due, fresh=values)
            if not begun(connection, system, ticket_id):
                record(connection, Happened(system, ticket_id, opened_at, "opened", severity.level))
            record(connection, Happened(system, ticket_id, max(now, opened_at), "graded", severity.level))
            return self._prioritise(connection, system, ticket_id, course)
        held = msgspec.json.decode(row.severity, type=Severity)
        if LEVELS.index(severity.level) >= LEVELS.index(held.level):
            return held
        self._raise(connection, row, severity, now, severity)
        record(connection, Happened(system, ticket_id, now, "graded", severity.level))
        return severity

    def _raise(self, connection: Connection, row: Any, severity: Severity, at: float, limits: Severity | None) -> None:
        """Sets a graver level, whose deadlines count from `at`; none of them moves away from the clock's or from `limits`."""
        due = {
            which: min(
                getattr(row, f"{which}_by"), max(seconds_of(getattr(limits, f"{which}_by")), by) if limits else by
            )
            for which, by in self._from(severity.level, row.system, at).items()
        }
        self._write(connection, row.system, row.ticket_id, row.snapshot_id, severity, due)

    def _from(self, level: Level, system: str, at: float) -> dict[Deadline, float]:
        """The deadlines of a level that count from `at`."""
        calendar, term = calendar_of(self._options.calendar(system)), self._options.term(level)
        start = datetime.fromtimestamp(at, UTC)
        return {which: calendar.deadline(start, term, which).timestamp() for which in WHICH}

    def _write(
        self,
        connection: Connection,
        system: str,
        ticket_id: str,
        snapshot_id: str,
        severity: Severity,
        due: dict[Deadline, float],
        *,
        fresh: Mapping[str, float | None] | None = None,
    ) -> None:
        """Writes the clock with its warnings; `fresh` are the times of a ticket that has none yet."""
        by = {f"{which}_by": moment for which, moment in due.items()}
        held = msgspec.structs.replace(severity, **{name: written(moment) for name, moment in by.items()})
        values: dict[str, Any] = {
            "snapshot_id": snapshot_id,
            "level": severity.level,
            "severity": msgspec.json.encode(held).decode(),
            **by,
        }
        if fresh is not None:
            connection.execute(clocks.insert().values(system=system, ticket_id=ticket_id, **fresh, **values))
        else:
            connection.execute(clocks.update().where(of_ticket(clocks, system, ticket_id)).values(**values))
            _drop(connection, system, ticket_id)
        row = connection.execute(sa.select(clocks).where(of_ticket(clocks, system, ticket_id))).one()
        calendar, term = calendar_of(self._options.calendar(system)), self._options.term(severity.level)
        for which, moment in due.items():
            if row.resolved_at is not None or (which == "respond" and row.responded_at is not None):
                continue
            if fresh is not None and moment < self._clock() - _STALE:
                continue
            warn_at = calendar.warn_at(datetime.fromtimestamp(moment, UTC), term).timestamp()
            connection.execute(
                insert_into(self._engine, warnings)
                .values(system=system, ticket_id=ticket_id, which=which, deadline=moment, warn_at=warn_at)
                .on_conflict_do_nothing()
            )

    # ---- what happens to the ticket

    def follow(self, connection: Connection, system: str, ticket_id: str, told: Sequence[Told]) -> list[Told]:
        """Brings the ticket's clock up to what was told, in the transaction of `connection`; the steps that are new.

        What was told before changes nothing, in whatever order it comes. A ticket that has no clock yet is remembered for the one
        that it gets.
        """
        here = of_ticket(clocks, system, ticket_id)
        # Locks the row, as `start` does.
        connection.execute(clocks.update().where(here).values(ticket_id=ticket_id))
        fresh = count(self._engine, connection, system, ticket_id, told)
        row = connection.execute(sa.select(clocks).where(here)).one_or_none()
        if not fresh or row is None:
            return fresh
        course = course_of(known(connection, system, ticket_id))
        values: dict[str, float | None] = {
            "responded_at": min((at for at in (row.responded_at, course.responded_at) if at is not None), default=None)
        }
        if course.resolved_at is not None or course.reopened_at is not None:
            values["resolved_at"] = course.resolved_at
        connection.execute(clocks.update().where(here).values(**values))
        held = msgspec.json.decode(row.severity, type=Severity)
        due: dict[Deadline, float] = {"respond": row.respond_by, "resolve": row.resolve_by}
        if course.reopened_at is not None and {"resolved", "reopened"} & {one.what for one in fresh}:
            due["resolve"] = self._from(row.level, system, course.reopened_at)["resolve"]
        self._write(connection, system, ticket_id, row.snapshot_id, held, due)
        self._prioritise(connection, system, ticket_id, course)
        return fresh

    def _prioritise(self, connection: Connection, system: str, ticket_id: str, course: Course) -> Severity:
        """The severity that holds: a level that a person set in the ticket system raises the desk's, and is never lowered."""
        row = connection.execute(sa.select(clocks).where(of_ticket(clocks, system, ticket_id))).one()
        held = msgspec.json.decode(row.severity, type=Severity)
        if course.level is None or LEVELS.index(course.level[0]) >= LEVELS.index(row.level):
            return held
        level, at = course.level
        graver = set_by_ticket(held, level)
        self._raise(connection, row, graver, at, None)
        return graver

    def mark(
        self,
        system: str,
        ticket_id: str,
        what: What,
        who: str | None = None,
        to: str | None = None,
        at: float | None = None,
    ) -> bool:
        """Writes down what a person says happened, now unless `at` is given. False where the ticket has no clock."""
        with self._engine.begin() as connection:
            here = of_ticket(clocks, system, ticket_id)
            if not connection.execute(clocks.update().where(here).values(ticket_id=ticket_id)).rowcount:
                return False
            if at is None:
                # What is said now comes after all that was told, by whatever clock.
                last = max((one.at for one in known(connection, system, ticket_id)), default=0.0)
                at = max(self._clock(), last + 0.001)
            self.follow(connection, system, ticket_id, [Told(what, at, who, to)])
        return True

    # ---- warnings

    def tick(self, tell: Tell, holds: Callable[[Any], bool] = lambda _: True) -> list[Warned]:
        """Tells every warning that is due, each once; those that were told now. A warning that fails is due again.

        `holds` says of a row of `due` whether it is still true; one that is not is left alone.
        """
        now = self._clock()
        return [told for row in self.due(now) if holds(row) and (told := self.told(row, now, tell))]

    def still_due(self, row: Any) -> bool:
        """Whether the warning of a row of `due` is there still, and not told."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(warnings.c.which).where(_this(row))) is not None

    def forget_warnings(self, system: str, ticket_id: str) -> None:
        """Nobody is warned of the ticket any more, such as one that was deleted."""
        with self._engine.begin() as connection:
            _drop(connection, system, ticket_id)

    def due(self, now: float) -> list[Any]:
        """The warnings that are due at `now` and not told, the nearest deadline first."""
        query = (
            sa.select(warnings, clocks.c.snapshot_id, clocks.c.level)
            .join(clocks, sa.and_(clocks.c.system == warnings.c.system, clocks.c.ticket_id == warnings.c.ticket_id))
            .where(warnings.c.told_at.is_(None), warnings.c.warn_at <= now)
            .order_by(warnings.c.deadline)
            .limit(_MOST)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def told(self, row: Any, now: float, tell: Tell) -> Warned | None:
        """Tells the warning of a row of `due`; None where another process has, or where it cannot be told now."""
        warned = Warned(row.system, row.ticket_id, row.snapshot_id, row.level, row.which, row.deadline, now)
        one = _this(row)
        try:
            with self._engine.begin() as connection:
                if not connection.execute(warnings.update().where(one).values(told_at=now)).rowcount:
                    return None
                tell(connection, warned)
        except (SnapshotError, StoreError) as error:
            _log.error("%s: cannot be told, it is tried again in %d s: %s", warned.said.en, _AGAIN, error)
            # One that cannot be told does not stand in the way of the others.
            with self._engine.begin() as connection:
                connection.execute(warnings.update().where(one).values(warn_at=now + _AGAIN))
            return None
        return warned

    # ---- what people ask

    def of(self, system: str, ticket_id: str) -> Any:
        """The ticket's clock, or None."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(clocks).where(of_ticket(clocks, system, ticket_id))).one_or_none()

    def named(self, ticket_id: str, snapshot_id: str) -> Any:
        """The clock of that ticket in whichever system, the snapshot's own first; None where there is none."""
        query = sa.select(clocks).where(clocks.c.ticket_id == ticket_id).order_by(clocks.c.snapshot_id != snapshot_id)
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).one_or_none()

    def open(self, limit: int = 200) -> Iterator[Any]:
        """The clocks that run, the nearest deadline first."""
        nearest = sa.case((clocks.c.responded_at.is_(None), clocks.c.respond_by), else_=clocks.c.resolve_by)
        query = sa.select(clocks).where(clocks.c.resolved_at.is_(None)).order_by(nearest).limit(limit)
        with self._engine.connect() as connection:
            yield from connection.execute(query).all()


def _this(row: Any) -> Any:
    """The warning of a row of `due`, while it is not told."""
    return sa.and_(
        of_ticket(warnings, row.system, row.ticket_id),
        warnings.c.which == row.which,
        warnings.c.deadline == row.deadline,
        warnings.c.told_at.is_(None),
    )


def _drop(connection: Connection, system: str, ticket_id: str) -> None:
    """Takes back warnings that were not told."""
    connection.execute(warnings.delete().where(of_ticket(warnings, system, ticket_id), warnings.c.told_at.is_(None)))
