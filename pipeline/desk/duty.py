"""The desk on duty beside the service: each graded ticket starts its clock, a P1 opens its room, and what is due is told.

What happens to a ticket at its own desk is asked of the ticket system, whenever it sends something and before a warning is told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.desk.clock import Clocks, Warned
from pipeline.desk.course import course_of, known, plain
from pipeline.desk.grading_options import LEVELS, ROLES
from pipeline.desk.lessons import Lessons
from pipeline.desk.moments import in_utc
from pipeline.desk.room import Call, Rooms
from pipeline.desk.severity import deadlines, raised
from pipeline.errors import SnapshotError, TicketNotFound, UsageError
from pipeline.tickets.system import Remembers
from snapshots.model import Severity

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pipeline.desk.options import DeskOptions
    from pipeline.service.messages import Messages
    from pipeline.service.storms import Storm
    from pipeline.tickets.system import TicketSystem
    from snapshots.model import ProblemSnapshot
    from snapshots.store import Store

_log = logging.getLogger(__name__)
# How often it is looked what is due, in seconds.
EVERY = 5.0
# A ticket system that does not answer is not asked again for so many seconds before a warning.
_AWAY = 60.0


class Duty:
    """Clocks and rooms of one database, and the messages that come of them."""

    def __init__(
        self,
        engine: Engine,
        desk: DeskOptions,
        messages: Messages,
        store: Store,
        clock: Callable[[], float] = time.time,
        systems: Mapping[str, TicketSystem] = MappingProxyType({}),
    ) -> None:
        """`systems` are asked what happened to their tickets. Raises `UsageError` where the room calls who is no receiver."""
        options = desk.grading
        named = [name for role in (*ROLES, "last") for name in options.room.chain(role)] if options.room else []
        if unknown := [name for name in named if name not in messages.receivers]:
            raise UsageError(f"desk.grading.room: there is no [notify.{unknown[0]}]; add one, or name another")
        self._options = options
        self._messages = messages
        self._store = store
        self._clock = clock
        self.clocks = Clocks(engine, options, clock)
        self.rooms = Rooms(engine, options.room, clock) if options.room else None
        self.lessons = Lessons(engine, desk, messages, store, clock) if desk.knowledge else None
        self._engine = engine
        self._systems = systems
        # Systems that did not answer, and until when they are not asked again.
        self._away: dict[str, float] = {}

    def follow(self, system: str, ticket_id: str) -> bool:
        """Brings the ticket's clock up to what its system remembers of it; whether its level rose by that.

        Raises what the system raises. A system that remembers nothing is not asked.
        """
        remembering = self._systems.get(system)
        if not isinstance(remembering, Remembers):
            return False
        told = [plain(step) for step in remembering.history(ticket_id)]
        before = self.clocks.of(system, ticket_id)
        with self._engine.begin() as connection:
            self.clocks.follow(connection, system, ticket_id, told)
        after = self.clocks.of(system, ticket_id)
        return bool(before and after and before.level != after.level)

    def severity(self, snapshot: ProblemSnapshot, storm: Storm | None, system: str) -> Severity | None:
        """What holds for the ticket: its own severity, raised by what its storm counts, or by who set it in the ticket system."""
        own = snapshot.severity
        if own is None:
            return None
        # The document knows the kind of its ticket system, and not what the configuration calls it.
        start = datetime.fromisoformat(snapshot.ticket.created_at)
        by = deadlines(own.level, self._options, system, start)
        own = msgspec.structs.replace(own, respond_by=in_utc(by[0]), resolve_by=in_utc(by[1]))
        found = raised(own, storm, self._options, system, datetime.fromtimestamp(self._clock(), UTC))
        row = self.clocks.of(system, snapshot.ticket.id)
        if row is None or LEVELS.index(row.level) > LEVELS.index(found.level):
            return found
        held = msgspec.json.decode(row.severity, type=Severity)
        if row.level != found.level:
            return held
        # The deadlines of a level count from when it was given, and not from each look.
        return msgspec.structs.replace(found, respond_by=held.respond_by, resolve_by=held.resolve_by)

    def graded(
        self, connection: Connection, system: str, snapshot: ProblemSnapshot, severity: Severity, storm: Storm | None
    ) -> None:
        """Starts the ticket's clock and, for a P1, opens its room, in the transaction of `connection`."""
        ticket = snapshot.ticket
        opened_at = datetime.fromisoformat(ticket.created_at).timestamp()
        held = self.clocks.start(connection, system, ticket.id, snapshot.snapshot_id, severity, opened_at)
        course = course_of(known(connection, system, ticket.id))
        # Nobody is called for what is solved already, such as when its customer says thanks.
        if held.level == "P1" and self.rooms is not None and course.resolved_at is None:
            self.rooms.open(
                connection,
                system,
                snapshot,
                storm,
                lambda within, call: self._tell(within, call, snapshot),
                course.reopened_at,
            )

    def tick(self) -> int:
        """Tells what is due: warnings, and calls to rooms; how many."""
        told = len(self.clocks.tick(self._warn, self._holds))
        told += self.rooms.tick(self._call) if self.rooms else 0
        return told + (self.lessons.tick() if self.lessons else 0)

    def _holds(self, row: Any) -> bool:
        """Whether a warning is still true, by the ticket system itself: its delivery may be late, or lost.

        Where it does not answer the warning is told, and it is not asked again for a while.
        """
        now = self._clock()
        if self._away.get(row.system, 0.0) > now:
            return True
        try:
            self.follow(row.system, row.ticket_id)
        except TicketNotFound as error:
            _log.info("%s ticket %s: its warnings are dropped: %s", row.system, row.ticket_id, error)
            self.clocks.forget_warnings(row.system, row.ticket_id)
        except SnapshotError as error:
            self._away[row.system] = now + _AWAY
            _log.warning("%s could not be asked whether a warning is still true: %s", row.system, error)
            return True
        return self.clocks.still_due(row)

    def _warn(self, connection: Connection, warned: Warned) -> None:
        self._messages.say(
            connection,
            "desk.overdue" if warned.late else "desk.warning",
            self._store.get(warned.snapshot_id),
            level=warned.level,
            said=warned.said,
            key=warned.key,
        )

    def _call(self, connection: Connection, call: Call) -> None:
        self._tell(connection, call, self._store.get(call.snapshot_id))

    def _tell(self, connection: Connection, call: Call, snapshot: ProblemSnapshot) -> None:
        self._messages.say(
            connection,
            "room.escalated" if call.escalation else "room.called",
            snapshot,
            level="P1",
            said=call.said,
            key=call.key,
            to=(call.person,),
            call=msgspec.json.encode([call.room, call.role, call.person]).decode(),
        )


class Watch:
    """Looks what is due, in a thread, until it is stopped."""

    def __init__(self, duty: Duty, every: float = EVERY) -> None:
        self._duty = duty
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, after the look under way."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                self._duty.tick()
            except Exception:  # noqa: BLE001 - the database may be away: what is due stays due
                _log.warning("what is due at the desk could not be told; it is tried again", exc_info=True)
