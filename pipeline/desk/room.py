"""The emergency room of a P1: who is called, who answered, who is told that nobody did, and which customers are waiting.

    opened -> the first of each role is called -> nobody answers -> the next one ... -> those above

A role is settled when somebody acknowledged, or when it was escalated. Calls are rows, written with their messages in one
transaction: a restart calls nobody twice and forgets nobody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pipeline.desk.grading_options import ROLES, RoomOptions
from pipeline.desk.tables import calls, care, roles, rooms
from pipeline.errors import SnapshotError
from pipeline.service.ledger import insert_into
from snapshots.model import ProblemSnapshot, Text
from snapshots.store import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pipeline.service.storms import Storm

_log = logging.getLogger(__name__)
# Within so many seconds every role is settled.
WITHIN = 900.0
_NAMES = {
    "technology": Text(en="technology", zh="技术"),
    "product": Text(en="product", zh="产品"),
    "operations": Text(en="operations", zh="运营"),
}


@dataclass(frozen=True)
class Call:
    """One person is called for a role; with `escalation` because nobody of the role answered."""

    room: int
    role: str
    person: str
    system: str
    ticket_id: str
    snapshot_id: str
    escalation: bool = False

    @property
    def key(self) -> str:
        """The same for the same call."""
        return f"room:{self.room}:{self.role}:{self.person}:{self.escalation}"

    @property
    def said(self) -> Text:
        """The call in words."""
        name = _NAMES[self.role]
        if self.escalation:
            return Text(
                en=f"Nobody of {name.en} has answered for P1 ticket {self.ticket_id}. Please take over, and acknowledge.",
                zh=f"P1 工单 {self.ticket_id}：{name.zh}方无人应答，请接手并确认。",
            )
        return Text(
            en=f"Emergency room for P1 ticket {self.ticket_id}: {name.en} is called. Please acknowledge.",
            zh=f"P1 工单 {self.ticket_id} 已开启应急处置，呼叫{name.zh}方，请确认。",
        )


# Queues the message of a call inside the given transaction.
Tell = Callable[["Connection", Call], None]


class Rooms:
    """The emergency rooms of a database."""

    def __init__(self, engine: Engine, options: RoomOptions, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._options = options
        self._clock = clock

    def open(
        self,
        connection: Connection,
        system: str,
        snapshot: ProblemSnapshot,
        storm: Storm | None,
        tell: Tell,
        reopened_at: float | None = None,
    ) -> int:
        """The room of the ticket's storm, or of the ticket; a new one calls the first of each role. Its ticket joins the care list.

        A ticket whose room was closed opens no other one by being looked at again, unless it was opened again since.
        """
        key = f"storm:{storm.id}" if storm is not None else f"ticket:{system}:{snapshot.ticket.id}"
        room = self._closed(connection, system, snapshot.ticket.id, since=reopened_at or 0.0)
        if room is None:
            room = self._made(connection, key, system, snapshot, tell)
        if room is None:
            room = int(connection.scalar(sa.select(rooms.c.id).where(rooms.c.key == key)) or 0)
        self._care(connection, room, system, snapshot)
        return room

    @staticmethod
    def _closed(connection: Connection, system: str, ticket_id: str, since: float) -> int | None:
        """The last room of the ticket that was closed at `since` or later."""
        mine = sa.and_(care.c.room == rooms.c.id, care.c.system == system, care.c.ticket_id == ticket_id)
        query = sa.select(rooms.c.id).join(care, mine).where(rooms.c.closed_at >= since)
        found: int | None = connection.scalar(query.order_by(rooms.c.id.desc()).limit(1))
        return found

    def _made(self, connection: Connection, key: str, system: str, snapshot: ProblemSnapshot, tell: Tell) -> int | None:
        """A new room, its first people called; None where there is one."""
        made: int | None = connection.scalar(
            insert_into(self._engine, rooms)
            .values(
                key=key,
                system=system,
                ticket_id=snapshot.ticket.id,
                snapshot_id=snapshot.snapshot_id,
                opened_at=self._clock(),
            )
            .on_conflict_do_nothing()
            .returning(rooms.c.id)
        )
        if made is None:
            return None
        for role in ROLES:
            connection.execute(roles.insert().values(room=made, role=role))
        row = connection.execute(sa.select(rooms).where(rooms.c.id == made)).one()
        for role in ROLES:
            self._call(connection, row, role, self._options.chain(role)[:1], tell, escalation=False)
        return made

    def _care(self, connection: Connection, room: int, system: str, snapshot: ProblemSnapshot) -> None:
        message = snapshot.customer_message
        said = {"en": message.en if message else None, "zh": message.zh if message else None}
        where = {"room": room, "system": system, "ticket_id": snapshot.ticket.id}
        # Who was told another sentence was not told this one.
        same = sa.and_(care.c.en.is_not_distinct_from(said["en"]), care.c.zh.is_not_distinct_from(said["zh"]))
        told_at = sa.case((same, care.c.told_at), else_=sa.null())
        connection.execute(
            insert_into(self._engine, care)
            .values(**where, customer=snapshot.ticket.customer_id, **said)
            .on_conflict_do_update(index_elements=list(where), set_={**said, "told_at": told_at})
        )

    # ---- who is called next

    def tick(self, tell: Tell) -> int:
        """Calls whoever is due in every open room; how many calls."""
        here = sa.and_(calls.c.room == roles.c.room, calls.c.role == roles.c.role)
        called = sa.select(sa.func.count()).where(here).scalar_subquery().label("called")
        with self._engine.connect() as connection:
            waiting = connection.execute(
                sa.select(rooms, roles.c.role, called)
                .join(roles, roles.c.room == rooms.c.id)
                .where(rooms.c.closed_at.is_(None), roles.c.acknowledged_at.is_(None), roles.c.escalated_at.is_(None))
                .order_by(rooms.c.id, roles.c.role)
            ).all()
        return sum(self._tried(row, tell) for row in waiting)

    def _tried(self, row: Any, tell: Tell) -> int:
        try:
            return self._next(row, tell)
        except (SnapshotError, StoreError) as error:
            # One role that cannot be called does not keep the others waiting; it is tried again at the next look.
            _log.error("room %d, %s: nobody could be called: %s", row.id, row.role, error)
            return 0

    def _next(self, row: Any, tell: Tell) -> int:
        since = self._clock() - row.opened_at
        options, chain = self._options, self._options.chain(row.role)
        due = min(len(chain), 1 + int(since // options.next_after))
        if since < options.escalate_after and row.called >= due:
            return 0
        with self._engine.begin() as connection:
            # Locks the role: an answer that comes meanwhile is before or after this, not between.
            here = sa.and_(roles.c.room == row.id, roles.c.role == row.role, roles.c.acknowledged_at.is_(None))
            if since >= options.escalate_after:
                mine = connection.execute(
                    roles.update().where(here, roles.c.escalated_at.is_(None)).values(escalated_at=self._clock())
                )
                if not mine.rowcount:
                    return 0
                return self._call(connection, row, row.role, options.last, tell, escalation=True)
            if not connection.execute(roles.update().where(here).values(escalated_at=None)).rowcount:
                return 0
            return self._call(connection, row, row.role, chain[:due], tell, escalation=False)

    def _call(
        self, connection: Connection, row: Any, role: str, persons: Sequence[str], tell: Tell, *, escalation: bool
    ) -> int:
        """Calls those of `persons` who were not called for the role; how many. Who stands above too is called again."""
        made = 0
        for person in persons:
            insert = insert_into(self._engine, calls).values(
                room=row.id, role=role, person=person, called_at=self._clock(), escalation=escalation
            )
            again = {"index_elements": ["room", "role", "person"], "set_": {"escalation": True}}
            # The second time the row is there already, and only an escalation changes it.
            insert = (
                insert.on_conflict_do_update(**again, where=calls.c.escalation.is_(False))
                if escalation
                else insert.on_conflict_do_nothing()
            )
            if connection.scalar(insert.returning(calls.c.person)) is None:
                continue
            tell(connection, Call(row.id, role, person, row.system, row.ticket_id, row.snapshot_id, escalation))
            made += 1
        return made

    # ---- answers

    def acknowledge(self, room: int, role: str, by: str) -> bool:
        """Somebody answers for the role. False where there is no such room or role; the first one who answered stays."""
        with self._engine.begin() as connection:
            here = sa.and_(roles.c.room == room, roles.c.role == role)
            found = connection.execute(
                roles.update()
                .where(here)
                .values(
                    acknowledged_by=sa.func.coalesce(roles.c.acknowledged_by, by),
                    acknowledged_at=sa.func.coalesce(roles.c.acknowledged_at, self._clock()),
                )
            )
            return bool(found.rowcount)

    def close(self, room: int) -> bool:
        """The room is closed: nobody is called any more. False where there is no such open room."""
        with self._engine.begin() as connection:
            here = sa.and_(rooms.c.id == room, rooms.c.closed_at.is_(None))
            return bool(
                connection.execute(rooms.update().where(here).values(key=None, closed_at=self._clock())).rowcount
            )

    def cared(self, room: int, system: str, ticket_id: str) -> bool:
        """The customer of a ticket of the room was told. False where the ticket is not on its list."""
        with self._engine.begin() as connection:
            here = sa.and_(care.c.room == room, care.c.system == system, care.c.ticket_id == ticket_id)
            return bool(connection.execute(care.update().where(here).values(told_at=self._clock())).rowcount)

    # ---- what people ask

    def listed(self, *, closed: bool = False) -> list[Any]:
        """The rooms, the newest first."""
        query = sa.select(rooms).order_by(rooms.c.id.desc())
        if not closed:
            query = query.where(rooms.c.closed_at.is_(None))
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def of(self, room: int) -> tuple[list[Any], list[Any], list[Any]]:
        """Roles, calls and care list of a room."""
        with self._engine.connect() as connection:
            return (
                list(connection.execute(sa.select(roles).where(roles.c.room == room).order_by(roles.c.role))),
                list(connection.execute(sa.select(calls).where(calls.c.room == room).order_by(calls.c.called_at))),
                list(connection.execute(sa.select(care).where(care.c.room == room).order_by(care.c.ticket_id))),
            )
