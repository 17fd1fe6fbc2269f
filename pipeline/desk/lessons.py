"""The knowledge loop by itself: a solved ticket opens its task, one that comes back postpones it, and people are reminded.

    solved   -> the task, due in 48 hours, filled in from the ticket's snapshot; once a ticket
    reopened -> a task that was not handed in waits until the ticket is solved again
    due      -> reminders 24 and 4 hours before and at the end, each once

Each is written in one transaction with its message. Where the desk has a calendar, reminders keep to its hours: one that comes before the
end is sent in the hours before it, the one at the end when the desk opens next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pipeline.desk.calendar import calendar_of
from pipeline.desk.course import course_of, known, of_ticket
from pipeline.desk.draft import draft_of
from pipeline.desk.tables import clocks
from pipeline.desk.task_tables import tasks
from pipeline.desk.tasks import DUE, STEPS, Due, Reminder, Step, Task, Tasks
from pipeline.errors import SnapshotError
from snapshots.model import Text
from snapshots.store import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pipeline.desk.options import DeskOptions
    from pipeline.service.messages import Messages
    from snapshots.store import Store

_log = logging.getLogger(__name__)
# Who was away for a week learns nothing any more from a ticket that was solved before.
_OLD = 7 * 86400.0
# How often it is looked which tickets were solved, in seconds, and how many of them at once.
_LOOK = 15.0
_MOST = 200
# A reminder that would come out of hours comes so much working time before they end, in seconds.
_BEFORE_CLOSING = 1800.0
# Whose task it is where the ticket system does not say who solved it and no lead is configured.
NOBODY = "unassigned"


class Lessons:
    """The knowledge tasks of one database, and the messages that come of them."""

    def __init__(
        self,
        engine: Engine,
        options: DeskOptions,
        messages: Messages,
        store: Store,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._options = options
        self._messages = messages
        self._store = store
        self._clock = clock
        self._next_look = 0.0
        self._missing: set[str] = set()
        self.tasks = Tasks(engine)

    def tick(self) -> int:
        """Brings the tasks to what the tickets' clocks say, and sends the reminders that are due; how many reminders."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + _LOOK
            self.look(now)
        try:
            return len(self.tasks.remind(now, self._remind))
        except SnapshotError as error:
            # It is claimed for a while; the others are sent at the next look.
            _log.error("a reminder of a knowledge task could not be sent, it is tried again: %s", error)
            return 0

    def look(self, now: float) -> list[Task]:
        """Opens, postpones and takes up tasks, as their tickets are solved or open now; those that changed.

        What is due is read off the clocks, so that it does not matter who said that a ticket is solved, nor who looks.
        """
        mine = sa.and_(tasks.c.system == clocks.c.system, tasks.c.ticket_id == clocks.c.ticket_id)
        solved = clocks.c.resolved_at >= now - _OLD
        back = sa.and_(
            clocks.c.resolved_at.is_(None),
            sa.or_(
                sa.and_(tasks.c.state == "open", tasks.c.submitted_at.is_(None)),
                sa.and_(tasks.c.state.in_(("open", "submitted", "accepted")), tasks.c.reopened_at.is_(None)),
            ),
        )
        due = sa.or_(sa.and_(solved, sa.or_(tasks.c.id.is_(None), tasks.c.state == "postponed")), back)
        place = (clocks.c.opened_at, clocks.c.system, clocks.c.ticket_id)
        query = (
            sa.select(clocks, tasks.c.id.label("task")).outerjoin(tasks, mine).where(due)
            .order_by(*place).limit(_MOST)
        )  # fmt: skip
        after = query
        while True:
            with self._engine.connect() as connection:
                rows = connection.execute(after).all()
            brought = [task for row in rows if (task := self._brought(row, now)) is not None]
            if brought or len(rows) < _MOST:
                return brought
            # Nothing can be done with any of these, so they must not stand before those that came later.
            after = query.where(sa.tuple_(*place) > (rows[-1].opened_at, rows[-1].system, rows[-1].ticket_id))

    def _brought(self, row: Any, now: float) -> Task | None:
        """One ticket's task as it is to be; None where another process did it, or it cannot be done."""
        with self._engine.begin() as connection:
            if row.resolved_at is None:
                task = self.tasks.postpone(connection, row.system, row.ticket_id, now)
                if task is not None:
                    self._say(connection, task, _postponed(task), f"postponed:{now:.3f}")
                return task
            due = self._due(row.system, now)
            if row.task is not None:
                task = self.tasks.resume(connection, row.system, row.ticket_id, now, due)
            else:
                task = self._opened(connection, row, now, due)
            if task is not None:
                self._say(connection, task, _asked(task), f"open:{row.resolved_at:.3f}")
            return task

    def _opened(self, connection: Connection, row: Any, now: float, due: Due) -> Task | None:
        try:
            snapshot = self._store.get(row.snapshot_id)
        except StoreError as error:
            if row.snapshot_id not in self._missing:
                self._missing.add(row.snapshot_id)
                told = "%s ticket %s: no knowledge task is opened, since it cannot be filled in: %s"
                _log.error(told, row.system, row.ticket_id, error)
            return None
        course = course_of(known(connection, row.system, row.ticket_id))
        assignee = course.solver or course.holder or self._options.lead or NOBODY
        draft = draft_of(snapshot, assignee, datetime.fromtimestamp(now, UTC).date())
        task, new = self.tasks.open_within(connection, row.system, row.ticket_id, draft, assignee, now, due)
        return task if new else None

    def _remind(self, reminder: Reminder) -> None:
        with self._engine.begin() as connection:
            task = reminder.task
            # The key is that of the deadline, which a postponed task has anew: sent twice it is one message.
            self._say(connection, task, _reminded(task, self._clock()), f"{reminder.step}:{task.due_at:.3f}")

    def _say(self, connection: Connection, task: Task, said: Text, key: str) -> None:
        here = of_ticket(clocks, task.system, task.ticket_id)
        level = connection.scalar(sa.select(clocks.c.level).where(here)) or ""
        to = (task.assignee,) if task.assignee in self._messages.receivers else None
        try:
            snapshot = self._store.get(task.snapshot_id)
        except StoreError as error:
            # A message stands above its snapshot. The task is there all the same.
            _log.error("nobody is told: %s (%s)", said.en, error)
            return
        self._messages.say(connection, "desk.task", snapshot, level=level, said=said, key=f"{task.id}:{key}", to=to)

    def _due(self, system: str, now: float) -> Due:
        due = Due.at(now, now + DUE)
        if not self._options.grading.calendars:
            return due
        calendar = calendar_of(self._options.grading.calendar(system))

        def moved(step: Step, at: float) -> float:
            moment = datetime.fromtimestamp(at, UTC)
            opens = calendar.after(moment, 0.0)
            if opens <= moment:
                return at
            if STEPS[step] == 0.0:
                return opens.timestamp()
            return max(now, calendar.before(moment, _BEFORE_CLOSING).timestamp())

        return Due(due.moment, {step: moved(step, at) for step, at in due.reminders.items()})


def _until(task: Task) -> str:
    return f"{datetime.fromtimestamp(task.due_at, UTC):%Y-%m-%d %H:%M} UTC"


def _asked(task: Task) -> Text:
    return Text(
        en=f"Ticket {task.ticket_id} is solved. {task.assignee}, please write down what it taught by {_until(task)}: "
        f"knowledge task {task.id}, filled in as far as the snapshot knows.",
        zh=f"工单 {task.ticket_id} 已解决。请 {task.assignee} 在 {_until(task)} 前完成知识沉淀：知识任务 {task.id}，已按快照预填。",
    )


def _reminded(task: Task, now: float) -> Text:
    hours = max(1, round(abs(task.due_at - now) / 3600))
    unit = "hour" if hours == 1 else "hours"
    if now >= task.due_at:
        return Text(
            en=f"Knowledge task {task.id} of ticket {task.ticket_id} is overdue ({task.assignee}): it was due on {_until(task)}.",
            zh=f"工单 {task.ticket_id} 的知识任务 {task.id} 已逾期（{task.assignee}），截止时间为 {_until(task)}。",
        )
    return Text(
        en=f"Knowledge task {task.id} of ticket {task.ticket_id} is due in {hours} {unit} ({task.assignee}).",
        zh=f"工单 {task.ticket_id} 的知识任务 {task.id} 还有 {hours} 小时到期（{task.assignee}）。",
    )


def _postponed(task: Task) -> Text:
    return Text(
        en=f"Ticket {task.ticket_id} was opened again: its knowledge task {task.id} waits until it is solved.",
        zh=f"工单 {task.ticket_id} 已重新打开，其知识任务 {task.id} 顺延至再次解决后。",
    )
