"""Knowledge tasks: what a solved ticket teaches, written down within 48 hours.

    open -> submitted -> accepted
         <- (returned)
    open -> postponed -> open          the ticket was opened again, and solved again
    open, postponed, submitted -> dropped

A task is opened once a ticket, with its reminders. Every change is one transaction; the time is always given, so that a test
or a batch can run it on a clock of its own. Nothing is sent here: `remind` hands each reminder to a function.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from pipeline.desk.draft import check_finished
from pipeline.desk.entry import Entry, read_entry, write_entry
from pipeline.desk.task_tables import metadata, points, reminders, tasks
from pipeline.errors import UsageError
from pipeline.service.database import told_errors
from pipeline.service.ledger import insert_into

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

HOUR = 3600.0
DUE = 48 * HOUR
Step = Literal["half", "soon", "overdue"]
# When each reminder is due, in seconds before the task is.
STEPS: dict[Step, float] = {"half": 24 * HOUR, "soon": 4 * HOUR, "overdue": 0.0}
POINTS = {"in_time": 3, "late": 1, "accepted": 5, "proven": 2}
# Who claimed a reminder has so long to send it.
_LEASE = 600.0
_LOCK = 7213002
# Later than any moment that is stored.
_EVER = 1e11


@dataclass(frozen=True)
class Task:
    """One row of the tasks. Times are seconds since 1970."""

    id: str
    system: str
    ticket_id: str
    snapshot_id: str
    assignee: str
    opened_at: float
    due_at: float
    state: str
    text: str
    submitted_at: float | None
    decided_at: float | None
    decided_by: str | None
    reason: str | None
    entry_id: str | None
    reopened_at: float | None


@dataclass(frozen=True)
class Due:
    """Until when a task is to be handed in, and when somebody is reminded of it, in seconds since 1970."""

    moment: float
    reminders: Mapping[Step, float]

    @classmethod
    def at(cls, now: float, moment: float) -> Due:
        """What is due at `moment` of a task that is opened at `now`, with reminders at any hour."""
        return cls(moment, {step: max(now, moment - before) for step, before in STEPS.items()})


@dataclass(frozen=True)
class Reminder:
    """A task that somebody is to be reminded of."""

    task: Task
    step: Step


@dataclass(frozen=True)
class Standing:
    """What one person did: tasks whose time is over or that were handed in, how many in time, late, not yet; points."""

    person: str
    tasks: int
    in_time: int
    late: int
    missing: int
    points: int

    @property
    def timeliness(self) -> float | None:
        """The share that was handed in in time, null without a task."""
        return self.in_time / self.tasks if self.tasks else None


class TaskNotFound(UsageError):
    """There is no knowledge task of that id."""


class Tasks:
    """The tasks in one database, SQLite or PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Makes the tables where they are missing. Raises `DatabaseUnavailable`."""
        self._engine = engine
        with self._begun() as connection:
            if engine.dialect.name == "postgresql":
                # Two that start at once would both make the tables.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            metadata.create_all(connection)

    @contextlib.contextmanager
    def _begun(self) -> Iterator[Connection]:
        with told_errors(self._engine.url.render_as_string()), self._engine.begin() as connection:
            yield connection

    # ---- a task's life

    def open(self, system: str, ticket_id: str, draft: Entry, assignee: str, now: float) -> tuple[Task, bool]:
        """The task of a ticket that was solved at `now`, and whether it is new: a ticket has one, however often it is told."""
        with self._begun() as connection:
            return self.open_within(connection, system, ticket_id, draft, assignee, now, Due.at(now, now + DUE))

    def open_within(
        self,
        connection: Connection,
        system: str,
        ticket_id: str,
        draft: Entry,
        assignee: str,
        now: float,
        due: Due,
    ) -> tuple[Task, bool]:
        """The same in the transaction of `connection`."""
        task_id = f"kt-{uuid.uuid4().hex[:16]}"
        row = {
            "id": task_id, "system": system, "ticket_id": ticket_id, "snapshot_id": draft.facts.origin or "",
            "assignee": assignee, "opened_at": now, "due_at": due.moment, "state": "open", "text": write_entry(draft),
        }  # fmt: skip
        insert = insert_into(self._engine, tasks).values(row).on_conflict_do_nothing().returning(tasks.c.id)
        made = connection.execute(insert).first() is not None
        if made:
            _schedule(connection, task_id, due, now)
        else:
            # Solved once more: what came back is known, and its knowledge task stays the same one.
            task_id = connection.execute(sa.select(tasks.c.id).where(_mine(system, ticket_id))).scalar_one()
        return _task(connection, task_id), made

    def postpone(self, connection: Connection, system: str, ticket_id: str, at: float) -> Task | None:
        """The ticket came back at `at`: its task waits until it is solved again. The task where it waits now, else None.

        What was handed in already stays as it is; that the ticket came back is noted in any case.
        """
        mine = _mine(system, ticket_id)
        connection.execute(tasks.update().where(mine).values(reopened_at=at))
        open_ = (mine, tasks.c.state == "open", tasks.c.submitted_at.is_(None))
        found = connection.scalar(tasks.update().where(*open_).values(state="postponed").returning(tasks.c.id))
        return None if found is None else _task(connection, found)

    def resume(self, connection: Connection, system: str, ticket_id: str, now: float, due: Due) -> Task | None:
        """The ticket is solved again: its task, if it waited for that, is due anew. None where it did not."""
        mine = (_mine(system, ticket_id), tasks.c.state == "postponed")
        change = tasks.update().where(*mine).values(state="open", due_at=due.moment)
        found = connection.scalar(change.returning(tasks.c.id))
        if found is None:
            return None
        connection.execute(reminders.delete().where(reminders.c.task == found))
        _schedule(connection, found, due, now)
        return _task(connection, found)

    def submit(self, task_id: str, text: str, now: float) -> Task:
        """Hands the entry in. The first time decides whether it was in time. Raises `UsageError` where it is not finished."""
        entry = read_entry(text, task_id)
        check_finished(entry)
        with self._begun() as connection:
            task = _task(connection, task_id, lock=True)
            if task.state not in {"open", "postponed", "submitted"}:
                raise UsageError(f"{task_id} is {task.state}; only an open task can be handed in")
            first = task.submitted_at if task.submitted_at is not None else now
            _change(connection, task_id, state="submitted", text=text, submitted_at=first, reason=None)
            self._give(connection, task, "in_time" if first <= task.due_at else "late", first)
            return _task(connection, task_id)

    def give_back(self, task_id: str, why: str, by: str, now: float) -> Task:
        """Returns what was handed in to its writer, with the reason."""
        return self._decide(task_id, {"submitted"}, "open", by, now, reason=why)

    def accept(self, task_id: str, entry: Entry, by: str, now: float) -> Task:
        """The entry stands in the knowledge folder now. Gives points, more where its signature is proven."""
        with self._begun() as connection:
            task = _task(connection, task_id, lock=True)
            if task.state != "submitted":
                raise UsageError(f"{task_id} is {task.state}; only what was handed in can be accepted")
            _change(
                connection, task_id,
                state="accepted", text=write_entry(entry), entry_id=entry.id, decided_at=now, decided_by=by, reason=None,
            )  # fmt: skip
            self._give(connection, task, "accepted", now)
            if entry.facts.signature is not None and entry.facts.signature.proven:
                self._give(connection, task, "proven", now)
            return _task(connection, task_id)

    def drop(self, task_id: str, why: str, by: str, now: float) -> Task:
        """Nothing is to be learnt from this ticket, and why."""
        return self._decide(task_id, {"open", "postponed", "submitted"}, "dropped", by, now, reason=why)

    def reopened(self, system: str, ticket_id: str, now: float) -> bool:
        """Notes that a solved ticket came back; false where it has no task."""
        with self._begun() as connection:
            return (
                connection.execute(tasks.update().where(_mine(system, ticket_id)).values(reopened_at=now)).rowcount == 1
            )

    def _decide(self, task_id: str, states: set[str], state: str, by: str, now: float, reason: str) -> Task:
        with self._begun() as connection:
            task = _task(connection, task_id, lock=True)
            if task.state not in states:
                raise UsageError(f"{task_id} is {task.state}; it must be {' or '.join(sorted(states))}")
            _change(connection, task_id, state=state, decided_at=now, decided_by=by, reason=reason)
            return _task(connection, task_id)

    def _give(self, connection: Connection, task: Task, reason: str, now: float) -> None:
        """Points, once for each reason; in time and late exclude each other since the first submission decides."""
        row = {"task": task.id, "reason": reason, "person": task.assignee, "points": POINTS[reason], "at": now}
        connection.execute(insert_into(self._engine, points).values(row).on_conflict_do_nothing())

    # ---- reading

    def get(self, task_id: str) -> Task:
        """One task. Raises `TaskNotFound` where there is none."""
        with self._begun() as connection:
            return _task(connection, task_id)

    def listed(self, states: Sequence[str] = (), limit: int = 200) -> list[Task]:
        """Tasks, those due first."""
        query = sa.select(tasks).order_by(tasks.c.due_at, tasks.c.id).limit(limit)
        if states:
            query = query.where(tasks.c.state.in_(states))
        with self._begun() as connection:
            return [Task(**row) for row in connection.execute(query).mappings()]

    def outcomes(self) -> dict[str, bool]:
        """Ticket -> whether it came back after it was solved, of all tickets with a task."""
        query = sa.select(tasks.c.ticket_id, tasks.c.reopened_at)
        with self._begun() as connection:
            return {ticket: at is not None for ticket, at in connection.execute(query)}

    def standings(self, now: float, since: float = 0.0, until: float = _EVER) -> list[Standing]:
        """Each person's tasks opened from `since` until before `until`, as they are at `now`, in order of points.

        Dropped and postponed tasks and those with time left are not counted.
        """
        within = (tasks.c.opened_at >= since, tasks.c.opened_at < until)
        given_within = (points.c.at >= since, points.c.at < until)
        with self._begun() as connection:
            rows = connection.execute(sa.select(tasks).where(*within)).mappings().all()
            given = dict(
                connection.execute(
                    sa.select(points.c.person, sa.func.sum(points.c.points))
                    .where(*given_within)
                    .group_by(points.c.person)
                ).all()
            )
        people = sorted({str(row["assignee"]) for row in rows} | set(given))
        found = [_standing(person, [row for row in rows if row["assignee"] == person], given, now) for person in people]
        return sorted(found, key=lambda one: (-one.points, one.person))

    # ---- reminders

    def remind(self, now: float, send: Callable[[Reminder], None]) -> list[Reminder]:
        """Sends what is due, each once: of several for one task only the last, the earlier ones are skipped.

        A reminder is claimed before it is sent and done after; where `send` raises, the error goes on and another call sends
        it after the claim has run out. A task that was handed in meanwhile is reminded of no more.
        """
        sent: list[Reminder] = []
        while (reminder := self._claim(now)) is not None:
            send(reminder)
            with self._begun() as connection:
                mine = (reminders.c.task == reminder.task.id, reminders.c.step == reminder.step)
                connection.execute(reminders.update().where(*mine).values(sent_at=now))
            sent.append(reminder)
        return sent

    def _claim(self, now: float) -> Reminder | None:
        free = (reminders.c.due_at <= now, reminders.c.sent_at.is_(None), reminders.c.claimed_until <= now)
        query = (
            sa.select(reminders.c.task, reminders.c.step)
            .join(tasks, tasks.c.id == reminders.c.task)
            .where(*free, tasks.c.state == "open", tasks.c.submitted_at.is_(None))
            .order_by(reminders.c.due_at.desc(), reminders.c.task)
            .limit(1)
        )
        with self._begun() as connection:
            if self._engine.dialect.name == "postgresql":
                query = query.with_for_update(of=reminders, skip_locked=True)
            found = connection.execute(query).first()
            if found is None:
                return None
            mine = (reminders.c.task == found.task, reminders.c.step == found.step)
            connection.execute(reminders.update().where(*mine).values(claimed_until=now + _LEASE))
            earlier = (reminders.c.task == found.task, reminders.c.step != found.step, *free)
            connection.execute(reminders.update().where(*earlier).values(sent_at=now, skipped=True))
            return Reminder(_task(connection, found.task), found.step)


def _mine(system: str, ticket_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(tasks.c.system == system, tasks.c.ticket_id == ticket_id)


def _schedule(connection: Connection, task_id: str, due: Due, now: float) -> None:
    rows = [
        {"task": task_id, "step": step, "due_at": max(now, at), "claimed_until": 0.0, "skipped": False}
        for step, at in due.reminders.items()
    ]
    connection.execute(reminders.insert(), rows)


def _task(connection: Connection, task_id: str, *, lock: bool = False) -> Task:
    query = sa.select(tasks).where(tasks.c.id == task_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise TaskNotFound(f"there is no knowledge task {task_id!r}; `problem-snapshot desk tasks list` shows them")
    return Task(**row)


def _change(connection: Connection, task_id: str, **values: Any) -> None:
    connection.execute(tasks.update().where(tasks.c.id == task_id).values(**values))


def _standing(person: str, rows: Sequence[Any], given: dict[str, int], now: float) -> Standing:
    kept = [row for row in rows if row["state"] not in {"dropped", "postponed"}]
    in_time = sum(row["submitted_at"] is not None and row["submitted_at"] <= row["due_at"] for row in kept)
    late = sum(row["submitted_at"] is not None and row["submitted_at"] > row["due_at"] for row in kept)
    missing = sum(row["submitted_at"] is None and row["due_at"] < now for row in kept)
    return Standing(person, in_time + late + missing, in_time, late, missing, int(given.get(person, 0)))
